"""Degradation-free copies of benchmarks: what remains of a difference where no stream of any clip is hurt.

Degrading one stream of a clip and not the other is exactly what adaptive fusion exploits, so every claim about
modalities is asked again on clips that are the same in all else.
"""

from __future__ import annotations

from dataclasses import replace

from amfir_lib.study.config import Config
from amfir_lib.study.runs import Material
from amfir_lib.study.study import prepare

SUFFIX = "-clean"
COPIED = ("synth-kinetics", "synth-ssv2")


def copied_benchmarks(config: Config) -> list[str]:
    """Those of the configuration's data sets that have a degradation-free copy."""
    return [name for name in config.datasets if name in COPIED]


def degradation_free(config: Config, name: str, *, backbone: str = "auto") -> Material:
    """The degradation-free copy of a benchmark, rendered and read like the benchmark itself.

    Args:
        config: of the notebook.
        name: one of ``COPIED``.
        backbone: as ``study.prepare``.
    Returns:
        The material; its data set is called ``synth-kinetics-clean``, so that tables, messages and the cache tell it
        from the benchmark.
    """
    material = prepare(config, name, backbone=backbone, degradation="none")
    return replace(material, dataset=replace(material.dataset, name=name + SUFFIX))


def original(name: str) -> str:
    """The benchmark that a copy is one of; another name stays as it is."""
    return name.removesuffix(SUFFIX)
