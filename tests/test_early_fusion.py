"""Early fusion: two modalities as one stream, read by any unimodal method.

Tolerances: 1e-9 between the batched code in float64 and loops; 1e-5 where sums run in another order in float32; exact
where both sides run the same operations.
"""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_episodes import (
    DIMS,
    TARGET,
    E,
    K,
    N,
    P,
    Q,
    T,
    as_double,
    build,
    clips,
    gradients,
    layer_norm,
    linear,
    softmax,
    weights,
)
from toy_tables import QUICK, toy_table

from amfir_lib.errors import BadParameter
from amfir_lib.methods import METHODS, DataFacts, build_method
from amfir_lib.methods.early_fusion import align_time
from amfir_lib.study.training import train

NAMES = ["protonet_ec", "protonet_ea", "strm_ec"]
WIDTH = 4
SIZES = {"width": 6, "tuple_width": 5, "n_segments": T}
SMALL = {"width": 6, "n_segments": T, "early_width": WIDTH}
VARIANTS = [(name, layer) for name in NAMES for layer in (False, True)]


def fused(name, **options):
    extra = {"tuple_width": 5} if name == "strm_ec" else {}
    return build(name, **{"n_patches": P} | SMALL | extra | options)


def open_gate(method):
    if getattr(method.reader, "patch_level", None) is not None:
        method.reader.patch_level.gamma.data.fill_(0.7)
    return method


def reference_stream(clip, w, *, attend, layer):
    """modality -> (T, P, D) of one clip -> (T, P, width) joint stream, token by token."""
    projected = {}
    for m, tokens in clip.items():
        flat = tokens.reshape(-1, tokens.shape[-1])
        names = f"fusion.project.{m}"
        projected[m] = [linear(layer_norm(x, w, f"{names}.0"), w, f"{names}.1") for x in flat]
    first, second = projected["rgb"], projected["flow"]

    def enrich(own, other, m):
        result = []
        for x in own:
            query = linear(x, w, f"fusion.attend.{m}.query")
            scores = [query @ linear(y, w, f"fusion.attend.{m}.key") for y in other]
            attention = softmax(np.array(scores) / np.sqrt(WIDTH))
            values = [linear(y, w, f"fusion.attend.{m}.value") for y in other]
            result.append(x + sum(a * v for a, v in zip(attention, values, strict=True)))
        return result

    if attend:
        first, second = enrich(first, second, "rgb"), enrich(second, first, "flow")
    joint = [np.concatenate(pair) for pair in zip(first, second, strict=True)]
    if layer:
        joint = [np.maximum(linear(z, w, "fusion.layer.0"), 0) for z in joint]
    return np.array(joint).reshape(T, -1, len(joint[0]))


@pytest.mark.parametrize(("name", "layer"), VARIANTS)
def test_the_joint_stream_matches_loops_over_tokens_and_the_reader_gets_it(name, layer):
    method, support, query = as_double(fused(name, early_layer=layer), *clips())
    w = weights(method)

    def stream(side):
        lead = side["rgb"].shape[:-3]
        found = [
            reference_stream({m: x[i].numpy() for m, x in side.items()}, w, attend=name == "protonet_ea", layer=layer)
            for i in np.ndindex(*lead)
        ]
        return torch.from_numpy(np.array(found).reshape(*lead, *found[0].shape))

    joint = {"joint": stream(support)}, {"joint": stream(query)}
    flat = {m: x.flatten(0, 1) for m, x in query.items()}
    np.testing.assert_allclose(method.fusion(flat).detach(), joint[1]["joint"].flatten(0, 1), atol=1e-9)
    expected = method.reader(*joint).log_posterior  # the reader has a reference of its own
    np.testing.assert_allclose(method(support, query).log_posterior.detach(), expected.detach(), atol=1e-9)


@pytest.mark.parametrize(("name", "layer"), VARIANTS)
def test_supports_may_come_in_any_order_and_queries_do_not_touch_each_other(name, layer):
    method, (support, query) = open_gate(fused(name, early_layer=layer)).eval(), clips()
    given = method(support, query).log_posterior
    shuffled = method({m: x.flip(2) for m, x in support.items()}, query).log_posterior
    np.testing.assert_allclose(given.detach(), shuffled.detach(), atol=1e-5)
    other = {m: torch.cat([x[:, :2], clips(9)[1][m][:, 2:]], 1) for m, x in query.items()}
    np.testing.assert_allclose(given[:, :2].detach(), method(support, other).log_posterior[:, :2].detach(), atol=1e-5)


@pytest.mark.parametrize(("name", "layer"), VARIANTS)
def test_a_gradient_reaches_every_parameter(name, layer):
    for parameter, gradient in gradients(open_gate(fused(name, early_layer=layer)), *clips()).items():
        assert gradient is not None and gradient.abs().sum() > 1e-9, parameter


