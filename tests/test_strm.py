"""STRM, and the tuples that it shares with TRX.

Tolerances: 1e-9 between the batched code in float64 and loops; 1e-5 where sums run in another order in float32; exact
where both sides run the same operations.
"""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from toy_episodes import (
    DIMS,
    TARGET,
    D,
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
    loss_of,
    mlp,
    positions,
    softmax,
    weights,
)
from toy_tables import QUICK, toy_table

from amfir_lib.errors import BadParameter, ShapeError
from amfir_lib.methods import METHODS, DataFacts, build_method, title_of
from amfir_lib.methods.layers import SeededDropout
from amfir_lib.methods.tuples import (
    TupleAttention,
    nearest_tuple_distances,
    project_tuples,
    tuple_distances,
    tuple_indices,
)
from amfir_lib.study.training import train

SMALL = {"width": 6, "tuple_width": 5, "n_segments": T}
VARIANTS = [
    {},
    {"cardinality": 3, "scaled": True, "logit_scale": 10.0},
    {"aux_head": "random"},
    {"preset": "paper_literal"},
    {"preset": "paper_literal", "projection": False},
]


def strm(name="strm", **options):
    return build(name, **{"n_patches": P} | SMALL | options)


def open_gate(method):
    """STRM whose patch attention takes part, as after some training."""
    with torch.no_grad():
        method.patch_level.gamma.fill_(0.7)
    return method


def reference_embedding(clip, w, *, cardinality):
    """(T, P, D) -> keys, values and auxiliary tuples, lists of vectors in the order of the tuples."""
    frames = []
    for patches in clip:
        if "norm.weight" in w:
            patches = [layer_norm(x, w, "norm") for x in patches]
        if "projection.weight" in w:
            patches = [linear(x, w, "projection") for x in patches]
        patches = np.array(patches)
        if "patch_level.gamma" in w:
            patches = patches + 0.1 * positions(*patches.shape)
            values = np.array([linear(x, w, "patch_level.value") for x in patches])
            enriched = []
            for x in patches:
                asked = linear(x, w, "patch_level.query")
                scores = np.array([asked @ linear(y, w, "patch_level.key") for y in patches])
                z = w["patch_level.gamma"] * (softmax(scores) @ values) + x
                enriched.append(z + mlp(z, w, "patch_level.mlp", (0, 2, 4)))
            patches = np.array(enriched)
        frames.append(patches.mean(0))
    frames = np.array(frames)
    tuples = list(itertools.combinations(range(len(frames)), cardinality))
    auxiliary = [np.maximum(linear(np.concatenate([frames[i] for i in one]), w, "aux_head"), 0) for one in tuples]
    mixed = frames + 0.1 * positions(*frames.shape)
    over_time = [mlp(mixed[:, channel], w, "frame_level.over_time", (0, 2)) for channel in range(mixed.shape[1])]
    mixed = mixed + np.array(over_time).T
    mixed = np.array([x + mlp(x, w, "frame_level.over_channels", (0, 2)) for x in mixed])
    joined = [np.concatenate([mixed[i] for i in one]) for one in tuples]
    keys = [layer_norm(linear(u, w, "attention.key"), w, "attention.key_norm") for u in joined]
    return keys, [linear(u, w, "attention.value") for u in joined], auxiliary


