"""Clip manifests.  All comparisons are exact."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from amfir_lib.data.manifest import COLUMNS, Dataset, check_manifest, manifest_digest, read_manifest, write_manifest
from amfir_lib.errors import DataNotFound, ManifestError, UnknownName


@pytest.fixture
def manifest():
    rows = [
        ("a", "x/a.avi", "NA", "train", "007", 16, 1 / 3, 112, 112),
        ("b", "y/b.avi", "run, fast", "val", "g2", 20, 12.0, 112, 96),
        ("c", "z/c.avi", 'jump "high"', "test", "g3", 30, 25.0, 97, 112),
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_a_manifest_survives_the_file(tmp_path, manifest):
    manifest = manifest.assign(degraded=["none", "rgb", "flow"], kind=["none", "fog", "shake"], strength=[0, 0.5, 1])
    write_manifest(tmp_path / "m.csv", manifest)
    back = read_manifest(tmp_path / "m.csv")
    assert list(back["label"]) == ["NA", "run, fast", 'jump "high"'] and list(back["group"])[0] == "007"
    assert list(back["degraded"]) == ["none", "rgb", "flow"] and back["n_frames"].dtype == np.int64
    assert manifest_digest(back) == manifest_digest(manifest)


def test_equal_content_gives_equal_bytes_in_any_order_of_rows_and_columns(tmp_path, manifest):
    write_manifest(tmp_path / "a.csv", manifest)
    shuffled = manifest.iloc[[2, 0, 1]][list(COLUMNS[::-1])]
    write_manifest(tmp_path / "b.csv", shuffled)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert manifest_digest(manifest) == manifest_digest(shuffled)


def test_any_change_changes_the_digest(manifest):
    for column, value in (("group", "other"), ("n_frames", 17), ("path", "x/other.avi"), ("fps", 12.0)):
        changed = manifest.copy()
        changed.loc[0, column] = value
        assert manifest_digest(changed) != manifest_digest(manifest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.drop(columns="group"), "lacks the column group"),
        (lambda m: m.iloc[:0], "lists no clip"),
        (lambda m: m.assign(clip_id=["a", "a", "c"]), 'lists the clip_id "a" twice'),
        (lambda m: m.assign(path="same.avi"), 'lists the path "same.avi" twice'),
        (lambda m: m.assign(label="walk"), 'has the class "walk" in two splits .test, train, val'),
        (lambda m: m.assign(split=["trian", "val", "test"]), '"trian" is not a known split .* "train"'),
        (lambda m: m.assign(label=["", "b", "c"]), 'row 1: "label" is empty'),
        (lambda m: m.assign(n_frames=[16, 0, 30]), 'the clip "b" has no frames'),
        (lambda m: m.iloc[::-1], "is not sorted by clip_id"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(manifest, change, message):
    with pytest.raises(ManifestError, match=message):
        check_manifest(change(manifest), "m.csv")


def test_a_missing_file_and_a_file_that_is_no_table_are_told_apart(tmp_path):
    with pytest.raises(DataNotFound, match="There is no manifest"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00binary,\n1,2,3\n")
    with pytest.raises(ManifestError, match="bad.csv"):
        read_manifest(tmp_path / "bad.csv")


def test_a_data_set_finds_rows_classes_and_files(tmp_path, manifest):
    dataset = Dataset("three", tmp_path, manifest)
    assert dataset.rows("val").tolist() == [1] and dataset.classes("test") == ('jump "high"',)
    assert dataset.clip_path(2) == tmp_path / "z/c.avi"
    assert dataset.digest == manifest_digest(manifest) and len(dataset) == 3
    with pytest.raises(UnknownName, match='"validation" is not a known split'):
        dataset.rows("validation")


def test_a_data_set_refuses_a_bad_manifest_at_once(tmp_path, manifest):
    with pytest.raises(ManifestError, match='the manifest of "three"'):
        Dataset("three", tmp_path, manifest.iloc[::-1])
