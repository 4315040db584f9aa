"""The compact nets that travel with the package, for real clips: nobody waits for a pretraining on drawn figures.

The rendered benchmarks stand on nets that the study trains itself, by the same settings.  After a change of these,
``python -m amfir_lib.backbones.shipped CACHE_DIR`` writes the nets anew.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save_file

from amfir_lib.backbones.compact import CompactBackbone
from amfir_lib.backbones.training import Pretraining, pretrained_backbones
from amfir_lib.data.streams import STREAMS

FILES = {stream: Path(__file__).with_name(f"compact_{stream}.safetensors") for stream in STREAMS}


def shipped_backbones() -> dict[str, CompactBackbone]:
    """Stream -> compact backbone, pretrained by ``Pretraining()`` and rounded to 16 bits."""
    weights = {stream: load_file(path) for stream, path in FILES.items()}
    return {
        stream: CompactBackbone(stream, {name: values.float() for name, values in of_stream.items()})
        for stream, of_stream in weights.items()
    }


def ship(cache_dir: Path | str) -> None:
    """Pretrain by ``Pretraining()``, unless the cache has the nets; write them and the settings into the package."""
    settings = Pretraining()
    for stream, backbone in pretrained_backbones(settings, cache_dir=cache_dir).items():
        state = {name: values.half().contiguous() for name, values in backbone.net.state_dict().items()}
        save_file(state, FILES[stream], metadata={"settings": json.dumps(asdict(settings))})


if __name__ == "__main__":
    ship(sys.argv[1])
