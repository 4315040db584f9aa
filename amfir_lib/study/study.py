"""From a configuration to data sets with their features, and to the results of methods on them.

study = Study(config)
results = study.results(series)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from amfir_lib.backbones.frozen import variation_warning
from amfir_lib.backbones.opening import (
    AUTO,
    OF_REAL_CLIPS,
    OF_REAL_CLIPS_ALONE,
    OF_RENDERED_CLIPS,
    STREAMS,
    input_size_of,
    names_of_streams,
    open_backbone,
)
from amfir_lib.backbones.shipped import shipped_backbones
from amfir_lib.backbones.training import Pretraining, adapt, pretrained_backbones
from amfir_lib.data.catalogue import load_dataset
from amfir_lib.data.class_split import check_validation_classes, check_ways
from amfir_lib.data.features import extract_stores
from amfir_lib.data.manifest import Dataset
from amfir_lib.errors import BackboneUnavailable, BadParameter
from amfir_lib.study.cache import compute
from amfir_lib.study.config import FOLDER, REAL_BENCHMARKS, Config
from amfir_lib.study.material import Material, TestCell
from amfir_lib.study.runs import RunJob, RunResult, Series
from amfir_lib.study.training import Training
from amfir_lib.workers import device_of_workers, resolve_device

FLOW_OF_RENDERED_CLIPS = {"flow_algorithm": "dis", "flow_average": 1}
FLOW_OF_REAL_CLIPS = {"flow_algorithm": "farneback", "flow_average": 7}  # sensors are noisy; see ``flow_of``
UNSET = -1  # class_folds: as many as usual; class_fold: every fold in turn
N_CLASS_FOLDS = 3  # so that each class of a small folder is a test class once
DATASET_PARAMETERS = ("appearance", "class_counts", "class_folds", "class_fold")  # of a notebook, for open_dataset


class Study:
    """The data sets of a configuration with their features, and what methods answer on them.

    Args:
        names: of data sets; None for those of the configuration.
        folds: whether a folder is read in class folds, as one material each; see ``prepare_all``.
        options: as ``open_dataset``.
    """

    def __init__(
        self, config: Config, names: Sequence[str] | None = None, *, folds: bool = True, **options: Any
    ) -> None:
        self.config, names = config, config.datasets if names is None else names
        opened = prepare_all if folds else lambda *given, **more: [prepare(*given, **more)]
        self.materials: list[Material] = [material for name in names for material in opened(config, name, **options)]

    def folds_of(self, material: Material) -> list[Material]:
        """The materials of the same data set: the class folds, or the one."""
        return [other for other in self.materials if other.dataset.name == material.dataset.name]

    def results(
        self,
        series: Sequence[Series] | Callable[[Material], Sequence[Series]],
        cells: Sequence[TestCell] | Callable[[Material], Sequence[TestCell]] | None = None,
        *,
        seeds: Sequence[int] | None = None,
        **training: Any,
    ) -> list[RunResult]:
        """Train and test series on all data sets, where the cache lacks them: by data set, series and seed.

        Args:
            series: lines of a table or figure; or from a data set to those.
            cells: test episodes; or from a data set to those; None for ``test_cells``.
            training: settings of ``Training`` that differ from ``training_of``.
        """
        config, jobs = self.config, []
        device = resolve_device(config.device)
        for material in self.materials:
            settings = replace(training_of(config, material), **training)
            lines = series(material) if callable(series) else series
            asked = test_cells(config, material) if cells is None else cells(material) if callable(cells) else cells
            runs = (run for line in lines for run in line.runs(material, settings, seeds or config.seeds))
            jobs += [RunJob(run, tuple(asked), config.cache_dir, device) for run in runs]
        compute(jobs, n_jobs=config.jobs if device == "cpu" else 1, description="training")
        return [job.result() for job in jobs]


def pretraining_of(config: Config) -> Pretraining:
    """The settings of the compact backbones in this profile."""
    profile = config.profile
    return Pretraining(
        n_classes=profile.corpus_classes, clips_per_class=profile.corpus_clips_per_class, epochs=profile.pretrain_epochs
    )


def open_dataset(config: Config, name: str, **options: Any) -> Dataset:
    """Load (or make) a data set, as ``dataset_options`` and, before them, ``options`` of ``load_dataset`` say."""
    return load_dataset(name, cache_dir=config.cache_dir, n_jobs=config.jobs, **dataset_options(config, name) | options)


def dataset_options(config: Config, name: str) -> dict[str, Any]:
    """What the configuration and the notebook's parameters say about a data set."""
    given = {key: value for key in DATASET_PARAMETERS if (value := config.options.get(key)) and value != UNSET}
    if name == FOLDER:
        return {"data_root": config.data_root, "group_pattern": config.group_pattern} | given
    if name in REAL_BENCHMARKS:
        return {"data_root": config.data_root, "video_list": config.video_list, "min_found": config.min_found} | given
    profile = config.profile
    return {"clips_per_class": profile.clips_per_class, "class_counts": profile.class_counts.get(name)} | given


