"""Backbones by name: ``compact``, ``resnet50``, ..., or two of them as ``appearance+motion``; one entry for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amfir_lib.backbones.compact import BLUR, INPUT_SIZE, CompactBackbone
from amfir_lib.backbones.frozen import JointBackbone
from amfir_lib.errors import BadParameter, unknown_name

AUTO = "auto"
OF_RENDERED_CLIPS = "compact"
OF_REAL_CLIPS = "efficientnet_adapted+compact_blurred"  # the best of ``real_clips_choice.csv``
OF_REAL_CLIPS_ALONE = "compact_adapted+compact_blurred"  # without the optional weights of EfficientNet
STREAMS = ("rgb", "flow")  # of "appearance+motion", in order
RENDERED_SIDE = 112  # px of rendered clips: larger inputs hold nothing more
RESNET_FLOW_SHARE = 1 / 28  # of the side: 8 px of a 224-px square, 4 px of one of 112, are the end of the drawn scale
I3D_FLOW_SHARE = 20 / 224  # of the side: the bound of the flow that I3D was trained on


@dataclass(frozen=True)
class Wanted:
    """What is asked of a backbone for one stream.

    Attributes:
        compact: gives the compact backbones of both streams; called only where they are needed.
        adapted: gives the compact backbone of a stream, adapted to the base classes; likewise.
        flow_size: side of the square on which flow is computed; the scale of the flow follows from it.
        n_patches: 1 or 16; 0 for the backbone's own.
    """

    stream: str
    compact: Callable[[], dict[str, CompactBackbone]]
    adapted: Callable[[str], CompactBackbone]
    input_size: int
    flow_size: int
    weights: str = "pretrained"
    weights_dir: Path | None = None
    n_patches: int = 0
    device: str = "cpu"

    @property
    def settings(self) -> dict[str, Any]:
        """What every network for pictures is given."""
        patches = {"n_patches": self.n_patches} if self.n_patches else {}
        return {"input_size": self.input_size, "device": self.device} | patches

    @property
    def published(self) -> dict[str, Any]:
        """Where the weights come from."""
        return {"weights": self.weights, "weights_dir": self.weights_dir}


def _blurred(wanted: Wanted) -> CompactBackbone:
    weights = wanted.compact()[wanted.stream].net.state_dict()
    return CompactBackbone(wanted.stream, weights, blur=BLUR, name="compact_blurred")


def _efficientnet(wanted: Wanted, **settings: Any) -> Any:
    from amfir_lib.backbones.efficientnet import EfficientNetLite

    return EfficientNetLite(wanted.stream, **wanted.settings | settings)


def _joint(wanted: Wanted) -> JointBackbone:
    published = _efficientnet(wanted, n_patches=CompactBackbone.n_patches)  # says first what is missing
    return JointBackbone([published, wanted.adapted(wanted.stream)])


def _resnet(name: str) -> Callable[[Wanted], Any]:
    def opened(wanted: Wanted) -> Any:
        from amfir_lib.backbones.resnet import ResNet

        flow_range = RESNET_FLOW_SHARE * wanted.flow_size
        return ResNet(name, wanted.stream, flow_range=flow_range, **wanted.settings, **wanted.published)

    return opened


def _i3d(weights: str) -> Callable[[Wanted], Any]:
    def opened(wanted: Wanted) -> Any:
        from amfir_lib.backbones.i3d import I3D

        flow_range, published = I3D_FLOW_SHARE * wanted.flow_size, wanted.published
        if wanted.weights == "pretrained":
            published["weights"] = weights
        return I3D(wanted.stream, flow_range=flow_range, **wanted.settings, **published)

    return opened


@dataclass(frozen=True)
class Entry:
    """One backbone.

    Attributes:
        side: px of what it sees of a real clip, where the user asks for nothing else.
        fixed_patches: whether it has the patches of the compact nets and no others.
        source: of its weights, where there are no random ones.
        learns: whether it can be trained end to end.
    """

    open: Callable[[Wanted], Any]
    side: int
    fixed_side: bool = False
    fixed_patches: bool = False
    source: str = ""
    learns: bool = False


_COMPACT = {"side": INPUT_SIZE, "fixed_side": True, "fixed_patches": True, "source": "is trained by the study itself"}
_LITE = {"side": 112, "source": "comes with its weights"}
_PUBLISHED = {"side": 224, "learns": True}
BACKBONES = {
    "compact": Entry(lambda wanted: wanted.compact()[wanted.stream], learns=True, **_COMPACT),
    "compact_blurred": Entry(_blurred, **_COMPACT),
    "compact_adapted": Entry(lambda wanted: wanted.adapted(wanted.stream), **_COMPACT),
    "efficientnet_lite0": Entry(_efficientnet, **_LITE),
    "efficientnet_adapted": Entry(_joint, fixed_patches=True, **_LITE),
    "resnet18": Entry(_resnet("resnet18"), **_PUBLISHED),
    "resnet50": Entry(_resnet("resnet50"), **_PUBLISHED),
    "i3d": Entry(_i3d("pretrained"), **_PUBLISHED),  # Kinetics before Charades
    "i3d_charades": Entry(_i3d("charades"), **_PUBLISHED),
}


def names_of_streams(backbone: str) -> tuple[str, str]:
    """The appearance and the motion backbone that a name stands for; one name stands for both.

    Raises:
        UnknownName: a part that does not exist; the nearest is suggested.
        BadParameter: more than two parts.
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
    """Side in px of what a backbone sees.

    Args:
        name: of ``BACKBONES``.
        synthetic: whether the clips are rendered.
        input_size: what the user asks for; 0 for the default.  The compact nets have a fixed size.
    """
    entry = BACKBONES[name]
    if input_size and not entry.fixed_side:
        return input_size
    return min(entry.side, RENDERED_SIDE) if synthetic else entry.side


def open_backbone(name: str, wanted: Wanted) -> Any:
    """One backbone for one stream.

    Raises:
        BackboneUnavailable: the weights are not there; says which file is expected where.
        BadParameter: a value that this backbone does not have.
    """
    entry, grid = BACKBONES[name], CompactBackbone.n_patches
    if entry.fixed_patches and wanted.n_patches not in (0, grid):
        raise BadParameter(f"n_patches is {wanted.n_patches}, but {name} has {grid}. Leave it out.")
    if entry.source and wanted.weights != "pretrained":
        raise BadParameter(f'weights is "{wanted.weights}", but {name} {entry.source}. Leave it out.')
    return entry.open(wanted)