def reference_distances(query, supports):
    """One query and the supports of one class -> TRX distance and query-class distance."""
    keys, values, auxiliary = ([x for support in supports for x in support[part]] for part in range(3))
    attended = nearest = 0.0
    for key, value, own in zip(*query, strict=True):
        attention = softmax(np.array([key @ other for other in keys]) / np.sqrt(len(key)))
        answer = sum(a * v for a, v in zip(attention, values, strict=True))
        attended += ((value - answer) ** 2).sum()
        nearest += min(np.sqrt(((own - other) ** 2).sum()) for other in auxiliary)
    return attended / len(query[0]), nearest / len(query[0])


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("n_patches", [P, 1])
def test_strm_matches_loops_over_patches_frames_and_tuples(options, n_patches):
    method, support, query = as_double(strm(n_patches=n_patches, **options), *clips(n_patches=n_patches))
    if n_patches > 1:
        open_gate(method)
    output, w = method(support, query), weights(method)
    scale, cardinality = options.get("logit_scale", 1.0), options.get("cardinality", 2)

    def embed(clip):
        return reference_embedding(clip.numpy(), w, cardinality=cardinality)

    for e in range(E):
        supports = [[embed(support["rgb"][e, n, k]) for k in range(K)] for n in range(N)]
        for i in range(N * Q):
            found = [reference_distances(embed(query["rgb"][e, i]), own) for own in supports]
            main, nearest = np.array(found).T
            if options.get("scaled"):
                main, nearest = main / SMALL["tuple_width"], nearest / np.sqrt(3)
            expected = np.log(softmax(-scale * (main + 0.1 * nearest)))
            np.testing.assert_allclose(output.log_posterior[e, i].detach(), expected, atol=1e-9)
            np.testing.assert_allclose(output.attention[e, i].detach(), np.log(softmax(-scale * main)), atol=1e-9)
            np.testing.assert_allclose(output.auxiliary[e, i].detach(), np.log(softmax(-scale * nearest)), atol=1e-9)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_the_order_of_supports_does_not_matter(options):
    method, (support, query) = open_gate(strm(**options)).eval(), clips()
    shuffled = {m: x.flip(2) for m, x in support.items()}
    a, b = method(support, query).log_posterior, method(shuffled, query).log_posterior
    np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_a_query_is_classified_alone_whatever_the_other_queries_are(options):
    method, (support, query) = open_gate(strm(**options)).eval(), clips()
    other = {m: torch.cat([x[:, :2], clips(9)[1][m][:, 2:]], 1) for m, x in query.items()}
    a, b = method(support, query).log_posterior[:, :2], method(support, other).log_posterior[:, :2]
    np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)


@pytest.mark.parametrize("options", [o for o in VARIANTS if o.get("projection", True)], ids=str)
def test_a_gradient_reaches_every_parameter_once_the_gate_of_the_patch_attention_is_open(options):
    for parameter, gradient in gradients(open_gate(strm(**options)), *clips()).items():
        assert gradient is not None and gradient.abs().sum() > 1e-9, parameter


def test_at_the_start_only_the_gate_of_the_patch_attention_learns_and_its_layers_follow():
    method = strm()
    gated = {f"patch_level.{layer}.{part}" for layer in ("query", "value") for part in ("weight", "bias")}
    gated.add("patch_level.key.weight")
    for parameter, gradient in gradients(method, *clips()).items():
        assert (gradient.abs().sum() == 0) == (parameter in gated), parameter
    torch.optim.SGD(method.parameters(), lr=0.1).step()
    assert method.patch_level.gamma != 0
    assert all(gradient.abs().sum() > 0 for gradient in gradients(method, *clips()).values())


def test_the_loss_is_cross_entropy_plus_a_tenth_of_that_of_the_query_class_similarity():
    method, (support, query) = strm().eval(), clips()
    output = method(support, query)
    loss, terms = method.loss(output, TARGET)
    right = np.eye(N)[TARGET.numpy()] == 1
    main, auxiliary = (-x.detach().numpy()[right].mean() for x in (output.attention, output.auxiliary))
    assert loss.item() == pytest.approx(main + 0.1 * auxiliary, rel=1e-5)
    assert terms["ce"].item() == pytest.approx(main, rel=1e-5) and terms["gamma"] == 0
    assert not any(value.requires_grad or value.dim() for value in terms.values())


def test_a_random_auxiliary_head_stays_as_drawn_while_a_trained_one_moves():
    for kind, moves in (("random", False), ("trained", True)):
        method = strm(aux_head=kind)
        before = method.aux_head.weight.clone()
        optimiser = torch.optim.SGD(method.parameters(), lr=0.1, weight_decay=0.1)
        loss_of(method, *clips())[0].backward()
        optimiser.step()
        assert torch.equal(method.aux_head.weight, before) != moves


def test_order_in_time_matters_and_so_does_where_a_patch_is():
    method, (support, query) = open_gate(strm()).eval(), clips()
    given = method(support, query).log_posterior
    for axis in (-3, -2):
        assert not torch.allclose(given, method(support, {"rgb": query["rgb"].flip(axis)}).log_posterior)


