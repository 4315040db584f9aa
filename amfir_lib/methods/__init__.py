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
from amfir_lib.methods.base import DataFacts, EpisodeOutput, Features, Method, Options
from amfir_lib.methods.cmn import Cmn, CmnOptions
from amfir_lib.methods.early_fusion import EarlyProtoNet, EarlyProtoNetOptions, EarlyStrm, EarlyStrmOptions
from amfir_lib.methods.heads import HeadOptions
from amfir_lib.methods.hyrsm import Hyrsm, HyrsmOptions
from amfir_lib.methods.late_fusion import LateFusion, late_fusion_options
from amfir_lib.methods.matching_net import MatchingNet, MatchingNetOptions
from amfir_lib.methods.otam import Otam, OtamOptions
from amfir_lib.methods.protonet import ProtoNet
from amfir_lib.methods.strm import Strm, StrmOptions
from amfir_lib.methods.trx import Trx, TrxOptions

__all__ = [
    "METHODS", "PRESETS", "TUNED", "DataFacts", "EpisodeOutput", "Features", "Method", "MethodSpec", "build_method",
    "options_of_part", "resolve_options", "title_of", "tuned_settings", "tuned_training", "uses_patches",
]  # fmt: skip

OUR_READING = "our reading"  # of a name that the paper does not define


@dataclass(frozen=True)
class MethodSpec:
    """One row of Table 1.

    Attributes:
        title: in tables and figures.
        build: its class, called with dims, options, ``generator`` and the facts it needs; with built parts and options
            if it has parts.
        options: class of its options.
        streams: which modalities it reads: "first" (appearance), "second" (motion) or "both".
        colour, marker, line: in every figure, as matplotlib writes them; safe for colour-blind readers in the sets
            that occur together: appearance is warm, motion is blue, what joins both is black, green or purple.
        paper_name: of its row in the paper's Table 1; empty for a method that this lacks.
        note: what a table must say beside the title.
        defaults: options that differ from the defaults of ``options``.
        parts: methods whose separately trained heads make up this one; empty for a method that is trained itself.
        tuned_as: whose tuned settings it takes, if not its own.
        lite: its title where frames have a single patch, for a method that enriches patches.
        raw: whether it reads the features as they are, instead of whitened.
    """

    title: str
    build: Callable[..., Method]
    options: type[Options]
    streams: str
    colour: str
    marker: str
    line: str = "-"
    paper_name: str = ""
    note: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    tuned_as: str = ""
    lite: str = ""
    raw: bool = False


NO_LEARNING = {"layer_norm": False, "projection": False, "learn_temperature": False}  # a head without parameters

