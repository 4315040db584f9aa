"""Episodes: which clips are support and which are query (Sec. 3.1).

An episode has N classes, K support clips and Q query clips of each.  Clips of one group (one source video, one person)
look alike, so an episode that has a group on both sides tests memory, not recognition.  The groups of an episode's
supports and of its queries are therefore disjoint over the whole episode, across classes too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amfir_lib.errors import BadParameter, ShapeError, TooFewVideos
from amfir_lib.storage import digest_of_array

N_HALVES = 20  # draws with half of the groups on each side, before other shares are tried
SIZES = ("n_way", "n_shot", "n_query", "n_episodes")
MAX_DRAWS = 2000  # draws before an episode is called impossible


@dataclass(frozen=True)
class Episodes:
    """A fixed list of E episodes, as row numbers into the manifest.

    Attributes:
        support: (E, N, K) int64 rows of the support clips.
        query: (E, N, Q) int64 rows of the query clips; queries of class n are at position n.
        classes: (E, N) int64 labels of the classes; position n is the label 0..N-1 inside the episode.
    """

    support: np.ndarray
    query: np.ndarray
    classes: np.ndarray

    def __post_init__(self) -> None:
        if not self.support.shape[:2] == self.query.shape[:2] == self.classes.shape:
            raise ShapeError(
                f"support {self.support.shape}, query {self.query.shape} and classes {self.classes.shape} must agree "
                "in episodes and ways. Build episodes with sample_episodes."
            )

    def __len__(self) -> int:
        return len(self.support)

    def __getitem__(self, index: slice | np.ndarray | Sequence[int]) -> Episodes:
        """The episodes chosen by a slice or an index array, in that order."""
        return Episodes(self.support[index], self.query[index], self.classes[index])

    @property
    def n_way(self) -> int:
        return self.support.shape[1]

    @property
    def n_shot(self) -> int:
        return self.support.shape[2]

    @property
    def n_query(self) -> int:
        """Queries per class; an episode has M = n_way * n_query queries."""
        return self.query.shape[2]

    @property
    def target(self) -> np.ndarray:
        """(E, M) int64 positions 0..N-1 of the true class, in the order of ``query`` flattened over (N, Q)."""
        return np.tile(np.repeat(np.arange(self.n_way), self.n_query), (len(self), 1))

    @property
    def rows(self) -> np.ndarray:
        """The rows that occur, ascending, each once."""
        return np.unique(np.concatenate([self.support.ravel(), self.query.ravel()]))

    def on_rows(self, rows: np.ndarray) -> Episodes:
        """The same episodes with rows numbered as in a table that holds only ``rows`` (ascending)."""
        return Episodes(np.searchsorted(rows, self.support), np.searchsorted(rows, self.query), self.classes)

    @property
    def digest(self) -> str:
        """Digest of the three index arrays: equal digests mean identical episodes."""
        return digest_of_array(self.support, self.query, self.classes)


@dataclass(frozen=True)
class _ClassClips:
    """The clips of one class, and the groups that they come from (compact numbers 0..G-1)."""

    rows: np.ndarray  # (n,) manifest rows
    group_of_clip: np.ndarray  # (n,)
    groups: np.ndarray  # (g,) sorted, unique
    sizes: np.ndarray  # (g,) clips per group


def sample_episodes(
    labels: np.ndarray,
    groups: np.ndarray,
    rows: np.ndarray,
    *,
    n_way: int,
    n_shot: int,
    n_query: int,
    n_episodes: int,
    rng: np.random.Generator,
    class_names: Sequence[str] | None = None,
) -> Episodes:
    """Draw episodes whose support groups and query groups are disjoint (Sec. 3.1).

    Classes are drawn without replacement, each with equal chance.  Then the groups that occur in the drawn classes are
    split at random into halves, one for supports and one for queries, and the clips of each class are drawn without
    replacement from its half.  If a class finds too few clips on a side, only the groups that touch this class are
    split again; after some failures the support side gets K/(K+Q) of the groups, or a random share, instead of half.
    Where every clip is a group of its own, this equals a plain draw of K + Q different clips, which is what is done.
    The first episodes do not depend on how many follow.

    Args:
        labels, groups: (n,) class and group number of every manifest row; groups are global, not per class.
        rows: row numbers that may be used, usually those of one split.
        class_names: name of each class number, for messages; the numbers if absent.
    Raises:
        BadParameter: a count below 1.
        TooFewVideos: fewer classes than n_way, or a class that cannot fill both sides.
    """
    for parameter, value in zip(SIZES, (n_way, n_shot, n_query, n_episodes), strict=True):
        if value < 1:
            raise BadParameter(f"{parameter} is {value}, but an episode needs at least 1. Raise {parameter}.")
    clips, singletons = _index_classes(np.asarray(labels), np.asarray(groups), np.asarray(rows))
    names = {c: str(class_names[c]) if class_names is not None else str(c) for c in clips}
    if len(clips) < n_way:
        raise TooFewVideos(
            f"there are {len(clips)} classes to draw from but {n_way}-way episodes need {n_way}. "
            f"Lower n_way to {len(clips)}, or add classes to the split."
        )
    for c, pool in clips.items():
        _check_class(pool, names[c], n_shot=n_shot, n_query=n_query)

    labels_here = np.array(sorted(clips), dtype=np.int64)
    n_groups = 1 + max(int(pool.groups[-1]) for pool in clips.values())
    classes = np.empty((n_episodes, n_way), dtype=np.int64)
    support = np.empty((n_episodes, n_way, n_shot), dtype=np.int64)
    query = np.empty((n_episodes, n_way, n_query), dtype=np.int64)
    for e in range(n_episodes):
        classes[e] = rng.choice(labels_here, n_way, replace=False)
        chosen = [clips[c] for c in classes[e].tolist()]
        if singletons:
            for n, pool in enumerate(chosen):
                drawn = rng.choice(pool.rows, n_shot + n_query, replace=False)
                support[e, n], query[e, n] = drawn[:n_shot], drawn[n_shot:]
            continue
        in_support = _split_groups(chosen, n_groups, n_shot=n_shot, n_query=n_query, rng=rng)
        if in_support is None:
            raise TooFewVideos(
                f"no split of the groups gives every one of the classes {', '.join(names[c] for c in classes[e])} "
                f"{n_shot} support and {n_query} query videos from different groups. Lower n_shot or n_query."
            )
        for n, pool in enumerate(chosen):
            side = in_support[pool.group_of_clip]
            support[e, n] = rng.choice(pool.rows[side], n_shot, replace=False)
            query[e, n] = rng.choice(pool.rows[~side], n_query, replace=False)
    return Episodes(support, query, classes)


def _index_classes(labels: np.ndarray, groups: np.ndarray, rows: np.ndarray) -> tuple[dict[int, _ClassClips], bool]:
    """Clips by class, and whether every clip is a group of its here."""
    rows = np.unique(rows)
    _, compact, sizes = np.unique(groups[rows], return_inverse=True, return_counts=True)
    clips = {}
    for c in np.unique(labels[rows]).tolist():
        here = labels[rows] == c
        clips[c] = _ClassClips(
            rows[here].astype(np.int64), compact[here], *np.unique(compact[here], return_counts=True)
        )
    return clips, bool((sizes == 1).all())


def _check_class(pool: _ClassClips, name: str, *, n_shot: int, n_query: int) -> None:
    """Refuse a class that cannot fill its places in any split of its groups."""
    n_videos, needed = len(pool.rows), n_shot + n_query
    if n_videos < needed:
        remedy = f"Lower n_query to {n_videos - n_shot}" if n_videos > n_shot else "Lower n_shot and n_query"
        raise TooFewVideos(
            f'class "{name}" has {n_videos} videos but {n_shot}-shot episodes with {n_query} queries need {needed}. '
            f"{remedy}, or drop the class."
        )
    reachable = {0}  # numbers of support clips that some choice of whole groups gives
    for size in pool.sizes.tolist():
        reachable |= {n + size for n in reachable}
        if any(n_shot <= n <= n_videos - n_query for n in reachable):
            return
    raise TooFewVideos(
        f'class "{name}" has {n_videos} videos from {len(pool.groups)} group(s), but {n_shot} support and {n_query} '
        "query videos must come from different groups. Lower n_shot or n_query, add groups, or drop the class."
    )


def _split_groups(
    chosen: list[_ClassClips], n_groups: int, *, n_shot: int, n_query: int, rng: np.random.Generator
) -> np.ndarray | None:
    """(G,) bool: groups on the support side; None when no draw serves all classes."""
    in_support = np.zeros(n_groups, dtype=bool)
    redraw = np.unique(np.concatenate([pool.groups for pool in chosen]))
    for draw in range(MAX_DRAWS):
        shares = (0.5,) if draw < N_HALVES else (0.5, n_shot / (n_shot + n_query), rng.random())
        exact = len(redraw) * shares[draw % len(shares)]
        n_support = int(exact + rng.random())  # rounds up or down by chance, so that odd numbers favour no side
        in_support[redraw] = False
        in_support[rng.permutation(redraw)[:n_support]] = True
        for pool in chosen:
            n_here = pool.sizes[in_support[pool.groups]].sum()
            if n_here < n_shot or len(pool.rows) - n_here < n_query:
                redraw = pool.groups
                break
        else:
            return in_support
    return None
