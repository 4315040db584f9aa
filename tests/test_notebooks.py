"""Every notebook of the study runs to its end, through the runner that users call, on tiny data."""

import pytest
from cold_study import start_study

from amfir_lib import paths
from amfir_lib.run.notebooks import find_notebooks
from amfir_lib.storage import read_json

pytestmark = pytest.mark.timeout(1200)


def run_study(folder, *options):
    """Exit status, and all that the runner said."""
    return start_study(folder, *options).wait(1100), (folder / "said").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def finished(cold_study):
    """The folder of a cold run of all notebooks, its exit status, and what it said."""
    folder, process = cold_study
    return folder, process.wait(1100), (folder / "said").read_text(encoding="utf-8")


def test_all_notebooks_run_to_their_end_in_smoke(finished):
    folder, status, said = finished
    assert status == 0, said
    for name in find_notebooks(paths.NOTEBOOKS):
        record = read_json(folder / "results" / "smoke" / "records" / f"{name}.json")
        assert record["status"] == "done"
        assert record["exports"]
        for export in record["exports"]:
            assert (folder / "results" / "smoke" / export).stat().st_size > 0


def test_a_record_answers_what_reviewers_ask(finished):
    folder, *_ = finished
    record = read_json(folder / "results" / "smoke" / "records" / "02_training.json")
    assert {"parameters", "options", "seeds", "code", "environment", "seconds", "peak_memory_bytes"} <= record.keys()
    assert {"python", "packages", "device", "cores"} <= record["environment"].keys()
    runs = record["numbers"]["runs"]
    assert {"key", "seed", "parameters", "val_accuracy", "training_seconds"} <= runs[0].keys()
    assert {run["dataset"] for run in runs} == {"synth-kinetics", "synth-ssv2", "synth-hmdb51", "synth-ucf101"}


def test_a_second_run_computes_nothing_and_says_so(finished):
    folder, *_ = finished
    status, said = run_study(folder)
    assert status == 0 and "Nothing to compute" in said


def test_a_variant_is_written_beside_the_baseline_and_never_over_it(finished):
    folder, *_ = finished
    baseline = folder / "results" / "smoke" / "tables" / "accuracy.csv"
    before = baseline.read_bytes()
    status, said = run_study(folder, "--only", "02_training", "-p", "kd_lambda=0.5")
    assert status == 0, said
    assert baseline.read_bytes() == before
    (variant,) = (folder / "results" / "smoke" / "variants").iterdir()
    assert (variant / "tables" / "accuracy.csv").exists()
    found = (variant / "notebooks" / "02_training.ipynb").read_text(encoding="utf-8")
    assert "found in the cache" in found  # the separately trained networks do not depend on lambda
    page = (folder / "results" / "smoke" / "index.html").read_text(encoding="utf-8")
    assert "<code>kd_lambda=0.5</code>" in page and 'href="variants/kd_lambda=0.5/index.html"' in page
