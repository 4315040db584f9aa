"""Figures of the study: tidy data in, a matplotlib Figure out; nothing is shown and nothing is written."""

from amfir_lib.figures.architecture import Scene, architecture
from amfir_lib.figures.calibration import confusion_maps, reliability_diagram
from amfir_lib.figures.clips import clip_grid, flow_views
from amfir_lib.figures.forest import forest
from amfir_lib.figures.lines import from_start, lines
from amfir_lib.figures.style import in_words
from amfir_lib.figures.tour import tour_figure

__all__ = [
    "Scene", "architecture", "clip_grid", "confusion_maps", "flow_views", "forest", "from_start",
    "in_words", "lines", "reliability_diagram", "tour_figure",
]  # fmt: skip
