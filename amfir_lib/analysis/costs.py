"""What one more query takes: multiply-adds, milliseconds and memory, of the method and of reading the clip.

Multiply-adds are counted, not timed, in PyTorch on the CPU.  The cost of a query is what an episode with one more query
takes more, so supports, which are embedded once, stand apart.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from amfir_lib.data.streams import seen_by, streams
from amfir_lib.methods import Method
from amfir_lib.parallel import single_thread
from amfir_lib.study.material import Material
from amfir_lib.study.runs import RunResult

REPEATS = 5
BATCH = 4  # clips that a backbone is timed on


def multiply_adds(function: Callable[[], Any]) -> int:
    """Multiply-adds of the matrix products, convolutions and distances of a call."""
    from torch.utils.flop_counter import FlopCounterMode  # slow to import

    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten._cdist_forward: _distance_flops})
    with counter:
        function()
    return counter.get_total_flops() // 2


def _distance_flops(first: Sequence[int], second: Sequence[int], *_: Any, **__: Any) -> int:
    """Two operations for each coordinate of each pair of vectors (..., n, d) and (..., m, d)."""
    return 2 * int(np.prod(first)) * int(second[-2])


class LiveTensors(TorchDispatchMode):
    """``peak``: the largest sum of bytes of tensors that were made inside, and were alive at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks: dict[int, tuple[StorageWeakRef, int]] = {}  # address -> memory, bytes
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        given, result = _storages((args, kwargs)), func(*args, **(kwargs or {}))
        self.blocks = {address: block for address, block in self.blocks.items() if not block[0].expired()}
        for address, storage in _storages(result).items():
            if address not in given:  # else a view of something that was there before
                self.blocks[address] = StorageWeakRef(storage), storage.nbytes()
        self.peak = max(self.peak, sum(n_bytes for _, n_bytes in self.blocks.values()))
        return result


def _storages(values: Any) -> dict[int, torch.UntypedStorage]:
    tensors = [value for value in tree_leaves(values) if isinstance(value, Tensor)]
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in tensors}


def median_seconds(function: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Median time of a call, after one that warms up."""
    function()
    return float(np.median(timeit.repeat(function, number=1, repeat=repeats)))


def query_costs(
    method: Method, widths: Mapping[str, tuple[int, int, int]], *, n_way: int, n_shot: int, n_query: int
) -> dict[str, float]:
    """What a method (on the CPU) takes for one query of an episode of random features of (T, P, D) each.

    Returns:
        ``parameters``; ``multiply_adds`` of embedding the query and comparing it, ``support_multiply_adds`` of
        embedding the supports; ``head_ms`` in one thread, its share of the supports included; ``memory_mb``: largest
        sum of tensors alive at once during an episode, features not counted.
    """
    source = torch.Generator().manual_seed(0)
    sides = [
        {m: torch.randn(*lead, *width, generator=source) for m, width in widths.items()}
        for lead in ((1, n_way, n_shot), (1, n_way * n_query))
    ]
    support, query = ({m: side[m] for m in method.modalities} for side in sides)

    def answer(n_queries: int) -> Any:
        return method(support, {m: x[:, :n_queries] for m, x in query.items()})

    with torch.inference_mode(), single_thread():
        with_one, with_two = (multiply_adds(lambda n=n: answer(n)) for n in (1, 2))
        with LiveTensors() as live:
            answer(n_way * n_query)
        seconds = median_seconds(lambda: answer(n_way * n_query))
    return {
        "parameters": sum(p.numel() for p in method.parameters()), "multiply_adds": with_two - with_one,
        "support_multiply_adds": 2 * with_one - with_two, "head_ms": 1000 * seconds / (n_way * n_query),
        "memory_mb": live.peak / 1e6,
    }  # fmt: skip


def blank_clips(backbone: Any, *, n_segments: int, n_clips: int = 1) -> np.ndarray:
    """What a backbone sees of black clips, or of clips without any flow."""
    channels, kind = (2, np.float32) if backbone.modality == "flow" else (3, np.uint8)
    count = getattr(backbone, "dense_frames", None) or n_segments
    return np.zeros((n_clips, count, backbone.input_size, backbone.input_size, channels), kind)


def reading_settings(material: Material) -> dict[str, Any]:
    """How ``streams`` reads a clip of the material, by what its feature stores recorded."""
    stores = material.stores.values()
    flow = next(store.metadata["flow"] for store in stores if store.metadata["flow"])
    settings = {f"flow_{name}": flow[name] for name in ("size", "algorithm", "bound", "average")}
    return settings | {"n_segments": next(iter(stores)).metadata["n_segments"]}


def cost_frame(results: Sequence[RunResult], backbones: Mapping[str, Any], **episode: int) -> pd.DataFrame:
    """What a query costs with each method, reading its clip included.

    Args:
        results: one run of each method, all on one data set.
        backbones: modality -> backbone that made its features.
        episode: ``n_way, n_shot, n_query``.
    Returns:
        One row per method: ``key``, the columns of ``query_costs``, and of reading a clip with its modalities
        ``backbone_multiply_adds, reading_ms`` (decoding, flow where it is read, features); ``query_ms`` is both.
    """
    material = results[0].run.material
    dataset, stores = material.dataset, material.stores
    settings = reading_settings(material)
    clip = dataset.clip_path(int(dataset.manifest["n_frames"].argsort().iloc[len(dataset) // 2]))

    def reading(used: Sequence[Any]) -> dict[str, float]:
        blank = {id(one): blank_clips(one, n_segments=settings["n_segments"], n_clips=BATCH) for one in used}
        with single_thread():
            seconds = sum(median_seconds(lambda b=one: b.features(blank[id(b)])) / BATCH for one in used)
            seconds += median_seconds(lambda: streams(clip, **seen_by(used), **settings))
            adds = sum(multiply_adds(lambda b=one: b.features(blank[id(b)][:1])) for one in used)
        return {"backbone_multiply_adds": adds, "reading_ms": 1000 * seconds}

    by_use: dict[tuple[str, ...], dict[str, float]] = {}
    rows = []
    for result in results:
        run, method = result.run, result.method()
        widths = {m: (stores[m].features.shape[1], run.n_patches[m], run.read.dims[m]) for m in run.read.dims}
        row = {"key": run.method} | query_costs(method, widths, **episode)
        if method.modalities not in by_use:
            by_use[method.modalities] = reading([backbones[m] for m in method.modalities])
        row |= by_use[method.modalities]
        rows.append(row | {"query_ms": row["head_ms"] + row["reading_ms"]})
    return pd.DataFrame(rows)
