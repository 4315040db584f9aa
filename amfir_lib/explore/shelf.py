"""What the explorer can choose from: the data sets and trained methods of a notebook's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from amfir_lib.explore.session import Session, open_session
from amfir_lib.methods import METHODS
from amfir_lib.study.config import SYNTHETIC_BENCHMARKS, Config
from amfir_lib.study.materials import prepare, test_cells, training_of
from amfir_lib.study.runs import Material, Series, run_all
from amfir_lib.workers import resolve_device

N_EPISODES = 40  # looked at by default


@dataclass
class Shelf:
    """Opens sessions by name, from the cache where it holds them.

    Attributes:
        config: of the notebook.
        backbone: as ``materials.open_backbones``.
        materials: data set -> its features, of those that are open.
    """

    config: Config
    backbone: str = "auto"
    materials: dict[str, Material] = field(default_factory=dict)

    @property
    def datasets(self) -> tuple[str, ...]:
        """Names to choose from: what is open, and with a synthetic one all synthetic benchmarks."""
        rendered = any(material.dataset.synthetic for material in self.materials.values())
        return tuple(dict.fromkeys((*self.materials, *(SYNTHETIC_BENCHMARKS if rendered else ()))))

    @property
    def methods(self) -> Mapping[str, str]:
        """Title -> name."""
        return {spec.title: name for name, spec in METHODS.items()}

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds: each has a checkpoint of its own."""
        return self.config.seeds

    def open(
        self, *, dataset: str, method: str, seed: int, n_way: int, n_shot: int, n_episodes: int = N_EPISODES
    ) -> Session:
        """A session with the first test episodes of this kind.

        What the cache lacks is computed: clips, features and the training with this seed.
        """
        config = self.config
        if dataset not in self.materials:
            self.materials[dataset] = prepare(config, dataset, backbone=self.backbone)
        material = self.materials[dataset]
        runs = Series(method, method).runs(material, training_of(config, material), (seed,))
        device = resolve_device(config.device)
        (result,) = run_all(runs, [], cache_dir=config.cache_dir, n_jobs=config.jobs, device=device)
        cell = replace(test_cells(config, material)[0], n_way=n_way, n_shot=n_shot)
        return open_session(result, cell, n_episodes=n_episodes)