@pytest.mark.parametrize("name", NAMES)
def test_both_modalities_change_the_answer(name):
    method, (support, query) = fused(name).eval(), clips()
    given = method(support, query).log_posterior
    for m in DIMS:
        changed = query | {m: clips(9)[1][m]}
        assert not torch.allclose(given, method(support, changed).log_posterior, atol=1e-3)


def test_in_ea_the_values_of_one_modality_reach_the_channels_of_the_other_and_in_ec_they_do_not():
    _, query = clips()
    flat = {m: x.flatten(0, 1) for m, x in query.items()}
    other = flat | {"flow": flat["flow"].roll(1, dims=0)}
    for name, reached in (("protonet_ec", False), ("protonet_ea", True)):
        stream = fused(name).fusion
        assert torch.equal(stream(flat)[..., :WIDTH], stream(other)[..., :WIDTH]) != reached


@pytest.mark.parametrize("name", NAMES)
def test_embedding_clips_once_and_gathering_them_equals_the_direct_path(name):
    method, (support, query) = fused(name).eval(), clips()
    expected = method(support, query).log_posterior
    bank = method.embed({m: torch.cat([support[m].flatten(0, 2), query[m].flatten(0, 1)]) for m in DIMS})
    rows = torch.arange(E * N * K).reshape(E, N, K), E * N * K + torch.arange(E * N * Q).reshape(E, N * Q)
    found = method.compare({m: x[rows[0]] for m, x in bank.items()}, {m: x[rows[1]] for m, x in bank.items()})
    np.testing.assert_allclose(found.log_posterior.detach(), expected.detach(), atol=1e-5)


def test_flow_of_fewer_instants_is_interpolated_linearly_to_those_of_the_first_modality():
    line = torch.arange(2.0).reshape(1, 2, 1, 1).expand(1, 2, P, 5)
    np.testing.assert_allclose(align_time(line, 4)[0, :, 0, 0], [0, 0.25, 0.75, 1])  # instants are centres of segments
    assert align_time(line, 2) is line
    support, query = clips()
    short = [{"rgb": side["rgb"], "flow": side["flow"][..., :2, :, :]} for side in (support, query)]
    assert fused("protonet_ec")(*short).log_posterior.shape == (E, N * Q, N)


def test_loss_and_options_are_those_of_the_unimodal_method():
    method, (support, query) = fused("strm_ec", aux_weight=0.5).eval(), clips()
    output = method(support, query)
    loss, terms = method.loss(output, TARGET)
    assert loss.item() == pytest.approx((terms["ce"] + 0.5 * terms["aux_ce"]).item())
    assert METHODS["strm_ec"].build.uses_patches and not METHODS["protonet_ec"].build.uses_patches
    assert fused("protonet_ea", metric="cosine").reader.heads["joint"].options.metric == "cosine"


def test_rows_whose_name_the_paper_does_not_define_say_so():
    assert all(METHODS[name].note == "our reading" for name in NAMES)


def test_modalities_that_cannot_be_joined_are_refused():
    generator = torch.Generator()
    with pytest.raises(BadParameter, match="frames have 16 of rgb, 4 of flow"):
        facts = DataFacts(n_base_classes=5, n_patches={"rgb": 16, "flow": 4})
        build_method("strm_ec", dims=DIMS, generator=generator, facts=facts)
    with pytest.raises(BadParameter, match="early fusion joins two modalities, but 3 are given"):
        build_method("protonet_ec", dims=DIMS | {"depth": 4}, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_training_on_toy_clips_lowers_the_loss(name):
    options = {"width": 8, "early_width": 4, "n_segments": 3} | ({"tuple_width": 8} if name == "strm_ec" else {})
    facts = DataFacts(n_base_classes=6, n_patches={"rgb": 1, "flow": 1})
    method = build_method(
        name, dims={"rgb": 6, "flow": 5}, options=options, generator=torch.Generator().manual_seed(0), facts=facts
    )
    settings = replace(QUICK, steps=60, episodes_per_step=4, validate_every=60)
    history = train(method, toy_table(noise=0.3), settings, seed=0).history
    assert history["loss"].tail(10).mean() < 0.8 * history["loss"].head(10).mean()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["hyrsm", "strm", "strm_f", *NAMES])
def test_cuda_gives_the_posteriors_and_gradients_of_the_cpu_dropout_included(name):
    sizes = {"hyrsm": {"width": 8}, "strm": SIZES, "strm_f": SIZES}
    method, (support, query) = build(name, **sizes[name]) if name in sizes else fused(name), clips()
    there, on_cpu = copy.deepcopy(method).to("cuda"), gradients(method, support, query)
    support, query = ({m: x.cuda() for m, x in side.items()} for side in (support, query))
    for parameter, gradient in gradients(there, support, query, device="cuda").items():
        np.testing.assert_allclose(gradient.cpu(), on_cpu[parameter], atol=1e-4, err_msg=parameter)
