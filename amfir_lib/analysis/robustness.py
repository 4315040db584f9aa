"""How far methods get on spoilt queries, and with one modality missing.

The models are those of the other notebooks, trained and selected on undegraded clips.  Only the queries are exchanged
for spoilt versions of themselves, on the same episodes, so all differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from amfir_lib.analysis.answers import Answers, Fold, estimate
from amfir_lib.analysis.spoilt import CLEAN, Condition, SpoiltClips
from amfir_lib.analysis.sweeps import method_series
from amfir_lib.errors import BadParameter
from amfir_lib.fusion import fusion_weights
from amfir_lib.methods import METHODS, Method, uses_patches
from amfir_lib.storage import digest_of, meaning_of
from amfir_lib.study.cache import Job, Recent, compute, load_arrays, save_arrays, whole_arrays
from amfir_lib.study.config import Config
from amfir_lib.study.evaluation import QueryResults, evaluate
from amfir_lib.study.material import Material, TestCell
from amfir_lib.study.runs import STATE, Run, RunResult, Series, load_method

OWN, LATE = "amfir", "protonet_lf"
SINGLES = ("protonet", "protonet_f")  # AMFIR's head on appearance alone, and on motion alone
NEEDED = (OWN, LATE, *SINGLES)  # what the claims compare
WEIGHT, GROUP, DECIDABLE, FIRST_RIGHT = "weight", "group", "decidable", "first right"
MEAN = 0  # in the column n_shot: the mean over all shots
MOST_QUERIES = 4  # per class: a few clips a class must fill both sides of an episode
# How much a profile computes; a notebook's parameter of the same name goes before it, unless 0 or empty.
SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"severities": [1.0], "clips_per_class": 6, "n_episodes": 40, "base_classes": [5], "base_clips": []},
    "study": {"severities": [0.33, 0.67, 1.0], "clips_per_class": 10, "n_episodes": 200, "base_classes": [24, 8],
              "base_clips": [6]},
    "paper": {"severities": [0.25, 0.5, 0.75, 1.0], "clips_per_class": 20, "n_episodes": 1000,
              "base_classes": [32, 16, 8], "base_clips": [25, 10], "scarce_seeds": 3},
}  # fmt: skip


def sizes_of(config: Config) -> dict[str, Any]:
    """The sizes of a notebook's configuration."""
    sizes = {"scarce_seeds": 1} | SIZES[config.profile.name]
    return sizes | {name: given for name in sizes if (given := config.options.get(name))}


def robustness_cells(config: Config) -> list[TestCell]:
    """The test episodes, one cell per number of shots."""
    n_query = config.options.get("n_query") or min(MOST_QUERIES, config.profile.n_query)
    shots = config.options.get("n_shots") or config.profile.test_shots
    return [TestCell(config.size("n_way"), n_shot, n_query, sizes_of(config)["n_episodes"]) for n_shot in shots]


def compared(methods: Sequence[str], material: Material) -> list[Series]:
    """The methods, named as in Table 1.  Raises BadParameter where one that the claims need is missing."""
    if missing := [name for name in NEEDED if name not in methods]:
        raise BadParameter(
            f"methods lacks {', '.join(missing)}, but the claims compare {', '.join(NEEDED)}. Add what is missing."
        )
    return method_series(methods, material)


@dataclass(frozen=True)
class _Asked(Job):
    """A trained run, and the conditions and cells under which it is asked."""

    run: Run
    clips: SpoiltClips
    conditions: tuple[Condition, ...]
    cells: tuple[TestCell, ...]
    folder: Path

    @property
    def item_name(self) -> str:
        return self.run.item_name

    @property
    def key(self) -> Path:
        """The file of the answers."""
        names = [condition.key for condition in self.conditions], [cell.name for cell in self.cells]
        code = meaning_of(_Asked.work) + meaning_of(_quantities)
        return self.folder / f"spoilt-{digest_of([self.clips.folder.name, names, code])}.npz"

    @property
    def done(self) -> bool:
        return whole_arrays(self.key)

    def work(self) -> None:
        """Everything that the run answers."""
        run, clips, layout = self.run, self.clips, self.clips.layout()
        method = load_method(run, load_file(self.folder / STATE))
        drawn = {cell: cell.episodes(layout) for cell in self.cells}

        def read(condition: Condition) -> dict[str, torch.Tensor]:
            how = {"patches": uses_patches(run.method), "whiten": run.read.whiten}
            make = partial(clips.features, condition, **how)
            return make() if how["patches"] else _FEATURES.get((clips.folder, condition, how["whiten"]), make)

        sound, arrays = read(CLEAN), {}
        for condition in self.conditions:
            spoilt = read(condition)
            joined = {m: torch.cat([x, spoilt[m]]) for m, x in sound.items()}
            table = replace(layout, features=joined)  # row n + i is clip i in the other state
            for cell, episodes in drawn.items():
                n = len(layout.labels)
                support = episodes.support + n if condition.side == "all" else episodes.support
                exchanged = replace(episodes, support=support, query=episodes.query + n)
                quantities = _quantities(method, evaluate(method, table, exchanged))
                arrays |= {f"{cell.name}/{condition.key}/{name}": x for name, x in quantities.items()}
        save_arrays(self.key, arrays)