def open_backbones(config: Config, dataset: Dataset) -> dict[str, Any]:
    """Modality of the data set -> backbone, as ``stream_names`` calls them.

    Of the notebook's parameters ``weights`` ("random" for untrained networks), ``input_size`` (px) and ``n_patches``
    (1 or 16) are read where they are given; published weights come from ``config.weights_dir``.

    Raises:
        UnknownName, BadParameter: no such backbone. BackboneUnavailable: its weights are not there; says what to do.
    """
    names, options, flow = stream_names(config, dataset), config.options, flow_of(config, dataset)
    place = {"cache_dir": config.cache_dir, "n_jobs": config.jobs}
    compact = partial(pretrained_backbones, pretraining_of(config), **place) if dataset.synthetic else shipped_backbones

    def adapted(stream: str) -> Any:
        return adapt(compact()[stream], dataset, flow=flow, **place)

    asked = options.get("input_size") or 0
    sides = [input_size_of(name, synthetic=dataset.synthetic, input_size=asked) for name in names]
    if asked and asked not in sides:
        raise BadParameter(
            f"input_size is {asked}, but {'+'.join(dict.fromkeys(names))} always sees squares of {sides[0]} px. "
            "Leave it out."
        )
    common = {
        "weights": options.get("weights") or "pretrained", "weights_dir": config.weights_dir,
        "n_patches": options.get("n_patches") or 0, "device": device_of_workers(config.device),
    }  # fmt: skip
    opened = {}
    for side, modality, stream, name in zip(sides, dataset.modalities, STREAMS, names, strict=True):
        try:
            scale = {"input_size": side, "flow_size": flow["flow_size"]}
            opened[modality] = open_backbone(name, stream, compact=compact, adapted=adapted, **scale, **common)
        except BackboneUnavailable as error:
            if (config.options.get("backbone") or AUTO) != AUTO or "+".join(names) != OF_REAL_CLIPS:
                raise
            print(f"{error} Using {OF_REAL_CLIPS_ALONE} instead.")
            return open_backbones(config.having(backbone=OF_REAL_CLIPS_ALONE), dataset)
        for note in getattr(opened[modality], "notes", ()):
            print(note)
    return opened


def stream_names(config: Config, dataset: Dataset) -> tuple[str, str]:
    """Names of the appearance and the motion backbone on this data set, see ``backbones.opening``.

    The notebook's parameter ``backbone`` is one name for both, or ``appearance+motion``; "auto" is what the profile
    names (``resnet50+i3d`` for ``paper``), and where that is the net of rendered clips, another one for real clips.
    """
    name = config.options.get("backbone") or AUTO
    if name == AUTO:
        real = not dataset.synthetic and config.profile.backbone == OF_RENDERED_CLIPS
        name = OF_REAL_CLIPS if real else config.profile.backbone
    return names_of_streams(name)


