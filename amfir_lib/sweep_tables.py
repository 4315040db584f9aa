"""Tables of Figures 3 and 5: accuracies at every point, the paired lead of AMFIR, and what the paper's text says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from amfir_lib.ablations import PAPERS_NAMES
from amfir_lib.experiments import RunResult
from amfir_lib.exports import Table
from amfir_lib.leave_out import Point, accuracy_frame, difference_frame, interval_columns, points
from amfir_lib.paper import published
from amfir_lib.tables import percent

NEXT_BEST = "next best"
SWEPT = {"n_shot": "shot", "n_way": "way"}


def sweep_frames(
    results: Iterable[RunResult],
    series: Callable[[RunResult], str],
    *,
    leads: Sequence[str],
) -> tuple[list[Point], pd.DataFrame, pd.DataFrame]:
    """Accuracies at every point, and AMFIR's paired lead.

    Args:
        results: runs with tests.
        series: names the series of a run.
        leads: titles of methods that the lead is taken over, beside the next best of all.
    Returns:
        The points; accuracies (``leave_out.accuracy_frame`` and ``key``, the method's registry name); leads (columns
        of ``difference_frame``; the rows "next best" take the best other method of each point, chosen anew whenever a
        class is left out, and are outside Holm's correction).
    """
    results = list(results)
    keys = {series(result): result.run.method for result in results}
    found = points(results, series=series)
    reference = next(title for title, key in keys.items() if key == "amfir")
    accuracy = accuracy_frame(found)
    lead = [difference_frame(found, reference, others=[one for one in leads if one != reference])]
    lead.append(pd.DataFrame([_next_best_row(point, reference) for point in found]))
    return (
        found,
        accuracy.assign(key=accuracy["method"].map(keys)),
        pd.concat(lead, ignore_index=True).assign(key=lambda frame: frame["other"].map(keys).fillna("")),
    )


def lead_over_next_best(point: Point, reference: str) -> np.ndarray:
    """(1 + C,) ``reference`` minus the best other series, which is found anew without each class."""
    others = [point.means(name) for name in point.series if name != reference]
    return point.means(reference) - np.max(others, axis=0)


def _next_best_row(point: Point, reference: str) -> dict[str, object]:
    values = lead_over_next_best(point, reference)
    others = {name: float(point.means(name)[0]) for name in point.series if name != reference}
    row = {"other": NEXT_BEST, "comparison": f"{reference} − {NEXT_BEST}", "difference": float(values[0])}
    row |= {"n_classes": len(values) - 1, "p_holm": np.nan, "verdict": "", "next_best": max(others, key=others.get)}
    return point.where() | row | interval_columns(point.interval(values))


def episodes_frame(found: Sequence[Point], reference: str) -> pd.DataFrame:
    """How the two intervals of AMFIR's accuracy depend on the number of episodes, at the first point of each data set.

    The first episodes of a list do not depend on how many follow, so shorter lists are prefixes.

    Args:
        found: points of ``sweep_frames``.
        reference: title of AMFIR.
    Returns:
        Columns ``dataset, n_way, n_shot, n_episodes, accuracy, half_width, conventional_half_width, n_classes``.
    """
    whole = {point.dataset: point for point in reversed(found)}
    parts = [point.first(max(2, point.cell.n_episodes // share)) for point in whole.values() for share in (10, 5, 2, 1)]
    frame = accuracy_frame(parts)
    columns = ["dataset", "n_way", "n_shot", "n_episodes", "accuracy", "half_width", "conventional_half_width"]
    return frame.loc[frame["method"] == reference, [*columns, "n_classes"]].reset_index(drop=True)


def published_points(figure: str, datasets: Iterable[str]) -> pd.DataFrame:
    """What the paper's text says about Figure 3 ("fig3") or 5 ("fig5"); the figures' own values are not printed.

    Returns:
        Columns ``dataset, n_way, n_shot, key, value, bound``: ``key`` is "amfir", or "" for "all other methods", whose
        ``value`` is an upper bound (``bound`` is true); shares in [0, 1].
    """
    own_name = {paper: name for name, paper in PAPERS_NAMES.items() if name in set(datasets)}
    numbers = published("text_numbers")
    numbers = numbers[(numbers["figure"] == figure) & numbers["dataset"].isin(own_name) & numbers["value"].notna()]
    sizes = numbers["setting"].str.extract(r"(\d+)-way (\d+)-shot").astype(int)
    return pd.DataFrame(
        {
            "dataset": numbers["dataset"].map(own_name),
            "n_way": sizes[0],
            "n_shot": sizes[1],
            "key": np.where(numbers["method"] == "AMFIR", "amfir", ""),
            "value": numbers["value"] / 100,
            "bound": numbers["quantity"] == "accuracy_upper_bound",
        }
    ).reset_index(drop=True)


def sweep_caption(accuracy: pd.DataFrame, *, swept: str, kind: str) -> str:
    """Data, episodes, seeds and what the intervals are, for the figure and the table.

    Args:
        accuracy: from ``sweep_frames``.
        swept: "n_shot" or "n_way".
        kind: of clips, "synthetic clips".
    """
    fixed = next(name for name in SWEPT if name != swept)

    def numbers(column: str) -> str:
        return " or ".join(str(n) for n in sorted(set(accuracy[column])))

    return (
        f"Test accuracy in % ({kind}), {numbers(fixed)}-{SWEPT[fixed]}, {numbers('n_episodes')} episodes a point, "
        f"{numbers('n_seeds')} training seed(s); bars and ±: 95 % class-jackknife interval, {numbers('n_classes')} "
        "test classes; hollow and ≈: paper (as printed, real data)."
    )


def shown_sweep(accuracy: pd.DataFrame, lead: pd.DataFrame, paper: pd.DataFrame, *, swept: str, caption: str) -> Table:
    """Accuracies, the paper's numbers and the leads, one row a method, one column a point.

    Args:
        accuracy, lead: from ``sweep_frames``.
        paper: from ``published_points``.
        swept: "n_shot" or "n_way".
        caption: of the table.
    """
    fixed = next(name for name in SWEPT if name != swept)
    values = sorted(accuracy[swept].unique())
    rows = []
    for (dataset, other), part in accuracy.groupby(["dataset", fixed], sort=False):
        where = {"data set": f"{dataset}, {other}-{SWEPT[fixed]}"}
        for name, own in part.groupby("method", sort=False):
            cells = _cells(own, swept, values, lambda row: percent(row["accuracy"], row["half_width"]))
            rows.append(where | {"method": name} | cells)
        told = paper[(paper["dataset"] == dataset) & (paper[fixed] == other) & paper[swept].isin(values)]
        for bound, own in told.groupby("bound"):
            text = "others, paper (as printed)" if bound else "AMFIR, paper (as printed)"
            mark = "< " if bound else "≈ "
            rows.append(where | {"method": text} | _cells(own, swept, values, lambda row, m=mark: m + _whole(row)))
        leads = lead[(lead["dataset"] == dataset) & (lead[fixed] == other)]
        for name, own in leads.groupby("comparison", sort=False):
            cells = _cells(own, swept, values, lambda row: percent(row["difference"], row["half_width"], signed=True))
            rows.append(where | {"method": name} | cells)
    shown = pd.DataFrame(rows).rename(columns={value: f"{value}-{SWEPT[swept]}" for value in values})
    data = pd.concat([accuracy.assign(kind="accuracy"), lead.assign(kind="lead")], ignore_index=True)
    return Table(data, shown, caption)


def _cells(own: pd.DataFrame, swept: str, values: Sequence[int], text: Callable[[pd.Series], str]) -> dict[int, str]:
    by_value = {row[swept]: text(row) for _, row in own.iterrows()}
    return {value: by_value.get(value, "–") for value in values}


def _whole(row: pd.Series) -> str:
    return f"{100 * row['value']:.0f}"
