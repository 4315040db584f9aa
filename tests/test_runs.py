"""The grid of runs and its cache: what makes a run another one, what is computed, and what is found.

All comparisons are exact: every run computes with one thread on one machine.
"""

from __future__ import annotations

import functools
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from toy_tables import QUICK, toy_material

from amfir_lib import methods, storage
from amfir_lib.errors import BadParameter, TrainingDiverged, UnknownName, UnknownParameter
from amfir_lib.methods import METHODS, amfir, early_fusion, protonet, strm, tuned_training, tuples
from amfir_lib.study import cache, training
from amfir_lib.study import runs as runs_module
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.feature_table import Whitening
from amfir_lib.study.material import TestCell
from amfir_lib.study.runs import Run, load_result, run_all

ONE_SHOT = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=30)
TWO_SHOT = replace(ONE_SHOT, n_shot=2)
OPTIONS = {"width": 4}


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return toy_material(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def runs(material):
    return [
        Run(material, "amfir", OPTIONS, QUICK), Run(material, "amfir", OPTIONS, QUICK, seed=1),
        Run(material, "protonet_lf", OPTIONS, QUICK),
        Run(material, "protonet", OPTIONS, tuned_training("protonet", QUICK)),
        Run(material, "amfir", OPTIONS | {"kd_lambda": 0.0}, QUICK),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def done(runs, tmp_path_factory):
    """A cache in which all runs are done, and their results."""
    cache_dir = tmp_path_factory.mktemp("cache")
    return cache_dir, run_all(runs, [ONE_SHOT, TWO_SHOT], cache_dir=cache_dir)


def one(material, method="amfir", **changes) -> Run:
    return Run(material, method, **({"options": OPTIONS, "training": QUICK} | changes))


def contents(result) -> dict[str, object]:
    """Everything that the cache holds of a run, but for how long it took."""
    folder = result.folder
    record = {name: value for name, value in result.record.items() if "seconds" not in name}
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "record.json"}
    return files | {"record": record}


def why(run, cache_dir):
    return cache.why_computed(run.folder(cache_dir), run.identity)


def forbid(monkeypatch, *names: str) -> None:
    """Fail where one of these functions is called; their source, and so the keys, stay the same."""

    def forbidden(function):
        return functools.wraps(function)(lambda *arguments, **options: pytest.fail(f"{function.__name__} was called"))

    for name in names:
        monkeypatch.setattr(runs_module, name, forbidden(getattr(runs_module, name)))


def interrupt(monkeypatch, n_steps: int) -> None:
    """Stop the next training, as by Ctrl-C, after some steps."""

    def stopped(method, *arguments, **options):
        loss, calls = method.loss, iter(range(n_steps))

        def counted(output, target):
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return loss(output, target)

        method.loss = counted
        return training.train(method, *arguments, **options)

    monkeypatch.setattr(runs_module, "train", stopped)


# keys


def test_equal_runs_have_one_key_whatever_way_their_options_are_written(material):
    key = one(material).key
    assert key == one(material, options={"width": 4, "kd_lambda": 1.0}).key  # a default, said aloud
    assert key == one(material, options={"kd_lambda": 1, "width": 4}).key
    assert key == one(material, options=OPTIONS | {"preset": "study"}).key


def test_everything_that_changes_the_result_changes_the_key(material, tmp_path):
    keys = [
        one(material).key,
        one(material, "amfar").key,
        one(material, "amfar", options=OPTIONS | {"margin": 0.1}).key,
        one(material, options=OPTIONS | {"preset": "paper_literal"}).key,
        one(material, seed=1).key,
        one(toy_material(tmp_path / "a", shift=1.0)).key,
        one(toy_material(tmp_path / "b", swap_groups=True)).key,
        one(replace(material, stores=dict(reversed(material.stores.items())))).key,
    ]
    for name, value in (("lr", 0.01), ("steps", 12), ("shots", (1,)), ("n_query", 3), ("val_n_way", 2)):
        keys.append(one(material, training=replace(QUICK, **{name: value})).key)
    assert len(set(keys)) == len(keys)


def test_other_code_of_the_stage_changes_the_key_and_that_of_another_method_does_not(material, monkeypatch):
    before = {name: one(material, name).key for name in METHODS}

    def changed_by(module) -> set[str]:
        with monkeypatch.context() as patch:
            meaning_of = storage.meaning_of
            patch.setattr(storage, "meaning_of", lambda thing: meaning_of(thing) + "# changed" * (thing is module))
            return {name for name in METHODS if one(material, name).key != before[name]}

    assert changed_by(training) == set(METHODS)
    assert changed_by(amfir) == {"amfar", "amfir"}
    early = {"protonet_ec", "protonet_ea", "strm_ec"}
    joined = {"protonet_lf", "nearest_mean"}
    heads = {"protonet", "protonet_f", "amfir", "amfar"}
    assert changed_by(protonet) == heads | joined | early  # the last are made of the others
    assert changed_by(strm) == {"strm", "strm_f", "strm_lf"} | early
    assert changed_by(tuples) == {"strm", "strm_f", "strm_lf", "trx", "trx_f", "trx_lf"} | early
    assert changed_by(early_fusion) == early


def test_a_key_is_fixed_once_it_is_known_and_travels_with_the_run(material, monkeypatch):
    run = one(material, "protonet_lf")
    key, parts = run.key, [part.key for part in run.parts]
    monkeypatch.setattr(storage, "meaning_of", lambda thing: "edited during the run")
    assert run.key == key and [part.key for part in run.parts] == parts != [one(material, "protonet").key]


# computing and finding


def test_results_come_in_order_with_a_record_and_histories(done, runs):
    _, results = done
    assert [result.run for result in results] == runs
    for result in results:
        assert set(result.tests) == {ONE_SHOT, TWO_SHOT}
        assert all(tests.accuracy.shape == (30,) for tests in result.tests.values())
        assert result.record["key"] == result.run.key and result.record["parameters"] > 0
        assert not (result.folder / "checkpoint.pt").exists()
        trained = result.run.method != "protonet_lf"
        assert (len(result.history), len(result.validation)) == ((9, 8) if trained else (0, 0))


def test_a_method_without_parameters_is_tested_without_training(tmp_path):
    material = toy_material(tmp_path)
    (result,) = run_all([Run(material, "nearest_mean", {}, QUICK)], [ONE_SHOT], cache_dir=tmp_path)
    assert result.record["parameters"] == 0 and result.history.empty and result.tests[ONE_SHOT].accuracy.shape == (30,)


def test_a_second_time_computes_nothing_and_says_so(done, runs, monkeypatch, capsys):
    cache_dir, results = done
    forbid(monkeypatch, "train", "evaluate")
    again = run_all(runs, [ONE_SHOT, TWO_SHOT], cache_dir=cache_dir)
    assert (
        capsys.readouterr().out == "training: 0 computed, 6 found in the cache\n"
    )  # the parts of late fusion are runs
    for first, second in zip(results, again, strict=True):
        pd.testing.assert_frame_equal(first.history, second.history, check_exact=True)
        assert contents(first) == contents(second)


def test_one_and_four_workers_give_the_same_bytes(done, runs, tmp_path):
    _, results = done
    parallel = run_all(runs, [ONE_SHOT, TWO_SHOT], cache_dir=tmp_path, n_jobs=4)
    for first, second in zip(results, parallel, strict=True):
        assert contents(first) == contents(second)


def test_new_episodes_are_only_tested(material, tmp_path, monkeypatch, capsys):
    (before,) = run_all([one(material)], [ONE_SHOT], cache_dir=tmp_path)
    forbid(monkeypatch, "train")
    tested = []
    monkeypatch.setattr(runs_module, "evaluate", lambda *given: tested.append(given[2].n_shot) or evaluate(*given))
    (after,) = run_all([one(material)], [ONE_SHOT, TWO_SHOT], cache_dir=tmp_path)
    assert tested == [2] and set(after.tests) == {ONE_SHOT, TWO_SHOT}
    np.testing.assert_array_equal(after.tests[ONE_SHOT].accuracy, before.tests[ONE_SHOT].accuracy)
    assert "toy/amfir/seed 0: trained before, tested on new episodes" in capsys.readouterr().out


def test_an_interrupted_run_is_resumed_and_gives_the_same(done, material, tmp_path, monkeypatch, capsys):
    _, results = done
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 5)
        run_all([one(material)], [ONE_SHOT], cache_dir=tmp_path)
    folder = one(material).folder(tmp_path)
    assert (folder / "checkpoint.pt").exists() and not (folder / "record.json").exists()
    capsys.readouterr()
    with monkeypatch.context() as patch:
        interrupt(patch, 6)  # steps 3 to 8 are left: one more would stop it
        (resumed,) = run_all([one(material)], [ONE_SHOT, TWO_SHOT], cache_dir=tmp_path)
    assert "toy/amfir/seed 0: resumed where it was interrupted" in capsys.readouterr().out
    assert contents(resumed) == contents(results[0])


