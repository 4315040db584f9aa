"""Each method against NumPy loops over one query, one clip, one frame at a time, written from its formulas.

Tolerance: 1e-9 between the batched code in float64 and the loops.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from test_otam import reference_cost
from toy_episodes import (
    LITERAL,
    M_QUERY,
    E,
    K,
    N,
    P,
    T,
    as_double,
    build,
    clips,
    front,
    layer_norm,
    linear,
    mlp,
    open_gate,
    positions,
    softmax,
    tokens,
    weights,
)

BARE = LITERAL | {"projection": False}


def flat(lists):
    return [x for part in lists for x in part]


def rebuilt(keys, class_keys, class_values):
    """What a class answers each key with: one softmax over all its keys weighs its values."""
    answers = []
    for key in keys:
        attention = softmax(np.array([key @ other / math.sqrt(len(key)) for other in class_keys]))
        answers.append(sum(a * v for a, v in zip(attention, class_values, strict=True)))
    return np.array(answers)


# For each method: a clip (T, P, D) -> what depends on it alone; then a query and [class][shot] -> (N,) distances.


def embed_protonet(clip, w, o):
    frames = front(clip, w)
    if o.prototype == "trx":
        frames = frames + 0.1 * positions(*frames.shape)
        keys = [layer_norm(linear(x, w, "key.0"), w, "key.1") for x in frames]
        return np.array(keys), np.array([linear(x, w, "value") for x in frames])
    return frames.mean(0) if o.pooling == "mean" else frames.ravel()


def compare_protonet(query, supports, w, o):
    distances = []
    for shots in supports:
        if o.prototype == "trx":
            answers = rebuilt(query[0], flat(keys for keys, _ in shots), flat(values for _, values in shots))
            left = query[1] - answers
            left = left.mean(0) if o.pooling == "mean" else left.ravel()
        else:
            left = query - np.mean(shots, axis=0)
        distances.append(np.linalg.norm(left) / (math.sqrt(len(left)) if o.scaled else 1))
    return np.array(distances)


def embed_cmn(clip, w, o):
    """The clip's vector, one frame and one hidden state at a time."""
    frames, states = front(clip, w), w["hidden"]
    share = [softmax(np.array([p @ h / math.sqrt(len(p)) for h in states])) for p in frames]
    parts = []
    for j, state in enumerate(states):
        u = sum(a[j] * (p - state) for p, a in zip(frames, share, strict=True))
        parts.append(u / np.linalg.norm(u))
    return linear(np.concatenate(parts), w, "out")


def compare_cmn(query, supports, w, o):
    squared = np.array([((query - np.mean(shots, axis=0)) ** 2).sum() for shots in supports])
    return squared / len(query) if o.scaled else squared


def embed_otam(clip, w, o):
    return [x / np.linalg.norm(x) for x in front(clip, w)]


def compare_otam(query, supports, w, o):
    def distance(a, b):
        cost = np.array([[1 - x @ y for y in b] for x in a])
        total = reference_cost(cost, o.smoothing) + reference_cost(cost.T, o.smoothing)
        return total / (len(a) + len(b)) if o.scaled else total

    return np.array([np.mean([distance(query, clip) for clip in shots]) for shots in supports])


def keys_and_values(frames, w, name, cardinality):
    tuples = [np.concatenate(chosen) for chosen in itertools.combinations(frames, cardinality)]
    keys = [layer_norm(linear(u, w, f"{name}.key"), w, f"{name}.key_norm") for u in tuples]
    return keys, np.array([linear(u, w, f"{name}.value") for u in tuples])


def attended(query, shots):
    keys, values = query
    answers = rebuilt(keys, flat(k for k, _ in shots), flat(v for _, v in shots))
    return ((values - answers) ** 2).sum() / len(keys)


def embed_trx(clip, w, o):
    frames = front(clip, w)
    frames = frames + 0.1 * positions(*frames.shape)
    return [keys_and_values(frames, w, f"tuples.{c}", int(c)) for c in o.cardinalities.split("+")]


def compare_trx(query, supports, w, o):
    each = [
        [attended(own, [clip[i] for clip in shots]) for i, own in enumerate(query)] for shots in supports
    ]  # one distance for each cardinality
    return np.mean(each, axis=1) / (o.tuple_width if o.scaled else 1)


def embed_strm(clip, w, o):
    frames = []
    for patches in tokens(clip, w):
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
    tuples = [np.concatenate(chosen) for chosen in itertools.combinations(frames, o.cardinality)]
    auxiliary = [np.maximum(linear(u, w, "aux_head"), 0) for u in tuples]
    mixed = frames + 0.1 * positions(*frames.shape)
    over_time = [mlp(mixed[:, channel], w, "frame_level.over_time", (0, 2)) for channel in range(mixed.shape[1])]
    mixed = mixed + np.array(over_time).T
    mixed = np.array([x + mlp(x, w, "frame_level.over_channels", (0, 2)) for x in mixed])
    return keys_and_values(mixed, w, "attention", o.cardinality), auxiliary


