"""HyRSM: intra- and inter-relation, base-class classifier, bidirectional mean Hausdorff distance.

Tolerances: 1e-9 between the batched code in float64 and loops; 1e-5 where sums run in another order in float32; exact
where both sides run the same operations.
"""

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
    Q,
    T,
    as_double,
    build,
    clips,
    gradients,
    layer_norm,
    linear,
    loss_of,
    positions,
    softmax,
    weights,
)
from toy_tables import QUICK, toy_table

from amfir_lib.distances import hausdorff
from amfir_lib.errors import BadParameter
from amfir_lib.methods import DataFacts, build_method, resolve_options
from amfir_lib.study.training import train

WIDTH, HEADS = 8, 2
SMALL = {"width": WIDTH, "n_heads": HEADS}
VARIANTS = [
    {},
    {"support_tokens": "videos"},
    {"preset": "paper_literal", "support_tokens": "videos"},
    {"position_divisor": 2048.0, "position_weight": 0.01},
]


def hyrsm(**options):
    return build("hyrsm", **{"n_patches": 1} | SMALL | options)


def reference_attention(tokens, w, name):
    """Multi-head self-attention of a list of tokens, one head and one token at a time."""
    projected = np.array([linear(x, w, f"{name}.query_key_value") for x in tokens])
    query, key, value = np.split(projected, 3, axis=1)
    size, mixed = WIDTH // HEADS, np.zeros((len(tokens), WIDTH))
    for head in range(HEADS):
        own = slice(head * size, (head + 1) * size)
        for i in range(len(tokens)):
            scores = np.array([query[i, own] @ key[j, own] for j in range(len(tokens))]) / np.sqrt(size)
            mixed[i, own] = softmax(scores) @ value[:, own]
    return np.array([linear(x, w, f"{name}.out") for x in mixed])


def reference_frames(clip, w, options):
    """(T, P, D) -> (T, d) after the intra-relation."""
    frames = []
    for patches in clip:
        if "norm.weight" in w:
            patches = [layer_norm(x, w, "norm") for x in patches]
        frames.append(np.mean([linear(x, w, "projection") for x in patches], axis=0))
    frames = np.array(frames) * np.sqrt(WIDTH / options.get("position_divisor", 10))
    frames = frames + options.get("position_weight", 1.0) * positions(T, WIDTH)
    mixed = reference_attention([layer_norm(x, w, "intra_norm") for x in frames], w, "intra")
    return np.maximum(frames + mixed, 0)


def reference_hausdorff(first, second, reduce):
    def distance(x, y):
        return 1 - x @ y / np.sqrt((x @ x) * (y @ y))

    forth = [min(distance(x, y) for y in second) for x in first]
    back = [min(distance(x, y) for x in first) for y in second]
    return reduce(forth) + reduce(back)


def reference_distances(query, supports, w, options):
    """(T, d) of a query and [class][shot] of supports -> distance to each class."""
    if options.get("support_tokens") != "videos":
        supports = [[np.mean(own, axis=0)] for own in supports]
    videos = [video for own in supports for video in own] + [query]
    tokens = [video.mean(0) for video in videos]
    mixed = reference_attention(tokens, w, "inter")
    tokens = [np.maximum(layer_norm(m + x, w, "inter_norm"), 0) for m, x in zip(mixed, tokens, strict=True)]
    joined = [
        np.array([linear(np.concatenate([token, frame]), w, "join") for frame in video])
        for token, video in zip(tokens, videos, strict=True)
    ]
    reduce = np.sum if options.get("preset") == "paper_literal" else np.mean
    to_videos = [reference_hausdorff(video, joined[-1], reduce) for video in joined[:-1]]
    n_shot = len(supports[0])
    return np.array([np.mean(to_videos[n * n_shot : (n + 1) * n_shot]) for n in range(N)])


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_hyrsm_matches_loops_over_queries_tokens_heads_and_frames(options):
    method, support, query = as_double(hyrsm(**options), *clips(n_patches=1))
    found, w = method(support, query).log_posterior, weights(method)
    scale = resolve_options("hyrsm", options).logit_scale
    for e in range(E):
        supports = [[reference_frames(support["rgb"][e, n, k].numpy(), w, options) for k in range(K)] for n in range(N)]
        for i in range(N * Q):
            own = reference_frames(query["rgb"][e, i].numpy(), w, options)
            expected = np.log(softmax(-scale * reference_distances(own, supports, w, options)))
            np.testing.assert_allclose(found[e, i].detach(), expected, atol=1e-9)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_the_order_of_supports_does_not_matter(options):
    method, (support, query) = hyrsm(**options).eval(), clips(n_patches=1)
    shuffled = {m: x.flip(2) for m, x in support.items()}
    a, b = method(support, query).log_posterior, method(shuffled, query).log_posterior
    np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_the_order_of_classes_permutes_the_answers(options):
    method, (support, query) = hyrsm(**options).eval(), clips(n_patches=1)
    turned = {m: x.roll(1, dims=1) for m, x in support.items()}
    a, b = method(support, query).log_posterior.roll(1, dims=-1), method(turned, query).log_posterior
    np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_a_query_is_classified_alone_whatever_the_other_queries_are(options):
    method, (support, query) = hyrsm(**options).eval(), clips(n_patches=1)
    other = {m: torch.cat([x[:, :2], clips(9, n_patches=1)[1][m][:, 2:]], 1) for m, x in query.items()}
    a, b = method(support, query).log_posterior[:, :2], method(support, other).log_posterior[:, :2]
    np.testing.assert_allclose(a.detach(), b.detach(), atol=1e-5)


