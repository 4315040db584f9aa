"""A claim with all its bases together, one row per claim, for every page that shows the claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from amfir_lib.analysis.claims.claim import BASES
from amfir_lib.analysis.tables import ALL


@dataclass(frozen=True)
class OnBasis:
    """What was found on one basis.

    Attributes:
        basis: which queries count; empty where nothing was asked.
        verdict, value: as in ``Claim``.
        setting: as in ``Claim``; empty where it is that of the statement.
    """

    basis: str
    verdict: str
    value: str
    setting: str = ""


@dataclass(frozen=True)
class Statement:
    """One statement of the paper and what was found on each basis.

    Attributes:
        key, claim, source, setting, notebook, paper: as in ``Claim``; of the first basis.
        verdict: the one on all queries, or of the first basis where these were not asked.
        command: regenerates it; empty where nothing does.
        found: in the order of ``BASES``.
    """

    key: str
    claim: str
    source: str
    setting: str
    notebook: str
    paper: str
    verdict: str
    command: str = ""
    found: tuple[OnBasis, ...] = field(default=())

    def on(self, basis: str) -> OnBasis | None:
        """What was found on a basis; None where it was not asked."""
        return next((one for one in self.found if one.basis == basis), None)


def statements(rows: Iterable[Mapping[str, str]]) -> list[Statement]:
    """Join the rows of a claims table that have the same key.

    Args:
        rows: with the entries of ``Claim``, and ``command`` if they have one: rows of ``claims.csv`` or of records.
    Returns:
        One statement per key, in the order in which the keys first occur.
    """
    by_key: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        by_key.setdefault(row["key"], []).append(row)
    return [_join(sorted(own, key=lambda row: _place(row["basis"]))) for own in by_key.values()]


def _join(rows: list[Mapping[str, str]]) -> Statement:
    first = next((row for row in rows if row["basis"] == ALL), rows[0])
    return Statement(
        **{name: first[name] for name in ("key", "claim", "source", "setting", "notebook", "verdict")},
        paper=first.get("paper", ""),
        command=first.get("command", ""),
        found=tuple(
            OnBasis(
                row["basis"],
                row["verdict"],
                row["value"],
                row["setting"] if row["setting"] != first["setting"] else "",
            )
            for row in rows
        ),
    )


def _place(basis: str) -> int:
    return BASES.index(basis) if basis in BASES else len(BASES)