def compare_strm(query, supports, w, o):
    distances = []
    for shots in supports:
        known = flat(auxiliary for _, auxiliary in shots)
        nearest = np.mean([min(np.linalg.norm(own - other) for other in known) for own in query[1]])
        main = attended(query[0], [pair for pair, _ in shots])
        if o.scaled:
            main, nearest = main / o.tuple_width, nearest / math.sqrt(len(known[0]))
        distances.append(main + o.aux_weight * nearest)
    return np.array(distances)


def self_attention(rows, w, name, n_heads):
    """Multi-head self-attention of a list of tokens, one head and one token at a time."""
    query, key, value = np.split(np.array([linear(x, w, f"{name}.query_key_value") for x in rows]), 3, axis=1)
    size, mixed = query.shape[1] // n_heads, np.zeros_like(query)
    for head in range(n_heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(rows)):
            scores = np.array([query[i, part] @ key[j, part] for j in range(len(rows))]) / np.sqrt(size)
            mixed[i, part] = softmax(scores) @ value[:, part]
    return np.array([linear(x, w, f"{name}.out") for x in mixed])


def embed_hyrsm(clip, w, o):
    frames = front(clip, w)
    frames = frames * np.sqrt(frames.shape[1] / o.position_divisor) + o.position_weight * positions(*frames.shape)
    mixed = self_attention([layer_norm(x, w, "intra_norm") for x in frames], w, "intra", o.n_heads)
    return np.maximum(frames + mixed, 0)


def compare_hyrsm(query, supports, w, o):
    if o.support_tokens == "prototypes":
        supports = [[np.mean(shots, axis=0)] for shots in supports]
    videos = [*flat(supports), query]
    averages = [video.mean(0) for video in videos]
    mixed = self_attention(averages, w, "inter", o.n_heads)
    averages = [np.maximum(layer_norm(m + x, w, "inter_norm"), 0) for m, x in zip(mixed, averages, strict=True)]
    joined = [
        np.array([linear(np.concatenate([token, frame]), w, "join") for frame in video])
        for token, video in zip(averages, videos, strict=True)
    ]

    def hausdorff(first, second):
        cost = np.array([[1 - x @ y / np.sqrt((x @ x) * (y @ y)) for y in second] for x in first])
        return sum((np.mean if o.scaled else np.sum)(cost.min(axis)) for axis in (0, 1))

    to_videos = [hausdorff(video, joined[-1]) for video in joined[:-1]]
    return np.mean(np.reshape(to_videos, (N, -1)), axis=1)


REFERENCES = {
    "protonet": (embed_protonet, compare_protonet),
    "cmn": (embed_cmn, compare_cmn),
    "otam": (embed_otam, compare_otam),
    "trx": (embed_trx, compare_trx),
    "strm": (embed_strm, compare_strm),
    "hyrsm": (embed_hyrsm, compare_hyrsm),
}
CASES = [
    *(("protonet", o) for o in ({}, {"pooling": "mean"}, BARE)),
    *(("protonet", {"prototype": "trx"} | o) for o in ({}, {"pooling": "mean"})),
    *(("cmn", o) for o in ({}, {"n_saliency": 3, "scaled": False}, {"hidden_init": "constant"}, LITERAL)),
    *(("otam", o) for o in ({}, {"scaled": False, "logit_scale": 1.0}, {"smoothing": 0.5})),
    *(("trx", o) for o in ({}, {"cardinalities": "2"}, {"cardinalities": "3"}, LITERAL, BARE)),
    *(("strm", o) for o in ({}, {"cardinality": 3, "scaled": True, "logit_scale": 10.0}, LITERAL, BARE)),
    *(("strm", {"n_patches": 1} | o) for o in ({}, {"aux_weight": 0.7})),
    *(("hyrsm", o) for o in ({}, {"support_tokens": "videos"}, LITERAL | {"support_tokens": "videos"})),
    ("hyrsm", {"position_divisor": 2048.0, "position_weight": 0.01}),
]


@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_a_method_matches_loops_over_queries_clips_and_frames(name, options):
    sides = clips(n_patches=options.get("n_patches", P))
    method, support, query = as_double(open_gate(build(name, **options)), *sides)
    with torch.no_grad():
        for parameter in method.parameters():  # as after some training: nothing is zero or the identity any more
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    w = {key.removeprefix("heads.rgb."): values for key, values in weights(method).items()}
    embed, compare = REFERENCES[name]
    found = method(support, query).log_posterior.detach()
    for e in range(E):
        supports = [[embed(support["rgb"][e, k, j].numpy(), w, method.options) for j in range(K)] for k in range(N)]
        for i in range(M_QUERY):
            distances = compare(embed(query["rgb"][e, i].numpy(), w, method.options), supports, w, method.options)
            expected = softmax(-math.exp(w["log_scale"]) * distances)
            np.testing.assert_allclose(found[e, i].exp(), expected, atol=1e-9)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(x, hidden, cell, w, name, suffix):
    """One step of an LSTM from its equations: input, forget, cell and output gates."""
    gates = w[f"{name}.weight_ih{suffix}"] @ x + w[f"{name}.bias_ih{suffix}"]
    gates = gates + w[f"{name}.weight_hh{suffix}"] @ hidden + w[f"{name}.bias_hh{suffix}"]
    take, forget, new, out = np.split(gates, 4)
    cell = sigmoid(forget) * cell + sigmoid(take) * np.tanh(new)
    return sigmoid(out) * np.tanh(cell), cell


