"""The methods of Table 1, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.methods import tuned
from amfir_lib.methods.amfir import Amfir, AmfirOptions
from amfir_lib.methods.base import DataFacts, EpisodeOutput, Features, Method
from amfir_lib.methods.cmn import Cmn, CmnOptions
from amfir_lib.methods.early_fusion import EarlyProtoNet, EarlyProtoNetOptions, EarlyStrm, EarlyStrmOptions
from amfir_lib.methods.head import HeadOptions
from amfir_lib.methods.hyrsm import Hyrsm, HyrsmOptions
from amfir_lib.methods.late_fusion import LateFusion, late_fusion_options
from amfir_lib.methods.matching_net import MatchingNet, MatchingNetOptions
from amfir_lib.methods.options import Options
from amfir_lib.methods.otam import Otam, OtamOptions
from amfir_lib.methods.protonet import ProtoNet
from amfir_lib.methods.strm import Strm, StrmOptions
from amfir_lib.methods.trx import Trx, TrxOptions

__all__ = [
    "METHODS", "PRESETS", "DataFacts", "EpisodeOutput", "Features", "Method", "MethodSpec", "build_method",
    "options_of_part", "resolve_options", "title_of", "uses_patches",
]  # fmt: skip

OUR_READING = "our reading"  # of a name that the paper does not define


@dataclass(frozen=True)
class MethodSpec:
    """One row of Table 1.

    Attributes:
        title: in tables and figures.
        build: called with dims, options and ``generator``; with its built parts and options if it has parts.
        options: class of its options.
        streams: which modalities it reads: "first" (appearance), "second" (motion) or "both".
        defaults: options that differ from the defaults of ``options``.
        parts: methods whose separately trained heads make up this one; empty for a method that is trained itself.
        lite: its title where frames have a single patch, for a method that enriches patches.
        raw: whether it reads the features as they are, instead of whitened.
        note: what a table must say beside the title.
    """

    title: str
    build: Callable[..., Method]
    options: type[Options]
    streams: str = "both"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    lite: str = ""
    raw: bool = False
    note: str = ""


NO_LEARNING = {"layer_norm": False, "projection": False, "learn_temperature": False}  # a head without parameters

METHODS: dict[str, MethodSpec] = {
    "nearest_mean": MethodSpec(
        "nearest mean",
        LateFusion,
        late_fusion_options(HeadOptions),
        parts=("protonet", "protonet_f"),
        defaults={**NO_LEARNING, "pooling": "time", "metric": "cosine", "late_fusion": "logit_sum"},
        raw=True,
    ),  # nearest class mean on the frozen features: what is there before anything is learnt
    "protonet": MethodSpec("ProtoNet", ProtoNet, HeadOptions, "first"),
    "protonet_f": MethodSpec("ProtoNet-F", ProtoNet, HeadOptions, "second"),
    "protonet_lf": MethodSpec(
        "ProtoNet-LF",
        LateFusion,
        late_fusion_options(HeadOptions),
        parts=("protonet", "protonet_f"),
        note=OUR_READING,
    ),
    "matchingnet": MethodSpec("MatchingNet", MatchingNet, MatchingNetOptions, "first"),
    "cmn": MethodSpec("CMN", Cmn, CmnOptions, "first"),
    "otam": MethodSpec("OTAM", Otam, OtamOptions, "first"),
    "trx": MethodSpec("TRX", Trx, TrxOptions, "first"),
    "trx_f": MethodSpec("TRX-F", Trx, TrxOptions, "second"),
    "trx_lf": MethodSpec(
        "TRX-LF", LateFusion, late_fusion_options(TrxOptions), parts=("trx", "trx_f"), note=OUR_READING
    ),
    "amfar": MethodSpec("AMFAR", Amfir, AmfirOptions, defaults={"score": "neg_certainty"}, note=OUR_READING),
    "amfir": MethodSpec("AMFIR", Amfir, AmfirOptions),
    "hyrsm": MethodSpec("HyRSM", Hyrsm, HyrsmOptions, "first"),
    "strm": MethodSpec("STRM", Strm, StrmOptions, "first", lite="STRM-lite"),
    "strm_f": MethodSpec("STRM-F", Strm, StrmOptions, "second", lite="STRM-F-lite"),
    "strm_lf": MethodSpec(
        "STRM-LF",
        LateFusion,
        late_fusion_options(StrmOptions),
        parts=("strm", "strm_f"),
        lite="STRM-LF-lite",
        note=OUR_READING,
    ),
    "protonet_ec": MethodSpec("ProtoNet-EC", EarlyProtoNet, EarlyProtoNetOptions, note=OUR_READING),
    "protonet_ea": MethodSpec(
        "ProtoNet-EA", EarlyProtoNet, EarlyProtoNetOptions, defaults={"early_fusion": "ea"}, note=OUR_READING
    ),
    "strm_ec": MethodSpec("STRM-EC", EarlyStrm, EarlyStrmOptions, lite="STRM-EC-lite", note=OUR_READING),
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
    """All options of a method: its defaults, then what the search found for it, then the preset that
    ``options["preset"]`` names, then the rest.

    Args:
        name: of the method.
        options: what differs from the defaults. Of a preset, a method takes the values that it has options for.
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
    known = spec.options.__dataclass_fields__
    preset_values = {option: value for option, value in PRESETS[preset].items() if option in known}
    found = {} if spec.parts else tuned.options(name)
    return spec.options.from_mapping({**spec.defaults, **found, **preset_values, **given}, method=name)


