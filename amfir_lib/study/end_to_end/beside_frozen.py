"""AMFIR trained through both backbones (Eq. 11 updates theta_m) as one more line beside runs on frozen features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from amfir_lib.backbones.opening import I3D_WEIGHTS
from amfir_lib.backbones.trainable import TRAINABLE, only_frozen
from amfir_lib.data.manifest import Dataset
from amfir_lib.errors import BadParameter, UnknownParameter, unknown_name
from amfir_lib.study.config import Config
from amfir_lib.study.end_to_end.devices import check_devices
from amfir_lib.study.end_to_end.job import EndToEnd
from amfir_lib.study.end_to_end.runs import run_end_to_end
from amfir_lib.study.materials import open_backbones, stream_names
from amfir_lib.study.runs import Material, RunResult, Series, TestCell, name_of
from amfir_lib.study.training import Training
from amfir_lib.workers import resolve_device

SUFFIX = ", end to end"


def check_end_to_end(config: Config, datasets: Iterable[Dataset], *, backbone: str) -> None:
    """Refuse backbones that are only used frozen, and devices that cannot train together, before anything is trained.

    Args:
        config: of the notebook.
        datasets: whose clips are read; ``auto`` depends on whether they are rendered.
        backbone: as ``open_backbones``.
    Raises:
        BackboneUnavailable: names the backbones that can be trained, or what several devices need.
        BadParameter: more devices than there are, or than a step has episodes.
    """
    device = resolve_device(config.device)
    check_devices(config.devices, device=device, episodes_per_step=config.profile.episodes_per_step)
    for name in (one for dataset in datasets for one in stream_names(config, dataset, backbone=backbone)):
        if name not in TRAINABLE and name not in I3D_WEIGHTS:
            raise only_frozen(name)


def end_to_end_options(given: Mapping[str, Any]) -> EndToEnd:
    """Settings of the backbones' training from a notebook's ``e2e_options``.

    Raises:
        UnknownParameter: no such setting; the nearest is suggested.
        UnknownName, BadParameter: a value of another type than the default's; and see ``EndToEnd``.
    """
    defaults, chosen = {field.name: field.default for field in fields(EndToEnd)}, {}
    for name, value in given.items():
        if name not in defaults:
            raise unknown_name("setting of end-to-end training", name, defaults, error=UnknownParameter)
        kind = bool if defaults[name] is None else type(defaults[name])
        try:
            chosen[name] = float(value) if kind is float else value  # YAML reads 1e-3 as text
        except ValueError:
            pass
        if type(chosen.get(name)) is not kind:
            raise BadParameter(f'{name} of end-to-end training is "{value}", but must be of the type {kind.__name__}.')
    return EndToEnd(**chosen)


def train_through_backbones(
    config: Config, material: Material, series: Series, settings: Training, cells: Sequence[TestCell], *,
    backbone: str, options: EndToEnd, n_steps: int = 0,
) -> list[RunResult]:  # fmt: skip
    """Train a series through its backbones with every seed of the configuration, and test it; or read both.

    Episodes of training, validation and test are those of the frozen runs.  The head reads the features as the
    backbones give them: whitening is fitted to fixed features and is left out.

    Args:
        config: of the notebook; its devices share the episodes of each step.
        material: the data set with frozen features of the same backbones.
        series: method and options.
        settings: of the meta-training, as of the frozen runs.
        cells: test episodes.
        backbone: as ``open_backbones``; where training begins.
        options: of the backbones' training, see ``end_to_end_options``.
        n_steps: optimiser steps; 0: as many as of the frozen runs.
    Raises:
        BadParameter, BackboneUnavailable, TrainingDiverged, DiskFull: see ``run_end_to_end``.
    """
    settings = replace(settings, steps=n_steps or settings.steps)
    backbones = open_backbones(config, material.dataset, backbone=backbone)
    place = {"cache_dir": config.cache_dir, "device": config.device, "n_jobs": config.jobs}
    return [
        run_end_to_end(run, cells, backbones=backbones, options=options, n_devices=config.devices, **place)
        for run in series.runs(material, settings, config.seeds)
    ]


def is_end_to_end(result: RunResult) -> bool:
    """Whether the backbones of a result were trained."""
    return "end_to_end" in result.record["identity"]


def name_with_backbones(series: Sequence[Series]) -> Callable[[RunResult], str]:
    """``name_of``, where a run that trained its backbones has a name of its own, such as "AMFIR, end to end"."""
    frozen = name_of(series)
    return lambda result: frozen(result) + (SUFFIX if is_end_to_end(result) else "")
