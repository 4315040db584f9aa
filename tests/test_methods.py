"""Methods: heads, prototype networks, late fusion, AMFAR, AMFIR, and their registry (Eq. 9-11).

Tolerances: exact where both sides run the same operations; 1e-5 where sums run in another order in float32; 1e-3
between float32 and float64 log-posteriors, whose distances are multiplied by a logit scale of 10.
"""

import copy
import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from amfir_lib.errors import BadParameter, ShapeError, UnknownName, UnknownParameter
from amfir_lib.inference import SCORES
from amfir_lib.methods import METHODS as ALL_METHODS
from amfir_lib.methods import PRESETS, build_method, resolve_options
from amfir_lib.methods.base import cross_entropy
from amfir_lib.methods.protonet import StreamMethod

E, N, K, Q, T, P, D = 2, 3, 2, 2, 4, 2, 6
DIMS = {"rgb": D, "flow": D}
SMALL = {"width": 5, "n_segments": T}
TARGET = torch.arange(N).repeat_interleave(Q).expand(E, N * Q)
METHODS = [
    name for name, spec in ALL_METHODS.items()
    if all(issubclass(ALL_METHODS[part].build, StreamMethod) for part in spec.parts or (name,))
]  # fmt: skip
HEADS = [
    {},
    {"pooling": "mean"},
    {"enhancer": "fle"},
    {"enhancer": "transformer", "pooling": "time"},
    {"prototype": "trx"},
    {"prototype": "trx", "pooling": "time", "enhancer": "fle"},
    {"metric": "cosine"},
    {"metric": "sqeuclidean"},
    {"preset": "paper_literal"},
    {"preset": "paper_literal", "projection": False, "pooling": "time"},
]
TRAINABLE = [options for options in HEADS if options.get("projection", True)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def build(name="amfir", *, dims=DIMS, seed=0, **options):
    return build_method(name, dims=dims, options={**SMALL, **options}, generator=generator(seed))


def clips(seed=0, scale=1.0, modalities=DIMS):
    """Support and query features whose classes are told apart by their mean, a little better in rgb."""
    support, query = {}, {}
    for number, m in enumerate(sorted(modalities)):
        source = generator(10 * seed + number)
        centre = torch.randn(E, N, 1, 1, 1, D, generator=source) * (1 + 0.1 * number)
        support[m] = (centre + torch.randn(E, N, K, T, P, D, generator=source)) * scale
        query[m] = ((centre + torch.randn(E, N, Q, T, P, D, generator=source)) * scale).flatten(1, 2)
    return support, query


def gradients(method, support, query, target=TARGET):
    method.zero_grad()
    loss, _ = method.loss(method(support, query), target)
    loss.backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in method.named_parameters()}


def assert_equal_tensors(found, expected):
    assert set(found) == set(expected)
    for name in found:
        assert torch.equal(found[name], expected[name]), name


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("options", HEADS, ids=str)
def test_output_has_the_stated_shapes_and_is_a_distribution(name, options):
    method = build(name, **options)
    output = method(*clips())
    assert output.log_posterior.shape == (E, N * Q, N)
    for log_p in (output.log_posterior, *output.modality_log_posteriors.values()):
        np.testing.assert_allclose(log_p.detach().exp().sum(-1), 1, atol=1e-5)
    assert tuple(output.modality_log_posteriors) == (method.modalities if len(method.modalities) > 1 else ())
    assert all(psi.shape == (E, N * Q, N) for psi in output.distances.values())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("options", HEADS, ids=str)
def test_the_order_of_supports_does_not_matter(name, options):
    method, (support, query) = build(name, **options), clips()
    shuffled = {m: x.flip(2) for m, x in support.items()}
    a, b = method(support, query).log_posterior, method(shuffled, query).log_posterior
    np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("options", HEADS, ids=str)
def test_a_query_is_classified_alone_whatever_the_other_queries_are(name, options):
    method, (support, query) = build(name, **options), clips()
    other = {m: torch.cat([x[:, :2], torch.randn(x[:, 2:].shape, generator=generator(9))], 1) for m, x in query.items()}
    a, b = method(support, query).log_posterior[:, :2], method(support, other).log_posterior[:, :2]
    np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)