def ask(
    results: Sequence[RunResult], clips: SpoiltClips, conditions: Sequence[Condition], cells: Sequence[TestCell], *,
    n_jobs: int = 1,
) -> list[Answers]:  # fmt: skip
    """Ask trained methods about the same episodes under every condition, and under none.

    Args:
        results: runs on one data set; those of one method differ in the seed alone.
        clips: its test clips; supports and queries are drawn among them.
        conditions, cells: of the queries, and the test episodes.
    Returns:
        One place per cell.  Quantities are the accuracy of ``fused`` and of each modality; for methods that weigh two
        modalities also ``weight`` and ``group`` (mean weight of the first one, and share of queries in its group) and
        ``decidable`` and ``first right`` (queries on which exactly one modality is right, and those on which it is the
        first).
    """
    conditions = tuple(dict.fromkeys([CLEAN, *conditions]))
    items = [_Asked(result.run, clips, conditions, tuple(cells), result.folder) for result in results]
    long_first = sorted(items, key=lambda item: not uses_patches(item.run.method))
    compute(long_first, n_jobs=n_jobs, description=f"{clips.material.dataset.name}: tests")
    kept = [(item.run.method, load_arrays(item.key)) for item in items]
    dataset, layout, answers = clips.material.dataset, clips.layout(), []
    for cell in cells:
        given: dict[tuple[str, Hashable], list[dict[str, np.ndarray]]] = {}
        for method, arrays in kept:
            for condition in conditions:
                start = f"{cell.name}/{condition.key}/"
                quantities = {n.removeprefix(start): x for n, x in arrays.items() if n.startswith(start)}
                given.setdefault((method, condition), []).append(quantities)
        answers.append(Answers(dataset.name, cell, (Fold.drawn(cell, layout),), given))
    return answers


_FEATURES = Recent(128)  # a megabyte or two each; those of one data set serve all methods without patches


def _quantities(method: Method, results: QueryResults) -> dict[str, np.ndarray]:
    """Quantity -> (E,) float32, as ``ask`` names them."""
    quantities = {stream: results.stream_accuracy(stream) for stream in results.correct}
    names = list(results.certainty)
    if len(names) == 2:
        first, second = (results.correct[m] for m in names)
        quantities[DECIDABLE] = (first != second).sum(1)
        quantities[FIRST_RIGHT] = (first & ~second).sum(1)
        if hasattr(method.options, "ami_weight"):
            best = {m: torch.from_numpy(c).log().unsqueeze(-1) for m, c in results.certainty.items()}  # max_k log p(k)
            energies = {m: torch.from_numpy(score) for m, score in results.score.items()}
            how = {"weight": method.options.ami_weight, "power": method.options.ami_power}
            weights = fusion_weights(best, energies=energies, **how)  # Eq. 8, by the method's own options
            quantities[WEIGHT] = weights[names[0]].numpy().mean(1)
            one, other = (results.score[m] for m in names)
            quantities[GROUP] = ((one < other) + 0.5 * (one == other)).mean(1)
    return {name: np.asarray(values, np.float32) for name, values in quantities.items()}


def at_shots(answers: Sequence[Answers]) -> list[tuple[dict[str, object], list[Answers]]]:
    """The places of each data set, all shots together first, then each number of shots."""
    parts = []
    for dataset in dict.fromkeys(place.dataset for place in answers):
        places = [place for place in answers if place.dataset == dataset]
        shots = sorted({place.cell.n_shot for place in places})
        for shot in [MEAN, *shots] if len(shots) > 1 else shots:
            of_shot = [place for place in places if shot in (MEAN, place.cell.n_shot)]
            parts.append((places[0].where | {"n_shot": shot}, of_shot))
    return parts


