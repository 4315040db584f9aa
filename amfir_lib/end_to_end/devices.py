"""One device or several: Lightning Fabric starts the processes and adds up what they find."""

from __future__ import annotations

import copy
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from amfir_lib.end_to_end.job import Job
from amfir_lib.end_to_end.loop import TrainedEndToEnd, train_end_to_end
from amfir_lib.errors import BackboneUnavailable, BadParameter

INSTALL = "pip install lightning-fabric"
FRAMES = ("history", "validation")  # of a TrainedEndToEnd


def train_on_devices(job: Job, *, device: str = "cpu", n_devices: int = 1) -> TrainedEndToEnd:
    """Train on one device, or on several that share the episodes of each step.

    Each device takes every n-th episode of a step; gradients are added up before the step, so that the result is that
    of one device up to rounding (methods with dropout draw other masks).

    Args:
        job: what to train.
        device: "cpu" or "cuda:N" for one device; its kind ("cpu", "cuda") for several.
        n_devices: processes, one for each device.
    Raises:
        BadParameter: fewer than one device, or fewer episodes in a step than devices.
        BackboneUnavailable: several devices without Lightning Fabric; says how to install it.
    """
    if n_devices == 1:
        return train_end_to_end(job, device=device)
    per_step = job.settings.episodes_per_step
    if not 1 <= n_devices <= per_step:
        raise BadParameter(f"n_devices is {n_devices}, but must be 1 to {per_step}, the episodes of a step.")
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise BackboneUnavailable(
            f"training on {n_devices} devices needs Lightning Fabric, which is not installed. Install it with: "
            f"{INSTALL}; or use one device."
        ) from error
    kind = device.partition(":")[0]
    fabric = Fabric(accelerator=kind, devices=n_devices, strategy="ddp_spawn")
    with tempfile.TemporaryDirectory() as folder:  # weights travel better in a file than through a queue
        path = Path(folder) / "trained.pt"
        fabric.launch(partial(_train_rank, job=job, path=path))
        found = torch.load(path, weights_only=True, map_location="cpu")
    frames = {name: pd.DataFrame(found.pop(name)) for name in FRAMES}
    return TrainedEndToEnd(**found, **frames)


def _train_rank(fabric: Any, *, job: Job, path: Path) -> None:
    """What each process does; the first one hands over what all have found."""
    job.method, job.streams = copy.deepcopy((job.method, job.streams))  # spawned processes share the memory of weights
    fabric.barrier()
    trained = train_end_to_end(job, device=str(fabric.device), ranks=fabric)
    if fabric.global_rank == 0:
        rows = {name: getattr(trained, name).to_dict("records") for name in FRAMES}
        torch.save(vars(trained) | rows, path)
    fabric.barrier()
