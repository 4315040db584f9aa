"""Files that are whole or absent, and digests that hold what they say.  Exact on every machine."""

import importlib
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
    plain,
    read_json,
    write_json,
)  # fmt: skip

CODE = 'class Net:\n    """What it is."""\n\n    def layers(self):\n        return [2, 3]\n'


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_block_replaces_the_old_file_and_until_then_nothing_is_seen(tmp_path):
    path = tmp_path / "new folder" / "clip.avi"
    for text in ("old", "new"):
        before = path.read_text() if path.exists() else None
        with atomic_write(path) as temporary:
            temporary.write_text(text)
            assert (path.read_text() if path.exists() else None) == before
            assert temporary.suffix == ".avi" and temporary.name.startswith(".")  # encoders look at it, listings do not
    assert path.read_text() == "new" and files(path.parent) == ["clip.avi"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_an_error_in_the_block_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and files(tmp_path) == ["table.csv"]


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
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and files(tmp_path) == ["table.csv"]  # the block that ended last


def test_json_keeps_numbers_as_numbers_and_refuses_what_has_no_lasting_text(tmp_path):
    write_json(
        tmp_path / "a.json", {"b": np.float32(0.5), "a": np.int64(3), "c": Path("x") / "y", "d": [np.bool_(True)]}
    )
    assert read_json(tmp_path / "a.json") == {"a": 3, "b": 0.5, "c": "x/y", "d": [True]}
    for value in (np.zeros(3), object(), {1, 2}):
        with pytest.raises(TypeError, match="cannot be written as JSON"):
            write_json(tmp_path / "b.json", {"value": value})
    assert files(tmp_path) == ["a.json"]
    value = {"a": np.arange(2), "b": (np.int64(1), np.nan), 3: np.bool_(True)}
    assert plain(value) == {"a": [0, 1], "b": [1, None], "3": True}


def test_a_digest_depends_on_every_value_but_not_on_the_order_of_keys_or_the_layout_in_memory():
    assert digest_of({"a": 1, "b": [2, 3]}) == digest_of({"b": (2, 3), "a": np.int64(1)})
    assert len({digest_of(value) for value in (1, 2, "1", [1], {"1": 1}, None, 1.5)}) == 7
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    others = (array + 1, array.reshape(3, 2), array.astype(np.float64), array[::-1])
    assert digest_of_array(array) not in {digest_of_array(other) for other in others}
    assert digest_of_array(array) == digest_of_array(np.asfortranarray(array))


def test_digests_of_files_and_code_follow_what_they_hold(tmp_path, monkeypatch):
    for name, text in (("a", "same"), ("b", "same"), ("c", "other")):
        (tmp_path / name).write_text(text)
    a, b, c = (digest_of_file(tmp_path / name) for name in "abc")
    assert a == b != c
    before = digest_of_code(storage)
    assert before == digest_of_code(storage) != digest_of_code(paths)
    assert digest_of_code(storage, paths) not in (before, digest_of_code(paths, storage))
    (tmp_path / "own_module.py").write_text("answer = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("own_module")
    before = digest_of_code(module)
    (tmp_path / "own_module.py").write_text("answer = 43  # edited during a run, in which no key may change\n")
    assert digest_of_code(module) == before


@pytest.mark.parametrize(
    ("edited", "same"),
    [
        (CODE.replace("What it is", "What it was"), True),
        (CODE.replace('    """What it is."""\n\n', ""), True),
        (CODE.replace("[2, 3]", "[2, 3]  # widths"), True),
        (CODE.replace("[2, 3]", "[\n            2,\n            3,\n        ]"), True),
        ("# a remark\n\n\n" + CODE, True),
        (CODE.replace("3", "4"), False),
        (CODE.replace("layers", "widths"), False),
        (CODE + "x = 'text'\n", False),
    ],
)
def test_comments_docstrings_and_layout_do_not_change_what_code_means_and_all_else_does(edited, same):
    assert (meaning_of_source(edited) == meaning_of_source(CODE)) == same