@pytest.mark.parametrize("options", HEADS, ids=str)
def test_episodes_of_a_batch_do_not_touch_each_other(options):
    method, (support, query) = build(**options), clips()
    alone = method({m: x[:1] for m, x in support.items()}, {m: x[:1] for m, x in query.items()}).log_posterior
    np.testing.assert_allclose(alone[0].detach(), method(support, query).log_posterior[0].detach(), atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_embedding_clips_once_and_gathering_them_equals_the_direct_path(name):
    method, (support, query) = build(name), clips()
    expected = method(support, query)
    bank = method.embed({m: torch.cat([support[m].flatten(0, 2), query[m].flatten(0, 1)]) for m in method.modalities})
    rows = torch.arange(E * N * K).reshape(E, N, K), E * N * K + torch.arange(E * N * Q).reshape(E, N * Q)
    found = method.compare(*({name: x[part] for name, x in bank.items()} for part in rows))
    np.testing.assert_allclose(found.log_posterior.detach(), expected.log_posterior.detach(), atol=1e-5)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "nearest_mean"])
@pytest.mark.parametrize("options", TRAINABLE, ids=str)
def test_a_gradient_reaches_every_parameter(name, options):
    method = build(name, **options)
    for parameter, gradient in gradients(method, *clips()).items():
        assert gradient is not None and gradient.abs().sum() > 0, parameter


@pytest.mark.parametrize("options", HEADS, ids=str)
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e6])
def test_loss_and_gradients_are_finite_at_every_scale_and_when_all_clips_are_zero(options, scale):
    method = build(kd_direction="js", ami_weight="free_energy", **options)
    support, query = clips(scale=scale)
    features = [x.requires_grad_() for side in (support, query) for x in side.values()]  # as when a backbone is trained
    loss, terms = method.loss(method(support, query), TARGET)
    loss.backward()
    assert all(value.isfinite() for value in (loss, *terms.values()))
    assert all(x.grad.isfinite().all() for x in (*features, *method.parameters()))


def test_a_query_at_distance_zero_from_its_prototype_has_finite_gradients():
    support = {m: x[:, :, :1] for m, x in clips()[0].items()}  # one shot: a query equal to it is the prototype
    query = {m: x[:, :, 0].repeat_interleave(Q, 1) for m, x in support.items()}
    assert all(g.isfinite().all() for g in gradients(build(), support, query).values())


@pytest.mark.parametrize("options", [o for o in HEADS if "paper_literal" not in o.values()], ids=str)
def test_float32_agrees_with_float64(options):
    method, (support, query) = build(**options), clips()
    double = [{m: x.double() for m, x in side.items()} for side in (support, query)]
    exact = copy.deepcopy(method).double()(*double).log_posterior
    assert exact.dtype == torch.float64
    np.testing.assert_allclose(method(support, query).log_posterior.detach(), exact.detach(), atol=1e-3)


def test_half_precision_features_are_computed_in_float32():
    support, query = ({m: x.half() for m, x in side.items()} for side in clips())
    assert build()(support, query).log_posterior.dtype == torch.float32


def test_prototype_network_matches_a_loop_over_queries():
    method, (support, query) = build("protonet", pooling="time"), clips()
    head = method.heads["rgb"]
    weight, bias = (x.detach().numpy() for x in (head.projection.weight, head.projection.bias))

    def embed(clip):  # (T, P, D)
        spread = np.sqrt(clip.var(-1, keepdims=True) + 1e-5)
        return (((clip - clip.mean(-1, keepdims=True)) / spread).mean(1) @ weight.T + bias).ravel()

    s, q = support["rgb"].double().numpy(), query["rgb"].double().numpy()
    found = method(support, query).log_posterior.exp().detach().numpy()
    for e in range(E):
        prototypes = [np.mean([embed(s[e, k, j]) for j in range(K)], axis=0) for k in range(N)]
        for i in range(N * Q):
            energy = np.exp([-10 * np.linalg.norm(embed(q[e, i]) - t) / np.sqrt(T * 5) for t in prototypes])
            np.testing.assert_allclose(found[e, i], energy / energy.sum(), atol=1e-5)


