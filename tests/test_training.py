"""Meta-training: reproducible, resumable, selected on validation classes.  Exact on the CPU."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from toy_tables import QUICK, new_method, toy_table

from amfir_lib.errors import BadParameter, NonFiniteFeatures, TrainingDiverged
from amfir_lib.storage import digest_of_array
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.training import Training, embed_episodes, train, validation_episodes

TABLE = toy_table()
METHODS = [
    ("amfir", {}), ("amfir", {"score": "random"}), ("amfir", {"prototype": "trx", "enhancer": "transformer"}),
    ("protonet", {}), ("protonet_f", {"learn_temperature": False}),
]  # fmt: skip


def digest(state):
    return digest_of_array(*(state[name].numpy() for name in sorted(state)))


def assert_equal(first, second):
    assert digest(first.state) == digest(second.state)
    assert (first.best_step, first.val_accuracy) == (second.best_step, second.val_accuracy)
    pd.testing.assert_frame_equal(first.history, second.history, check_exact=True)
    pd.testing.assert_frame_equal(first.validation, second.validation, check_exact=True)


def stop_at(method, n_steps):
    """Let the method raise, as if the user pressed Ctrl-C, when its loss is asked for the n-th time."""
    loss, calls = method.loss, iter(range(n_steps))

    def interrupted(output, target):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return loss(output, target)

    method.loss = interrupted
    return method


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_the_same_seed_gives_the_same_weights_and_history_and_another_seed_others(name, options):
    first, second = (train(new_method(name, **options), TABLE, QUICK, seed=0) for _ in range(2))
    assert_equal(first, second)
    other = train(new_method(name, **options), TABLE, QUICK, seed=1)
    assert not first.history.equals(other.history)


@pytest.mark.parametrize("n_steps", [0, 2, 3, 7])
@pytest.mark.parametrize(("name", "options"), METHODS[:3])
def test_an_interrupted_training_resumes_and_equals_the_uninterrupted_one(tmp_path, name, options, n_steps):
    whole = train(new_method(name, **options), TABLE, QUICK, seed=0)
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(stop_at(new_method(name, **options), n_steps), TABLE, QUICK, seed=0, checkpoint=checkpoint)
    assert checkpoint.exists()
    resumed_method = new_method(name, **options)
    resumed = train(stop_at(resumed_method, 9 - n_steps // 3 * 3), TABLE, QUICK, seed=0, checkpoint=checkpoint)
    assert_equal(resumed, whole)  # and no step before the last validation was taken again, or it would have stopped


def test_a_finished_checkpoint_is_not_trained_further(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    whole = train(new_method(), TABLE, QUICK, seed=0, checkpoint=checkpoint)
    assert_equal(train(stop_at(new_method(), 0), TABLE, QUICK, seed=0, checkpoint=checkpoint), whole)


@pytest.mark.parametrize(
    ("changes", "seed", "options"), [({"lr": 0.01}, 0, {}), ({}, 1, {}), ({}, 0, {"kd_lambda": 0.5})]
)
def test_the_checkpoint_of_another_training_is_not_resumed(tmp_path, changes, seed, options):
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(stop_at(new_method(), 4), TABLE, QUICK, seed=0, checkpoint=checkpoint)
    settings = replace(QUICK, **changes)
    after = train(new_method(**options), TABLE, settings, seed=seed, checkpoint=checkpoint)
    assert_equal(after, train(new_method(**options), TABLE, settings, seed=seed))


def test_the_kept_state_is_the_first_with_the_best_validation_accuracy():
    table = toy_table(n_classes=(20, 5, 6), noise=0.5)
    settings = replace(QUICK, steps=40, validate_every=4, lr=0.3)
    trained = train(new_method(), table, settings, seed=1)
    means = trained.validation.groupby("step")["accuracy"].mean()
    assert means.index.tolist() == list(range(0, 41, 4))
    assert trained.val_accuracy == means.max() and trained.best_step == means.idxmax()
    assert 0 < trained.best_step < 40  # neither the first nor the last
    method = new_method()
    method.load_state_dict(trained.state)
    episodes = validation_episodes(table, settings)
    again = np.mean([evaluate(method, table, one).accuracy.mean() for one in episodes.values()])
    assert again == pytest.approx(trained.val_accuracy, abs=1e-12)


def test_selection_sees_validation_classes_only_and_training_sees_training_classes_only(monkeypatch):
    drawn = {"train": set(), "val": set(), "test": set()}
    sample = type(TABLE).sample

    def watched(table, split, **options):
        episodes = sample(table, split, **options)
        drawn[split] |= set(episodes.support.ravel()) | set(episodes.query.ravel())
        return episodes

    monkeypatch.setattr(type(TABLE), "sample", watched)
    train(new_method(), TABLE, QUICK, seed=0)
    assert drawn["train"] <= set(TABLE.rows("train")) and drawn["val"] <= set(TABLE.rows("val")) and not drawn["test"]


def test_test_clips_do_not_enter_even_when_they_hold_nan():
    table = toy_table()
    for values in table.features.values():
        values[table.rows("test")] = torch.nan
    assert_equal(train(new_method(), table, QUICK, seed=0), train(new_method(), TABLE, QUICK, seed=0))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_features_that_are_not_finite_are_refused_before_the_first_step(split, value):
    table = toy_table()
    row = int(table.rows(split)[8])
    table.features["flow"][row, 1, 0, 2] = value
    name = table.class_names[table.labels[row]]
    message = re.escape(f'the flow features of row {row} (class "{name}") hold NaN or infinity. Extract')
    with pytest.raises(NonFiniteFeatures, match=message):
        train(stop_at(new_method(), 0), table, QUICK, seed=0)
    train(new_method("protonet"), table, QUICK, seed=0)  # which reads the other modality


def test_a_loss_that_is_not_finite_stops_the_training_and_names_step_and_remedy():
    method = new_method()
    loss, calls = method.loss, iter(range(4))
    method.loss = lambda output, target: (
        loss(output, target) if next(calls, None) is not None else (torch.tensor(torch.nan, requires_grad=True), {})
    )
    message = r"The loss is nan at step 4 of 9. Lower lr \(it is 0.05\) or logit_scale"
    with pytest.raises(TrainingDiverged, match=message):
        train(method, TABLE, QUICK, seed=0)


def test_a_gradient_that_is_not_finite_is_noticed_before_it_spoils_the_weights():
    method = new_method()
    loss, weights = method.loss, next(method.parameters())
    method.loss = lambda output, target: (loss(output, target)[0] + (0 * weights.sum()).abs().sqrt(), {})
    before = digest(method.state_dict())
    with pytest.raises(TrainingDiverged, match="norm of the gradient is nan at step 0 of 9"):
        train(method, TABLE, QUICK, seed=0)
    assert digest(method.state_dict()) == before


@pytest.mark.parametrize("validate_every", [1, 5])
def test_an_absurd_learning_rate_is_called_by_its_name(validate_every):
    with pytest.raises(TrainingDiverged, match=r"at step \d of 9. Lower lr \(it is 1e\+38\)"):
        train(new_method(), TABLE, replace(QUICK, lr=1e38, validate_every=validate_every), seed=0)


def test_what_was_kept_before_the_divergence_is_still_there(tmp_path):
    with pytest.raises(TrainingDiverged):
        train(new_method(), TABLE, replace(QUICK, lr=1e38), seed=0, checkpoint=tmp_path / "checkpoint.pt")
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": -1}, "steps is -1, but must be at least 0"),
        ({"validate_every": 0}, "validate_every is 0"),
        ({"episodes_per_step": 0}, "episodes_per_step is 0"),
        ({"n_val_episodes": 0}, "n_val_episodes is 0"),
        ({"shots": ()}, r"shots is \(\)"),
        ({"shots": (1, 0)}, r"shots is \(1, 0\)"),
        ({"lr": 0.0}, "lr is 0.0"),
        ({"lr": float("nan")}, "lr is nan"),
    ],
)
def test_settings_that_no_training_can_have_are_refused_by_name(change, message):
    with pytest.raises(BadParameter, match=message):
        replace(QUICK, **change)


@pytest.mark.parametrize(("name", "floor"), [("protonet", 0.1), ("protonet_f", 0.1), ("amfir", 0.1)])
def test_an_easy_table_is_learnt(name, floor):
    table = toy_table(n_classes=(30, 5, 12), n_clips=8, noise=0.4)
    settings = Training(n_way=3, shots=(1,), n_query=3, steps=60, validate_every=30, n_val_episodes=20, lr=0.1)
    method = new_method(name)
    episodes = table.sample("test", n_way=3, n_shot=1, n_query=3, n_episodes=200, rng=np.random.default_rng(9))
    before = evaluate(method, table, episodes).accuracy.mean()
    trained = train(method, table, settings, seed=0)
    method.load_state_dict(trained.state)
    after = evaluate(method, table, episodes).accuracy.mean()
    assert after > before + floor and after > 0.65
    assert trained.history["loss"].tail(10).mean() < trained.history["loss"].head(10).mean()


def test_every_step_is_logged_with_loss_accuracy_energies_groups_and_distillation():
    trained = train(new_method(), TABLE, QUICK, seed=0)
    history = trained.history
    assert history["step"].tolist() == list(range(9)) and history["n_shot"].tolist() == [1, 2, 1, 2, 1, 2, 1, 2, 1]
    for name in ("loss", "accuracy", "gradient_norm", "kd_rgb_to_flow", "kd_flow_to_rgb"):
        assert np.isfinite(history[name]).all()
    for modality in ("rgb", "flow"):
        for name in ("ce", "accuracy", "free_energy", "certainty", "group", "score"):
            assert np.isfinite(history[f"{name}_{modality}"]).all()
    validation = trained.validation
    assert validation["step"].tolist() == [0, 0, 3, 3, 6, 6, 9, 9] and set(validation["n_shot"]) == {1, 2}
    assert {"accuracy_rgb", "free_energy_flow", "certainty_rgb", "ce_flow", "first_group"} <= set(validation)


def test_a_step_equals_the_direct_path_through_the_method():
    method = new_method(prototype="trx")
    episodes = TABLE.sample("train", n_way=3, n_shot=2, n_query=2, n_episodes=4, rng=np.random.default_rng(0))
    *embedded, target = embed_episodes(method, TABLE, episodes)
    output = method.compare(*embedded)
    support = {m: values[episodes.support] for m, values in TABLE.features.items()}
    query = {m: values[episodes.query].flatten(1, 2) for m, values in TABLE.features.items()}
    expected = method(support, query)
    torch.testing.assert_close(output.log_posterior, expected.log_posterior)
    np.testing.assert_array_equal(target, episodes.target)


def test_validation_episodes_are_the_same_for_every_method_and_seed():
    first, second = (validation_episodes(TABLE, settings) for settings in (QUICK, replace(QUICK, lr=0.3, steps=50)))
    assert {n_shot: one.digest for n_shot, one in first.items()} == {n: one.digest for n, one in second.items()}
    wide = validation_episodes(TABLE, replace(QUICK, val_n_way=5))
    assert {one.n_way for one in wide.values()} == {5}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_learns_the_same_within_rounding():
    table = TABLE.to("cuda")
    there = train(new_method().to("cuda"), table, QUICK, seed=0)
    here = train(new_method(), TABLE, QUICK, seed=0)
    np.testing.assert_allclose(there.history["loss"], here.history["loss"], rtol=1e-3)
    assert all(values.is_cuda for values in there.state.values())
