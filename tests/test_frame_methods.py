"""What Matching Net, CMN, OTAM and TRX have in common, and late fusion of any two methods of one modality.

Tolerances: exact where both sides run the same operations; 1e-5 where sums run in another order in float32; 1e-3
between float32 and float64, whose distances are multiplied by the logit scale.
"""

import re
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from toy_episodes import DIMS, TARGET, D, E, K, N, P, Q, as_double, build, clips, gradients
from toy_tables import QUICK, new_method, toy_material, toy_table

from amfir_lib.errors import BadParameter, UnknownParameter
from amfir_lib.figures.style import LOOKS
from amfir_lib.methods import METHODS, MethodSpec, Trx, TrxOptions, build_method, options_of_part, resolve_options
from amfir_lib.methods.late_fusion import LateFusion, late_fusion_options
from amfir_lib.methods.protonet import ProtoNet
from amfir_lib.study.runs import Run, TestCell, load_result, run_all
from amfir_lib.study.training import train

NAMES = ["matchingnet", "cmn", "otam", "trx", "trx_f"]
LITERAL = {"preset": "paper_literal"}
INDUCTIVE = [
    *((name, {}) for name in NAMES),
    *((name, LITERAL | {"projection": False}) for name in NAMES),
    ("matchingnet", {"pooling": "mean"}),
    ("cmn", {"n_saliency": 1}),
    ("cmn", {"hidden_init": "constant"}),
    ("otam", {"smoothing": 0.01}),
    ("trx", {"cardinalities": "3"}),
]
ALL = [*INDUCTIVE, ("matchingnet", {"fce": True})]
LATE = [name for name, spec in METHODS.items() if spec.build is LateFusion]


def small(name, **options):
    """A method of width 7, and tuples of width 5 where it has any."""
    known = METHODS[name].options.__dataclass_fields__
    sizes = {"width": 7, "tuple_width": 5, "n_segments": 4}
    return build(name, **{option: value for option, value in sizes.items() if option in known} | options)


@pytest.mark.parametrize(("name", "options"), ALL, ids=str)
def test_output_has_the_stated_shapes_and_is_a_distribution(name, options):
    output = small(name, **options)(*clips())
    assert output.log_posterior.shape == (E, N * Q, N)
    np.testing.assert_allclose(output.log_posterior.detach().exp().sum(-1), 1, atol=1e-5)
    assert output.modality_log_posteriors == {}
    for psi in output.distances.values():
        np.testing.assert_allclose(torch.log_softmax(-psi, -1).detach(), output.log_posterior.detach(), atol=1e-6)


@pytest.mark.parametrize(("name", "options"), INDUCTIVE, ids=str)
def test_the_order_of_supports_does_not_matter(name, options):
    method, (support, query) = small(name, **options).eval(), clips(n_shot=3)
    shuffled = {m: x[:, :, [2, 0, 1]] for m, x in support.items()}
    a, b = method(support, query).log_posterior, method(shuffled, query).log_posterior
    np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)


@pytest.mark.parametrize(("name", "options"), ALL, ids=str)
def test_a_query_is_classified_alone_whatever_the_other_queries_are(name, options):
    method, (support, query) = small(name, **options).eval(), clips()
    other = {m: torch.cat([x[:, :2], clips(9)[1][m][:, 2:]], 1) for m, x in query.items()}
    a, b = method(support, query).log_posterior[:, :2], method(support, other).log_posterior[:, :2]
    np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)


@pytest.mark.parametrize(("name", "options"), ALL, ids=str)
def test_episodes_of_a_batch_do_not_touch_each_other(name, options):
    method, (support, query) = small(name, **options).eval(), clips()
    alone = method({m: x[:1] for m, x in support.items()}, {m: x[:1] for m, x in query.items()}).log_posterior
    np.testing.assert_allclose(alone[0].detach(), method(support, query).log_posterior[0].detach(), atol=1e-5)


@pytest.mark.parametrize(("name", "options"), [case for case in ALL if case[1].get("projection", True)], ids=str)
def test_a_gradient_reaches_every_parameter(name, options):
    for parameter, gradient in gradients(small(name, **options), *clips()).items():
        assert gradient is not None and gradient.abs().sum() > 0, parameter


@pytest.mark.parametrize("name", [*NAMES, *LATE])
def test_embedding_clips_once_and_gathering_them_equals_the_direct_path(name):
    method, (support, query) = small(name).eval(), clips()
    bank = method.embed({m: torch.cat([support[m].flatten(0, 2), query[m].flatten(0, 1)]) for m in method.modalities})
    rows = torch.arange(E * N * K).reshape(E, N, K), E * N * K + torch.arange(E * N * Q).reshape(E, N * Q)
    found = method.compare(*({name: x[part] for name, x in bank.items()} for part in rows))
    np.testing.assert_allclose(found.log_posterior.detach(), method(support, query).log_posterior.detach(), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e3])