def in_context(supports, query, w):
    """Vectors of all supports and of one query, in full context: the query reads as often as there are supports."""
    zero, contexts = np.zeros_like(query), []
    for suffix, order in (("_l0", range(len(supports))), ("_l0_reverse", reversed(range(len(supports))))):
        hidden, cell, states = zero, zero, {}
        for j in order:
            hidden, cell = lstm_step(supports[j], hidden, cell, w, "context.supports", suffix)
            states[j] = hidden
        contexts.append(states)
    supports = [x + contexts[0][j] + contexts[1][j] for j, x in enumerate(supports)]
    hidden, cell = query, zero
    for _ in supports:
        attention = softmax(np.array([hidden @ x for x in supports]))
        read = sum(a * x for a, x in zip(attention, supports, strict=True))
        hidden, cell = lstm_step(np.concatenate([query, read]), hidden, cell, w, "context.query", "")
        hidden = hidden + query
    return supports, hidden


@pytest.mark.parametrize("options", [{}, {"pooling": "mean"}, {"fce": True}, {"fce": True, "pooling": "mean"}], ids=str)
def test_matching_net_matches_a_loop_over_queries_and_supports(options):
    method, support, query = as_double(build("matchingnet", **options), *clips())
    found, w = method(support, query).log_posterior.exp().detach().numpy(), weights(method)

    def vector(clip):
        frames = front(clip.numpy(), w)
        return frames.mean(0) if method.options.pooling == "mean" else frames.ravel()

    for e in range(E):
        vectors = [vector(support["rgb"][e, k, j]) for k in range(N) for j in range(K)]
        for i in range(M_QUERY):
            supports, q = vectors, vector(query["rgb"][e, i])
            if options.get("fce"):
                supports, q = in_context(supports, q, w)
            cosines = [q @ x / (np.linalg.norm(q) * np.linalg.norm(x)) for x in supports]
            attention = softmax(math.exp(w["log_scale"]) * np.array(cosines))
            np.testing.assert_allclose(found[e, i], attention.reshape(N, K).sum(1), atol=1e-9)


def joint_stream(clip, w, *, attend, layer):
    """modality -> (T, P, D) of one clip -> (T, P, width) joint stream, token by token."""
    projected = {}
    for m, features in clip.items():
        rows, names = features.reshape(-1, features.shape[-1]), f"fusion.project.{m}"
        projected[m] = [linear(layer_norm(x, w, f"{names}.0"), w, f"{names}.1") for x in rows]

    def enriched(m, other):
        result = []
        for x in projected[m]:
            query = linear(x, w, f"fusion.attend.{m}.query")
            scores = [query @ linear(y, w, f"fusion.attend.{m}.key") for y in projected[other]]
            attention = softmax(np.array(scores) / np.sqrt(len(x)))
            values = [linear(y, w, f"fusion.attend.{m}.value") for y in projected[other]]
            result.append(x + sum(a * v for a, v in zip(attention, values, strict=True)))
        return result

    streams = [enriched("rgb", "flow"), enriched("flow", "rgb")] if attend else [projected["rgb"], projected["flow"]]
    joint = [np.concatenate(pair) for pair in zip(*streams, strict=True)]
    if layer:
        joint = [np.maximum(linear(z, w, "fusion.layer.0"), 0) for z in joint]
    return np.array(joint).reshape(T, -1, len(joint[0]))


@pytest.mark.parametrize("layer", [False, True])
@pytest.mark.parametrize("name", ["protonet_ec", "protonet_ea", "strm_ec"])
def test_the_joint_stream_matches_loops_over_tokens_and_the_reader_gets_it(name, layer):
    method, support, query = as_double(build(name, early_layer=layer), *clips())
    w = weights(method)

    def stream(side):
        lead = side["rgb"].shape[:-3]
        each = [
            joint_stream({m: x[i].numpy() for m, x in side.items()}, w, attend=name == "protonet_ea", layer=layer)
            for i in np.ndindex(*lead)
        ]
        return {"joint": torch.from_numpy(np.array(each).reshape(*lead, *each[0].shape))}

    joined = {m: x.flatten(0, 1) for m, x in query.items()}
    np.testing.assert_allclose(method.fusion(joined).detach(), stream(query)["joint"].flatten(0, 1), atol=1e-9)
    expected = method.reader(stream(support), stream(query)).log_posterior  # the reader has a reference of its own
    np.testing.assert_allclose(method(support, query).log_posterior.detach(), expected.detach(), atol=1e-9)
