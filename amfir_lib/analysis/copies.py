"""Degradation-free copies of benchmarks: what remains of a difference where no stream of any clip is hurt.

Degrading one stream of a clip and not the other is exactly what adaptive fusion exploits, so every claim about
modalities is asked again on clips that are the same in all else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from amfir_lib.analysis.answers import COPY
from amfir_lib.study.config import Config
from amfir_lib.study.study import Study

COPIED = ("synth-kinetics", "synth-ssv2")


def study_of_copies(config: Config, names: Sequence[str] = COPIED) -> Study:
    """Degradation-free copies of those of the configuration's data sets that are named, rendered and read like these.

    They are called ``synth-kinetics-clean``, so that tables, messages and the cache tell them from the benchmarks.
    """
    copies = Study(config, [name for name in config.datasets if name in names], folds=False, degradation="none")
    copies.materials = [replace(m, dataset=replace(m.dataset, name=m.dataset.name + COPY)) for m in copies.materials]
    return copies