def test_loss_and_gradients_are_finite_at_every_scale_and_when_all_clips_are_zero(name, scale):
    method, (support, query) = small(name), clips(scale=scale)
    loss, terms = method.loss(method(support, query), TARGET)
    loss.backward()
    assert all(value.isfinite() and not value.requires_grad for value in terms.values())
    assert all(x.grad.isfinite().all() for x in method.parameters())


@pytest.mark.parametrize(("name", "options"), ALL, ids=str)
def test_float32_agrees_with_float64(name, options):
    method, (support, query) = small(name, **options).eval(), clips()
    exact, *sides = as_double(method, support, query)
    exact = exact(*sides).log_posterior
    assert exact.dtype == torch.float64
    np.testing.assert_allclose(method(support, query).log_posterior.detach(), exact.detach(), atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_features_are_computed_in_float32(name):
    support, query = ({m: x.half() for m, x in side.items()} for side in clips())
    assert small(name)(support, query).log_posterior.dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_cross_entropy_averaged_or_summed_over_queries(name):
    method = small(name).eval()
    output = method(*clips())
    each = -output.log_posterior.gather(-1, TARGET.unsqueeze(-1))
    assert method.loss(output, TARGET)[0].item() == pytest.approx(each.mean().item(), rel=1e-5)
    method.options = replace(method.options, ce_reduction="sum")
    assert method.loss(output, TARGET)[0].item() == pytest.approx(N * Q * each.mean().item(), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_training_on_toy_clips_lowers_the_loss_and_repeats(name):
    settings = replace(QUICK, steps=24, episodes_per_step=4, validate_every=24)
    histories = [train(new_method(name, width=8), toy_table(), settings, seed=0).history["loss"] for _ in range(2)]
    assert histories[0].tolist() == histories[1].tolist()
    assert histories[0].iloc[-8:].mean() < histories[0].iloc[:8].mean() - 0.03


@pytest.mark.parametrize("name", NAMES)
def test_the_front_begins_with_the_weights_of_the_studys_own_head(name):
    own = METHODS[name].streams
    head = small("protonet" if own == "first" else "protonet_f").heads
    ((_, head),) = head.items()
    assert torch.equal(small(name).projection.weight, head.projection.weight)


def test_weights_come_from_the_generator_alone():
    for name, options in (("matchingnet", {"fce": True}), ("cmn", {}), ("trx", {})):
        first, again, other = (small(name, seed=seed, **options).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused_with_the_nearest_one(name):
    with pytest.raises(UnknownParameter, match=f'"widht" is not a known option of {name} .did you mean "width"'):
        small(name, widht=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("trx", {"dropout": 1.0}, "dropout is 1.0 but must be below 1"),
        ("trx", {"cardinalities": "23"}, 'did you mean "2+3"'),
        ("trx", {"tuple_width": 0}, "tuple_width is 0 but must be at least 1"),
        ("otam", {"smoothing": 0.0}, "smoothing is 0.0 but must be above 0"),
        ("cmn", {"n_saliency": 0}, "n_saliency is 0 but must be at least 1"),
    ],
)
def test_a_bad_option_is_refused_by_name_before_work_starts(name, options, message):
    with pytest.raises(BadParameter, match=re.escape(message)):
        small(name, **options)


def test_two_modalities_are_refused_with_a_remedy():
    with pytest.raises(BadParameter, match="Trx reads one modality, but 2 are given"):
        Trx(DIMS, TrxOptions(), generator=torch.Generator())


def test_tables_and_figures_call_the_methods_by_one_name():
    for name in [*NAMES, "trx_lf", "strm_lf", "protonet_lf"]:
        assert METHODS[name].title == LOOKS[name].label


# late fusion


def alone(name, part):
    """A part of a late fusion, built without it."""
    return small(part, **options_of_part(name, part, {})).eval()


@pytest.mark.parametrize("name", LATE)
def test_late_fusion_holds_its_parts_as_they_are_alone(name):
    method, (support, query) = small(name, late_fusion="posterior_mean").eval(), clips()
    output = method(support, query)
    posteriors = {}
    for part in METHODS[name].parts:
        own = alone(name, part)
        assert all(torch.equal(x, own.state_dict()[key]) for key, x in method.parts[part].state_dict().items())
        posteriors[own.modalities[0]] = own(support, query).log_posterior
    assert list(output.modality_log_posteriors) == list(posteriors) == ["rgb", "flow"]
    for m, log_p in posteriors.items():
        np.testing.assert_allclose(output.modality_log_posteriors[m].detach(), log_p.detach(), atol=1e-5)
    mean = sum(log_p.exp() for log_p in posteriors.values()) / 2
    np.testing.assert_allclose(output.log_posterior.exp().detach(), mean.detach(), atol=1e-6)
    product = torch.log_softmax(sum(posteriors.values()), -1)
    found = small(name, late_fusion="logit_sum").eval()(support, query).log_posterior
    np.testing.assert_allclose(found.detach(), product.detach(), atol=1e-5)


@pytest.mark.parametrize("name", LATE)
def test_the_loss_of_late_fusion_is_the_sum_of_its_parts_losses(name):
    method = small(name).eval()
    output = method(*clips())
    loss, terms = method.loss(output, TARGET)
    each = [alone(name, part) for part in METHODS[name].parts]
    expected = sum(part.loss(part(*clips()), TARGET)[0] for part in each)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert {"loss", "accuracy", "loss_rgb", "loss_flow", "accuracy_rgb", "accuracy_flow"} <= set(terms)


@pytest.mark.parametrize("name", LATE)
def test_a_late_fusion_and_its_parts_resolve_the_options_that_they_share_alike(name):
    for given in ({}, {"width": 9, "preset": "paper_literal"}):
        joined = asdict(resolve_options(name, given))
        for part in METHODS[name].parts:
            own = asdict(resolve_options(part, options_of_part(name, part, given)))
            assert own == {option: joined[option] for option in own}


def test_a_pair_of_different_methods_is_one_line_of_the_registry(monkeypatch):
    spec = MethodSpec(
        "TRX and ProtoNet", "", LateFusion, late_fusion_options(TrxOptions, METHODS["protonet_f"].options), "both",
        "k", "o", parts=("trx", "protonet_f"),
    )  # fmt: skip
    monkeypatch.setitem(METHODS, "mixed", spec)
    method = small("mixed", metric="cosine")
    assert [type(part) for part in method.parts.values()] == [Trx, ProtoNet]
    assert method.parts["protonet_f"].options.metric == "cosine" and method(*clips()).log_posterior.isfinite().all()


def test_a_part_that_reads_no_patches_gets_their_mean_beside_one_that_does(monkeypatch):
    spec = MethodSpec(
        "TRX and STRM-F", "", LateFusion, late_fusion_options(TrxOptions, METHODS["strm_f"].options), "both", "k", "o",
        parts=("trx", "strm_f"),
    )  # fmt: skip
    monkeypatch.setitem(METHODS, "mixed", spec)
    method, (support, query) = small("mixed").eval(), clips()
    assert method.uses_patches and support["rgb"].shape[-2] == P
    pooled = [{m: x.mean(-2, keepdim=True) for m, x in side.items()} for side in (support, query)]
    expected = small("trx").eval()(*pooled).log_posterior
    found = method(support, query).modality_log_posteriors["rgb"]
    np.testing.assert_allclose(found.detach(), expected.detach(), atol=1e-5)


def test_parts_that_read_the_same_modality_are_refused(monkeypatch):
    spec = MethodSpec("twice", "", LateFusion, late_fusion_options(TrxOptions), "both", "k", "o", parts=("trx", "otam"))
    monkeypatch.setitem(METHODS, "twice", spec)
    with pytest.raises(BadParameter, match="of one modality each, each another one, but got .*'otam': 'rgb'"):
        build_method("twice", dims={"rgb": D, "flow": D}, generator=torch.Generator())


@pytest.mark.parametrize("name", ["trx_lf", "strm_lf"])
def test_a_run_of_late_fusion_is_assembled_from_its_trained_parts(name, tmp_path):
    material, cell = toy_material(tmp_path / "stores"), TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=8)
    options = {"width": 4, "tuple_width": 4} | ({"n_segments": 3} if name == "strm_lf" else {"cardinalities": "2"})
    run = Run(material, name, options, QUICK)
    assert list(run.identity["parts"]) == list(METHODS[name].parts)
    (result,) = run_all([run], [cell], cache_dir=tmp_path / "cache")
    method = result.method()
    for part in run.parts:
        trained = load_result(part, (), part.folder(tmp_path / "cache")).method().state_dict()
        assert all(torch.equal(x, trained[key]) for key, x in method.parts[part.method].state_dict().items())
    assert set(result.tests[cell].correct) == {"fused", "rgb", "flow"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", [*NAMES, *LATE])
def test_cuda_gives_the_posteriors_and_gradients_of_the_cpu(name):
    if not list(small(name).parameters()):
        pytest.skip("nothing to learn")
    method, (support, query) = small(name), clips()
    expected, on_cpu = method(support, query).log_posterior.detach(), gradients(small(name), support, query)
    on_cuda = small(name).to("cuda")
    support, query = ({m: x.cuda() for m, x in side.items()} for side in (support, query))
    output = on_cuda(support, query)
    np.testing.assert_allclose(output.log_posterior.detach().cpu(), expected, atol=1e-4)
    on_cuda.loss(output, TARGET.cuda())[0].backward()
    for parameter, gradient in on_cuda.named_parameters():
        np.testing.assert_allclose(gradient.grad.cpu(), on_cpu[parameter], atol=1e-4, err_msg=parameter)
