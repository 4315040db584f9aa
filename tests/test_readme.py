"""The README, the index of results and the committed results say the same."""

import re
import shlex

import pandas as pd
import pytest
from small_study import make_study

from amfir_lib import paths
from amfir_lib.run import command
from amfir_lib.run.notebooks import find_notebooks
from amfir_lib.run.readme import PARTS, command_of, readmes, stale_parts, update, write_index
from amfir_lib.storage import read_json, write_json


@pytest.fixture
def study(tmp_path):
    """A study with two tested claims, four rows of Table 1 and one record."""
    folder = tmp_path / "study"
    (folder / "tables").mkdir(parents=True)
    claims = [
        ("a", "AMFIR leads", "all queries", "holds", "holds"),
        ("a", "AMFIR leads", "undegraded queries", "undecided", "holds"),
        ("b", "two are better", "all queries", "does not hold", "does not hold"),
        ("c", "it is fast", "all queries", "not testable", "not testable"),
    ]
    frame = pd.DataFrame(claims, columns=["key", "claim", "basis", "verdict", "overall"])
    frame.assign(notebook="04_table1_comparison").to_csv(folder / "tables" / "claims.csv", index=False)
    further = "not in the paper's table"
    rows = [
        ("amfir", "AMFIR", "Multimodal", 0.5, False),
        ("protonet", "ProtoNet", further, 0.4, False),
        ("protonet_f", "ProtoNet-F", "Flow", 0.3, False),
        ("protonet_lf", "ProtoNet-LF (our reading)", further, 0.612, True),
    ]
    cells = pd.DataFrame(rows, columns=["method", "label", "heading", "accuracy", "bold"])
    cells = cells.assign(dataset="synth-ssv2", n_shot=5, half_width=0.034)
    cells.to_csv(folder / "tables" / "table1.csv", index=False)
    paired = {"dataset": "synth-ssv2", "n_shot": 5, "other": "protonet_lf", "difference": -0.112, "half_width": 0.02}
    rows = [paired | {"basis": basis, "verdict": "worse"} for basis in ("all queries", "undegraded queries")]
    pd.DataFrame(rows).to_csv(folder / "tables" / "table1_paired.csv", index=False)
    record = {"seconds": 90.0, "peak_memory_bytes": 1.2e9, "environment": {"cores": 2, "device": "cpu"}}
    write_json(folder / "records" / "02_training.json", record)
    return tmp_path


def cells_of(text: str, name: str) -> list[str]:
    """Cells of the row of a Markdown table that begins with, or has, a name."""
    line = next(line for line in text.splitlines() if line.startswith("|") and name in line)
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_the_generated_parts_of_the_readmes_equal_the_committed_results():
    assert stale_parts() == []
    text = "".join(file.read_text(encoding="utf-8") for file in readmes())
    assert all(text.count(f"<!-- generated: {name} -->") == 1 for name in PARTS)


def test_a_changed_result_changes_the_readme_and_nothing_else(tmp_path, study):
    readme = tmp_path / "README.md"
    readme.write_text("# A\n\n<!-- generated: headline -->\nold\n<!-- end: headline -->\n\nB\n", encoding="utf-8")
    assert update([readme], study) == ["headline"]
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("# A\n\n<!-- generated: headline -->\n|") and text.endswith("<!-- end: headline -->\n\nB\n")
    assert update([readme], study) == [] and readme.read_text(encoding="utf-8") == text


def test_every_link_of_the_readmes_leads_somewhere():
    for file in readmes():
        text = file.read_text(encoding="utf-8")
        targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
        assert targets
        assert [target for target in targets if not (file.parent / target).exists()] == [], file


def test_a_claim_stands_under_its_verdict_and_is_marked_where_another_basis_disagrees(study):
    text = PARTS["claims"](study)
    link = "[Table&nbsp;1](../notebooks/04_table1_comparison.ipynb)"
    assert cells_of(text, "04_table1") == [link, "• AMFIR leads\\*", "–", "• Two are better"]
    assert "Left out: 0 claims that are not tested here" in text and "and 1 that nothing" in text
    assert "fast" not in text


