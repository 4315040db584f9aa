"""Meta-test against an explicit loop.  Answers are exact; log-posteriors to 1e-5, as sums over a batch may round."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from toy_tables import new_method, toy_table

from amfir_lib.errors import NonFiniteFeatures
from amfir_lib.methods import otam, protonet
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import FUSED, QueryResults, evaluate

TABLE = toy_table()
METHODS = [
    ("protonet", {}), ("protonet_f", {"prototype": "trx"}), ("protonet_lf", {}), ("amfar", {"pooling": "time"}),
    ("amfir", {"score": "vfe_gauss"}), ("amfir", {"ami_weight": "free_energy", "prototype": "trx"}),
    ("amfir", {}), ("amfir", {"metric": "sqeuclidean"}), ("amfir", {"metric": "cosine"}), ("protonet_ea", {}),
    ("nearest_mean", {}), ("otam", {}), ("trx_lf", {}),
]  # fmt: skip


def some_episodes(n_episodes=23, *, n_shot=2, seed=0, table=TABLE) -> Episodes:
    rng = np.random.default_rng(seed)
    return table.sample("test", n_way=4, n_shot=n_shot, n_query=3, n_episodes=n_episodes, rng=rng)


def assert_same(first: QueryResults, second: QueryResults) -> None:
    for kind, part in vars(first).items():
        assert list(part) == list(getattr(second, kind))
        for stream, values in part.items():
            check = np.testing.assert_array_equal if kind == "correct" else np.testing.assert_allclose
            check(values, getattr(second, kind)[stream], **({} if kind == "correct" else {"rtol": 1e-5, "atol": 1e-5}))


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_every_answer_is_that_of_the_method_called_on_one_episode_at_a_time(name, options):
    method, episodes = new_method(name, **options).eval(), some_episodes()
    results = evaluate(method, TABLE, episodes)
    for e in range(len(episodes)):
        support = {m: TABLE.features[m][episodes.support[e]][None] for m in method.modalities}
        query = {m: TABLE.features[m][episodes.query[e].ravel()][None] for m in method.modalities}
        with torch.no_grad():
            output = method(support, query)
        streams = {FUSED: output.log_posterior} | output.modality_log_posteriors
        assert list(results.correct) == list(streams)
        for stream, log_posterior in streams.items():
            right = []
            for m in range(12):
                row, true = log_posterior[0, m].numpy(), m // 3
                right.append(row.argmax() == true)
                np.testing.assert_allclose(results.true_log_posterior[stream][e, m], row[true], rtol=1e-5, atol=1e-5)
            assert results.correct[stream][e].tolist() == right
        for modality, log_posterior in output.modality_log_posteriors.items():
            certainty = log_posterior[0].exp().max(-1).values
            np.testing.assert_allclose(results.certainty[modality][e], certainty, rtol=1e-5)
        assert results.accuracy[e] == np.mean(results.correct[FUSED][e])


@pytest.mark.parametrize("name", ["amfir", "amfar", "protonet", "protonet_lf", "protonet_ec", "otam"])
@pytest.mark.parametrize("n_shot", [1, 3])
def test_answers_from_what_relates_all_clips_equal_those_from_the_embeddings(name, n_shot, monkeypatch):
    method, episodes = new_method(name), some_episodes(200, n_shot=n_shot)
    fast = evaluate(method, TABLE, episodes)
    for module in (protonet, otam):
        monkeypatch.setattr(module, "MOST_RELATED_CLIPS", 0)  # too many clips to relate: the embeddings are compared
    assert_same(evaluate(method, TABLE, episodes), fast)


def test_the_free_energy_is_centred_and_the_score_is_what_the_method_groups_by():
    episodes = some_episodes()
    late = evaluate(new_method("protonet_lf"), TABLE, episodes)
    amfir = evaluate(new_method("amfir"), TABLE, episodes)  # the same initial heads
    certain = evaluate(new_method("amfar"), TABLE, episodes)
    for modality in ("rgb", "flow"):
        np.testing.assert_allclose(late.free_energy[modality], amfir.free_energy[modality], rtol=1e-5)
        np.testing.assert_allclose(certain.score[modality], -certain.certainty[modality], rtol=1e-5)
    assert evaluate(new_method("protonet"), TABLE, episodes).free_energy == {}


@pytest.mark.parametrize(("name", "options"), METHODS)
def test_the_size_of_a_batch_does_not_matter(name, options):
    method, episodes = new_method(name, **options), some_episodes()
    whole = evaluate(method, TABLE, episodes)
    for batch_mb in (1e-6, 1e-2):
        assert_same(evaluate(method, TABLE, episodes, batch_mb=batch_mb), whole)


def test_each_clip_is_embedded_once():
    method, seen = new_method(), []
    embed = method.embed
    method.embed = lambda clips: seen.append(len(clips["rgb"])) or embed(clips)
    episodes = some_episodes(50)
    evaluate(method, TABLE, episodes)
    assert sum(seen) == len(np.unique([*episodes.support.ravel(), *episodes.query.ravel()])) == 36


def test_a_clip_without_finite_features_is_named_by_its_row_and_the_mode_restored():
    table, episodes, method = toy_table(), some_episodes(), new_method()
    row = int(episodes.query[0, 0, 0])
    table.features["flow"][row, 1] = torch.nan
    message = re.escape(f'row {row} of the features has no finite embedding in "flow"')
    with pytest.raises(NonFiniteFeatures, match=message):
        evaluate(method, table, episodes)
    assert method.training


def test_results_survive_a_file(tmp_path):
    results = evaluate(new_method(), TABLE, some_episodes())
    np.savez_compressed(tmp_path / "a.npz", **results.to_arrays())
    with np.load(tmp_path / "a.npz") as arrays:
        again = QueryResults.from_arrays(dict(arrays))
    for kind, part in vars(results).items():
        assert list(getattr(again, kind)) == list(part)  # the order says which modality is the first
        for stream, values in part.items():
            np.testing.assert_array_equal(getattr(again, kind)[stream], values)
            assert getattr(again, kind)[stream].dtype == values.dtype


def test_an_easy_table_is_told_apart_without_training():
    easy = toy_table(noise=0.01)
    plain = {"layer_norm": False, "projection": False}
    results = evaluate(new_method("protonet", **plain), easy, some_episodes(table=easy))
    assert results.accuracy.mean() > 0.95
