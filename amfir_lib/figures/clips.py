"""What the videos look like: film strips in rows and columns, flow as colours and as arrows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amfir_lib.data.flow import flow_to_colour
from amfir_lib.errors import ShapeError
from amfir_lib.figures.style import SOFT, TWO_COLUMNS, PrintFigure, styled

ARROW_EVERY, ARROW_COLOUR = 14, (192, 0, 0)  # px between arrows
WHEEL_PX = 101


def strip(frames: np.ndarray, *, gap: int = 2) -> np.ndarray:
    """Frames uint8 (T, H, W, 3) side by side with ``gap`` white pixels between them: uint8 (H, W', 3)."""
    white = np.full((frames.shape[1], gap, 3), 255, np.uint8)
    return np.concatenate([part for frame in frames for part in (white, frame)][1:], axis=1)


def some_of(values: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the values (frames, say), evenly spread from the first to the last."""
    return values[np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int)]


@styled
def clip_grid(
    rows: Mapping[str, Sequence[np.ndarray | None]],
    *,
    n_frames: int = 8,
    marks: Sequence[Sequence[str]] = (),
    heads: Sequence[str] = (),
    arrow_of_time: bool = False,
    free: float = 0.0,
) -> Figure:
    """Clips as film strips: a row is a class or a kind, a column is a take or a level.

    Args:
        rows: label at the left -> frames uint8 (T, H, W, 3) of each clip, or None for an empty place.
        n_frames: shown of each clip, evenly spread.
        marks: for each row the texts above its clips, such as how a clip is degraded; () for none.
        heads: of the columns, above the second row: the first row is the clip as it is.
        arrow_of_time: write "time →" below.
        free: inches at the right that stay empty.
    """
    n_columns = max(map(len, rows.values()))
    strips = {
        label: [
            None if clip is None else strip(some_of(clip, n_frames), gap=2 if n_columns == 1 else 1) for clip in row
        ]
        for label, row in rows.items()
    }
    first = next(image for row in strips.values() for image in row if image is not None)
    left = 0.25 + 0.055 * max(len(line) for label in rows for line in label.split("\n"))
    width = (TWO_COLUMNS - free - left) / max(n_columns, 2 if heads else 1) - 0.07  # one level alone would be too large
    height = width * first.shape[0] / first.shape[1]
    above = 0.13 if any(map(any, marks)) else 0.0
    step, foot = height + 0.05 + above, 0.14 if arrow_of_time else 0.02
    bottom = step * len(rows) + (0.18 if heads else 0) + foot
    figure = PrintFigure(figsize=(TWO_COLUMNS, bottom), layout="none")
    for number, (label, row) in enumerate(strips.items()):
        if heads and number == 1:
            bottom -= 0.18
            for column, head in enumerate(heads):
                write(figure, left + column * (width + 0.07), bottom + 0.03, head)
        bottom -= step
        write(figure, left - 0.07, bottom + height / 2, label, ha="right", va="center")
        for column, image in enumerate(row):
            if image is not None:
                place = left + column * (width + 0.07)
                picture(figure, image, place, bottom, width, height)
                write(figure, place, bottom + height + 0.02, marks[number][column] if above else "", size=6, color=SOFT)
    write(figure, TWO_COLUMNS, 0.02, "time →" if arrow_of_time else "", ha="right", color=SOFT)
    return figure


@styled
def flow_views(frames: np.ndarray, flow: np.ndarray) -> Figure:
    """Frames, the flow around them as colours, and as arrows over the frames; with the key of the colour wheel.

    Args:
        frames: uint8 (T, S, S, 3).
        flow: (T, S, S, 2) in px per frame of the square of side S.
    Raises:
        ShapeError: frames and flow differ in T or S.
    """
    if frames.shape[:3] != flow.shape[:3]:
        raise ShapeError(f"frames {frames.shape} and flow {flow.shape} differ. Read both at once, with data.streams.")
    limit = saturation_of(flow)
    colours = flow_to_colour(flow, max_displacement=limit)
    shown = {"frames": frames, "flow\n(colours)": colours, "flow\n(arrows)": arrows(frames, flow, limit=limit)}
    figure = clip_grid({name: [images] for name, images in shown.items()}, free=1.05)
    middle = figure.get_size_inches()[1] / 2
    axes = picture(figure, colour_wheel(limit), TWO_COLUMNS - 0.95, middle - 0.25, 0.8, 0.8, frame=False)
    axes.set_xlabel(f"rim: {limit:g} px\nper frame", fontsize=6.5, labelpad=2)
    key = f"arrow of {limit:g} px:\n1/{flow.shape[1] / (2 * ARROW_EVERY):.2g} of a frame"
    write(figure, TWO_COLUMNS - 0.55, middle - 0.85, key, size=6.5, ha="center")
    return figure


def arrows(frames: np.ndarray, flow: np.ndarray, *, limit: float) -> np.ndarray:
    """Flow as arrows over faint frames, uint8 (T, S, S, 3); a vector of ``limit`` px spans two arrows' distance."""
    places = np.arange(ARROW_EVERY // 2, frames.shape[1], ARROW_EVERY)
    pictures = []
    for frame, field in zip(frames, flow, strict=True):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        faint = cv2.cvtColor((150 + 0.4 * grey).astype(np.uint8), cv2.COLOR_GRAY2RGB)
        for y, x in itertools.product(places, places):
            u, v = field[y, x] * (2 * ARROW_EVERY / limit)
            if np.hypot(u, v) > 3:
                end = (round(x + u), round(y + v))
                cv2.arrowedLine(faint, (int(x), int(y)), end, ARROW_COLOUR, 1, cv2.LINE_AA, tipLength=0.35)
        pictures.append(faint)
    return np.stack(pictures)


def add_axes_inches(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches from the lower left corner."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def write(figure: Figure, x: float, y: float, text: str, *, size: float = 7, **style: Any) -> None:
    """A text at a place given in inches from the lower left corner."""
    figure.text(x, y, text, fontsize=size, transform=figure.dpi_scale_trans, **style)


def add_artist(figure: Figure, artist: Artist) -> None:
    """A patch or a marker whose places are given in inches from the lower left corner."""
    artist.set_transform(figure.dpi_scale_trans)
    figure.add_artist(artist)


def saturation_of(flow: np.ndarray) -> float:
    """A length in px that few vectors exceed, so that colours show: the 98th percentile, at least 1, to a tenth."""
    return max(1.0, round(float(np.percentile(np.hypot(flow[..., 0], flow[..., 1]), 98)), 1))


def colour_wheel(max_displacement: float, *, size: int = WHEEL_PX) -> np.ndarray:
    """The key to flow as colours, uint8 (size, size, 3): each place has the colour of the vector from the centre to it.

    ``max_displacement`` px are at the rim; white outside.
    """
    x, y = np.meshgrid(*[np.linspace(-1, 1, size)] * 2)
    wheel = flow_to_colour(max_displacement * np.stack([x, y], -1), max_displacement=max_displacement)
    wheel[np.hypot(x, y) > 1] = 255
    return wheel


def picture(
    figure: Figure, image: np.ndarray, *place: float, colour: str = "#CCCCCC", width: float = 0.4, frame: bool = True
) -> Axes:
    """An image without ticks at a place as of ``add_axes_inches``, in a faint frame: flow is mostly white."""
    axes = add_axes_inches(figure, *place)
    axes.imshow(image)
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set(visible=frame, color=colour, linewidth=width)
    return axes