def lost(place: Answers, method: str, condition: Hashable) -> np.ndarray:
    """(E,) accuracy that a method loses in a condition, against no condition, or all base data."""
    return place.of(method, type(condition)()) - place.of(method, condition)


def saved(place: Answers, other: str, condition: Hashable) -> np.ndarray:
    """(E,) what another method loses minus what AMFIR loses."""
    return lost(place, other, condition) - lost(place, OWN, condition)


def ahead(place: Answers, other: str, condition: Hashable) -> np.ndarray:
    """(E,) accuracy of AMFIR minus that of another method."""
    return place.of(OWN, condition) - place.of(other, condition)


ACCURACY = {"accuracy": Answers.of, "cost": lost}
LEAD = {"difference": ahead, "cost_difference": saved}


def by_condition(
    answers: Sequence[Answers], statistics: Mapping[str, Callable], titles: Mapping[str, str]
) -> pd.DataFrame:
    """Some statistics of some series (with their titles) in every condition.

    Args:
        statistics: column -> function of a place, a series and a condition, such as ``ACCURACY`` or ``LEAD``.
    Returns:
        One row per data set, shots (0: their mean), condition and series (``key``, and ``method``, its title): each
        statistic with its half width (``half_width`` for ``accuracy`` and ``difference``); shares.
    """
    rows = []
    for where, places in at_shots(answers):
        for condition in places[0].conditions:
            for key, title in titles.items():
                row = where | condition.columns | {"key": key, "method": title}
                for name, statistic in statistics.items():
                    interval = estimate(places, lambda place, f=statistic, m=key, c=condition: f(place, m, c))
                    half_width = "half_width" if name in ("accuracy", "difference") else f"{name}_half_width"
                    row |= {name: interval.mean, half_width: interval.half_width}
                n_episodes = sum(len(fold.episodes) for place in places for fold in place.folds)
                row |= {"n_classes": interval.n_classes, "n_episodes": n_episodes}
                rows.append(row | {"n_seeds": len(places[0].given[key, condition])})
    return pd.DataFrame(rows)


def weights_frame(answers: Sequence[Answers], modalities: Sequence[str]) -> pd.DataFrame:
    """Does AMFIR's weight move to the modality that is less disturbed?

    Which one that is is measured by two networks that know nothing of each other or of AMFIR: the same head on each
    modality alone.  It is the one that loses less accuracy, if the interval of the difference of the losses excludes 0.

    Returns:
        As ``by_condition``, of AMFIR: ``weight, group_share, right_share`` (of the first modality among queries on
        which exactly one is right), ``first_cost, second_cost`` of the single modalities; ``spared_verdict`` (the less
        disturbed one, or empty), ``weight_gain`` (change of its weight) and ``group_gain``, NaN where it is empty.
    """

    def share(place: Answers, method: str, condition: Condition) -> tuple[np.ndarray, np.ndarray]:
        decidable, right = (place.of(method, condition, quantity=q) for q in (DECIDABLE, FIRST_RIGHT))
        return np.divide(right, decidable, out=np.zeros_like(right), where=decidable > 0), decidable

    def gained(place: Answers, method: str, condition: Condition, *, quantity: str) -> np.ndarray:
        return place.of(method, condition, quantity=quantity) - place.of(method, CLEAN, quantity=quantity)

    one, other = SINGLES
    statistics = {
        "weight": lambda place, method, c: place.of(method, c, quantity=WEIGHT),
        "group_share": lambda place, method, c: place.of(method, c, quantity=GROUP),
        "right_share": share,
        "first_cost": lambda place, method, c: lost(place, one, c),
        "second_cost": lambda place, method, c: lost(place, other, c),
        "spared": lambda place, method, c: lost(place, other, c) - lost(place, one, c),
        "weight_gain": partial(gained, quantity=WEIGHT),
        "group_gain": partial(gained, quantity=GROUP),
    }
    frame = by_condition(answers, statistics, {OWN: METHODS[OWN].title}).assign(
        first=modalities[0], second=modalities[1]
    )
    side = np.sign(frame["spared"]).where(frame["spared"].abs() > frame["spared_half_width"], 0)  # NaN compares as 0
    frame["spared_verdict"] = side.map({1: modalities[0], -1: modalities[1], 0: ""})
    for name in ("weight_gain", "group_gain"):
        frame[name] = (side * frame[name]).where(side != 0)
        frame[f"{name}_half_width"] = frame[f"{name}_half_width"].where(side != 0)
    return frame.drop(columns=["spared", "spared_half_width"])
