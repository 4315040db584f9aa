"""What captions say about class splits and episodes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from amfir_lib.analysis import tables
from amfir_lib.data.manifest import COLUMNS, Dataset
from amfir_lib.study.runs import Material, TestCell

CELL = TestCell(n_way=5, n_shot=1, n_query=5, n_episodes=1000)


def result(test_classes: str, *, synthetic: bool = False):
    """A run on nine classes of one clip each, of which those named are test classes."""
    splits = {label: "test" if label in test_classes else "train" for label in "abcdefghi"}
    rows = [(label, f"{label}.avi", label, split, label, 10, 12.0, 48, 48) for label, split in splits.items()]
    manifest = pd.DataFrame(rows, columns=list(COLUMNS))
    dataset = Dataset("toy", Path("toy"), manifest, synthetic=synthetic, caption="toy, 9 clips")
    return SimpleNamespace(run=SimpleNamespace(material=Material(dataset, {})), tests={CELL: None})


def test_a_caption_of_real_clips_says_how_many_class_splits_and_test_classes_there_are():
    assert tables.with_notes("A.", [result("abc")] * 2) == "A. toy, 9 clips; one class split, 3 test classes."
    folds = [result("abc"), result("def"), result("ghi"), result("abc")]
    assert tables.with_notes("A.", folds) == "A. toy, 9 clips; 3 class folds, 9 test classes."
    assert tables.with_notes("A.", [result("abc", synthetic=True)]) == "A."


def test_the_episodes_of_class_folds_are_counted_together():
    assert tables.episodes_note([result("abc")]) == "1,000 episodes of 25 queries from 3 test classes"
    assert tables.episodes_note([result("abc"), result("def")]) == "2,000 episodes of 25 queries from 6 test classes"
