"""Tables of Figures 3 and 5: accuracies at every point, the paired lead of AMFIR, and what the paper's text says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd

from amfir_lib.analysis.studies.leave_out import Point, points
from amfir_lib.analysis.tables import accuracy_table, paired_table, percent
from amfir_lib.analysis.tables.grouping import Namer
from amfir_lib.analysis.tables.shown import JACKKNIFE, interval_note
from amfir_lib.exports import Table
from amfir_lib.paper import published, published_name
from amfir_lib.study.runs import RunResult

NEXT_BEST = "next best"
SWEPT = {"n_shot": "shot", "n_way": "way"}


def sweep_frames(
    results: Sequence[RunResult], series: Namer, *, leads: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracies at every point, and AMFIR's paired lead.

    Args:
        results: runs with tests.
        series: names the series of a run.
        leads: names of series that the lead is taken over, beside the next best of all.
    Returns:
        Accuracies (``tables.accuracy_table`` and ``key``, the method's registry name); leads (``tables.paired_table``
        and ``key``; the rows "next best" take the best other method of each point, chosen anew whenever a class is
        left out, and are outside Holm's correction; their ``next_best`` names it).
    """
    keys = {series(result): result.run.method for result in results}
    reference = next(name for name, key in keys.items() if key == "amfir")
    accuracy = accuracy_table(results, series=series)
    over = paired_table(results, reference, others=[one for one in leads if one != reference], series=series)
    over_best = pd.DataFrame([_next_best_row(point, reference) for point in points(results, series)])
    lead = pd.concat([over, over_best], ignore_index=True) if len(over) else over_best
    return accuracy.assign(key=accuracy["method"].map(keys)), lead.assign(key=lead["other"].map(keys).fillna(""))


def _next_best_row(point: Point, reference: str) -> dict[str, object]:
    best, found = point.next_best(reference), point.lead(reference)
    interval = found.interval() if found else None
    return point.group.where() | {
        "other": NEXT_BEST,
        "comparison": f"{reference} − {NEXT_BEST}",
        "difference": point.mean(reference) - point.mean(best),
        "half_width": interval.half_width if interval else np.nan,
        "p_value": interval.p_value if interval else np.nan,
        "p_holm": np.nan,
        "n_classes": point.group.n_classes,
        "verdict": "",
        "next_best": best,
    }


def published_points(figure: str, datasets: Iterable[str]) -> pd.DataFrame:
    """What the paper's text says about Figure 3 ("fig3") or 5 ("fig5"); the figures' own values are not printed.

    Returns:
        Columns ``dataset, n_way, n_shot, key, value, bound``: ``key`` is "amfir", or "" for "all other methods", whose
        ``value`` is an upper bound (``bound`` is true); shares in [0, 1].
    """
    own_name = {published_name(name): name for name in datasets if published_name(name)}
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


def sweep_captions(accuracy: pd.DataFrame, paper: pd.DataFrame, *, swept: str, kind: str) -> tuple[str, str]:
    """Data, episodes, seeds and what the intervals are: for the figure, and for the table.

    Args:
        accuracy: from ``sweep_frames``.
        paper: from ``published_points``.
        swept: "n_shot" or "n_way".
        kind: of clips, "synthetic clips".
    """
    fixed = next(name for name in SWEPT if name != swept)

    def numbers(column: str) -> str:
        return " or ".join(f"{n:,}" for n in sorted(set(accuracy[column])))

    setting = (
        f"Test accuracy in % ({kind}), {numbers(fixed)}-{SWEPT[fixed]}, {numbers('n_episodes')} episodes a point from "
        f"{numbers('n_classes')} test classes, {numbers('n_seeds')} training seed(s)"
    )
    hollow = "; hollow: paper (as printed, real data)" if len(paper) else ""
    return (
        f"{setting}; {interval_note(accuracy, f'bars: {JACKKNIFE}')}{hollow}.",
        f"{setting}; {interval_note(accuracy)}.",
    )


def lead_captions(lead: pd.DataFrame, *, swept: str) -> tuple[str, str]:
    """What the leads are, and which method is the next best at which points: for the figure, and for the table.

    Args:
        lead: from ``sweep_frames``.
        swept: "n_shot" or "n_way".
    """
    fixed = next(name for name in SWEPT if name != swept)
    told = []
    for (dataset, other), part in lead[lead["other"] == NEXT_BEST].groupby(["dataset", fixed], sort=False):
        names = part.sort_values(swept).groupby("next_best", sort=False)[swept].agg(list)
        names.index = [name.partition(" (")[0] for name in names.index]  # without the remark in brackets
        points = [f"{name} at {' and '.join(map(str, own))} {SWEPT[swept]}s" for name, own in names.items()]
        where = f"{dataset}, {other}-{SWEPT[fixed]}"
        told.append(f"{where}: {', '.join(points) if len(names) > 1 else f'{names.index[0]} at every point'}")
    bars = interval_note(lead, f"bars: paired {JACKKNIFE}", then="hollow: it reaches 0")
    best = f"Next best: the best other method of each point ({'; '.join(told)})."
    return (
        f"AMFIR minus other method, percentage points; {bars}. {best}",
        f"Rows with a minus: AMFIR minus other method, percentage points; "
        f"{interval_note(lead, f'± is the paired {JACKKNIFE}')}. {best}",
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
            text = "others, paper (as printed): below" if bound else "AMFIR, paper (as printed): about"
            rows.append(where | {"method": text} | _cells(own, swept, values, _whole))
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
