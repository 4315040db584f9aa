"""The paper's claims and our verdicts.

``claim`` is one statement with its verdict, ``bases`` asks it on all queries, on undegraded ones and on
degradation-free copies, ``table1`` holds those of Table 1 (``summary`` in words), ``collect`` joins the claims of all
notebooks, and ``statements`` puts the bases of one claim together.
"""

from amfir_lib.analysis.claims.bases import claims_on_bases
from amfir_lib.analysis.claims.claim import (
    COPIES,
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    NOT_TESTED,
    ONLY_DEGRADED,
    UNDECIDED,
    VALIDATION,
    VERDICTS,
    Claim,
    claim_from_difference,
    setting_of,
    settle,
    verdict_of,
)
from amfir_lib.analysis.claims.collect import collect, command_of, untested
from amfir_lib.analysis.claims.statements import OnBasis, Statement, statements
from amfir_lib.analysis.claims.summary import claim_lines, summarise_table1
from amfir_lib.analysis.claims.table1 import CLAIM_METHODS, best_multimodal, best_unimodal, table1_claims

__all__ = [
    "CLAIM_METHODS", "COPIES", "FAILS", "HOLDS", "NOT_TESTABLE", "NOT_TESTED", "ONLY_DEGRADED", "UNDECIDED",
    "VALIDATION", "VERDICTS", "Claim", "OnBasis", "Statement", "best_multimodal", "best_unimodal",
    "claim_from_difference", "claim_lines", "claims_on_bases", "collect", "command_of", "setting_of", "settle",
    "statements", "summarise_table1", "table1_claims", "untested", "verdict_of",
]  # fmt: skip
