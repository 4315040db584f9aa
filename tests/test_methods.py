"""What holds for every method of the registry: one contract, and options that are refused by name.

Tolerances: exact where both sides run the same operations; 1e-5 where sums run in another order in float32; 1e-3
between float32 and float64 log-posteriors, whose distances are multiplied by a logit scale of 10.
"""

import copy
import itertools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_episodes import (
    DIMS,
    LITERAL,
    TARGET,
    D,
    E,
    K,
    N,
    Q,
    as_double,
    build,
    clips,
    gradients,
    loss_of,
    open_gate,
)
from toy_tables import QUICK, toy_table

from amfir_lib.errors import BadParameter, ShapeError, UnknownName, UnknownParameter
from amfir_lib.methods import METHODS, PRESETS, DataFacts, build_method, resolve_options, title_of, uses_patches
from amfir_lib.methods.base import cross_entropy
from amfir_lib.study.training import train

BARE = LITERAL | {"projection": False}
VARIANTS = {
    "protonet": [
        {"pooling": "mean"}, {"enhancer": "fle"}, {"enhancer": "transformer"}, {"prototype": "trx"},
        {"prototype": "trx", "pooling": "mean", "enhancer": "fle"}, {"metric": "cosine"}, BARE,
    ],
    "amfir": [
        {"prototype": "trx"}, {"enhancer": "fle", "pooling": "mean"}, {"metric": "cosine"}, BARE, {"score": "random"},
        {"score": "joint", "ami_weight": "free_energy"}, {"ami_weight": "hard", "ami_distances": "raw"},
        {"score": "vfe_gauss", "standardise_score": True},
    ],
    "matchingnet": [{"pooling": "mean"}, {"fce": True}, {"fce": True, "pooling": "mean"}, BARE],
    "cmn": [{"n_saliency": 1}, {"hidden_init": "constant"}, BARE],
    "otam": [{"smoothing": 0.01}, BARE],
    "trx": [{"cardinalities": "3"}, BARE],
    "hyrsm": [{"support_tokens": "videos"}, {"position_divisor": 2048.0, "position_weight": 0.01}, BARE],
    "strm": [{"cardinality": 3, "scaled": True, "logit_scale": 10.0}, {"aux_head": "random"}, LITERAL, BARE],
    "protonet_ec": [{"early_layer": True}],
    "protonet_ea": [{"early_layer": True}],
    "strm_ec": [{"early_layer": True}],
    "protonet_lf": [{"late_fusion": "logit_sum"}],
}  # fmt: skip
CASES = [(name, options) for name in METHODS for options in ({}, *VARIANTS.get(name, []))]
TRAINED = [name for name, spec in METHODS.items() if not spec.parts]
cases = pytest.mark.parametrize(("name", "options"), CASES, ids=str)
learning = pytest.mark.parametrize(
    ("name", "options"), [c for c in CASES if c[1].get("projection", True) and c[0] != "nearest_mean"], ids=str
)


@cases
def test_the_answer_is_a_distribution_from_the_distances_where_there_are_any(name, options):
    method = build(name, **options)
    output = method(*clips())
    for log_p in (output.log_posterior, *output.modality_log_posteriors.values()):
        assert log_p.shape == (E, N * Q, N)
        np.testing.assert_allclose(log_p.detach().exp().sum(-1), 1, atol=1e-5)
    for m, psi in output.distances.items():
        log_p = output.modality_log_posteriors.get(m, output.log_posterior)
        np.testing.assert_allclose(torch.log_softmax(-psi, -1).detach(), log_p.detach(), atol=1e-5)


@cases
def test_an_answer_depends_on_the_query_and_the_set_of_supports_alone(name, options):
    method, (support, query) = open_gate(build(name, **options)).eval(), clips(n_shot=3)
    given = method(support, query).log_posterior.detach()
    other = {m: torch.cat([x[:, :2], clips(9)[1][m][:, 2:]], 1) for m, x in query.items()}
    np.testing.assert_allclose(method(support, other).log_posterior[:, :2].detach(), given[:, :2], atol=1e-5)
    alone = method({m: x[:1] for m, x in support.items()}, {m: x[:1] for m, x in query.items()}).log_posterior
    np.testing.assert_allclose(alone[0].detach(), given[0], atol=1e-5)
    turned = method({m: x.roll(1, dims=1) for m, x in support.items()}, query).log_posterior.roll(-1, dims=-1)
    shuffled = method({m: x[:, :, [2, 0, 1]] for m, x in support.items()}, query).log_posterior
    if options.get("fce"):  # full-context embeddings read the supports as a sequence
        assert not torch.allclose(shuffled, given, atol=1e-5) and not torch.allclose(turned, given, atol=1e-5)
    else:
        np.testing.assert_allclose(shuffled.detach(), given, atol=1e-5)
        np.testing.assert_allclose(turned.detach(), given, atol=1e-5)


