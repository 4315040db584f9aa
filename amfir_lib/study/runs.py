"""What a run is: one method, trained once on one data set, and the test episodes that it meets.

The key of a run covers everything that can change its result: the data set, the features, the method with all its
options, the settings of the training, the seed and the source of the code that computes it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from amfir_lib import distances, distillation, fusion, inference, readings
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.store import FeatureStore
from amfir_lib.methods import METHODS, enhancers, head, options_of_part, resolve_options, streams, tuned, uses_patches
from amfir_lib.methods import base as methods_base
from amfir_lib.parallel import single_thread
from amfir_lib.storage import digest_of, digest_of_code, meaning_of
from amfir_lib.study import episodes, evaluation, feature_table, run_store
from amfir_lib.study import training as training_module
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.feature_table import MAX_WIDTH, FeatureTable, Whitening, layout, load_table
from amfir_lib.study.training import Training

if TYPE_CHECKING:
    from amfir_lib.study.run_store import RunResult

_COMMON_CODE = (
    training_module, episodes, evaluation, feature_table, inference, readings, distances, distillation, fusion,
    methods_base, head, streams, enhancers,
)  # fmt: skip


@dataclass(frozen=True)
class Material:
    """A data set with its features.

    Attributes:
        dataset: the clips.
        stores: modality -> features of them.
        whiten: whether methods read them whitened by base-class statistics.
    """

    dataset: Dataset
    stores: dict[str, FeatureStore]
    whiten: bool = True

    @property
    def identity(self) -> dict[str, str | bool]:
        """Digests of everything that a run reads."""
        digests = {m: store.digest for m, store in self.stores.items()}
        known = {"dataset": self.dataset.digest, "modalities": ", ".join(digests), "whitened": self.whiten}
        return known | digests

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


@dataclass(frozen=True)
class TestCell:
    """One kind of test episodes; equal cells are equal episodes for every method.

    Attributes:
        n_way, n_shot, n_query: of each episode.
        n_episodes: length of the fixed list.
        split: the classes it is drawn from; ``val`` where something is chosen.
        seed: of the list.
    """

    __test__ = False  # not a test class, whatever pytest thinks of the name

    n_way: int = 5
    n_shot: int = 1
    n_query: int = 5
    n_episodes: int = 1000
    split: str = "test"
    seed: int = 0

    def episodes(self, table: FeatureTable) -> Episodes:
        """The fixed list for the data set of ``table``."""
        return table.sample(
            self.split,
            n_way=self.n_way,
            n_shot=self.n_shot,
            n_query=self.n_query,
            n_episodes=self.n_episodes,
            rng=np.random.default_rng([30, self.seed, self.n_way, self.n_shot]),
        )


@dataclass(frozen=True)
class Run:
    """One method trained once.

    Attributes:
        material: data set and features.
        method: a name of ``METHODS``.
        options: what differs from the method's defaults.
        training: settings of the training, as they are; ``Series.runs`` puts the method's tuned ones in.
        seed: of initial weights and training episodes.
    """

    material: Material
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    seed: int = 0

    @property
    def read(self) -> Material:
        """The material as this method reads it: raw, for a method that learns nothing."""
        return replace(self.material, whiten=False) if METHODS[self.method].raw else self.material

    @property
    def item_name(self) -> str:
        """How the run is called in messages."""
        return f"{self.material.dataset.name}/{self.method}/seed {self.seed}"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that can change the result; it travels with the run to the workers."""
        options = asdict(resolve_options(self.method, self.options))  # refuses an unknown method or option
        spec = METHODS[self.method]
        modules = (*_COMMON_CODE, *_modules_of(sys.modules[spec.build.__module__]))
        return {
            "data": self.read.identity,
            "method": self.method,
            "streams": spec.streams,
            "parts": {part.method: part.key for part in self.parts()},
            "options": options,
            "training": asdict(self.training),
            "seed": self.seed,
            "code": {module.__name__: digest_of_code(module) for module in modules}
            | {"run": digest_of(meaning_of(run_store.train_run) + meaning_of(TestCell))},
            "torch": torch.__version__,
        }

    @cached_property
    def key(self) -> str:
        """Digest of the identity."""
        return digest_of(self.identity)

    @property
    def n_patches(self) -> dict[str, int]:
        """Modality -> patches per frame, as the method is given them."""
        whole = uses_patches(self.method)
        return {m: store.features.shape[2] if whole else 1 for m, store in self.material.stores.items()}

    def parts(self) -> tuple[Run, ...]:
        """The runs whose trained heads make up this one, for methods that are assembled rather than trained."""
        return self._parts

    @cached_property
    def _parts(self) -> tuple[Run, ...]:
        return tuple(
            replace(
                self,
                material=self.read,
                method=part,
                options=options_of_part(self.method, part, self.options),
                training=tuned.training(part, self.training),
            )
            for part in METHODS[self.method].parts
        )

    def folder(self, cache_dir: Path) -> Path:
        """Where the cache keeps it."""
        return cache_dir / "runs" / self.material.dataset.name / f"{self.method}-{self.seed}-{self.key}"


@dataclass(frozen=True)
class Series:
    """One line of a table or curve of a figure: a method with options, trained with every seed.

    Attributes:
        name: in tables and figures.
        method: a name of ``METHODS``.
        options: what differs from the method's defaults.
    Raises:
        UnknownName, UnknownParameter, BadParameter: see ``resolve_options``.
    """

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        resolve_options(self.method, self.options)  # refuses an unknown method, option or value before any work

    def runs(self, material: Material, settings: Training, seeds: Sequence[int]) -> list[Run]:
        """The runs of the series on one data set, with the learning rate that was found for the method."""
        settings = tuned.training(self.method, settings)
        return [Run(material, self.method, self.options, settings, seed) for seed in seeds]


def name_of(series: Sequence[Series]) -> Callable[[RunResult], str]:
    """A function that finds the series a run belongs to, for the tables."""
    names = {digest_of([one.method, dict(one.options)]): one.name for one in series}
    return lambda result: names[digest_of([result.run.method, dict(result.run.options)])]


def _modules_of(module: ModuleType) -> list[ModuleType]:
    """A module of the package ``methods`` and those of that package that it takes anything from, at any depth."""
    found, waiting = {}, [module.__name__]
    while waiting:
        name = waiting.pop()
        if name.startswith("amfir_lib.methods.") and name not in found:
            found[name] = sys.modules[name]
            for thing in vars(found[name]).values():
                source = thing.__name__ if isinstance(thing, ModuleType) else getattr(thing, "__module__", None)
                waiting.append(source or "")
    return [found[name] for name in sorted(found)]
