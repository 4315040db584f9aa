"""What Figure 1 shows: one episode in pictures and numbers, and the names of the library's parts."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from amfir_lib.figures.style import looks

ROUNDS = 50  # of pushing points apart


@dataclass(frozen=True)
class Scene:
    """One episode as Figure 1 shows it: N classes of K supports and one query of each class.

    Attributes:
        class_names: (N,).
        supports: modality -> uint8 (N, K, S, S, 3), one picture of each support; flow as colours.
        queries: modality -> uint8 (N, S, S, 3).
        support_points: modality -> (N, K, 2), video vectors in the plane through the prototypes.
        query_points: modality -> (N, 2).
        posteriors: stream -> (N, N) probabilities, a row a query; the modalities, then fused.
        free_energy: modality -> (N,).
        dominant: (N,) modality that dominates each query, or empty.
        weight: modality -> (N,) fusion weights.
        backbone: modality -> name of what turns its clips into features.
        head: name of what turns features into video vectors.
        rule: by which episode and queries were chosen, to stand after "one of each class, such that"; empty where no
            episode fits a rule and the first queries are shown.
        n_episodes: test episodes that were looked through.
        accuracy: share of all their queries that are decided rightly.
    """

    class_names: tuple[str, ...]
    supports: dict[str, np.ndarray]
    queries: dict[str, np.ndarray]
    support_points: dict[str, np.ndarray]
    query_points: dict[str, np.ndarray]
    posteriors: dict[str, np.ndarray]
    free_energy: dict[str, np.ndarray]
    dominant: np.ndarray
    weight: dict[str, np.ndarray]
    backbone: dict[str, str]
    head: str
    rule: str
    n_episodes: int
    accuracy: float


def architecture_caption(scene: Scene) -> str:
    """How the queries were chosen, which are decided wrongly, and what groups and weights follow."""
    names = {m: looks([m])[m].label for m in scene.weight}
    wrong = [str(k + 1) for k, p in enumerate(scene.posteriors["fused"]) if int(p.argmax()) != k]
    apart = [
        f"query {number} is dominated by {names[one]} and weighs {names[other]} more"
        for number, one in enumerate(scene.dominant, start=1)
        for other in names
        if one and other != one and scene.weight[other][number - 1] > scene.weight[one][number - 1]
    ]
    chosen = f"the first, one of each class, such that {scene.rule}" if scene.rule else "the first of each class"
    errors = f"query {' and '.join(wrong)}" if wrong else "none"
    return (
        f"Queries: {chosen}, among {scene.n_episodes} test episodes, {100 * scene.accuracy:.0f} % of whose queries are "
        f"decided rightly; wrong here: {errors}. Groups follow free energy F (Eq. 1, 3): the modality of the lower F "
        "dominates a query and teaches it in training. The weights α at test follow certainty, max p (Eq. 5, 8), and "
        f"not F: {'; '.join(apart) or 'on these queries both agree'}."
    )


def part_name(part: Callable) -> str:
    """``inference.free_energy (Eq. 1)``: module and name of a function, and the equations its docstring names."""
    found = re.search(r"Eq\. [\d, to]*\d", (part.__doc__ or "").partition("Args:")[0])
    equation = f" ({found[0]})" if found else ""
    return f"{part.__module__.rpartition('.')[2]}.{part.__name__}{equation}"


def moved_apart(points: np.ndarray, *, least: float) -> np.ndarray:
    """(n, 2) the same points, those closer than ``least`` pushed apart, each as far as the other, along their line."""
    points = np.array(points, dtype=float)
    for _ in range(ROUNDS):
        for i, j in itertools.combinations(range(len(points)), 2):
            gap = points[j] - points[i]
            apart = np.hypot(*gap)
            if apart < least:
                along = gap / apart if apart else np.array([1.0, 0.0])
                push = (least - apart) / 2 * along
                points[i], points[j] = points[i] - push, points[j] + push
    return points