@cases
@pytest.mark.parametrize("n_pairs", [1, 10**6])
def test_comparing_clips_that_were_embedded_once_equals_the_direct_path(name, options, n_pairs):
    method, (support, query) = build(name, **options).eval(), clips()
    expected = method(support, query)
    places = torch.arange(E * N * K).reshape(E, N, K), E * N * K + torch.arange(E * N * Q).reshape(E, N * Q)
    with torch.no_grad():
        bank = method.embed(
            {m: torch.cat([support[m].flatten(0, 2), query[m].flatten(0, 1)]) for m in method.modalities}
        )
        among = method.compare_among(method.relate(bank, n_pairs=n_pairs), *places)
    np.testing.assert_allclose(among.log_posterior, expected.log_posterior.detach(), atol=1e-4)
    for m, energy in method.free_energies(expected).items():
        np.testing.assert_allclose(method.free_energies(among)[m], energy, atol=1e-3)


@learning
def test_a_gradient_reaches_every_parameter(name, options):
    for parameter, gradient in gradients(open_gate(build(name, **options)), *clips()).items():
        assert gradient.abs().sum() > 1e-9, parameter


@learning
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e3])
def test_loss_and_gradients_are_finite_at_every_scale_and_when_all_clips_are_zero(name, options, scale):
    method, (support, query) = build(name, **options), clips(scale=scale)
    features = [x.requires_grad_() for side in (support, query) for x in side.values()]  # as when a backbone is trained
    loss, terms = loss_of(method, support, query)
    loss.backward()
    assert all(value.isfinite() and not value.requires_grad and not value.dim() for value in terms.values())
    assert all(x.grad is None or x.grad.isfinite().all() for x in (*features, *method.parameters()))


@cases
def test_float32_agrees_with_float64_and_half_precision_is_computed_in_float32(name, options):
    method, (support, query) = build(name, **options).eval(), clips()
    exact, *sides = as_double(method, support, query)
    exact, rounded = exact(*sides).log_posterior.detach(), method(support, query).log_posterior.detach()
    assert exact.dtype == torch.float64
    if options != BARE:  # whose posteriors are nearly one-hot
        np.testing.assert_allclose(rounded, exact, atol=1e-3)
    halved = ({m: x.half() for m, x in side.items()} for side in (support, query))
    assert method(*halved).log_posterior.dtype == torch.float32


@cases
def test_weights_come_from_the_generator_alone_and_the_global_state_is_untouched(name, options):
    states = []
    for global_seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(global_seed)
            before = torch.get_rng_state()
            states.append(build(name, **options).state_dict())
            assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(x, states[1][key]) for key, x in states[0].items())
    other = build(name, seed=1, **options).state_dict()
    drawn = [key for key, x in other.items() if x.is_floating_point() and not torch.equal(x, states[0][key])]
    assert drawn or name == "nearest_mean" or options == BARE


