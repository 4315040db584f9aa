"""The methods of Table 1, by name: one entry holds all that training, tables, figures and the explorer know of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from amfir_lib.errors import BadParameter, UnknownParameter, unknown_name
from amfir_lib.methods.amfir import Amfir, AmfirOptions
from amfir_lib.methods.base import DataFacts, Method, Options
from amfir_lib.methods.cmn import Cmn, CmnOptions
from amfir_lib.methods.early_fusion import EarlyProtoNet, EarlyProtoNetOptions, EarlyStrm, EarlyStrmOptions
from amfir_lib.methods.hyrsm import Hyrsm, HyrsmOptions
from amfir_lib.methods.late_fusion import LateFusion, late_fusion_options
from amfir_lib.methods.matching_net import MatchingNet, MatchingNetOptions
from amfir_lib.methods.otam import Otam, OtamOptions
from amfir_lib.methods.protonet import HeadOptions, ProtoNet
from amfir_lib.methods.strm import Strm, StrmOptions
from amfir_lib.methods.trx import Trx, TrxOptions

OUR_READING = "our reading"  # of a name that the paper does not define


@dataclass(frozen=True)
class MethodSpec:
    """One row of Table 1: all that training, tables, figures and the explorer know of a method."""

    title: str  # in tables and figures
    paper_name: str  # of its row in the paper's Table 1; empty for a method that this lacks
    build: Callable[..., Method]  # its class: dims, options, ``generator`` and the facts it needs; or parts and options
    options: type[Options]
    streams: str  # which modalities it reads: "first" (appearance), "second" (motion) or "both"
    # In every figure, as matplotlib writes them; safe for colour-blind readers in the sets that occur together.
    # Appearance is warm, motion is blue, what joins both is black, green or purple.
    colour: str
    marker: str
    line: str = "-"
    note: str = ""  # what a table must say beside the title
    defaults: Mapping[str, Any] = field(default_factory=dict)  # options that differ from the defaults of ``options``
    parts: tuple[str, ...] = ()  # methods whose separately trained heads make up this one
    tuned_as: str = ""  # the method whose tuned settings it takes, if not its own
    raw: bool = False  # whether it reads the features as they are, instead of whitened


METHODS: dict[str, MethodSpec] = {  # in the order of the paper's Table 1, then what that lacks
    "matchingnet": MethodSpec(
        "MatchingNet", "Matching Net", MatchingNet, MatchingNetOptions, "first", "#999933", "<"
    ),
    "trx": MethodSpec("TRX", "TRX", Trx, TrxOptions, "first", "#332288", "h"),
    "hyrsm": MethodSpec("HyRSM", "HyRSM", Hyrsm, HyrsmOptions, "first", "#661100", "*"),
    "strm": MethodSpec("STRM", "STRM", Strm, StrmOptions, "first", "#CC6677", "o"),
    "protonet_f": MethodSpec(
        "ProtoNet-F", "ProtoNet-F", ProtoNet, HeadOptions, "second", "#0072B2", "s", tuned_as="protonet"
    ),
    "trx_f": MethodSpec("TRX-F", "TRX-F", Trx, TrxOptions, "second", "#4477AA", "h", "--", tuned_as="trx"),
    "strm_f": MethodSpec("STRM-F", "STRM-F", Strm, StrmOptions, "second", "#6699CC", "s", tuned_as="strm"),
    "protonet_ec": MethodSpec(
        "ProtoNet-EC", "ProtoNet-EC", EarlyProtoNet, EarlyProtoNetOptions, "both", "#882255", "P", note=OUR_READING
    ),
    "protonet_ea": MethodSpec(
        "ProtoNet-EA", "ProtoNet-EA", EarlyProtoNet, EarlyProtoNetOptions, "both", "#882255", "X", note=OUR_READING,
        defaults={"early_fusion": "ea"},
    ),
    "strm_ec": MethodSpec(
        "STRM-EC", "STRM-EC", EarlyStrm, EarlyStrmOptions, "both", "#44AA99", "P", note=OUR_READING
    ),
    "amfar": MethodSpec(
        "AMFAR", "AMFAR", Amfir, AmfirOptions, "both", "#E69F00", "^", note=OUR_READING,
        defaults={"score": "neg_certainty"}, tuned_as="amfir",
    ),
    "amfir": MethodSpec("AMFIR", "AMFIR", Amfir, AmfirOptions, "both", "#009E73", "D"),
    "protonet": MethodSpec("ProtoNet", "", ProtoNet, HeadOptions, "first", "#D55E00", "o"),
    "otam": MethodSpec("OTAM", "", Otam, OtamOptions, "first", "#56B4E9", "p"),
    "cmn": MethodSpec("CMN", "", Cmn, CmnOptions, "first", "#DDCC77", ">"),
    "protonet_lf": MethodSpec(
        "ProtoNet-LF", "", LateFusion, late_fusion_options(HeadOptions), "both", "#CC79A7", "v", note=OUR_READING,
        parts=("protonet", "protonet_f"),
    ),
    "trx_lf": MethodSpec(
        "TRX-LF", "", LateFusion, late_fusion_options(TrxOptions), "both", "#AA4499", "h", "-.", note=OUR_READING,
        parts=("trx", "trx_f"),
    ),
    "strm_lf": MethodSpec(
        "STRM-LF", "", LateFusion, late_fusion_options(StrmOptions), "both", "#7B4EA3", "v", note=OUR_READING,
        parts=("strm", "strm_f"),
    ),
    "nearest_mean": MethodSpec(  # of the frozen features of both streams: what is there before anything is learnt
        "nearest mean", "", LateFusion, late_fusion_options(HeadOptions), "both", "#777777", "d",
        parts=("protonet", "protonet_f"), raw=True,
        defaults={
            "layer_norm": False, "projection": False, "learn_temperature": False, "pooling": "time", "metric": "cosine",
            "late_fusion": "logit_sum",
        },
    ),
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "study": {},
    "paper_literal": {
        "layer_norm": False, "scaled": False, "logit_scale": 1.0, "learn_temperature": False, "pooling": "mean",
    },
}  # fmt: skip

TUNED = Path(__file__).with_name(
    "tuned.csv"
)  # all trials of ``python -m amfir_lib.study.search``, kept for all studies


@lru_cache(maxsize=1)
def _chosen_trials() -> dict[str, dict[str, float]]:
    frame = pd.read_csv(TUNED).query("chosen").set_index("method")
    return frame[["lr", "logit_scale", "longer"]].to_dict("index")


def tuned_settings(name: str) -> dict[str, float]:
    """``lr``, ``logit_scale`` and ``longer`` (times the steps) that the search found; empty where none was."""
    return _chosen_trials().get(METHODS[name].tuned_as or name, {})


def tuned_training(name: str, settings: Any) -> Any:
    """The settings of a training with the learning rate and the length that were found; unchanged where none were."""
    found = tuned_settings(name)
    return replace(settings, lr=found["lr"], steps=int(found["longer"]) * settings.steps) if found else settings


def resolve_options(name: str, options: Mapping[str, Any]) -> Options:
    """All options of a method: its defaults, then what the search found for it, then the preset, then those given.

    Of the preset that ``options["preset"]`` names, a method takes the values that it has options for.

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
    for option in given:
        if option not in known:
            raise unknown_name(f"option of {name}", option, [*known, "preset"], error=UnknownParameter)
    trained_itself = {} if spec.parts else tuned_settings(name)
    general = {option: value for option, value in {**trained_itself, **PRESETS[preset]}.items() if option in known}
    return spec.options(**{**spec.defaults, **general, **given})


