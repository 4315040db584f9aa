"""One number to expect of a table, as its Markdown file shows it: who opens that file finds the same digits there."""

from __future__ import annotations

import re

import pandas as pd

from amfir_lib.exports import without_asides
from amfir_lib.run.checking.compare import key_columns

MAIN_SERIES = "AMFIR"
DESIGN = {
    "shots": "{}-shot", "n_shot": "{}-shot", "ways": "{}-way", "n_way": "{}-way", "level": "level {}",
    "n_episodes": "{} episodes",
}  # fmt: skip
EMPTY = ("", "–")
NUMBER = re.compile(r"(?P<number>[+−-]?\d[\d,]*(\.\d+)?( ± [\d.]+)?)(?P<unit> [^\d\s(]+)?( \(.*\))?$")
OF_MACHINE = re.compile(r"\bms\b|\((s|MB)\)$|^seconds$")  # differs from machine to machine
UNIT_OF_COLUMN = re.compile(r" \((%|points|nats|px|millions)\)$")
UNITS = {
    "%": re.compile(r"\bin %|\(%\)", re.IGNORECASE), "points": re.compile(r"\bpoints\b"),
    "nats": re.compile(r"\bin nats\b"),
}  # fmt: skip


def value_of_shown(markdown: str, *, row: str = "", column: str = "") -> str:
    """One number to find in a table, with the row and the column in which it stands, and how many rows there are.

    The row is AMFIR's first, the column AMFIR's, where the table has one; else the first number with an interval, with
    decimals, or at all.

    Args:
        markdown: as ``exports.write_table`` writes it: the table, then its caption.
        row: look only in rows with a cell that holds this; in all where there is none.
        column: look only in columns whose name begins so.
    Returns:
        Such as ``AMFIR, synth-ssv2 1-shot: 59.1 ± 5.5 % (6 rows)``.
    """
    frame, caption = _read(markdown)
    size = f"({len(frame)} row{'s' if len(frame) != 1 else ''})"
    if frame.empty:
        return size
    last = frame.iloc[:, -1]
    if set(last) <= {"yes", "no"}:
        return f"{frame.columns[-1]}: yes in {(last == 'yes').sum()} of {len(frame)} rows"
    numbers = [one for one in frame if one not in DESIGN and _holds_numbers(frame[one])]
    names = frame[[one for one in frame if one not in numbers]]
    results = [one for one in numbers if not OF_MACHINE.search(one)]
    rows = [i for i in range(len(frame)) if row and any(row in cell for cell in frame.iloc[i])]
    rows = rows or [i for i in range(len(frame)) if any(map(_is_main, names.iloc[i]))] or list(range(len(frame)))
    own = [one for one in results if column and one.startswith(column)] or [one for one in results if _is_main(one)]
    plain = any(
        "_" in name and name.isidentifier() for name in frame
    )  # data as they are: shares, where the caption says %
    for sign in ("±", ".", ""):
        for i in rows:
            for one in own or results:
                found = NUMBER.match(without_asides(frame[one][i]))
                if found and sign in found["number"]:
                    unit = "" if plain else _unit(found, frame[one], caption)
                    where = [*_names(names, i), UNIT_OF_COLUMN.sub("", one)]
                    return f"{', '.join(where)}: {found['number']}{unit} {size}"
    return f"{_interval_in_text(frame)} {size}".strip()


def _read(markdown: str) -> tuple[pd.DataFrame, str]:
    """The cells as text, those left empty below their like filled; the caption."""
    table, _, caption = markdown.strip().partition("\n\n")
    header, _, *lines = (
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()
    )
    frame = pd.DataFrame(lines, columns=header, dtype=str)
    first = frame.columns[0]  # of a group of rows only the top one names it
    frame[first] = frame[first].where(frame[first] != "").ffill().fillna("")
    return frame, caption


def _holds_numbers(cells: pd.Series) -> bool:
    own = [without_asides(cell) for cell in cells if cell not in EMPTY]
    return bool(own) and all(map(NUMBER.match, own))


def _is_main(name: str) -> bool:
    return name == MAIN_SERIES or name.startswith(f"{MAIN_SERIES}:")


def _names(names: pd.DataFrame, i: int) -> list[str]:
    """What tells a row from the others: ``["synth-ssv2", "1-shot", "AMFIR"]``."""
    if "title" in names:
        names = names.drop(columns=["choice"], errors="ignore")  # a name for readers, not for programs
    cells = {one: names[one][i] for one in key_columns(names) or names.columns[:1]}
    return [DESIGN.get(one, "{}").format(cell) for one, cell in cells.items() if cell not in EMPTY]


def _unit(found: re.Match[str], column: pd.Series, caption: str) -> str:
    """The unit that stands in the cell or beside the column's name, else the one of which the caption speaks."""
    if found["unit"]:
        return found["unit"]
    if own := UNIT_OF_COLUMN.search(str(column.name)):
        return f" {own[1]}"
    if str(column.name).startswith("p("):  # a probability, whatever else the caption speaks of
        return ""
    zero = re.match(r"0(\.0*)?( |$)", found["number"])  # which has no sign: look at its column
    cells = column.map(without_asides) if zero else [found["number"]]
    signed = any(cell.startswith(("+", "−")) for cell in cells)
    units = ("points", "%", "nats") if signed else ("%", "points", "nats")
    return next((f" {unit}" for unit in units if UNITS[unit].search(caption)), "")


def _interval_in_text(frame: pd.DataFrame) -> str:
    """The first cell of a table of words that holds an interval, from the last column on; empty if there is none."""
    for column in reversed(list(frame)):
        for name, text in zip(frame.iloc[:, 0], frame[column], strict=True):
            if "±" in text:
                return f"{name}, {column}: {text.partition(';')[0]}"
    return ""