def test_features_of_one_patch_make_it_strm_lite_in_name_and_in_parameters():
    assert [title_of(name, {"rgb": 1, "flow": 16}) for name in ("strm", "strm_f", "protonet")] == [
        "STRM-lite", "STRM-F", "ProtoNet",
    ]  # fmt: skip
    assert title_of("strm_ec", {"rgb": 1, "flow": 1}) == "STRM-EC-lite"
    lite = strm(n_patches=1)
    assert not [name for name, _ in lite.named_parameters() if name.startswith("patch_level")]
    for parameter, gradient in gradients(lite, *clips(n_patches=1)).items():
        assert gradient.abs().sum() > 0, parameter


def test_clips_of_other_patches_or_segments_than_the_method_was_built_for_are_refused():
    with pytest.raises(ShapeError, match=r'"rgb" have T = 4 segments of P = 3 patches, .* built for 4 of 1'):
        strm(n_patches=1)(*clips())
    with pytest.raises(ShapeError, match="Set n_segments to 4"):
        strm(n_segments=8)(*clips())


def test_what_strm_cannot_be_built_with_is_refused_by_name():
    with pytest.raises(BadParameter, match="cardinality is 5, but tuples of 4 frames have 1 to 4 places"):
        strm(cardinality=5)
    with pytest.raises(BadParameter, match="dropout is 1.0 but must be below 1"):
        strm(dropout=1)
    with pytest.raises(BadParameter, match=r'"strm" must know n_patches of the data set'):
        build_method("strm", dims=DIMS, generator=torch.Generator())
    with pytest.raises(BadParameter, match="Strm reads one modality, but 2 are given"):
        generator, n_patches = torch.Generator(), dict.fromkeys(DIMS, 1)
        METHODS["strm"].build(DIMS, METHODS["strm"].options(), generator=generator, n_patches=n_patches)


def test_strm_on_flow_is_the_same_code_on_the_other_modality():
    method, (support, query) = strm("strm_f").eval(), clips()
    assert method.modalities == ("flow",) and type(method) is type(strm())
    assert method({"flow": support["flow"]}, {"flow": query["flow"]}).log_posterior.shape == (E, N * Q, N)


def test_training_on_toy_clips_lowers_the_loss():
    facts = DataFacts(n_base_classes=6, n_patches={"rgb": 1, "flow": 1})
    options = {"width": 8, "tuple_width": 8, "n_segments": 3}
    method = build_method(
        "strm", dims={"rgb": 6, "flow": 5}, options=options, generator=torch.Generator().manual_seed(0), facts=facts
    )
    settings = type(QUICK)(**{**vars(QUICK), "steps": 40, "episodes_per_step": 4, "validate_every": 40})
    history = train(method, toy_table(noise=0.3), settings, seed=0).history
    assert history["loss"].tail(10).mean() < 0.8 * history["loss"].head(10).mean()


# tuples


def test_tuples_of_eight_frames_are_28_pairs_and_56_triples_in_time_order():
    assert (len(tuple_indices(8, 2)), len(tuple_indices(8, 3))) == (28, 56)
    assert tuple_indices(3, 2) == ((0, 1), (0, 2), (1, 2))
    with pytest.raises(BadParameter, match="cardinality is 4, but tuples of 3 frames"):
        tuple_indices(3, 4)


@pytest.mark.parametrize("cardinality", [1, 2, 3])
def test_projecting_frames_and_adding_equals_projecting_concatenated_frames(cardinality):
    source = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        layer = nn.Linear(cardinality * D, 5).double()
    frames = torch.randn(3, T, D, generator=source, dtype=torch.float64)
    joined = torch.stack([frames[:, list(one)].flatten(1) for one in itertools.combinations(range(T), cardinality)], 1)
    np.testing.assert_allclose(project_tuples(frames, layer, cardinality).detach(), layer(joined).detach(), atol=1e-12)
    with pytest.raises(ShapeError, match=f"the layer takes {cardinality * D}"):
        project_tuples(frames[..., 1:], layer, cardinality)


def test_a_query_that_equals_the_only_support_is_at_distance_zero_when_attention_is_sharp():
    with torch.random.fork_rng(devices=[]):
        attention = TupleAttention(D, 5, cardinality=2)
    frames = torch.randn(1, T, D, generator=torch.Generator().manual_seed(0))
    keys, values = attention(frames)
    keys = keys * 1e2  # the key of a tuple is nearest to itself: all keys have the same length
    distance = tuple_distances((keys[:, None, None], values[:, None, None]), (keys[:, None], values[:, None]))
    assert distance.item() == pytest.approx(0, abs=1e-6)


