"""Faults at random places of a toy study end in the right numbers, or in a sentence with a remedy; nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil

import numpy as np
import pytest
from toy_clips import write_class_folders
from toy_tables import QUICK, toy_material

from amfir_lib.data import preparation
from amfir_lib.data.folder import load_folder
from amfir_lib.errors import AmfirError, DiskFull
from amfir_lib.study.material import TestCell
from amfir_lib.study.runs import Run, run_all

CELLS = [TestCell(n_way=3, n_shot=n_shot, n_query=2, n_episodes=6) for n_shot in (1, 2)]
N_FAULTS = {"flip": 90, "cut": 30, "remove": 20, "full disk": 40, "kill": 20, "clips": 20}


class Killed(BaseException):
    """The process ends here, without any clean-up that a kill would not do."""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The runs, a cache that holds them, and their answers."""
    folder = tmp_path_factory.mktemp("faults")
    material = toy_material(folder / "stores")
    runs = [Run(material, "amfir", {"width": 4}, QUICK), Run(material, "protonet_lf", {"width": 4}, QUICK)]
    return runs, folder / "cache", answers(run_all(runs, CELLS, cache_dir=folder / "cache"))


def answers(results):
    """Everything that a table could show of the runs."""
    return [
        (result.validation.to_csv(), result.history.to_csv(), result.record["val_accuracy"], result.record["best_step"])
        + tuple(array.tobytes() for test in result.tests.values() for array in test.to_arrays().values())
        + tuple(values.numpy().tobytes() for values in result.method().state_dict().values())
        for result in results
    ]


def damage(path, kind, rng):
    content = bytearray(path.read_bytes())
    if kind == "remove":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(content[: int(rng.integers(len(content)))])
    elif content:
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)


@pytest.mark.parametrize("kind", ["flip", "cut", "remove"])
def test_a_damaged_file_of_the_cache_is_computed_again(study, tmp_path, kind):
    runs, whole, expected = study
    for seed in range(N_FAULTS[kind]):
        rng = np.random.default_rng([seed, len(kind)])
        cache = shutil.copytree(whole, tmp_path / str(seed))
        files = sorted(path for path in cache.rglob("*") if path.is_file())
        damage(files[rng.integers(len(files))], kind, rng)
        assert answers(run_all(runs, CELLS, cache_dir=cache)) == expected, seed
        shutil.rmtree(cache)


@pytest.mark.parametrize("kind", ["full disk", "kill"])
def test_a_write_that_fails_is_said_and_the_same_command_ends_in_the_right_numbers(study, tmp_path, monkeypatch, kind):
    runs, _, expected = study
    replace, n_refused = os.replace, 0
    for seed in range(N_FAULTS[kind]):
        rng = np.random.default_rng([seed, 7])
        left = int(rng.integers(40))

        def fails(source, target, **options):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed if kind == "kill" else OSError(errno.ENOSPC, "No space left on device", str(target))
            replace(source, target, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", fails)
            try:
                run_all(runs, CELLS, cache_dir=tmp_path / str(seed))
            except DiskFull as error:
                n_refused += "--cache-dir" in str(error)
            except Killed:
                n_refused += 1
        assert answers(run_all(runs, CELLS, cache_dir=tmp_path / str(seed))) == expected, seed
    assert n_refused > N_FAULTS[kind] / 3


def test_broken_clips_are_named_and_the_others_are_what_they_were(tmp_path):
    write_class_folders(tmp_path / "whole", clips_per_class=4)
    whole = load_folder(tmp_path / "whole", cache_dir=tmp_path / "cache").manifest.set_index("clip_id")
    n_compared = 0
    for seed in range(N_FAULTS["clips"]):
        rng, root = np.random.default_rng([seed, 9]), tmp_path / str(seed) / "whole"
        shutil.copytree(tmp_path / "whole", root)
        files = sorted(root.rglob("*.avi"))
        hit = [files[place] for place in rng.choice(len(files), 3, replace=False)]
        for path in hit:
            damage(path, ("flip", "cut", "remove")[rng.integers(3)], rng)
        try:
            dataset = load_folder(root, cache_dir=tmp_path / str(seed) / "cache", class_counts="3/1/1")
        except AmfirError as error:
            assert preparation.REPORT_FILE in str(error)
            continue
        others = [name for name in whole.index if root / whole.loc[name, "path"] not in hit]
        after = dataset.manifest.set_index("clip_id")
        assert after.loc[others].drop(columns="split").equals(whole.loc[others].drop(columns="split")), seed
        n_compared += 1
    assert n_compared > N_FAULTS["clips"] / 2
