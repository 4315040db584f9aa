"""From the results of runs to tidy tables.

``grouping`` puts results together by data set and test cell (``group``); ``accuracy`` and ``pooled`` compare series,
cell by cell and over all cells; ``reliability`` looks at single modalities, ``training`` at what came before; ``shown``
renders numbers for reading, ``setting`` says in words what they were measured on; ``table1`` (its ``rows``),
``bases`` and ``cost`` lay out the paper's Table 1.
"""

from amfir_lib.analysis.tables.accuracy import accuracy_table, paired_table, stream_table, verdict
from amfir_lib.analysis.tables.bases import bases_table
from amfir_lib.analysis.tables.cost import cost_table, shown_costs
from amfir_lib.analysis.tables.group import ALL, UNDEGRADED, Group
from amfir_lib.analysis.tables.grouping import grouped, method_title
from amfir_lib.analysis.tables.pooled import PooledDifference, pooled_difference
from amfir_lib.analysis.tables.reliability import calibration_table, selection_table, shown_calibration, shown_selection
from amfir_lib.analysis.tables.rows import by_method, labels, ordered_methods
from amfir_lib.analysis.tables.setting import episodes_note
from amfir_lib.analysis.tables.shown import (
    holm_note,
    interval_note,
    number,
    percent,
    rounded,
    shown_accuracies,
    shown_differences,
    verdict_cell,
)
from amfir_lib.analysis.tables.table1 import (
    caption_of_paired,
    caption_of_table1,
    doubts_table,
    shown_table1,
    shown_table1_paired,
    table1_frame,
    table1_paired,
)
from amfir_lib.analysis.tables.training import (
    budget,
    curve_frame,
    cut_off_sentence,
    drawn_curves,
    kept_states,
    notes_of,
    run_facts,
    with_notes,
)
from amfir_lib.study.evaluation import FUSED

__all__ = [
    "ALL", "FUSED", "Group", "PooledDifference", "UNDEGRADED", "accuracy_table", "bases_table", "budget", "by_method",
    "calibration_table", "caption_of_paired", "caption_of_table1", "cost_table", "curve_frame", "cut_off_sentence",
    "doubts_table", "drawn_curves", "episodes_note", "grouped", "holm_note", "interval_note", "kept_states", "labels",
    "method_title", "notes_of", "number", "ordered_methods", "paired_table", "percent", "pooled_difference", "rounded",
    "run_facts", "selection_table", "shown_accuracies", "shown_calibration", "shown_costs", "shown_differences",
    "shown_selection", "shown_table1", "shown_table1_paired", "stream_table", "table1_frame", "table1_paired",
    "verdict", "verdict_cell", "with_notes",
]  # fmt: skip