METHODS: dict[str, MethodSpec] = {  # in the order of the paper's Table 1, then what that lacks
    "matchingnet": MethodSpec(
        "MatchingNet", MatchingNet, MatchingNetOptions, "first", "#999933", "<", paper_name="Matching Net"
    ),
    "trx": MethodSpec("TRX", Trx, TrxOptions, "first", "#332288", "h", paper_name="TRX"),
    "hyrsm": MethodSpec("HyRSM", Hyrsm, HyrsmOptions, "first", "#661100", "*", paper_name="HyRSM"),
    "strm": MethodSpec("STRM", Strm, StrmOptions, "first", "#CC6677", "o", paper_name="STRM", lite="STRM-lite"),
    "protonet_f": MethodSpec(
        "ProtoNet-F", ProtoNet, HeadOptions, "second", "#0072B2", "s", paper_name="ProtoNet-F", tuned_as="protonet"
    ),
    "trx_f": MethodSpec(
        "TRX-F", Trx, TrxOptions, "second", "#4477AA", "h", "--", paper_name="TRX-F", tuned_as="trx"
    ),
    "strm_f": MethodSpec(
        "STRM-F", Strm, StrmOptions, "second", "#6699CC", "s", paper_name="STRM-F", tuned_as="strm", lite="STRM-F-lite"
    ),
    "protonet_ec": MethodSpec(
        "ProtoNet-EC", EarlyProtoNet, EarlyProtoNetOptions, "both", "#882255", "P", paper_name="ProtoNet-EC",
        note=OUR_READING,
    ),
    "protonet_ea": MethodSpec(
        "ProtoNet-EA", EarlyProtoNet, EarlyProtoNetOptions, "both", "#882255", "X", paper_name="ProtoNet-EA",
        note=OUR_READING, defaults={"early_fusion": "ea"},
    ),
    "strm_ec": MethodSpec(
        "STRM-EC", EarlyStrm, EarlyStrmOptions, "both", "#44AA99", "P", paper_name="STRM-EC", note=OUR_READING,
        lite="STRM-EC-lite",
    ),
    "amfar": MethodSpec(
        "AMFAR", Amfir, AmfirOptions, "both", "#E69F00", "^", paper_name="AMFAR", note=OUR_READING,
        defaults={"score": "neg_certainty"}, tuned_as="amfir",
    ),
    "amfir": MethodSpec("AMFIR", Amfir, AmfirOptions, "both", "#009E73", "D", paper_name="AMFIR"),
    "protonet": MethodSpec("ProtoNet", ProtoNet, HeadOptions, "first", "#D55E00", "o"),
    "otam": MethodSpec("OTAM", Otam, OtamOptions, "first", "#56B4E9", "p"),
    "cmn": MethodSpec("CMN", Cmn, CmnOptions, "first", "#DDCC77", ">"),
    "protonet_lf": MethodSpec(
        "ProtoNet-LF", LateFusion, late_fusion_options(HeadOptions), "both", "#CC79A7", "v", note=OUR_READING,
        parts=("protonet", "protonet_f"),
    ),
    "trx_lf": MethodSpec(
        "TRX-LF", LateFusion, late_fusion_options(TrxOptions), "both", "#AA4499", "h", "-.", note=OUR_READING,
        parts=("trx", "trx_f"),
    ),
    "strm_lf": MethodSpec(
        "STRM-LF", LateFusion, late_fusion_options(StrmOptions), "both", "#7B4EA3", "v", note=OUR_READING,
        parts=("strm", "strm_f"), lite="STRM-LF-lite",
    ),
    "nearest_mean": MethodSpec(  # of the frozen features of both streams: what is there before anything is learnt
        "nearest mean", LateFusion, late_fusion_options(HeadOptions), "both", "#777777", "d",
        parts=("protonet", "protonet_f"), raw=True,
        defaults={**NO_LEARNING, "pooling": "time", "metric": "cosine", "late_fusion": "logit_sum"},
    ),
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "study": {},
    "paper_literal": {
        "layer_norm": False, "scaled": False, "logit_scale": 1.0, "learn_temperature": False, "pooling": "mean",
    },
}  # fmt: skip

TUNED = Path(__file__).with_name("tuned.csv")  # all trials of ``python -m amfir_lib.study.search``


@lru_cache(maxsize=1)
def _chosen_trials() -> dict[str, dict[str, float]]:
    frame = pd.read_csv(TUNED).query("chosen").set_index("method")
    return frame[["lr", "logit_scale", "longer"]].to_dict("index")


def tuned_settings(name: str) -> dict[str, float]:
    """What the search on validation classes of two benchmarks found, with as many trials for every method.

    The table ``tuned.csv`` is kept in the repository: a study reads it and does not repeat the search.  A method that
    still gained two points of validation accuracy in a second round of steps trains twice as long as the others.

    Returns:
        ``lr``, ``logit_scale`` (initial inverse temperature) and ``longer`` (times the steps); empty where none was.
    """
    return _chosen_trials().get(METHODS[name].tuned_as or name, {})


def tuned_training(name: str, settings: Any) -> Any:
    """The settings of a training with the learning rate and the length that were found; unchanged where none were."""
    found = tuned_settings(name)
    return replace(settings, lr=found["lr"], steps=int(found["longer"]) * settings.steps) if found else settings


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
    for option in given:
        if option not in known:
            raise unknown_name(f"option of {name}", option, [*known, "preset"], error=UnknownParameter)
    trained_itself = {} if spec.parts else tuned_settings(name)
    general = {option: value for option, value in {**trained_itself, **PRESETS[preset]}.items() if option in known}
    return spec.options(**{**spec.defaults, **general, **given})


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
    return spec.lite if spec.lite and max(_read(spec, n_patches).values()) == 1 else spec.title


def _read(spec: MethodSpec, given: Mapping[str, int]) -> dict[str, int]:
    """The modalities that a method reads, of those given in the order appearance, motion."""
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
    known_facts = {fact: getattr(facts, fact) for fact in needs}
    return spec.build(_read(spec, dims), resolved, generator=generator, **known_facts)