def options_of_part(name: str, part: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Preset, options, and defaults that the preset leaves, of an assembled method, as far as a part has them, too."""
    known = {*METHODS[part].options.__dataclass_fields__, "preset"}
    preset = PRESETS.get(options.get("preset", "study"), {})
    defaults = {option: value for option, value in METHODS[name].defaults.items() if option not in preset}
    return {option: value for option, value in {**defaults, **options}.items() if option in known}


def uses_patches(name: str) -> bool:
    """Whether a method, or a part of it, reads features that are not averaged over the spatial patches."""
    spec = METHODS[name]
    return spec.build.uses_patches or any(uses_patches(part) for part in spec.parts)


def title_of(name: str, n_patches: Mapping[str, int]) -> str:
    """What a method is called on features with these patches per frame, modality -> P in the order appearance, motion.

    A method that enriches patches calls itself lite where no modality of it has more than one.
    """
    spec = METHODS[name]
    lite = uses_patches(name) and max(_read(spec, n_patches).values()) == 1
    return f"{spec.title}-lite" if lite else spec.title


def _read(spec: MethodSpec, given: Mapping[str, int]) -> dict[str, int]:
    """Of the modalities given, in the order appearance, motion, those that a method reads."""
    places = {"first": slice(1), "second": slice(1, 2), "both": slice(None)}
    return dict(list(given.items())[places[spec.streams]])


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
        dims: modality -> feature width D, appearance first, such as {"rgb": 96, "flow": 96}; it takes what it reads.
        options: what differs from the method's defaults.
        generator: torch.Generator on the CPU.
        facts: of the data set, for methods that need some (``Method.needs``).
    Raises:
        as ``resolve_options``; BadParameter: a modality or a fact is missing.
    """
    options = options or {}
    resolved, spec = resolve_options(name, options), METHODS[name]
    needed = {"first": 1, "second": 2, "both": 2}[spec.streams]
    if len(dims) < needed:
        raise BadParameter(
            f'method "{name}" reads modality number {needed}, but only {", ".join(dims) or "none"} is given. '
            "Add the modality, or choose a single-modality method."
        )
    if spec.parts:
        parts = {}
        for part in spec.parts:  # each begins as it would alone
            same = torch.Generator(generator.device).set_state(generator.get_state())
            given = options_of_part(name, part, options)
            parts[part] = build_method(part, dims=dims, options=given, generator=same, facts=facts)
        return spec.build(parts, resolved)
    needs = spec.build.needs
    if needs and facts is None:
        raise BadParameter(
            f'method "{name}" must know {", ".join(needs)} of the data set, but no facts are given. '
            "Pass facts=DataFacts(...) to build_method."
        )
    return spec.build(
        _read(spec, dims), resolved, generator=generator, **{fact: getattr(facts, fact) for fact in needs}
    )
