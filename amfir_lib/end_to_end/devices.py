"""One device or several: Lightning Fabric starts the processes and adds up what they find."""

from __future__ import annotations

from functools import partial
from typing import Any

from amfir_lib.end_to_end.job import Job
from amfir_lib.end_to_end.loop import TrainedEndToEnd, train_end_to_end
from amfir_lib.errors import BackboneUnavailable, BadParameter

INSTALL = "pip install lightning-fabric"


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
    return fabric.launch(partial(_train_rank, job=job))


def _train_rank(fabric: Any, *, job: Job) -> TrainedEndToEnd:
    """What each process does."""
    return train_end_to_end(job, device=str(fabric.device), ranks=fabric)
