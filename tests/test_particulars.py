"""What is particular to one method: where its layers begin, what its own terms are, and its published size.

Tolerances: exact where both sides run the same operations; 1e-5 where sums run in another order in float32.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_episodes import (
    CLASSES,
    DIMS,
    N_BASE,
    TARGET,
    E,
    K,
    N,
    P,
    Q,
    T,
    build,
    clips,
    gradients,
    linear,
    loss_of,
    open_gate,
    softmax,
    weights,
)
from toy_tables import QUICK, new_method, toy_table

from amfir_lib.distances import hausdorff
from amfir_lib.methods import build_method
from amfir_lib.methods.early_fusion import align_time
from amfir_lib.study.training import train


def test_matching_net_gives_the_worked_example():
    """Two classes; the query equals one support of the first, and is at right angles to the other three supports.

    Attention at logit scale ln 9: 9 on one support and 1 on each of three, so p = (10/12, 2/12).
    """
    method = build("matchingnet", layer_norm=False, projection=False, logit_scale=math.log(9))
    one, other = torch.eye(6)[0], torch.eye(6)[1]
    supports = torch.stack((torch.stack((one, other)), torch.stack((other, other))))  # (N, K, d)
    answer = method.compare({"rgb": supports[None]}, {"rgb": one[None, None]})
    np.testing.assert_allclose(answer.log_posterior.exp().detach()[0, 0], [10 / 12, 2 / 12], atol=1e-4)


def test_the_embedding_of_cmn_begins_as_the_sum_of_its_parts_each_of_length_one():
    for options, length in (({"n_saliency": 1}, 1), ({"hidden_init": "constant"}, 8)):  # eight equal parts
        vectors = build("cmn", **options).embed({"rgb": clips()[1]["rgb"].flatten(0, 1)})["rgb"]
        np.testing.assert_allclose(vectors.detach().norm(dim=-1), length, atol=1e-4)


@pytest.mark.parametrize(("hidden_init", "equal"), [("constant", True), ("normal", False)])
def test_hidden_states_of_cmn_that_begin_equal_stay_equal_in_training(hidden_init, equal):
    method = new_method("cmn", width=6, hidden_init=hidden_init)
    before = method.hidden.detach().clone()
    train(method, toy_table(), replace(QUICK, steps=12, validate_every=12), seed=0)
    assert (method.hidden.detach() - before).abs().max() > 1e-3
    spread = (method.hidden - method.hidden[:1]).abs().max().item()
    assert (spread < 1e-5) if equal else (spread > 1e-2)


def test_published_sizes_of_cmn_and_trx_on_raw_resnet_features():
    bare, source = {"projection": False, "learn_temperature": False}, torch.Generator("cpu")
    with torch.device("meta"):
        cmn = build_method("cmn", dims={"rgb": 2048}, options=bare, generator=source)
        trx = build_method("trx", dims={"rgb": 2048}, options=bare | {"tuple_width": 1152}, generator=source)
    assert cmn.out.weight.numel() == 8 * 2048 * 2048  # 33.6 million
    counts = [sum(p.numel() for p in [*w.key.parameters(), *w.value.parameters()]) for w in trx.tuples.values()]
    assert [round(count / 1e6, 1) for count in counts] == [9.4, 14.2]


def test_all_supports_of_a_class_share_one_softmax_in_trx():
    method, (support, query) = build("trx", scaled=False, logit_scale=1.0).eval(), clips()
    alone = [method({"rgb": support["rgb"][:, :, j : j + 1]}, query).distances["rgb"] for j in range(K)]
    together = method(support, query).distances["rgb"]
    assert not torch.allclose(together, torch.stack(alone).mean(0), atol=1e-3)
    thrice = method({"rgb": support["rgb"][:, :, :1].repeat(1, 1, 3, 1, 1, 1)}, query).distances["rgb"]
    np.testing.assert_allclose(thrice.detach(), alone[0].detach(), atol=1e-5)  # copies change nothing
    support, _ = clips(n_shot=1)
    assert (method(support, {"rgb": support["rgb"][:, :, 0]}).log_posterior.argmax(-1) == torch.arange(N)).all()


@pytest.mark.parametrize("name", ["trx", "hyrsm", "strm"])
def test_dropout_acts_in_training_alone_and_each_step_draws_anew(name):
    method, sides = build(name), clips()
    assert not torch.equal(method(*sides).log_posterior, method(*sides).log_posterior)
    settled = method.eval()(*sides).log_posterior
    assert torch.equal(method(*sides).log_posterior, settled)
    assert torch.equal(build(name, dropout=False if name == "hyrsm" else 0.0)(*sides).log_posterior, settled)


def test_blocks_of_any_size_give_the_answers_of_hyrsm_and_hold_no_more_queries_than_fit(monkeypatch):
    method, sides = build("hyrsm", support_tokens="videos").eval(), clips()
    expected, sizes, distances = method(*sides).log_posterior.detach(), [], method._distances

    def counted(members, queries):
        sizes.append(queries.shape[0] * queries.shape[1])
        return distances(members, queries)

    monkeypatch.setattr(method, "_distances", counted)
    floats = 7 * (3 * T * 8 + 8 * 8 + 2 * 2 * 7 + T**2)  # of one query with its six supports
    for allowed, largest in ((0.1, 1), (4, 4), (N * Q, N * Q), (13, 12)):
        sizes.clear()
        method.batch_mb = allowed * floats / 2**18
        np.testing.assert_allclose(method(*sides).log_posterior.detach(), expected, atol=1e-5)
        assert max(sizes) == largest and sum(sizes) == E * N * Q


# STRM


def test_at_the_start_of_strm_only_the_gate_of_the_patch_attention_learns_and_its_layers_follow():
    method = build("strm")
    gated = {f"patch_level.{layer}.{part}" for layer in ("query", "value") for part in ("weight", "bias")}
    gated.add("patch_level.key.weight")
    for parameter, gradient in gradients(method, *clips()).items():
        assert (gradient.abs().sum() == 0) == (parameter in gated), parameter
    torch.optim.SGD(method.parameters(), lr=0.1).step()
    assert method.patch_level.gamma != 0
    assert all(gradient.abs().sum() > 0 for gradient in gradients(method, *clips()).values())


def test_the_loss_of_strm_is_cross_entropy_plus_a_tenth_of_that_of_the_query_class_similarity():
    method, (support, query) = build("strm").eval(), clips()
    output = method(support, query)
    loss, terms = method.loss(output, TARGET)
    right = np.eye(N)[TARGET.numpy()] == 1
    main, auxiliary = (-x.detach().numpy()[right].mean() for x in (output.attention, output.auxiliary))
    assert loss.item() == pytest.approx(main + 0.1 * auxiliary, rel=1e-5)
    assert terms["ce"].item() == pytest.approx(main, rel=1e-5) and terms["gamma"] == 0
    early = build("strm_ec", aux_weight=0.5).eval()
    loss, terms = early.loss(early(support, query), TARGET)
    assert loss.item() == pytest.approx((terms["ce"] + 0.5 * terms["aux_ce"]).item())


def test_a_random_auxiliary_head_stays_as_drawn_while_a_trained_one_moves():
    for kind, moves in (("random", False), ("trained", True)):
        method = build("strm", aux_head=kind)
        before = method.aux_head.weight.clone()
        optimiser = torch.optim.SGD(method.parameters(), lr=0.1, weight_decay=0.1)
        loss_of(method, *clips())[0].backward()
        optimiser.step()
        assert torch.equal(method.aux_head.weight, before) != moves


def test_where_a_patch_is_matters_to_strm_and_one_patch_leaves_its_patch_level_out():
    method, (support, query) = open_gate(build("strm")).eval(), clips()
    given = method(support, query).log_posterior
    assert not torch.allclose(given, method(support, {"rgb": query["rgb"].flip(-2)}).log_posterior)
    lite = build("strm", n_patches=1)
    assert not [name for name, _ in lite.named_parameters() if name.startswith("patch_level")]
    assert all(gradient.abs().sum() > 0 for gradient in gradients(lite, *clips(n_patches=1)).values())


# HyRSM


def test_with_one_support_a_class_prototypes_and_videos_are_the_same_method():
    sides = clips(n_shot=1)
    a, b = (build("hyrsm", support_tokens=kind).eval()(*sides).log_posterior for kind in ("prototypes", "videos"))
    assert torch.equal(a, b)


def test_hausdorff_of_the_worked_example_and_its_symmetry():
    first, second = torch.eye(2), torch.tensor([[1.0, 0.0]])
    assert hausdorff(first, second).item() == pytest.approx(0.5)
    assert hausdorff(first, second, mean=False).item() == pytest.approx(1.0)
    source = torch.Generator().manual_seed(0)
    a, b = torch.randn(7, 4, 5, generator=source), torch.randn(7, 3, 5, generator=source)
    np.testing.assert_allclose(hausdorff(a, b), hausdorff(b, a), atol=1e-6)
    np.testing.assert_allclose(hausdorff(a, b), hausdorff(3 * a.flip(1), b), atol=1e-6)  # sets, and only directions
    np.testing.assert_allclose(hausdorff(a, a), 0, atol=1e-6)


def test_the_auxiliary_loss_of_hyrsm_matches_a_loop_over_clips_and_frames():
    method, (support, query) = build("hyrsm", aux_weight=0.4).eval(), clips()
    output, w = method(support, query), weights(method)
    loss, terms = method.loss(output, TARGET, classes=CLASSES)
    surprises = []
    for e in range(E):
        labelled = [(output.support_frames[e, n, k], CLASSES[e, n]) for n in range(N) for k in range(K)]
        labelled += [(output.query_frames[e, i], CLASSES[e, TARGET[e, i]]) for i in range(N * Q)]
        for frames, label in labelled:
            rows = frames.detach().double().numpy()
            surprises += [-np.log(softmax(linear(x, w, "classifier"))[label]) for x in rows]
    assert terms["aux_ce"].item() == pytest.approx(np.mean(surprises), abs=1e-5)
    assert loss.item() == pytest.approx(terms["ce"].item() + 0.4 * np.mean(surprises), abs=1e-5)
    alone, terms = method.loss(output, TARGET)
    assert alone.item() == terms["ce"].item() and "aux_ce" not in terms
    assert method.classifier.out_features == N_BASE
    method.classifier.weight.data.zero_()  # it has no part in the answer
    assert torch.equal(method(support, query).log_posterior, output.log_posterior)


def test_training_hands_over_the_numbers_of_the_base_classes(monkeypatch):
    table = replace(toy_table(), splits=np.repeat(("val", "train", "test"), (36, 30, 36)))  # labels 6 to 10 are base
    assert table.base_classes.tolist() == [6, 7, 8, 9, 10]
    method, seen = build("hyrsm", n_patches=1), []
    loss = method.loss

    def noted(output, target, classes):
        seen.append(classes)
        return loss(output, target, classes)

    monkeypatch.setattr(method, "loss", noted)
    history = train(method, table, QUICK, seed=0).history
    assert torch.stack(seen).shape == (QUICK.steps, QUICK.episodes_per_step, QUICK.n_way)
    assert torch.stack(seen).unique().tolist() == [0, 1, 2, 3, 4]
    assert np.isfinite(history["aux_ce"]).all()


# early fusion


@pytest.mark.parametrize("name", ["protonet_ec", "protonet_ea", "strm_ec"])
def test_both_modalities_change_the_answer_of_early_fusion(name):
    method, (support, query) = build(name).eval(), clips()
    given = method(support, query).log_posterior
    for m in DIMS:
        changed = query | {m: clips(9)[1][m]}
        assert not torch.allclose(given, method(support, changed).log_posterior, atol=1e-3)


def test_in_ea_the_values_of_one_modality_reach_the_channels_of_the_other_and_in_ec_they_do_not():
    flat = {m: x.flatten(0, 1) for m, x in clips()[1].items()}
    other = flat | {"flow": flat["flow"].roll(1, dims=0)}
    for name, reached in (("protonet_ec", False), ("protonet_ea", True)):
        stream = build(name).fusion
        assert torch.equal(stream(flat)[..., :4], stream(other)[..., :4]) != reached  # the first modality's channels


def test_flow_of_fewer_instants_is_interpolated_linearly_to_those_of_the_first_modality():
    line = torch.arange(2.0).reshape(1, 2, 1, 1).expand(1, 2, P, 5)
    np.testing.assert_allclose(align_time(line, 4)[0, :, 0, 0], [0, 0.25, 0.75, 1])  # instants are centres of segments
    assert align_time(line, 2) is line
    short = [{"rgb": side["rgb"], "flow": side["flow"][..., :2, :, :]} for side in clips()]
    assert build("protonet_ec")(*short).log_posterior.shape == (E, N * Q, N)
