"""Decoded frames and flow of every clip on disk, for training end to end: read by memory map, decoded once.

Frames are uint8; flow is stored in one of the forms of :func:`amfir_lib.data.flow.encode_flow`, by default in 8 bits,
in steps of 0.16 px.  A clip has more instants than a network sees, so that training can take another one of each
segment every time; and squares somewhat larger than what it sees, so that training can cut another part of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from amfir_lib.data.arrays import open_array
from amfir_lib.data.features import Target, fill_shards, made_from
from amfir_lib.data.flow import STORAGES, check_flow_algorithm, check_storage, encode_flow
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.streams import STREAMS
from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.storage import digest_of

SHARD_CLIPS = 16
GIGABYTE = 1e9


@dataclass(frozen=True)
class Stored:
    """How one stream is stored: F instants of a clip, spread evenly over it, as squares of a side in px."""

    n_instants: int
    side: int


@dataclass(frozen=True)
class _Encoder:
    """In the place of a backbone: what it makes of frames and flow is how they are stored."""

    modality: str
    dense_frames: int
    input_size: int
    flow_type: str
    flow_bound: float
    name = "frames"

    @property
    def digest(self) -> str:
        return digest_of([self.flow_type, self.flow_bound] if self.modality == "flow" else [])

    def features(self, clips: np.ndarray) -> np.ndarray:
        """Clips [B, F, S, S, C] as they are stored."""
        if self.modality == "rgb":
            return clips
        return encode_flow(clips, storage=self.flow_type, bound=self.flow_bound)


@dataclass(frozen=True)
class FrameCache:
    """An open frame cache: stream -> where it is, how flow is stored, the px per frame at which it was clipped, and a
    digest of everything that it depends on."""

    targets: dict[str, Target]
    flow_type: str
    flow_bound: float
    digest: str
    _open: dict[tuple[str, int], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def clip(self, stream: str, row: int) -> np.ndarray:
        """All instants of a clip: a read-only map [F, S, S, C], of flow as ``encode_flow`` stores it."""
        number, place = divmod(int(row), SHARD_CLIPS)
        if (stream, number) not in self._open:
            path = self.targets[stream].shard(number)
            self._open[stream, number] = open_array(path, check_content=False).features
        return self._open[stream, number][place]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}  # maps are opened again where they are used


def cache_bytes(n_clips: int, streams: Mapping[str, Stored], *, flow_type: str = "uint8") -> int:
    """Size on disk of a frame cache; the plan for a data set."""
    kind, channels = STORAGES[flow_type]
    pixel = {"rgb": 3, "flow": kind.itemsize * channels}
    return n_clips * sum(stored.n_instants * stored.side**2 * pixel[name] for name, stored in streams.items())


def build_frame_cache(
    dataset: Dataset, streams: Mapping[str, Stored], *, cache_dir: Path | str, flow_size: int = 128,
    flow_algorithm: str = "dis", flow_bound: float = 20.0, flow_type: str = "uint8", n_jobs: int = 1,
) -> FrameCache:  # fmt: skip
    """The frame cache of a data set: opened if it is there, else decoded; an interrupted one goes on where it stopped.

    The files go to ``frames/`` of the cache.  Displacements are in px of a ``flow_size`` square, clipped at
    ``flow_bound``; ``flow_type`` is "uint8", "float" (four times the size) or "colour".
    Says on stdout what it takes on the disk, and what it would with flow in the other forms, and which files are
    damaged and made again.

    Raises:
        UnknownName, BadParameter: a setting that does not exist. DiskFull: no room; says how much is needed.
    """
    for stream, stored in streams.items():
        if stream not in STREAMS:
            raise unknown_name("stream", stream, STREAMS)
        if stored.n_instants < 1 or stored.side < 16:
            raise BadParameter(f"{stream} of {stored}: a frame cache needs 1 instant and 16 px or more.")
    check_storage(flow_type, bound=flow_bound)
    if "flow" in streams:
        check_flow_algorithm(flow_algorithm)
    settings = {
        "n_segments": 1, "flow_size": flow_size, "flow_algorithm": flow_algorithm, "flow_bound": flow_bound,
        "flow_average": 1,
    }  # fmt: skip
    folder = Path(cache_dir) / "frames" / dataset.root.name
    targets = {}
    for stream, stored in streams.items():
        encoder = _Encoder(stream, stored.n_instants, stored.side, flow_type, flow_bound)
        kind, channels = STORAGES[flow_type] if stream == "flow" else (np.dtype(np.uint8), 3)
        shape = (stored.n_instants, stored.side, stored.side, channels)
        expected = made_from(dataset, stream, encoder, settings, shape)
        targets[stream] = Target(stream, encoder, folder / f"{stream}.safetensors", expected, kind)
    sizes = {form: cache_bytes(len(dataset), streams, flow_type=form) / GIGABYTE for form in STORAGES}
    others = ", ".join(f"{size:,.5g} GB as {form}" for form, size in sizes.items() if form != flow_type)
    print(
        f"The frames and flow of {dataset.name} take {sizes[flow_type]:,.5g} GB in the cache, with flow stored as "
        f"{flow_type}; {others} (flow_type)."
    )
    fill_shards(
        dataset, list(targets.values()), settings, shard_clips=SHARD_CLIPS, n_jobs=n_jobs, assembled=False,
        description=f"frames of {dataset.name}",
    )  # fmt: skip
    digest = digest_of([target.expected for target in targets.values()])
    return FrameCache(targets, flow_type, flow_bound, digest)
