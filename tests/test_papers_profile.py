"""The profile ``paper`` from the files of each real benchmark to Table 1, on miniatures of the five and few steps.

The cells of the notebooks run in this process, with parameters as ``-p`` and ``--set`` give them: all that a person
with the data would do, but for the kernel.  Networks are small and have random weights.
"""

from __future__ import annotations

import matplotlib
import miniatures
import nbformat
import pandas as pd
import pytest

from amfir_lib import paths
from amfir_lib.storage import read_json
from amfir_lib.study.config import REAL_BENCHMARKS

COUNTS = (2, 2, 4)  # classes; an interval wants two test classes more than ways
MAKERS = {
    "kinetics100": lambda root: miniatures.kinetics(root, COUNTS, clips=8),
    "ssv2_small": lambda root: miniatures.ssv2(root, COUNTS, clips=8),
    "ssv2_full": lambda root: _with_lists(root, miniatures.ssv2(root, COUNTS, clips=8)),
    "hmdb51": lambda root: miniatures.hmdb51(root, COUNTS, films=8),
    "ucf101": lambda root: miniatures.ucf101(root, COUNTS, groups=8),
}
SMALL = {
    "class_counts": "2/2/4", "n_way": 2, "backbone": "resnet18+i3d", "weights": "random", "input_size": 32,
    "n_seeds": 1,
}  # fmt: skip
TRAINING = {"n_query": 1, "train_steps": 2, "n_test_episodes": 10, "methods": ["protonet_lf"]}


def _with_lists(root, lists):
    for split, lines in lists.items():
        (root / f"{split}list.txt").write_text("\n".join(lines))


def spoil(root):
    """One video is broken, one is missing, as in every real download."""
    files = sorted(file for file in root.rglob("*") if file.suffix in miniatures.CODECS)
    files[0].write_bytes(b"no video")
    files[1].unlink()


def execute(name, **parameters):
    """Run a notebook's code cells here."""
    space = {"__name__": name}
    for cell in nbformat.read(paths.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, f"{name} {cell.id}", "exec"), space)
            if "parameters" in cell.metadata.get("tags", ()):
                assert parameters.keys() <= space.keys()
                space.update(parameters)


@pytest.mark.parametrize("name", REAL_BENCHMARKS)
def test_each_benchmark_goes_from_its_files_to_table_1_in_the_paper_profile(name, tmp_path, monkeypatch, capsys):
    root, results = tmp_path / "data", tmp_path / "results"
    MAKERS[name](root)
    spoil(root)
    monkeypatch.setattr(matplotlib.rcParams, "backend", "agg", raising=False)
    for variable, value in {"CACHE_DIR": tmp_path / "cache", "RESULTS_DIR": results, "MIN_FOUND": 0, "JOBS": 1}.items():
        monkeypatch.setenv(f"AMFIR_{variable}", str(value))
    chosen = SMALL | {"profile": "paper", "dataset": name, "data_root": str(root)}
    execute("01_data_preparation", **chosen, n_episodes=20)
    execute("04_table1_comparison", **chosen, **TRAINING)
    report = capsys.readouterr().out
    assert "unreadable" in report
    record = read_json(results / name / "records" / "04_table1_comparison.json")
    assert record["status"] == "done" and record["profile"]["name"] == "paper"
    table = pd.read_csv(results / name / "tables" / "table1.csv")
    assert {"amfir", "protonet_lf"} <= set(table["method"]) and set(table["n_shot"]) == {1, 5}
    made = [export for export in record["exports"] if export.endswith(".md")]
    captions = [(results / name / export).read_text(encoding="utf-8") for export in made]
    captions += [record["captions"][figure] for figure in ("figures/table1", "figures/table1_learning")]
    assert len(captions) >= 5
    assert all("random" in caption for caption in captions)
    assert all("not the published split" in caption for caption in captions)  # but some of its classes
