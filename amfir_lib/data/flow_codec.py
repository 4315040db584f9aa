"""Three ways to store flow: floats, 8-bit numbers, and 3-colour images, from exact to what a picture network reads.

=========  ====================  ==============  =============================================================
storage    type and channels     bytes a pixel   what is lost
=========  ====================  ==============  =============================================================
float      float32, (x, y)       8               nothing
uint8      uint8, (x, y)         2               clipped to -20 .. 20 px; at most 0.08 px of each component
colour     uint8, (R, G, B)      3               lengths over 20 px; at most 0.1 px (hue is direction, see ``flow``)
=========  ====================  ==============  =============================================================

Clips are encoded as NumPy arrays, where they are decoded from video; what is stored is decoded as a tensor, on the
device of the network that reads it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from amfir_lib.data.flow import SATURATED_VALUE, flow_to_colour
from amfir_lib.errors import BadParameter, ShapeError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

STORAGES = {"float": (np.dtype(np.float32), 2), "uint8": (np.dtype(np.uint8), 2), "colour": (np.dtype(np.uint8), 3)}
ZERO, STEPS = 128, 127  # zero flow is stored exactly, and so is a mirrored field


def check_storage(storage: str) -> None:
    """Refuse a storage that does not exist with an UnknownName."""
    if storage not in STORAGES:
        raise unknown_name("storage of flow", storage, STORAGES)


def bytes_per_pixel(storage: str) -> int:
    """Bytes of one stored flow vector."""
    kind, channels = STORAGES[storage]
    return kind.itemsize * channels


def _check(storage: str, bound: float) -> None:
    check_storage(storage)
    if not bound > 0:
        raise BadParameter(f"the bound of stored flow is {bound}; give a positive number of px.")


def encode_flow(flow: np.ndarray, *, storage: str = "uint8", bound: float = 20.0) -> np.ndarray:
    """Flow as it is stored.

    Args:
        flow: float [..., H, W, 2], (x, y) in px per frame.
        storage: "float", "uint8" or "colour".
        bound: "uint8" clips each component to -bound .. bound px and maps it to 1 .. 255 linearly, 0 px to 128;
            "colour" cuts vectors at this length.
    Returns:
        float32 [..., H, W, 2], uint8 [..., H, W, 2] or uint8 [..., H, W, 3].
    Raises:
        UnknownName: no such storage. BadParameter: the bound is not positive. ShapeError: not two components.
    """
    _check(storage, bound)
    flow = np.asarray(flow)
    if flow.shape[-1:] != (2,) or flow.ndim < 3:
        raise ShapeError(f"flow has shape {flow.shape}; it is stored as [..., H, W, 2].")
    if storage == "float":
        return flow.astype(np.float32)
    if storage == "uint8":
        return (np.round(np.clip(flow / bound, -1.0, 1.0) * STEPS) + ZERO).astype(np.uint8)
    return flow_to_colour(flow, max_displacement=bound)


def decode_flow(stored: Tensor, *, storage: str = "uint8", bound: float = 20.0) -> Tensor:
    """Flow back from how :func:`encode_flow` stored it, with the same ``storage`` and ``bound``.

    Args:
        stored: (..., H, W, 2 or 3), on any device.
    Returns:
        float32 (..., H, W, 2) in px per frame, on the same device.
    """
    _check(storage, bound)
    stored = stored.float()
    if storage == "float":
        return stored
    if storage == "uint8":
        return (stored - ZERO) * (bound / STEPS)
    import torch  # not above: workers that only write clips need no networks

    colour = stored / 255
    brightest, darkest = colour.amax(-1), colour.amin(-1)
    long = brightest <= (1 + SATURATED_VALUE) / 2  # cut at the bound: darker, and fully saturated
    chroma = brightest - darkest
    length = torch.where(long, 1.0, chroma)
    red, green, blue = colour.unbind(-1)
    safe = torch.where(chroma > 0, chroma, 1.0)
    sector = torch.where(
        brightest == red,
        (green - blue) / safe,
        torch.where(brightest == green, 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    angle = sector * (torch.pi / 3)
    length = torch.where(chroma > 0, length * bound, 0.0)
    return torch.stack([length * angle.cos(), length * angle.sin()], dim=-1)


def mirror_flow(stored: np.ndarray, *, storage: str = "float") -> np.ndarray:
    """Flow of the horizontally mirrored clip, as it is stored: columns change sides and x changes its sign.

    In colours a direction and its mirror image add up to the brightest and the darkest channel, with green and blue
    exchanged, so that no colour is decoded.

    Args:
        stored: [..., H, W, 2 or 3] of ``encode_flow``; flow in px is its own "float" form.
    Returns:
        The same shape and type; mirrored twice it is ``stored`` again.
    """
    check_storage(storage)
    mirrored = stored[..., ::-1, :].copy()
    if storage == "colour":
        ends = mirrored.max(-1, keepdims=True) + mirrored.min(-1, keepdims=True).astype(np.int16)
        return (ends - mirrored[..., [0, 2, 1]]).astype(stored.dtype)
    mirrored[..., 0] = 2 * ZERO - mirrored[..., 0].astype(np.int16) if storage == "uint8" else -mirrored[..., 0]
    return mirrored
