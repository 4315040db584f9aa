"""How many clips a second feature extraction reads, and which of its stages limits it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from amfir_lib.analysis.stage_costs import ClipCosts, measure_stages
from amfir_lib.data.features import extract_stores
from amfir_lib.data.manifest import Dataset
from amfir_lib.exports import Table
from amfir_lib.parallel import map_parallel
from amfir_lib.records import peak_memory

WARM_UP_ITEMS = 4


def _import_all(_: int) -> None:
    """A worker's first task: what it imports once is no part of the throughput."""
    import torch  # noqa: F401


def _peak_bytes(_: int) -> int:
    """A worker's last task: the most memory that it ever held; what it was forked from does not count on Linux."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    return found[0] if found else peak_memory()


def measure_throughput(
    dataset: Dataset, backbones: Mapping[str, Any], *, cores: Sequence[int], algorithm: str = "farneback",
    n_segments: int = 8, flow_size: int = 112, flow_average: int = 3, n_clips: int = 0, repeats: int = 3,
) -> pd.DataFrame:  # fmt: skip
    """Extract features of clips on so many cores, beside what the single-thread costs of the stages promise.

    Args:
        dataset: whose clips to read.
        backbones: modality -> backbone.
        cores: numbers of worker processes to measure.
        algorithm, n_segments, flow_size, flow_average: as in :func:`amfir_lib.data.features.extract_stores`.
        n_clips: the first so many clips; 0 takes all.
        repeats: of each stage; the median counts.
    Returns:
        One row a number of cores: ``cores, clips, clips_per_s`` as measured, ``promised_per_s`` (cores / seconds a clip
        in one thread), the shares ``decode, flow, features`` of those seconds, ``limit``, the largest stage, and
        ``worker_bytes``, the most memory that a worker held.
    """
    manifest = dataset.manifest.iloc[: n_clips or None].reset_index(drop=True)
    part = replace(dataset, manifest=manifest)
    settings = {"n_segments": n_segments, "flow_size": flow_size, "flow_average": flow_average}
    costs = _mean_costs(part, backbones, algorithm=algorithm, repeats=repeats, **settings)
    stages = {"decode": costs.decode_s, "flow": costs.flow_s[algorithm], "features": sum(costs.features_s.values())}
    seconds = sum(stages.values())
    rows = []
    for n_jobs in cores:
        map_parallel(_import_all, range(WARM_UP_ITEMS * n_jobs), n_jobs=n_jobs, description="warm-up", unit="worker")
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            extract_stores(
                part, backbones, cache_dir=folder, n_jobs=n_jobs, flow_algorithm=algorithm,
                shard_clips=max(1, min(64, len(part) // (4 * n_jobs))), **settings,
            )  # fmt: skip
            elapsed = time.perf_counter() - start
        peaks = map_parallel(
            _peak_bytes, range(WARM_UP_ITEMS * n_jobs), n_jobs=n_jobs, description="memory", unit="worker"
        )
        rows.append({
            "cores": n_jobs, "clips": len(part), "clips_per_s": len(part) / elapsed, "promised_per_s": n_jobs / seconds,
            **{stage: value / seconds for stage, value in stages.items()}, "limit": max(stages, key=stages.__getitem__),
            "worker_bytes": max(peaks),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _mean_costs(dataset: Dataset, backbones: Mapping[str, Any], *, algorithm: str, **options: Any) -> ClipCosts:
    """Costs of a clip of middle length."""
    row = int(dataset.manifest["n_frames"].argsort().iloc[len(dataset) // 2])
    return measure_stages(Path(dataset.clip_path(row)), backbones, algorithms=[algorithm], **options)


def throughput_table(frame: pd.DataFrame, *, basis: str) -> Table:
    """``measure_throughput`` as a table to read.

    Args:
        frame: of ``measure_throughput``.
        basis: data set, backbone, flow and machine, for the caption.
    """
    shown = pd.DataFrame({
        "cores": frame["cores"].map(str), "clips/s": frame["clips_per_s"].map("{:.3g}".format),
        "one thread × cores": frame["promised_per_s"].map("{:.3g}".format),
        **{f"{stage} (%)": (100 * frame[stage]).map("{:.0f}".format) for stage in ("decode", "flow", "features")},
        "limits": frame["limit"], "memory of a worker (GB)": (frame["worker_bytes"] / 1e9).map("{:.2f}".format),
    })  # fmt: skip
    caption = f"Clips read a second by feature extraction, both streams; shares of the time in one thread. {basis}"
    return Table(frame, shown, caption)
