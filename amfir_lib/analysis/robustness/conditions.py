"""What may be done to a query clip, and the two modalities that may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from amfir_lib.data.spoiling import SPOILINGS, check_spoiling
from amfir_lib.errors import BadParameter, unknown_name

NOTHING = "none"
MISSING = "without"
SIDES = ("queries", "all")  # of which clips a modality is missing: of queries only, or of supports as well


@dataclass(frozen=True, order=True)
class Condition:
    """One state of the queries.

    Attributes:
        kind: of spoiling; ``none``; or ``without MODALITY``.
        severity: in (0, 1]; 0 for none.
        side: "queries"; "all" where supports are in the same state.
    """

    kind: str = NOTHING
    severity: float = 0.0
    side: str = "queries"

    @property
    def key(self) -> str:
        """Short name for files."""
        return f"{self.kind}-{self.severity:.3f}-{self.side}".replace(" ", "_")

    @property
    def missing(self) -> str:
        """Name of the modality that is missing, or empty."""
        return self.kind.removeprefix(f"{MISSING} ") if self.kind.startswith(f"{MISSING} ") else ""


CLEAN = Condition()


def spoilt_conditions(kinds: Sequence[str], severities: Sequence[float]) -> list[Condition]:
    """Every kind at every severity; a kind that is not graded at severity 1 alone.

    Raises:
        UnknownName: no such kind. BadParameter: no severity, or one outside 0 to 1, or one that is 0, or one twice.
    """
    if not severities or min(severities) <= 0 or len(set(severities)) < len(severities):
        raise BadParameter(f"severities is {list(severities)}, but must name some above 0 and up to 1, each once.")
    found = []
    for kind in dict.fromkeys(kinds):
        for severity in sorted(severities):
            check_spoiling(kind, severity)
        graded = SPOILINGS[kind].graded
        found += [Condition(kind, float(s)) for s in (sorted(severities) if graded else [1.0])]
    return found


def missing_conditions(modalities: Sequence[str]) -> list[Condition]:
    """Each modality missing in the queries, and in all clips of an episode."""
    return [Condition(f"{MISSING} {m}", 1.0, side) for side in SIDES for m in modalities]


def check_kinds(kinds: Sequence[str], family: str) -> list[str]:
    """Refuse a kind that belongs to another family."""
    own = [kind for kind, one in SPOILINGS.items() if one.family == family]
    for kind in kinds:
        if kind not in own:
            raise unknown_name(f"kind of {family}", kind, own)
    return list(kinds)
