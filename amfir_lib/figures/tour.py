"""One query of one episode on one page: what the method saw, what each modality believes, and how they are joined."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amfir_lib.data.flow import flow_to_colour
from amfir_lib.figures.clips import add_axes_inches, colour_wheel, picture, saturation_of, some_of, strip, write
from amfir_lib.figures.style import GREY, SOFT, TWO_COLUMNS, PrintFigure, looks, styled

FRAME, STEP, STRIP_FRAMES = 0.36, 0.44, 4  # inches: of a frame, and from row to row; frames shown of each clip
LEFT, STRIP_WIDTH, BARS_LEFT, BAR_WIDTH, BAR_GAP = 1.0, 1.48, 4.22, 0.82, 0.14
STRIPS = (LEFT, LEFT + STRIP_WIDTH + 0.1)  # left edges: of frames, of flow
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
        class_names: (N,) in the order of the posteriors.
        supports, query: one support clip of each class, as ``data.streams`` gives it, and the query clip.
        true_class: position of the query's class, framed in the figure.
        posteriors: stream -> (N,) probabilities, in the order in which they are drawn; usually each modality and fused.
        notes: stream -> lines below its posterior, such as free energy, certainty and weight.
        n_shot: supports per class, of which one is shown; the heading says so.
    """
    n_way, look = len(class_names), looks(posteriors)
    limit = saturation_of(np.stack([clip["flow"] for clip in (*supports, query)]))
    foot = 0.1 + 0.125 * max(note.count("\n") + 1 for note in notes.values())
    height = foot + (n_way + 1) * STEP + 0.83
    figure = PrintFigure(figsize=(TWO_COLUMNS, height), layout="none")
    top = height - 0.22
    first = top - FRAME - 0.48
    clips = [(query, f"query\n{query_note}".strip(), top - FRAME, True)]  # label at the left, bottom edge, bold
    for row, (name, clip) in enumerate(zip(class_names, supports, strict=True)):
        label = "\n".join(textwrap.wrap(name, NAME_LENGTH, max_lines=2, placeholder="…"))
        true = row == true_class
        clips.append((clip, label + "\n(true class)" * true, first - (row + 1) * STEP + 0.08, true))
    for clip, label, bottom, bold in clips:
        flow = flow_to_colour(clip["flow"], max_displacement=limit)
        for left, frames in zip(STRIPS, (clip["rgb"], flow), strict=True):
            picture(figure, strip(some_of(frames, STRIP_FRAMES)), left, bottom, STRIP_WIDTH, FRAME)
        weight = "bold" if bold else "normal"
        write(figure, LEFT - 0.06, bottom + FRAME / 2, label, ha="right", va="center", fontweight=weight)
    for left, style in zip(STRIPS, look.values(), strict=False):
        write(figure, left, top + 0.05, style.label, size=8, color=style.colour, fontweight="bold")
    picture(figure, colour_wheel(limit), BARS_LEFT, top - 0.5, 0.5, 0.5, frame=False)
    key = f"flow: hue is direction, still is white,\nthe rim {limit:g} px per frame"
    write(figure, BARS_LEFT + 0.6, top - 0.25, key, va="center")
    heading = "support of each class" if n_shot == 1 else f"one of {n_shot} supports of each class"
    write(figure, LEFT, first + 0.05, heading, color=SOFT)
    for number, (stream, style) in enumerate(look.items()):
        left = BARS_LEFT + number * (BAR_WIDTH + BAR_GAP)
        axes = add_axes_inches(figure, left, first - n_way * STEP + 0.04, BAR_WIDTH, n_way * STEP)
        _bars(axes, posteriors[stream], true_class, style.colour)
        axes.set_title(style.label, color=style.colour, pad=3)
        write(figure, left, first - n_way * STEP - 0.26, notes.get(stream, ""), size=6.5, va="top", linespacing=1.3)
    return figure


def _bars(axes: Axes, probabilities: np.ndarray, true_class: int, colour: str) -> None:
    """Horizontal bars of one posterior; the chosen class is full, the true one is framed."""
    rows, chosen = np.arange(len(probabilities)), int(np.argmax(probabilities))
    axes.axvline(1 / len(probabilities), color=GREY, linewidth=0.8, zorder=1)
    bars = axes.barh(rows, probabilities, 0.55, color=colour, alpha=0.35, zorder=2)
    bars[chosen].set_alpha(1)
    axes.axhspan(true_class - 0.47, true_class + 0.47, facecolor="none", edgecolor="black", linewidth=0.8, zorder=3)
    for row, p in zip(rows, probabilities, strict=True):
        inside = p > 0.7
        ink = "white" if inside and row == chosen else "black"
        place = {"ha": "right" if inside else "left", "va": "center", "fontsize": 6.5, "zorder": 4}
        axes.text(p - 0.03 if inside else p + 0.03, row, f"{p:.2f}", color=ink, **place)
    axes.set(xlim=(0, 1), ylim=(len(probabilities) - 0.5, -0.5), yticks=[])
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.grid(visible=False)
