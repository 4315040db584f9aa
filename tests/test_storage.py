"""Files that are whole or absent, and digests that hold what they say.  Exact on every machine."""

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from amfir_lib import paths, storage
from amfir_lib.storage import (
    atomic_write,
    digest_of,
    digest_of_array,
    digest_of_code,
    digest_of_file,
    meaning_of_source,
    write_json,
)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_block_replaces_the_old_file(tmp_path):
    path = tmp_path / "new folder" / "table.csv"
    for text in ("old", "new"):
        with atomic_write(path) as temporary:
            temporary.write_text(text)
    assert path.read_text() == "new" and files(path.parent) == ["table.csv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_in_the_block_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and files(tmp_path) == ["table.csv"]


def test_until_the_block_ends_the_file_is_not_there(tmp_path):
    with atomic_write(tmp_path / "clip.avi") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "clip.avi").exists()
        assert temporary.suffix == ".avi" and temporary.name.startswith(".")  # encoders look at it, listings do not


def test_a_process_killed_in_the_middle_of_a_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    code = (
        "import os, signal, sys\nfrom amfir_lib.storage import atomic_write\n"
        "with atomic_write(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(paths.REPOSITORY)}
    killed = subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_writers_at_the_same_time_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "table.csv"
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and files(tmp_path) == ["table.csv"]  # the block that ended last


def test_a_record_keeps_numbers_as_numbers_and_its_keys_in_order(tmp_path):
    record = {"b": np.float32(0.5), "a": np.int64(3), "c": Path("x") / "y", "d": [np.bool_(True)]}
    write_json(tmp_path / "a.json", record)
    assert storage.read_json(tmp_path / "a.json") == {"a": 3, "b": 0.5, "c": "x/y", "d": [True]}
    assert list(json.loads((tmp_path / "a.json").read_text())) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("value", [np.zeros(3), object(), {1, 2}])
def test_what_has_no_lasting_text_is_refused_and_leaves_no_file(tmp_path, value):
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        digest_of([value])
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        write_json(tmp_path / "a.json", {"value": value})
    assert files(tmp_path) == []


def test_a_digest_does_not_depend_on_the_order_of_keys_but_on_every_value():
    assert digest_of({"a": 1, "b": [2, 3]}) == digest_of({"b": (2, 3), "a": np.int64(1)})
    assert len({digest_of(value) for value in (1, 2, "1", [1], {"1": 1}, None, 1.5)}) == 7


def test_a_digest_of_arrays_sees_values_shape_and_type_but_not_the_layout_in_memory():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    others = (array + 1, array.reshape(3, 2), array.astype(np.float64), array[::-1])
    assert digest_of_array(array) not in {digest_of_array(other) for other in others}
    assert digest_of_array(array) == digest_of_array(np.asfortranarray(array))


def test_digests_of_files_and_sources_follow_their_bytes(tmp_path, monkeypatch):
    for name, text in (("a", "same"), ("b", "same"), ("c", "other")):
        (tmp_path / name).write_text(text)
    a, b, c = (digest_of_file(tmp_path / name) for name in "abc")
    assert a == b != c
    before = digest_of_code(storage)
    assert before == digest_of_code(storage) != digest_of_code(paths)
    assert digest_of_code(storage, paths) not in (before, digest_of_code(paths, storage))
    monkeypatch.setattr(storage, "meaning_of", lambda module: "changed")
    assert digest_of_code(storage) != before


CODE = 'class Net:\n    """What it is."""\n\n    def layers(self):\n        return [2, 3]\n'


@pytest.mark.parametrize(
    "edited",
    [
        CODE.replace("What it is", "What it was"),
        CODE.replace('    """What it is."""\n\n', ""),
        CODE.replace("[2, 3]", "[2, 3]  # widths"),
        CODE.replace("[2, 3]", "[\n            2,\n            3,\n        ]"),
        "# a remark\n\n\n" + CODE,
    ],
    ids=["another docstring", "no docstring", "a comment", "layout", "blank lines"],
)
def test_comments_docstrings_and_layout_do_not_change_what_code_means(edited):
    assert meaning_of_source(edited) == meaning_of_source(CODE)


@pytest.mark.parametrize("edited", [CODE.replace("3", "4"), CODE.replace("layers", "widths"), CODE + "x = 'text'\n"])
def test_values_names_and_further_statements_change_what_code_means(edited):
    assert meaning_of_source(edited) != meaning_of_source(CODE)


def test_the_source_is_read_once_so_an_edit_during_a_run_changes_no_key(tmp_path, monkeypatch):
    (tmp_path / "own_module.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("own_module")
    before = digest_of_code(module)
    (tmp_path / "own_module.py").write_text("answer = 43  # edited meanwhile\n")
    assert digest_of_code(module) == before
