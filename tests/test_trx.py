"""TRX: cross-attention between tuples.  Tuples, their projection and blocks of memory are tested with STRM.

Tolerances: 1e-9 between the batched code in float64 and loops; 1e-5 where sums run in another order in float32.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_episodes import (
    M_QUERY,
    E,
    K,
    N,
    as_double,
    build,
    clips,
    front,
    gradients,
    layer_norm,
    linear,
    positions,
    softmax,
    weights,
)  # fmt: skip
from toy_tables import QUICK, new_method, toy_table

from amfir_lib.errors import BadParameter
from amfir_lib.methods import build_method
from amfir_lib.study.training import train

SMALL = {"width": 7, "tuple_width": 5}
PUBLISHED = {"scaled": False, "logit_scale": 1.0, "learn_temperature": False}


def reference_distance(query, supports, w, cardinality):
    """Of one query to one class: frames (T, d) of clips, tuples in the order of itertools, loops over tuples."""
    name = f"tuples.{cardinality}"

    def tuples_of(clip):
        return [np.concatenate(one) for one in itertools.combinations(clip, cardinality)]

    def key(u):
        return layer_norm(linear(u, w, f"{name}.key"), w, f"{name}.key_norm")

    class_tuples = [u for clip in supports for u in tuples_of(clip)]
    keys, values = [key(u) for u in class_tuples], [linear(u, w, f"{name}.value") for u in class_tuples]
    total, own = 0.0, tuples_of(query)
    for u in own:
        attention = softmax(np.array([key(u) @ k / math.sqrt(len(k)) for k in keys]))
        prototype = sum(a * v for a, v in zip(attention, values, strict=True))
        total += ((linear(u, w, f"{name}.value") - prototype) ** 2).sum()
    return total / len(own)


@pytest.mark.parametrize(
    "options",
    [{}, {"cardinalities": "2"}, {"cardinalities": "3"}, PUBLISHED, PUBLISHED | {"projection": False}],
    ids=str,
)
def test_trx_matches_a_loop_over_tuples(options):
    method, support, query = as_double(build("trx", **SMALL | options), *clips())
    found, w = method(support, query).log_posterior.exp().detach().numpy(), weights(method)
    scale = math.exp(w["log_scale"]) / (5 if method.options.scaled else 1)

    def placed(clip):
        frames = np.array(front(clip, w))
        return frames + 0.1 * positions(*frames.shape)

    for e in range(E):
        supports = [[placed(support["rgb"][e, k, j].numpy()) for j in range(K)] for k in range(N)]
        for i in range(M_QUERY):
            q = placed(query["rgb"][e, i].numpy())
            each = [
                np.mean([reference_distance(q, one, w, int(c)) for c in method.options.cardinalities.split("+")])
                for one in supports
            ]
            np.testing.assert_allclose(found[e, i], softmax(-scale * np.array(each)), atol=1e-9)


@pytest.mark.parametrize("batch_mb", [1e-6, 0.01, 1e3])
def test_pieces_of_any_size_give_the_same_posteriors_and_gradients(batch_mb):
    whole, pieces = build("trx", **SMALL, dropout=0.0), build("trx", **SMALL, dropout=0.0)
    pieces.batch_mb = batch_mb
    a, b = (method(*clips()).log_posterior.detach() for method in (whole, pieces))
    np.testing.assert_allclose(a, b, atol=1e-5)
    expected = gradients(whole, *clips())
    for name, gradient in gradients(pieces, *clips()).items():
        np.testing.assert_allclose(gradient, expected[name], atol=1e-5, err_msg=name)


def test_all_supports_of_a_class_share_one_softmax():
    method, (support, query) = build("trx", **SMALL, **PUBLISHED).eval(), clips()
    alone = [method({"rgb": support["rgb"][:, :, j : j + 1]}, query).distances["rgb"] for j in range(K)]
    together = method(support, query).distances["rgb"]
    assert not torch.allclose(together, torch.stack(alone).mean(0), atol=1e-3)
    twice = method({"rgb": support["rgb"][:, :, :1].repeat(1, 1, 3, 1, 1, 1)}, query).distances["rgb"]
    np.testing.assert_allclose(twice.detach(), alone[0].detach(), atol=1e-5)  # copies change nothing


def test_a_query_whose_tuples_a_class_holds_is_nearest_to_it():
    method, (support, query) = build("trx", **SMALL).eval(), clips(n_shot=1)
    query = {"rgb": support["rgb"][:, :, 0]}
    assert (method(support, query).log_posterior.argmax(-1) == torch.arange(N)).all()


def test_order_in_time_matters():
    method, (support, query) = build("trx", **SMALL).eval(), clips()
    backwards = {m: x.flip(-3) for m, x in query.items()}
    assert not torch.allclose(method(support, query).log_posterior, method(support, backwards).log_posterior, atol=1e-4)


def test_trx_on_flow_is_the_same_code_on_the_other_modality():
    method, (support, query) = build("trx_f", **SMALL).eval(), clips()
    assert method.modalities == ("flow",)
    other = {m: torch.zeros_like(x) if m == "rgb" else x for m, x in query.items()}
    assert torch.equal(method(support, query).log_posterior, method(support, other).log_posterior)


def test_dropout_acts_in_training_alone_and_each_step_draws_anew():
    method, sides = build("trx", **SMALL, dropout=0.5), clips()
    first, second = (method(*sides).log_posterior for _ in range(2))
    assert not torch.allclose(first, second)
    method.eval()
    assert torch.equal(method(*sides).log_posterior, method(*sides).log_posterior)


def test_an_interrupted_training_resumes_with_the_same_dropout(tmp_path):
    settings = replace(QUICK, steps=6, validate_every=3)
    table, checkpoint = toy_table(), tmp_path / "checkpoint.pt"
    whole = train(new_method("trx", width=5, tuple_width=4), table, settings, seed=0)

    method = new_method("trx", width=5, tuple_width=4)
    loss, calls = method.loss, itertools.count()

    def interrupted(output, target):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return loss(output, target)

    method.loss = interrupted
    with pytest.raises(KeyboardInterrupt):
        train(method, table, settings, seed=0, checkpoint=checkpoint)
    resumed = train(new_method("trx", width=5, tuple_width=4), table, settings, seed=0, checkpoint=checkpoint)
    assert resumed.history["loss"].tolist() == whole.history["loss"].tolist()


def test_the_published_size_has_9_4_and_14_2_million_weights_in_keys_and_values():
    options = {"projection": False, "tuple_width": 1152, "learn_temperature": False}
    with torch.device("meta"):
        method = build_method("trx", dims={"rgb": 2048}, options=options, generator=torch.Generator("cpu"))
    counts = [
        sum(p.numel() for p in [*one.key.parameters(), *one.value.parameters()]) for one in method.tuples.values()
    ]
    assert [round(count / 1e6, 1) for count in counts] == [9.4, 14.2]


def test_tuples_of_more_frames_than_a_clip_has_are_refused():
    method, (support, query) = build("trx", **SMALL), clips()
    short = [{m: x[..., :2, :, :] for m, x in side.items()} for side in (support, query)]
    with pytest.raises(BadParameter, match="cardinality is 3, but tuples of 2 frames have 1 to 2 places"):
        method(*short)