@pytest.mark.parametrize("batch_mb", [1e-6, 1e-2, 1.0])
def test_blocks_of_any_size_give_the_same_answers_and_hold_no_more_queries_than_fit(batch_mb, monkeypatch):
    method, (support, query) = hyrsm(support_tokens="videos").eval(), clips(n_patches=1)
    expected, sizes, distances = method(support, query).log_posterior.detach(), [], method._distances

    def counted(members, queries):
        sizes.append(queries.shape[0] * queries.shape[1])
        return distances(members, queries)

    monkeypatch.setattr(method, "_distances", counted)
    method.batch_mb = batch_mb
    np.testing.assert_allclose(method(support, query).log_posterior.detach(), expected, atol=1e-5)
    floats = 7 * (3 * T * WIDTH + 8 * WIDTH + 2 * HEADS * 7 + T**2)  # of one query with its six supports
    assert sum(sizes) == E * N * Q and max(sizes) <= max(1, batch_mb * 2**18 / floats)


def test_with_one_support_a_class_prototypes_and_videos_are_the_same_method():
    support, query = clips(n_shot=1, n_patches=1)
    a, b = (hyrsm(support_tokens=kind).eval()(support, query).log_posterior for kind in ("prototypes", "videos"))
    assert torch.equal(a, b)


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_a_gradient_reaches_every_parameter(options):
    for parameter, gradient in gradients(hyrsm(**options), *clips(n_patches=1)).items():
        assert gradient is not None and gradient.abs().sum() > 1e-9, parameter


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e6])
def test_loss_and_gradients_are_finite_at_every_scale_and_when_all_clips_are_zero(scale):
    assert all(g.isfinite().all() for g in gradients(hyrsm(), *clips(n_patches=1, scale=scale)).values())


def test_hausdorff_of_the_worked_example_and_its_symmetry():
    first, second = torch.eye(2), torch.tensor([[1.0, 0.0]])
    assert hausdorff(first, second).item() == pytest.approx(0.5)
    assert hausdorff(first, second, mean=False).item() == pytest.approx(1.0)
    source = torch.Generator().manual_seed(0)
    a, b = torch.randn(7, 4, 5, generator=source), torch.randn(7, 3, 5, generator=source)
    np.testing.assert_allclose(hausdorff(a, b), hausdorff(b, a), atol=1e-6)
    np.testing.assert_allclose(hausdorff(a, b), hausdorff(3 * a.flip(1), b), atol=1e-6)  # sets, and only directions
    np.testing.assert_allclose(hausdorff(a, a), 0, atol=1e-6)


def test_the_auxiliary_loss_matches_a_loop_over_clips_and_frames():
    method, (support, query) = hyrsm(aux_weight=0.4).eval(), clips(n_patches=1)
    output, w = method(support, query), weights(method)
    loss, terms = method.loss(output, TARGET, classes=CLASSES)
    each = []
    for e in range(E):
        clips_here = [(output.support_frames[e, n, k], CLASSES[e, n]) for n in range(N) for k in range(K)]
        clips_here += [(output.query_frames[e, i], CLASSES[e, TARGET[e, i]]) for i in range(N * Q)]
        for frames, label in clips_here:
            each += [-np.log(softmax(linear(x, w, "classifier"))[label]) for x in frames.detach().double().numpy()]
    assert terms["aux_ce"].item() == pytest.approx(np.mean(each), abs=1e-5)
    assert loss.item() == pytest.approx(terms["ce"].item() + 0.4 * np.mean(each), abs=1e-5)
    alone, terms = method.loss(output, TARGET)
    assert alone.item() == terms["ce"].item() and "aux_ce" not in terms


