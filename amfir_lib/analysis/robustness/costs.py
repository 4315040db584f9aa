"""What one more query takes: multiply-adds, milliseconds and memory, of the method and of reading the clip.

Multiply-adds are counted, not timed.  The cost of a query is what an episode with one more query takes more, so
supports, which are embedded once, stand apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from amfir_lib.analysis.robustness.conditions import NOTHING
from amfir_lib.analysis.robustness.counting import multiply_adds, peak_bytes
from amfir_lib.analysis.stage_costs import measure_stages
from amfir_lib.analysis.tables import percent
from amfir_lib.exports import Table
from amfir_lib.methods import Method
from amfir_lib.parallel import single_thread
from amfir_lib.study.runs import RunResult

REPEATS = 5
MEGA = 1e6


@dataclass(frozen=True)
class QueryCosts:
    """What a method takes for one query of an episode, given the features of the clip.

    Attributes:
        multiply_adds: of embedding the query and comparing it with the supports.
        support_multiply_adds: of embedding the supports of the episode.
        milliseconds: in one thread, of a query among the queries of an episode; its share of the supports included.
        memory_bytes: largest sum of tensors alive at once during an episode, features not counted.
        parameters: trained numbers.
    """

    multiply_adds: int
    support_multiply_adds: int
    milliseconds: float
    memory_bytes: int
    parameters: int


def query_costs(
    method: Method, widths: Mapping[str, tuple[int, int, int]], *, n_way: int, n_shot: int, n_query: int
) -> QueryCosts:
    """Measure a method on an episode of random features.

    Args:
        method: in evaluation mode, on the CPU.
        widths: modality -> (T, P, D) of the features that it reads.
        n_way, n_shot, n_query: of the episode; ``n_query`` of each class.
    """
    support, query = _episode(widths, n_way=n_way, n_shot=n_shot, n_queries=n_way * n_query)
    support, query = ({m: side[m] for m in method.modalities} for side in (support, query))

    def answer(n_queries: int) -> Any:
        return method(support, {m: x[:, :n_queries] for m, x in query.items()})

    with torch.inference_mode(), single_thread():
        one, two = (multiply_adds(lambda n=n: answer(n)) for n in (1, 2))
        peak = peak_bytes(lambda: answer(n_way * n_query))
        seconds = _median_seconds(lambda: answer(n_way * n_query))
    return QueryCosts(
        multiply_adds=two - one,
        support_multiply_adds=one - (two - one),
        milliseconds=1000 * seconds / (n_way * n_query),
        memory_bytes=peak,
        parameters=sum(p.numel() for p in method.parameters()),
    )


def _episode(widths: Mapping[str, tuple[int, int, int]], *, n_way: int, n_shot: int, n_queries: int) -> tuple:
    source = torch.Generator().manual_seed(0)
    sides = ((1, n_way, n_shot), (1, n_queries))
    return tuple({m: torch.randn(*lead, *width, generator=source) for m, width in widths.items()} for lead in sides)


def _median_seconds(function: Callable[[], Any]) -> float:
    function()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def backbone_multiply_adds(backbone: Any, *, n_segments: int) -> int:
    """Multiply-adds of one clip in a backbone."""
    channels, kind = (2, np.float32) if backbone.modality == "flow" else (3, np.uint8)
    count = getattr(backbone, "dense_frames", None) or n_segments
    clip = np.zeros((1, count, backbone.input_size, backbone.input_size, channels), kind)
    with single_thread():
        backbone.features(clip)  # loads the network, where that is done at the first use
        return multiply_adds(lambda: backbone.features(clip))


def cost_frame(
    results: Sequence[RunResult], backbones: Mapping[str, Any], *, n_way: int, n_shot: int, n_query: int
) -> pd.DataFrame:
    """What a query costs with each method, reading its clip included.

    Args:
        results: one run of each method, all on one data set.
        backbones: modality -> backbone that made its features.
        n_way, n_shot, n_query: of the episode.
    Returns:
        One row per method: ``key, parameters, multiply_adds`` and ``support_multiply_adds`` of the head, ``head_ms``,
        ``memory_mb``, and of reading a clip with the modalities that the method uses ``backbone_multiply_adds`` and
        ``reading_ms`` (decoding, flow where it is read, features); ``query_ms`` is both.
    """
    material = results[0].run.material
    how = next(store.metadata["flow"] for store in material.stores.values() if store.metadata["flow"])
    n_segments = next(iter(material.stores.values())).metadata["n_segments"]
    row = int(material.dataset.manifest["n_frames"].argsort().iloc[len(material.dataset) // 2])
    stages = measure_stages(
        Path(material.dataset.clip_path(row)), backbones, algorithms=[how["algorithm"]], n_segments=n_segments,
        flow_size=how["size"], flow_average=how["average"],
    )  # fmt: skip
    own_adds = {m: backbone_multiply_adds(one, n_segments=n_segments) for m, one in backbones.items()}
    rows = []
    for result in results:
        method, run = result.method(), result.run
        widths = {m: (material.stores[m].features.shape[1], run.n_patches[m], run.read.dims[m]) for m in run.read.dims}
        costs = query_costs(method, widths, n_way=n_way, n_shot=n_shot, n_query=n_query)
        used = [backbones[m].modality for m in method.modalities]
        reading = stages.decode_s + sum(stages.features_s[stream] for stream in used)
        reading += stages.flow_s[how["algorithm"]] if "flow" in used else 0.0
        rows.append({
            "key": run.method, "parameters": costs.parameters, "multiply_adds": costs.multiply_adds,
            "support_multiply_adds": costs.support_multiply_adds,
            "backbone_multiply_adds": sum(own_adds[m] for m in method.modalities), "head_ms": costs.milliseconds,
            "reading_ms": 1000 * reading, "query_ms": costs.milliseconds + 1000 * reading,
            "memory_mb": costs.memory_bytes / MEGA,
        })  # fmt: skip
    return pd.DataFrame(rows)


def shown_costs(frame: pd.DataFrame, titles: Mapping[str, str], *, caption: str) -> Table:
    """Costs and accuracies as they are to be read, one row a method, cheapest first.

    Args:
        frame: of ``with_accuracy``.
        titles: registry name -> title.
        caption: of the table.
    """
    rows = []
    for key, part in frame.sort_values("multiply_adds", kind="stable").groupby("key", sort=False):
        one = part.iloc[0]
        row = {
            "method": titles[key], "parameters": f"{one['parameters']:,}",
            "multiply-adds a query (millions)": f"{one['multiply_adds'] / MEGA:.2f}",
            "of its backbones (millions)": f"{one['backbone_multiply_adds'] / MEGA:.0f}",
            "method (ms)": f"{one['head_ms']:.3f}", "reading the clip (ms)": f"{one['reading_ms']:.1f}",
            "memory of an episode (MB)": f"{one['memory_mb']:.2f}",
        }  # fmt: skip
        row |= {f"{own.dataset} (%)": percent(own.accuracy, own.half_width) for own in part.itertuples()}
        rows.append(row)
    return Table(frame, pd.DataFrame(rows), caption)


def with_accuracy(costs: pd.DataFrame, accuracy: pd.DataFrame) -> pd.DataFrame:
    """Costs beside the accuracy on sound queries, one row a method and data set.

    Args:
        costs: of ``cost_frame``.
        accuracy: of ``tables.accuracy_frame``; its mean over shots counts.
    """
    sound = accuracy[(accuracy["n_shot"] == accuracy["n_shot"].min()) & (accuracy["kind"] == NOTHING)]
    return sound[["dataset", "n_way", "key", "method", "accuracy", "half_width"]].merge(costs, on="key")
