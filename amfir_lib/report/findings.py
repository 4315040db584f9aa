"""The claims with their verdicts, and the variants beside their baseline, as the results folder holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from amfir_lib.report.facts import Record, read_records
from amfir_lib.report.prose import split_table

CLAIMS = "claims"  # name of the table, and of the share of it in a record's numbers
DIFFERENCE = "variant_difference"  # name of the table of a variant
MARKS = {"holds": "✓", "does not hold": "✗", "undecided": "≈", "not tested here": "○", "not testable": "–"}


@dataclass(frozen=True)
class Verdict:
    """A verdict and how often it was given.

    Attributes:
        words: such as ``does not hold``.
        slug: the same for a class name of HTML.
        mark: a sign, so that colour is not all that tells verdicts apart.
        count: claims with it.
    """

    words: str
    slug: str
    mark: str
    count: int


@dataclass(frozen=True)
class Variant:
    """A re-run with changed parameters.

    Attributes:
        name: of its folder.
        changes: one line for each changed parameter, such as ``02_training: kd_lambda 1.0 -> 0.5``.
        difference: table of paired differences from the baseline, or None where it has none.
        caption: of that table, Markdown.
        page: link to its own report, or None.
        csv: link to the table in full precision, or None.
    """

    name: str
    changes: tuple[str, ...]
    difference: Markup | None
    caption: str
    page: str | None
    csv: str | None


def read_claims(output_dir: Path, records: Sequence[Record]) -> list[dict[str, str]]:
    """The claims table of the study; where it is not written yet, what the records hold of it."""
    path = output_dir / "tables" / f"{CLAIMS}.csv"
    if path.exists():
        return pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")
    shares = [record["numbers"].get(CLAIMS, []) for record in records]
    return [{key: str(value) for key, value in claim.items()} for share in shares for claim in share]


def count_verdicts(claims: Sequence[Mapping[str, str]]) -> list[Verdict]:
    """The verdicts that occur, in the order of ``MARKS``, others after them."""
    counts = Counter(claim["verdict"] for claim in claims)
    order = [*(words for words in MARKS if words in counts), *(words for words in counts if words not in MARKS)]
    return [Verdict(words, slug(words), MARKS.get(words, "•"), counts[words]) for words in order]


def slug(words: str) -> str:
    """Words as a class name: lower case, hyphens."""
    return "-".join("".join(c if c.isalnum() else " " for c in words.lower()).split())


def read_variants(output_dir: Path, records: Mapping[str, Record]) -> list[Variant]:
    """The variants below a study's folder, by name."""
    return [_variant(folder, records) for folder in sorted((output_dir / "variants").glob("*/"))]


def own_difference(output_dir: Path) -> tuple[Markup, str] | None:
    """In the folder of a variant: the table of differences from its baseline, and its caption."""
    path = output_dir / "tables" / f"{DIFFERENCE}.md"
    return split_table(path.read_text(encoding="utf-8")) if path.exists() else None


def _variant(folder: Path, baseline: Mapping[str, Record]) -> Variant:
    changes = []
    for name, record in read_records(folder).items():
        before = _settings(baseline[name]) if name in baseline else {}
        changes += [
            f"{name}: {key} {before.get(key, 'not set')} → {value}"
            for key, value in _settings(record).items()
            if before.get(key) != value
        ]
    table, caption = own_difference(folder) or (None, "")
    csv = folder / "tables" / f"{DIFFERENCE}.csv"
    place = f"variants/{folder.name}"
    return Variant(
        folder.name,
        tuple(changes),
        table,
        caption,
        page=f"{place}/index.html" if (folder / "index.html").exists() else None,
        csv=f"{place}/tables/{csv.name}" if csv.exists() else None,
    )


def _settings(record: Record) -> dict[str, Any]:
    return dict(record["parameters"]) | dict(record["options"])