def test_training_hands_over_the_numbers_of_the_base_classes(monkeypatch):
    table = replace(toy_table(), splits=np.repeat(("val", "train", "test"), (36, 30, 36)))  # labels 6 to 10 are base
    assert table.base_classes.tolist() == [6, 7, 8, 9, 10]
    method = build_method(
        "hyrsm", dims={"rgb": 6, "flow": 5}, options=SMALL, generator=torch.Generator().manual_seed(0),
        facts=DataFacts(n_base_classes=5, n_patches={}),
    )  # fmt: skip
    seen, loss = [], method.loss

    def noted(output, target, classes):
        seen.append(classes)
        return loss(output, target, classes)

    monkeypatch.setattr(method, "loss", noted)
    history = train(method, table, QUICK, seed=0).history
    seen = torch.stack(seen)
    assert seen.shape == (QUICK.steps, QUICK.episodes_per_step, QUICK.n_way)
    assert seen.unique().tolist() == [0, 1, 2, 3, 4]
    assert np.isfinite(history["aux_ce"]).all()


def test_training_on_toy_clips_lowers_the_loss_and_learns_the_base_classes():
    method = build_method(
        "hyrsm", dims={"rgb": 6, "flow": 5}, options=SMALL | {"aux_weight": 0.4},
        generator=torch.Generator().manual_seed(0), facts=DataFacts(n_base_classes=6, n_patches={}),
    )  # fmt: skip
    settings = replace(QUICK, steps=60, episodes_per_step=4, validate_every=60)
    history = train(method, toy_table(noise=0.3), settings, seed=0).history
    for name in ("loss", "aux_ce"):
        assert history[name].tail(10).mean() < 0.8 * history[name].head(10).mean()


def test_an_interrupted_training_draws_the_dropout_that_it_would_have_drawn(tmp_path):
    def new():
        return build_method(
            "hyrsm", dims={"rgb": 6, "flow": 5}, options=SMALL, generator=torch.Generator().manual_seed(0),
            facts=DataFacts(n_base_classes=6, n_patches={}),
        )  # fmt: skip

    whole, stopped, checkpoint = train(new(), toy_table(), QUICK, seed=0), new(), tmp_path / "checkpoint.pt"
    loss, calls = stopped.loss, iter(range(5))

    def counted(output, target, classes):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return loss(output, target, classes)

    stopped.loss = counted
    with pytest.raises(KeyboardInterrupt):
        train(stopped, toy_table(), QUICK, seed=0, checkpoint=checkpoint)
    assert checkpoint.exists()
    resumed = train(new(), toy_table(), QUICK, seed=0, checkpoint=checkpoint)
    assert resumed.history.equals(whole.history)


def test_dropout_is_of_training_only_and_can_be_left_out():
    support, query = clips(n_patches=1)
    method = hyrsm()
    assert not torch.equal(method(support, query).log_posterior, method(support, query).log_posterior)
    assert torch.equal(method.eval()(support, query).log_posterior, method(support, query).log_posterior)
    assert torch.equal(hyrsm(dropout=False)(support, query).log_posterior, method(support, query).log_posterior)


def test_heads_that_do_not_divide_the_width_and_a_missing_number_of_classes_are_refused():
    with pytest.raises(BadParameter, match="n_heads is 3, but must divide the width 8"):
        hyrsm(n_heads=3)
    with pytest.raises(BadParameter, match=r'"hyrsm" must know n_base_classes of the data set'):
        build_method("hyrsm", dims=DIMS, generator=torch.Generator())


def test_the_classifier_has_an_output_for_each_base_class_and_no_part_in_the_answer():
    method, (support, query) = hyrsm(), clips(n_patches=1)
    assert method.classifier.out_features == N_BASE
    loss, _ = loss_of(method, support, query)
    loss.backward()
    before = method.eval()(support, query).log_posterior
    method.classifier.weight.data.zero_()
    assert torch.equal(method(support, query).log_posterior, before)
