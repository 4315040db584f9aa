"""What each real benchmark costs in time, disk and memory, from costs per clip that were measured on this machine.

The arithmetic is in :func:`plan`: hours = clips x seconds per clip / (3600 x cores), stage by stage; disk = clips x
bytes per clip; that of training is in :mod:`tests.benchmarks.training_costs`.  The clips that are measured have the
typical length and size of the benchmark's own and the codec of UCF101 and HMDB51 (MPEG-4 part 2).  H.264 and VP9, those
of Kinetics and Something-Something, are not timed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from amfir_lib.analysis.stage_costs import ClipCosts
from amfir_lib.data.benchmarks import BENCHMARKS, published_videos
from amfir_lib.data.flow import STORAGES
from amfir_lib.data.frames import GIGABYTE, Stored, cache_bytes
from amfir_lib.exports import Table
from amfir_lib.workers import WORKER_BYTES
from tests.benchmarks.training_costs import wall_hours

STAGES = ("decode", "flow", "features", "training")


@dataclass(frozen=True)
class Machine:
    """Something to run on: processor cores, and GPUs that take over the backbones."""

    name: str
    cores: int
    gpus: int = 0


MACHINES = (Machine("laptop", 2), Machine("one GPU", 16, 1), Machine("8-GPU node", 128, 8), Machine("cluster", 1024))


def plan(
    costs: Mapping[str, ClipCosts], *, algorithm: str, worker_bytes: float, frames: Mapping[str, Stored],
    training: pd.DataFrame, gpu_features_s: float | None = None, gpu_training: pd.DataFrame | None = None,
    machines: Sequence[Machine] = MACHINES,
) -> pd.DataFrame:  # fmt: skip
    """Time, disk and memory of Table 1 of each benchmark on each machine.

    Args:
        costs: benchmark -> costs of one of its clips, in one thread.
        algorithm: of flow.
        worker_bytes: memory of one worker, as ``measure_throughput`` finds it.
        frames: how end-to-end training stores frames and flow, see ``stored_streams`` in ``end_to_end.clips``.
        training: of ``training_plan``, timed in one thread.
        gpu_features_s: seconds a clip for both streams on one GPU; None leaves the backbones to the cores everywhere.
        gpu_training: of ``training_plan``, timed on one GPU, which trains one run after another however many there are;
            None leaves training to the cores everywhere.
        machines: what to plan for.
    Returns:
        One row a benchmark and machine: ``dataset, machine, clips, decode_h, flow_h, features_h, training_h, total_h,
        features_gb, frame_cache_gb, memory_gb``; hours of wall time, stages one after another.
    """
    rows = []
    for name, cost in costs.items():
        clips = sum(published_videos(name).values())
        for machine in machines:
            on_gpu = bool(machine.gpus) and gpu_features_s is not None
            features_s = gpu_features_s if on_gpu else sum(cost.features_s.values())
            one_gpu = bool(machine.gpus) and gpu_training is not None
            hours = {
                "decode_h": clips * cost.decode_s / machine.cores / 3600,
                "flow_h": clips * cost.flow_s[algorithm] / machine.cores / 3600,
                "features_h": clips * float(features_s or 0) / (machine.gpus if on_gpu else machine.cores) / 3600,
                "training_h": wall_hours(gpu_training, cores=1)
                if one_gpu
                else wall_hours(training, cores=machine.cores),
            }
            rows.append({
                "dataset": name, "machine": machine.name, "cores": machine.cores, "gpus": machine.gpus, "clips": clips,
                **hours, "total_h": sum(hours.values()), "features_gb": clips * cost.feature_bytes / GIGABYTE,
                "frame_cache_gb": cache_bytes(clips, frames) / GIGABYTE,
                "memory_gb": machine.cores * worker_bytes / GIGABYTE,
            })  # fmt: skip
    return pd.DataFrame(rows)


def plan_table(frame: pd.DataFrame, *, algorithm: str, backbone: str, gpu_measured: bool) -> Table:
    """``plan`` as a table to read."""
    gpus = "GPU" if gpu_measured else "GPU, not counted on"
    shown = pd.DataFrame({
        "data set": frame["dataset"], "machine": [
            f"{row.machine} ({row.cores} cores" + (f", {row.gpus} {gpus})" if row.gpus else ")")
            for row in frame.itertuples()
        ],
        "clips": frame["clips"].map("{:,}".format),
        **{f"{stage} (h)": frame[f"{stage}_h"].map(_hours) for stage in STAGES},
        "all (h)": frame["total_h"].map(_hours), "features (GB)": frame["features_gb"].map("{:.1f}".format),
        "frame cache (GB)": frame["frame_cache_gb"].map("{:.1f}".format),
        "memory of all workers (GB)": frame["memory_gb"].map("{:.0f}".format),
    })  # fmt: skip
    memory = f"{WORKER_BYTES / GIGABYTE:.0f} GB of a GPU's memory a worker"
    where = f"on all GPUs of a machine, {memory}" if gpu_measured else "on the cores everywhere: no GPU was measured"
    trained = "on one GPU, one run after another" if gpu_measured else "on the cores, one run a core (--device cpu)"
    caption = (
        f"Planned, not run: clips × measured seconds a clip / cores. Flow: {algorithm}; backbone: {backbone}, {where}. "
        f"Wall time, one stage after another; one worker a core. Training: that of Table 1, {trained}; the frame cache "
        "(flow in 8 bits) is for end-to-end training, whose own time is not in the table. Memory hardly depends on the "
        "size of the clips: frames shrink as they are decoded."
    )
    return Table(frame, shown, caption)


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:.1f}"
    return f"{hours:.2f}" if hours >= 0.01 else "< 0.01"


def storage_table(frames: Mapping[str, Stored]) -> Table:
    """Size of the stored flow of each benchmark, by storage.

    Args:
        frames: as of ``plan``.
    """
    flow = {"flow": frames["flow"]}
    data = pd.DataFrame({"dataset": list(BENCHMARKS)})
    data["clips"] = [sum(published_videos(name).values()) for name in BENCHMARKS]
    shown = data.rename(columns={"dataset": "data set"})
    for name in STORAGES:
        data[f"{name}_gb"] = data["clips"] * cache_bytes(1, flow, flow_type=name) / GIGABYTE
        shown[f"{name} (GB)"] = data[f"{name}_gb"].map("{:.1f}".format)
    size = f"{frames['flow'].n_instants} fields of {frames['flow'].side} px a clip"
    return Table(data, shown, f"Flow of all clips in the frame cache, in each form that it can be stored in: {size}.")


def planning_page(tables: Mapping[str, Table], *, machine: str) -> str:
    """The planning page in Markdown.

    Args:
        tables: heading -> table: measured costs, plan, training, storages, throughput.
        machine: what the costs were measured on.
    """
    intro = (
        f"Costs per clip were measured on {machine}; the rest is arithmetic: hours = clips × seconds a clip / (3600 × "
        "cores or GPUs); disk = clips × bytes a clip; memory = cores × that of a worker; "
        "training = (steps × seconds a step + episodes × seconds an episode) × runs / cores. "
        "The timed clips are coded in MPEG-4 part 2, as UCF101 and HMDB51 are; H.264 and VP9, the codecs of Kinetics "
        "and Something-Something, are not timed."
    )
    parts = ["# Planning: what the real benchmarks cost", intro]
    for heading, table in tables.items():
        shown = table.shown if table.shown is not None else table.data
        parts += [f"## {heading}", shown.to_markdown(index=False, disable_numparse=True), table.caption]
    return "\n\n".join(parts) + "\n"
