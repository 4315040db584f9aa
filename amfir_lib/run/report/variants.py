"""The variants of a study: what each changed, and its difference from the baseline on identical episodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from amfir_lib.analysis.tables import percent
from amfir_lib.analysis.variants import TABLE
from amfir_lib.run.report.facts import Record, read_records
from amfir_lib.run.report.prose import split_table


@dataclass(frozen=True)
class Difference:
    """One series of one notebook, in the variant and in the baseline; accuracies in %.

    Attributes:
        notebook, dataset, n_way, n_shot, series: which.
        baseline, variant: accuracies.
        difference: variant minus baseline in points, with its paired interval.
        verdict: better, worse or undecided.
    """

    notebook: str
    dataset: str
    n_way: int
    n_shot: int
    series: str
    baseline: str
    variant: str
    difference: str
    verdict: str


@dataclass(frozen=True)
class Variant:
    """A re-run with changed parameters.

    Attributes:
        name: of its folder.
        anchor: for links within the page.
        changes: one line for each changed parameter, such as ``02_training: kd_lambda 1.0 → 0.5``.
        differences: from the baseline; empty where nothing could be paired.
        caption: of the table of differences, Markdown.
        page: link to its own report, or None.
        csv: link to the table in full precision, or None.
    """

    name: str
    anchor: str
    changes: tuple[str, ...]
    differences: tuple[Difference, ...]
    caption: str
    page: str | None
    csv: str | None

    def differences_in(self, notebook: str) -> list[Difference]:
        """Those of one notebook."""
        return [one for one in self.differences if one.notebook == notebook]


def read_variants(output_dir: Path, records: Mapping[str, Record]) -> list[Variant]:
    """The variants below a study's folder, by name."""
    folders = sorted((output_dir / "variants").glob("*/"))
    return [_variant(folder, f"variant-{number}", records) for number, folder in enumerate(folders, 1)]


def own_difference(output_dir: Path) -> tuple[Markup, str] | None:
    """In the folder of a variant: the table of differences from its baseline, and its caption."""
    path = output_dir / "tables" / f"{TABLE}.md"
    return split_table(path.read_text(encoding="utf-8")) if path.exists() else None


def in_words(differences: Sequence[Difference]) -> str:
    """``4 comparisons: 1 better, 0 worse, 3 undecided``."""
    counts = {words: sum(one.verdict == words for one in differences) for words in ("better", "worse", "undecided")}
    plural = "" if len(differences) == 1 else "s"
    return f"{len(differences)} comparison{plural}: " + ", ".join(f"{n} {words}" for words, n in counts.items())


def _variant(folder: Path, anchor: str, baseline: Mapping[str, Record]) -> Variant:
    changes = []
    for name, record in read_records(folder).items():
        before = _settings(baseline[name]) if name in baseline else {}
        changes += [
            f"{name}: {key} {before.get(key, 'not set')} → {value}"
            for key, value in _settings(record).items()
            if before.get(key) != value
        ]
    csv = folder / "tables" / f"{TABLE}.csv"
    place = f"variants/{folder.name}"
    return Variant(
        folder.name,
        anchor,
        tuple(changes),
        _differences(csv),
        caption=(own_difference(folder) or ("", ""))[1],
        page=f"{place}/index.html" if (folder / "index.html").exists() else None,
        csv=f"{place}/tables/{csv.name}" if csv.exists() else None,
    )


def _differences(csv: Path) -> tuple[Difference, ...]:
    if not csv.exists():
        return ()
    rows = pd.read_csv(csv).itertuples()
    return tuple(
        Difference(
            row.notebook, row.dataset, row.n_way, row.n_shot, row.series, percent(row.baseline), percent(row.variant),
            percent(row.difference, row.half_width, signed=True), row.verdict,
        )
        for row in rows
    )  # fmt: skip


def _settings(record: Record) -> dict[str, Any]:
    return dict(record["parameters"]) | dict(record["options"])
