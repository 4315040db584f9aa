"""What the videos look like: film strips, grids of clips, flow as colours and as arrows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amfir_lib.data.flow import flow_to_colour
from amfir_lib.errors import ShapeError
from amfir_lib.figures.style import SOFT, TWO_COLUMNS, PrintFigure, styled

GAP = 2  # white pixels between two frames of a strip
ARROW_EVERY = 9  # arrows per side of a frame
ARROW_LENGTH, ARROW_COLOUR = 1 / 6, "#C00000"  # of a frame's side, for a vector of full saturation


def strip(frames: np.ndarray, *, every: int = 1, gap: int = GAP) -> np.ndarray:
    """Frames side by side.

    Args:
        frames: uint8 (T, H, W, 3).
        every: keep each n-th frame, starting in the middle of the first n.
        gap: white pixels between frames.
    Returns:
        uint8 (H, W', 3).
    """
    if frames.ndim != 4 or frames.shape[-1] != 3:
        raise ShapeError(f"frames have shape {frames.shape}; a film strip needs (T, H, W, 3).")
    kept = frames[every // 2 :: every]
    white = np.full((frames.shape[1], gap, 3), 255, np.uint8)
    parts = [part for frame in kept for part in (white, frame)][1:]
    return np.concatenate(parts, axis=1)


@styled
def film_strips(clips: Mapping[str, np.ndarray], *, every: int = 1, arrow_of_time: bool = True) -> Figure:
    """Clips as film strips, one below the other, time to the right.

    Args:
        clips: label at the left -> uint8 (T, H, W, 3).
        every: show each n-th frame.
        arrow_of_time: draw "time" with an arrow below.
    Returns:
        The figure, 7 in wide.
    Raises:
        ShapeError: no clip, or a clip that is no sequence of frames.
    """
    if not clips:
        raise ShapeError("film_strips got no clip; give at least one.")
    strips = {label: strip(frames, every=every) for label, frames in clips.items()}
    label_width = 0.25 + 0.055 * max(max(len(line) for line in label.split("\n")) for label in strips)
    heights = [(TWO_COLUMNS - label_width) * image.shape[0] / image.shape[1] for image in strips.values()]
    foot = 0.14 if arrow_of_time else 0.0
    figure = PrintFigure(figsize=(TWO_COLUMNS, sum(heights) + 0.06 * len(heights) + foot), layout="none")
    total = figure.get_size_inches()[1]
    top = total
    for (label, image), height in zip(strips.items(), heights, strict=True):
        axes = add_axes_inches(figure, label_width, top - height, TWO_COLUMNS - label_width, height)
        picture(axes, image)
        figure.text((label_width - 0.07) / TWO_COLUMNS, (top - height / 2) / total, label, ha="right", va="center")
        top -= height + 0.06
    if arrow_of_time:
        figure.text(1, 0.02 / total, "time →", ha="right", va="bottom", color=SOFT, fontsize=7)
    return figure


@styled
def clip_grid(clips: Mapping[str, Sequence[np.ndarray]], *, n_frames: int = 4, marks: Sequence | None = None) -> Figure:
    """Several classes and several takes of each: a row is a class, a short strip is one take.

    Args:
        clips: class -> takes, each uint8 (T, H, W, 3); all classes have as many takes.
        n_frames: frames shown of each take, evenly spread.
        marks: for each class the texts above its takes (such as how a clip is degraded); None for none.
    Returns:
        The figure, 7 in wide.
    """
    if not clips or not all(len(takes) for takes in clips.values()):
        raise ShapeError("clip_grid needs at least one class with at least one take.")
    n_takes = max(len(takes) for takes in clips.values())
    images = {name: [strip(_spread(take, n_frames), gap=0) for take in takes] for name, takes in clips.items()}
    first = next(iter(images.values()))[0]
    label_width, head = 0.95, 0.13 if marks is not None and any(map(any, marks)) else 0.0
    width = (TWO_COLUMNS - label_width) / n_takes - 0.07
    height = width * first.shape[0] / first.shape[1]
    step = height + 0.05 + head
    figure = PrintFigure(figsize=(TWO_COLUMNS, step * len(images)), layout="none")
    total = figure.get_size_inches()[1]
    for row, (name, takes) in enumerate(images.items()):
        bottom = total - (row + 1) * step + 0.03
        figure.text((label_width - 0.06) / TWO_COLUMNS, (bottom + height / 2) / total, name, ha="right", va="center",
                    fontsize=6.5)  # fmt: skip
        for number, image in enumerate(takes):
            left = label_width + number * (width + 0.07)
            axes = add_axes_inches(figure, left, bottom, width, height)
            picture(axes, image)
            if marks is not None and marks[row][number]:
                axes.text(0, -2, marks[row][number], fontsize=6, va="bottom", color=SOFT, transform=axes.transData)
    return figure


@styled
def spoilt_clips(shown: Mapping[str, Sequence[tuple | None]], *, levels: Sequence[str]) -> Figure:
    """One clip as it is, and below it spoilt in every way: two frames and two flow fields at each level.

    Args:
        shown: kind -> for each level frames uint8 (2, S, S, 3) and flow (2, S, S, 2), or None; the first kind is the
            clip as it is: it stands above the headings, and its first picture sets the scale of the flow colours.
        levels: what stands above the columns.
    Returns:
        The figure, 7 in wide.
    Raises:
        ShapeError: nothing to show, or not one entry for each level.
    """
    if not shown or any(len(row) != len(levels) for row in shown.values()):
        raise ShapeError(f"spoilt_clips needs, for each kind, {len(levels)} pictures or None. Give one a level.")
    first = next(one for row in shown.values() for one in row if one is not None)
    limit = saturation_of(first[1])
    left, head, gap = 0.75, 0.18, 0.07
    width = (TWO_COLUMNS - left) / max(2, len(levels)) - gap  # one level alone would be shown too large
    height = width / 4
    step = height + 0.05
    figure = PrintFigure(figsize=(TWO_COLUMNS, head + step * len(shown)), layout="none")
    up = figure.get_size_inches()[1]
    for row, (kind, pictures) in enumerate(shown.items()):
        bottom = up - (row + 1) * step + 0.03 - (head if row else 0)
        figure.text((left - 0.07) / TWO_COLUMNS, (bottom + height / 2) / up, kind, ha="right", va="center", fontsize=7)
        for column, one in enumerate(pictures):
            if one is None:
                continue
            image = np.concatenate([one[0], flow_to_colour(one[1], max_displacement=limit)])
            axes = add_axes_inches(figure, left + column * (width + gap), bottom, width, height)
            picture(axes, strip(image, gap=1))
    for column, level in enumerate(levels):
        across = (left + column * (width + gap)) / TWO_COLUMNS
        figure.text(across, 1 - (step + 0.09) / up, level, va="center", fontsize=7)
    return figure


@styled
def flow_views(frames: np.ndarray, flow: np.ndarray, *, max_displacement: float | None = None) -> Figure:
    """Frames, the flow around them as colours, and as arrows over the frame; with the key of the colour wheel.

    Args:
        frames: uint8 (T, S, S, 3).
        flow: (T, S, S, 2) in px per frame of the square of side S.
        max_displacement: length that is fully saturated; default: see ``saturation_of``.
    Returns:
        The figure, 7 in wide.
    Raises:
        ShapeError: frames and flow differ in T or S.
    """
    if frames.shape[:3] != flow.shape[:3]:
        raise ShapeError(f"frames {frames.shape} and flow {flow.shape} differ. Read both at once, with data.streams.")
    limit = max_displacement or saturation_of(flow)
    names = ("frames", "flow\n(colours)", "flow\n(arrows)")
    strips = (strip(frames), strip(flow_to_colour(flow, max_displacement=limit)), strip(_faint(frames)))
    left, width = 0.62, TWO_COLUMNS - 0.62 - 1.05
    height = width * strips[0].shape[0] / strips[0].shape[1]
    figure = PrintFigure(figsize=(TWO_COLUMNS, 3 * height + 0.25), layout="none")
    for number, (name, image) in enumerate(zip(names, strips, strict=True)):
        bottom = (2 - number) * (height + 0.06) + 0.1
        axes = add_axes_inches(figure, left, bottom, width, height)
        picture(axes, image)
        axes.text(-0.01, 0.5, name, ha="right", va="center", transform=axes.transAxes)
        if number == 2:
            _arrows(axes, flow, limit)
    wheel_key(add_axes_inches(figure, left + width + 0.15, 1.5 * height, 0.8, 0.8), limit)
    _arrow_key(add_axes_inches(figure, left + width + 0.15, 0.1, 0.8, height), limit, height)
    return figure


def add_axes_inches(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches from the lower left corner."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def saturation_of(flow: np.ndarray) -> float:
    """A length in px that few vectors exceed, so that colours show: the 98th percentile, at least 1, to a tenth."""
    return max(1.0, round(float(np.percentile(np.hypot(flow[..., 0], flow[..., 1]), 98)), 1))


def colour_wheel(max_displacement: float, *, size: int = 101) -> np.ndarray:
    """The key to flow as colours: each place has the colour of the vector from the centre to it.

    Args:
        max_displacement: length in px at the rim.
        size: side of the picture, px.
    Returns:
        uint8 (size, size, 3), white outside the wheel.
    """
    grid = np.linspace(-1, 1, size)
    x, y = np.meshgrid(grid, grid)
    wheel = flow_to_colour(max_displacement * np.stack([x, y], -1), max_displacement=max_displacement)
    wheel[np.hypot(x, y) > 1] = 255
    return wheel


def wheel_key(axes: Axes, max_displacement: float) -> None:
    """The colour wheel beside pictures of flow, with the length at its rim."""
    picture(axes, colour_wheel(max_displacement))
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xlabel(f"rim: {max_displacement:g} px\nper frame", fontsize=6.5, labelpad=2)


def _arrow_key(axes: Axes, limit: float, side: float) -> None:
    """An arrow as it stands in the pictures beside it, with the length that it means.

    Args:
        axes: 0.8 in wide, as high as a frame.
        limit: px per frame of a vector of full saturation.
        side: of a shown frame, inches.
    """
    axes.set(xlim=(0, 0.8), ylim=(0, side))
    axes.axis("off")
    half = ARROW_LENGTH * side / 2
    axes.quiver(
        0.4 - half, 0.62 * side, 2 * half, 0, color=ARROW_COLOUR, angles="xy", scale_units="xy", scale=1,
        units="inches", width=0.009, headwidth=4, headlength=4, headaxislength=3.5,
    )  # fmt: skip
    axes.text(0.4, 0.48 * side, f"this long: {limit:g} px\nper frame", fontsize=6.5, ha="center", va="top")


def picture(axes: Axes, image: np.ndarray) -> None:
    """An image without ticks, in a faint frame (much of a flow picture is white)."""
    axes.imshow(image)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set(visible=True, color="#CCCCCC", linewidth=0.4)


def _spread(frames: np.ndarray, n_frames: int) -> np.ndarray:
    return frames[np.linspace(0, len(frames) - 1, min(n_frames, len(frames))).round().astype(int)]


def _faint(frames: np.ndarray) -> np.ndarray:
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])
    return np.repeat((160 + 0.37 * grey).astype(np.uint8)[..., None], 3, axis=-1)


def _arrows(axes: Axes, flow: np.ndarray, limit: float) -> None:
    """Arrows on a coarse lattice over a strip of frames; one of length ``limit`` is ``ARROW_LENGTH`` frames long."""
    size = flow.shape[1]
    lattice = np.linspace(0, size - 1, ARROW_EVERY + 2).round().astype(int)[1:-1]
    column, row = np.meshgrid(lattice, lattice)
    for t, field in enumerate(flow):
        u, v = field[row, column, 0], field[row, column, 1]
        long = np.hypot(u, v) > 0.1 * limit
        axes.quiver(
            column[long] + t * (size + GAP), row[long], u[long], v[long], color=ARROW_COLOUR, angles="xy",
            scale_units="xy", scale=limit / (ARROW_LENGTH * size), width=0.0016, headwidth=4, headlength=4,
            headaxislength=3.5,
        )  # fmt: skip
