"""What decoded frames and flow take on the disk, by what is stored of each clip and in which form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from amfir_lib.data.flow_codec import STORAGES, bytes_per_pixel

GIGABYTE = 1e9


@dataclass(frozen=True)
class Stored:
    """How one stream is stored.

    Attributes:
        n_instants: F, instants of a clip on disk, spread evenly over it.
        side: S, of the squares on disk in px.
    """

    n_instants: int
    side: int


def cache_bytes(n_clips: int, streams: Mapping[str, Stored], *, flow_type: str = "uint8") -> int:
    """Size on disk of a frame cache; the plan for a data set."""
    pixel = {"rgb": 3, "flow": bytes_per_pixel(flow_type)}
    return n_clips * sum(stored.n_instants * stored.side**2 * pixel[name] for name, stored in streams.items())


def size_sentence(name: str, n_clips: int, streams: Mapping[str, Stored], flow_type: str) -> str:
    """What the frames take on the disk, as they are stored and with flow in the other forms."""
    sizes = {form: f"{cache_bytes(n_clips, streams, flow_type=form) / GIGABYTE:,.5g} GB" for form in STORAGES}
    if "flow" not in streams:
        return f"The frames of {name} take {sizes[flow_type]} in the cache."
    others = ", ".join(f"{size} as {form}" for form, size in sizes.items() if form != flow_type)
    return (
        f"The frames and flow of {name} take {sizes[flow_type]} in the cache, with flow stored as {flow_type}; "
        f"{others} (flow_type)."
    )
