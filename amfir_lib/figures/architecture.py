"""Figure 1: the architecture, drawn from the library's own parts around the numbers of one real episode.

Boxes carry the names of the classes and functions that do the work, with the equations that their docstrings name, so
the figure changes with the code.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from amfir_lib import distillation, fusion, inference
from amfir_lib.figures.clips import add_artist, add_axes_inches, picture, write
from amfir_lib.figures.style import LOOKS, SOFT, TWO_COLUMNS, PrintFigure, styled

CLASS_COLOURS, CLASS_MARKERS = ("#009E73", "#882255", "#999933"), "os^"  # far from those of the modalities
HEIGHT, BAND, THUMB, GAP = 4.75, 1.72, 0.3, 0.03  # inches; a band is one modality
BOTTOM = (HEIGHT - BAND - 0.22, 0.2)  # of the first and of the second modality's band
BOXES, MAP, BARS, WEIGHTS, FUSED = (1.5, 1.92), 2.42, 3.72, 5.2, 5.95  # left edges of the columns
MAP_SIZE, BARS_WIDTH, BARS_HEIGHT, FUSED_WIDTH = 1.02, 1.05, 0.72, 1.0
# of the arrows in a band, left and right: clips, backbone, head, map, bars
ARROWS = (1.32, BOXES[0], BOXES[0] + 0.24, BOXES[1], BOXES[1] + 0.24, MAP - 0.02, MAP + MAP_SIZE + 0.03, BARS - 0.06)
DISC = 0.17  # inches from one disc of a query to the next
MAP_REACH = 0.62  # half the side of a map in spans of its points, so that no disc of a query is cut
INK = "#222222"
ROUNDS = 50  # of pushing points apart


@dataclass(frozen=True)
class Scene:
    """One episode as Figure 1 shows it: N = 3 classes of K supports and one query of each class, two modalities."""

    class_names: tuple[str, ...]
    supports: dict[str, np.ndarray]  # modality -> uint8 (N, K, S, S, 3), one picture of a clip; flow as colours
    queries: dict[str, np.ndarray]  # modality -> uint8 (N, S, S, 3)
    support_points: dict[str, np.ndarray]  # modality -> (N, K, 2), vectors in the plane through the prototypes
    query_points: dict[str, np.ndarray]  # modality -> (N, 2)
    posteriors: dict[str, np.ndarray]  # stream -> (N, N) probabilities, a row a query; the modalities, then fused
    free_energy: dict[str, np.ndarray]  # modality -> (N,)
    dominant: np.ndarray  # (N,) modality that dominates each query, or empty
    weight: dict[str, np.ndarray]  # modality -> (N,) fusion weights
    backbone: dict[str, str]  # modality -> name of what turns clips into features
    head: str  # name of what turns features into video vectors
    rule: str  # by which the queries were chosen, to stand after "one of each class, such that"; or empty
    n_episodes: int  # that were looked through
    accuracy: float  # on their queries


@styled
def architecture(scene: Scene) -> Figure:
    """Clips of both modalities, backbone, head, prototypes, posterior, free energy, groups, distillation, fusion."""
    figure = PrintFigure(figsize=(TWO_COLUMNS, HEIGHT), layout="none")
    for modality, bottom in zip(scene.free_energy, BOTTOM, strict=True):
        _clips(figure, scene, modality, bottom)
        _judgement(figure, scene, modality, bottom)
    _teaching(figure, scene)
    _fusion(figure, scene)
    return figure


def _clips(figure: Figure, scene: Scene, modality: str, bottom: float) -> None:
    """From the clips of one modality to its vectors."""
    look, width, top = LOOKS[modality], BARS + BARS_WIDTH + 0.05, bottom + BAND - 0.16
    _box(figure, 0.03, bottom - 0.08, width, BAND + 0.2, 0.06, facecolor=look.colour, linewidth=0, alpha=0.08)
    write(figure, 0.1, top + 0.13, look.label, size=8, color=look.colour, fontweight="bold", va="center")
    kind = f"{len(scene.class_names)}-way {scene.supports[modality].shape[1]}-shot"
    write(figure, 0.55, top + 0.13, kind, size=6.5, color=SOFT, va="center")
    step = THUMB + GAP
    thumbs = []  # image, column, bottom edge, colour of the frame
    for row, (takes, colour) in enumerate(zip(scene.supports[modality], CLASS_COLOURS, strict=True)):
        thumbs += [(image, k, top - (row + 1) * step, colour) for k, image in enumerate(takes)]
        _class_marker(figure, 0.15, top - (row + 0.5) * step, row, size=5)
    for column, image in enumerate(scene.queries[modality]):
        thumbs.append((image, column, bottom + 0.1, INK))
        _words(figure, 0.28 + column * step + THUMB / 2, bottom + 0.06, f"query {column + 1}", size=5.5, va="top")
    for image, column, low, colour in thumbs:
        picture(figure, image, 0.28 + column * step, low, THUMB, THUMB, colour=colour, width=1.0)
    middle = bottom + 0.85
    for left, name in zip(BOXES, (scene.backbone[modality], scene.head), strict=True):
        _box(figure, left, middle - 0.6, 0.24, 1.2, 0.04, facecolor="white", edgecolor=INK, linewidth=0.7)
        _words(figure, left + 0.12, middle, name, size=6.5, rotation=90, va="center")
    for start, end in zip(ARROWS[::2], ARROWS[1::2], strict=True):
        _arrow(figure, (start, middle), (end, middle))


def _judgement(figure: Figure, scene: Scene, modality: str, bottom: float) -> None:
    """From the vectors of one modality to its posteriors and free energies."""
    middle, height, centre = bottom + 0.85, bottom + 0.62, BARS + BARS_WIDTH / 2
    _map(figure, scene, modality, middle - MAP_SIZE / 2)
    _words(figure, MAP + MAP_SIZE / 2, middle + MAP_SIZE / 2 + 0.1, "class means $t_k$,\nqueries 1 to 3")
    _bars(figure, scene.posteriors[modality], BARS, height, BARS_WIDTH)
    posterior, energy = (
        part_name(part).replace(" (", "\n(") for part in (inference.log_posterior, inference.free_energy)
    )
    _words(figure, centre, height + BARS_HEIGHT + 0.16, posterior)
    for column, value in enumerate(scene.free_energy[modality]):
        dominates = scene.dominant[column] == modality
        style = {
            "color": LOOKS[modality].colour if dominates else SOFT,
            "fontweight": "bold" if dominates else "normal",
        }
        _words(figure, _column(column), height - 0.1, f"{value:.2f}".replace("-", "−"), size=6.5, va="top", **style)
    _words(figure, centre, height - 0.26, f"F: {energy}", va="top")


def _teaching(figure: Figure, scene: Scene) -> None:
    """Between the bands: which modality dominates each query, and so teaches the other one."""
    top, bottom = BOTTOM[0] - 0.1, BOTTOM[1] + BAND + 0.14
    for column, winner in enumerate(scene.dominant):
        if winner:
            start, end = (top, bottom) if winner == next(iter(scene.free_energy)) else (bottom, top)
            style = {"color": LOOKS[winner].colour, "linewidth": 1.6, "linestyle": (0, (3, 1.5))}
            _arrow(figure, (_column(column), start), (_column(column), end), **style)
    groups, loss = part_name(inference.reliability_groups), part_name(distillation.distillation_loss)
    text = f"lower F dominates: {groups};\nthe dominant modality teaches the other (AMD),\nin training only: {loss}"
    _words(figure, BARS - 0.08, (top + bottom) / 2, text, ha="right", va="center", linespacing=1.15)


def _fusion(figure: Figure, scene: Scene) -> None:
    """At the right: fusion weights and the fused posterior."""
    middle = HEIGHT / 2
    for modality, bottom, above in zip(scene.weight, BOTTOM, (0.7, -0.56), strict=True):
        start = (BARS + BARS_WIDTH + 0.1, bottom + 0.62 + BARS_HEIGHT / 2)
        bend = {"color": LOOKS[modality].colour, "connectionstyle": "angle,angleA=0,angleB=90,rad=4"}
        _arrow(figure, start, (WEIGHTS + 0.28, middle + above), **bend)
    for row, name in enumerate(scene.class_names):
        low, left = middle + 0.22 - row * 0.36, WEIGHTS
        _words(figure, WEIGHTS - 0.04, low + 0.07, str(row + 1), ha="right", va="center")
        for modality, weights in scene.weight.items():
            width = 0.58 * float(weights[row])
            add_artist(figure, Rectangle((left, low), width, 0.14, linewidth=0, facecolor=LOOKS[modality].colour))
            _words(figure, left + width / 2, low + 0.065, f"{weights[row]:.2f}", size=5.5, va="center", color="white")
            left += width
        right = int(scene.posteriors["fused"][row].argmax()) == row
        verdict, weight = ("right", "normal") if right else ("✗ wrong", "bold")
        centre = FUSED + FUSED_WIDTH * (row + 0.5) / 3
        _words(figure, centre, middle - BARS_HEIGHT / 2 - 0.1, verdict, va="top", fontweight=weight)
        _class_marker(figure, WEIGHTS + 0.5, HEIGHT - 0.2 - 0.16 * row, row, size=4.5)
        _words(figure, WEIGHTS + 0.6, HEIGHT - 0.2 - 0.16 * row, f"{name} (query {row + 1})", ha="left", va="center")
    _words(figure, WEIGHTS + 0.27, middle + 0.44, "weights α", size=7, fontweight="bold")
    _arrow(figure, (WEIGHTS + 0.62, middle), (FUSED - 0.04, middle))
    _bars(figure, scene.posteriors["fused"], FUSED, middle - BARS_HEIGHT / 2, FUSED_WIDTH)
    top = middle + BARS_HEIGHT / 2 + 0.2
    _words(figure, FUSED + FUSED_WIDTH / 2, top, "fused posterior", size=7, fontweight="bold")
    parts = map(part_name, (fusion.certainty, fusion.fusion_weights, fusion.fuse_posteriors))
    text = "\n".join(("at test (AMI):", *parts, "α follows certainty,", "not free energy"))
    _words(figure, TWO_COLUMNS - 0.06, BOTTOM[1], text, ha="right", linespacing=1.25)
    key = "framed bar: the true class\ncoloured F: the lower one,\nits modality dominates"
    _words(figure, WEIGHTS + 0.46, HEIGHT - 0.66, key, ha="left", va="top", color=SOFT, linespacing=1.2)


def _map(figure: Figure, scene: Scene, modality: str, bottom: float) -> None:
    """Supports, prototypes and queries of one modality in the plane through the prototypes."""
    axes = add_axes_inches(figure, MAP, bottom, MAP_SIZE, MAP_SIZE)
    supports, queries = scene.support_points[modality], scene.query_points[modality]
    for points, marker, colour in zip(supports, CLASS_MARKERS, CLASS_COLOURS, strict=True):
        axes.scatter(*points.T, s=9, marker=marker, color=colour, alpha=0.45, linewidths=0)
        axes.scatter(*points.mean(0), s=44, marker=marker, color=colour, zorder=3)
    shown = np.concatenate([supports.reshape(-1, 2), queries])
    (x, y), reach = (shown.max(0) + shown.min(0)) / 2, MAP_REACH * np.ptp(shown, axis=0).max()
    disc = {"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": INK, "linewidth": 0.6}
    style = {"fontsize": 7, "fontweight": "bold", "ha": "center", "va": "center", "color": INK}
    for number, place in enumerate(moved_apart(queries, least=2 * reach * DISC / MAP_SIZE)):
        axes.text(*place, str(number + 1), zorder=4, bbox=disc, **style)
    axes.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach), xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set(visible=True, color="#BBBBBB", linewidth=0.5)


def _bars(figure: Figure, posteriors: np.ndarray, left: float, bottom: float, width: float) -> None:
    """A group of bars for each query, one bar a class; the frame marks the true class of the query."""
    axes = add_axes_inches(figure, left, bottom, width, BARS_HEIGHT)
    for query, posterior in enumerate(posteriors):
        bars = axes.bar(query + 0.24 * np.arange(-1, 2), posterior, 0.22, color=CLASS_COLOURS, linewidth=0)
        bars[query].set(edgecolor=INK, linewidth=0.8)
        axes.text(query, 1.03, str(query + 1), fontsize=6.5, fontweight="bold", ha="center", va="bottom")
    axes.set(xlim=(-0.5, 2.5), ylim=(0, 1), xticks=[], yticks=[0, 1])
    axes.tick_params(labelsize=5.5, length=1.5, pad=1)
    axes.grid(visible=False)
    axes.patch.set_alpha(0)


def _column(number: int) -> float:
    return BARS + BARS_WIDTH * (number + 0.5) / 3


def _words(figure: Figure, x: float, y: float, text: str, *, size: float = 6, **style: Any) -> None:
    write(figure, x, y, text, size=size, **{"ha": "center", "va": "bottom", "linespacing": 1.05} | style)


def _class_marker(figure: Figure, x: float, y: float, label: int, *, size: float) -> None:
    add_artist(figure, Line2D([x], [y], marker=CLASS_MARKERS[label], color=CLASS_COLOURS[label], markersize=size))


def _box(figure: Figure, left: float, bottom: float, width: float, height: float, radius: float, **style: Any) -> None:
    shape = f"round,pad=0,rounding_size={radius}"
    add_artist(figure, FancyBboxPatch((left, bottom), width, height, boxstyle=shape, zorder=-1, **style))


def _arrow(figure: Figure, start: tuple[float, float], end: tuple[float, float], **style: Any) -> None:
    line = {"arrowstyle": "-|>", "mutation_scale": 7, "color": INK, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    add_artist(figure, FancyArrowPatch(start, end, **line | style))


def part_name(part: Callable) -> str:
    """``inference.free_energy (Eq. 1)``: module and name of a function, and the equations its docstring names."""
    named = re.search(r"Eq\. [\d, to]*\d", (part.__doc__ or "").partition("Args:")[0])
    equation = f" ({named[0]})" if named else ""
    return f"{part.__module__.rpartition('.')[2]}.{part.__name__}{equation}"


def moved_apart(points: np.ndarray, *, least: float) -> np.ndarray:
    """(n, 2) the same points, those closer than ``least`` pushed apart, each as far as the other, along their line."""
    points = np.array(points, dtype=float)
    for _ in range(ROUNDS):
        for i, j in itertools.combinations(range(len(points)), 2):
            gap = points[j] - points[i]
            apart = np.hypot(*gap)
            if apart < least:
                push = (least - apart) / 2 * (gap / apart if apart else np.array([1.0, 0.0]))
                points[i], points[j] = points[i] - push, points[j] + push
    return points
