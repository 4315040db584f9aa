"""Figure 1: the architecture, drawn from the library's own parts around the numbers of one real episode.

Boxes carry the names of the classes and functions that do the work, with the equations that their docstrings name, so
the figure changes with the code.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from amfir_lib import distillation, fusion, inference
from amfir_lib.errors import ShapeError
from amfir_lib.figures.clips import add_axes_inches, picture
from amfir_lib.figures.style import LOOKS, SOFT, TWO_COLUMNS, PrintFigure, styled

CLASS_COLOURS, CLASS_MARKERS = ("#009E73", "#882255", "#999933"), "os^"  # far from those of the modalities
HEIGHT, BAND, THUMB, GAP = 4.75, 1.72, 0.3, 0.03  # inches; a band is one modality
BOTTOM = {0: HEIGHT - BAND - 0.22, 1: 0.2}  # of the first and of the second modality's band
BOXES, MAP, BARS, WEIGHTS, FUSED = (1.5, 1.92), 2.42, 3.72, 5.2, 5.95  # left edges of the columns
MAP_SIZE, BARS_WIDTH, BARS_HEIGHT, FUSED_WIDTH = 1.02, 1.05, 0.72, 1.0
DISC = 0.17  # inches from one disc of a query to the next
MAP_REACH = 0.62  # half the side of a map in spans of its points, so that no disc of a query is cut
INK = "#222222"
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


@styled
def architecture(scene: Scene) -> Figure:
    """Clips of both modalities, backbone, head, prototypes, posterior, free energy, groups, distillation, fusion.

    Args:
        scene: of an episode with three classes and two modalities.
    Returns:
        The figure, 7 in wide.
    Raises:
        ShapeError: another number of classes or modalities.
    """
    modalities = list(scene.free_energy)
    if len(modalities) != 2 or len(scene.class_names) != 3:
        raise ShapeError(
            f"Figure 1 shows 3 classes and 2 modalities, but got {len(scene.class_names)} and {len(modalities)}. "
            "Give it a 3-way episode of a method with two."
        )
    figure = PrintFigure(figsize=(TWO_COLUMNS, HEIGHT), layout="none")
    canvas = add_axes_inches(figure, 0, 0, TWO_COLUMNS, HEIGHT)
    canvas.set(xlim=(0, TWO_COLUMNS), ylim=(0, HEIGHT))
    canvas.axis("off")
    for number, m in enumerate(modalities):
        _band(figure, canvas, scene, m, BOTTOM[number])
    _teaching(canvas, scene, modalities)
    _fusion(figure, canvas, scene, modalities)
    return figure


def _band(figure: Figure, canvas: Axes, scene: Scene, modality: str, bottom: float) -> None:
    """From the clips of one modality to its posteriors and free energies."""
    look = LOOKS[modality]
    width = BARS + BARS_WIDTH + 0.05
    tint = FancyBboxPatch((0.03, bottom - 0.08), width, BAND + 0.2, linewidth=0, facecolor=look.colour)
    tint.set(boxstyle="round,pad=0,rounding_size=0.06", alpha=0.08)
    canvas.add_patch(tint)
    canvas.text(0.1, bottom + BAND - 0.03, look.label, color=look.colour, fontweight="bold", va="center")
    n_shot = scene.supports[modality].shape[1]
    kind = f"{len(scene.class_names)}-way {n_shot}-shot"
    canvas.text(0.55, bottom + BAND - 0.03, kind, fontsize=6.5, color=SOFT, va="center")
    step, top = THUMB + GAP, bottom + BAND - 0.16
    for row, takes in enumerate(scene.supports[modality]):
        for column, image in enumerate(takes):
            _thumb(figure, image, 0.28 + column * step, top - (row + 1) * step, CLASS_COLOURS[row])
        canvas.plot(0.15, top - (row + 0.5) * step, CLASS_MARKERS[row], color=CLASS_COLOURS[row], markersize=5)
    for column, image in enumerate(scene.queries[modality]):
        _thumb(figure, image, 0.28 + column * step, bottom + 0.1, INK)
        _words(canvas, 0.28 + column * step + THUMB / 2, bottom + 0.06, f"query {column + 1}", size=5.5, va="top")
    middle = bottom + 0.85
    names = (scene.backbone[modality], scene.head)
    for left, name in zip(BOXES, names, strict=True):
        _box(canvas, left, middle - 0.6, 0.24, 1.2, name)
    _arrow(canvas, (1.32, middle), (BOXES[0], middle))
    _arrow(canvas, (BOXES[0] + 0.24, middle), (BOXES[1], middle))
    _arrow(canvas, (BOXES[1] + 0.24, middle), (MAP - 0.02, middle))
    _map(figure, scene, modality, MAP, middle - MAP_SIZE / 2)
    _words(canvas, MAP + MAP_SIZE / 2, middle + MAP_SIZE / 2 + 0.1, "class means $t_k$,\nqueries 1 to 3")
    _arrow(canvas, (MAP + MAP_SIZE + 0.03, middle), (BARS - 0.06, middle))
    height = bottom + 0.62
    _words(canvas, BARS + BARS_WIDTH / 2, height + BARS_HEIGHT + 0.16, _short(inference.log_posterior))
    _bars(figure, scene.posteriors[modality], BARS, height)
    for column, energy in enumerate(scene.free_energy[modality]):
        won = scene.dominant[column] == modality
        canvas.text(
            _column(column), height - 0.1, f"{energy:.2f}".replace("-", "−"), fontsize=6.5, ha="center", va="top",
            fontweight="bold" if won else "normal", color=look.colour if won else SOFT,
        )  # fmt: skip
    _words(canvas, BARS + BARS_WIDTH / 2, height - 0.26, "F: " + _short(inference.free_energy), va="top")


def _teaching(canvas: Axes, scene: Scene, modalities: list[str]) -> None:
    """Between the bands: which modality dominates each query, and so teaches the other one."""
    top, bottom = BOTTOM[0] - 0.1, BOTTOM[1] + BAND + 0.14
    for column, winner in enumerate(scene.dominant):
        if winner:
            colour = LOOKS[winner].colour
            ends = (top, bottom) if winner == modalities[0] else (bottom, top)
            _arrow(
                canvas, (_column(column), ends[0]), (_column(column), ends[1]), colour=colour, width=1.6, dashed=True
            )
    middle = (top + bottom) / 2
    groups, loss = part_name(inference.reliability_groups), part_name(distillation.distillation_loss)
    text = f"lower F dominates: {groups};\nthe dominant modality teaches the other (AMD),\nin training only: {loss}"
    canvas.text(BARS - 0.08, middle, text, fontsize=6, ha="right", va="center", linespacing=1.15)


def _fusion(figure: Figure, canvas: Axes, scene: Scene, modalities: list[str]) -> None:
    """At the right: fusion weights and the fused posterior."""
    middle = HEIGHT / 2
    for number, m in enumerate(modalities):
        start = (BARS + BARS_WIDTH + 0.1, BOTTOM[number] + 0.62 + BARS_HEIGHT / 2)
        end = (WEIGHTS + 0.28, middle + (0.7 if number == 0 else -0.56))
        bend = "angle,angleA=0,angleB=90,rad=4"
        _arrow(canvas, start, end, colour=LOOKS[m].colour, connection=bend)
    for row in range(len(scene.class_names)):
        bottom, left = middle + 0.22 - row * 0.36, WEIGHTS
        canvas.text(WEIGHTS - 0.04, bottom + 0.07, str(row + 1), fontsize=6, ha="right", va="center")
        for m in modalities:
            share = float(scene.weight[m][row])
            canvas.add_patch(Rectangle((left, bottom), 0.58 * share, 0.14, linewidth=0, facecolor=LOOKS[m].colour))
            _words(canvas, left + 0.29 * share, bottom + 0.065, f"{share:.2f}", size=5.5, va="center", color="white")
            left += 0.58 * share
    _words(canvas, WEIGHTS + 0.27, middle + 0.44, "weights α", size=7, fontweight="bold")
    _arrow(canvas, (WEIGHTS + 0.62, middle), (FUSED - 0.04, middle))
    _bars(figure, scene.posteriors["fused"], FUSED, middle - BARS_HEIGHT / 2, width=FUSED_WIDTH)
    for column in range(len(scene.class_names)):
        right = int(scene.posteriors["fused"][column].argmax()) == column
        centre = FUSED + FUSED_WIDTH * (column + 0.5) / 3
        words, weight = ("right", "normal") if right else ("✗ wrong", "bold")
        _words(canvas, centre, middle - BARS_HEIGHT / 2 - 0.1, words, va="top", fontweight=weight)
    top = middle + BARS_HEIGHT / 2 + 0.2
    _words(canvas, FUSED + FUSED_WIDTH / 2, top, "fused posterior", size=7, fontweight="bold")
    parts = (fusion.certainty, fusion.fusion_weights, fusion.fuse_posteriors)
    text = "\n".join(("at test (AMI):", *map(part_name, parts), "α follows certainty,", "not free energy"))
    canvas.text(TWO_COLUMNS - 0.06, BOTTOM[1], text, fontsize=6, ha="right", va="bottom", linespacing=1.25)
    for row, name in enumerate(scene.class_names):
        place = HEIGHT - 0.2 - 0.16 * row
        canvas.plot(WEIGHTS + 0.5, place, CLASS_MARKERS[row], color=CLASS_COLOURS[row], markersize=4.5)
        canvas.text(WEIGHTS + 0.6, place, f"{name} (query {row + 1})", fontsize=6, va="center")
    key = "framed bar: the true class\ncoloured F: the lower one,\nits modality dominates"
    canvas.text(WEIGHTS + 0.46, place - 0.14, key, fontsize=6, color=SOFT, va="top", linespacing=1.2)


def _column(number: int) -> float:
    return BARS + BARS_WIDTH * (number + 0.5) / 3


def _short(part: Callable) -> str:
    """Module and name of a part in one line, its equation in the next."""
    return part_name(part).replace(" (", "\n(")


def _thumb(figure: Figure, image: np.ndarray, left: float, bottom: float, colour: str) -> None:
    axes = add_axes_inches(figure, left, bottom, THUMB, THUMB)
    picture(axes, image)
    for side in axes.spines.values():
        side.set(color=colour, linewidth=1.0)


def _map(figure: Figure, scene: Scene, modality: str, left: float, bottom: float) -> None:
    """Supports, prototypes and queries of one modality in the plane through the prototypes."""
    axes = add_axes_inches(figure, left, bottom, MAP_SIZE, MAP_SIZE)
    for row, points in enumerate(scene.support_points[modality]):
        axes.scatter(*points.T, s=9, marker=CLASS_MARKERS[row], color=CLASS_COLOURS[row], alpha=0.45, linewidths=0)
        axes.scatter(*points.mean(0), s=44, marker=CLASS_MARKERS[row], color=CLASS_COLOURS[row], zorder=3)
    queries = scene.query_points[modality]
    shown = np.concatenate([scene.support_points[modality].reshape(-1, 2), queries])
    (x, y), reach = (shown.max(0) + shown.min(0)) / 2, MAP_REACH * np.ptp(shown, axis=0).max()
    disc = {"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": INK, "linewidth": 0.6}
    style = {"fontsize": 7, "fontweight": "bold", "ha": "center", "va": "center", "color": INK}
    for number, place in enumerate(moved_apart(queries, least=2 * reach * DISC / MAP_SIZE)):
        axes.text(*place, str(number + 1), zorder=4, bbox=disc, **style)
    axes.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach), xticks=[], yticks=[])
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set(visible=True, color="#BBBBBB", linewidth=0.5)


def _bars(figure: Figure, posteriors: np.ndarray, left: float, bottom: float, *, width: float = BARS_WIDTH) -> None:
    """A group of bars for each query, one bar a class; the frame marks the true class of the query."""
    axes = add_axes_inches(figure, left, bottom, width, BARS_HEIGHT)
    for query, p in enumerate(posteriors):
        for k, value in enumerate(p):
            true = k == query
            axes.bar(query + 0.24 * (k - 1), value, 0.22, color=CLASS_COLOURS[k], edgecolor=INK if true else "none",
                     linewidth=0.8 if true else 0)  # fmt: skip
        axes.text(query, 1.03, str(query + 1), fontsize=6.5, fontweight="bold", ha="center", va="bottom")
    axes.set(xlim=(-0.5, 2.5), ylim=(0, 1), xticks=[], yticks=[0, 1])
    axes.tick_params(labelsize=5.5, length=1.5, pad=1)
    axes.grid(visible=False)
    axes.patch.set_alpha(0)


def _words(
    canvas: Axes, x: float, y: float, text: str, *, size: float = 6, va: str = "bottom", **style: str
) -> None:  # fmt: skip
    canvas.text(x, y, text, fontsize=size, ha="center", va=va, linespacing=1.05, **style)


def _box(canvas: Axes, left: float, bottom: float, width: float, height: float, text: str) -> None:
    """A part of the library, its name upright."""
    shape = FancyBboxPatch((left, bottom), width, height, facecolor="white", edgecolor=INK, linewidth=0.7)
    shape.set_boxstyle("round,pad=0,rounding_size=0.04")
    canvas.add_patch(shape)
    canvas.text(left + width / 2, bottom + height / 2, text, fontsize=6.5, rotation=90, ha="center", va="center")


def _arrow(
    canvas: Axes, start: tuple[float, float], end: tuple[float, float], *, colour: str = INK, width: float = 0.9,
    dashed: bool = False, connection: str = "arc3",
) -> None:  # fmt: skip
    canvas.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=7,
            color=colour,
            linewidth=width,
            shrinkA=0,
            shrinkB=0,
            linestyle=(0, (3, 1.5)) if dashed else "-",
            connectionstyle=connection,
        )  # fmt: skip
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
