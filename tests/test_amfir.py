"""AMFIR, AMFAR and late fusion: what two modalities do together (Eq. 6 to 11).

Tolerances: exact where both sides run the same operations; 1e-5 where sums run in another order in float32.
"""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from toy_episodes import DIMS, TARGET, D, E, K, N, P, Q, build, clips, gradients
from toy_tables import QUICK, toy_material

from amfir_lib.errors import BadParameter
from amfir_lib.inference import SCORES
from amfir_lib.methods import METHODS, MethodSpec, Trx, TrxOptions, options_of_part, resolve_options
from amfir_lib.methods.base import cross_entropy
from amfir_lib.methods.late_fusion import LateFusion, late_fusion_options
from amfir_lib.methods.protonet import ProtoNet
from amfir_lib.study.material import TestCell
from amfir_lib.study.runs import Run, load_result, run_all

LATE = [name for name, spec in METHODS.items() if spec.build is LateFusion]
ALIKE = {"rgb": D, "flow": D}


def assert_equal_tensors(first, second):
    assert set(first) == set(second)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_nearest_mean_takes_the_nearest_class_mean_of_both_streams_and_learns_nothing():
    support, query = clips()
    method = build("nearest_mean")
    assert not list(method.parameters())
    picked = method(support, query).log_posterior.argmax(-1)
    for e, i in np.ndindex(E, N * Q):
        similarity = np.zeros(N)
        for m in DIMS:
            vector = query[m][e, i].mean(1).flatten()  # (T * D,)
            for k in range(N):
                mean = support[m][e, k].mean((0, 2)).flatten()
                similarity[k] += vector @ mean / (vector.norm() * mean.norm())
        assert picked[e, i] == similarity.argmax()


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
    assert terms["group_rgb"].item() == pytest.approx(np.mean(in_rgb)) and terms["group_rgb"] + terms["group_flow"] == 1
    assert terms["free_energy_rgb"].item() == pytest.approx(np.log(p["rgb"]).mean(), abs=1e-5)
    assert terms["accuracy_rgb"].item() == pytest.approx(right.mean())


@pytest.mark.parametrize("options", [{}, {"prototype": "trx"}, {"enhancer": "fle"}, {"metric": "cosine"}], ids=str)
def test_lambda_zero_equals_two_independent_prototype_networks(options):
    support, query = clips()
    alone = {}
    for name in ("protonet", "protonet_f"):
        alone |= gradients(build(name, **options), support, query)
    assert_equal_tensors(gradients(build("amfir", kd_lambda=0.0, **options), support, query), alone)


@pytest.mark.parametrize("name", ["protonet_lf", "amfar", "amfir"])
def test_swapping_the_modalities_swaps_the_groups_and_leaves_fusion_and_loss_unchanged(name):
    support, query = clips()
    a, b = build(name), build(name, dims=dict(reversed(DIMS.items())))
    first, second = a(support, query), b(support, query)
    assert torch.equal(first.log_posterior, second.log_posterior)
    assert a.loss(first, TARGET)[0].item() == pytest.approx(b.loss(second, TARGET)[0].item(), rel=1e-6)
    if name != "protonet_lf":
        groups, swapped = a.groups(first), b.groups(second)
        assert torch.equal(groups.first, swapped.second) and torch.equal(groups.second, swapped.first)
        assert groups.first.any() and groups.second.any() and not (groups.first & groups.second).any()


@pytest.mark.parametrize("kd_scope", ["group", "all"])
def test_equal_posteriors_give_no_groups_and_zero_distillation(kd_scope):
    support, query = ({m: side["rgb"] for m in DIMS} for side in clips())
    method = build(dims=ALIKE, kd_scope=kd_scope)
    method.heads["flow"].load_state_dict(method.heads["rgb"].state_dict())
    _, terms = method.loss(method(support, query), TARGET)
    assert terms["group_rgb"] == terms["group_flow"] == 0
    assert terms["kd_rgb_to_flow"].item() == pytest.approx(0, abs=1e-6) == terms["kd_flow_to_rgb"].item()


@pytest.mark.parametrize(("strategy", "teacher"), [("t_rgb", "rgb"), ("t_flow", "flow")])
def test_distillation_moves_the_student_and_not_the_teacher(strategy, teacher):
    plain, taught = (gradients(build(kd_strategy=s), *clips()) for s in ("none", strategy))
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
    method = build("amfar")
    output = method(*clips())
    certainty = {m: p.exp().amax(-1) for m, p in output.modality_log_posteriors.items()}
    assert torch.equal(method.groups(output).first, certainty["rgb"] > certainty["flow"])
    assert torch.equal(output.log_posterior, build("amfir")(*clips()).log_posterior)


@pytest.mark.parametrize("score", SCORES)
def test_every_score_trains(score):
    method = build(score=score, standardise_score=score == "vfe_gauss")
    for kd_mask in ("none", "teacher_correct"):
        method.options = replace(method.options, kd_mask=kd_mask)
        assert all(g.isfinite().all() for g in gradients(method, *clips()).values())


def test_the_oracle_assigns_a_query_to_the_modality_that_is_right():
    method = build(score="oracle")
    output = method(*clips())
    true = {m: p.gather(-1, TARGET.unsqueeze(-1))[..., 0] for m, p in output.modality_log_posteriors.items()}
    assert torch.equal(method.groups(output, TARGET).first, true["rgb"] > true["flow"])


