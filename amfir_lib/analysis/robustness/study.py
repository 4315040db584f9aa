"""What notebook 10 works on: sizes by profile, sound data sets, methods, and a clip to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from amfir_lib.analysis.claims.table1 import best_on_validation
from amfir_lib.analysis.robustness.outcomes import SINGLES
from amfir_lib.analysis.robustness.scarcity import CLASSES, CLIPS, SWEPT
from amfir_lib.analysis.robustness.tables import OWN
from amfir_lib.analysis.studies.copies import degradation_free, original
from amfir_lib.analysis.studies.sweeps import method_series
from amfir_lib.analysis.tables.bases import COPIES
from amfir_lib.analysis.tables.setting import folds_of, spread
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.spoiling import SPOILINGS, spoil_clip, spoiling_rng
from amfir_lib.data.streams import centre_square, streams
from amfir_lib.data.video import read_frames
from amfir_lib.errors import BadParameter
from amfir_lib.study.config import SYNTHETIC_BENCHMARKS, Config
from amfir_lib.study.materials import prepare_all, test_cells, training_of
from amfir_lib.study.runs import Material, RunResult, Series, TestCell, run_all

SHOWN_SIZE = 112  # px, of spoilt clips to be looked at
NEEDED = (OWN, "protonet_lf", *SINGLES)  # what the claims compare
MOST_QUERIES = 4  # per class: a few clips a class must fill both sides of an episode


@dataclass(frozen=True)
class Sizes:
    """How much a profile computes; a notebook's parameter of the same name goes before it, unless 0 or empty.

    Attributes:
        severities: of spoiling, 1 is the worst.
        clips_per_class: test clips of each class that are spoilt, and that episodes are drawn from.
        n_episodes: per data set, shots and condition.
        base_classes, base_clips: reduced amounts of base data.
        scarce_seeds: training seeds on reduced base data.
    """

    severities: tuple[float, ...]
    clips_per_class: int
    n_episodes: int
    base_classes: tuple[int, ...]
    base_clips: tuple[int, ...]
    scarce_seeds: int


SIZES = {
    "smoke": Sizes((1.0,), 6, 40, (5,), (), 1),
    "study": Sizes((0.33, 0.67, 1.0), 10, 200, (24, 8), (6,), 1),
    "paper": Sizes((0.25, 0.5, 0.75, 1.0), 20, 1000, (32, 16, 8), (25, 10), 3),
}


def sizes_of(config: Config) -> Sizes:
    """The sizes of a notebook's configuration."""
    own = SIZES[config.profile.name]
    given = {name: config.options.get(name) for name in vars(own)}
    return replace(own, **{name: tuple(x) if isinstance(x, list) else x for name, x in given.items() if x})


def sound_materials(config: Config, name: str, *, backbone: str = "auto") -> list[Material]:
    """A data set in which nothing is degraded: the copy of a synthetic one, any other as it is (in its class folds)."""
    if name in SYNTHETIC_BENCHMARKS:
        return [degradation_free(config, name, backbone=backbone)]
    return prepare_all(config, name, backbone=backbone)


def setting_of(
    materials: Sequence[Material], cells: Sequence[TestCell], *, n_seeds: int, clips_per_class: int = 0
) -> str:
    """What accuracies rest on, for captions.

    Args:
        materials: from ``sound_materials``.
        cells: test episodes, one cell a number of shots.
        n_seeds: of training.
        clips_per_class: test clips of each class that are asked about, at most; 0 for all.
    """
    folds = folds_of(materials)
    parts = [f"{COPIES} of the benchmarks" if all(one.dataset.synthetic for one in materials) else "real clips"]
    if clips_per_class:
        tests = [one.dataset.manifest.query("split == 'test'") for one in materials]
        fewer = min(own["label"].value_counts().min() for own in tests) < clips_per_class
        parts.append(f"{'at most ' if fewer else ''}{clips_per_class} test clips a class")
    shots = " and ".join(str(cell.n_shot) for cell in cells)
    n_episodes = spread(cells[0].n_episodes * len(own) for own in folds.values())
    parts += [f"{cells[0].n_way}-way", f"mean of {shots} shots", f"{n_episodes} episodes each"]
    return ", ".join([*parts, f"{n_seeds} training seed(s)"])


