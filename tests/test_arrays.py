"""The store of arrays on disk.  All comparisons are exact."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest
import safetensors.numpy

from amfir_lib.data.arrays import open_array, write_array
from amfir_lib.errors import DataNotFound, DiskFull, ShapeError, StoreError

VALUES = np.arange(24).reshape(6, 2, 1, 2)


def write(path, *, metadata=None, values=VALUES, cuts=(2,), dtype=np.float16):
    pieces = np.split(values.astype(dtype), list(cuts))
    write_array(path, pieces, shape=values.shape, metadata=metadata or {}, dtype=dtype)
    return path


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8])
def test_an_array_comes_back_as_it_was_written_and_is_a_safetensors_file(tmp_path, dtype):
    path = write(tmp_path / "a.safetensors", metadata={"a": {"b": 1}}, dtype=dtype)
    array = open_array(path, expected={"a": {"b": 1}})
    assert isinstance(array.features, np.memmap) and array.metadata == {"a": {"b": 1}} and array.features.dtype == dtype
    np.testing.assert_array_equal(array.features, VALUES)
    np.testing.assert_array_equal(safetensors.numpy.load_file(path)["features"], VALUES)
    with safetensors.safe_open(path, "numpy") as file:
        assert list(file.metadata()) == ["amfir"] and json.loads(file.metadata()["amfir"])["a"] == {"b": 1}


def test_how_the_pieces_are_cut_does_not_change_the_file(tmp_path):
    first = write(tmp_path / "a", metadata={"k": "v", "j": 1}, cuts=())
    second = write(tmp_path / "b", metadata={"j": 1, "k": "v"}, cuts=(1, 5))
    assert first.read_bytes() == second.read_bytes()


def test_every_flipped_byte_is_found(tmp_path):
    path = write(tmp_path / "a", metadata={"dataset": "toy"}, values=VALUES[:2], cuts=())
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(StoreError, match="is damaged"):
            open_array(path)


@pytest.mark.parametrize("n_bytes", [0, 5, 60, -1])
def test_a_truncated_array_is_damaged_even_if_its_content_is_not_read(tmp_path, n_bytes):
    path = write(tmp_path / "a")
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(StoreError, match="its header cannot be read"):
        open_array(path, check_content=False)


def test_a_stale_array_names_each_field_that_changed_from_what_to_what(tmp_path):
    path = write(tmp_path / "a", metadata={"flow": {"algorithm": "dis", "size": 112}, "t": 8}, values=VALUES[:0])
    with pytest.raises(StoreError, match='is stale: flow.algorithm was "dis" and is now "farneback"; t was 8 and is'):
        open_array(path, expected={"flow": {"algorithm": "farneback", "size": 112}, "t": 4})
    with pytest.raises(DataNotFound, match="Extract the features first"):
        open_array(tmp_path / "none")


def refused_by_the_disk():
    yield VALUES[:1].astype(np.float16)
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("pieces", "error", "message"),
    [
        ([VALUES[:1]], ShapeError, "the pieces hold 8 bytes, but shape"),
        ([VALUES[:, :1]], ShapeError, "does not fit into"),
        (refused_by_the_disk(), DiskFull, "No room on the disk"),
    ],
)
def test_pieces_that_do_not_add_up_or_a_full_disk_leave_no_file(tmp_path, pieces, error, message):
    with pytest.raises(error, match=message):
        write_array(tmp_path / "a", pieces, shape=VALUES.shape, metadata={})
    assert list(tmp_path.iterdir()) == []
