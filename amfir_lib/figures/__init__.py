"""Figures of the study: tidy data in, a matplotlib Figure out; nothing is shown and nothing is written.

``style`` fixes sizes, text and the colour and marker of each method, ``levels`` what results are read against, such as
chance; ``curves`` draws what changes over training, ``comparisons`` accuracies and paired differences, ``table1`` all
methods side by side, ``components`` Table 2 and Figure 4, ``sweeps`` Figures 3 and 5, ``clips`` what the videos look
like, ``tour`` one query of an episode, ``architecture`` the method as a whole (Figure 1, of a ``scene``), ``choices``
what the open choices change and what scores pick, ``robustness`` accuracy and weights on spoilt clips,
``scarcity_and_cost`` with little base data and for what effort, ``calibration`` reliability diagrams and confusion;
``ticks`` puts a tick at the last step.
"""

from amfir_lib.figures.architecture import architecture
from amfir_lib.figures.calibration import confusion_maps, reliability_diagram
from amfir_lib.figures.choices import choice_forest, score_picks
from amfir_lib.figures.clips import clip_grid, film_strips, flow_views
from amfir_lib.figures.comparisons import accuracy_bars, degradation_costs, paired_differences
from amfir_lib.figures.components import differences_by_basis, strategy_accuracies
from amfir_lib.figures.curves import free_energy_curves, learning_curves, pretraining_curves
from amfir_lib.figures.robustness import severity_curves, spoilt_clips, weight_curves
from amfir_lib.figures.scarcity_and_cost import cost_and_accuracy, scarcity_curves
from amfir_lib.figures.scene import Scene, architecture_caption
from amfir_lib.figures.sweeps import sweep_accuracies, sweep_leads
from amfir_lib.figures.table1 import accuracy_dots, learning_grid
from amfir_lib.figures.tour import tour_figure

__all__ = [
    "Scene", "accuracy_bars", "accuracy_dots", "architecture", "architecture_caption", "choice_forest", "clip_grid",
    "confusion_maps", "cost_and_accuracy", "degradation_costs", "differences_by_basis", "film_strips", "flow_views",
    "free_energy_curves", "learning_curves", "learning_grid", "paired_differences", "pretraining_curves",
    "reliability_diagram", "scarcity_curves", "score_picks", "severity_curves", "spoilt_clips",
    "strategy_accuracies", "sweep_accuracies", "sweep_leads", "tour_figure", "weight_curves",
]  # fmt: skip
