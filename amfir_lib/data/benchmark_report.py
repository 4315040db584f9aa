"""The preparation report of a real benchmark: what was found of every class, against what was published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from amfir_lib.data.manifest import SPLITS
from amfir_lib.errors import DataNotFound, TooFewVideos
from amfir_lib.exports import Table
from amfir_lib.storage import atomic_write, write_json

SHOWN = 5
COUNTS = ("expected", "found", "missing", "unreadable", "too_short", "used")


def class_table(
    wanted: pd.DataFrame, expected: Mapping[str, int], unreadable: Sequence[str], too_short: Sequence[str]
) -> pd.DataFrame:
    """One row a class: ``split, label, expected, found, missing, unreadable, too_short, used``.

    Args:
        wanted: one row for each wanted video, ``label, split, path``; the path is empty where it was not found.
        expected: label -> number of videos that the list, or the published list, has.
        unreadable, too_short: paths.
    """
    rows = []
    for (split, label), part in wanted.groupby(["split", "label"], sort=False):
        paths = set(part["path"]) - {""}
        bad, short = len(paths & set(unreadable)), len(paths & set(too_short))
        rows.append({
            "split": split, "label": label, "expected": expected[label], "found": len(paths),
            "missing": max(0, expected[label] - len(paths)), "unreadable": bad, "too_short": short,
            "used": len(paths) - bad - short,
        })  # fmt: skip
    table = pd.DataFrame(rows, columns=["split", "label", *COUNTS])
    order = table["split"].map(SPLITS.index)
    return table.assign(order=order).sort_values("order", kind="stable").drop(columns="order").reset_index(drop=True)


def split_table(classes: pd.DataFrame, published: Mapping[str, int]) -> pd.DataFrame:
    """One row a split: sums over its classes, the published number of videos, and the lowest share of a class."""
    rows = []
    for split in SPLITS:
        part = classes[classes["split"] == split]
        shares = part["used"] / part["expected"].clip(lower=1)
        rows.append({
            "split": split, "classes": len(part), "published": published[split],
            **{column: int(part[column].sum()) for column in COUNTS},
            "lowest_share": float(shares.min()) if len(part) else 0.0,
        })  # fmt: skip
    return pd.DataFrame(rows)


def report_text(report: Mapping[str, Any]) -> list[str]:
    """What to tell the user about a prepared benchmark, in a few lines."""
    lines = [
        f"{report['title']} in {report['root']}: {report['layout']}.",
        f"Videos: {report['selection']}. Groups: {report['groups']}.",
    ]
    for row in report["splits"]:
        lines.append(
            f"  {row['split']:<5} {row['classes']:>3} classes: {row['used']:,} videos used of {row['expected']:,} "
            f"(published: {row['published']:,}); {row['missing']:,} missing, {row['unreadable']:,} unreadable, "
            f"{row['too_short']:,} shorter than {report['min_frames']} frames; lowest class {row['lowest_share']:.0%}"
        )
    if report["left_out"]:
        few = f"{len(report['left_out'])} classes have fewer than 2 usable videos and are left out"
        lines.append(f"{few}: {_first(report['left_out'])}.")
    if report["surplus"]:
        lines.append(f"{len(report['surplus'])} classes have more videos than published: {_first(report['surplus'])}.")
    lines.append(f"Every missing, unreadable and short video: {report['file']}")
    return lines


def write_report(folder: Path, report: Mapping[str, Any], classes: pd.DataFrame) -> None:
    """Write ``preparation_report.json`` (with the lists of videos) and ``preparation_report.csv`` (one row a class)."""
    write_json(folder / "preparation_report.json", report)
    with atomic_write(folder / "preparation_report.csv") as temporary:
        classes.to_csv(temporary, index=False, lineterminator="\n")


def check_shares(
    classes: pd.DataFrame, *, min_found: float, report: Mapping[str, Any], nearest: Mapping[str, Sequence[str]]
) -> None:
    """Refuse to go on where too much of a class is lacking.

    Args:
        classes: of ``class_table``.
        min_found: smallest accepted share of usable videos of each class.
        report: the rest of the report, for the message.
        nearest: class that was not found at all -> the folders that look most like it.
    Raises:
        DataNotFound: classes without any video; names the folders that look most like them, and the option that leaves
            them out and goes on to look at the shares of the others.
        TooFewVideos: classes below ``min_found``; names the option that accepts them.
    """
    shares = classes["used"] / classes["expected"].clip(lower=1)
    low = classes[shares < min_found]
    if low.empty:
        return
    absent = sorted((label for label in low["label"] if label in nearest), key=lambda label: not nearest[label])
    if absent:  # those with a similar folder first: most likely it has to be renamed
        phrases = [f'"{label}" (nearest folders: {_quoted(nearest[label])})' for label in absent]
        there = classes.loc[classes["found"] > 0, "split"].value_counts()
        counts = "/".join(str(there.get(split, 0)) for split in SPLITS)
        without = f"; or go on without these classes: add --set class_counts={counts} to the same command"
        remedy = f"listed in {report['file']}{without if len(there) == len(SPLITS) else ''}."
        raise DataNotFound(
            f"{len(absent)} of {len(classes)} classes of {report['title']} have no video under {report['root']}: "
            f"{_first(phrases)}. Rename the folders or add the videos, {remedy}"
        )
    first = low.iloc[int((low["used"] / low["expected"].clip(lower=1)).to_numpy().argmin())]
    lowest = int(100 * float(shares.min())) / 100
    raise TooFewVideos(
        f"{len(low)} of {len(classes)} classes of {report['title']} have fewer than {min_found:.0%} of their videos, "
        f'the least "{first["label"]}" with {first["used"]} of {first["expected"]}. Get the missing ones, listed in '
        f"{report['file']}, or accept what is there: add --min-found {lowest:g} to the same command."
    )


def report_summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a record keeps of the report: no path of this machine, and no list of thousands of videos."""
    return {key: report[key] for key in ("selection", "note", "layout", "groups", "splits", "left_out")}


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) or "none is similar"


def preparation_table(report: Mapping[str, Any]) -> Table:
    """The report of a benchmark as a table, one row a split."""
    data = pd.DataFrame(report["splits"])
    shown = data.drop(columns="lowest_share").assign(lowest=[f"{100 * share:.0f}" for share in data["lowest_share"]])
    for column in ("published", *COUNTS):
        shown[column] = [f"{count:,}" for count in data[column]]
    shown = shown.rename(columns={"too_short": "too short", "lowest": "lowest class (%)", "expected": "wanted"})
    caption = f"{report['title']}: {report['selection']}; {report['layout']}. Groups: {report['groups']}."
    return Table(data, shown, caption)
