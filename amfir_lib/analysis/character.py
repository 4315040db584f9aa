"""The character of a synthetic benchmark, measured on its validation classes.

Two questions.  Are the labels of the degradations earned: does each kind cost its own stream much and the other little?
And does each benchmark carry its classes where it says: in appearance, in motion, in the order of the motion?

All measurements are paired: the same trained single-modality methods, the same episodes with the same supports; only
the queries are exchanged for copies of themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from amfir_lib.data.arrays import FeatureStore
from amfir_lib.data.features import extract_stores
from amfir_lib.data.synthetic import reversed_copy
from amfir_lib.errors import ManifestError
from amfir_lib.parallel import single_thread
from amfir_lib.storage import digest_of
from amfir_lib.study.config import Config
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import FUSED, evaluate
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.material import Material, TestCell
from amfir_lib.study.runs import RunResult, Series, run_all
from amfir_lib.study.statistics import Sample, jackknife
from amfir_lib.study.study import open_backbones, prepare, training_of

STREAMS = ("rgb", "flow")
TRAINED = (*STREAMS, "middle_frame", "early_fusion")
FORCED, REVERSED = ("none", "rgb", "flow"), "reversed"
MEAN = 0  # in the column n_shot: over all shots
MIN_OWN_COST, MAX_OTHER_COST = 0.10, 0.03  # of a kind whose label is earned; the mean decides
LOW, HIGH = "low", "high"  # fewest and most shots
# Data set ("": each), sentence, measure, column, shots, what it must reach and not exceed (shares), how it is shown;
# fixed before any two methods were compared.
TARGETS = (
    ("", "RGB alone, {}-shot: 35 to 75 %", "rgb", "accuracy", LOW, 0.35, 0.75, "{:.1f} %"),
    ("", "flow alone, {}-shot: 35 to 75 %", "flow", "accuracy", LOW, 0.35, 0.75, "{:.1f} %"),
    ("", "early fusion, {}-shot: under 92 %", "early_fusion", "accuracy", HIGH, 0.0, 0.92 - 1e-9, "{:.1f} %"),
    ("synth-kinetics", "RGB ahead of flow, {}-shot", "rgb", "lead", LOW, 1e-9, 1.0, "{:+.1f} points"),
    ("synth-ssv2", "middle frame of RGB, {}-shot: at most 30 %", "middle_frame", "accuracy", LOW, 0.0, 0.30,
     "{:.1f} %"),
    ("synth-ssv2", "a reversed query costs flow, {}-shot: at least 10 points", "flow_reversed", "cost", LOW, 0.10, 1.0,
     "{:.1f} points"),
)  # fmt: skip
Trained = Mapping[tuple[str, str], Sequence[RunResult]]  # (data set, measure) -> one result a seed


@dataclass(frozen=True)
class Probes:
    """The features of a benchmark, and its validation clips in several versions, in the order of their rows."""

    table: FeatureTable
    versions: Mapping[str, Mapping[str, Tensor]]  # version -> modality -> (n_val, T, 1, D)
    kinds: Mapping[str, np.ndarray]  # version -> (n_val,) kind of degradation


def prepare_probes(config: Config, material: Material) -> Probes:
    """Render the validation clips again with forced degradations, and backwards, and extract their features.

    Raises:
        ManifestError: a copy and the benchmark do not hold the same clips.
    """
    dataset, table = material.dataset, material.table()
    clip_ids = list(dataset.manifest["clip_id"].iloc[table.rows("val")])
    copies = {}
    for forced in FORCED:
        copies[forced] = prepare(config, dataset.name, degradation=forced, splits=("val",))
        if list(copies[forced].dataset.manifest["clip_id"]) != clip_ids:
            raise ManifestError(
                f"the validation clips of {dataset.name} and of its copy with degradation {forced} differ. "
                "Clean the cache (./run_all.sh clean --cache) and run this again."
            )
    backwards = reversed_copy(dataset, "val", cache_dir=config.cache_dir, n_jobs=config.jobs)
    backbones = open_backbones(config, dataset)
    stores = extract_stores(backwards, backbones, cache_dir=config.cache_dir, n_jobs=config.jobs)
    copies[REVERSED] = Material(backwards, stores)
    whitening = material.whitening()
    return Probes(
        table,
        {name: whitening(replace(copy, whiten=False).table().features) for name, copy in copies.items()},
        {name: copy.dataset.manifest["kind"].to_numpy(dtype=str) for name, copy in copies.items()},
    )


def validation_cells(config: Config, *, n_episodes: int) -> list[TestCell]:
    """Episodes of validation classes on which the character is measured, one cell per number of shots."""
    n_way, profile = config.size("n_way"), config.profile
    return [TestCell(n_way, k, profile.n_query, n_episodes, split="val", seed=1) for k in profile.test_shots]


def train_streams(config: Config, materials: Sequence[Material], cells: Sequence[TestCell]) -> Trained:
    """Train what the measurements need; runs that other notebooks share come from the cache.

    Returns:
        (data set, measure) -> one result per seed for ``rgb`` and ``flow``, one for ``middle_frame`` (RGB, the middle
        frame repeated) and ``early_fusion`` (one head on the features of both streams side by side).
    """
    runs = {}
    for material in materials:
        name, training = material.dataset.name, training_of(config, material)
        for measure, method, read, seeds in (
            ("rgb", "protonet", material, config.seeds), ("flow", "protonet_f", material, config.seeds),
            ("middle_frame", "protonet", middle_frame(material), config.seeds[:1]),
            ("early_fusion", "protonet", early_fusion(material), config.seeds[:1]),
        ):  # fmt: skip
            runs[name, measure] = Series(measure, method).runs(read, training, seeds)
    results = iter(run_all([run for series in runs.values() for run in series], cells, **config.workplace))
    return {key: [next(results) for _ in series] for key, series in runs.items()}


def middle_frame(material: Material) -> Material:
    """The appearance stream with its middle frame in the place of all frames: no motion, no order."""
    (name, features), *_ = material.raw_table().features.items()  # (n, T, 1, D)
    n_frames = features.shape[1]
    return _derived(material, "middle frame", {name: features[:, [n_frames // 2] * n_frames]}, [material.stores[name]])


def early_fusion(material: Material) -> Material:
    """Both streams as one: their features side by side, (n, T, 1, D1 + D2)."""
    features = torch.cat(list(material.raw_table().features.values()), dim=-1)
    return _derived(material, "early fusion", {"fused": features}, list(material.stores.values()))


def _derived(material: Material, how: str, features: Mapping[str, Tensor], stores: Sequence[FeatureStore]) -> Material:
    """A material with features in memory; their digest follows from those of the stores of which they are made."""
    digest = digest_of([how, *(store.digest for store in stores)])
    made = {m: FeatureStore(stores[0].path, x.numpy(), {"derived": how}, digest) for m, x in features.items()}
    return Material(material.dataset, made)


def query_accuracy(results: Sequence[RunResult], probes: Probes, episodes: Episodes, *, version: str) -> np.ndarray:
    """(E, M) share of the trained methods (one a seed) that answer each query rightly, as it is in a version."""
    rows, n = probes.table.rows("val"), len(probes.table.labels)
    joined = {m: torch.cat([x, probes.versions[version][m]]) for m, x in probes.table.features.items()}
    table = replace(probes.table, features=joined)  # rows n, n + 1, ... are the validation clips in the other version
    exchanged = replace(episodes, query=n + np.searchsorted(rows, episodes.query))
    with single_thread():
        return np.mean([evaluate(r.method(), table, exchanged).correct[FUSED] for r in results], axis=0)


def measure_degradation(results: Trained, name: str, probes: Probes, cells: Sequence[TestCell]) -> pd.DataFrame:
    """Accuracy of each stream with queries forced to each degradation, and what each kind costs.

    Returns:
        One row per (stream, version of the queries, kind, n_shot), kind ``all`` for the whole version and n_shot 0 for
        the mean over shots: ``accuracy`` and ``cost`` (accuracy without degradation minus accuracy with it, on the same
        queries) as shares.
    """
    episodes = {cell.n_shot: cell.episodes(probes.table) for cell in cells}
    place = {k: np.searchsorted(probes.table.rows("val"), e.query).reshape(len(e), -1) for k, e in episodes.items()}
    rows = []
    for stream in STREAMS:
        right = {
            (v, k): query_accuracy(results[name, stream], probes, drawn, version=v)
            for v in FORCED for k, drawn in episodes.items()
        }  # fmt: skip
        for version, kinds in ((version, probes.kinds[version]) for version in FORCED):
            for kind in ["all"] if version == "none" else ["all", *sorted(set(kinds))]:
                for n_shot in [*episodes, MEAN]:
                    shots = [n_shot] if n_shot else list(episodes)
                    mask = np.concatenate([(kinds[place[k]] == kind) | (kind == "all") for k in shots])
                    accuracy, sound = (np.concatenate([right[v, k] for k in shots]) for v in (version, "none"))
                    some = mask.any(1)
                    classes = np.concatenate([episodes[k].classes for k in shots])[some]
                    row = {"dataset": name, "stream": stream, "queries": version, "kind": kind, "n_shot": n_shot}
                    for column, values, half in (
                        ("accuracy", accuracy, "half_width"), ("cost", sound - accuracy, "cost_half_width")
                    ):  # fmt: skip
                        by_episode = np.where(mask, values, 0).sum(1)[some] / mask.sum(1)[some]
                        row[column], row[half] = class_interval(by_episode, classes)
                    rows.append(row | {"n_queries": int(mask.sum())})
    return pd.DataFrame(rows)


def class_interval(values: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """Mean of (E,) values, and half of its 95 % class-jackknife interval: NaN where the classes are too few for one."""
    interval = jackknife([[Sample(values, classes)]])
    return interval.mean if interval.defined else float(np.mean(values)), interval.half_width


def measure_character(results: Trained, name: str, probes: Probes, cells: Sequence[TestCell]) -> pd.DataFrame:
    """Accuracy of each measure on the benchmark's own validation clips, and of flow with queries played backwards.

    One row per (measure, n_shot); ``flow_reversed`` has a ``cost`` against the same queries played forwards.
    """
    rows = []
    for cell in cells:
        episodes = cell.episodes(probes.table)
        by_measure = {m: np.mean([r.tests[cell].accuracy for r in results[name, m]], axis=0) for m in TRAINED}
        by_measure["flow_reversed"] = query_accuracy(results[name, "flow"], probes, episodes, version=REVERSED).mean(1)
        for measure in (*TRAINED, "flow_reversed"):
            mean, half_width = class_interval(by_measure[measure], episodes.classes)
            row = {"measure": measure, "n_shot": cell.n_shot, "accuracy": mean, "half_width": half_width}
            rows.append(row | {"n_seeds": len(results[name, measure.removesuffix("_reversed")])})
        lost = by_measure["flow"] - by_measure["flow_reversed"]
        rows[-1]["cost"], rows[-1]["cost_half_width"] = class_interval(lost, episodes.classes)
    return pd.DataFrame(rows).assign(dataset=name)


def label_verdicts(degradation: pd.DataFrame) -> pd.DataFrame:
    """Is the label of each kind earned: it costs its own stream at least 10 points and the other at most 3."""
    over_shots = degradation[(degradation["n_shot"] == MEAN) & (degradation["kind"] != "all")]
    rows = []
    for (dataset, label, kind), streams in over_shots.groupby(["dataset", "queries", "kind"], sort=False):
        hit = streams["stream"] == label
        (own,), (other,) = (streams[mask].itertuples() for mask in (hit, ~hit))
        verdict = "earned" if other.cost <= MAX_OTHER_COST else "hurts both"
        rows.append({
            "dataset": dataset, "label": label, "kind": kind, "n_queries": own.n_queries, "own_cost": own.cost,
            "own_half_width": own.cost_half_width, "other_cost": other.cost,
            "other_half_width": other.cost_half_width,
            "verdict": verdict if own.cost >= MIN_OWN_COST else "too weak",
        })  # fmt: skip
    return pd.DataFrame(rows)


def character_verdicts(character: pd.DataFrame) -> pd.DataFrame:
    """Each target of a benchmark, what was measured (text), and whether it is met."""
    shots = {LOW: character["n_shot"].min(), HIGH: character["n_shot"].max()}
    at = character.set_index(["dataset", "n_shot", "measure"]).sort_index()
    rows = []
    for dataset in dict.fromkeys(character["dataset"]):
        for benchmark, sentence, measure, column, place, least, most, shown in TARGETS:
            if benchmark in ("", dataset):
                measures = at.loc[dataset, shots[place]].assign(lead=lambda x: x.accuracy - x.accuracy["flow"])
                value = measures.loc[measure, column]
                target = sentence.format(shots[place])
                rows.append((dataset, target, shown.format(100 * value), bool(least <= value <= most)))
    streams = character[character["measure"].isin(STREAMS) & (character["n_shot"] == shots[LOW])]
    means = streams.groupby("dataset")["accuracy"].mean().sort_values()
    if {"synth-hmdb51", "synth-ucf101"} <= set(means.index) and len(means) >= 4:
        for name, word, place in (("synth-hmdb51", "hardest", 0), ("synth-ucf101", "easiest", -1)):
            target = f"the {word} of the {len(means)} (mean of both streams)"
            shown = f"{means.index[place]} ({100 * means.iloc[place]:.1f} %)"
            rows.append((name, target, shown, means.index[place] == name))
    return pd.DataFrame(rows, columns=["dataset", "target", "measured", "met"])