def test_query_specific_prototypes_match_a_loop_over_query_frames():
    method, (support, query) = build("protonet", prototype="trx", pooling="time"), clips()
    s, q = (method.embed({"rgb": x["rgb"].flatten(0, -4)})["rgb"].detach().double() for x in (support, query))
    s, q = s.reshape(E, N, K, 2, T, 5).numpy(), q.reshape(E, N * Q, 2, T, 5).numpy()
    found = method(support, query).distances["rgb"].detach().numpy()
    for e in range(E):
        for i in range(N * Q):
            for k in range(N):
                keys, values = s[e, k, :, 0].reshape(K * T, 5), s[e, k, :, 1].reshape(K * T, 5)
                squared = 0.0
                for t in range(T):
                    attention = np.exp(keys @ q[e, i, 0, t] / np.sqrt(5))
                    squared += ((q[e, i, 1, t] - attention @ values / attention.sum()) ** 2).sum()
                assert found[e, i, k] == pytest.approx(10 * np.sqrt(squared / (T * 5)), abs=1e-4)


def test_order_in_time_matters_only_where_it_is_kept():
    support, query = clips()
    backwards = {m: x.flip(-3) for m, x in query.items()}
    for options in ({"pooling": "time"}, {"enhancer": "fle"}, {"enhancer": "transformer"}, {"prototype": "trx"}):
        method = build("protonet", **options)
        assert not torch.allclose(method(support, query).log_posterior, method(support, backwards).log_posterior)
    method = build("protonet", pooling="mean")
    assert torch.allclose(method(support, query).log_posterior, method(support, backwards).log_posterior, atol=1e-5)


def test_the_paper_literal_preset_is_equation_2_on_bare_features():
    support, query = clips()
    found = build("protonet", preset="paper_literal", projection=False, pooling="mean")(support, query).log_posterior
    prototypes, vectors = support["rgb"].mean((2, 3, 4)), query["rgb"].mean((2, 3))
    psi = (vectors.unsqueeze(2) - prototypes.unsqueeze(1)).norm(dim=-1)
    np.testing.assert_allclose(found, torch.log_softmax(-psi, -1), atol=1e-5)


def test_nearest_mean_takes_the_nearest_class_mean_of_both_streams_and_learns_nothing():
    support, query = clips()
    method = build_method("nearest_mean", dims=DIMS, generator=generator())
    assert not list(method.parameters())
    found = method(support, query).log_posterior.argmax(-1)
    for e in range(E):
        for i in range(N * Q):
            similarity = np.zeros(N)
            for m in DIMS:
                vector = query[m][e, i].mean(1).flatten()  # (T * D,)
                for k in range(N):
                    mean = support[m][e, k].mean((0, 2)).flatten()
                    similarity[k] += vector @ mean / (vector.norm() * mean.norm())
            assert found[e, i] == similarity.argmax()


def test_cross_entropy_of_the_worked_example():
    log_p = torch.tensor([[[0.8, 0.2], [0.4, 0.6]]]).log()
    target = torch.tensor([[0, 1]])
    assert cross_entropy(log_p, target).item() == pytest.approx(0.3670, abs=2e-4)
    assert cross_entropy(log_p, target, ce_reduction="sum").item() == pytest.approx(0.7340, abs=2e-4)


def test_the_loss_is_cross_entropy_plus_lambda_times_distillation_both_ways():
    method, (support, query) = build(kd_lambda=0.7), clips()
    loss, terms = method.loss(method(support, query), TARGET)
    supervision = terms["ce_rgb"] + terms["ce_flow"]
    taught = terms["kd_rgb_to_flow"] + terms["kd_flow_to_rgb"]
    assert taught > 0 and loss.item() == pytest.approx((supervision + 0.7 * taught).item(), rel=1e-6)


