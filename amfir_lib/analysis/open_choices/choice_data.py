"""The data of a choice: the same clips and classes, read in another way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from amfir_lib.data.features import extract_stores
from amfir_lib.errors import unknown_name
from amfir_lib.study.config import Config
from amfir_lib.study.materials import flow_of, open_backbones, stream_names
from amfir_lib.study.runs import Material

KINDS = ("flow_algorithm", "flow_backbone", "whiten")
Resolved = dict[str, tuple[Any, Any]]  # name -> (default, alternative)


def changed_data(
    config: Config, materials: Sequence[Material], data: Mapping[str, Any], *, backbone: str = "auto"
) -> tuple[list[Material], Resolved]:
    """The materials with one thing about their features changed; clips, splits and so episodes stay the same.

    Args:
        config: of the notebook.
        materials: one data set in its class folds, as the default reads it.
        data: of a ``Choice``.
        backbone: of the default.
    Returns:
        The changed materials in the same order, and what was changed into what.
    Raises:
        UnknownName: ``data`` names something else than ``KINDS``.
    """
    resolved: Resolved = {}
    changed = list(materials)
    for name, wanted in data.items():
        if name not in KINDS:
            raise unknown_name("change of the data", name, KINDS)
        if name == "whiten":
            resolved[name] = materials[0].whiten, wanted
            changed = [replace(material, whiten=wanted) for material in changed]
            continue
        dataset = materials[0].dataset
        if name == "flow_algorithm":
            before = flow_of(config, dataset, backbone=backbone)["flow_algorithm"]
        else:
            before = stream_names(config, dataset, backbone=backbone)[1]
        after = next(one for one in (wanted if isinstance(wanted, tuple) else (wanted,)) if one != before)
        resolved[name] = before, after
        if name == "flow_algorithm":
            other = replace(config, options={**config.options, "flow_algorithm": after})
            changed = [_other_flow(other, material, backbone=backbone) for material in changed]
        else:
            changed = [_other_flow(config, material, backbone=f"compact+{after}") for material in changed]
    return changed, resolved


def _other_flow(config: Config, material: Material, *, backbone: str) -> Material:
    """The material with motion features read anew; appearance stays as it is."""
    motion = material.dataset.modalities[1]
    opened = open_backbones(config, material.dataset, backbone=backbone)[motion]
    flow = flow_of(config, material.dataset, backbone=backbone)
    stores = extract_stores(
        material.dataset, {motion: opened}, cache_dir=config.cache_dir, n_jobs=config.jobs, **flow
    )  # fmt: skip
    return replace(material, stores={**material.stores, **stores})
