"""Three ways to store flow: floats, 8-bit numbers, and 3-colour images, from exact to what a picture network reads.

=========  ====================  ==============  =============================================================
storage    type and channels     bytes a pixel   what is lost
=========  ====================  ==============  =============================================================
float      float32, (x, y)       8               nothing
uint8      uint8, (x, y)         2               clipped to -20 .. 20 px; at most 0.08 px of each component
colour     uint8, (R, G, B)      3               lengths over 20 px; at most 0.1 px (hue is direction, see ``flow``)
=========  ====================  ==============  =============================================================

A clip of 8 fields of 224 px takes 3.2 MB, 0.8 MB and 1.2 MB.
"""

from __future__ import annotations

import numpy as np

from amfir_lib.data.flow import SATURATED_VALUE, flow_to_colour
from amfir_lib.errors import BadParameter, ShapeError, unknown_name

BYTES_PER_PIXEL = {"float": 8, "uint8": 2, "colour": 3}
STORAGES = tuple(BYTES_PER_PIXEL)
ZERO, STEPS = 128, 127  # zero flow is stored exactly, and so is a mirrored field


def _check(storage: str, bound: float) -> None:
    if storage not in STORAGES:
        raise unknown_name("storage of flow", storage, STORAGES)
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


def decode_flow(stored: np.ndarray, *, storage: str = "uint8", bound: float = 20.0) -> np.ndarray:
    """Flow back from how :func:`encode_flow` stored it, with the same ``storage`` and ``bound``.

    Returns:
        float32 [..., H, W, 2] in px per frame.
    """
    _check(storage, bound)
    if storage == "float":
        return np.asarray(stored, np.float32)
    if storage == "uint8":
        return ((stored.astype(np.float32) - ZERO) * np.float32(bound / STEPS)).astype(np.float32)
    colour = stored.astype(np.float64) / 255
    brightest, darkest = colour.max(axis=-1), colour.min(axis=-1)
    long = brightest <= (1 + SATURATED_VALUE) / 2  # cut at the bound: darker, and fully saturated
    chroma = brightest - darkest
    length = np.where(long, 1.0, chroma)
    red, green, blue = np.moveaxis(colour, -1, 0)
    safe = np.where(chroma > 0, chroma, 1.0)
    sector = np.select(
        [brightest == red, brightest == green],
        [(green - blue) / safe, 2.0 + (blue - red) / safe],
        4.0 + (red - green) / safe,
    )
    angle = sector * (np.pi / 3)
    length = np.where(chroma > 0, length * bound, 0.0)
    return np.stack([length * np.cos(angle), length * np.sin(angle)], axis=-1).astype(np.float32)


def flip_flow(flow: np.ndarray) -> np.ndarray:
    """The flow of the horizontally mirrored clip: columns change sides and x changes its sign.

    Args:
        flow: float [..., H, W, 2], (x, y) in px per frame.
    """
    return flow[..., ::-1, :] * np.array([-1, 1], flow.dtype)


def flow_bytes(storage: str, *, n_segments: int, size: int) -> int:
    """Bytes of the stored flow of one clip: ``n_segments`` fields of ``size`` x ``size`` px."""
    _check(storage, 1.0)
    return BYTES_PER_PIXEL[storage] * n_segments * size * size
