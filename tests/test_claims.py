"""Claims: the verdict follows the interval, each basis is asked alike, and all of them end up in one table."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from toy_answers import toy_answers

from amfir_lib.analysis.answers import ALL, COPIES, UNDEGRADED
from amfir_lib.analysis.claims import (
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    NOT_TESTED,
    ONLY_DEGRADED,
    UNDECIDED,
    VALIDATION,
    Claim,
    best_on_validation,
    collect,
    joint_verdict,
    listed,
    measure,
    monotone_verdict,
    near_verdict,
    of_difference,
    row,
    settle,
    signed,
    table_of,
    verdict_of,
)
from amfir_lib.analysis.contrasts import pooled_contrast
from amfir_lib.paper import published
from amfir_lib.storage import write_json
from amfir_lib.study.material import TestCell
from amfir_lib.study.statistics import Interval

CELL = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=60)
UP, LEVEL, DOWN = Interval(0.03, 0.02), Interval(0.001, 0.02), Interval(-0.03, 0.02)


def claim(basis: str = ALL, verdict: str = HOLDS, key: str = "a_above_b") -> dict[str, str]:
    about = {"value": "+1.0 ± 0.5 points", "setting": "toy; 3-way, 1-shot", "notebook": "04_toy", "paper": "+5"}
    return row(key, "A is above B", "Sec. 4", basis=basis, verdict=verdict, **about)


def test_the_whole_interval_must_lie_on_the_claimed_side():
    assert [verdict_of(one) for one in (UP, DOWN, LEVEL)] == [HOLDS, FAILS, UNDECIDED]
    assert {verdict_of(Interval(*one)) for one in ((0.02, 0.02), (0, 0), (0.5,))} == {UNDECIDED}


def test_a_claim_shows_its_difference_with_unit_and_interval():
    assert of_difference(UP, detail="2 cells") == {"value": "+3.0 ± 2.0 points; 2 cells", "verdict": HOLDS}
    assert of_difference(Interval(0.03))["value"] == "+3.0 points (no interval: too few test classes)"
    assert listed({"a": UP, "b": Interval(-0.0001, 0.01), "c": Interval(0.1)}) == "a +3.0 ± 2.0, b 0.0 ± 1.0, c –"
    assert signed(Interval(-3.968), "nats difference") == "−3.97"


def test_a_joint_claim_holds_where_every_interval_lies_above_zero():
    assert joint_verdict([UP, UP]) == HOLDS and joint_verdict([UP, LEVEL]) == UNDECIDED
    assert joint_verdict([UP, DOWN]) == FAILS and joint_verdict([]) == NOT_TESTED
    assert joint_verdict([UP, Interval(0.5)]) == UNDECIDED


def test_a_rise_holds_if_no_step_goes_down_and_fails_if_one_surely_does():
    assert monotone_verdict(UP, [UP, LEVEL]) == HOLDS and monotone_verdict(UP, [UP, DOWN]) == FAILS
    assert monotone_verdict(UP, [UP, Interval(-0.001, 0.02)]) == UNDECIDED
    assert monotone_verdict(Interval(0.5), [DOWN]) == UNDECIDED


def test_near_means_that_the_whole_interval_lies_within_half_a_nat():
    assert near_verdict([Interval(-4.1, 0.2)], -4.0, near=0.5) == HOLDS
    assert near_verdict([Interval(-4.1, 0.9)], -4.0, near=0.5) == UNDECIDED
    assert near_verdict([Interval(-4.1, 0.2), Interval(-6.0, 0.5)], -4.0, near=0.5) == FAILS
    assert near_verdict([], -4.0, near=0.5) == NOT_TESTED


@pytest.mark.parametrize(
    ("elsewhere", "expected"),
    [
        ((UNDECIDED, UNDECIDED), ONLY_DEGRADED),
        ((FAILS, UNDECIDED), ONLY_DEGRADED),
        ((HOLDS, UNDECIDED), HOLDS),
        ((UNDECIDED, HOLDS), HOLDS),
    ],
)
def test_what_holds_on_all_queries_alone_holds_only_under_degradation(elsewhere, expected):
    rows = [claim(), *(claim(basis, one) for basis, one in zip((UNDEGRADED, COPIES), elsewhere, strict=True))]
    settled = settle(rows)
    assert [one["verdict"] for one in settled] == [expected, *elsewhere]
    assert settle(settled) == settled


def test_a_claim_without_the_other_bases_keeps_its_verdict():
    assert settle([claim()]) == [claim()]
    assert settle([claim(verdict=FAILS), claim(COPIES, UNDECIDED)])[0]["verdict"] == FAILS


def test_a_claim_is_asked_on_every_basis_that_the_data_have():
    shares, asked = {"amfir": 0.8, "amfar": 0.6}, Claim("key", "AMFIR is above AMFAR", "Table 1", "amfir", "amfar")
    answers = toy_answers(shares, [CELL], names=["toy", "toy-clean"])
    found = measure([asked], answers, notebook="04_toy")
    assert [one["basis"] for one in found] == [ALL, UNDEGRADED, COPIES]
    assert found[2]["value"] == f"{signed(pooled_contrast(answers[1:], 'amfir', 'amfar', basis=COPIES))} points"
    assert found[2]["setting"] == "toy-clean; 3-way, 1-shot"
    unknown = measure([asked], toy_answers(shares, [CELL], names=["a", "b"], degraded=()), notebook="04_toy")
    assert [one["basis"] for one in unknown] == [ALL] and "; 2 cells from +" in unknown[0]["value"]
    assert measure([Claim("key", "", "", "amfir", "trx")], answers, notebook="04_toy") == []


def test_the_best_method_is_chosen_on_validation_and_not_on_test():
    results = [
        SimpleNamespace(
            run=SimpleNamespace(method=name, material=SimpleNamespace(dataset=SimpleNamespace(name="toy"))),
            record={"val_accuracy": value},
        )
        for name, value in (("protonet", 0.4), ("trx", 0.6), ("protonet_lf", None))
    ]
    assert best_on_validation(results, ["protonet", "trx", "protonet_lf"]) == {"toy": "trx"}


def record(folder: Path, notebook: str, rows: list[dict[str, str]]) -> None:
    write_json(folder / "records" / f"{notebook}.json", {"numbers": {"claims": rows}})


def test_all_records_are_joined_into_one_table_with_untested_claims(tmp_path):
    record(tmp_path, "04_toy", [claim(), claim(UNDEGRADED, UNDECIDED), claim(COPIES, UNDECIDED)])
    record(tmp_path, "06_toy", [claim(VALIDATION, FAILS, key="energy"), claim(COPIES, UNDECIDED, key="robust")])
    write_json(tmp_path / "records" / "01_toy.json", {"numbers": {}})
    table = collect(tmp_path)
    data = pd.read_csv(tmp_path / "tables" / "claims.csv", keep_default_na=False)
    assert list(data["key"][:5]) == ["a_above_b"] * 3 + ["energy", "robust"]
    assert set(data["overall"][:3]) == {ONLY_DEGRADED} and data["verdict"][1] == UNDECIDED
    assert len(table.shown) == 3 + len(published("untested_claims"))
    assert (tmp_path / "tables" / "claims.md").exists() and (tmp_path / "tables" / "claims.tex").exists()
    first, energy, robust, open_claim = table.shown.to_dict("records")[:4]
    value, other = "+1.0 ± 0.5 points", "other basis, or why none"
    assert (first["verdict"], first["paper"], first[other]) == (ONLY_DEGRADED, "Sec. 4: +5", "–")
    assert (first[ALL], first[UNDEGRADED]) == (f"**{ONLY_DEGRADED}**: {value}", f"**{UNDECIDED}**: {value}")
    assert (energy["verdict"], energy[ALL], energy[other]) == (FAILS, "–", f"validation episodes: {value}")
    assert (robust[COPIES], robust[other]) == (f"**{UNDECIDED}**: {value}", "–")
    assert open_claim["verdict"] in (NOT_TESTED, NOT_TESTABLE) and open_claim[COPIES] == "–" != open_claim[other]


def test_what_is_not_tested_says_why_and_is_left_out_where_a_notebook_measures_it(tmp_path):
    open_claims = published("untested_claims")
    assert set(open_claims["verdict"].fillna("")) > {NOT_TESTABLE} and open_claims["reason"].notna().all()
    key = open_claims.loc[0, "key"]
    record(tmp_path, "04_toy", [claim(key=f"{key}_here")])
    assert key not in set(collect(tmp_path).data["key"])


def test_a_study_without_claims_has_no_table(tmp_path):
    write_json(tmp_path / "records" / "01_toy.json", {"numbers": {}})
    assert collect(tmp_path) is None and not (tmp_path / "tables").exists()


def test_a_notebook_shows_its_claims_with_their_verdicts():
    assert table_of([claim(), claim(COPIES, FAILS)]).shown["verdict"].tolist() == ["**holds**", "**does not hold**"]


def test_a_new_claim_is_one_row_and_stands_in_the_table_of_claims_with_its_verdict(tmp_path):
    new = Claim("toy_leads", "The toy leads", "Sec. 1", "toy", "amfar", paper="+1.0")
    answers = toy_answers({"toy": 0.9, "amfar": 0.5}, [CELL])
    write_json(
        tmp_path / "records" / "04_toy.json", {"numbers": {"claims": measure([new], answers, notebook="04_toy")}}
    )
    collect(tmp_path)
    table = pd.read_csv(tmp_path / "tables" / "claims.csv").set_index("key").loc["toy_leads"]
    assert set(table["claim"]) == {"The toy leads"} and set(table["overall"]) == {HOLDS}
    assert "The toy leads" in (tmp_path / "tables" / "claims.md").read_text()
