"""The character of each synthetic benchmark: how much of the class lies in appearance, motion and its order in time.

The numbers were fixed once, on validation classes, before any two methods were compared (DESIGN: single-modality
accuracy between 35 % and 75 % at 1-shot; early fusion under 92 % at 5-shot), and are never tuned for a method.
Notebook ``01_data_preparation`` measures the character again.
"""

from __future__ import annotations

from dataclasses import dataclass

from amfir_lib.errors import unknown_name


@dataclass(frozen=True)
class Character:
    """What makes the clips of one benchmark.

    Attributes:
        class_counts: classes in (train, val, test), at least those of the real split.
        fidelity: probability that a part of the scene is the class's own and not random (``vary_appearance``).
        jitter: deviation of colours and geometry within a class.
        style: deviation of the key poses within a class (``vary_motion``).
        n_key_poses: poses in a class's programme.
        cyclic: actions repeat (True) or are gestures with a beginning and an end.
        reversals: every second class is its neighbour in reverse order.
        onset: largest shift of the start, in cycles or as a share of the clip.
        camera: drift of the camera over a clip, as a share of the side.
        clutter: contrast of the scene's texture and share of its furniture; 0 is a plain wall.
        sensor_noise: standard deviation of the pixel noise, in grey levels.
        softness: standard deviation of the blur, in pixels.
    """

    class_counts: tuple[int, int, int]
    fidelity: float
    jitter: float
    style: float
    n_key_poses: int = 4
    cyclic: bool = True
    reversals: bool = False
    onset: float = 0.15
    camera: float = 0.0
    clutter: float = 1.0
    sensor_noise: float = 2.0
    softness: float = 0.0


CHARACTERS = {  # class counts, fidelity, jitter, style
    "synth-kinetics": Character((64, 16, 40), 0.66, 0.10, 0.45, onset=0.3),
    "synth-ssv2": Character(
        (64, 16, 40), 0.0, 0.10, 0.22, cyclic=False, reversals=True, onset=0.08, clutter=0.15, sensor_noise=0.6
    ),
    "synth-hmdb51": Character((31, 10, 24), 0.62, 0.12, 0.30, onset=0.2, camera=0.03, sensor_noise=4.0, softness=0.6),
    "synth-ucf101": Character((70, 10, 24), 0.75, 0.08, 0.30, onset=0.15),
}
# The stand-in for ImageNet and Charades: scenes and actions are drawn independently and both are labelled.
CORPUS, CORPUS_CHARACTER = "synth-pretraining", Character((0, 0, 0), 0.85, 0.10, 0.30, onset=0.2, camera=0.03)

SYNTHETIC_NAMES = tuple(CHARACTERS)


def character_of(name: str) -> Character:
    """The character of a benchmark or of the pretraining corpus; refuses an unknown name with the nearest one."""
    if name == CORPUS:
        return CORPUS_CHARACTER
    if name not in CHARACTERS:
        raise unknown_name("synthetic data set", name, (*CHARACTERS, CORPUS))
    return CHARACTERS[name]