@pytest.mark.parametrize("name", TRAINED)
def test_training_lowers_the_loss_and_an_interrupted_one_resumes_exactly(name, tmp_path):
    def new():
        return build(name, n_patches=1, n_segments=3) if "n_segments" in known else build(name, n_patches=1)

    known, calls, table = METHODS[name].options.__dataclass_fields__, itertools.count(), toy_table(noise=0.3)
    settings = replace(QUICK, steps=40, episodes_per_step=4, validate_every=20)
    whole = train(new(), table, settings, seed=0).history
    assert whole["loss"].tail(10).mean() < whole["loss"].head(10).mean() - 0.03
    stopped, checkpoint = new(), tmp_path / "checkpoint.pt"
    loss = stopped.loss

    def interrupted(*given, **classes):
        if next(calls) == 25:
            raise KeyboardInterrupt
        return loss(*given, **classes)

    stopped.loss = interrupted
    with pytest.raises(KeyboardInterrupt):
        train(stopped, table, settings, seed=0, checkpoint=checkpoint)
    resumed = train(new(), table, settings, seed=0, checkpoint=checkpoint).history
    assert resumed.equals(whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", TRAINED)
def test_cuda_gives_the_posteriors_and_gradients_of_the_cpu_dropout_included(name):
    method, (support, query) = build(name), clips()
    there, on_cpu = copy.deepcopy(method).to("cuda"), gradients(method, support, query)
    support, query = ({m: x.cuda() for m, x in side.items()} for side in (support, query))
    for parameter, gradient in gradients(there, support, query).items():
        np.testing.assert_allclose(gradient.cpu(), on_cpu[parameter], atol=1e-4, err_msg=parameter)


@pytest.mark.parametrize("name", ["matchingnet", "cmn", "otam", "trx"])
def test_the_loss_is_cross_entropy_averaged_or_summed_over_queries(name):
    method = build(name).eval()
    output = method(*clips())
    surprise = -output.log_posterior.gather(-1, TARGET.unsqueeze(-1))
    assert method.loss(output, TARGET)[0].item() == pytest.approx(surprise.mean().item(), rel=1e-5)
    method.options = replace(method.options, ce_reduction="sum")
    assert method.loss(output, TARGET)[0].item() == pytest.approx(N * Q * surprise.mean().item(), rel=1e-5)


def test_cross_entropy_of_the_worked_example():
    log_p, target = torch.tensor([[[0.8, 0.2], [0.4, 0.6]]]).log(), torch.tensor([[0, 1]])
    assert cross_entropy(log_p, target).item() == pytest.approx(0.3670, abs=2e-4)
    assert cross_entropy(log_p, target, ce_reduction="sum").item() == pytest.approx(0.7340, abs=2e-4)


@pytest.mark.parametrize("name", ["matchingnet", "cmn", "otam", "trx", "trx_f", "strm", "hyrsm"])
def test_the_front_begins_with_the_weights_of_the_studys_own_head(name):
    method = build(name)
    (head,) = build("protonet" if method.modalities == ("rgb",) else "protonet_f").heads.values()
    assert torch.equal(method.projection.weight, head.projection.weight)


@pytest.mark.parametrize("name", METHODS)
def test_modalities_are_called_what_the_data_set_calls_them(name):
    method = build(name, dims={"depth": D, "flow": 5})
    assert (
        method.modalities
        == {"first": ("depth",), "second": ("flow",), "both": ("depth", "flow")}[METHODS[name].streams]
    )


def test_a_method_on_flow_is_the_same_code_on_the_other_modality():
    for first, second in (("protonet", "protonet_f"), ("trx", "trx_f"), ("strm", "strm_f")):
        dims = {"rgb": D, "flow": D}
        a, b = build(first, dims=dims).eval(), build(second, dims={"flow": D, "rgb": D}).eval()
        support, query = clips(dims=dims)
        assert type(a) is type(b) and torch.equal(a(support, query).log_posterior, b(support, query).log_posterior)


def test_order_in_time_matters_only_where_it_is_kept():
    support, query = clips()
    backwards = {m: x.flip(-3) for m, x in query.items()}
    kept = [("protonet", o) for o in ({}, {"enhancer": "fle"}, {"enhancer": "transformer"}, {"prototype": "trx"})]
    kept += [(name, {}) for name in ("matchingnet", "otam", "trx", "strm", "hyrsm", "amfir")]
    for name, options in kept:
        method = build(name, **options).eval()
        a, b = method(support, query).log_posterior, method(support, backwards).log_posterior
        assert not torch.allclose(a, b, atol=1e-4)
    for name, options in (("protonet", {"pooling": "mean"}), ("matchingnet", {"pooling": "mean"}), ("cmn", {})):
        method = build(name, **options)
        a, b = method(support, query).log_posterior, method(support, backwards).log_posterior
        assert torch.allclose(a, b, atol=1e-5)


# registry and options


def test_features_of_one_patch_make_a_method_that_enriches_patches_lite_in_name():
    assert [title_of(n, {"rgb": 1, "flow": 16}) for n in ("strm", "strm_f", "protonet")] == [
        "STRM-lite",
        "STRM-F",
        "ProtoNet",
    ]
    assert title_of("strm_ec", {"rgb": 1, "flow": 1}) == "STRM-EC-lite"
    assert [n for n in METHODS if uses_patches(n)] == ["strm", "strm_f", "strm_ec", "strm_lf"]


def test_rows_whose_name_the_paper_does_not_define_say_so():
    noted = {name for name, spec in METHODS.items() if spec.note}
    assert noted == {"amfar", "protonet_ec", "protonet_ea", "strm_ec", "protonet_lf", "trx_lf", "strm_lf"}


def test_unknown_names_are_refused_with_the_nearest_one():
    with pytest.raises(UnknownName, match=r'"amfrir" is not a known method \(did you mean "amfir"'):
        build("amfrir")
    with pytest.raises(UnknownName, match='did you mean "paper_literal"'):
        build(preset="paper-literal")
    with pytest.raises(UnknownParameter, match='"score" is not a known option of protonet'):
        build("protonet", score="centred")
    for name in METHODS:
        with pytest.raises(UnknownParameter, match=f'"widht" is not a known option of {name} .did you mean "width"'):
            build(name, widht=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("amfir", {"kd_lambda": -1.0}, "kd_lambda is -1.0 but must be at least 0"),
        ("amfir", {"logit_scale": 0.0}, "logit_scale is 0.0 but must be above 0"),
        ("amfir", {"width": 2.5}, "width is 2.5 but must be a whole number"),
        ("amfir", {"margin": "small"}, "margin is 'small' but must be a number"),
        ("amfir", {"eq3_literal": 1}, "eq3_literal is 1 but must be true or false"),
        ("amfir", {"kd_lambda": float("nan")}, "kd_lambda is nan but must be a number"),
        ("amfir", {"kd_strategy": "bidirektional"}, 'did you mean "bidirectional"'),
        ("amfir", {"score": "oracle", "ami_weight": "free_energy"}, 'the score "oracle" does not exist at test'),
        ("trx", {"dropout": 1}, "dropout is 1.0 but must be below 1"),
        ("trx", {"cardinalities": "23"}, 'did you mean "2+3"'),
        ("trx", {"tuple_width": 0}, "tuple_width is 0 but must be at least 1"),
        ("strm", {"cardinality": 5}, "cardinality is 5, but tuples of 4 frames have 1 to 4 places"),
        ("hyrsm", {"n_heads": 3}, "n_heads is 3, but must divide the width 8"),
    ],
)
def test_a_bad_option_is_refused_by_name_before_work_starts(name, options, message):
    with pytest.raises(BadParameter, match=re.escape(message)):
        build(name, **options)