def test_what_an_interruption_leaves_is_never_read(done, material, tmp_path):
    _, results = done
    folder = one(material).folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "state.safetensors").write_bytes(b"older, without a record")
    (folder / ".record-x.partial.json").write_text('{"key": ')
    (folder / f".{ONE_SHOT.name}-x.partial.npz").write_bytes(b"half")
    (result,) = run_all([one(material)], [ONE_SHOT, TWO_SHOT], cache_dir=tmp_path)
    found = {name: value for name, value in contents(result).items() if not name.startswith(".")}
    assert found == contents(results[0])


def test_what_is_done_before_another_run_fails_is_kept(material, tmp_path, capsys):
    diverging = one(material, training=replace(QUICK, lr=1e38), seed=7)
    with pytest.raises(TrainingDiverged, match=r"^toy/amfir/seed 7: The .* at step \d of 9. Lower lr"):
        run_all([one(material), diverging], [ONE_SHOT], cache_dir=tmp_path)
    capsys.readouterr()
    run_all([one(material)], [ONE_SHOT], cache_dir=tmp_path)
    assert capsys.readouterr().out == "training: 0 computed, 1 found in the cache\n"


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        ({"method": "amfri"}, UnknownName, 'did you mean "amfir"'),
        ({"options": {"kd_lamda": 1.0}}, UnknownParameter, 'did you mean "kd_lambda"'),
        ({"options": {"kd_lambda": -1.0}}, BadParameter, "kd_lambda is -1.0"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_any_is_computed(material, tmp_path, monkeypatch, run, error, message):
    forbid(monkeypatch, "train")
    with pytest.raises(error, match=message):
        run_all([one(material), one(material, **run)], [ONE_SHOT], cache_dir=tmp_path)


# why


def test_the_log_says_why_a_run_is_computed(done, material, monkeypatch):
    cache_dir, _ = done
    assert why(one(material, seed=5), cache_dir) == "not computed before"
    base = {"options": OPTIONS | {"kd_lambda": 0.0}}  # the newest of its siblings
    changed = "not with these settings before; changed since the last: "
    for changes, words in (
        ({"training": replace(QUICK, lr=0.01)}, "training.lr 0.05 -> 0.01"),
        ({"training": replace(QUICK, shots=(1,))}, "training.shots [1, 2] -> [1]"),
        ({"options": OPTIONS | {"kd_lambda": 0.5}}, "options.kd_lambda 0.0 -> 0.5"),
    ):
        assert why(one(material, **(base | changes)), cache_dir) == changed + words
    meaning_of = storage.meaning_of
    monkeypatch.setattr(storage, "meaning_of", lambda thing: meaning_of(thing) + "#" * (thing is training))
    assert why(one(material, **base), cache_dir) == changed + "code.amfir_lib.study.training"


def test_a_damaged_record_of_another_run_is_no_obstacle(done, material, tmp_path):
    cache_dir = shutil.copytree(done[0], tmp_path / "cache")
    for record in one(material, options={}).folder(cache_dir).parent.glob("*/record.json"):
        record.write_bytes(record.read_bytes()[:40])
    assert why(one(material, options={}), cache_dir) == "not computed before"


# results


def test_late_fusion_is_the_mean_of_the_posteriors_of_the_two_single_runs(done, material):
    cache_dir, results = done
    fused = results[2]
    first, second = (load_result(part, [TWO_SHOT], part.folder(cache_dir)) for part in fused.run.parts)
    assert (first.run.method, second.run.method) == ("protonet", "protonet_f")
    table = material.table()
    episodes = TWO_SHOT.episodes(table)
    support = {m: values[episodes.support] for m, values in table.features.items()}
    query = {m: values[episodes.query].flatten(1, 2) for m, values in table.features.items()}
    with torch.no_grad():
        late, rgb, flow = (result.method()(support, query).log_posterior.exp() for result in (fused, first, second))
    torch.testing.assert_close(late, (rgb + flow) / 2)
    for stream, result in (("rgb", first), ("flow", second)):
        np.testing.assert_array_equal(fused.tests[TWO_SHOT].correct[stream], result.tests[TWO_SHOT].correct["fused"])
    assert fused.record["parameters"] == first.record["parameters"] + second.record["parameters"]


def test_options_of_late_fusion_alone_do_not_train_its_parts_again(material):
    first, second = (one(material, "protonet_lf", options=OPTIONS | {"late_fusion": how}) for how in
                     ("posterior_mean", "logit_sum"))  # fmt: skip
    assert first.key != second.key
    assert [part.key for part in first.parts] == [part.key for part in second.parts]


def test_a_cached_run_answers_as_the_method_that_it_gives_back(done, material):
    _, results = done
    for result in results:
        table = material.table()
        again = evaluate(result.method(), table, ONE_SHOT.episodes(table))
        np.testing.assert_array_equal(again.correct["fused"], result.tests[ONE_SHOT].correct["fused"])
        assert not result.method().training


def test_test_episodes_are_identical_for_every_method_and_store(material, tmp_path):
    digests = {
        ONE_SHOT.episodes(table).digest
        for table in (material.table(), material.table(patches=True), toy_material(tmp_path, shift=1.0).table())
    }
    assert len(digests) == 1
    table = material.table()
    others = [replace(ONE_SHOT, seed=1), replace(ONE_SHOT, split="val"), TWO_SHOT]
    assert len({cell.episodes(table).digest for cell in others} | digests) == 4
    assert ONE_SHOT.episodes(table)[:10].digest == replace(ONE_SHOT, n_episodes=10).episodes(table).digest


def test_a_table_holds_means_over_patches_in_float32_or_the_patches_themselves(material):
    raw = replace(material, whiten=False)
    pooled, whole = raw.table(), raw.table(patches=True)
    for modality, store in material.stores.items():
        np.testing.assert_array_equal(whole.features[modality], store.features)
        expected = store.features.astype(np.float32).mean(2, keepdims=True)
        np.testing.assert_array_equal(pooled.features[modality], expected)
    assert pooled.dims == whole.dims == {"rgb": 6, "flow": 5}


def test_whitening_makes_base_frames_white_but_for_their_weak_directions(material):
    raw, table = replace(material, whiten=False).table(), material.table()
    base = raw.rows("train")
    for modality, values in raw.features.items():
        frames = values[base].mean(2).flatten(0, 1).double().numpy()
        variances, directions = np.linalg.eigh(np.cov(frames.T))
        expected = (frames - frames.mean(0)) @ directions / np.sqrt(variances + variances.mean())
        got = table.features[modality][base].mean(2).flatten(0, 1).numpy()
        np.testing.assert_allclose(np.abs(got), np.abs(expected), atol=1e-3)  # a direction has no sign


def test_whitening_does_not_depend_on_the_number_of_threads(material):
    base = material.layout().rows("train")
    half = np.random.default_rng(0).normal(size=(2 * len(base), 64))  # every variance occurs twice: any basis will do
    both = np.kron(np.eye(2), np.concatenate([half, -half]))
    features = np.zeros((len(material.dataset), 8, 1, 128), np.float32)
    features[base] = both.reshape(len(base), 8, 1, 128)
    material = replace(material, stores={"rgb": SimpleNamespace(features=features)})
    fitted, before = [], torch.get_num_threads()
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        try:
            fitted.append(material.whitening().directions["rgb"])
        finally:
            torch.set_num_threads(before)
    assert torch.equal(*fitted)


def test_whitening_reads_base_classes_alone_and_maps_patches_as_it_maps_their_mean(material):
    raw = replace(material, whiten=False).table()
    spoiled = {m: values.clone() for m, values in raw.features.items()}
    for values in spoiled.values():
        values[np.concatenate([raw.rows("val"), raw.rows("test")])] += 9.0
    whitening = material.whitening()
    again = Whitening.fit(replace(raw, features=spoiled))
    for modality, directions in whitening.directions.items():
        torch.testing.assert_close(again.directions[modality], directions)
        patches = material.table(patches=True).features[modality].float().mean(2, keepdim=True)
        torch.testing.assert_close(patches, material.table().features[modality], atol=5e-3, rtol=0)  # float16


def test_a_method_that_learns_nothing_reads_raw_features_and_so_do_its_parts(material):
    run = one(material, "nearest_mean", options={})
    assert not run.read.whiten and not any(part.material.whiten for part in run.parts)
    assert one(material).read.whiten


def test_runs_of_a_series_take_the_tuned_settings_and_so_do_parts_of_an_assembled_one(material, monkeypatch):
    monkeypatch.setattr(methods, "_chosen_trials", lambda: {"protonet": {"lr": 0.7, "logit_scale": 2.0, "longer": 2}})
    (single,) = runs_module.Series("a", "protonet_f").runs(material, QUICK, [0])
    (fused,) = runs_module.Series("b", "protonet_lf").runs(material, QUICK, [0])
    assert single.training.lr == 0.7 and single.identity["options"]["logit_scale"] == 2.0
    assert single.training.steps == 2 * QUICK.steps
    assert fused.parts[1].key == single.key
    assert runs_module.Series("c", "otam").runs(material, QUICK, [0])[0].training == QUICK


def test_a_change_of_a_method_is_not_hidden_by_the_tables_kept_in_memory(material, tmp_path):
    first = one(material)
    other = one(toy_material(tmp_path / "stores", shift=100.0))
    results = run_all([first, other], [ONE_SHOT], cache_dir=tmp_path / "cache")
    assert not results[0].history.equals(results[1].history)