def test_random_groups_repeat_after_a_resume_change_from_step_to_step_and_not_in_evaluation():
    method, straight, shares = build(score="random"), build(score="random"), []
    for step in range(6):
        if step == 3:
            resumed = build(score="random")
            resumed.load_state_dict(method.state_dict())
            method = resumed
        for one in (method, straight):
            output = one(*clips())
            shares.append(tuple(one.groups(output).first.flatten().tolist()))
            one.loss(output, TARGET)
    assert shares[::2] == shares[1::2] and len(set(shares)) > 1
    before = method.eval().score_draws.clone()
    method.loss(method(*clips()), TARGET)
    assert method.score_draws == before


# late fusion


def alone(name, part):
    """A part of a late fusion, built without it."""
    return build(part, **options_of_part(name, part, {})).eval()


@pytest.mark.parametrize("name", LATE)
def test_late_fusion_holds_its_parts_as_they_are_alone_and_adds_their_losses(name):
    method, (support, query) = build(name, late_fusion="posterior_mean").eval(), clips()
    output = method(support, query)
    posteriors, losses = {}, []
    for part in METHODS[name].parts:
        single = alone(name, part)
        assert_equal_tensors(method.parts[part].state_dict(), single.state_dict())
        (m,) = single.modalities
        answer = single(support, query)
        posteriors[m] = answer.log_posterior
        losses.append(single.loss(answer, TARGET)[0].item())
        np.testing.assert_allclose(output.modality_log_posteriors[m].detach(), posteriors[m].detach(), atol=1e-5)
    assert list(output.modality_log_posteriors) == list(posteriors) == ["rgb", "flow"]
    mean = sum(log_p.exp() for log_p in posteriors.values()) / 2
    np.testing.assert_allclose(output.log_posterior.exp().detach(), mean.detach(), atol=1e-6)
    product = torch.log_softmax(sum(posteriors.values()), -1)
    summed = build(name, late_fusion="logit_sum").eval()(support, query).log_posterior
    np.testing.assert_allclose(summed.detach(), product.detach(), atol=1e-5)
    loss, terms = method.loss(output, TARGET)
    assert loss.item() == pytest.approx(sum(losses), rel=1e-5)
    assert {"loss", "accuracy", "loss_rgb", "loss_flow", "accuracy_rgb", "accuracy_flow"} <= set(terms)


def test_late_fusion_trains_exactly_as_two_prototype_networks_trained_apart():
    methods = {name: build(name) for name in ("protonet", "protonet_f", "protonet_lf")}
    for method in methods.values():
        optimiser = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
        for step in range(5):
            optimiser.zero_grad()
            method.loss(method(*clips(step)), TARGET)[0].backward()
            optimiser.step()
    fused = methods.pop("protonet_lf").state_dict()
    apart = {f"parts.{n}.{key}": x for n, method in methods.items() for key, x in method.state_dict().items()}
    assert_equal_tensors(fused, apart)


@pytest.mark.parametrize("name", LATE)
@pytest.mark.parametrize("given", [{}, {"width": 9, "preset": "paper_literal"}], ids=str)
def test_a_late_fusion_and_its_parts_resolve_the_options_that_they_share_alike(name, given):
    joined = asdict(resolve_options(name, given))
    for part in METHODS[name].parts:
        own = asdict(resolve_options(part, options_of_part(name, part, given)))
        assert own == {option: joined[option] for option in own}


def late(*parts):
    options = late_fusion_options(*(METHODS[part].options for part in parts))
    return MethodSpec("mixed", "", LateFusion, options, "both", "k", "o", parts=parts)


def test_a_pair_of_different_methods_is_one_line_of_the_registry(monkeypatch):
    monkeypatch.setitem(METHODS, "mixed", late("trx", "protonet_f"))
    method = build("mixed", metric="cosine")
    assert [type(part) for part in method.parts.values()] == [Trx, ProtoNet]
    assert isinstance(method.options, TrxOptions) and method.parts["protonet_f"].options.metric == "cosine"
    assert method(*clips()).log_posterior.isfinite().all()
    monkeypatch.setitem(METHODS, "mixed", late("trx", "otam"))
    with pytest.raises(BadParameter, match="of one modality each, each another one, but got .*'otam': 'rgb'"):
        build("mixed")


def test_a_part_that_reads_no_patches_gets_their_mean_beside_one_that_does(monkeypatch):
    monkeypatch.setitem(METHODS, "mixed", late("trx", "strm_f"))
    method, (support, query) = build("mixed").eval(), clips()
    assert method.uses_patches and support["rgb"].shape[-2] == P
    pooled = [{m: x.mean(-2, keepdim=True) for m, x in side.items()} for side in (support, query)]
    expected = build("trx").eval()(*pooled).log_posterior
    output = method(support, query).modality_log_posteriors["rgb"]
    np.testing.assert_allclose(output.detach(), expected.detach(), atol=1e-5)


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
        assert_equal_tensors(method.parts[part.method].state_dict(), trained)
    assert set(result.tests[cell].correct) == {"fused", "rgb", "flow"}
    assert result.tests[cell].correct["fused"].shape == (8, 3 * 2) and K == 2
