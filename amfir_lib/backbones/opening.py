"""Backbones by name: ``compact``, ``resnet50``, ..., or two of them as ``appearance+motion``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from amfir_lib.errors import BadParameter, unknown_name

NAMES = (
    "compact", "compact_blurred", "compact_adapted", "efficientnet_lite0", "efficientnet_adapted", "resnet18",
    "resnet50", "i3d", "i3d_charades",
)  # fmt: skip
I3D_WEIGHTS = {"i3d": "pretrained", "i3d_charades": "charades"}  # Kinetics before Charades, or Charades alone
AUTO = "auto"
OF_RENDERED_CLIPS = "compact"
OF_REAL_CLIPS = "efficientnet_adapted+compact_blurred"  # the best of ``real_clips_choice.csv``
OF_REAL_CLIPS_ALONE = "compact_adapted+compact_blurred"  # without the optional weights of EfficientNet
STREAMS = ("rgb", "flow")  # of "appearance+motion", in order
PUBLISHED_SIDE = 224  # px, at which the published weights of ResNet and I3D were trained
RESNET_FLOW_SHARE = 1 / 28  # of the side: 8 px of a 224-px square, 4 px of one of 112, are the end of the drawn scale
I3D_FLOW_SHARE = 20 / 224  # of the side: the bound of the flow that I3D was trained on


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
        if part not in NAMES:
            raise unknown_name("backbone", part, (*NAMES, AUTO, "appearance+motion, such as resnet50+i3d"))
    return parts[0], parts[-1]


def input_size_of(name: str, *, synthetic: bool, input_size: int = 0) -> int:
    """Side in px of what a backbone sees: its own, or 224 for the published networks (112 for rendered clips).

    Args:
        name: of ``NAMES``.
        synthetic: whether the clips are rendered; those are 112 px, so that larger inputs hold nothing more.
        input_size: what the user asks for; 0 for the default.  The compact nets have a fixed size.
    """
    if name.startswith("compact"):
        return 64
    if input_size:
        return input_size
    return 112 if synthetic or name.startswith("efficientnet") else PUBLISHED_SIDE


def open_backbone(
    name: str,
    stream: str,
    *,
    compact: Callable[[], dict[str, Any]],
    adapted: Callable[[str], Any],
    input_size: int,
    flow_size: int,
    weights: str = "pretrained",
    weights_dir: Path | None = None,
    n_patches: int = 0,
    device: str = "cpu",
) -> Any:
    """One backbone for one stream.

    Args:
        name: of ``NAMES``.
        stream: "rgb" or "flow".
        compact: gives the compact backbones of both streams; called only where they are asked for.
        adapted: gives the compact backbone of a stream, adapted to the base classes; likewise.
        input_size: S in px.
        flow_size: side of the square on which flow is computed; the scale of the flow follows from it.
        weights: "pretrained" or "random".
        weights_dir: folder of published weights.
        n_patches: 1 or 16; 0 for the backbone's own.
        device: where the network runs.
    Raises:
        BackboneUnavailable: the weights are not there; says which file is expected where.
        BadParameter: a value that this backbone does not have.
    """
    from amfir_lib.backbones.compact import CompactBackbone

    own = {"n_patches": n_patches} if n_patches else {}
    if n_patches not in (0, CompactBackbone.n_patches) and (name.startswith("compact") or name.endswith("adapted")):
        raise BadParameter(f"n_patches is {n_patches}, but {name} has {CompactBackbone.n_patches}. Leave it out.")
    if weights != "pretrained" and name.startswith(("compact", "efficientnet")):
        source = "is trained by the study itself" if name.startswith("compact") else "comes with its weights"
        raise BadParameter(f'weights is "{weights}", but {name} {source}. Leave it out.')
    if name == "compact":
        return compact()[stream]
    if name == "compact_blurred":
        from amfir_lib.backbones.blurred import BlurredBackbone

        return BlurredBackbone(stream, compact()[stream].net.state_dict())
    if name == "compact_adapted":
        return adapted(stream)
    if name.startswith("efficientnet"):
        from amfir_lib.backbones.efficientnet_lite import EfficientNetLite
        from amfir_lib.backbones.joint import JointBackbone

        if name == "efficientnet_lite0":
            return EfficientNetLite(stream, input_size=input_size, device=device, **own)
        grid = {"n_patches": CompactBackbone.n_patches}
        published = EfficientNetLite(stream, input_size=input_size, device=device, **grid)  # says first what is missing
        return JointBackbone([published, adapted(stream)])
    common = {"weights": weights, "weights_dir": weights_dir, "input_size": input_size, "device": device} | own
    if name in I3D_WEIGHTS:
        from amfir_lib.backbones.i3d import I3D

        common["weights"] = I3D_WEIGHTS[name] if weights == "pretrained" else weights
        return I3D(stream, flow_range=I3D_FLOW_SHARE * flow_size, **common)
    from amfir_lib.backbones.resnet import ResNet

    return ResNet(name, stream, flow_range=RESNET_FLOW_SHARE * flow_size, **common)
