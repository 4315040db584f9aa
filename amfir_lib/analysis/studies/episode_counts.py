"""Are so few episodes enough? Both intervals of one accuracy, by number of test episodes."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from amfir_lib.analysis.studies.leave_out import points
from amfir_lib.analysis.tables import percent
from amfir_lib.analysis.tables.shown import JACKKNIFE
from amfir_lib.errors import BadParameter
from amfir_lib.exports import Table
from amfir_lib.study.runs import RunResult
from amfir_lib.study.statistics import class_jackknife


def episodes_frame(results: Iterable[RunResult]) -> pd.DataFrame:
    """How the two intervals of AMFIR's accuracy depend on the number of episodes, at the first point of each data set.

    The first episodes of a list do not depend on how many follow, so shorter lists are prefixes.  Of class folds the
    first is taken.

    Returns:
        Columns ``dataset, n_way, n_shot, n_episodes, accuracy, half_width, conventional_half_width, n_classes,
        n_folds`` (class folds that there are).
    """
    own = [result for result in results if result.run.method == "amfir"]
    firsts = {point.group.dataset: point for point in reversed(points(own))}
    rows = []
    for point in reversed(firsts.values()):
        (name,), classes = point.series, point.group.fold_episodes[0].classes
        values = point.group.accuracy(name).mean(0)[: len(classes)]
        for n_episodes in sorted({max(2, len(values) // share) for share in (10, 5, 2, 1)}):
            try:
                interval = class_jackknife(values[:n_episodes], classes[:n_episodes])
            except BadParameter:  # a class is in each of so few episodes, or in none
                continue
            row = {"n_episodes": n_episodes, "accuracy": interval.mean, "half_width": interval.half_width}
            row |= {"conventional_half_width": interval.conventional_half_width, "n_classes": interval.n_classes}
            rows.append(point.group.where() | row | {"n_folds": len(point.group.layouts)})
    columns = ["dataset", "n_way", "n_shot", "n_episodes", "accuracy", "half_width", "conventional_half_width"]
    return pd.DataFrame(rows, columns=[*columns, "n_classes", "n_folds"])


def shown_episodes(frame: pd.DataFrame) -> Table:
    """The widths of both intervals by number of episodes, as they are to be read.

    Args:
        frame: from ``episodes_frame``.
    """
    shown = pd.DataFrame(
        {
            "data set": frame["dataset"],
            "episodes": [f"{n:,}" for n in frame["n_episodes"]],
            "accuracy (%)": frame["accuracy"].map(percent),
            "± over classes": frame["half_width"].map(percent),
            "± over episodes": frame["conventional_half_width"].map(percent),
            "test classes": frame["n_classes"],
        }
    )
    where = " or ".join(dict.fromkeys(f"{row.n_way}-way {row.n_shot}-shot" for row in frame.itertuples()))
    folds = [f"{row.dataset}: the first of {row.n_folds} class folds" for row in frame.itertuples() if row.n_folds > 1]
    alone = f" ({'; '.join(dict.fromkeys(folds))})" if folds else ""
    caption = (
        f"AMFIR, {where}{alone}, by number of test episodes. ± over classes: half width of the {JACKKNIFE}, ± over "
        "episodes: of the conventional one, which covers the drawing of episodes alone; both in points."
    )
    return Table(frame, shown, caption)
