"""Matching Net: attention on supports, and full-context embeddings.

Tolerances: 1e-9 between the batched code in float64 and loops; 1e-4 where float32 is compared with worked numbers.
"""

import math

import numpy as np
import pytest
import torch
from toy_episodes import M_QUERY, E, K, N, T, as_double, build, clips, front, weights

from amfir_lib.errors import ShapeError
from amfir_lib.methods.matching_net import FullContext


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(x, hidden, cell, w, name, suffix):
    """One step of an LSTM from its equations: input, forget, cell and output gates."""
    gates = w[f"{name}.weight_ih{suffix}"] @ x + w[f"{name}.bias_ih{suffix}"]
    gates = gates + w[f"{name}.weight_hh{suffix}"] @ hidden + w[f"{name}.bias_hh{suffix}"]
    take, forget, new, out = np.split(gates, 4)
    cell = sigmoid(forget) * cell + sigmoid(take) * np.tanh(new)
    return sigmoid(out) * np.tanh(cell), cell


def with_context(supports, queries, w):
    """Lists of vectors -> lists of vectors in full context."""
    zero = np.zeros_like(supports[0])
    contexts = []
    for suffix, order in (("_l0", range(len(supports))), ("_l0_reverse", reversed(range(len(supports))))):
        hidden, cell, states = zero, zero, {}
        for j in order:
            hidden, cell = lstm_step(supports[j], hidden, cell, w, "context.supports", suffix)
            states[j] = hidden
        contexts.append(states)
    supports = [x + contexts[0][j] + contexts[1][j] for j, x in enumerate(supports)]
    found = []
    for q in queries:
        hidden, cell = q, zero
        for _ in supports:
            energy = np.exp([hidden @ x for x in supports])
            read = sum(a * x for a, x in zip(energy / energy.sum(), supports, strict=True))
            hidden, cell = lstm_step(np.concatenate([q, read]), hidden, cell, w, "context.query", "")
            hidden = hidden + q
        found.append(hidden)
    return supports, found


@pytest.mark.parametrize("options", [{}, {"pooling": "mean"}, {"fce": True}, {"fce": True, "pooling": "mean"}], ids=str)
def test_matching_net_matches_a_loop_over_queries_and_supports(options):
    method, support, query = as_double(build("matchingnet", width=7, n_segments=T, **options), *clips())
    found, w = method(support, query).log_posterior.exp().detach().numpy(), weights(method)

    def vector(clip):
        frames = front(clip, w)
        return np.mean(frames, axis=0) if method.options.pooling == "mean" else np.concatenate(frames)

    for e in range(E):
        supports = [vector(support["rgb"][e, k, j].numpy()) for k in range(N) for j in range(K)]
        queries = [vector(query["rgb"][e, i].numpy()) for i in range(M_QUERY)]
        if options.get("fce"):
            supports, queries = with_context(supports, queries, w)
        for i, q in enumerate(queries):
            cosines = [q @ x / (np.linalg.norm(q) * np.linalg.norm(x)) for x in supports]
            energy = np.exp(math.exp(w["log_scale"]) * np.array(cosines))
            expected = [sum(energy[k * K : (k + 1) * K]) / sum(energy) for k in range(N)]
            np.testing.assert_allclose(found[e, i], expected, atol=1e-9)


def test_the_worked_example():
    """Two classes; the query equals one support of the first, and is at right angles to the other three supports.

    Attention at logit scale ln 9: 9 on one support and 1 on each of three, so p = (10/12, 2/12).
    """
    method = build("matchingnet", layer_norm=False, projection=False, logit_scale=math.log(9))
    one, other = torch.eye(6)[0], torch.eye(6)[1]
    supports = torch.stack((torch.stack((one, other)), torch.stack((other, other))))  # (N, K, d)
    answer = method.compare({"rgb": supports[None]}, {"rgb": one[None, None]})
    np.testing.assert_allclose(answer.log_posterior.exp().detach()[0, 0], [10 / 12, 2 / 12], atol=1e-4)


def test_full_context_reads_the_supports_as_a_sequence_so_their_order_matters():
    method, (support, query) = build("matchingnet", width=7, n_segments=T, fce=True), clips()
    shuffled = {m: x.flip(2) for m, x in support.items()}
    assert not torch.allclose(method(support, query).log_posterior, method(shuffled, query).log_posterior, atol=1e-5)


def test_a_context_keeps_shapes_and_lets_each_query_read_as_often_as_there_are_supports(monkeypatch):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        context = FullContext(4)
    calls, cell = [], context.query.forward
    monkeypatch.setattr(context.query, "forward", lambda *given: calls.append(1) or cell(*given))
    supports, queries = context(torch.ones(2, 3, 2, 4), torch.ones(2, 5, 4))
    assert supports.shape == (2, 3, 2, 4) and queries.shape == (2, 5, 4) and len(calls) == 3 * 2


def test_order_in_time_matters_only_where_it_is_kept():
    support, query = clips()
    backwards = {m: x.flip(-3) for m, x in query.items()}
    for pooling, same in (("mean", True), ("time", False)):
        method = build("matchingnet", pooling=pooling)
        a, b = method(support, query).log_posterior, method(support, backwards).log_posterior
        assert torch.allclose(a, b, atol=1e-5) == same


def test_contexts_that_were_built_for_another_number_of_segments_are_refused():
    with pytest.raises(ShapeError, match=f"clips have T = {T} segments but the contexts were built for 8. Set n_seg"):
        build("matchingnet", fce=True)(*clips())
