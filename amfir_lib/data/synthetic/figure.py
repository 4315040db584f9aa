"""The articulated figure: a person drawn from joint angles, in the clothes and with the object of an appearance."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from amfir_lib.data.synthetic.appearance import HELD_OBJECTS, SHIFT, Appearance, fixed, rgb


@dataclass(frozen=True)
class Body:
    """One person, the ``group`` of a clip.

    Attributes:
        height: of the figure, as a share of the frame's side.
        limbs: (4,) lengths of torso, arm segment, leg segment and head radius, as shares of the height.
        girth: thickness of the limbs as a share of the height.
        skin: (3,) RGB in 0..255.
    """

    height: float
    limbs: np.ndarray
    girth: float
    skin: tuple[float, float, float]


def draw_body(rng: np.random.Generator) -> Body:
    """Draw a person: build, proportions and skin."""
    tone = rng.random()
    light, dark = np.array([245.0, 212.0, 185.0]), np.array([92.0, 58.0, 40.0])
    height = float(rng.uniform(0.60, 0.76))
    limbs = np.array([0.33, 0.19, 0.235, 0.075]) * rng.uniform(0.9, 1.1, 4)
    return Body(height, limbs, float(rng.uniform(0.075, 0.105)), tuple((1.0 - tone) * light + tone * dark))


def joints(pose: np.ndarray, body: Body, *, root: np.ndarray, scale: float, view: float) -> dict[str, np.ndarray]:
    """Where the joints of a figure are in the picture.

    Args:
        pose: (11,) one row of ``motion.poses``.
        body: the person.
        root: (2,) x, y of the hip in pixels, before the pose's own displacement.
        scale: pixels per unit of body height.
        view: horizontal foreshortening by the viewpoint, 1 = seen from the front.
    Returns:
        name -> (x, y) in pixels.
    """
    torso, arm, leg, head = body.limbs * scale
    lean, *angles = pose[:9]

    def step(start: np.ndarray, angle: float, length: float) -> np.ndarray:
        return start + length * np.array([view * np.sin(angle), np.cos(angle)])

    hip = np.asarray(root, dtype=float)
    neck = step(hip, np.pi - lean, torso)
    places = {"hip": hip, "neck": neck, "head": step(neck, np.pi - 1.2 * lean, 1.35 * head)}
    for index, (side, sign) in enumerate((("left", -1.0), ("right", 1.0))):
        shoulder = neck + np.array([sign * 0.42 * torso * view, 0.10 * torso])
        elbow = step(shoulder, angles[index], arm)
        socket = hip + np.array([sign * 0.20 * torso * view, 0.0])
        knee = step(socket, angles[4 + index], leg)
        hand = step(elbow, angles[index] + angles[2 + index], arm)
        foot = step(knee, angles[4 + index] - angles[6 + index], leg)
        names = ("shoulder", "elbow", "hand", "socket", "knee", "foot")
        points = (shoulder, elbow, hand, socket, knee, foot)
        places |= {f"{name}_{side}": point for name, point in zip(names, points, strict=True)}
    return places


def paint_figure(image: np.ndarray, places: dict[str, np.ndarray], body: Body, look: Appearance, scale: float) -> None:
    """Draw the figure into ``image`` (uint8 RGB, changed in place)."""
    upper, lower = rgb(look.clothes[0]), rgb(look.clothes[1])
    thick = body.girth * scale

    def limb(start: str, end: str, colour: tuple[float, ...], width: float) -> None:
        first, second = places[start], places[end]
        cv2.line(image, fixed(first), fixed(second), colour, max(1, round(width)), cv2.LINE_AA, SHIFT)

    def darker(colour: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(0.72 * channel for channel in colour)

    limb("shoulder_left", "elbow_left", darker(upper), 0.85 * thick)  # the far arm lies behind the body
    limb("elbow_left", "hand_left", darker(body.skin), 0.7 * thick)
    for side, colour in (("left", darker(lower)), ("right", lower)):
        limb(f"socket_{side}", f"knee_{side}", colour, 1.15 * thick)
        limb(f"knee_{side}", f"foot_{side}", colour, 0.95 * thick)
    corners = np.array([fixed(places[name]) for name in _TORSO], dtype=np.int32)
    cv2.fillPoly(image, [corners], upper, cv2.LINE_AA, SHIFT)
    limb("shoulder_left", "shoulder_right", upper, thick)
    limb("socket_left", "socket_right", lower, 1.1 * thick)
    limb("neck", "head", body.skin, 0.8 * thick)
    radius = int(body.limbs[3] * scale * 16)
    cv2.circle(image, fixed(places["head"]), radius, body.skin, -1, cv2.LINE_AA, SHIFT)
    _paint_held(image, places, look, scale)
    limb("shoulder_right", "elbow_right", upper, 0.85 * thick)
    limb("elbow_right", "hand_right", body.skin, 0.7 * thick)


_TORSO = ("shoulder_left", "shoulder_right", "socket_right", "socket_left")


def _paint_held(image: np.ndarray, places: dict[str, np.ndarray], look: Appearance, scale: float) -> None:
    hand, elbow = places["hand_right"], places["elbow_right"]
    kind, colour, size = HELD_OBJECTS[look.held], rgb(look.held_colour), look.held_size * scale
    direction = (hand - elbow) / max(float(np.hypot(*(hand - elbow))), 1e-6)
    if kind == "ball":
        cv2.circle(image, fixed(hand), int(0.55 * size * 16), colour, -1, cv2.LINE_AA, SHIFT)
    elif kind == "ring":
        cv2.circle(image, fixed(hand), int(0.6 * size * 16), colour, max(1, round(0.2 * size)), cv2.LINE_AA, SHIFT)
    elif kind == "stick":
        ends = fixed(hand - 0.5 * size * direction), fixed(hand + 1.6 * size * direction)
        cv2.line(image, *ends, colour, max(1, round(0.25 * size)), cv2.LINE_AA, SHIFT)
    elif kind == "box":
        across = np.array([-direction[1], direction[0]])
        corners = [hand + 0.5 * size * (a * direction + b * across) for a, b in ((-1, -1), (-1, 1), (1, 1), (1, -1))]
        cv2.fillPoly(image, [np.array([fixed(c) for c in corners], dtype=np.int32)], colour, cv2.LINE_AA, SHIFT)
