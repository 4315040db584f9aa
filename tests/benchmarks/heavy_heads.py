"""Evaluation of the heavy heads against loops written as the published codes run them.

What depends on a clip alone is computed once for each clip and not once for each episode it occurs in.  What remains
for each episode bounds the gain: the bound is the number of multiplications of a loop's episode over those of an
episode whose clips are embedded already.
"""

from __future__ import annotations

from math import comb

import torch

from amfir_lib.methods import Method
from amfir_lib.methods.base import pick
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.feature_table import FeatureTable

from .data import T, draw, new_method, random_table
from .measure import Comparison, in_turn, verify
from .published_loops import LOOPS

WAY, QUERIES = 5, 25
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


def multiplications(name: str, *, dim: int, n_shot: int, n_patches: int = 1, options: dict) -> tuple[int, int]:
    """Of one episode: all of the published loop's, and those that remain once clips are embedded.

    Only products of matrices are counted, which are nearly all.
    """
    projected = options.get("projection", True)
    d, tuple_width = 64 if projected else dim, options.get("tuple_width", 64)
    n_clips, n_pairs = WAY * n_shot + QUERIES, QUERIES * WAY * n_shot
    front = T * n_patches * dim * d if projected else 0
    if name == "otam":
        return n_clips * front + n_pairs * T * T * d, n_pairs * T * T * d
    if name == "hyrsm":
        tokens = QUERIES * (WAY + 1)
        intra = T * 4 * d**2 + 2 * T * T * d
        among = tokens * 2 * (WAY + 1) * d + QUERIES * WAY * T * T * d  # attention, and cosines of frames
        loop = n_clips * (front + intra) + tokens * (4 * d**2 + T * 2 * d**2) + among
        return loop, (WAY + QUERIES) * (3 * d**2 + T * d**2) + tokens * 2 * d**2 + among
    once, remaining = n_clips * front, 0
    for w in (2,) if name == "strm" else (2, 3):
        once += n_clips * 2 * comb(T, w) * w * d * tuple_width
        remaining += n_pairs * 2 * comb(T, w) ** 2 * tuple_width
    if name == "strm":
        once += n_clips * T * n_patches * (3 * d**2 + 2 * n_patches * d + d**2 + d**2 // 4)
        once += n_clips * comb(T, 2) * d**2
        remaining += n_pairs * comb(T, 2) ** 2 * d // 2
    return once + remaining, remaining


@torch.inference_mode()
def one_at_a_time(name: str, method: Method, table: FeatureTable, episodes: Episodes) -> torch.Tensor:
    """(E, M, N) distances by the published loop, times the logit scale as ``EpisodeOutput.distances`` are."""
    method.eval()
    features = table.features["rgb"]
    found = [
        LOOPS[name](method, features[support], features[query.ravel()])
        for support, query in zip(episodes.support, episodes.query, strict=True)
    ]
    return torch.stack(found) * method.log_scale.exp()


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
            loop, remaining = multiplications(name, dim=dim, n_shot=n_shot, n_patches=n_patches, options=options)
            seconds = in_turn(
                lambda method=method, table=table, episodes=episodes: evaluate(method, table, episodes),
                lambda name=name, method=method, table=table, episodes=episodes[:n_slow]: one_at_a_time(
                    name, method, table, episodes
                ),
                fast_units=n_episodes,
                slow_units=n_slow,
            )
            found.append(
                Comparison(
                    name=f"evaluation of {name} ({label}), 5-way {n_shot}-shot, 25 queries",
                    sizes={"episodes": n_episodes, "episodes of the loop": n_slow, "clips": len(table.labels)},
                    check=check,
                    unit="episode",
                    goal=goal if name == "otam" or n_shot == 1 else None,
                    bound=loop / remaining,
                    note=(
                        f"An episode of the loop takes {loop / 1e6:,.0f} million multiplications, of "
                        f"which {remaining / 1e6:,.0f} million remain; embedding each clip once is in the fast time."
                    ),
                    **seconds,
                )
            )
    return found
