"""The claims of a study with their verdicts, as its folder holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from amfir_lib.analysis.claims import (
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    NOT_TESTED,
    ONLY_DEGRADED,
    UNDECIDED,
    Claim,
    Statement,
    settle,
    statements,
)
from amfir_lib.run.report.facts import Record

CLAIMS = "claims"  # name of the table, and of the share of it in a record's numbers
MARKS = {HOLDS: "✓", ONLY_DEGRADED: "◐", FAILS: "✗", UNDECIDED: "≈", NOT_TESTED: "○", NOT_TESTABLE: "–"}
OTHER_MARK = "•"


@dataclass(frozen=True)
class Verdict:
    """A verdict as the page shows it.

    Attributes:
        words: such as ``does not hold``.
        count: claims with it as their verdict over all.
    """

    words: str
    count: int = 0

    @property
    def slug(self) -> str:
        """For a class name of HTML: lower case, hyphens."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.words.lower()).split())

    @property
    def mark(self) -> str:
        """A sign, so that colour is not all that tells verdicts apart."""
        return MARKS.get(self.words, OTHER_MARK)


def read_claims(output_dir: Path, records: Sequence[Record]) -> list[Statement]:
    """The claims table of the study; where it is not written yet, what the records hold of it."""
    path = output_dir / "tables" / f"{CLAIMS}.csv"
    if path.exists():
        return statements(pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records"))
    shares = [settle(map(Claim.from_record, record["numbers"].get(CLAIMS, []))) for record in records]
    return statements(claim.to_record() for share in shares for claim in share)


def count_verdicts(claims: Sequence[Statement]) -> list[Verdict]:
    """The verdicts that occur, in the order of ``MARKS``, others after them."""
    counts = Counter(claim.verdict for claim in claims)
    order = [*(words for words in MARKS if words in counts), *(words for words in counts if words not in MARKS)]
    return [Verdict(words, counts[words]) for words in order]
