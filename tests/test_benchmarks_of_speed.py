"""The benchmarks run at tiny sizes, where they verify that fast and slow paths give the same results."""

from __future__ import annotations

import json

import pytest
import torch
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.measure import Comparison, verify


@pytest.fixture(autouse=True)
def restored_threads():
    """The command line sets the number of threads of the process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_verifies_equal_results_and_saves_what_it_measured(name, tmp_path, capsys):
    assert main([name, "--quick", "--threads", "1", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert record["machine"]["threads"] == 1 and record["machine"]["packages"]["torch"]
    for one in record["comparisons"]:
        assert len(one["fast"]) == len(one["slow"]) == 5 and min(one["fast"]) > 0
        assert one["check"] in capsys.readouterr().out or one["check"] in (tmp_path / "benchmarks.md").read_text()


def test_extraction_is_measured_and_planned(tmp_path):
    assert main(["extraction", "--quick", "--threads", "1", "--output", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "extraction.json").read_text())
    assert all(row["clips_per_s"] > 0 and 0 < row["share_of_features"] < 1 for row in record["throughput"])
    assert {row["machine"] for row in record["plan"]} == {"laptop", "one GPU", "8-GPU node", "cluster"}
    page = (tmp_path / "planning.md").read_text()
    assert "## Plan" in page and "| rendered" in page
    assert not (tmp_path / "benchmarks.md").exists()


def test_paths_that_differ_are_not_timed():
    with pytest.raises(AssertionError, match="answers: the two paths differ by 0.5, more than 0.1"):
        verify("answers", torch.zeros(2), torch.tensor([0.0, 0.5]), atol=0.1)


def test_a_goal_is_met_by_the_medians_alone():
    seconds = {"fast": [1e-4, 1e-4, 9.0], "slow": [1e-3, 1e-3, 0.0], "fast_cpu": [1e-4], "slow_cpu": [1e-3]}
    one = Comparison("work", "equal", "episode", **seconds, goal=9.9, limit=3.0, total=10_000)
    assert one.ratio == pytest.approx(10) and one.met
    assert not Comparison("work", "equal", "episode", **seconds, limit=0.9, total=10_000).met
    assert Comparison("work", "equal", "episode", **seconds).met is None
