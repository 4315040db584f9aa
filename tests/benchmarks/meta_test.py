"""Meta-test of AMFIR on stored features: all episodes among the same clips, against one episode at a time."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from amfir_lib.methods import Method
from amfir_lib.methods.base import pick
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import FUSED, embed_clips, evaluate
from amfir_lib.study.feature_table import FeatureTable

from .data import draw, new_method, random_table
from .measure import Comparison, in_turn, verify


@torch.inference_mode()
def one_at_a_time(
    method: Method, table: FeatureTable, episodes: Episodes, *, embed_once: bool
) -> tuple[np.ndarray, torch.Tensor]:
    """The slow path: each episode is compared on its own.

    Args:
        method, table, episodes: as ``evaluate``.
        embed_once: each clip in the beginning; otherwise an episode's clips in every episode, as published codes do.
    Returns:
        (E, M) bool, whether each query is right, and (E, M) log p(y).
    """
    rows = np.unique(np.concatenate([episodes.support.ravel(), episodes.query.ravel()]))
    clips = embed_clips(method, table, rows) if embed_once else {}
    target = torch.from_numpy(episodes.target[:1])
    correct, true_log_posterior = [], []
    for support, query in zip(episodes.support, episodes.query, strict=True):
        if not embed_once:
            rows = np.unique(np.concatenate([support.ravel(), query.ravel()]))
            clips = embed_clips(method, table, rows)
        places = (torch.from_numpy(np.searchsorted(rows, own))[None] for own in (support, query.ravel()))
        output = method.compare(*(pick(clips, own) for own in places))
        correct.append(output.log_posterior.argmax(-1) == target)
        true_log_posterior.append(output.log_posterior.gather(-1, target[..., None])[..., 0])
    return torch.cat(correct).numpy(), torch.cat(true_log_posterior)


def compare(*, quick: bool) -> list[Comparison]:
    """10,000 episodes, 5-way 1-shot, 25 queries, two modalities of 256 features at 8 instants; also 5-shot."""
    n_episodes, n_slow = (100, 20) if quick else (10_000, 1_000)
    table = random_table(dim=256, n_classes=8 if quick else 40, modalities=("rgb", "flow"))
    method = new_method("amfir", table).eval()
    found = []
    for n_shot, embed_once in ((1, False), (5, False), (1, True), (5, True)):
        episodes = draw(table, n_episodes=n_episodes, n_shot=n_shot)
        some = episodes[:n_slow]
        fast = evaluate(method, table, some)
        correct, log_posterior = one_at_a_time(method, table, some, embed_once=embed_once)
        assert np.array_equal(fast.correct[FUSED], correct), "the two paths differ in an answer"
        own = torch.from_numpy(fast.true_log_posterior[FUSED])
        check = "answers identical, " + verify("log p(y)", own, log_posterior, atol=1e-4)
        loop = "a loop that embeds each clip once" if embed_once else "a loop that embeds the clips of every episode"
        goals = {"goal": 10.0, "limit": 3.0} if n_shot == 1 and not embed_once else {}
        found.append(
            in_turn(
                partial(evaluate, method, table, episodes),
                partial(one_at_a_time, method, table, some, embed_once=embed_once),
                fast_units=n_episodes,
                slow_units=n_slow,
                name=f"meta-test of AMFIR, 5-way {n_shot}-shot, 25 queries, against {loop}",
                check=check,
                unit="episode",
                total=n_episodes,
                note="The fast path answers from the inner products of all clips, which are counted in its time.",
                **goals,
            )
        )
    return found
