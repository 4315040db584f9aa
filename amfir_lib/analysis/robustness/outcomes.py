"""What every method says about the same episodes under every condition; supports stay as they are.

The models are those of the other notebooks: trained and selected on sound clips.  Only the queries are exchanged for
spoilt versions of themselves, so all differences are paired.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from amfir_lib.analysis.robustness.conditions import CLEAN, Condition
from amfir_lib.analysis.robustness.spoilt_clips import SpoiltClips
from amfir_lib.fusion import fusion_weights
from amfir_lib.methods import Method, uses_patches
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import atomic_write, digest_of, digest_of_code
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import FUSED, QueryResults, evaluate
from amfir_lib.study.runs import Run, RunResult, TestCell, load_method

WEIGHT, GROUP, DECIDABLE, FIRST_RIGHT = "weight", "group", "decidable", "first right"
SINGLES = ("protonet", "protonet_f")  # AMFIR's head on appearance alone, and on motion alone


@dataclass(frozen=True)
class Outcomes:
    """What the methods gave in one cell of one data set (or class fold).

    Attributes:
        dataset: its name.
        cell: the test episodes.
        fold: of which classes; cells of one fold share them.
        modalities: appearance, motion.
        classes: (E, N) classes of each episode.
        values: (method, condition) -> quantity -> (S, E), seeds by episodes.  Quantities are the accuracy of ``fused``
            and of each modality; for methods that weigh two modalities also ``weight`` and ``group`` (mean weight of
            the first one, and share of queries in its group) and ``decidable`` and ``first right`` (queries on which
            exactly one modality is right, and those on which it is the first).
    """

    dataset: str
    cell: TestCell
    fold: str
    modalities: tuple[str, ...]
    classes: np.ndarray
    values: dict[tuple[str, Hashable], dict[str, np.ndarray]]

    def of(self, method: str, condition: Hashable = CLEAN, quantity: str = FUSED) -> np.ndarray:
        """(E,) mean over seeds."""
        return self.values[method, condition][quantity].mean(0)

    def only(self, methods: Sequence[str], conditions: Sequence[Hashable]) -> Outcomes:
        """The same cell with these methods and conditions alone."""
        kept = {key: x for key, x in self.values.items() if key[0] in methods and key[1] in conditions}
        return replace(self, values=kept)

    @property
    def singles(self) -> dict[str, str]:
        """Those methods that read one modality with AMFIR's head -> their modality."""
        pairs = zip(SINGLES, self.modalities, strict=True)
        return {method: modality for method, modality in pairs if method in self.methods}

    @property
    def methods(self) -> list[str]:
        """In the order in which they were asked."""
        return list(dict.fromkeys(method for method, _ in self.values))

    @property
    def conditions(self) -> list[Hashable]:
        """In the order in which they were asked."""
        return list(dict.fromkeys(condition for _, condition in self.values))


def ask_methods(
    results: Sequence[RunResult], clips: SpoiltClips, conditions: Sequence[Condition], cells: Sequence[TestCell], *,
    cache_dir: Path, n_jobs: int = 1,
) -> list[Outcomes]:  # fmt: skip
    """Ask trained methods about the same episodes under every condition.

    Args:
        results: runs on one data set; those of one method differ in the seed alone.
        clips: its test clips; supports and queries are drawn among them.
        conditions: of the queries; no condition at all is asked too.
        cells: test episodes.
        cache_dir: the answers are kept beside each run.
        n_jobs: worker processes.
    Returns:
        One per cell.
    """
    conditions = list(dict.fromkeys([CLEAN, *conditions]))
    work = partial(_ask, clips=clips, conditions=conditions, cells=cells, cache_dir=cache_dir)
    runs = sorted((result.run for result in results), key=lambda run: not uses_patches(run.method))  # long ones first
    answers = map_parallel(work, runs, n_jobs=n_jobs, description=f"{clips.material.dataset.name}: tests", unit="run")
    by_run = {run.key: answer for run, answer in zip(runs, answers, strict=True)}
    layout, found = clips.layout(), []
    for cell in cells:
        values: dict[tuple[str, Hashable], dict[str, np.ndarray]] = {}
        for method in dict.fromkeys(result.run.method for result in results):
            own = [by_run[result.run.key] for result in results if result.run.method == method]
            for condition in conditions:
                parts = [one[cell, condition] for one in own]
                values[method, condition] = {name: np.stack([part[name] for part in parts]) for name in parts[0]}
        dataset = clips.material.dataset
        where = (dataset.name, cell, dataset.digest, dataset.modalities)
        found.append(Outcomes(*where, cell.episodes(layout).classes, values))
    return found


