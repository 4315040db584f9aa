"""Clips that pass through backbones while these learn: augmented views, bounded memory, one device or several.

Each episode is a forward and backward pass of its own; the gradients of ``episodes_per_step`` are added up for a step.
An episode with more clips than ``clips_per_pass`` goes through the backbones twice: once without a graph to learn the
gradient of the loss at the features, once in parts to carry it into the weights.  The gradient is the same, the memory
is that of one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amfir_lib.backbones.frozen import freeze_batch_norm, statistics_kept
from amfir_lib.data.flow import check_storage, decode_flow
from amfir_lib.data.frames import FrameCache, Stored
from amfir_lib.data.streams import CENTRE, MARGIN, View, dense_frames, look_at, random_view
from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.methods.base import Method
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.evaluation import QueryResults, evaluate
from amfir_lib.study.feature_table import FeatureTable
from amfir_lib.study.training import Source, Training

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class EndToEnd:
    """What end-to-end training has beside the settings of ``Training``.

    Attributes:
        backbone_lr: learning rate of the backbones; that of the head is the method's own.
        frames_per_instant: stored instants for each one that a network sees; 1 leaves no random choice of instants.
        clips_per_pass: clips in a backbone at a time; bounds the memory, changes no gradient of frozen batch norms.
        precision: of the backbones: "float32", "bfloat16", or "float16" (CUDA only, with a scaled loss).
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
class Seen:
    """What a backbone sees of a clip.

    Attributes:
        stream: "rgb" or "flow".
        n_instants: T, or the number of dense frames that the backbone wants.
        crop: side in px.
    """

    stream: str
    n_instants: int
    crop: int


def seen_by(backbones: Mapping[str, Any], *, n_segments: int = 8) -> dict[str, Seen]:
    """Modality -> what its backbone sees."""
    return {
        m: Seen(backbone.modality, dense_frames(backbone) or n_segments, backbone.input_size)
        for m, backbone in backbones.items()
    }


def stored_streams(backbones: Mapping[str, Any], options: EndToEnd) -> dict[str, Stored]:
    """Stream -> how the frame cache stores it for these backbones.

    Stored squares are larger than crops by ``MARGIN``, and instants are ``frames_per_instant`` times those that a
    network sees.
    """
    return {
        seen.stream: Stored(seen.n_instants * options.frames_per_instant, round(seen.crop * MARGIN))
        for seen in seen_by(backbones).values()
    }


