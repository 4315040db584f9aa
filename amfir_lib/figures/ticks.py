"""Ticks of an axis with training steps, epochs, ways or shots: whole numbers, the last one always among them."""

from __future__ import annotations

import math
from collections.abc import Iterable

from matplotlib.axes import Axes

ROUND = (1, 2, 5, 2.5, 4, 3, 6, 8)  # leading digits of a distance between ticks, the best first


def ticks_to_last(points: Iterable[float], *, most: int = 5) -> list[int]:
    """Where the ticks stand: at every point if these are few, else equally far apart from the first to the last.

    Args:
        points: whole numbers at which something was measured.
        most: ticks that fit; at least 2.
    Returns:
        Ascending.  Where no round distance divides the range: the first and the last point.

    >>> ticks_to_last(range(0, 401, 25))
    [0, 100, 200, 300, 400]
    """
    points = sorted({int(point) for point in points})
    if len(points) <= most:
        return points
    first, last = points[0], points[-1]
    fitting = [
        (ROUND.index(digit), -count, (last - first) // count)
        for count in range(1, most)
        if (last - first) % count == 0 and (digit := _leading((last - first) // count)) in ROUND
    ]
    if not fitting:
        return [first, last]
    several = [one for one in fitting if -one[1] > 1] or fitting
    distance = min(several)[2]
    return list(range(first, last + 1, distance))


def set_ticks_to_last(axes: Axes, points: Iterable[float], *, most: int = 5) -> None:
    """Put ``ticks_to_last`` on the x axis."""
    axes.set_xticks(ticks_to_last(points, most=most))


def _leading(value: int) -> float:
    """``2.5`` of 250."""
    return value / 10 ** math.floor(math.log10(value))
