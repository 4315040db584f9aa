"""Dense optical flow between neighbouring frames, and its picture as a colour wheel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from amfir_lib.errors import BadParameter, ShapeError, unknown_name

FLOW_ALGORITHMS = ("dis", "farneback", "tvl1")
FARNEBACK = {
    "pyr_scale": 0.5, "levels": 4, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.1, "flags": 0,
}  # fmt: skip
SATURATED_VALUE = 0.75  # brightness of vectors beyond the end of the colour wheel


def flow_parameters(algorithm: str) -> dict[str, Any]:
    """The settings of a flow algorithm, as they are recorded in a feature store.

    Raises:
        UnknownName: no such algorithm.
    """
    if algorithm == "dis":
        return {"preset": "medium"}
    if algorithm == "farneback":
        return dict(FARNEBACK)
    if algorithm == "tvl1":
        return {"preset": "opencv default"}
    raise unknown_name("flow algorithm", algorithm, FLOW_ALGORITHMS)


def check_flow_algorithm(algorithm: str) -> None:
    """Refuse an unknown algorithm, and TV-L1 where this OpenCV lacks it, before any work starts.

    Raises:
        UnknownName: no such algorithm.
        BadParameter: "tvl1" without OpenCV's contrib modules.
    """
    flow_parameters(algorithm)
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
        first, second: uint8 [H, W, 3], RGB, or [H, W]; both sides at least 16 px.
        algorithm: "dis", "farneback" or "tvl1".
    Returns:
        float32 [H, W, 2], (x, y) in pixels per frame.
    Raises:
        UnknownName, BadParameter: see :func:`check_flow_algorithm`.
        ShapeError: the frames differ in size, are not uint8, or are too small.
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


def flow_pairs(instants: Sequence[int] | np.ndarray, n_frames: int) -> list[tuple[int, int]]:
    """The neighbouring frames between which the flow at each instant is taken.

    That is (i, i + 1) at native frame rate, and (i - 1, i) for the last frame of the clip.

    Raises:
        BadParameter: the clip has one frame, or an instant lies outside it.
    """
    if n_frames < 2:
        raise BadParameter(f"Flow needs two frames, but the clip has {n_frames}. Drop the clip.")
    if len(instants) and not 0 <= min(instants) <= max(instants) < n_frames:
        raise BadParameter(f"Instants {list(map(int, instants))} do not lie in a clip of {n_frames} frames.")
    starts = [min(int(instant), n_frames - 2) for instant in instants]
    return [(start, start + 1) for start in starts]


def flow_windows(
    instants: Sequence[int] | np.ndarray, n_frames: int, *, average: int = 1
) -> list[list[tuple[int, int]]]:
    """For each instant, the ``average`` neighbouring pairs around it whose flow is averaged.

    The middle one is that of :func:`flow_pairs`, of an even number the one before the middle.  At the ends of the clip
    the outermost pair stands for those that are missing.

    Raises:
        BadParameter: as :func:`flow_pairs`, or ``average`` is below 1.
    """
    if average < 1:
        raise BadParameter(f"flow_average is {average}, but at least 1 pair of frames is needed. Raise it.")
    shifts = range(-((average - 1) // 2), average // 2 + 1)
    centres = [start for start, _ in flow_pairs(instants, n_frames)]
    starts = [[min(max(centre + shift, 0), n_frames - 2) for shift in shifts] for centre in centres]
    return [[(start, start + 1) for start in window] for window in starts]


def flow_at(
    frames: np.ndarray, instants: Sequence[int] | np.ndarray, *, algorithm: str = "dis", bound: float | None = None
) -> np.ndarray:
    """Flow around chosen instants of a clip, at native frame rate.

    Args:
        frames: uint8 [F, H, W, 3], all frames of the clip.
        instants: [T] frame numbers.
        algorithm: see :func:`dense_flow`.
        bound: clip each component to -bound .. bound px; None keeps it as it is.
    Returns:
        float32 [T, H, W, 2] in px per frame, from frame i to i + 1 (from i - 1 to i for the last frame).
    Raises:
        BadParameter: fewer than two frames, or an instant outside the clip.
    """
    pairs = flow_pairs(instants, len(frames))
    flow = np.zeros((len(pairs), *frames.shape[1:3], 2), np.float32)
    for t, (first, second) in enumerate(pairs):
        flow[t] = dense_flow(frames[first], frames[second], algorithm=algorithm)
    return flow if bound is None else np.clip(flow, -bound, bound)


def flow_to_colour(flow: np.ndarray, *, max_displacement: float) -> np.ndarray:
    """Picture of a flow field on the colour wheel: hue is direction, saturation is length, no motion is white.

    Right is red, down is yellow-green, left is cyan, up is violet, as in the Middlebury pictures (Baker et al.,
    IJCV 2011).  Vectors longer than ``max_displacement`` are darker, so that clipping shows.

    Args:
        flow: float [..., H, W, 2] in px.
        max_displacement: length in px that is fully saturated; state it beside the picture.
    Returns:
        uint8 [..., H, W, 3], RGB.  Pixels without a finite flow are black.
    Raises:
        BadParameter: ``max_displacement`` is not positive.
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
