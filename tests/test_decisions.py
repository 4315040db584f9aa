"""The table of decisions and the code's options are one thing.  Exact."""

from dataclasses import fields

import pytest

from amfir_lib.decisions import DECISIONS, render_markdown
from amfir_lib.methods import PRESETS, resolve_options
from amfir_lib.methods.amfir import AmfirOptions
from amfir_lib.methods.late_fusion import LateFusionOptions

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
    assert decision.default == option.default and type(decision.default) is type(option.default)
    if choices := option.metadata.get("choices"):
        assert {decision.default, *decision.alternatives} == set(choices)
    method = "protonet_lf" if decision.option == "late_fusion" else "amfir"
    for value in decision.alternatives:
        assert getattr(resolve_options(method, {decision.option: value}), decision.option) == value


def test_every_row_says_where_what_and_why():
    assert all(one.id and one.where and one.problem and str(one.default) and one.reason for one in DECISIONS)


def test_the_rendered_table_has_one_row_for_each_decision_with_seven_cells():
    lines = render_markdown().splitlines()
    assert len(lines) == 2 + len(DECISIONS)
    assert all(line.replace("\\|", "").count("|") == 8 for line in lines)
