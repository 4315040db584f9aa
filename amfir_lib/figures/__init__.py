"""Figures of the study: tidy data in, a matplotlib Figure out; nothing is shown and nothing is written.

``style`` fixes sizes, text and the colour and marker of each method; ``lines`` draws what changes with steps, shots,
ways, severity or amount of data, ``forest`` values and differences with their intervals, ``clips`` what the videos look
like, ``tour`` one query of an episode, ``architecture`` the method as a whole (Figure 1), ``calibration`` reliability
diagrams and confusion.
"""

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
