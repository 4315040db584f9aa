"""What an end-to-end training is: its settings, its modules, and where its clips come from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from amfir_lib.data.flow import check_storage
from amfir_lib.data.frames import FrameCache
from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.methods.base import Method
from amfir_lib.storage import digest_of
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.training import Training

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class EndToEnd:
    """What end-to-end training has beside the settings of ``Training``.

    Attributes:
        backbone_lr: learning rate of the backbones; that of the head is the method's own.
        frames_per_instant: stored instants for each one that a network sees; 1 leaves no random choice of instants.
        clips_per_pass: clips in a backbone at a time; bounds the memory, changes no gradient of frozen batch norms.
        precision: of the backbones: "float32", "bfloat16", or "float16" (CUDA only, with a scaled loss).
        channels_last: memory layout of convolutions, faster on most devices; changes nothing but rounding.
        freeze_batch_norm: keep statistics, scales and shifts of the pretrained batch norms.
        flip: mirror half of the clips; None asks the data set.
        flow_type: how flow is stored: "uint8", "float" or "colour", see ``data.flow``.
    """

    backbone_lr: float = 1e-3
    frames_per_instant: int = 2
    clips_per_pass: int = 16
    precision: str = "float32"
    channels_last: bool = True
    freeze_batch_norm: bool = True
    flip: bool | None = None
    flow_type: str = "uint8"

    def __post_init__(self) -> None:
        """Refuse a setting that no training can have."""
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        check_storage(self.flow_type)
        for name in ("frames_per_instant", "clips_per_pass"):
            if getattr(self, name) < 1:
                raise BadParameter(f"{name} is {getattr(self, name)}, but must be at least 1. Raise it.")
        if self.backbone_lr < 0:
            raise BadParameter(f"backbone_lr is {self.backbone_lr}, but must not be below 0. Raise it.")


@dataclass(frozen=True)
class Source:
    """Where the clips of one modality come from.

    Attributes:
        stream: "rgb" or "flow".
        n_instants: T, or the number of dense frames that the backbone wants.
        crop: side of what it sees in px.
    """

    stream: str
    n_instants: int
    crop: int


@dataclass
class Job:
    """Everything that a training needs; it is sent whole to each device.

    Attributes:
        method: with its initial weights.
        streams: modality -> backbone module, see ``trainable_stream``.
        sources: modality -> where its clips come from.
        cache: frames and flow.
        layout: labels, groups and splits; a ``FeatureTable`` without features.
        settings: of the episodes and the head.
        options: of the backbones.
        flip: whether clips are mirrored.
        seed: of the episodes and views.
        checkpoint: file that each validation renews, and that an interrupted training resumes from.
    """

    method: Method
    streams: dict[str, nn.Module]
    sources: dict[str, Source]
    cache: FrameCache
    layout: FeatureTable
    settings: Training
    options: EndToEnd = field(default_factory=EndToEnd)
    flip: bool = False
    seed: int = 0
    checkpoint: Path | None = None

    @property
    def identity(self) -> str:
        """Digest of what a checkpoint belongs to."""
        method = [type(self.method).__name__, asdict(self.method.options), self.method.dims]
        sources = {modality: asdict(source) for modality, source in self.sources.items()}
        weights = [[m, s.__class__.__name__] for m, s in self.streams.items()]
        return digest_of(
            [
                asdict(self.settings),
                asdict(self.options),
                self.seed,
                self.flip,
                method,
                sources,
                weights,
                self.cache.digest,
            ]
        )
