"""Dense optical flow between neighbouring frames, its picture as a colour wheel, and the ways to store it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from amfir_lib.errors import BadParameter, ShapeError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor

FARNEBACK = {
    "pyr_scale": 0.5, "levels": 4, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.1, "flags": 0,
}  # fmt: skip
FLOW_ALGORITHMS: dict[str, dict[str, Any]] = {  # with the settings that are recorded with features
    "dis": {"preset": "medium"}, "farneback": FARNEBACK, "tvl1": {"preset": "opencv default"},
}  # fmt: skip
SATURATED_VALUE = 0.75  # brightness of vectors beyond the end of the colour wheel
# storage -> type and channels: "float" loses nothing; "uint8" (2 bytes a pixel) clips to -20 .. 20 px in steps of 0.16;
# "colour", what a picture network reads, keeps directions, and lengths up to 20 px within 0.1 px
STORAGES = {"float": (np.dtype(np.float32), 2), "uint8": (np.dtype(np.uint8), 2), "colour": (np.dtype(np.uint8), 3)}
ZERO, STEPS = 128, 127  # zero flow is stored exactly, and so is a mirrored field


def check_flow_algorithm(algorithm: str) -> None:
    """Refuse an unknown algorithm (UnknownName), and TV-L1 where this OpenCV lacks it (BadParameter)."""
    if algorithm not in FLOW_ALGORITHMS:
        raise unknown_name("flow algorithm", algorithm, FLOW_ALGORITHMS)
    if algorithm == "tvl1" and not hasattr(cv2, "optflow"):
        raise BadParameter(
            f'flow algorithm "tvl1" needs cv2.optflow, which this OpenCV ({cv2.__version__}) lacks: uninstall '
            "opencv-python, then install opencv-contrib-python (only one OpenCV wheel may be installed at a time), "
            'or use "dis".'
        )


def dense_flow(first: np.ndarray, second: np.ndarray, *, algorithm: str = "dis") -> np.ndarray:
    """Displacement of every pixel of ``first`` on its way to ``second``.

    A point at (x, y) of the first frame is found at (x, y) + flow[y, x] in the second; x grows to the right and y
    downwards.  "dis" is Kroeger et al., ECCV 2016; "farneback" is Farnebäck, SCIA 2003; "tvl1" is Zach et al., 2007.

    Args:
        first, second: uint8 [H, W, 3], RGB, or [H, W]; of one size (else ShapeError), both sides at least 16 px.
    Returns:
        float32 [H, W, 2], (x, y) in pixels per frame.
    """
    check_flow_algorithm(algorithm)
    if first.shape != second.shape or first.dtype != np.uint8 or second.dtype != np.uint8 or min(first.shape[:2]) < 16:
        raise ShapeError(
            f"flow needs two uint8 frames of one size, 16 px or more on each side; "
            f"got {first.dtype} {first.shape} and {second.dtype} {second.shape}."
        )
    grey = [np.ascontiguousarray(f if f.ndim == 2 else cv2.cvtColor(f, cv2.COLOR_RGB2GRAY)) for f in (first, second)]
    if algorithm == "dis":
        method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        flow = method.calc(grey[0], grey[1], None)
    elif algorithm == "farneback":
        flow = cv2.calcOpticalFlowFarneback(grey[0], grey[1], None, **FARNEBACK)
    else:
        flow = cv2.optflow.DualTVL1OpticalFlow_create().calc(grey[0], grey[1], None)
    return flow.astype(np.float32, copy=False)


def flow_windows(
    instants: Sequence[int] | np.ndarray, n_frames: int, *, average: int = 1
) -> list[list[tuple[int, int]]]:
    """For each instant, the ``average`` neighbouring pairs of frames around it whose flow is averaged.

    The middle one is (i, i + 1) at native frame rate, (i - 1, i) for the last frame of the clip; of an even number it
    is the one before the middle.  At the ends of the clip the outermost pair stands for those that are missing.

    Raises:
        BadParameter: the clip has one frame, an instant lies outside it, or ``average`` is below 1.
    """
    if average < 1:
        raise BadParameter(f"flow_average is {average}, but at least 1 pair of frames is needed. Raise it.")
    if n_frames < 2:
        raise BadParameter(f"Flow needs two frames, but the clip has {n_frames}. Drop the clip.")
    if len(instants) and not 0 <= min(instants) <= max(instants) < n_frames:
        raise BadParameter(f"Instants {list(map(int, instants))} do not lie in a clip of {n_frames} frames.")
    shifts = range(-((average - 1) // 2), average // 2 + 1)
    centres = [min(int(instant), n_frames - 2) for instant in instants]
    starts = [[min(max(centre + shift, 0), n_frames - 2) for shift in shifts] for centre in centres]
    return [[(start, start + 1) for start in window] for window in starts]


def flow_to_colour(flow: np.ndarray, *, max_displacement: float) -> np.ndarray:
    """Picture of a flow field on the colour wheel: hue is direction, saturation is length, no motion is white.

    Right is red, down is yellow-green, left is cyan, up is violet, as in the Middlebury pictures (Baker et al.,
    IJCV 2011).  Vectors longer than ``max_displacement`` are darker, so that clipping shows.

    Args:
        flow: float [..., H, W, 2] in px.
        max_displacement: length in px that is fully saturated, positive; state it beside the picture.
    Returns:
        uint8 [..., H, W, 3], RGB.  Pixels without a finite flow are black.
    """
    if not max_displacement > 0:
        raise BadParameter(f"max_displacement is {max_displacement}; give a positive length in px.")
    flow = np.asarray(flow, np.float64)
    finite = np.isfinite(flow).all(axis=-1)
    x, y = np.moveaxis(np.where(finite[..., None], flow, 0.0), -1, 0)
    length = np.hypot(x, y) / max_displacement
    hue = (np.arctan2(y, x) / (2 * np.pi)) % 1.0
    # channel c of a pure hue is a trapezoid around its own place on the circle: red 0, green 1/3, blue 2/3
    away = np.abs((hue[..., None] - np.array([0, 1 / 3, 2 / 3]) + 0.5) % 1.0 - 0.5)  # (..., H, W, 3)
    pure = np.clip(2.0 - 6.0 * away, 0.0, 1.0)
    colour = 1.0 - np.minimum(length, 1.0)[..., None] * (1.0 - pure)
    colour = np.where(length[..., None] > 1.0, SATURATED_VALUE * pure, colour)
    return np.round(255 * np.where(finite[..., None], colour, 0.0)).astype(np.uint8)


def check_storage(storage: str, *, bound: float = 1.0) -> None:
    """Refuse a storage that does not exist (UnknownName), and a bound that is not positive (BadParameter)."""
    if storage not in STORAGES:
        raise unknown_name("storage of flow", storage, STORAGES)
    if not bound > 0:
        raise BadParameter(f"the bound of stored flow is {bound}; give a positive number of px.")


def encode_flow(flow: np.ndarray, *, storage: str = "uint8", bound: float = 20.0) -> np.ndarray:
    """Flow, float [..., H, W, 2] in px per frame, as it is stored; the type and channels are those of ``STORAGES``.

    "uint8" clips each component to -bound .. bound px and maps it to 1 .. 255 linearly, 0 px to 128; "colour" cuts
    vectors at this length.

    Raises:
        UnknownName: no such storage. BadParameter: the bound is not positive. ShapeError: not two components.
    """
    check_storage(storage, bound=bound)
    flow = np.asarray(flow)
    if flow.shape[-1:] != (2,) or flow.ndim < 3:
        raise ShapeError(f"flow has shape {flow.shape}; it is stored as [..., H, W, 2].")
    if storage == "float":
        return flow.astype(np.float32)
    if storage == "uint8":
        return (np.round(np.clip(flow / bound, -1.0, 1.0) * STEPS) + ZERO).astype(np.uint8)
    return flow_to_colour(flow, max_displacement=bound)


def decode_flow(stored: Tensor, *, storage: str = "uint8", bound: float = 20.0) -> Tensor:
    """Flow back from how :func:`encode_flow` stored it, float32 (..., H, W, 2) in px per frame on the same device."""
    check_storage(storage, bound=bound)
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

    Flow in px is its own "float" form.  In colours a direction and its mirror image add up to the brightest and the
    darkest channel, with green and blue exchanged, so that no colour is decoded.  Twice it is ``stored`` again.
    """
    check_storage(storage)
    mirrored = stored[..., ::-1, :].copy()
    if storage == "colour":
        ends = mirrored.max(-1, keepdims=True) + mirrored.min(-1, keepdims=True).astype(np.int16)
        return (ends - mirrored[..., [0, 2, 1]]).astype(stored.dtype)
    mirrored[..., 0] = 2 * ZERO - mirrored[..., 0].astype(np.int16) if storage == "uint8" else -mirrored[..., 0]
    return mirrored
