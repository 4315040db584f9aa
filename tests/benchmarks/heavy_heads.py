"""Evaluation of the heavy heads against loops written as the published codes run them.

What depends on a clip alone is computed once for each clip and not once for each episode it occurs in.
"""

from __future__ import annotations

import torch

from amfir_lib.methods import Method
from amfir_lib.methods.base import pick
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.feature_table import FeatureTable

from .data import draw, new_method, random_table
from .measure import Comparison, in_turn, verify
from .published_loops import LOOPS

PUBLISHED = {"layer_norm": False, "projection": False, "scaled": False, "logit_scale": 1.0, "learn_temperature": False}
N_EPISODES = 1000  # as in a cell of the study: embedding each clip once pays the more, the more episodes share it
STUDY = {"dim": 96, "n_slow": 20, "options": {}}
CASES = (  # method, goal, sizes
    ("trx", 8.0, {"dim": 2048, "n_slow": 2, "options": {**PUBLISHED, "tuple_width": 1152}}),
    ("otam", 8.0, {"dim": 2048, "n_slow": 10, "options": PUBLISHED}),
    ("trx", None, STUDY),
    ("otam", None, STUDY),
    ("strm", None, {**STUDY, "n_patches": 16}),
    ("hyrsm", None, STUDY),
)


def label_of(*, dim: int, n_patches: int, options: dict) -> str:
    """The sizes of a case in words."""
    width = options.get("tuple_width", 64 if options.get("projection", True) else 0)
    return ", ".join([f"D = {dim}"] + [f"{n_patches} patches"] * (n_patches > 1) + [f"width {width}"] * (width > 0))


@torch.inference_mode()
def one_at_a_time(name: str, method: Method, table: FeatureTable, episodes: Episodes) -> torch.Tensor:
    """(E, M, N) distances by the published loop, times the logit scale as ``EpisodeOutput.distances`` are."""
    method.eval()
    features = table.features["rgb"]
    distances = [
        LOOPS[name](method, features[support], features[query.ravel()])
        for support, query in zip(episodes.support, episodes.query, strict=True)
    ]
    return torch.stack(distances) * method.log_scale.exp()


@torch.inference_mode()
def together(method: Method, table: FeatureTable, episodes: Episodes) -> torch.Tensor:
    """(E, M, N) distances of the study's path, for the check."""
    method.eval()
    clips = method.embed({"rgb": table.features["rgb"]})
    support, query = torch.from_numpy(episodes.support), torch.from_numpy(episodes.query).flatten(1)
    return method.compare(pick(clips, support), pick(clips, query)).distances["rgb"]


def compare(*, quick: bool) -> list[Comparison]:
    """All cases at 1 and 5 shots, 5-way, 25 queries, T = 8."""
    found = []
    for name, goal, case in CASES:
        dim, options = (32, {**case["options"], "tuple_width": 48}) if quick and case["dim"] > 96 else (
            case["dim"], case["options"]
        )  # fmt: skip
        if quick and name != "trx":
            options = {k: v for k, v in options.items() if k != "tuple_width"}
        n_patches = case.get("n_patches", 1)
        label = label_of(dim=dim, n_patches=n_patches, options=options)
        table = random_table(dim=dim, n_classes=8 if quick else 20, n_patches=n_patches)
        method = new_method(name, table, **options)
        if getattr(method, "patch_level", None) is not None:
            torch.nn.init.constant_(method.patch_level.gamma, 0.5)  # as after some training
        for n_shot in (1, 5):
            n_episodes, n_slow = (4, 2) if quick else (N_EPISODES, case["n_slow"])
            episodes = draw(table, n_episodes=n_episodes, n_shot=n_shot)
            few = episodes[:2]
            slow_distances = one_at_a_time(name, method, table, few)
            scale = float(slow_distances.abs().max())
            check = verify(
                "distances over the largest", together(method, table, few) / scale, slow_distances / scale, atol=1e-4
            )
            found.append(
                in_turn(
                    lambda method=method, table=table, episodes=episodes: evaluate(method, table, episodes),
                    lambda name=name, method=method, table=table, episodes=episodes[:n_slow]: one_at_a_time(
                        name, method, table, episodes
                    ),
                    fast_units=n_episodes,
                    slow_units=n_slow,
                    name=f"evaluation of {name} ({label}), 5-way {n_shot}-shot, 25 queries",
                    check=check,
                    unit="episode",
                    goal=goal if name == "otam" or n_shot == 1 else None,
                    note="Embedding each clip once is in the fast time.",
                )
            )
    return found
