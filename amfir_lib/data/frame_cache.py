"""Decoded frames and flow of every clip on disk, for training end to end: read by memory map, decoded once.

Frames are uint8; flow is stored in one of the forms of :mod:`amfir_lib.data.flow_codec`, by default in 8 bits, in steps
of 0.16 px.  A clip has more instants than a network sees, so that training can take another one of each segment every
time; and squares somewhat larger than what it sees, so that training can cut another part of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from amfir_lib.data import clip_inputs as inputs_module
from amfir_lib.data import dense_inputs as dense_module
from amfir_lib.data import flow as flow_module
from amfir_lib.data import flow_codec, frame_cache
from amfir_lib.data import frame_folders as folders_module
from amfir_lib.data import video as video_module
from amfir_lib.data.clip_inputs import decoder_version
from amfir_lib.data.dense_inputs import read_dense_streams
from amfir_lib.data.flow import check_flow_algorithm
from amfir_lib.data.flow_codec import STORAGES, check_storage, encode_flow
from amfir_lib.data.frame_sizes import Stored, cache_bytes, size_sentence
from amfir_lib.data.manifest import Dataset, manifest_digest
from amfir_lib.errors import BadParameter, StoreError, unknown_name
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import (
    atomic_write,
    check_free_space,
    digest_of,
    digest_of_code,
    digest_of_file,
    read_json,
    write_json,
)

SHARD_CLIPS = 16
STREAMS = ("rgb", "flow")
READY = "cache.json"


@dataclass(frozen=True)
class FrameCache:
    """An open frame cache.

    Attributes:
        folder: with one file per stream and shard.
        streams: stream ("rgb", "flow") -> how it is stored.
        flow_type: how flow is stored: "uint8", "float" or "colour".
        flow_bound: px per frame at which flow was clipped.
        digest: of everything that it depends on.
    """

    folder: Path
    streams: dict[str, Stored]
    flow_type: str
    flow_bound: float
    digest: str
    _open: dict[tuple[str, int], np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def clip(self, stream: str, row: int) -> np.ndarray:
        """All instants of a clip: a read-only map [F, S, S, C], of flow as ``encode_flow`` stores it."""
        number = int(row) // SHARD_CLIPS
        if (stream, number) not in self._open:
            self._open[stream, number] = np.load(_shard_path(self.folder, stream, number), mmap_mode="r")
        return self._open[stream, number][int(row) % SHARD_CLIPS]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}  # maps are opened again where they are used

    @cached_property
    def n_bytes(self) -> int:
        """Size on disk."""
        return sum(path.stat().st_size for path in self.folder.glob("*.npy"))


def build_frame_cache(
    dataset: Dataset,
    streams: Mapping[str, Stored],
    *,
    cache_dir: Path | str,
    flow_size: int = 128,
    flow_algorithm: str = "dis",
    flow_bound: float = 20.0,
    flow_type: str = "uint8",
    n_jobs: int = 1,
) -> FrameCache:
    """The frame cache of a data set: opened if it is there, else decoded; an interrupted one goes on where it stopped.

    Args:
        dataset: whose clips to decode.
        streams: stream -> how to store it.
        cache_dir: the cache folder.
        flow_size: side of the square on which flow is computed; displacements are in px of it.
        flow_algorithm: see :func:`amfir_lib.data.flow.dense_flow`.
        flow_bound: px per frame at which flow is clipped.
        flow_type: "uint8", "float" (four times the size) or "colour", see :mod:`amfir_lib.data.flow_codec`.
        n_jobs: worker processes.
    Returns:
        The open cache.  Says on stdout what it takes on the disk, and what it would with flow in the other forms.
    Raises:
        UnknownName, BadParameter: a setting that does not exist.
        DiskFull: no room; says how much is needed.
        StoreError: a file changed since it was written; names it.
    """
    for stream, stored in streams.items():
        if stream not in STREAMS:
            raise unknown_name("stream", stream, STREAMS)
        if stored.n_instants < 1 or stored.side < 16:
            raise BadParameter(f"{stream} of {stored}: a frame cache needs 1 instant and 16 px or more.")
    check_storage(flow_type)
    if "flow" in streams:
        check_flow_algorithm(flow_algorithm)
    clips = manifest_digest(dataset.manifest.assign(label="-", split="train", group="-"))
    identity = {
        "clips": clips,
        "streams": {name: [stored.n_instants, stored.side] for name, stored in streams.items()},
        "flow": [flow_size, flow_algorithm, flow_bound, flow_type] if "flow" in streams else None,
        "decoder": decoder_version(),
        "code": digest_of_code(
            video_module, folders_module, flow_module, inputs_module, dense_module, flow_codec, frame_cache
        ),
    }
    digest = digest_of(identity)
    folder = Path(cache_dir) / "frames" / f"{dataset.root.name}-{digest}"
    cache = FrameCache(folder, dict(streams), flow_type, flow_bound, digest)
    print(size_sentence(dataset.name, len(dataset), streams, flow_type))
    numbers = range(-(-len(dataset) // SHARD_CLIPS))
    if (folder / READY).exists():
        _check_sizes(folder)
        return cache
    open_numbers = [n for n in numbers if not all(_shard_path(folder, s, n).exists() for s in streams)]
    check_free_space(folder, cache_bytes(SHARD_CLIPS * len(open_numbers), streams, flow_type=flow_type))
    flow = {"flow_size": flow_size, "flow_algorithm": flow_algorithm, "flow_bound": flow_bound}
    work = partial(_write_shard, dataset=dataset, cache=cache, flow=flow)
    map_parallel(work, open_numbers, n_jobs=n_jobs, description=f"frames of {dataset.name}", unit="shard")
    files = sorted(folder.glob("*.npy"))
    sizes = {path.name: [path.stat().st_size, digest_of_file(path)] for path in files}
    write_json(folder / READY, {"identity": identity, "files": sizes})
    return cache


def verify_frame_cache(cache: FrameCache) -> None:
    """Read every byte and compare digests; StoreError names the first file that changed."""
    for name, (_, digest) in read_json(cache.folder / READY)["files"].items():
        if digest_of_file(cache.folder / name) != digest:
            raise _changed(cache.folder, name)


def _check_sizes(folder: Path) -> None:
    for name, (size, _) in read_json(folder / READY)["files"].items():
        path = folder / name
        if not path.exists() or path.stat().st_size != size:
            raise _changed(folder, name)


def _changed(folder: Path, name: str) -> StoreError:
    return StoreError(f"{folder / name} is missing or changed since it was written. Remove {folder}; it is made again.")


def _shard_path(folder: Path, stream: str, number: int) -> Path:
    return folder / f"{stream}-{number:05d}.npy"


def _write_shard(number: int, *, dataset: Dataset, cache: FrameCache, flow: Mapping[str, Any]) -> None:
    """Worker: decode some clips, one at a time, into the files of a shard."""
    start = number * SHARD_CLIPS
    rows = range(start, min(start + SHARD_CLIPS, len(dataset)))
    kinds = {"rgb": (np.dtype(np.uint8), 3), "flow": STORAGES[cache.flow_type]}
    with ExitStack() as stack:
        files = {}
        for stream, stored in cache.streams.items():
            temporary = stack.enter_context(atomic_write(_shard_path(cache.folder, stream, number)))
            files[stream] = stack.enter_context(temporary.open("wb"))
            dtype, channels = kinds[stream]
            shape = (len(rows), stored.n_instants, stored.side, stored.side, channels)
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(files[stream], header)
        for row in rows:
            clip = read_dense_streams(
                dataset.clip_path(row),
                {stream: stored.n_instants for stream, stored in cache.streams.items()},
                sizes={stream: stored.side for stream, stored in cache.streams.items()},
                n_segments=1,
                n_frames=int(dataset.manifest["n_frames"].iloc[row]),
                **flow,
            )
            if "flow" in clip:
                clip["flow"] = encode_flow(clip["flow"], storage=cache.flow_type, bound=cache.flow_bound)
            for stream, values in clip.items():  # a shard of dense flow would be large in memory
                files[stream].write(values.tobytes())
