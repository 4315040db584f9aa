"""Degradations that hit one stream and spare the other.

Optical flow is computed from the same frames, so the label of a degradation must be earned: notebook
``01_data_preparation`` measures what each one costs both streams, on the same validation clips with and without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

KINDS = {"rgb": ("false_colour", "negative"), "flow": ("shake", "stutter")}
SHARES = {"rgb": 0.2, "flow": 0.2, "none": 0.6}
TINT = 110.0  # grey levels of a negative's colour patches


@dataclass(frozen=True)
class Degradation:
    """What happened to a clip.

    Attributes:
        stream: ``rgb``, ``flow`` or ``none``: the stream that it is meant to destroy.
        kind: how; one of ``KINDS[stream]`` or ``none``.
        strength: in (0, 1]; 0 for none.
    """

    stream: str
    kind: str
    strength: float


NO_DEGRADATION = Degradation("none", "none", 0.0)


def draw_degradation(rng: np.random.Generator, *, stream: str = "mixed") -> Degradation:
    """Draw what happens to one clip: ``mixed`` draws the stream by ``SHARES``, another word forces it.

    The same numbers are drawn whatever ``stream`` says, so that copies of a data set with another choice differ in
    nothing else.
    """
    lot, pick, strength = rng.random(), rng.random(), rng.uniform(0.6, 1.0)
    if stream == "mixed":
        stream = "rgb" if lot < SHARES["rgb"] else "flow" if lot < SHARES["rgb"] + SHARES["flow"] else "none"
    if stream == "none":
        return NO_DEGRADATION
    kinds = KINDS[stream]
    return Degradation(stream, kinds[int(pick * len(kinds))], float(strength))


def degrade(frames: np.ndarray, degradation: Degradation, rng: np.random.Generator) -> np.ndarray:
    """A degraded copy of frames, uint8 (F, H, W, 3) RGB."""
    if degradation.kind == "none":
        return frames
    return _EFFECTS[degradation.kind](frames, degradation.strength, rng)


def _false_colour(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A thermal camera: brightness through a random palette that stays the same for the clip, fine texture lost."""
    knots = rng.uniform(0.0, 255.0, (3, 3))
    knots = knots[:, np.argsort(knots.sum(0))]  # brighter stays brighter on the whole: outlines keep their contrast
    knots[:, 0] *= 0.4
    knots[:, 2] = 255.0 - 0.4 * (255.0 - knots[:, 2])
    if rng.random() < 0.5:
        knots = knots[:, ::-1]
    level = np.arange(256)
    table = np.stack([np.interp(level, (0, 128, 255), row) for row in knots], axis=-1)
    out = np.empty_like(frames)
    for index, frame in enumerate(frames):
        grey = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (0, 0), 0.2 + 0.4 * strength)
        out[index] = table[grey].astype(np.uint8)
    return out


def _negative(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A film negative under coloured light: brightness reversed, colours replaced by slow patches that stand still.

    Every edge stays where it is, so what moves still moves.
    """
    side = frames.shape[1]
    tint = cv2.resize(rng.uniform(-1.0, 1.0, (3, 3, 2)).astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    red_shift, blue_shift = np.moveaxis(TINT * strength * tint, -1, 0)
    out = np.empty_like(frames)
    for index, frame in enumerate(frames):
        luma = 255.0 - cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
        red, blue = luma + red_shift, luma + blue_shift
        # keeps the luma of ITU-R BT.601, from which flow is computed
        green = (luma - 0.299 * red - 0.114 * blue) / 0.587
        out[index] = np.clip(np.stack([red, green, blue], axis=-1), 0, 255).astype(np.uint8)
    return out


def _shake(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """A hand-held camera that jumps between frames; each frame by itself stays sharp."""
    side = frames.shape[1]
    reach = 0.07 * strength * side
    out = np.empty_like(frames)
    for index, frame in enumerate(frames):
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), 5.0 * strength * rng.uniform(-1, 1), 1.0)
        turn[:, 2] += rng.uniform(-reach, reach, 2)
        out[index] = cv2.warpAffine(frame, turn, (side, side), borderMode=cv2.BORDER_REFLECT)
    return out


def _stutter(frames: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Dropped frames, filled by repeating the last one: motion stands still, then jumps."""
    out = frames.copy()
    repeated = rng.random(len(frames)) < 0.5 + 0.4 * strength
    for index in np.flatnonzero(repeated):
        if index and index % 4:  # never longer than four frames
            out[index] = out[index - 1]
    return out


_EFFECTS = {"false_colour": _false_colour, "negative": _negative, "shake": _shake, "stutter": _stutter}