def flow_of(config: Config, dataset: Dataset) -> dict[str, Any]:
    """How flow is computed: its algorithm, pairs of frames to average, and the side in px of the square it is seen on.

    The square is that of the motion backbone's input, at least 112.  Flow of rendered clips is computed by DIS.  That
    of real ones is Farnebäck's, averaged over the seven pairs of frames around each instant, which quiets a noisy
    sensor; both were chosen on base and validation classes of real depth clips (``backbones/real_clips_choice.csv``).
    A notebook's parameters ``flow_algorithm``, ``flow_average`` and ``flow_size`` go before these.
    """
    options, name = config.options, stream_names(config, dataset)[1]
    size = input_size_of(name, synthetic=dataset.synthetic, input_size=options.get("input_size") or 0)
    flow = FLOW_OF_RENDERED_CLIPS if dataset.synthetic else FLOW_OF_REAL_CLIPS
    return {key: options.get(key) or value for key, value in (flow | {"flow_size": max(112, size)}).items()}


def prepare(config: Config, name: str, **options: Any) -> Material:
    """A data set with its features, computed where the cache lacks them; ``options`` as ``open_dataset``."""
    if (backbone := config.options.get("backbone") or AUTO) != AUTO:
        names_of_streams(backbone)  # refuses an unknown one before clips are rendered or decoded
    dataset = open_dataset(config, name, **options)
    backbones = open_backbones(config, dataset)
    warned: set[str] = set()

    def probe(modality: str, features: np.ndarray) -> None:
        about = f"The {modality} features of {dataset.name} from {backbones[modality].name}"
        if modality not in warned and (warning := variation_warning(features, about)):
            print(f"Warning: {warning}")
            warned.add(modality)

    place = {"cache_dir": config.cache_dir, "n_jobs": config.jobs} | flow_of(config, dataset)
    stores = extract_stores(dataset, backbones, probe=probe, **place)  # a warning hours later would be late
    for modality, store in stores.items():
        probe(modality, store.features)
    return Material(dataset, stores, whiten=config.options.get("whiten", True))


def prepare_all(config: Config, name: str, **options: Any) -> list[Material]:
    """The data set as often as it is to be split: once, or a folder once for each class fold.

    The folds share the name of the data set, so tables join their episodes.
    """
    return [prepare(config, name, **fold, **options) for fold in (class_folds_of(config) if name == FOLDER else [{}])]


def class_folds_of(config: Config) -> list[dict[str, int]]:
    """The class folds that a notebook reads a folder in, as options of ``open_dataset``; one without folds.

    With the parameters ``class_folds`` and ``class_fold`` these are ``N_CLASS_FOLDS`` folds, each class being a test
    class once, unless they or ``class_counts`` say otherwise.
    """
    n_folds, fold = config.options.get("class_folds", 0), config.options.get("class_fold", UNSET)
    if n_folds == UNSET:
        n_folds = 0 if config.options.get("class_counts") else N_CLASS_FOLDS
    folds = [fold] if fold != UNSET or not n_folds else range(n_folds)
    return [{"class_folds": n_folds, "class_fold": max(0, number)} for number in folds]


def training_of(config: Config, material: Material) -> Training:
    """The settings of a meta-training on this data set: the notebook's parameters, or the profile's sizes.

    With fewer validation classes than ways, validation episodes take all validation classes, and it says so.

    Raises:
        BadParameter: fewer than two validation classes.
    """
    name, n_way, n_classes = material.dataset.name, config.size("n_way"), len(material.dataset.classes("val"))
    check_validation_classes(name, n_classes)
    if n_classes < n_way:
        print(
            f"{name} has {n_classes} validation classes: models are selected on {n_classes}-way episodes, while "
            f"training and test are {n_way}-way."
        )
    same = ("n_way", "n_query", "episodes_per_step", "validate_every", "n_val_episodes")
    return Training(
        shots=tuple(config.size("train_shots")),
        steps=config.size("train_steps"),
        val_n_way=n_classes if n_classes < n_way else 0,
        **{size: config.size(size) for size in same},
    )


def test_cells(config: Config, material: Material) -> list[TestCell]:
    """The test episodes of this data set, one cell per number of shots; refuses (BadParameter) too few classes."""
    check_ways(material.dataset.name, len(material.dataset.classes("test")), n_way=config.size("n_way"))
    sizes = {"n_query": config.size("n_query"), "n_episodes": config.size("n_test_episodes")}
    return [TestCell(n_way=config.size("n_way"), n_shot=n_shot, **sizes) for n_shot in config.size("test_shots")]