def compared(methods: Sequence[str], material: Material) -> list[Series]:
    """The methods, named as in Table 1.

    Raises:
        BadParameter: one that the claims need is missing.
    """
    missing = [name for name in NEEDED if name not in methods]
    if missing:
        raise BadParameter(
            f"methods lacks {', '.join(missing)}, but the claims compare {', '.join(NEEDED)}. Add what is missing."
        )
    return method_series(methods, material)


def robustness_cells(config: Config, sizes: Sizes) -> list[TestCell]:
    """The test episodes, one cell per number of shots."""
    profile, given = config.profile, config.options
    return [
        TestCell(
            n_way=given.get("n_way") or profile.n_way,
            n_shot=n_shot,
            n_query=given.get("n_query") or min(MOST_QUERIES, profile.n_query),
            n_episodes=sizes.n_episodes,
        )
        for n_shot in given.get("n_shots") or profile.test_shots
    ]


def trained(config: Config, material: Material, series: Sequence[Series]) -> list[RunResult]:
    """The runs of the methods on one data set, from the cache where other notebooks trained them."""
    settings = training_of(config, material)
    runs = [run for line in series for run in line.runs(material, settings, config.seeds)]
    name = f"{material.dataset.name}: training"
    return run_all(runs, [], cache_dir=config.cache_dir, n_jobs=config.jobs, device=config.device, description=name)


def best_singles(results: Sequence[RunResult]) -> dict[str, str]:
    """Data set -> the single modality (AMFIR's head) that is best on validation classes."""
    return {original(name): method for name, method in best_on_validation(results, SINGLES).items()}


def full_amounts(materials: Sequence[Material]) -> dict[tuple[str, str], int]:
    """(data set, what is reduced) -> how much all is."""
    found = {}
    for material in materials:
        layout = material.layout()
        counts = np.unique(layout.labels[layout.rows("train")], return_counts=True)[1]
        whole = {CLASSES: len(counts), CLIPS: int(counts.max())}
        found |= {(original(material.dataset.name), swept): whole[swept] for swept in SWEPT}
    return found


def amfir_on_benchmarks(
    config: Config, names: Sequence[str] = (), *, backbone: str = "auto"
) -> tuple[list[RunResult], TestCell]:
    """AMFIR on whole benchmarks, degraded clips included, tested as in Table 1; and the cell with most shots.

    Args:
        config: of the notebook.
        names: data sets; default: all synthetic benchmarks, or the one that the notebook was given.
        backbone: as ``materials.prepare``.
    """
    everything = SYNTHETIC_BENCHMARKS if len(config.datasets) > 1 else config.datasets
    results = []
    for name in names or everything:
        for material in prepare_all(config, name, backbone=backbone):
            runs = Series("AMFIR", OWN).runs(material, training_of(config, material), config.seeds)
            cells = test_cells(config, material)
            place = {"cache_dir": config.cache_dir, "n_jobs": config.jobs, "device": config.device}
            results += run_all(runs, cells, **place, description=f"{material.dataset.name}: training")
    return results, max(cells, key=lambda cell: cell.n_shot)


def spoilt_views(dataset: Dataset, row: int, levels: Sequence[float]) -> dict[str, list]:
    """One clip, spoilt in every way at every level, for looking at.

    Returns:
        kind -> for each level two frames uint8 (2, S, S, 3) and two flow fields (2, S, S, 2), or None where the kind
        has no such level; the clip as it is comes first.
    """
    name, frames = str(dataset.manifest["clip_id"].iloc[row]), centre_square(read_frames(dataset.clip_path(row)))
    found: dict[str, list] = {"as it is": [_two_views(frames), *[None] * (len(levels) - 1)]}
    for kind, one in SPOILINGS.items():
        shown = [s if one.graded or s == 1 else None for s in levels]
        found[kind] = [
            None if s is None else _two_views(spoil_clip(frames, kind, s, spoiling_rng(kind, name))) for s in shown
        ]
    return found


def _two_views(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two instants, a quarter and three quarters through the clip."""
    seen = streams(frames, {"rgb": SHOWN_SIZE, "flow": SHOWN_SIZE}, n_segments=4, flow_size=SHOWN_SIZE)
    return seen["rgb"][[0, 2]], seen["flow"][[0, 2]]


def worst_of_kinds() -> str:
    """What severity 1 is, kind by kind, as lines of a Markdown list."""
    lines = [f"* **{kind}** ({one.family}): {one.worst}" for kind, one in SPOILINGS.items()]
    return "\n".join(lines)
