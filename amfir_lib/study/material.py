"""What runs read: a data set with its features, and the fixed lists of test episodes on it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from amfir_lib.data.arrays import FeatureStore
from amfir_lib.data.manifest import Dataset
from amfir_lib.parallel import single_thread
from amfir_lib.study.cache import Recent
from amfir_lib.study.episodes import SIZES, Episodes
from amfir_lib.study.feature_table import MAX_WIDTH, FeatureTable, Whitening, layout, load_table


@dataclass(frozen=True, eq=False)
class Material:
    """A data set with its features; equal where its identity is.

    Attributes:
        dataset: the clips.
        stores: modality -> features of them.
        whiten: whether methods read them whitened by base-class statistics.
    """

    dataset: Dataset
    stores: dict[str, FeatureStore]
    whiten: bool = True

    @cached_property
    def identity(self) -> dict[str, str | bool]:
        """Digests of everything that a run reads."""
        digests = {m: store.digest for m, store in self.stores.items()}
        known = {"dataset": self.dataset.digest, "modalities": ", ".join(digests), "whitened": self.whiten}
        return known | digests

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Material) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(tuple(self.identity.items()))

    @property
    def dims(self) -> dict[str, int]:
        """Modality -> width of the features as methods read them."""
        widths = {m: store.features.shape[-1] for m, store in self.stores.items()}
        return {m: min(width, MAX_WIDTH) for m, width in widths.items()} if self.whiten else widths

    def table(self, *, patches: bool = False) -> FeatureTable:
        """The features in memory, as methods read them; see ``load_table``."""
        table = self.raw_table(patches=patches)
        return replace(table, features=self.whitening()(table.features)) if self.whiten else table

    def whitening(self) -> Whitening:
        """The map from raw features to what methods read, the same wherever it is fitted.

        The sign of an eigenvector may depend on the number of threads, and a trained method knows only one of both.
        """
        with single_thread():
            return Whitening.fit(self.raw_table())

    def raw_table(self, *, patches: bool = False) -> FeatureTable:
        """The features in memory as they are stored; see ``load_table``."""
        return load_table(self.dataset, self.stores, patches=patches)

    def layout(self) -> FeatureTable:
        """Labels, groups and splits without the features: all that episodes are drawn from."""
        return layout(self.dataset)


_TABLES, _EPISODES = Recent(2), Recent(16)  # a thousand episodes with groups take a second to draw


def table_of(material: Material, *, patches: bool = False) -> FeatureTable:
    """``material.table``, kept in the memory of this process for the next run on the same features."""
    return _TABLES.get((material, patches), partial(material.table, patches=patches))


@dataclass(frozen=True)
class TestCell:
    """One kind of test episodes: a fixed list by its seed; equal cells are equal episodes for every method."""

    __test__ = False  # not a test class, whatever pytest thinks of the name

    n_way: int = 5
    n_shot: int = 1
    n_query: int = 5
    n_episodes: int = 1000
    split: str = "test"
    seed: int = 0

    def episodes(self, table: FeatureTable) -> Episodes:
        """The fixed list for the data set of ``table``."""
        rng = np.random.default_rng([30, self.seed, self.n_way, self.n_shot])
        return table.sample(self.split, rng=rng, **{name: getattr(self, name) for name in SIZES})

    @property
    def name(self) -> str:
        """What the cache calls the results of the cell: ``test-5way-1shot-5query-1000episodes-0``."""
        size = f"{self.n_way}way-{self.n_shot}shot-{self.n_query}query-{self.n_episodes}episodes"
        return f"{self.split}-{size}-{self.seed}"

    def path(self, folder: Path) -> Path:
        """The file of the results on this cell in the folder of a run."""
        return folder / f"{self.name}.npz"


def episodes_of(material: Material, cell: TestCell) -> Episodes:
    """``cell.episodes`` of a data set, kept in the memory of this process for other runs on it."""
    return _EPISODES.get((material.dataset.digest, cell), lambda: cell.episodes(material.layout()))