class Clips(Source):
    """The source of a training through the backbones, see ``training.Source``.

    Views follow from (seed, step, episode), so a resumed training continues exactly and several devices see what one
    would (on a GPU up to rounding: its sums have no fixed order).

    Args:
        backbones: modality -> module that learns, ``seen``: what it sees.
        flip: whether clips are mirrored.
    """

    def __init__(
        self,
        layout: FeatureTable,
        backbones: Mapping[str, nn.Module],
        seen: Mapping[str, Seen],
        frames: FrameCache,
        options: EndToEnd,
        *,
        flip: bool = False,
    ) -> None:
        super().__init__(layout)
        self.backbones, self.seen, self.frames, self.options, self.flip = dict(backbones), seen, frames, options, flip
        self.place("cpu")

    def place(self, device: str, ranks: Any = None) -> None:
        """Where this process works, and how several work together (Fabric); None for one."""
        self.device, self.ranks = torch.device(device), ranks
        self.rank, self.n_ranks = (0, 1) if ranks is None else (ranks.global_rank, ranks.world_size)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.options.precision == "float16")

    @property
    def writes(self) -> bool:
        """The first of several devices writes the checkpoint."""
        return self.rank == 0

    @property
    def identity(self) -> list[Any]:
        """What decides over the training beside method and settings."""
        seen = {m: [asdict(seen), type(self.backbones[m]).__name__] for m, seen in self.seen.items()}
        return [asdict(self.options), self.flip, seen, self.frames.digest]

    def begin(self, method: Method, *, seed: int) -> None:
        """Bring all that learns to the device; refuses, with a BadParameter, float16 on a CPU."""
        if self.options.precision == "float16" and self.device.type != "cuda":
            raise BadParameter(
                f'precision is "float16", but the device is {self.device}. Use "bfloat16" or "float32" there.'
            )
        self.seed = seed
        method.to(self.device)
        for stream in self.backbones.values():
            three_d = any(isinstance(module, nn.Conv3d) for module in stream.modules())
            layout = torch.channels_last_3d if three_d else torch.channels_last
            stream.to(memory_format=layout if self.options.channels_last else torch.contiguous_format).to(self.device)
        self._train_mode()

    def _train_mode(self) -> None:
        for stream in self.backbones.values():
            stream.train()
            if self.options.freeze_batch_norm:
                freeze_batch_norm(stream)

    def parameter_groups(self, method: Method) -> dict[str, dict[str, Any]]:
        """The method, and what learns of the backbones at a rate of its own."""
        learning = [p for stream in self.backbones.values() for p in stream.parameters() if p.requires_grad]
        groups = {
            "gradient_norm": {"params": list(method.parameters())},
            "gradient_norm_backbones": {"params": learning, "lr": self.options.backbone_lr},
        }
        return {name: group for name, group in groups.items() if group["params"]}

    def remedy(self, settings: Training) -> str:
        """The two learning rates."""
        return f"backbone_lr (it is {self.options.backbone_lr}) or lr (it is {settings.lr})"

    def parts(self, method: Method, episodes: Episodes, step: int) -> Iterator[tuple[FeatureTable, Episodes, int]]:
        """One pass for each episode of this device."""
        numbers = range(self.rank, len(episodes), self.n_ranks)
        read = prefetched(lambda number: self._views(episodes[number : number + 1].rows, step, number), numbers)
        for number, clips in zip(numbers, read, strict=True):
            episode = episodes[number : number + 1]
            rows, size = episode.rows, self.options.clips_per_pass
            whole = len(rows) <= size
            features = {}
            for m, stream in self.backbones.items():
                with nullcontext() if whole else torch.no_grad(), nullcontext() if whole else statistics_kept(stream):
                    features[m] = self.features(m, clips[m])
                if not whole:
                    features[m].requires_grad_(True)
            table = self.layout.take(rows, {m: _for_method(method, values) for m, values in features.items()})
            yield table, episode.on_rows(rows), len(episodes)
            if not whole:
                for m in self.backbones:
                    for start, gradient in zip(range(0, len(rows), size), features[m].grad.split(size), strict=True):
                        self.features(m, clips[m][start : start + size]).backward(gradient)
            self.n_clips += len(rows)

    def _views(self, rows: np.ndarray, step: int, number: int) -> dict[str, np.ndarray]:
        """A random view of each clip of one episode, as stored; runs in a thread of its own."""
        rng = np.random.default_rng([11, self.seed, step, number])
        views = [random_view(rng, flip=self.flip) for _ in rows]
        return {m: self.look(m, rows, views) for m in self.backbones}

    def over_devices(self, method: Method, terms: dict[str, float]) -> dict[str, float]:
        """Sums of gradients and terms, and averages of running statistics."""
        if self.n_ranks == 1:
            return terms
        for group in self.parameter_groups(method).values():
            parameters = group["params"]
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
            summed = self.ranks.all_reduce(torch.cat([g.flatten() for g in gradients]), reduce_op="sum")
            for p, part in zip(parameters, summed.split([p.numel() for p in parameters]), strict=True):
                p.grad = part.view_as(p).clone()
        if not self.options.freeze_batch_norm:
            for buffer in (b for s in self.backbones.values() for b in s.buffers() if b.is_floating_point()):
                buffer.copy_(self.ranks.all_reduce(buffer, reduce_op="mean"))
        names = sorted(terms)
        summed = self.ranks.all_reduce(torch.tensor([terms[n] for n in names], device=self.device), reduce_op="sum")
        return dict(zip(names, summed.tolist(), strict=True))

    def look(self, modality: str, rows: Iterable[int], views: Iterable[View]) -> np.ndarray:
        """Views of clips as stored: (n, F, S, S, C)."""
        seen = self.seen[modality]
        options = {"stream": seen.stream, "n_instants": seen.n_instants, "crop": seen.crop}
        options["flow_type"] = self.frames.flow_type
        clips = (self.frames.clip(seen.stream, row) for row in rows)
        return np.stack([look_at(clip, view, **options) for clip, view in zip(clips, views, strict=True)])

    def features(self, modality: str, clips: np.ndarray) -> Tensor:
        """Features of clips as stored, a pass at a time and at the precision of the training: float32 (n, T, P, D)."""
        kind, size, parts = PRECISIONS[self.options.precision], self.options.clips_per_pass, []
        for start in range(0, len(clips), size):
            raw = torch.from_numpy(clips[start : start + size]).to(self.device, non_blocking=True)
            if self.seen[modality].stream == "flow":
                raw = decode_flow(raw, storage=self.frames.flow_type, bound=self.frames.flow_bound)
            with torch.autocast(self.device.type, dtype=kind or torch.bfloat16, enabled=kind is not None):
                parts.append(self.backbones[modality](raw).float())
        return torch.cat(parts)

    @torch.inference_mode()
    def table(self, method: Method, rows: np.ndarray) -> FeatureTable:
        """Features of some clips (rows ascending) from their central views; row i is that of ``rows[i]``."""
        features = {}
        for modality, stream in self.backbones.items():
            stream.to(self.device).eval()
            parts = [
                _for_method(method, self.features(modality, self.look(modality, part, [CENTRE] * len(part))))
                for part in np.array_split(rows, -(-len(rows) // self.options.clips_per_pass))
            ]
            features[modality] = torch.cat(parts)
        return self.layout.take(rows, features)

    def evaluate(self, method: Method, lists: Mapping[int, Episodes]) -> dict[int, QueryResults]:
        """On central views; each clip goes through the backbones once."""
        rows = np.unique(np.concatenate([episodes.rows for episodes in lists.values()]))
        table, method = self.table(method, rows), method.to(self.device)
        results = {n_shot: evaluate(method, table, episodes.on_rows(rows)) for n_shot, episodes in lists.items()}
        self._train_mode()
        return results


def _for_method(method: Method, features: Tensor) -> Tensor:
    """Features as the method reads them: averaged over the patches, unless it uses them."""
    return features if method.uses_patches else features.mean(2, keepdim=True)


def prefetched(read: Callable[[int], Any], items: Iterable[int]) -> Iterator[Any]:
    """``read`` of each item in order, the next one being read in a thread while the last one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for item in items:
            coming = pool.submit(read, item)
            if waiting is not None:
                yield waiting.result()
            waiting = coming
        if waiting is not None:
            yield waiting.result()
