"""What Figure 1 shows: one episode in pictures and numbers, and the names of the library's parts."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


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


def part_name(part: Callable) -> str:
    """``inference.free_energy (Eq. 1)``: module and name of a function, and the equations its docstring names."""
    found = re.search(r"Eq\. [\d, to]*\d", (part.__doc__ or "").partition("Args:")[0])
    equation = f" ({found[0]})" if found else ""
    return f"{part.__module__.rpartition('.')[2]}.{part.__name__}{equation}"
