"""Which frames and flow the backbones want to see, and the cache that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from amfir_lib.data.frames import FrameCache, Stored, build_frame_cache
from amfir_lib.data.streams import MARGIN, dense_frames
from amfir_lib.study.end_to_end.job import EndToEnd, Source
from amfir_lib.study.runs import Run


def sources_of(backbones: Mapping[str, Any], *, n_segments: int = 8) -> dict[str, Source]:
    """Modality -> where its clips come from: what each backbone wants to see."""
    return {
        m: Source(backbone.modality, dense_frames(backbone) or n_segments, backbone.input_size)
        for m, backbone in backbones.items()
    }


def stored_streams(backbones: Mapping[str, Any], options: EndToEnd) -> dict[str, Stored]:
    """Stream -> how the frame cache stores it for these backbones.

    Stored squares are larger than crops by ``MARGIN``, and instants are ``frames_per_instant`` times those that a
    network sees.
    """
    return {
        source.stream: Stored(source.n_instants * options.frames_per_instant, round(source.crop * MARGIN))
        for source in sources_of(backbones).values()
    }


def open_frames(
    run: Run, backbones: Mapping[str, Any], options: EndToEnd, *, cache_dir: Path, n_jobs: int = 1
) -> FrameCache:
    """The frame cache that the run's clips are cut from, with the flow settings of its frozen features.

    The square on which flow is computed is larger by ``MARGIN`` too: a crop then holds displacements in the pixels that
    the backbone knows.
    """
    flow = next((f for store in run.material.stores.values() if (f := store.metadata.get("flow"))), {})
    settings = {f"flow_{name}": flow[name] for name in ("algorithm", "bound") if name in flow}
    return build_frame_cache(
        run.material.dataset,
        stored_streams({m: backbones[m] for m in run.material.stores}, options),
        cache_dir=cache_dir,
        flow_size=round(flow.get("size", 112) * MARGIN),
        flow_type=options.flow_type,
        n_jobs=n_jobs,
        **settings,
    )
