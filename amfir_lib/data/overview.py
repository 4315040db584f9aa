"""What is in a data set: counts, shares of degraded clips, and how much moves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.data.benchmark_report import preparation_table, report_summary
from amfir_lib.data.manifest import SPLITS, Dataset
from amfir_lib.data.preparation import preparation_folder
from amfir_lib.data.streams import streams
from amfir_lib.exports import Table
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import read_json

__all__ = [
    "classes_table", "count_clips", "counts_table", "degraded_shares", "flow_statistics", "flow_table", "folder_report",
    "folder_sentence", "preparation_table", "report_summary", "shares_table",
]  # fmt: skip
FLOW_SIZE, FLOW_BOUND = 112, 20.0  # px, as in the feature store: side of the square, and where vectors are clipped


def count_clips(dataset: Dataset) -> pd.DataFrame:
    """One row a split: classes, clips, clips per class, groups (persons or source videos), frames, size in px."""
    rows = []
    for split in SPLITS:
        part = dataset.manifest.iloc[dataset.rows(split)]
        if part.empty:
            continue
        per_class = part.groupby("label").size()
        rows.append({
            "dataset": dataset.name, "split": split, "classes": part["label"].nunique(), "clips": len(part),
            "clips_per_class": _span(per_class), "groups": part["group"].nunique(), "frames": _span(part["n_frames"]),
            "size": _span(part["width"]) + " × " + _span(part["height"]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def classes_table(dataset: Dataset) -> Table:
    """Which class is in which split: one row a class, ``dataset, split, label, clips, groups``."""
    manifest = dataset.manifest
    counts = manifest.groupby(["split", "label"]).agg(clips=("clip_id", "size"), groups=("group", "nunique"))
    counts = counts.loc[[split for split in SPLITS if (manifest["split"] == split).any()]].reset_index()
    counts.insert(0, "dataset", dataset.name)
    shown = counts.drop(columns="dataset").rename(columns={"label": "class"})
    return Table(counts, shown, f"Classes of {dataset.name}; groups are persons or source videos.")


def degraded_shares(dataset: Dataset) -> pd.DataFrame:
    """Share of the clips of each kind of degradation; columns ``dataset, stream, kind, clips, share``.

    Args:
        dataset: with the columns ``degraded`` and ``kind``, which rendered clips have.
    """
    counts = dataset.manifest.groupby(["degraded", "kind"]).size().rename("clips").reset_index()
    counts = counts.rename(columns={"degraded": "stream"}).assign(share=counts["clips"] / len(dataset))
    return counts.assign(dataset=dataset.name)[["dataset", "stream", "kind", "clips", "share"]]


def flow_statistics(
    dataset: Dataset, *, n_clips: int, rng: np.random.Generator, n_jobs: int = 1, flow_size: int = FLOW_SIZE,
    flow_algorithm: str = "dis", flow_average: int = 1,
) -> pd.DataFrame:  # fmt: skip
    """How long the flow vectors are: median and 95th percentile over pixels, instants and clips.

    Args:
        dataset: whose clips to read.
        n_clips: drawn at random from all splits, without replacement.
        rng: draws them.
        n_jobs: worker processes.
        flow_size: side of the square on which flow is computed, as in the feature store.
        flow_algorithm, flow_average: as in the feature store.
    Returns:
        One row for the clips with sound flow and one for those whose flow is degraded, where the manifest tells them
        apart: ``dataset, clips_with, n_clips``, ``median_px, p95_px`` in px per frame, and ``beyond_bound``, the share
        of vectors that the feature store clips.
    """
    chosen = np.sort(rng.permutation(len(dataset))[:n_clips])
    items = [(dataset.clip_path(row), int(dataset.manifest["n_frames"].iloc[row])) for row in chosen]
    measure = partial(_lengths, flow_size=flow_size, flow_algorithm=flow_algorithm, flow_average=flow_average)
    lengths = map_parallel(measure, items, n_jobs=n_jobs, description=f"{dataset.name}: flow statistics")
    shaken = np.zeros(len(chosen), bool)
    if "degraded" in dataset.manifest:
        shaken = (dataset.manifest["degraded"].iloc[chosen] == "flow").to_numpy()
    rows = []
    for name, part in (("sound flow", ~shaken), ("degraded flow", shaken)):
        if part.any():
            values = np.concatenate([length for length, own in zip(lengths, part, strict=True) if own])
            rows.append({
                "dataset": dataset.name, "clips_with": name, "n_clips": int(part.sum()),
                "median_px": float(np.median(values)), "p95_px": float(np.percentile(values, 95)),
                "beyond_bound": float((values >= FLOW_BOUND).mean()),
            })  # fmt: skip
    return pd.DataFrame(rows)


def counts_table(datasets: Sequence[Dataset]) -> Table:
    """``count_clips`` of several data sets."""
    counts = pd.concat([count_clips(dataset) for dataset in datasets], ignore_index=True)
    names = {"dataset": "data set", "clips_per_class": "clips per class", "size": "size (px)"}
    captions = "; ".join(dataset.caption for dataset in datasets)
    return Table(counts, counts.rename(columns=names), f"Groups are persons or source videos. {captions}.")


def shares_table(datasets: Sequence[Dataset]) -> Table:
    """``degraded_shares`` of several data sets, in percent, one column a kind."""
    shares = pd.concat([degraded_shares(dataset) for dataset in datasets], ignore_index=True)
    wide = shares.pivot(index="dataset", columns="kind", values="share")[list(dict.fromkeys(shares["kind"]))]
    shown = (100 * wide).map("{:.1f}".format).reset_index()
    shown.columns = ["data set", *(str(kind).replace("_", " ") for kind in wide.columns)]
    return Table(shares, shown, "Share of the clips in %, by kind of degradation; synthetic.")


def flow_table(statistics: pd.DataFrame, *, flow_algorithm: str = "dis", flow_average: int = 1) -> Table:
    """``flow_statistics`` of one or more data sets, all with the same kind of flow."""
    shown = pd.DataFrame({
        "data set": statistics["dataset"], "clips with": statistics["clips_with"],
        "clips": statistics["n_clips"].map(str), "median (px)": statistics["median_px"].map("{:.2f}".format),
        "95th percentile (px)": statistics["p95_px"].map("{:.2f}".format),
        "beyond the bound (%)": (100 * statistics["beyond_bound"]).map("{:.2f}".format),
    })  # fmt: skip
    mean = f", mean of {flow_average} pairs of frames" if flow_average > 1 else ""
    caption = (
        f"Length of flow vectors in px per frame of a square of {FLOW_SIZE} px; flow algorithm: "
        f"{flow_algorithm}{mean}; bound: {FLOW_BOUND:g} px."
    )
    return Table(statistics, shown, caption)


def folder_report(data_root: Path, *, cache_dir: Path, name: str = "") -> dict[str, Any]:
    """What was found when a data root was prepared: counts, groups, split, and every clip that was skipped.

    Args:
        data_root: the folder of the clips.
        cache_dir: the cache folder.
        name: of the benchmark that was read from it; empty for a folder of the user's own clips.
    """
    return read_json(preparation_folder(cache_dir, data_root, name=name) / "preparation_report.json")


def folder_sentence(report: dict[str, Any]) -> str:
    """What ``folder_report`` holds, in one sentence."""
    skipped = f"{len(report['unreadable'])} unreadable and {len(report['too_short'])} too short clips were skipped"
    return (
        f"**{report['name']}**: {report['n_clips']} clips are used; groups: {report['groups']}; class split: "
        f"{report['split']}. {skipped}, {len(report['not_listed'])} files are not listed, and "
        f"{len(report['other_frame_count'])} clips have another number of frames than stated."
    )


def _lengths(item: tuple[Path, int], *, flow_size: int, flow_algorithm: str, flow_average: int) -> np.ndarray:
    path, n_frames = item
    flow = streams(
        path, {"flow": flow_size}, flow_size=flow_size, flow_bound=FLOW_BOUND, n_frames=n_frames,
        flow_algorithm=flow_algorithm, flow_average=flow_average,
    )["flow"]  # fmt: skip
    return np.hypot(flow[..., 0], flow[..., 1])[:, ::4, ::4].astype(np.float32).ravel()


def _span(values: pd.Series) -> str:
    """``20``, or ``14 to 31``."""
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"