def plain_tuple_distances(support, query):
    """As the formula stands, with a gradient by autograd: the slow twin of ``tuple_distances``."""
    keys, values = (x.flatten(2, 3)[:, None] for x in support)  # (E, 1, N, S, d')
    own_keys, own_values = (x[:, :, None] for x in query)  # (E, M, 1, P, d')
    attention = (own_keys @ keys.mT / keys.shape[-1] ** 0.5).softmax(-1)
    return (own_values - attention @ values).square().sum(-1).mean(-1)


def plain_nearest_tuple_distances(support, query):
    """Every distance in full: the slow twin of ``nearest_tuple_distances``."""
    return torch.cdist(query[:, :, None], support.flatten(2, 3)[:, None]).amin(-1).mean(-1)


def random_tuples(*, dtype=torch.float64, length=1.0, shot=K):
    """Keys and values of supports and queries, which need a gradient."""
    source = torch.Generator().manual_seed(0)
    shapes = [(E, N, shot, 6, 5)] * 2 + [(E, N * Q, 6, 5)] * 2
    tensors = [torch.randn(shape, generator=source, dtype=dtype) for shape in shapes]
    return [(x * length if part % 2 == 0 else x).requires_grad_() for part, x in enumerate(tensors)]


@pytest.mark.parametrize("batch_mb", [1e-6, 3e-3, 64.0])
@pytest.mark.parametrize("length", [1.0, 30.0])  # of the keys: the longer ones need the shift of the exponent
def test_distances_and_gradients_equal_those_of_the_plain_formula_in_blocks_of_any_size(batch_mb, length):
    tensors = random_tuples(length=length)
    weights = torch.rand(E, N * Q, N, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = tuple_distances(tensors[:2], tensors[2:], batch_mb=batch_mb)
    expected = plain_tuple_distances(tensors[:2], tensors[2:])
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-12)
    pairs = zip(*(torch.autograd.grad(x, tensors, weights) for x in (found, expected)), strict=True)
    for own, other in pairs:
        np.testing.assert_allclose(own, other, atol=1e-11)


def test_no_key_is_so_long_that_a_distance_overflows_in_float32():
    tensors = random_tuples(dtype=torch.float32, length=1e3)
    found = tuple_distances(tensors[:2], tensors[2:])
    expected = plain_tuple_distances([x.double() for x in tensors[:2]], [x.double() for x in tensors[2:]])
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-3)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(found.sum(), tensors))


@pytest.mark.parametrize("batch_mb", [1e-6, 3e-3, 64.0])
def test_nearest_tuples_are_those_of_the_plain_formula_in_blocks_of_any_size(batch_mb):
    support, _, query, _ = random_tuples()
    found = nearest_tuple_distances(support, query, batch_mb=batch_mb)
    expected = plain_nearest_tuple_distances(support, query)
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-12)
    pairs = zip(*(torch.autograd.grad(x.square().sum(), (support, query)) for x in (found, expected)), strict=True)
    for own, other in pairs:
        np.testing.assert_allclose(own, other, atol=1e-11)


def test_the_nearest_tuple_of_a_query_that_a_class_holds_is_at_distance_zero_with_a_finite_gradient():
    support = torch.randn(1, 2, 1, 6, 5, generator=torch.Generator().manual_seed(0))
    query = support[:, 1].clone().requires_grad_()
    distance = nearest_tuple_distances(support, query)
    assert distance[0, 0, 1] == 0 and distance[0, 0, 0] > 0
    assert torch.autograd.grad(distance.sum(), query)[0].isfinite().all()


# dropout


def test_dropout_follows_from_its_seed_and_its_count_and_keeps_the_mean():
    ones = torch.ones(200, 100)
    first, second = (SeededDropout(0.2, seed=5) for _ in range(2))
    a, b = first(ones), first(ones)
    assert torch.equal(a, second(ones)) and not torch.equal(a, b)
    assert a.mean().item() == pytest.approx(1, abs=0.02) and set(a.unique().tolist()) == {0.0, 1.25}
    assert SeededDropout(0.2, seed=6)(torch.ones(7, 3)).shape == (7, 3)  # not a multiple of four
    resumed = SeededDropout(0.2, seed=5)
    resumed.load_state_dict(first.state_dict())
    assert torch.equal(resumed(ones), first(ones))
    assert torch.equal(first.eval()(ones), ones) and torch.equal(SeededDropout(0.0, seed=1)(ones), ones)
