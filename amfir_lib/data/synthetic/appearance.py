"""Appearance latents, where a figure acts, what it wears and what it holds, and the scene painted from them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

HELD_OBJECTS = ("nothing", "ball", "stick", "box", "ring")
SHIFT = 4  # OpenCV draws in 1/16 pixel


@dataclass(frozen=True)
class Appearance:
    """Everything that a single frame shows apart from the pose.

    Attributes:
        wall: (2, 3) the two colours of the scene's texture, HSV in [0, 1].
        floor: (3,) colour of the ground, HSV.
        weights: (4,) shares of stripes, checks, blobs and gradient in the texture; they sum to 1.
        orientation: of the texture, in radians.
        frequency: texture periods per side of the frame.
        horizon: height of the ground line as a share of the side.
        props: (3, 8) furniture of the scene: centre x, y, half width, half height (shares of the side), roundness, HSV.
        clothes: (2, 3) colours of the upper and lower part of the body, HSV.
        held: index into ``HELD_OBJECTS``.
        held_colour: (3,) HSV.
        held_size: share of the figure's height.
    """

    wall: np.ndarray
    floor: np.ndarray
    weights: np.ndarray
    orientation: float
    frequency: float
    horizon: float
    props: np.ndarray
    clothes: np.ndarray
    held: int
    held_colour: np.ndarray
    held_size: float


def _colour(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.stack([rng.random(count), rng.uniform(0.1, 0.75, count), rng.uniform(0.3, 0.95, count)], axis=1)


def draw_appearance(rng: np.random.Generator) -> Appearance:
    """Draw the appearance latent of a class, or of one clip, where classes do not differ in appearance."""
    place = [rng.uniform(0.05, 0.95, (3, 1)), rng.uniform(0.15, 0.7, (3, 1)), rng.uniform(0.04, 0.16, (3, 2))]
    props = np.hstack([*place, rng.random((3, 1)), _colour(rng, 3)])
    return Appearance(
        wall=_colour(rng, 2),
        floor=_colour(rng, 1)[0],
        weights=rng.dirichlet(np.full(4, 0.4)),
        orientation=float(rng.uniform(0.0, np.pi)),
        frequency=float(rng.uniform(2.0, 9.0)),
        horizon=float(rng.uniform(0.62, 0.82)),
        props=props,
        clothes=_colour(rng, 2),
        held=int(rng.integers(len(HELD_OBJECTS))),
        held_colour=_colour(rng, 1)[0],
        held_size=float(rng.uniform(0.10, 0.22)),
    )


# What belongs to the class as one piece: a scene keeps its wall with its texture, a dress its two colours.
_PIECES = [names.split() for names in (
    "wall weights orientation frequency", "floor horizon", "props", "clothes", "held held_colour held_size",
)]  # fmt: skip


def vary_appearance(appearance: Appearance, rng: np.random.Generator, *, fidelity: float, jitter: float) -> Appearance:
    """How one clip of a class looks.

    Args:
        appearance: the class's latent.
        rng: source of randomness.
        fidelity: probability that a piece (wall, ground, furniture, clothes, object) is the class's and not a random
            one; 0 gives every class the same distribution of appearance.
        jitter: size of the deviation in colours (HSV units) and geometry.
    """
    other = draw_appearance(rng)
    for names in _PIECES:
        if rng.random() >= fidelity:
            appearance = replace(appearance, **{name: getattr(other, name) for name in names})

    def shifted(colours: np.ndarray) -> np.ndarray:
        moved = colours + jitter * rng.standard_normal(np.shape(colours)) * np.array([0.5, 1.0, 1.0])
        return np.concatenate([moved[..., :1] % 1.0, np.clip(moved[..., 1:], 0.05, 1.0)], axis=-1)

    props = appearance.props.copy()
    props[:, :4] += 0.3 * jitter * rng.standard_normal((3, 4))
    props[:, 2:4] = np.clip(props[:, 2:4], 0.02, 0.25)
    props[:, 5:] = shifted(props[:, 5:])
    return replace(
        appearance, wall=shifted(appearance.wall), floor=shifted(appearance.floor),
        orientation=appearance.orientation + jitter * float(rng.standard_normal()),
        frequency=appearance.frequency * float(np.exp(jitter * rng.standard_normal())),
        props=props, clothes=shifted(appearance.clothes), held_colour=shifted(appearance.held_colour),
    )  # fmt: skip


def rgb(colour: np.ndarray) -> tuple[float, float, float]:
    """RGB in 0..255 of one HSV colour in [0, 1]."""
    pixel = np.float32([[[colour[0] * 360.0, colour[1], colour[2]]]])
    red, green, blue = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0] * 255.0
    return float(red), float(green), float(blue)


def paint_scene(
    appearance: Appearance, rng: np.random.Generator, *, size: int, margin: int, clutter: float = 1.0
) -> np.ndarray:
    """Paint the place where a clip happens, without the figure.

    Args:
        appearance: what the place looks like.
        rng: chooses where the texture starts.
        size: side of the visible frame in pixels.
        margin: pixels painted beyond each side, for a moving camera.
        clutter: contrast of the texture, and share of the furniture that stands there, in [0, 1].
    Returns:
        uint8 RGB (size + 2 margin, size + 2 margin, 3).
    """
    axis = (np.arange(size + 2 * margin, dtype=np.float32) - margin) / size
    x, y = np.meshgrid(axis, axis)
    cosine, sine = np.cos(appearance.orientation), np.sin(appearance.orientation)
    along, across = cosine * x + sine * y, cosine * y - sine * x
    shift = rng.random(2) * 2.0 * np.pi
    wave = 2.0 * np.pi * appearance.frequency
    stripes = np.sin(wave * along + shift[0])
    checks = np.sign(stripes * np.sin(wave * across + shift[1]))
    blobs = np.sin(0.6 * wave * along + shift[0] + 1.5 * np.sin(0.7 * wave * across + shift[1]))
    patterns = np.stack([np.clip(2.0 * stripes, -1, 1), checks, blobs, np.clip(2.0 * along - 0.5, -1, 1)])
    value = 0.5 + 0.5 * clutter * np.tensordot(appearance.weights.astype(np.float32), patterns, axes=1)[..., None]
    first, second = (np.float32(rgb(colour)) for colour in appearance.wall)
    image = np.ascontiguousarray((1.0 - value) * first + value * second, dtype=np.float32)
    ground = int(margin + appearance.horizon * size)
    shade = np.linspace(0.75, 1.1, len(image) - ground, dtype=np.float32)[:, None, None]
    image[ground:] = np.clip(shade * np.float32(rgb(appearance.floor)), 0, 255)
    image = image.clip(0, 255).astype(np.uint8)
    standing = appearance.props[: round(clutter * len(appearance.props))]
    for x0, y0, half_width, half_height, roundness, *hsv in standing:
        centre, colour = np.array([x0, y0]) * size + margin, rgb(np.array(hsv))
        half = np.array([half_width, half_height]) * size
        if roundness > 0.5:
            axes = tuple(int(v * 16) for v in half)
            cv2.ellipse(image, fixed(centre), axes, 0, 0, 360, colour, -1, cv2.LINE_AA, SHIFT)
        else:
            cv2.rectangle(image, fixed(centre - half), fixed(centre + half), colour, -1, cv2.LINE_AA, SHIFT)
    return image


def fixed(point: np.ndarray) -> tuple[int, int]:
    """A point in 1/16 pixel, as OpenCV draws with ``shift=SHIFT``."""
    return int(round(point[0] * 16)), int(round(point[1] * 16))
