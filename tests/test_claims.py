"""Claims: the verdict follows the interval, each basis is asked alike, and all of them end up in one table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_results import TABLE, methods

from amfir_lib.analysis import claims
from amfir_lib.analysis.claims import (
    COPIES,
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    NOT_TESTED,
    ONLY_DEGRADED,
    UNDECIDED,
    Claim,
    claim_from_difference,
    claims_on_bases,
    collect,
    command_of,
    settle,
    statements,
    table1_claims,
    untested,
    verdict_of,
)
from amfir_lib.analysis.claims.table1 import best_on_validation
from amfir_lib.analysis.tables import ALL, UNDEGRADED, pooled_difference
from amfir_lib.errors import UnknownName
from amfir_lib.storage import write_json
from amfir_lib.study.statistics import class_jackknife


def claim(basis: str = ALL, verdict: str = HOLDS, key: str = "a_above_b") -> Claim:
    return Claim(
        key, "A is above B", "Sec. 4", "toy; 3-way, 1-shot", basis, "+1.0 ± 0.5 points", verdict, "04_toy", "+5"
    )


def test_the_whole_interval_must_lie_on_the_claimed_side():
    assert verdict_of(0.02, 0.01) == HOLDS
    assert verdict_of(-0.02, 0.01) == FAILS
    assert verdict_of(0.02, 0.02) == verdict_of(-0.01, 0.02) == verdict_of(0, 0) == UNDECIDED
    assert verdict_of(0.5, float("nan")) == UNDECIDED


def test_a_claim_shows_its_difference_with_unit_and_interval():
    rng = np.random.default_rng(0)
    classes = np.stack([rng.permutation(9)[:3] for _ in range(200)])
    interval = class_jackknife(0.02 + 0.01 * rng.standard_normal(200), classes)
    texts = {"claim": "A is above B", "source": "Sec. 4", "notebook": "04_toy"}
    found = claim_from_difference("a_above_b", interval=interval, detail="2 cells", **texts)
    assert found.value == f"+{100 * interval.mean:.1f} ± {100 * interval.half_width:.1f} points; 2 cells"
    assert found.verdict == HOLDS and found.basis == ALL
    open_one = claim_from_difference("a_above_b", interval=None, mean=0.03, **texts)
    assert open_one.verdict == UNDECIDED and open_one.value.startswith("+3.0 points (no interval")


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
    assert [one.verdict for one in settled] == [expected, *elsewhere]
    assert settle(settled) == settled


def test_a_claim_without_the_other_bases_keeps_its_verdict():
    assert settle([claim()]) == [claim()]
    assert settle([claim(verdict=FAILS), claim(COPIES, UNDECIDED)])[0].verdict == FAILS


def test_a_claim_survives_the_record_and_refuses_unknown_words():
    assert Claim.from_record(json.loads(json.dumps(claim().to_record()))) == claim()
    with pytest.raises(UnknownName, match='did you mean "holds"'):
        claim(verdict="hold")


def test_a_claim_is_asked_on_every_basis_that_the_data_have():
    some = np.where(np.arange(len(TABLE.labels)) % 2 == 0, "rgb", "none")
    table = TABLE.__class__(**{**vars(TABLE), "degraded": some})
    names = {"amfir": 0.8, "amfar": 0.6}
    results, copies = methods(names, table=table), methods(names, dataset="toy-clean")
    texts = {"claim": "AMFIR is above AMFAR", "source": "Table 1", "notebook": "04_toy"}
    found = claims_on_bases("key", one="AMFIR", other="AMFAR", results=results, copies=copies, **texts)
    assert [one.basis for one in found] == [ALL, UNDEGRADED, COPIES]
    pooled = pooled_difference(copies, "AMFIR", "AMFAR").interval
    assert found[2].value == f"+{100 * pooled.mean:.1f} ± {100 * pooled.half_width:.1f} points"
    assert found[2].setting == "toy-clean; 3-way, 1-shot"
    unknown = methods(names, table=TABLE.__class__(**{**vars(TABLE), "degraded": None}))
    assert [one.basis for one in claims_on_bases("key", one="AMFIR", other="AMFAR", results=unknown, **texts)] == [ALL]
    assert claims_on_bases("key", one="AMFIR", other="TRX", results=results, **texts) == []


def test_the_best_method_is_chosen_on_validation_and_not_on_test():
    results = methods({"protonet": 0.9, "trx": 0.5, "protonet_lf": 0.95}, val={"protonet": 0.4, "trx": 0.6})
    assert best_on_validation(results, ["protonet", "trx", "protonet_lf"]) == {"toy": "trx"}


def test_the_claims_of_table1_leave_out_what_was_not_run():
    accuracies = {"amfir": 0.8, "amfar": 0.7, "protonet": 0.5}
    found = table1_claims(methods(accuracies, val=accuracies), notebook="04_toy")
    assert [one.key for one in found] == [
        "amfir_above_best_other",
        "amfir_above_amfar",
        "multimodal_above_unimodal",
        "amfir_above_appearance",
    ]
    assert found[0].value.endswith("; AMFIR − AMFAR on toy")  # which one was the best is said
    assert found[0].paper == "" and found[1].paper == ""  # no benchmark of the paper stands beside "toy"


def test_the_papers_own_gain_stands_beside_the_claim():
    accuracies = {"amfir": 0.8, "amfar": 0.7}
    found = table1_claims(methods(accuracies, val=accuracies, dataset="synth-ssv2"), notebook="04_toy")
    paper = next(one.paper for one in found if one.key == "amfir_above_amfar")
    assert paper == f"+{((70.6 - 61.7) + (92.3 - 79.5)) / 2:.1f} points, mean of 2 cells"


def record(folder: Path, notebook: str, rows: list[Claim], **parts) -> None:
    content = {
        "notebook": notebook, "study": "study", "profile": {"name": "study", "n_seeds": 3}, "options": {},
        "parameters": {"datasets": ["synth-ssv2", "synth-kinetics"], "data_root": None, "group_pattern": None,
                       "n_seeds": 3, "seed": 0},
        "numbers": {"claims": [one.to_record() for one in rows]},
    } | parts  # fmt: skip
    write_json(folder / "records" / f"{notebook}.json", content)


def test_all_records_are_joined_into_one_table_with_commands_and_untested_claims(tmp_path):
    record(tmp_path, "04_toy", [claim(), claim(UNDEGRADED, UNDECIDED), claim(COPIES, UNDECIDED)])
    record(tmp_path, "06_toy", [claim("validation episodes", FAILS, key="other")])
    record(tmp_path, "01_toy", [], numbers={})
    table = collect(tmp_path)
    data = pd.read_csv(tmp_path / "tables" / "claims.csv", keep_default_na=False)
    assert list(data["key"][:4]) == ["a_above_b"] * 3 + ["other"]
    assert set(data["overall"][:3]) == {ONLY_DEGRADED} and data["verdict"][1] == UNDECIDED
    assert data["command"][3] == "./run_all.sh --only 06_toy"
    assert len(table.shown) == 2 + len(untested())
    first = table.shown.iloc[0]
    assert first["verdict"] == ONLY_DEGRADED and first["paper"] == "Sec. 4: +5"
    assert first["undegraded queries"] == f"**{UNDECIDED}**: +1.0 ± 0.5 points"
    assert (
        first["all queries"] == f"**{ONLY_DEGRADED}**: +1.0 ± 0.5 points" and first["other basis, or why none"] == "–"
    )
    assert (tmp_path / "tables" / "claims.md").exists() and (tmp_path / "tables" / "claims.tex").exists()


def test_a_claim_that_was_not_asked_on_all_queries_says_where_it_was_measured(tmp_path):
    record(tmp_path, "03_toy", [claim("validation episodes", FAILS, key="energy")])
    record(tmp_path, "10_toy", [claim(COPIES, UNDECIDED, key="robust")])
    energy, robust, untested_one = collect(tmp_path).shown.to_dict("records")[:3]
    other = "other basis, or why none"
    assert energy["all queries"] == robust["all queries"] == untested_one["all queries"] == "–"
    assert (energy["verdict"], energy[other]) == (FAILS, "validation episodes: +1.0 ± 0.5 points")
    assert (robust[COPIES], robust[other]) == (f"**{UNDECIDED}**: +1.0 ± 0.5 points", "–")
    assert untested_one[other] == untested()[0].value and untested_one[COPIES] == "–"


def test_the_bases_of_a_claim_are_joined_and_a_setting_is_named_where_it_differs():
    rows = [claim(COPIES, FAILS), claim(key="other"), claim(UNDEGRADED, UNDECIDED), claim(verdict=ONLY_DEGRADED)]
    records = [one.to_record() for one in rows]
    records[0] |= {"setting": "toy-clean"}
    first, other = statements(records)
    assert (first.key, first.verdict, first.setting) == ("a_above_b", ONLY_DEGRADED, "toy; 3-way, 1-shot")
    assert [one.basis for one in first.found] == [ALL, UNDEGRADED, COPIES]
    assert [one.setting for one in first.found] == ["", "", "toy-clean"]
    assert first.on(COPIES).verdict == FAILS and other.on(COPIES) is None


def test_a_claim_that_was_not_asked_on_all_queries_has_the_verdict_of_its_first_basis():
    (one,) = statements([claim("validation episodes", FAILS).to_record()])
    assert one.verdict == FAILS and one.on(ALL) is None


def test_a_study_without_claims_has_no_table(tmp_path):
    record(tmp_path, "01_toy", [], numbers={})
    assert collect(tmp_path) is None
    assert not (tmp_path / "tables").exists()


def test_the_command_names_data_and_parameters_that_are_not_the_usual_ones():
    parameters = {
        "datasets": ["folder"], "data_root": "utd_mhad_depth", "group_pattern": "s(\\d)", "n_seeds": 1, "seed": 0,
    }  # fmt: skip
    made = {
        "notebook": "02_training", "study": "smoke/utd_mhad_depth", "profile": {"name": "smoke", "n_seeds": 1},
        "parameters": parameters, "options": {"kd_lambda": 0.5, "n_way": 0},
    }  # fmt: skip
    assert command_of(made) == (
        "./run_all.sh --profile smoke --dataset folder --data-root DIR/utd_mhad_depth --group-pattern 's(\\d)' "
        "--only 02_training -p kd_lambda=0.5"
    )


def test_what_is_not_tested_says_why():
    rows = untested()
    assert {one.verdict for one in rows} == {NOT_TESTED, NOT_TESTABLE}
    assert all(one.value and one.source for one in rows)
    assert len({one.key for one in rows}) == len(rows)
    assert any("7.06" in one.paper for one in rows)


def test_the_summary_names_the_verdict_on_each_basis():
    text = claims.claim_lines(settle([claim(), claim(UNDEGRADED, UNDECIDED), claim(COPIES, HOLDS)]))
    assert text == (
        "* *A is above B*: **holds** on all queries, undecided on undegraded queries (all queries +1.0 ± 0.5 points; "
        "undegraded queries +1.0 ± 0.5 points; degradation-free copies +1.0 ± 0.5 points)."
    )
