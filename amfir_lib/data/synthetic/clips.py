"""One synthetic clip, from its place in a benchmark to frames."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np

from amfir_lib.data.synthetic.appearance import Appearance, draw_appearance, paint_scene, vary_appearance
from amfir_lib.data.synthetic.benchmarks import CORPUS, Character, character_of
from amfir_lib.data.synthetic.degradation import Degradation, degrade, draw_degradation
from amfir_lib.data.synthetic.figure import Body, draw_body, joints, paint_figure
from amfir_lib.data.synthetic.motion import Motion, draw_motion, poses, vary_motion

N_FRAMES = 16
SIDE = 112  # pixels
FPS = 12.0
N_PERSONS = 40  # people in one split of a benchmark; no person appears in two splits


@dataclass(frozen=True)
class ClipPlan:
    """Where a clip belongs; together with the seed it determines every pixel.

    Attributes:
        dataset: name of the benchmark or corpus.
        split: train, val or test.
        action: number of the motion class within the split.
        scene: number of the appearance class within the split; equals ``action`` in the benchmarks.
        take: number of the clip within the class.
        degradation: ``mixed``, or one stream (or ``none``) forced on every clip.
        seed: of the whole data set.
    """

    dataset: str
    split: str
    action: int
    scene: int
    take: int
    degradation: str = "mixed"
    seed: int = 0

    def rng(self, purpose: str, *numbers: int) -> np.random.Generator:
        """An independent stream for one purpose, so that no draw shifts another."""
        words = [zlib.crc32(word.encode()) for word in (self.dataset, self.split, purpose)]
        return np.random.default_rng([self.seed, *words, *numbers])


def class_motion(plan: ClipPlan, character: Character) -> Motion:
    """The motion latent of the clip's class; odd classes reverse their neighbour where the benchmark says so."""
    original = plan.action - plan.action % 2 if character.reversals else plan.action
    rng = plan.rng("motion", original)
    motion = draw_motion(rng, n_key_poses=character.n_key_poses, cyclic=character.cyclic)
    if plan.dataset == CORPUS and plan.action % 2:  # the corpus shows cycles and gestures alike
        motion = draw_motion(rng, n_key_poses=character.n_key_poses, cyclic=False)
    return motion.reversed() if original != plan.action else motion


def person_of(plan: ClipPlan) -> int:
    """Number of the person who acts in the clip, the same lottery for every class."""
    return int(plan.rng("person", plan.action, plan.take).integers(N_PERSONS))


def degradation_of(plan: ClipPlan) -> Degradation:
    """What happens to the clip."""
    return draw_degradation(plan.rng("degradation", plan.action, plan.take), stream=plan.degradation)


def render_clip(plan: ClipPlan) -> tuple[np.ndarray, np.ndarray]:
    """Render a clip.

    Returns:
        frames: uint8 RGB (N_FRAMES, SIDE, SIDE, 3), degraded as the plan says.
        joints: float32 (N_FRAMES, J, 2) x and y of the joints as shares of the side, before any degradation.
    """
    character = character_of(plan.dataset)
    rng = plan.rng("clip", plan.action, plan.take)
    body = draw_body(plan.rng("body", person_of(plan)))
    scene = draw_appearance(plan.rng("scene", plan.scene))
    look = vary_appearance(scene, rng, fidelity=character.fidelity, jitter=character.jitter)
    motion = vary_motion(class_motion(plan, character), rng, style=character.style)
    onset = float(rng.uniform(0.0, character.onset))
    frames, places = _film(poses(motion, N_FRAMES, onset=onset), body, look, character, rng)
    return degrade(frames, degradation_of(plan), plan.rng("effect", plan.action, plan.take)), places


def _film(
    angles: np.ndarray, body: Body, look: Appearance, character: Character, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Let the figure act in its scene before a (drifting) camera; frames and joints as ``render_clip`` returns them."""
    margin = int(np.ceil(1.5 * character.camera * SIDE)) + 1
    scene = paint_scene(look, rng, size=SIDE, margin=margin, clutter=character.clutter)
    scale = body.height * SIDE * rng.uniform(0.92, 1.08)
    view = rng.uniform(0.8, 1.0)
    stand = np.array([rng.uniform(0.4, 0.6), rng.uniform(0.50, 0.56)]) * SIDE + margin
    drift = character.camera * SIDE * _wander(rng, len(angles))
    noise = rng.normal(0.0, character.sensor_noise, (SIDE + 17, SIDE + 17, 1)).astype(np.float32)
    frames = np.empty((len(angles), SIDE, SIDE, 3), dtype=np.uint8)
    places = []
    for index, pose in enumerate(angles):
        image = scene.copy()
        figure = joints(pose, body, root=stand + pose[9:] * SIDE, scale=scale, view=view)
        paint_figure(image, figure, body, look, scale)
        places.append((np.stack(list(figure.values())) - margin - drift[index]) / SIDE)
        window = np.float32([[1, 0, -margin - drift[index, 0]], [0, 1, -margin - drift[index, 1]]])
        image = cv2.warpAffine(image, window, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if character.softness:
            image = cv2.GaussianBlur(image, (0, 0), character.softness)
        left, top = rng.integers(0, 17, 2)  # the same grain, shifted at random, is new noise in every frame
        grain = noise[top : top + SIDE, left : left + SIDE]
        frames[index] = np.clip(image + grain, 0, 255).astype(np.uint8)
    return frames, np.stack(places).astype(np.float32)


def _wander(rng: np.random.Generator, n_frames: int) -> np.ndarray:
    """A smooth path of a hand-held camera, (n_frames, 2), within about one unit."""
    time = np.linspace(0.0, 1.0, n_frames)[:, None]
    speed, phase = rng.uniform(0.3, 0.9, 2), rng.uniform(0.0, 2.0 * np.pi, 2)
    return np.sin(2.0 * np.pi * speed * time + phase)