def test_the_logged_terms_match_a_loop_over_queries():
    method, (support, query) = build(), clips()
    output = method(support, query)
    _, terms = method.loss(output, TARGET)
    p = {m: log_p.detach().exp().numpy() for m, log_p in output.modality_log_posteriors.items()}
    taught, in_rgb = [], []
    for e in range(E):
        above = below = 0.0
        for i in range(N * Q):
            r, f = p["rgb"][e, i], p["flow"][e, i]
            in_rgb.append(np.log(r).mean() < np.log(f).mean())
            if in_rgb[-1]:
                above, below = above + r.max() * (r * np.log(r / f)).sum(), below + r.max()
        taught.append(above / below if below else 0.0)
    right = p["rgb"].argmax(-1) == TARGET.numpy()
    assert terms["kd_rgb_to_flow"].item() == pytest.approx(np.mean(taught), abs=1e-5)
    assert terms["group_rgb"].item() == pytest.approx(np.mean(in_rgb))
    assert terms["group_rgb"] + terms["group_flow"] == 1
    assert terms["free_energy_rgb"].item() == pytest.approx(np.log(p["rgb"]).mean(), abs=1e-5)
    assert terms["accuracy_rgb"].item() == pytest.approx(right.mean())
    assert not any(value.requires_grad or value.dim() for value in terms.values())


@pytest.mark.parametrize("options", TRAINABLE, ids=str)
def test_lambda_zero_equals_two_independent_prototype_networks(options):
    support, query = clips()
    alone = {}
    for name in ("protonet", "protonet_f"):
        alone |= gradients(build(name, **options), support, query)
    assert_equal_tensors(gradients(build("amfir", kd_lambda=0.0, **options), support, query), alone)


def test_late_fusion_trains_exactly_as_two_prototype_networks_trained_apart():
    methods = {name: build(name) for name in ("protonet", "protonet_f", "protonet_lf")}
    for method in methods.values():
        optimiser = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
        for step in range(5):
            optimiser.zero_grad()
            loss, _ = method.loss(method(*clips(step)), TARGET)
            loss.backward()
            optimiser.step()
    fused = methods.pop("protonet_lf").state_dict()
    apart = {f"parts.{n}.{key}": x for n, method in methods.items() for key, x in method.state_dict().items()}
    assert_equal_tensors(fused, apart)


def test_late_fusion_is_the_mean_of_posteriors_or_the_sum_of_logits():
    support, query = clips()
    parts = {m: build(n)(support, query) for m, n in (("rgb", "protonet"), ("flow", "protonet_f"))}
    mean = sum(x.log_posterior.exp() for x in parts.values()) / 2
    found = build("protonet_lf")(support, query).log_posterior
    np.testing.assert_allclose(found.exp().detach(), mean.detach(), atol=1e-6)
    logits = -sum(x.distances[m] for m, x in parts.items())
    found = build("protonet_lf", late_fusion="logit_sum")(support, query).log_posterior
    np.testing.assert_allclose(found.detach(), torch.log_softmax(logits, -1).detach(), atol=1e-5)


@pytest.mark.parametrize("name", ["protonet_lf", "amfar", "amfir"])
def test_swapping_the_modalities_swaps_the_groups_and_leaves_fusion_and_loss_unchanged(name):
    support, query = clips()
    a, b = build(name), build(name, dims={"flow": D, "rgb": D})
    first, second = a(support, query), b(support, query)
    assert torch.equal(first.log_posterior, second.log_posterior)
    assert a.loss(first, TARGET)[0].item() == pytest.approx(b.loss(second, TARGET)[0].item(), rel=1e-6)
    if name != "protonet_lf":
        groups, swapped = a.groups(first), b.groups(second)
        assert torch.equal(groups.first, swapped.second) and torch.equal(groups.second, swapped.first)
        assert groups.first.any() and groups.second.any() and not (groups.first & groups.second).any()


def test_equal_posteriors_give_no_groups_and_zero_distillation():
    support, query = clips()
    support["flow"], query["flow"] = support["rgb"], query["rgb"]
    for kd_scope in ("group", "all"):
        method = build(kd_scope=kd_scope)
        method.heads["flow"].load_state_dict(method.heads["rgb"].state_dict())
        _, terms = method.loss(method(support, query), TARGET)
        assert terms["group_rgb"] == terms["group_flow"] == 0
        assert terms["kd_rgb_to_flow"].item() == pytest.approx(0, abs=1e-6) == terms["kd_flow_to_rgb"].item()


@pytest.mark.parametrize(("strategy", "teacher", "student"), [("t_rgb", "rgb", "flow"), ("t_flow", "flow", "rgb")])
def test_distillation_moves_the_student_and_not_the_teacher(strategy, teacher, student):
    support, query = clips()
    plain, taught = (gradients(build(kd_strategy=s), support, query) for s in ("none", strategy))
    for name in plain:
        assert torch.equal(plain[name], taught[name]) == (f"heads.{teacher}." in name), name


