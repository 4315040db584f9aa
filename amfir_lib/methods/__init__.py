"""The methods of Table 1, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.methods.amfir import Amfir, AmfirOptions
from amfir_lib.methods.base import EpisodeOutput, Features, Method
from amfir_lib.methods.head import HeadOptions
from amfir_lib.methods.late_fusion import LateFusion, LateFusionOptions
from amfir_lib.methods.options import Options
from amfir_lib.methods.protonet import ProtoNet

__all__ = ["METHODS", "PRESETS", "EpisodeOutput", "Features", "Method", "MethodSpec", "build_method", "resolve_options"]


@dataclass(frozen=True)
class MethodSpec:
    """One row of Table 1.

    Attributes:
        title: in tables and figures.
        build: called with dims, options and ``generator``.
        options: class of its options.
        streams: which modalities it reads: "first" (appearance), "second" (motion) or "both".
        defaults: options that differ from the defaults of ``options``.
        parts: methods whose separately trained heads make up this one; empty for a method that is trained itself.
    """

    title: str
    build: Callable[..., Method]
    options: type[Options]
    streams: str = "both"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[str, ...] = ()


NO_LEARNING = {"layer_norm": False, "projection": False, "learn_temperature": False}  # a head without parameters

METHODS: dict[str, MethodSpec] = {
    "nearest_mean": MethodSpec(
        "nearest mean", LateFusion, LateFusionOptions,
        defaults={**NO_LEARNING, "pooling": "time", "metric": "cosine", "late_fusion": "logit_sum"},
    ),  # nearest class mean on the frozen features: what is there before anything is learnt
    "protonet": MethodSpec("ProtoNet", ProtoNet, HeadOptions, "first"),
    "protonet_f": MethodSpec("ProtoNet-F", ProtoNet, HeadOptions, "second"),
    "protonet_lf": MethodSpec("ProtoNet-LF", LateFusion, LateFusionOptions, parts=("protonet", "protonet_f")),
    "amfar": MethodSpec("AMFAR", Amfir, AmfirOptions, defaults={"score": "neg_certainty"}),
    "amfir": MethodSpec("AMFIR", Amfir, AmfirOptions),
}

PRESETS: dict[str, dict[str, Any]] = {
    "study": {},
    "paper_literal": {
        "layer_norm": False,
        "scaled": False,
        "logit_scale": 1.0,
        "learn_temperature": False,
        "pooling": "mean",
    },
}


def resolve_options(name: str, options: Mapping[str, Any]) -> Options:
    """All options of a method: its defaults, then the preset that ``options["preset"]`` names, then the rest.

    Args:
        name: of the method.
        options: what differs from the defaults.
    Returns:
        The method's frozen options; ``dataclasses.asdict`` gives the record.
    Raises:
        UnknownName: no such method or preset. UnknownParameter: no such option. BadParameter: a value out of range.
    """
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    spec, given = METHODS[name], dict(options)
    preset = given.pop("preset", "study")
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    return spec.options.from_mapping({**spec.defaults, **PRESETS[preset], **given}, method=name)


def build_method(
    name: str, *, dims: Mapping[str, int], options: Mapping[str, Any] | None = None, generator: torch.Generator
) -> Method:
    """A method with initial weights from ``generator`` alone.

    Args:
        name: one of METHODS.
        dims: modality -> feature width D in the order appearance, motion, such as {"rgb": 96, "flow": 96} or
            {"depth": 96, "flow": 96}. A single-modality method takes its own from them.
        options: what differs from the method's defaults.
        generator: torch.Generator on the CPU.
    Returns:
        The method, on the CPU, in training mode.
    Raises:
        as ``resolve_options``; BadParameter: a modality is missing.
    """
    resolved = resolve_options(name, options or {})
    spec, names = METHODS[name], list(dims)
    needed = {"first": 1, "second": 2, "both": 2}[spec.streams]
    if len(names) < needed:
        raise BadParameter(
            f'method "{name}" reads modality number {needed}, but only {", ".join(names) or "none"} is given. '
            "Add the modality, or choose a single-modality method."
        )
    chosen = {"first": names[:1], "second": names[1:2], "both": names}[spec.streams]
    return spec.build({m: dims[m] for m in chosen}, resolved, generator=generator)
