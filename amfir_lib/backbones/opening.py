"""Backbones by name: ``compact``, ``resnet50``, ..., or two of them as ``appearance+motion``; one entry for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from amfir_lib.backbones.compact import BLUR, INPUT_SIZE, CompactBackbone
from amfir_lib.backbones.efficientnet import EfficientNetLite
from amfir_lib.backbones.frozen import JointBackbone, PublishedBackbone
from amfir_lib.backbones.i3d import I3D
from amfir_lib.backbones.resnet import ResNet
from amfir_lib.errors import BadParameter, unknown_name

AUTO = "auto"
OF_RENDERED_CLIPS = "compact"
OF_REAL_CLIPS = "efficientnet_adapted+compact_blurred"  # the best of ``real_clips_choice.csv``
OF_REAL_CLIPS_ALONE = "compact_adapted+compact_blurred"  # without the optional weights of EfficientNet
STREAMS = ("rgb", "flow")  # of "appearance+motion", in order
RENDERED_SIDE = 112  # px of rendered clips: larger inputs hold nothing more


@dataclass(frozen=True)
class Entry:
    open: Callable[..., Any]  # as ``open_backbone``
    side: int  # px of what it sees of a real clip, where the user asks for nothing else
    fixed_side: bool = False
    fixed_patches: bool = False  # whether it has the patches of the compact nets and no others
    source: str = ""  # of its weights, where there are no random ones
    learns: bool = False  # whether it can be trained end to end


def _published(kind: type[PublishedBackbone]) -> Callable[..., PublishedBackbone]:
    return lambda name, stream, compact, adapted, options: kind(name, stream, **options)


def _compact(name: str, stream: str, compact: Callable, adapted: Callable, options: Any) -> CompactBackbone:
    if name == "compact_blurred":
        return CompactBackbone(stream, compact()[stream].net.state_dict(), blur=BLUR, name=name)
    return adapted(stream) if name == "compact_adapted" else compact()[stream]


def _joint(name: str, stream: str, compact: Callable, adapted: Callable, options: Mapping[str, Any]) -> JointBackbone:
    published = EfficientNetLite("efficientnet_lite0", stream, **options | {"n_patches": CompactBackbone.n_patches})
    return JointBackbone([published, adapted(stream)])  # in this order: says first what is missing


_COMPACT = {"side": INPUT_SIZE, "fixed_side": True, "fixed_patches": True, "source": "is trained by the study itself"}
_LITE = {"side": 112, "source": "comes with its weights"}
_PUBLISHED = {"side": 224, "learns": True}
BACKBONES = {
    "compact": Entry(_compact, learns=True, **_COMPACT),
    "compact_blurred": Entry(_compact, **_COMPACT),
    "compact_adapted": Entry(_compact, **_COMPACT),
    "efficientnet_lite0": Entry(_published(EfficientNetLite), **_LITE),
    "efficientnet_adapted": Entry(_joint, fixed_patches=True, **_LITE),
    "resnet18": Entry(_published(ResNet), **_PUBLISHED),
    "resnet50": Entry(_published(ResNet), **_PUBLISHED),
    "i3d": Entry(_published(I3D), **_PUBLISHED),  # Kinetics before Charades
    "i3d_charades": Entry(_published(I3D), **_PUBLISHED),
}


def names_of_streams(backbone: str) -> tuple[str, str]:
    """The appearance and the motion backbone that a name stands for; one name stands for both.

    Raises:
        UnknownName: no such backbone. BadParameter: more than two.
    """
    parts = tuple(backbone.split("+"))
    if len(parts) > 2:
        raise BadParameter(
            f'backbone is "{backbone}", but an experiment has two streams: write one name for both, or '
            '"appearance+motion" such as resnet50+i3d.'
        )
    for part in parts:
        if part not in BACKBONES:
            raise unknown_name("backbone", part, (*BACKBONES, AUTO, "appearance+motion, such as resnet50+i3d"))
    return parts[0], parts[-1]


def input_size_of(name: str, *, synthetic: bool, input_size: int = 0) -> int:
    """Side in px of what a backbone sees: ``input_size``, if it is not 0 and the backbone's side is not fixed."""
    entry = BACKBONES[name]
    if input_size and not entry.fixed_side:
        return input_size
    return min(entry.side, RENDERED_SIDE) if synthetic else entry.side


def open_backbone(
    name: str,
    stream: str,
    *,
    compact: Callable[[], Mapping[str, CompactBackbone]],
    adapted: Callable[[str], CompactBackbone],
    **options: Any,
) -> Any:
    """One backbone for one stream.

    Args:
        compact, adapted: give the compact nets of both streams, and that of one adapted to the base classes; called
            only where they are needed.
        options: of ``PublishedBackbone``.
    Raises:
        BackboneUnavailable: the weights are not there. BadParameter: a value that this backbone does not have.
    """
    entry, grid = BACKBONES[name], CompactBackbone.n_patches
    n_patches, weights = options.get("n_patches", 0), options.get("weights", "pretrained")
    if entry.fixed_patches and n_patches not in (0, grid):
        raise BadParameter(f"n_patches is {n_patches}, but {name} has {grid}. Leave it out.")
    if entry.source and weights != "pretrained":
        raise BadParameter(f'weights is "{weights}", but {name} {entry.source}. Leave it out.')
    return entry.open(name, stream, compact, adapted, options)
