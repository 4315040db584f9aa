"""Where the numbers of a figure are, and which one of a table to expect."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from amfir_lib.checking.compare import key_columns
from amfir_lib.checking.tolerances import rule_for
from amfir_lib.tables import percent

MAIN_SERIES = "AMFIR"
MAIN_COLUMNS = ("accuracy", "difference", "hit_rate_free_energy", "hit_rate", "settled", "p_true_fused", "parameters")
STEPS = ("step", "epoch")
SETTINGS = {"level": "level {:g}", "severity": "severity {:g}", "bin": "bin {:g}", "n_episodes": "{:g} episodes"}
WORDS = {"n_shot": "{}-shot", "n_way": "{}-way", "step": "step {}", "epoch": "epoch {}"} | SETTINGS
POINTS, SHARE = "difference of accuracies", "accuracy or share"  # rules of ``checking.tolerances``


@dataclass(frozen=True)
class Source:
    """The part of a table that a figure draws.

    Attributes:
        table: its name.
        column, value: the figure draws the rows with this value; empty where it draws all.
    """

    table: str
    column: str = ""
    value: str = ""


# Figures that draw another table than the one of their name, or a part of it.  The numbers of those that no table holds
# are written beside the figure.
SOURCES = {
    "degradation_costs": Source("degradation_kinds"),
    "differences": Source("paired"),
    "fig3_shots_lead": Source("fig3_shots", "kind", "lead"),
    "fig5_ways_lead": Source("fig5_ways", "kind", "lead"),
    "open_choices": Source("open_choices_pooled"),
    "reliability_diagram": Source("reliability"),
    "robustness_motion": Source("robustness", "family", "motion ambiguity"),
    "robustness_sensor": Source("robustness", "family", "sensor noise"),
    "score_picks": Source("score_picks", "split", "test"),
}


def numbers_of_figure(output_dir: Path, name: str) -> str | None:
    """The CSV file with the numbers of a figure, relative to the study's folder; None for a picture of clips."""
    source = SOURCES.get(name, Source(name))
    candidates = (f"figures/{name}.csv", f"tables/{source.table}.csv")
    return next((path for path in candidates if (output_dir / path).exists()), None)


def value_of_figure(output_dir: Path, name: str) -> str | None:
    """One number to find in a figure, as ``value_of_table``; None for a picture of clips."""
    path = numbers_of_figure(output_dir, name)
    if path is None:
        return None
    frame, source = pd.read_csv(output_dir / path), SOURCES.get(name, Source(name))
    if source.column in frame:
        frame = frame[frame[source.column] == source.value]
    return value_of_table(frame, Path(path).stem)


def value_of_table(frame: pd.DataFrame, name: str) -> str:
    """One number to find in a table, with the row in which it stands, and how many rows there are.

    The row is AMFIR's first (of a curve its last step), else the first.  The number is the accuracy or difference,
    where the table has one, else its first result.

    Args:
        frame: the numbers, as exported.
        name: of the table; rules for its columns may depend on it.
    Returns:
        Such as ``synth-ssv2, 1-shot, AMFIR: accuracy 59.1 ± 5.5 % (48 rows)``.
    """
    size = f"{len(frame)} row{'s' if len(frame) != 1 else ''}"
    main = _main_column(frame, name)
    if main is None:
        found = _number_in_words(frame)
        return f"{found} ({size})" if found else size
    if pd.api.types.is_bool_dtype(frame[main]):
        return f"{main} in {int(frame[main].sum())} of {len(frame)} rows"
    rows = frame[frame[main].notna()]
    own = rows[(rows.select_dtypes(exclude="number") == MAIN_SERIES).any(axis=1)]
    rows = own if len(own) else rows
    for step in (column for column in STEPS if column in frame):
        rows = rows[rows[step] == rows[step].max()]
    row = rows.iloc[0]
    return f"{_where(frame, row)}: {main.replace('_', ' ')} {_in_words(row, main, name)} ({size})"


def _main_column(frame: pd.DataFrame, table: str) -> str | None:
    """The column of the main result; None where there are but words."""
    settings = {*key_columns(frame), *SETTINGS, *STEPS}
    results = [
        column
        for column in frame.select_dtypes("number")
        if column not in settings and frame[column].notna().any() and rule_for(table, column, whole=False).allowed
    ]
    kinds = (
        [column for column in MAIN_COLUMNS if column in results],
        [column for column in results if pd.api.types.is_float_dtype(frame[column])],
        list(frame.select_dtypes("bool")),
        results,
    )
    return next((columns[0] for columns in kinds if columns), None)


def _where(frame: pd.DataFrame, row: pd.Series) -> str:
    """What names a row: ``synth-ssv2, 1-shot, AMFIR``."""
    key = key_columns(frame)
    key += [c for c in (*STEPS, *SETTINGS) if c in frame and c not in key and frame[c].nunique() > 1]
    titles = [c for c in ("method", "comparison") if c in frame and pd.notna(row[c])]
    key = [titles[0] if c == "key" and titles else c for c in key]  # names for readers, not for programs
    named = [
        "mean over the shots" if c == "n_shot" and row[c] == 0 else WORDS.get(c, "{}").format(row[c])
        for c in dict.fromkeys(key)
        if pd.notna(row[c])
    ]
    return ", ".join(named) or "first row"


def _in_words(row: pd.Series, main: str, table: str) -> str:
    """The number with its interval and its unit."""
    widths = (
        f"{main}_half_width",
        f"{main.removesuffix('cost')}half_width",
        "half_width" if main in MAIN_COLUMNS else "",
    )
    half = next((row[column] for column in widths if column in row), None)
    rule = rule_for(table, main, whole=False).name
    if rule in (POINTS, SHARE):
        return f"{percent(row[main], half, signed=rule == POINTS)} {'points' if rule == POINTS else '%'}"
    number = f"{int(row[main]):,}" if row[main] == int(row[main]) else f"{row[main]:.3g}"
    return number.replace("-", "−")


def _number_in_words(frame: pd.DataFrame) -> str:
    """The first cell of a table of words that holds an interval, from the last column on; empty if there is none."""
    for column in reversed(list(frame)):
        for name, text in zip(frame.iloc[:, 0], frame[column].astype(str), strict=True):
            if "±" in text:
                return f"{name}: {text.partition(';')[0]}"
    return ""