def test_table_1_has_intervals_and_marks_what_is_ours_what_is_further_and_what_leads(study):
    text = PARTS["table1"](study)
    assert cells_of(text, "method") == ["method", "ssv2 5"]
    assert cells_of(text, "ProtoNet-LF") == ["ProtoNet-LF†‡", "**61.2±3.4**"]
    assert cells_of(text, "AMFIR") == ["AMFIR", "50.0±3.4"]
    assert cells_of(text, "ProtoNet†") == ["ProtoNet†", "40.0±3.4"]


def test_the_line_that_counts_is_taken_on_all_queries(study):
    text = PARTS["headline"](study)
    numbers = ["40.0±3.4", "30.0±3.4", "61.2±3.4", "50.0±3.4", "−11.2±2.0"]
    assert cells_of(text, "synth-ssv2") == ["synth-ssv2", "5", *numbers, "worse"]
    assert text.count("synth-ssv2") == 1


def test_every_notebook_is_listed_with_its_title_and_the_time_of_its_record(study):
    text = PARTS["notebooks"](study)
    assert all(f"(notebooks/{name}.ipynb)" in text for name in find_notebooks(paths.NOTEBOOKS))
    assert cells_of(text, "02_training")[1:] == ["Meta-training AMFIR, and what it is worth", "1.5 min"]
    assert cells_of(text, "03_free_energy")[2] == "not run yet"
    assert "2 minutes in all" in text and "at most 1.2 GB of memory" in text


def test_speed_is_one_sentence_from_the_slowest_gain_to_the_largest(tmp_path):
    names = {"evaluation of trx": 2, "evaluation of otam": 60, "training step of amfir": 3.5}
    timings = [{"name": n, "fast": [0.001, 0.001, 9.0], "slow": [0.001 * times] * 3} for n, times in names.items()]
    panel = {"name": "a change", "fast": [0.1, 0.05, 0.2], "slow": [1.0]}
    for benchmark, comparisons in (("one", timings), ("what_if", [panel])):
        record = {"benchmark": benchmark, "machine": {"device_name": "a CPU", "threads": 2}, "comparisons": comparisons}
        write_json(tmp_path / "study" / "benchmarks" / f"{benchmark}.json", record)
    assert PARTS["speed"](tmp_path) == (
        "Times as fast as the loop: evaluation 2.0 to 60.0, training step 3.5 to 3.5 (medians of five, on a CPU, 2 "
        "threads). A change in the what-if panel takes about 100 ms."
    )


def test_parts_without_results_are_left_as_they_are(tmp_path):
    assert {name: render(tmp_path) for name, render in PARTS.items()} == dict.fromkeys(PARTS)
    assert write_index(tmp_path) is None


def test_the_index_has_a_row_for_every_figure_table_and_claim_with_notebook_command_and_time(tmp_path):
    make_study(tmp_path)
    text = write_index(tmp_path).read_text(encoding="utf-8")
    figure, claim = cells_of(text, "figures/curve"), cells_of(text, "AMFIR beats")
    assert figure[:3] == ["[figures/curve](study/figures/curve.png)", "90_small", "`./run_all.sh --only 90_small`"]
    assert claim[0].startswith("AMFIR beats") and claim[1:] == figure[1:]
    assert "(study/tables/accuracy.md)" in text and "less time" not in text


def test_the_command_of_real_clips_says_what_describes_them():
    record = read_json(paths.RESULTS / "weizmann" / "records" / "02_training.json")
    assert command_of(record) == (
        "./run_all.sh --dataset folder --data-root DIR/weizmann --group-pattern '^([a-z]+)\\d*_' "
        "--set class_counts=4/3/3 --set n_way=3 --set n_query=4 --only 02_training"
    )


def test_every_command_of_the_readmes_can_be_read_by_the_command_line():
    text = "\n".join(file.read_text(encoding="utf-8") for file in readmes()).replace("\\\n", " ")  # over two lines
    commands = re.findall(r"^\./run_all\.sh[^\n#]*|(?<=`)\./run_all\.sh[^`]*", text, re.MULTILINE)
    assert len(commands) > 20
    for line in dict.fromkeys(commands):
        name, rest = command.split_command(shlex.split(line)[1:])
        if name not in ("lab", "test"):
            command.build_parser().parse_args(rest)