def test_the_literal_equation_10_drives_posteriors_to_uniform_and_cross_entropy_does_not():
    posteriors = {}
    for kind in ("literal", "cross-entropy"):
        method = build("protonet")
        optimiser = torch.optim.SGD(method.parameters(), lr=0.5)
        for _ in range(150):
            optimiser.zero_grad()
            log_p = method(*clips()).log_posterior
            loss = (log_p.exp() * log_p).sum(-1).mean() if kind == "literal" else cross_entropy(log_p, TARGET)
            loss.backward()
            optimiser.step()
        posteriors[kind] = log_p.exp()
    assert posteriors["literal"].amax(-1).max() < 0.4  # uniform is 1/3
    assert posteriors["cross-entropy"].amax(-1).mean() > 0.8


def test_amfar_differs_from_amfir_in_the_score_alone():
    amfar, amfir = (asdict(resolve_options(name, {})) for name in ("amfar", "amfir"))
    assert {k for k in amfir if amfar[k] != amfir[k]} == {"score"} and amfar["score"] == "neg_certainty"
    support, query = clips()
    method = build("amfar")
    output = method(support, query)
    certainty = {m: p.exp().amax(-1) for m, p in output.modality_log_posteriors.items()}
    assert torch.equal(method.groups(output).first, certainty["rgb"] > certainty["flow"])
    assert torch.equal(output.log_posterior, build("amfir")(support, query).log_posterior)


@pytest.mark.parametrize("score", SCORES)
def test_every_score_trains(score):
    method = build(score=score, standardise_score=score == "vfe_gauss")
    for kd_mask in ("none", "teacher_correct"):
        method.options = replace(method.options, kd_mask=kd_mask)
        assert all(g.isfinite().all() for g in gradients(method, *clips()).values())


def test_the_oracle_assigns_a_query_to_the_modality_that_is_right():
    method = build(score="oracle")
    output = method(*clips())
    groups = method.groups(output, TARGET)
    right = {m: p.argmax(-1) == TARGET for m, p in output.modality_log_posteriors.items()}
    true = {m: p.gather(-1, TARGET.unsqueeze(-1))[..., 0] for m, p in output.modality_log_posteriors.items()}
    assert torch.equal(groups.first, true["rgb"] > true["flow"])
    assert any(x.any() for x in right.values())


def test_random_groups_repeat_after_a_resume_and_change_from_step_to_step():
    support, query = clips()
    method = build(score="random")
    shares = []
    for step in range(6):
        if step == 3:
            resumed = build(score="random")
            resumed.load_state_dict(method.state_dict())
            method = resumed
        output = method(support, query)
        shares.append(method.groups(output).first)
        method.loss(output, TARGET)
    straight = build(score="random")
    for expected in shares:
        output = straight(support, query)
        assert torch.equal(straight.groups(output).first, expected)
        straight.loss(output, TARGET)
    assert len({tuple(x.flatten().tolist()) for x in shares}) > 1


def test_evaluation_does_not_advance_the_random_score():
    method = build(score="random").eval()
    before = method.score_draws.clone()
    method.loss(method(*clips()), TARGET)
    assert method.score_draws == before


@pytest.mark.parametrize("options", [{"ami_weight": "free_energy"}, {"ami_weight": "hard"}, {"ami_distances": "raw"}])
def test_every_way_to_fuse_gives_another_posterior_and_leaves_the_parts_alone(options):
    default, other = build()(*clips()), build(**options)(*clips())
    assert not torch.allclose(default.log_posterior, other.log_posterior)
    assert torch.equal(default.modality_log_posteriors["rgb"], other.modality_log_posteriors["rgb"])


def test_weights_come_from_the_generator_alone_and_the_global_state_is_untouched():
    states = []
    for global_seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(global_seed)
            before = torch.get_rng_state()
            states.append(build(prototype="trx", enhancer="transformer").state_dict())
            assert torch.equal(torch.get_rng_state(), before)
    assert_equal_tensors(*states)
    other = build(seed=1, prototype="trx", enhancer="transformer").state_dict()
    assert any(not torch.equal(states[0][name], other[name]) for name in other)


