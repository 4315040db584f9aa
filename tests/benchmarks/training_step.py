"""A training step on a batch of episodes, against the same gradient one episode at a time."""

from __future__ import annotations

import torch

from amfir_lib.methods import Method
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.training import embed_episodes

from .data import draw, new_method, random_table
from .measure import Comparison, in_turn, verify

N_EPISODES = 8  # of a step of the study
METHODS = {"amfir": {}, "otam": {}, "hyrsm": {"dropout": False}, "trx": {"dropout": 0.0}, "strm": {"dropout": 0.0}}


def gradient(method: Method, table: FeatureTable, episodes: Episodes, *, at_once: int) -> torch.Tensor:
    """Gradient of the mean loss of the episodes, accumulated over parts of them; all parameters in one vector."""
    method.zero_grad()
    for start in range(0, len(episodes), at_once):
        part = episodes[start : start + at_once]
        support, query, target = embed_episodes(method, table, part)
        output = method.compare(support, query)
        given = {"classes": torch.from_numpy(part.classes)} if "n_base_classes" in method.needs else {}
        loss, _ = method.loss(output, target, **given)
        (loss * len(part) / len(episodes)).backward()
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.grad is not None])


def compare(*, quick: bool) -> list[Comparison]:
    """8 episodes, 5-way, 25 queries, the study's sizes; dropout off, since each batch draws its own."""
    found = []
    for name, options in METHODS.items():
        modalities = ("rgb", "flow") if name == "amfir" else ("rgb",)
        n_patches = 16 if name == "strm" else 1
        table = random_table(dim=96, n_classes=8 if quick else 64, n_patches=n_patches, modalities=modalities)
        method = new_method(name, table, **options)
        for n_shot in (1, 5):
            episodes = draw(table, n_episodes=2 if quick else N_EPISODES, n_shot=n_shot)

            def step(at_once: int, method=method, table=table, episodes=episodes) -> torch.Tensor:
                return gradient(method, table, episodes, at_once=at_once)

            whole, single = step(len(episodes)), step(1)
            scale = float(single.abs().max())
            found.append(
                in_turn(
                    lambda step=step, episodes=episodes: step(len(episodes)),
                    lambda step=step: step(1),
                    fast_units=len(episodes),
                    slow_units=len(episodes),
                    name=f"training step of {name}, 5-way {n_shot}-shot",
                    check=verify("gradient over its largest entry", whole / scale, single / scale, atol=1e-4),
                    unit="episode",
                    note="Forward and backward pass; the loop accumulates gradients.",
                )
            )
    return found
