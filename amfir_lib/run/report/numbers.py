"""Where the numbers of a figure are, and which one of them to expect."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from amfir_lib.analysis.tables import percent
from amfir_lib.run.checking.compare import key_columns
from amfir_lib.run.checking.tolerances import rule_for
from amfir_lib.run.report.shown import MAIN_SERIES, value_of_shown

MAIN_COLUMNS = ("accuracy", "difference")
NAMES = ("method", "comparison", "label", "title")  # for readers, where ``key`` is for programs
STEPS = ("step", "epoch")
WORDS = {"n_shot": "{}-shot", "n_way": "{}-way", "step": "step {}", "epoch": "epoch {}", "severity": "severity {:g}"}
UNITS = ("px", "ms")  # with which the name of a column may end
POINTS, SHARE, NATS = "difference of accuracies", "accuracy or share", "free energy"  # of ``checking.tolerances``


@dataclass(frozen=True)
class Source:
    """The part of a table that a figure draws.

    Attributes:
        table: its name.
        row, column: what names a row and a column of it that the figure draws; empty where it draws all.
    """

    table: str
    row: str = ""
    column: str = ""


# Figures that draw another table than the one of their name, or a part of it.  The numbers of those that no table holds
# are written beside the figure.
SOURCES = {
    "degradation_costs": Source("degradation_kinds"),
    "differences": Source("paired"),
    "fig3_shots_lead": Source("fig3_shots", row=f"{MAIN_SERIES} − "),
    "fig5_ways_lead": Source("fig5_ways", row=f"{MAIN_SERIES} − "),
    "open_choices": Source("open_choices_pooled"),
    "reliability_diagram": Source("reliability"),
    "robustness_motion": Source("robustness", row="shake"),
    "robustness_sensor": Source("robustness", row="darkness"),
    "score_picks": Source("score_picks", column="test: "),
}


def numbers_of_figure(output_dir: Path, name: str) -> str | None:
    """The CSV file with the numbers of a figure, relative to the study's folder; None for a picture of clips."""
    source = SOURCES.get(name, Source(name))
    candidates = (f"figures/{name}.csv", f"tables/{source.table}.csv")
    return next((path for path in candidates if (output_dir / path).exists()), None)


def value_of_figure(output_dir: Path, name: str) -> tuple[str, str] | None:
    """One number to find in a figure, and the file that shows it; None for a picture of clips.

    Args:
        output_dir: folder of the study.
        name: of the figure.
    Returns:
        A value as of ``value_of_drawn`` or ``value_of_shown``; the path of the numbers that the figure draws, or of the
        table as it is to be read, relative to the folder.
    """
    own, source = f"figures/{name}.csv", SOURCES.get(name, Source(name))
    if (output_dir / own).exists():
        return value_of_drawn(pd.read_csv(output_dir / own), name), own
    table = f"tables/{source.table}.md"
    if not (output_dir / table).exists():
        return None
    text = (output_dir / table).read_text(encoding="utf-8")
    return value_of_shown(text, row=source.row, column=source.column), table


def value_of_drawn(frame: pd.DataFrame, name: str) -> str:
    """One of the numbers that a figure draws, with the row in which it stands, and how many rows there are.

    The row is AMFIR's first (of a curve its last step), else the first.  The number is the accuracy or difference,
    where there is one, else the first result.

    Args:
        frame: the numbers, as exported.
        name: of the figure; rules for its columns may depend on it.
    Returns:
        Such as ``synth-ssv2, AMFIR, step 200: accuracy 59.1 % (60 rows)``.
    """
    size = f"{len(frame)} row{'s' if len(frame) != 1 else ''}"
    main = _main_column(frame, name)
    if main is None:
        return size
    rows = frame[frame[main].notna()]
    own = rows[(rows.select_dtypes(exclude="number") == MAIN_SERIES).any(axis=1)]
    rows = own if len(own) else rows
    for step in (column for column in STEPS if column in frame):
        rows = rows[rows[step] == rows[step].max()]
    row = rows.iloc[0]
    return f"{_where(frame, row)}: {_in_words(row, main, name)} ({size})"


def _main_column(frame: pd.DataFrame, table: str) -> str | None:
    """The column of the main result; None where there are but words."""
    settings = {*key_columns(frame), *WORDS}
    results = [
        column
        for column in frame.select_dtypes("number")
        if column not in settings and frame[column].notna().any() and rule_for(table, column, whole=False).allowed
    ]
    main = [column for column in MAIN_COLUMNS if column in results]
    return next(iter([*main, *results]), None)


def _where(frame: pd.DataFrame, row: pd.Series) -> str:
    """What names a row: ``synth-ssv2, 1-shot, AMFIR``."""
    key = key_columns(frame)
    key += [column for column in WORDS if column in frame and column not in key and frame[column].nunique() > 1]
    titles = [column for column in NAMES if column in frame and pd.notna(row[column])]
    key = [titles[-1] if column in ("key", *titles) and titles else column for column in key]
    named = [
        "mean over the shots"
        if column == "n_shot" and row[column] == 0
        else WORDS.get(column, "{}").format(row[column])
        for column in dict.fromkeys(key)
        if pd.notna(row[column])
    ]
    return ", ".join(named) or "first row"


def _in_words(row: pd.Series, main: str, figure: str) -> str:
    """The column and its number with interval and unit: ``accuracy 59.1 ± 5.5 %``."""
    half = next((row[column] for column in (f"{main}_half_width", "half_width") if column in row), None)
    rule = rule_for(figure, main, whole=False).name
    words = main.replace("_", " ")
    if rule in (POINTS, SHARE):
        return f"{words} {percent(row[main], half, signed=rule == POINTS)} {'points' if rule == POINTS else '%'}"
    if rule == NATS:
        return f"{words} {f'{row[main]:.2f}'.replace('-', '−')} nats"
    name, _, unit = words.rpartition(" ")
    number = (f"{row[main]:,.0f}" if row[main] == int(row[main]) else f"{row[main]:.3g}").replace("-", "−")
    return f"{name} {number} {unit}" if unit in UNITS else f"{words} {number}"
