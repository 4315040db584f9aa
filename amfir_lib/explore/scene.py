"""An episode picked and prepared for Figure 1."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from amfir_lib.data.flow import flow_to_colour
from amfir_lib.explore.clips import look_at
from amfir_lib.explore.session import NEITHER, Session
from amfir_lib.figures.architecture import Scene
from amfir_lib.figures.clips import saturation_of
from amfir_lib.study.evaluation import FUSED

N_CLASSES = 3
BOTH_DOMINATE = "each modality dominates at least one"


def architecture_scene(session: Session, backbones: Mapping[str, Any]) -> Scene:
    """An episode and one query of each of its three classes, chosen by a rule that the scene names.

    The rule asks for a query in each group and for one that is decided wrongly, as the method does err.
    """
    answers, method = session.answers, session.method
    modalities = list(answers.free_energy)
    right = answers.posterior[FUSED].argmax(-1) == session.episodes.target
    episode, queries, rule = _choose(session, right)
    at = (episode, queries)
    supports = session.episodes.support[episode]  # (N, K)
    rows = np.concatenate([supports.ravel(), session.episodes.query[episode].ravel()[queries]])
    looked = [look_at(session.dataset, int(row)) for row in rows]
    limit = float(np.median([saturation_of(clip["flow"]) for clip in looked]))  # a shaken clip bleaches no other
    shown = []  # each clip at the instant at which it moves most
    for clip in looked:
        t = int(np.hypot(*np.moveaxis(clip["flow"], -1, 0)).mean((1, 2)).argmax())
        shown.append((clip["rgb"][t], flow_to_colour(clip["flow"][t], max_displacement=limit)))
    pictures = dict(zip(modalities, map(np.stack, zip(*shown, strict=True)), strict=True))
    with torch.inference_mode():
        embedded = method.embed({m: session.table.features[m][rows] for m in method.modalities})
    vectors = {m: x.flatten(1).numpy().astype(np.float64) for m, x in embedded.items()}
    points = {m: in_plane_of_prototypes(values, supports.shape) for m, values in vectors.items()}
    n = supports.size
    return Scene(
        class_names=tuple(session.class_names(episode)),
        supports={m: images[:n].reshape(*supports.shape, *images.shape[1:]) for m, images in pictures.items()},
        queries={m: images[n:] for m, images in pictures.items()},
        support_points={m: places[:n].reshape(*supports.shape, 2) for m, places in points.items()},
        query_points={m: places[n:] for m, places in points.items()},
        posteriors={stream: answers.posterior[stream][at] for stream in (*modalities, FUSED)},
        free_energy={m: answers.free_energy[m][at] for m in modalities},
        dominant=answers.dominant[at],
        weight={m: answers.weight[m][at] for m in modalities},
        backbone={m: type(backbones[m]).__name__ for m in modalities},
        head=type(method.heads[modalities[0]]).__name__,
        rule=rule,
        n_episodes=len(session.episodes),
        accuracy=float(right.mean()),
    )


def _choose(session: Session, right: np.ndarray) -> tuple[int, np.ndarray, str]:
    """Episode, (N,) queries, one of each class, and the rule that they are the first to fit (empty: the very first)."""
    n_query, dominant = session.episodes.n_query, session.answers.dominant
    first = np.arange(N_CLASSES) * n_query
    candidates = [*itertools.product(range(len(session.episodes)), *[range(n_query)] * N_CLASSES)]
    for rule, n_wrong in ((f"{BOTH_DOMINATE} and just one is decided wrongly", {1}), (BOTH_DOMINATE, {0, 1, 2, 3})):
        for episode, *places in candidates:
            queries = first + places
            both = len(set(dominant[episode, queries]) - {NEITHER}) == 2
            if both and int((~right[episode, queries]).sum()) in n_wrong:
                return episode, queries, rule
    return 0, first, ""


def in_plane_of_prototypes(vectors: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Coordinates of vectors in the plane through three class means; distances between these are kept.

    Args:
        vectors: (n, d); the N K supports first, class after class.
        shape: (N, K) with N = 3.
    Returns:
        (n, 2).
    """
    prototypes = vectors[: shape[0] * shape[1]].reshape(*shape, -1).mean(1)
    axes = np.linalg.svd(prototypes - prototypes.mean(0), full_matrices=False)[2][:2]
    axes *= np.sign(axes[:, :1]) + (axes[:, :1] == 0)  # the sign of a direction is arbitrary; this one is not
    return (vectors - prototypes.mean(0)) @ axes.T