def test_two_modalities_of_one_method_begin_with_different_weights():
    heads = build().heads
    assert not torch.equal(heads["rgb"].projection.weight, heads["flow"].projection.weight)


def test_modalities_are_called_what_the_data_set_calls_them():
    dims = {"depth": D, "flow": D}
    support, query = clips(modalities=dims)
    method = build(dims=dims)
    _, terms = method.loss(method(support, query), TARGET)
    assert method.modalities == ("depth", "flow") and "kd_depth_to_flow" in terms
    assert build("protonet", dims=dims).modalities == ("depth",)
    assert build("protonet_f", dims=dims).modalities == ("flow",)


def test_modalities_may_differ_in_width():
    support, query = clips()
    support["flow"], query["flow"] = support["flow"][..., :4], query["flow"][..., :4]
    assert build(dims={"rgb": D, "flow": 4})(support, query).log_posterior.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", METHODS)
def test_cuda_gives_the_posteriors_and_gradients_of_the_cpu(name):
    method, (support, query) = build(name), clips()
    expected, on_cpu = method(support, query).log_posterior.detach(), gradients(method, support, query)
    method.to("cuda")
    support, query = ({m: x.cuda() for m, x in side.items()} for side in (support, query))
    np.testing.assert_allclose(method(support, query).log_posterior.detach().cpu(), expected, atol=1e-4)
    for parameter, gradient in gradients(method, support, query, TARGET.cuda()).items():
        np.testing.assert_allclose(gradient.cpu(), on_cpu[parameter], atol=1e-4, err_msg=parameter)


def test_unknown_names_are_refused_with_the_nearest_one():
    with pytest.raises(UnknownName, match=r'"amfrir" is not a known method \(did you mean "amfir"'):
        build("amfrir")
    with pytest.raises(UnknownParameter, match='is not a known option of amfir .did you mean "kd_lambda"'):
        build(kd_lamda=1.0)
    with pytest.raises(UnknownName, match='did you mean "paper_literal"'):
        build(preset="paper-literal")
    with pytest.raises(BadParameter, match='did you mean "bidirectional"'):
        build(kd_strategy="bidirektional")
    with pytest.raises(UnknownParameter, match='"score" is not a known option of protonet'):
        build("protonet", score="centred")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kd_lambda": -1.0}, "kd_lambda is -1.0 but must be at least 0"),
        ({"logit_scale": 0.0}, "logit_scale is 0.0 but must be above 0"),
        ({"width": 2.5}, "width is 2.5 but must be a whole number"),
        ({"margin": "small"}, "margin is 'small' but must be a number"),
        ({"eq3_literal": 1}, "eq3_literal is 1 but must be true or false"),
        ({"kd_lambda": float("nan")}, "kd_lambda is nan but must be a number"),
        ({"score": "oracle", "ami_weight": "free_energy"}, 'the score "oracle" does not exist at test'),
    ],
)
def test_a_bad_option_is_refused_by_name_before_work_starts(options, message):
    with pytest.raises(BadParameter, match=re.escape(message)):
        build(**options)


def test_modalities_that_do_not_fit_are_refused():
    with pytest.raises(BadParameter, match="AMFIR joins two modalities, but 3 are given"):
        build(dims={"rgb": D, "flow": D, "depth": D})
    with pytest.raises(BadParameter, match='method "protonet_f" reads modality number 2, but only rgb is given'):
        build("protonet_f", dims={"rgb": D})
    support, query = clips()
    with pytest.raises(ShapeError, match='the query features hold rgb but the method reads "flow"'):
        build()(support, {"rgb": query["rgb"]})
    with pytest.raises(ShapeError, match=r'the support features of "rgb" have shape .* ending in D = 7'):
        build(dims={"rgb": 7, "flow": D})(support, query)
    with pytest.raises(ShapeError, match="Set n_segments to 4"):
        build(enhancer="fle", n_segments=8)(support, query)


def test_a_whole_number_and_its_float_are_the_same_option():
    assert repr(resolve_options("amfir", {"kd_lambda": 1})) == repr(resolve_options("amfir", {"kd_lambda": 1.0}))


def test_presets_name_only_options_that_exist():
    for preset in PRESETS:
        assert resolve_options("protonet", {"preset": preset})