def options_of_part(name: str, part: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What an assembled method passes on to one of its parts.

    Args:
        name: of the method; its own defaults are passed on as well, unless a preset says otherwise.
        part: one of its parts.
        options: of the method.
    Returns:
        Those options that the part has as well, and the preset.
    """
    known = {*METHODS[part].options.__dataclass_fields__, "preset"}
    preset = PRESETS.get(options.get("preset", "study"), {})
    defaults = {option: value for option, value in METHODS[name].defaults.items() if option not in preset}
    return {option: value for option, value in {**defaults, **options}.items() if option in known}


def uses_patches(name: str) -> bool:
    """Whether a method, or a part of it, reads features that are not averaged over the spatial patches."""
    spec = METHODS[name]
    return spec.build.uses_patches or any(uses_patches(part) for part in spec.parts)


def title_of(name: str, n_patches: Mapping[str, int]) -> str:
    """What a method is called on features with these patches per frame.

    A method that enriches patches calls itself lite where no modality of it has more than one.

    Args:
        name: one of METHODS.
        n_patches: modality -> P, in the order appearance, motion.
    """
    spec = METHODS[name]
    return spec.lite if spec.lite and max(n_patches[m] for m in _own(spec, n_patches)) == 1 else spec.title


def _own(spec: MethodSpec, modalities: Mapping[str, Any]) -> list[str]:
    """The modalities that a method reads, of those given in the order appearance, motion."""
    names = list(modalities)
    return {"first": names[:1], "second": names[1:2], "both": names}[spec.streams]


def build_method(
    name: str,
    *,
    dims: Mapping[str, int],
    options: Mapping[str, Any] | None = None,
    generator: torch.Generator,
    facts: DataFacts | None = None,
) -> Method:
    """A method with initial weights from ``generator`` alone.

    Args:
        name: one of METHODS.
        dims: modality -> feature width D in the order appearance, motion, such as {"rgb": 96, "flow": 96} or
            {"depth": 96, "flow": 96}. A single-modality method takes its own from them.
        options: what differs from the method's defaults.
        generator: torch.Generator on the CPU.
        facts: of the data set, for methods that need some (``Method.needs``).
    Returns:
        The method, on the CPU, in training mode.
    Raises:
        as ``resolve_options``; BadParameter: a modality or a fact is missing.
    """
    resolved = resolve_options(name, options or {})
    spec, names = METHODS[name], list(dims)
    needed = {"first": 1, "second": 2, "both": 2}[spec.streams]
    if len(names) < needed:
        raise BadParameter(
            f'method "{name}" reads modality number {needed}, but only {", ".join(names) or "none"} is given. '
            "Add the modality, or choose a single-modality method."
        )
    if spec.parts:
        parts = {}
        for part in spec.parts:  # each begins as it would alone
            own = torch.Generator(generator.device).set_state(generator.get_state())
            given = options_of_part(name, part, options or {})
            parts[part] = build_method(part, dims=dims, options=given, generator=own, facts=facts)
        return spec.build(parts, resolved)
    needs = spec.build.needs
    if needs and facts is None:
        raise BadParameter(
            f'method "{name}" must know {", ".join(needs)} of the data set, but no facts are given. '
            "Pass facts=DataFacts(...) to build_method."
        )
    given = {fact: getattr(facts, fact) for fact in needs}
    return spec.build({m: dims[m] for m in _own(spec, dims)}, resolved, generator=generator, **given)
