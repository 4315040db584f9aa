"""CMN: the multi-saliency embedding.  Tolerance: 1e-9 between the batched code in float64 and loops; else exact."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_episodes import M_QUERY, E, K, N, as_double, build, clips, front, linear, softmax, weights
from toy_tables import QUICK, new_method, toy_table

from amfir_lib.methods import build_method
from amfir_lib.study.training import train


def embedding(clip, w):
    """(T, P, D) -> the clip's vector, one frame and one hidden state at a time."""
    frames, states = front(clip, w), w["hidden"]
    share = [softmax(np.array([p @ h / math.sqrt(len(p)) for h in states])) for p in frames]
    parts = []
    for j, state in enumerate(states):
        u = sum(a[j] * (p - state) for p, a in zip(frames, share, strict=True))
        parts.append(u / np.linalg.norm(u))
    return linear(np.concatenate(parts), w, "out")


@pytest.mark.parametrize(
    "options",
    [{}, {"n_saliency": 3, "scaled": False}, {"hidden_init": "constant"}, {"preset": "paper_literal"}],
    ids=str,
)
def test_cmn_matches_a_loop_over_frames_and_hidden_states(options):
    method, support, query = as_double(build("cmn", width=7, **options), *clips())
    with torch.no_grad():  # as after some training
        source = torch.Generator().manual_seed(0)
        method.out.weight += 0.1 * torch.randn(method.out.weight.shape, generator=source)
        method.out.bias += 0.1
    found, w = method(support, query).log_posterior.exp().detach().numpy(), weights(method)
    scale = math.exp(w["log_scale"]) / (7 if method.options.scaled else 1)
    for e in range(E):
        clips_of = [[embedding(support["rgb"][e, k, j].numpy(), w) for j in range(K)] for k in range(N)]
        prototypes = [np.mean(one, axis=0) for one in clips_of]
        for i in range(M_QUERY):
            q = embedding(query["rgb"][e, i].numpy(), w)
            expected = softmax(np.array([-scale * ((q - t) ** 2).sum() for t in prototypes]))
            np.testing.assert_allclose(found[e, i], expected, atol=1e-9)


def test_the_embedding_begins_as_the_sum_of_its_parts_each_of_length_one():
    method = build("cmn", width=7, n_saliency=1)
    vectors = method.embed({"rgb": clips()[1]["rgb"].flatten(0, 1)})["rgb"]
    np.testing.assert_allclose(vectors.detach().norm(dim=-1), 1, atol=1e-5)
    constant = build("cmn", width=7, hidden_init="constant")
    vectors = constant.embed({"rgb": clips()[1]["rgb"].flatten(0, 1)})["rgb"]
    np.testing.assert_allclose(vectors.detach().norm(dim=-1), 8, atol=1e-4)  # eight equal parts


@pytest.mark.parametrize(("hidden_init", "equal"), [("constant", True), ("normal", False)])
def test_hidden_states_that_begin_equal_stay_equal_in_training(hidden_init, equal):
    method = new_method("cmn", width=6, hidden_init=hidden_init)
    before = method.hidden.detach().clone()
    train(method, toy_table(), replace(QUICK, steps=12, validate_every=12), seed=0)
    assert (method.hidden.detach() - before).abs().max() > 1e-3
    spread = (method.hidden - method.hidden[:1]).abs().max().item()
    assert (spread < 1e-5) if equal else (spread > 1e-2)


def test_the_order_of_frames_does_not_matter():
    method, (support, query) = build("cmn"), clips()
    backwards = {m: x.flip(-3) for m, x in query.items()}
    a, b = method(support, query).log_posterior, method(support, backwards).log_posterior
    np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)


def test_the_last_layer_on_raw_resnet_features_would_have_33_6_million_weights():
    with torch.device("meta"):
        options = {"projection": False, "learn_temperature": False}
        weight = build_method("cmn", dims={"rgb": 2048}, options=options, generator=torch.Generator("cpu")).out.weight
    assert weight.numel() == 8 * 2048 * 2048
