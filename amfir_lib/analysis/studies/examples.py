"""Clips and queries picked out to be looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from amfir_lib.data.manifest import Dataset
from amfir_lib.data.streams import streams
from amfir_lib.errors import BadParameter
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import QueryResults

SHOWN_SIZE = 112  # px, for looking at; the backbones see squares of their own size


@dataclass(frozen=True)
class Example:
    """Where a query stands and which clips belong to it.

    Attributes:
        episode: number in the list of test episodes.
        query: position among the M queries of the episode.
        support_rows: (N, K) manifest rows.
        query_row: manifest row.
        true_class: position 0..N-1 of the query's class.
    """

    episode: int
    query: int
    support_rows: np.ndarray
    query_row: int
    true_class: int


def choose_example(results: QueryResults, episodes: Episodes, *, episode: int = -1, query: int = -1) -> Example:
    """The wanted query, or the first on which exactly one modality is right.

    Args:
        results: of a method with two modalities on ``episodes``.
        episodes: the test episodes.
        episode: number in the list; -1 looks through the list.
        query: position in the episode; -1 takes the first on which exactly one modality is right (the first of all
            where there is none).
    Raises:
        BadParameter: there is no such episode or query.
    """
    n_episodes, n_queries = results.correct["fused"].shape
    for name, value, count in (("episode", episode, n_episodes), ("query", query, n_queries)):
        if not -1 <= value < count:
            raise BadParameter(f"{name} is {value}, but must be -1 or from 0 to {count - 1}. Correct it.")
    first, second = list(results.free_energy)
    split = results.correct[first] != results.correct[second]  # (E, M)
    if episode < 0:
        wanted = split.any(1) if query < 0 else split[:, query]
        episode = int(np.argmax(wanted))
    if query < 0:
        query = int(np.argmax(split[episode]))
    return Example(
        episode=episode,
        query=query,
        support_rows=episodes.support[episode],
        query_row=int(episodes.query[episode].ravel()[query]),
        true_class=int(episodes.target[episode, query]),
    )


def look_at(dataset: Dataset, row: int, *, n_segments: int = 8) -> dict[str, np.ndarray]:
    """One clip at a size for looking at: T frames, and the flow around them in px per frame of that size."""
    n_frames = int(dataset.manifest["n_frames"].iloc[row])
    sizes = {"rgb": SHOWN_SIZE, "flow": SHOWN_SIZE}
    return streams(dataset.clip_path(row), sizes, n_segments=n_segments, flow_size=SHOWN_SIZE, n_frames=n_frames)


def degradation_label(dataset: Dataset, row: int) -> str:
    """How a rendered clip is degraded, in words; empty for sound clips and for data sets that do not know."""
    if "kind" not in dataset.manifest:
        return ""
    kind = str(dataset.manifest["kind"].iloc[row])
    return "" if kind == "none" else kind.replace("_", " ")


def grid_of_clips(
    dataset: Dataset, split: str, *, n_classes: int, n_takes: int
) -> tuple[dict[str, list[np.ndarray]], list[list[str]]]:
    """A few takes of a few classes, evenly spread over the classes of a split.

    The first sound takes of a class, and last one that is degraded, where there is one.

    Returns:
        class -> takes, each uint8 (T, S, S, 3); and for each class what is written above its takes: how they are
        degraded.
    """
    classes = dataset.classes(split)
    chosen = [classes[i] for i in np.linspace(0, len(classes) - 1, min(n_classes, len(classes))).round().astype(int)]
    rows = {label: _some_takes(dataset, label, n_takes) for label in chosen}
    clips = {label: [look_at(dataset, row)["rgb"] for row in own] for label, own in rows.items()}
    return clips, [[degradation_label(dataset, row) for row in own] for own in rows.values()]


def _some_takes(dataset: Dataset, label: str, n_takes: int) -> list[int]:
    rows = np.flatnonzero(dataset.manifest["label"] == label).tolist()
    degraded = [row for row in rows if degradation_label(dataset, row)]
    sound = [row for row in rows if row not in degraded]
    last = degraded[: max(1, n_takes - len(sound))]
    return (sound[: n_takes - len(last)] + last)[:n_takes]


def examples_of_kinds(dataset: Dataset, split: str) -> dict[str, int]:
    """Kind of degradation -> row of the first clip of that kind in a split, sound clips first.

    For data sets that do not know: class -> row of its first clip, for four classes.
    """
    part = dataset.manifest.iloc[dataset.rows(split)]
    if "kind" not in part:
        return {str(label): int(own.index[0]) for label, own in list(part.groupby("label"))[:4]}
    order = ["none", *sorted(set(part["kind"]) - {"none"})]
    names = {kind: "sound" if kind == "none" else kind.replace("_", " ") for kind in order}
    return {names[kind]: int(part.index[part["kind"] == kind][0]) for kind in order if kind in set(part["kind"])}
