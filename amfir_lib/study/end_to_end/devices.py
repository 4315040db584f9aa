"""One device or several: Lightning Fabric starts the processes and adds up what they find."""

from __future__ import annotations

import copy
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from amfir_lib.errors import BackboneUnavailable, BadParameter
from amfir_lib.methods.base import Method
from amfir_lib.study.end_to_end.clips import Clips
from amfir_lib.study.training import Trained, Training, train

INSTALL = "pip install lightning-fabric"
FRAMES = ("history", "validation")  # of a Trained


def train_on_devices(
    method: Method, clips: Clips, settings: Training, *, device: str = "cpu", n_devices: int = 1, **options: Any
) -> Trained:
    """``training.train`` through backbones on one device ("cpu", "cuda:N"), or on several of a kind ("cpu", "cuda").

    Each device takes every n-th episode of a step; gradients are added up before the step, so that the result is that
    of one device up to rounding (methods with dropout draw other masks).

    Raises:
        BadParameter, BackboneUnavailable: see ``check_devices``.
    """
    check_devices(n_devices, device=device, episodes_per_step=settings.episodes_per_step)
    if n_devices == 1:
        clips.place(device)
        return train(method, clips, settings, **options)
    kind, call = device.partition(":")[0], partial(_train_rank, method, clips, settings, options)
    with tempfile.TemporaryDirectory() as folder:  # weights travel better in a file than through a queue
        path = Path(folder) / "trained.pt"
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # Fabric starts none from a notebook's
            pool.submit(_launch, kind, n_devices, call, path).result()
        trained = torch.load(path, weights_only=True, map_location="cpu")
    return Trained(**trained | {name: pd.DataFrame(trained[name]) for name in FRAMES})


def check_devices(n_devices: int, *, device: str, episodes_per_step: int) -> None:
    """Refuse a number of devices that cannot train together here.

    Raises:
        BadParameter: fewer than one device, fewer episodes in a step than devices, or fewer GPUs.
        BackboneUnavailable: several devices without Lightning Fabric; says how to install it.
    """
    if not 1 <= n_devices <= episodes_per_step:
        raise BadParameter(f"n_devices is {n_devices}, but must be 1 to {episodes_per_step}, the episodes of a step.")
    if n_devices > 1 and find_spec("lightning_fabric") is None:
        raise BackboneUnavailable(
            f"training on {n_devices} devices needs Lightning Fabric, which is not installed. Install it with: "
            f"{INSTALL}; or use one device."
        )
    n_gpus = torch.cuda.device_count()
    if device.startswith("cuda") and n_devices > max(1, n_gpus):
        raise BadParameter(f"n_devices is {n_devices}, but PyTorch sees {n_gpus} GPUs here. Lower --devices.")


def _launch(kind: str, n_devices: int, call: partial, path: Path) -> None:
    """Start the processes, one for each device, and wait for them."""
    from lightning_fabric import Fabric

    Fabric(accelerator=kind, devices=n_devices, strategy="ddp_spawn").launch(partial(call, path))


def _train_rank(
    method: Method, clips: Clips, settings: Training, options: dict[str, Any], path: Path, fabric: Any
) -> None:
    """What each process does; the first one hands over what all have found."""
    method, clips.backbones = copy.deepcopy((method, clips.backbones))  # spawned processes share memory of weights
    fabric.barrier()
    clips.place(str(fabric.device), fabric)
    trained = train(method, clips, settings, **options)
    if fabric.global_rank == 0:
        torch.save(vars(trained) | {name: getattr(trained, name).to_dict("records") for name in FRAMES}, path)
    fabric.barrier()
