"""One query of one episode on one page: what the method saw, what each modality believes, and how they are joined."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amfir_lib.data.flow import flow_to_colour
from amfir_lib.errors import ShapeError
from amfir_lib.figures.clips import add_axes_inches, picture, saturation_of, strip, wheel_key
from amfir_lib.figures.style import GREY, SOFT, TWO_COLUMNS, PrintFigure, looks, styled

FRAME, ROW_GAP, STRIP_FRAMES = 0.36, 0.08, 4  # inches, inches, frames shown of each clip
LEFT, BARS_LEFT, BAR_WIDTH, BAR_GAP = 1.0, 4.22, 0.82, 0.14
NAME_LENGTH = 16  # characters of a class name in one line


@styled
def tour_figure(
    *,
    class_names: Sequence[str],
    supports: Sequence[Mapping[str, np.ndarray]],
    query: Mapping[str, np.ndarray],
    true_class: int,
    posteriors: Mapping[str, np.ndarray],
    notes: Mapping[str, str],
    n_shot: int = 1,
    query_note: str = "",
) -> Figure:
    """The supports of each class, the query, and the posterior of each stream over the same rows.

    Args:
        class_names: (N,) names of the classes, in the order of the posteriors.
        supports: one support clip of each class.
        query: the query clip.
        true_class: position of the query's class, framed in the figure.
        posteriors: stream -> (N,) probabilities, in the order in which they are drawn; usually each modality and fused.
        notes: stream -> lines below its posterior, such as free energy, certainty and weight.
        n_shot: supports per class, of which one is shown; the heading says so.
        query_note: small text below "query".
    Returns:
        The figure, 7 in wide.
    Raises:
        ShapeError: names, supports and posteriors differ in the number of classes.
    """
    n_way = len(class_names)
    if len(supports) != n_way or any(len(p) != n_way for p in posteriors.values()):
        raise ShapeError(f"{n_way} class names need as many supports and probabilities; got {len(supports)} supports.")
    limit = saturation_of(np.stack([clip["flow"] for clip in (*supports, query)]))
    look = looks(posteriors)
    appearance, motion = list(posteriors)[:2]
    step = FRAME + ROW_GAP
    foot, head = 0.1 + 0.125 * max(note.count("\n") + 1 for note in notes.values()), 0.48
    figure = PrintFigure(figsize=(TWO_COLUMNS, foot + n_way * step + head + step + 0.35), layout="none")
    top = figure.get_size_inches()[1] - 0.22

    def show(clip: Mapping[str, np.ndarray], label: str, bottom: float, *, bold: bool = False) -> None:
        width = _strip_width()
        for left, frames in ((LEFT, clip["rgb"]), (LEFT + width + 0.1, _colours(clip, limit))):
            picture(add_axes_inches(figure, left, bottom, width, FRAME), strip(_some(frames)))
        across, up = figure.get_size_inches()
        figure.text((LEFT - 0.06) / across, (bottom + FRAME / 2) / up, label, ha="right", va="center", fontsize=7,
                    fontweight="bold" if bold else "normal")  # fmt: skip

    across, up = figure.get_size_inches()
    for left, stream in ((LEFT, appearance), (LEFT + _strip_width() + 0.1, motion)):
        figure.text(left / across, (top + 0.05) / up, look[stream].label, color=look[stream].colour, fontweight="bold")
    show(query, f"query\n{query_note}".strip(), top - FRAME, bold=True)
    wheel = add_axes_inches(figure, BARS_LEFT, top - 0.5, 0.5, 0.5)
    wheel_key(wheel, limit)
    wheel.set_xlabel("")
    figure.text((BARS_LEFT + 0.6) / across, (top - 0.25) / up, f"flow: hue is direction, rim {limit:g} px per frame;\n"
                "still is white", fontsize=7, va="center")  # fmt: skip
    first = top - FRAME - head
    shown = "support" if n_shot == 1 else f"one of {n_shot} supports"
    figure.text(LEFT / across, (first + 0.05) / up, f"{shown} of each class", color=SOFT, fontsize=7)
    for row, (name, clip) in enumerate(zip(class_names, supports, strict=True)):
        mark = "\n(true class)" if row == true_class else ""
        show(clip, _wrapped(name) + mark, first - (row + 1) * step + ROW_GAP, bold=row == true_class)
    for number, (stream, probabilities) in enumerate(posteriors.items()):
        left = BARS_LEFT + number * (BAR_WIDTH + BAR_GAP)
        axes = add_axes_inches(figure, left, first - n_way * step + ROW_GAP / 2, BAR_WIDTH, n_way * step)
        _bars(axes, probabilities, true_class, look[stream].colour)
        axes.set_title(look[stream].label, color=look[stream].colour, pad=3)
        axes.text(
            0,
            -0.3 / (n_way * step),
            notes.get(stream, ""),
            transform=axes.transAxes,
            va="top",
            fontsize=6.5,
            linespacing=1.3,
        )
    return figure


def _wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(name, NAME_LENGTH, max_lines=2, placeholder="…"))


def _strip_width() -> float:
    return STRIP_FRAMES * FRAME + 0.04


def _some(frames: np.ndarray) -> np.ndarray:
    return frames[np.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int)]


def _colours(clip: Mapping[str, np.ndarray], limit: float) -> np.ndarray:
    return flow_to_colour(clip["flow"], max_displacement=limit)


def _bars(axes: Axes, probabilities: np.ndarray, true_class: int, colour: str) -> None:
    """Horizontal bars of one posterior; the chosen class is full, the true one is framed."""
    rows = np.arange(len(probabilities))
    chosen = int(np.argmax(probabilities))
    axes.axvline(1 / len(probabilities), color=GREY, linewidth=0.8, zorder=1)
    bars = axes.barh(rows, probabilities, 0.55, color=colour, alpha=0.35, zorder=2)
    bars[chosen].set_alpha(1)
    axes.axhspan(true_class - 0.47, true_class + 0.47, facecolor="none", edgecolor="black", linewidth=0.8, zorder=3)
    for row, p in zip(rows, probabilities, strict=True):
        inside = p > 0.7
        axes.text(
            p - 0.03 if inside else p + 0.03, row, f"{p:.2f}", ha="right" if inside else "left", va="center",
            fontsize=6.5, color="white" if inside and row == chosen else "black", zorder=4,
        )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(len(probabilities) - 0.5, -0.5)
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.set_yticks([])
    axes.grid(visible=False)
