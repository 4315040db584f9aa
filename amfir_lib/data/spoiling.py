"""Ways to spoil a clip, each from nothing (severity 0) to its worst (1): a bad sensor, or ambiguous motion.

Unlike the degradations of the synthetic benchmarks these hit both streams as they come, like what happens to a real
camera; how much each one costs appearance and motion is measured, not assumed (notebook ``10_robustness``).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from amfir_lib.data.synthetic.degradation import Degradation, degrade
from amfir_lib.errors import BadParameter, unknown_name

DARKEST = 0.95  # share of the light that is lost at severity 1
WIDEST_BLUR = 4.0  # px of a 112-px frame, the standard deviation at severity 1
LOUDEST_NOISE = 60.0  # grey levels, the standard deviation at severity 1
LARGEST_OCCLUSION = 0.6  # share of the picture that is hidden at severity 1
SLOWEST = 0.25  # speed at severity 1, as a share of the clip's own
SENSOR, MOTION = "sensor noise", "motion ambiguity"

Effect = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Spoiling:
    """One way to spoil a clip, of the family ``SENSOR`` or ``MOTION``.

    ``worst`` is severity 1 in words; ``effect`` makes frames uint8 (F, S, S, 3), a severity in (0, 1] and a source of
    randomness to frames of the same shape; ``graded`` is False where there is severity 1 or nothing.
    """

    family: str
    worst: str
    effect: Effect
    graded: bool = True


def spoil_clip(frames: np.ndarray, kind: str, severity: float, rng: np.random.Generator) -> np.ndarray:
    """A clip, spoilt in one way.

    Args:
        frames: square, uint8 (F, S, S, 3), as is the result.
        kind: one of ``SPOILINGS``.
        severity: 0 (the frames as they are) to 1.
        rng: the same generator state gives the same draws at every severity, so that severity changes nothing else.
    Raises:
        UnknownName: no such kind. BadParameter: a severity outside 0 to 1.
    """
    check_spoiling(kind, severity)
    return SPOILINGS[kind].effect(frames, severity, rng) if severity else frames


def check_spoiling(kind: str, severity: float) -> None:
    """Refuse an unknown kind, and a severity that it does not have."""
    if kind not in SPOILINGS:
        raise unknown_name("way to spoil a clip", kind, SPOILINGS)
    if not 0 <= severity <= 1:
        raise BadParameter(f"severity of {kind} is {severity}, but must lie between 0 and 1. Correct it.")


def spoiling_rng(kind: str, clip_id: str) -> np.random.Generator:
    """The draws of one clip in one way of spoiling; they depend on nothing else."""
    return np.random.default_rng([zlib.crc32(kind.encode()), zlib.crc32(clip_id.encode())])


def _blur(frames: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Out of focus."""
    width = WIDEST_BLUR * severity * frames.shape[1] / 112
    return np.stack([cv2.GaussianBlur(frame, (0, 0), width) for frame in frames])


def _noise(frames: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, independent in every pixel, colour and frame."""
    grain = rng.standard_normal(frames.shape, dtype=np.float32)
    return np.clip(frames + LOUDEST_NOISE * severity * grain, 0, 255).astype(np.uint8)


def _occlusion(frames: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """A grey square stands before the camera, at one place for the whole clip."""
    level, across, down = rng.uniform(0, 255), rng.random(), rng.random()
    size = frames.shape[1]
    side = round(size * (LARGEST_OCCLUSION * severity) ** 0.5)
    left, top = round(across * (size - side)), round(down * (size - side))
    out = frames.copy()
    out[:, top : top + side, left : left + side] = np.uint8(level)
    return out


def _drop(frames: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Frames are lost and filled by repeating the one before; the first one is kept."""
    lost = rng.random(len(frames)) < severity
    lost[0] = False
    return frames[np.maximum.accumulate(np.where(lost, 0, np.arange(len(frames))))]


def _slow(frames: np.ndarray, severity: float, rng: np.random.Generator) -> np.ndarray:
    """Slow motion: the middle of the clip, stretched to its length; frames in between are mixed from two."""
    middle = (len(frames) - 1) / 2
    time = middle + (np.arange(len(frames)) - middle) * (1 - (1 - SLOWEST) * severity)
    before = np.floor(time).astype(int)
    share = (time - before)[:, None, None, None].astype(np.float32)
    after = np.minimum(before + 1, len(frames) - 1)
    return np.rint((1 - share) * frames[before] + share * frames[after]).astype(np.uint8)


SPOILINGS: dict[str, Spoiling] = {
    "darkness": Spoiling(  # and with the light the grey levels that eight bits can still tell apart
        SENSOR, f"{100 * DARKEST:.0f} % of the light is lost",
        lambda frames, severity, rng: (frames * (1 - DARKEST * severity)).astype(np.uint8),
    ),
    "blur": Spoiling(SENSOR, f"out of focus, {WIDEST_BLUR:g} px of 112 (standard deviation)", _blur),
    "noise": Spoiling(SENSOR, f"pixel noise of {LOUDEST_NOISE:g} grey levels (standard deviation)", _noise),
    "occlusion": Spoiling(SENSOR, f"a still square hides {100 * LARGEST_OCCLUSION:.0f} % of the picture", _occlusion),
    "shake": Spoiling(
        MOTION, "the camera jumps up to 7 % of the side and turns up to 5° between frames",
        lambda frames, severity, rng: degrade(frames, Degradation("flow", "shake", severity), rng),
    ),
    "drop": Spoiling(MOTION, "all frames but the first are lost: a frozen picture", _drop),
    "slow": Spoiling(MOTION, f"the middle of the clip at {SLOWEST:g} of its speed, frames mixed in between", _slow),
    "reversal": Spoiling(
        MOTION, "played backwards", lambda frames, severity, rng: np.ascontiguousarray(frames[::-1]), graded=False
    ),
}  # fmt: skip
