"""An episode picked and prepared for Figure 1."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from amfir_lib.analysis.studies.examples import look_at
from amfir_lib.data.flow import flow_to_colour
from amfir_lib.errors import BadParameter
from amfir_lib.explore.session import Session
from amfir_lib.figures.architecture import Scene
from amfir_lib.figures.clips import saturation_of
from amfir_lib.study.evaluation import FUSED

N_CLASSES = 3


def architecture_scene(session: Session, backbones: Mapping[str, Any]) -> Scene:
    """An episode and one query of each of its classes, chosen by a rule that the scene names.

    The rule asks for a query in each group and for one that is decided wrongly, as the method does err.

    Args:
        session: of a 3-way episode list and a method with two heads.
        backbones: modality -> feature extractor, for its name.
    Raises:
        BadParameter: another number of ways, or a method without two heads.
    """
    names = list(session.answers.free_energy)
    if session.episodes.n_way != N_CLASSES or len(names) != 2 or not hasattr(session.method, "heads"):
        raise BadParameter(
            f"Figure 1 needs {N_CLASSES}-way episodes and a method with two heads, but these are "
            f"{session.episodes.n_way}-way episodes of {session.result.run.method}. Open a session for it."
        )
    episode, queries, rule = _choose(session)
    answers = session.answers
    at = (episode, queries)
    supports = session.episodes.support[episode]  # (N, K)
    rows = np.concatenate([supports.ravel(), session.episodes.query[episode].ravel()[queries]])
    looked = [look_at(session.dataset, int(row)) for row in rows]
    limit = float(np.median([saturation_of(clip["flow"]) for clip in looked]))  # a shaken clip bleaches no other
    moving = [int(np.hypot(*np.moveaxis(clip["flow"], -1, 0)).mean((1, 2)).argmax()) for clip in looked]
    appearance, motion = names
    pairs = list(zip(looked, moving, strict=True))  # each clip at the instant at which it moves most
    pictures = {
        appearance: np.stack([clip["rgb"][t] for clip, t in pairs]),
        motion: np.stack([flow_to_colour(clip["flow"][t], max_displacement=limit) for clip, t in pairs]),
    }
    points = {m: in_plane_of_prototypes(vectors, supports.shape) for m, vectors in _vectors(session, rows).items()}
    n_supports = supports.size
    return Scene(
        class_names=tuple(session.class_names(episode)),
        supports={m: own[:n_supports].reshape(*supports.shape, *own.shape[1:]) for m, own in pictures.items()},
        queries={m: own[n_supports:] for m, own in pictures.items()},
        support_points={m: own[:n_supports].reshape(*supports.shape, 2) for m, own in points.items()},
        query_points={m: own[n_supports:] for m, own in points.items()},
        posteriors={stream: answers.posterior[stream][at] for stream in (*names, FUSED)},
        free_energy={m: answers.free_energy[m][at] for m in names},
        dominant=answers.dominant[at],
        weight={m: answers.weight[m][at] for m in names},
        backbone={m: type(backbones[m]).__name__ for m in names},
        head=type(session.method.heads[appearance]).__name__,
        rule=rule,
        n_episodes=len(session.episodes),
        accuracy=float(_right(session).mean()),
    )


def _choose(session: Session) -> tuple[int, np.ndarray, str]:
    """Episode, (N,) queries, one of each class, and the rule that they are the first to fit (empty: the very first)."""
    n_query = session.episodes.n_query
    classes = np.arange(N_CLASSES) * n_query
    right, dominant = _right(session), session.answers.dominant
    rules = {
        "each modality dominates at least one and just one is decided wrongly": 1,
        "each modality dominates at least one": None,
    }
    for rule, n_wrong in rules.items():
        for episode in range(len(session.episodes)):
            for places in itertools.product(range(n_query), repeat=N_CLASSES):
                queries = classes + places
                both = len(set(dominant[episode, queries]) - {""}) == 2
                if both and n_wrong in (None, int((~right[episode, queries]).sum())):
                    return episode, queries, rule
    return 0, classes, ""


def _right(session: Session) -> np.ndarray:
    """(E, M) whether the fused decision is right."""
    return session.answers.posterior[FUSED].argmax(-1) == session.episodes.target


@torch.inference_mode()
def _vectors(session: Session, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Video vectors of clips, (n, d) of each modality."""
    clips = {m: session.table.features[m][rows] for m in session.method.modalities}
    return {m: values.flatten(1).numpy().astype(np.float64) for m, values in session.method.embed(clips).items()}


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
