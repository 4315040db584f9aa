"""Look at any query of any test episode, and at what would become of it if its clip were worse.

All of it runs headless; ``widgets`` only connects it to menus and sliders of JupyterLab.
"""

from amfir_lib.explore.clips import SIZE, degradation_label, examples_of_kinds, grid_of_clips, look_at, spoilt_views
from amfir_lib.explore.pages import query_page, what_if_page
from amfir_lib.explore.scene import architecture_scene
from amfir_lib.explore.session import FILTERS, choose_query, open_session, query_table, select_queries
from amfir_lib.explore.what_if import Knobs, WhatIf, knob_table
from amfir_lib.explore.widgets import EpisodeExplorer, WhatIfPanel

__all__ = [
    "FILTERS", "SIZE", "EpisodeExplorer", "Knobs", "WhatIf", "WhatIfPanel",
    "architecture_scene", "choose_query", "degradation_label", "examples_of_kinds", "grid_of_clips", "knob_table",
    "look_at", "open_session", "query_page", "query_table", "select_queries", "spoilt_views",
    "what_if_page",
]  # fmt: skip
