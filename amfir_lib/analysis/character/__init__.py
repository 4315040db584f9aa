"""The character of a synthetic benchmark, measured on its validation classes.

Two questions.  Are the labels of the degradations earned: does each kind cost its own stream much and the other little?
And does each benchmark carry its classes where it says: in appearance, in motion, in the order of the motion?

``probes`` makes what is measured, ``measure`` measures it, ``verdicts`` compares it with the targets.
"""

from amfir_lib.analysis.character.measure import measure_character, measure_degradation
from amfir_lib.analysis.character.probes import prepare_probes, train_streams, validation_cells
from amfir_lib.analysis.character.verdicts import character_verdicts, kind_costs, label_verdicts

__all__ = [
    "character_verdicts", "kind_costs", "label_verdicts", "measure_character", "measure_degradation", "prepare_probes",
    "train_streams", "validation_cells",
]  # fmt: skip
