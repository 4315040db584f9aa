"""What is in a data set: counts, shares of degraded clips, how much moves, and how it was prepared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.data.manifest import SPLITS, Dataset
from amfir_lib.data.preparation import REPORT_FILE, absolute, preparation_folder
from amfir_lib.data.real import COUNTS
from amfir_lib.data.streams import streams
from amfir_lib.exports import Table
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import read_json

FLOW_SIZE, FLOW_BOUND = 112, 20.0  # px, as in the feature store: side of the square, and where vectors are clipped


def _span(values: pd.Series) -> str:
    """``20``, or ``14 to 31``."""
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


def counts_table(datasets: Sequence[Dataset]) -> Table:
    """A row per data set and split: classes, clips, clips per class, groups (persons or source videos), frames, px."""
    data = pd.DataFrame([
        {
            "dataset": dataset.name, "split": split, "classes": clips["label"].nunique(), "clips": len(clips),
            "clips_per_class": _span(clips["label"].value_counts()), "groups": clips["group"].nunique(),
            "frames": _span(clips["n_frames"]), "size": f"{_span(clips['width'])} × {_span(clips['height'])}",
        }
        for dataset in datasets for split in SPLITS
        if not (clips := dataset.manifest[dataset.manifest["split"] == split]).empty
    ])  # fmt: skip
    captions = "; ".join(dataset.caption for dataset in datasets)
    return Table(data, caption=f"Groups are persons or source videos; size in px. {captions}.")


def classes_table(dataset: Dataset) -> Table:
    """Which class is in which split: one row a class, ``dataset, split, label, clips, groups``."""
    counts = dataset.manifest.groupby(["split", "label"]).agg(clips=("clip_id", "size"), groups=("group", "nunique"))
    counts = counts.reset_index().sort_values("split", key=lambda split: split.map(SPLITS.index), kind="stable")
    counts.insert(0, "dataset", dataset.name)
    caption = f"Classes of {dataset.name}; groups are persons or source videos."
    return Table(counts.reset_index(drop=True), caption=caption)


def shares_table(datasets: Sequence[Dataset]) -> Table:
    """Share of the clips of each kind of degradation, which rendered clips have: ``dataset, stream, kind, clips,
    share``."""
    counts = pd.concat({data.name: data.manifest.groupby(["degraded", "kind"]).size() for data in datasets})
    shares = counts.rename_axis(["dataset", "stream", "kind"]).rename("clips").reset_index()
    sizes = {data.name: len(data) for data in datasets}
    shares["share"] = shares["clips"] / shares["dataset"].map(sizes)
    caption = "Share of the clips in %, by kind of degradation; synthetic."
    return Table.of(shares, ["dataset"], "{share}", columns=["kind"], caption=caption)


def flow_table(
    datasets: Sequence[Dataset], *, n_clips: int, seed: int = 0, n_jobs: int = 1, flow_size: int = FLOW_SIZE,
    flow_algorithm: str = "dis", flow_average: int = 1,
) -> Table:  # fmt: skip
    """How long the flow vectors are: median and 95th percentile over pixels, instants and clips.

    Args:
        n_clips: of each data set, drawn at random from all splits, without replacement.
        flow_size, flow_algorithm, flow_average: as in the feature store.
    Returns:
        One row for the clips whose flow is undegraded and one for the others, where the manifest tells them apart:
        ``dataset, clips_with, n_clips``, ``median_px, p95_px`` in px per frame, and ``beyond_bound``, the share of
        vectors that the feature store clips.
    """
    measure = partial(_lengths, flow_size=flow_size, flow_algorithm=flow_algorithm, flow_average=flow_average)
    rows = []
    for dataset in datasets:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:n_clips])
        clips = dataset.manifest.iloc[chosen]
        items = [(dataset.clip_path(row), int(n)) for row, n in zip(chosen, clips["n_frames"], strict=True)]
        lengths = map_parallel(measure, items, n_jobs=n_jobs, description=f"{dataset.name}: flow statistics")
        known = "degraded" in clips  # else nobody can tell
        shaken = (clips["degraded"] == "flow").to_numpy() if known else np.zeros(len(clips), bool)
        for name, members in (("sound flow" if known else "any flow", ~shaken), ("degraded flow", shaken)):
            if members.any():
                values = np.concatenate([length for length, member in zip(lengths, members, strict=True) if member])
                rows.append({
                    "dataset": dataset.name, "clips_with": name, "n_clips": int(members.sum()),
                    "median_px": float(np.median(values)), "p95_px": float(np.percentile(values, 95)),
                    "beyond_bound": float((values >= FLOW_BOUND).mean()),
                })  # fmt: skip
    mean = f", mean of {flow_average} pairs of frames" if flow_average > 1 else ""
    return Table(
        pd.DataFrame(rows),
        caption=f"Length of flow vectors in px per frame of a square of {flow_size} px; flow algorithm: "
        f"{flow_algorithm}{mean}; beyond_bound: % of them beyond the bound of {FLOW_BOUND:g} px.",
    )


def _lengths(item: tuple[Path, int], *, flow_size: int, **settings: Any) -> np.ndarray:
    """Worker: lengths of every fourth flow vector of a clip in both directions."""
    path, n_frames = item
    sizes = {"flow": flow_size}
    flow = streams(path, sizes, flow_size=flow_size, flow_bound=FLOW_BOUND, n_frames=n_frames, **settings)["flow"]
    return np.hypot(flow[..., 0], flow[..., 1])[:, ::4, ::4].astype(np.float32).ravel()


def folder_report(data_root: Path | str, *, cache_dir: Path, name: str = "") -> dict[str, Any]:
    """What was found when a data root was prepared: counts, groups, split, and every clip that was skipped.

    ``name`` is that of the benchmark that was read from it; empty for a folder of the user's own clips.
    """
    return read_json(preparation_folder(cache_dir, absolute(data_root), name=name) / REPORT_FILE)


def report_summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a record keeps of the report of a benchmark: no path of this machine, and no list of thousands of videos."""
    return {key: report[key] for key in ("selection", "note", "layout", "groups", "splits", "left_out")}


def preparation_table(report: Mapping[str, Any]) -> Table:
    """The report of a benchmark as a table, one row a split."""
    caption = f"{report['title']}: {report['selection']}; {report['layout']}. Groups: {report['groups']}."
    units = dict.fromkeys([*COUNTS, "published"], "count") | {"lowest_share": "share"}
    return Table(pd.DataFrame(report["splits"]), caption=caption, units=units)