Answer = dict[tuple[TestCell, Condition], dict[str, np.ndarray]]  # quantity -> (E,)


def _ask(
    run: Run, *, clips: SpoiltClips, conditions: Sequence[Condition], cells: Sequence[TestCell], cache_dir: Path
) -> Answer:
    """Worker: everything that one run says, from the cache where it was asked before."""
    names = {f"{number}/{one.key}": (cell, one) for number, cell in enumerate(cells) for one in conditions}
    asked = [clips.folder.name, list(names), [vars(cell) for cell in cells], digest_of_code(sys.modules[__name__])]
    path = run.folder(cache_dir) / f"spoilt-{digest_of(asked)}.npz"
    if not path.exists():
        with atomic_write(path) as temporary:
            np.savez_compressed(temporary, **_computed(run, clips, names, cache_dir))
    found: Answer = {place: {} for place in names.values()}
    with np.load(path) as arrays:
        for entry in arrays.files:
            name, _, quantity = entry.rpartition("/")
            found[names[name]][quantity] = arrays[entry]
    return found


def _computed(
    run: Run, clips: SpoiltClips, names: Mapping[str, tuple[TestCell, Condition]], cache_dir: Path
) -> dict[str, np.ndarray]:
    read = _read if uses_patches(run.method) else _read_pooled
    method = load_method(run, load_file(run.folder(cache_dir) / "state.safetensors"))
    layout = clips.layout()
    drawn = {cell: cell.episodes(layout) for cell, _ in names.values()}
    sound = read(clips, CLEAN, run.read.whiten)
    arrays = {}
    for condition in dict.fromkeys(one for _, one in names.values()):
        spoilt = read(clips, condition, run.read.whiten)
        joined = {m: torch.cat([x, spoilt[m]]) for m, x in sound.items()}
        table = replace(layout, features=joined)  # row n + i is clip i in the other state
        for name, (cell, own) in names.items():
            if own == condition:
                answered = evaluate(method, table, exchanged(drawn[cell], len(layout.labels), side=condition.side))
                arrays |= {f"{name}/{quantity}": x for quantity, x in summary(method, answered).items()}
    return arrays


def exchanged(episodes: Episodes, shift: int, *, side: str) -> Episodes:
    """The same episodes whose queries (side "all": and supports) are the rows ``shift`` further on."""
    support = episodes.support + (shift if side == "all" else 0)
    return replace(episodes, support=support, query=episodes.query + shift)


def summary(method: Method, answered: QueryResults) -> dict[str, np.ndarray]:
    """Quantity -> (E,) float32, as ``Outcomes`` has them."""
    found = {stream: answered.stream_accuracy(stream) for stream in answered.correct}
    names = list(answered.certainty)
    if len(names) == 2:
        first, second = (answered.correct[m] for m in names)
        found[DECIDABLE] = (first != second).sum(1)
        found[FIRST_RIGHT] = (first & ~second).sum(1)
        if hasattr(method.options, "ami_weight"):
            one, other = (answered.score[m] for m in names)
            found[WEIGHT] = _weight_of_first(method, answered).mean(1)
            found[GROUP] = ((one < other) + 0.5 * (one == other)).mean(1)
    return {name: np.asarray(values, np.float32) for name, values in found.items()}


def _weight_of_first(method: Method, answered: QueryResults) -> np.ndarray:
    """(E, M) fusion weight of the first modality (Eq. 8), by the method's own options."""
    best = {m: torch.from_numpy(c).log().unsqueeze(-1) for m, c in answered.certainty.items()}  # max_k log p(k)
    energies = {m: torch.from_numpy(score) for m, score in answered.score.items()}
    how = {"weight": method.options.ami_weight, "power": method.options.ami_power}
    return next(iter(fusion_weights(best, energies=energies, **how).values())).numpy()


def _read(clips: SpoiltClips, condition: Condition, whiten: bool) -> dict[str, Tensor]:
    return clips.features(condition, patches=True, whiten=whiten)


@lru_cache(maxsize=128)  # a megabyte or two each; those of one data set serve all light methods
def _read_pooled(clips: SpoiltClips, condition: Condition, whiten: bool) -> dict[str, Tensor]:
    return clips.features(condition, patches=False, whiten=whiten)
