"""What each real benchmark costs in time, disk and memory, from costs per clip that were measured on this machine.

The arithmetic is in :func:`plan`: hours = clips x seconds per clip / (3600 x cores), stage by stage; disk = clips x
bytes per clip.  The clips that are measured have the typical length and size of the benchmark's own and the codec of
UCF101 and HMDB51 (MPEG-4 part 2).  H.264 and VP9, those of Kinetics and Something-Something, are not timed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from amfir_lib.costs.stage_costs import ClipCosts
from amfir_lib.data.benchmarks import BENCHMARKS, published_videos
from amfir_lib.data.flow_codec import STORAGES, flow_bytes
from amfir_lib.exports import Table

GIGABYTE = 1e9


@dataclass(frozen=True)
class Machine:
    """Something to run on: processor cores, and GPUs that take over the backbones."""

    name: str
    cores: int
    gpus: int = 0


MACHINES = (Machine("laptop", 2), Machine("one GPU", 16, 1), Machine("8-GPU node", 128, 8), Machine("cluster", 1024))


def plan(
    costs: Mapping[str, ClipCosts], *, algorithm: str, worker_bytes: float, gpu_features_s: float | None = None,
    machines: Sequence[Machine] = MACHINES, n_segments: int = 8, cache_size: int = 224, storage: str = "uint8",
) -> pd.DataFrame:  # fmt: skip
    """Time, disk and memory of preparing each benchmark on each machine.

    Args:
        costs: benchmark -> costs of one of its clips, in one thread.
        algorithm: of flow.
        worker_bytes: memory of one worker, as ``measure_throughput`` finds it; it hardly depends on the clips, of which
            a worker holds the needed frames alone.
        gpu_features_s: seconds a clip for both streams on one GPU; None leaves the backbones to the cores everywhere.
        machines: what to plan for.
        n_segments: T.
        cache_size: side of the frames in the frame cache of end-to-end training, px.
        storage: of flow in that cache, see :mod:`amfir_lib.data.flow_codec`.
    Returns:
        One row a benchmark and machine: ``dataset, machine, clips, decode_h, flow_h, features_h, total_h,
        features_gb, frame_cache_gb, memory_gb``; hours of wall time, stages one after another.
    """
    rows = []
    for name, cost in costs.items():
        clips = sum(published_videos(name).values())
        frame_cache = n_segments * cache_size**2 * 3 + flow_bytes(storage, n_segments=n_segments, size=cache_size)
        for machine in machines:
            on_gpu = bool(machine.gpus) and gpu_features_s is not None
            features_s = gpu_features_s if on_gpu else sum(cost.features_s.values())
            hours = {
                "decode_h": clips * cost.decode_s / machine.cores / 3600,
                "flow_h": clips * cost.flow_s[algorithm] / machine.cores / 3600,
                "features_h": clips * float(features_s or 0) / (machine.gpus if on_gpu else machine.cores) / 3600,
            }
            rows.append({
                "dataset": name, "machine": machine.name, "cores": machine.cores, "gpus": machine.gpus, "clips": clips,
                **hours, "total_h": sum(hours.values()), "features_gb": clips * cost.feature_bytes / GIGABYTE,
                "frame_cache_gb": clips * frame_cache / GIGABYTE,
                "memory_gb": machine.cores * worker_bytes / GIGABYTE,
            })  # fmt: skip
    return pd.DataFrame(rows)


def plan_table(frame: pd.DataFrame, *, algorithm: str, backbone: str, gpu_measured: bool) -> Table:
    """``plan`` as a table to read."""
    shown = pd.DataFrame({
        "data set": frame["dataset"], "machine": [
            f"{row.machine} ({row.cores} cores" + (f", {row.gpus} GPU)" if row.gpus else ")")
            for row in frame.itertuples()
        ],
        "clips": frame["clips"].map("{:,}".format),
        **{f"{stage} (h)": frame[f"{stage}_h"].map(_hours) for stage in ("decode", "flow", "features")},
        "all (h)": frame["total_h"].map(_hours), "features (GB)": frame["features_gb"].map("{:.1f}".format),
        "frame cache (GB)": frame["frame_cache_gb"].map("{:.1f}".format),
        "memory of all workers (GB)": frame["memory_gb"].map("{:.0f}".format),
    })  # fmt: skip
    where = "on the GPUs where there are any" if gpu_measured else "on the cores everywhere: no GPU was measured"
    caption = (
        f"Planned, not run: clips × measured seconds a clip / cores. Flow: {algorithm}; backbone: {backbone}, {where}. "
        "Wall time, one stage after another; one worker a core; the frame cache is for end-to-end "
        "training, whose own time is not in the table."
    )
    return Table(frame, shown, caption)


def _hours(hours: float) -> str:
    return f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}"


def storage_table(*, n_segments: int = 8, size: int = 224) -> Table:
    """Size of the stored flow of each benchmark, by storage."""
    sizes = {name: flow_bytes(name, n_segments=n_segments, size=size) / GIGABYTE for name in STORAGES}
    data = pd.DataFrame({"dataset": list(BENCHMARKS)})
    data["clips"] = [sum(published_videos(name).values()) for name in BENCHMARKS]
    for name, size_gb in sizes.items():
        data[f"{name}_gb"] = data["clips"] * size_gb
    shown = data.rename(columns={"dataset": "data set", **{f"{name}_gb": f"{name} (GB)" for name in STORAGES}})
    for name in STORAGES:
        shown[f"{name} (GB)"] = data[f"{name}_gb"].map("{:.1f}".format)
    return Table(data, shown, f"Flow of all clips as it can be stored: {n_segments} fields of {size} px a clip.")


def planning_page(tables: Mapping[str, Table], *, machine: str) -> str:
    """The planning page in Markdown.

    Args:
        tables: heading -> table: measured costs, plan, storages, throughput.
        machine: what the costs were measured on.
    """
    intro = (
        f"Costs per clip were measured on {machine}; the rest is arithmetic: hours = clips × seconds a clip / (3600 × "
        "cores or GPUs); disk = clips × bytes a clip; memory = cores × that of a worker. The timed clips are coded in "
        "MPEG-4 part 2, as UCF101 and HMDB51 are; H.264 and VP9, the codecs of Kinetics and Something-Something, are "
        "not timed."
    )
    parts = ["# Planning: what the real benchmarks cost", intro]
    for heading, table in tables.items():
        shown = table.shown if table.shown is not None else table.data
        parts += [f"## {heading}", shown.to_markdown(index=False, disable_numparse=True), table.caption]
    return "\n\n".join(parts) + "\n"