def test_what_does_not_fit_is_refused_with_a_remedy():
    support, query = clips()
    three = DIMS | {"depth": D}
    for name in ("amfir", "protonet_ec"):
        with pytest.raises(BadParameter, match="joins two modalities, but 3 are given"):
            build(name, dims=three)
    with pytest.raises(BadParameter, match='method "protonet_f" reads modality number 2, but only rgb is given'):
        build("protonet_f", dims={"rgb": D})
    with pytest.raises(BadParameter, match="Trx reads one modality, but 2 are given"):
        METHODS["trx"].build(DIMS, METHODS["trx"].options(), generator=torch.Generator())
    for name, fact in (("strm", "n_patches"), ("hyrsm", "n_base_classes")):
        with pytest.raises(BadParameter, match=f'"{name}" must know {fact} of the data set'):
            build_method(name, dims=DIMS, generator=torch.Generator())
    with pytest.raises(BadParameter, match="frames have 16 of rgb, 4 of flow"):
        facts = DataFacts(n_base_classes=5, n_patches={"rgb": 16, "flow": 4})
        build_method("strm_ec", dims=DIMS, generator=torch.Generator(), facts=facts)
    with pytest.raises(ShapeError, match='the query features hold rgb but the method reads "flow"'):
        build()(support, {"rgb": query["rgb"]})
    with pytest.raises(ShapeError, match=r'the support features of "rgb" have shape .* ending in D = 7'):
        build(dims={"rgb": 7, "flow": 5})(support, query)
    with pytest.raises(ShapeError, match=r'"rgb" have T = 4 segments of P = 3 patches, .* built for 4 of 1'):
        build("strm", n_patches=1)(support, query)
    for name, options in (("amfir", {"enhancer": "fle"}), ("strm", {}), ("matchingnet", {"fce": True})):
        with pytest.raises(ShapeError, match="Set n_segments to 4"):
            build(name, n_segments=8, **options)(support, query)
    short = [{m: x[..., :2, :, :] for m, x in side.items()} for side in (support, query)]
    with pytest.raises(BadParameter, match="cardinality is 3, but tuples of 2 frames have 1 to 2 places"):
        build("trx")(*short)


def test_presets_are_for_all_methods_and_a_whole_number_and_its_float_are_the_same_option():
    for preset in PRESETS:
        assert all(resolve_options(name, {"preset": preset}) for name in METHODS)
    assert repr(resolve_options("amfir", {"kd_lambda": 1})) == repr(resolve_options("amfir", {"kd_lambda": 1.0}))
