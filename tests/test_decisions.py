"""The table of decisions and the code's options are one thing.  Exact."""

import re
from dataclasses import fields

import pytest

from amfir_lib import paths
from amfir_lib.analysis.decisions import DECISIONS, decisions_table
from amfir_lib.methods import PRESETS, resolve_options
from amfir_lib.methods.amfir import AmfirOptions
from amfir_lib.methods.late_fusion import LateFusionOptions
from amfir_lib.study.config import PROFILES

SIZES = {"width", "n_segments"}  # hyper-parameters, about which the paper makes no statement to interpret
WITH_OPTION = [one for one in DECISIONS if one.option]
OPTIONS = {one.name: one for cls in (LateFusionOptions, AmfirOptions) for one in fields(cls)}


def test_every_option_of_the_code_has_exactly_one_row():
    named = [one.option for one in WITH_OPTION]
    assert len(named) == len(set(named)) and set(named) == {"preset", *OPTIONS} - SIZES


@pytest.mark.parametrize("decision", WITH_OPTION, ids=lambda one: one.option)
def test_default_and_alternatives_are_those_of_the_code(decision):
    if decision.option == "preset":
        assert {decision.default, *decision.alternatives} == set(PRESETS)
        return
    option = OPTIONS[decision.option]
    assert decision.default == str(option.default).lower()
    if choices := option.metadata.get("choices"):
        assert {decision.default, *decision.alternatives} == set(choices)
    method = "protonet_lf" if decision.option == "late_fusion" else "amfir"
    for text in decision.alternatives:
        value = text == "true" if isinstance(option.default, bool) else type(option.default)(text)
        assert getattr(resolve_options(method, {decision.option: value}), decision.option) == value


def test_rows_stand_in_the_order_of_their_ids_and_say_each_thing_once():
    places = [(one.id[0], int(one.id[1:])) for one in DECISIONS]
    assert places == sorted(places)
    assert len({(one.id, one.option, one.problem) for one in DECISIONS}) == len(DECISIONS)
    assert all(one.where and one.default and one.reason for one in DECISIONS)


def test_every_decision_that_code_or_notebook_cites_has_a_row():
    cited = re.compile(r"[Dd]ecisions? ([A-E]\d+)((?:(?:,| and|, and) [A-E]\d+)*)")
    known = {one.id for one in DECISIONS}
    files = [*paths.LIBRARY.rglob("*.py"), *paths.NOTEBOOKS.glob("*.ipynb")]
    found = {
        name
        for path in files
        for first, more in cited.findall(path.read_text(encoding="utf-8"))
        for name in (first, *re.findall(r"[A-E]\d+", more))
    }
    assert {"A1", "A6", "D4", "E14"} <= found
    assert found <= known


def test_the_table_has_one_row_for_each_decision_and_their_effects_where_they_are_known():
    assert len(decisions_table()) == len(DECISIONS)
    shown = decisions_table({("B2", "metric"): "cosine −1.0 points"}).set_index(["id", "option"])["effect"]
    assert shown["B2", "metric"] == "cosine −1.0 points" and (shown.drop([("B2", "metric")]) == "–").all()


def test_numbers_in_the_rows_are_those_of_the_study():
    study = PROFILES["study"]
    (length,) = (one.default for one in DECISIONS if one.id == "C9" and "convergence" in one.problem)
    assert f"{study.train_steps} steps of {study.episodes_per_step} episodes" in length
    (tests,) = (one.default for one in DECISIONS if one.id == "E13")
    assert f"{study.n_test_episodes:,} fixed episodes of {study.n_way * study.n_query} queries" in tests
