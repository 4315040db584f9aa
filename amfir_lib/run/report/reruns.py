"""The ablations that anyone can run with one command: what is changed, where, and what to look at.

Parameters of notebooks are listed by hand; every option of AMFIR that stands among the decisions comes from there, so
that no open choice is without its command.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from amfir_lib.analysis.decisions import DECISIONS
from amfir_lib.analysis.studies.components import FULL, NO_AMI
from amfir_lib.methods import METHODS
from amfir_lib.run.notebooks import Notebook
from amfir_lib.study.config import PROFILES

OPTIONS = "method_options"  # parameter of the notebooks that hands any option on to the method
METHOD = "amfir"
PAIRED = "AMFIR in `variant_difference`"
STEPS = PROFILES["study"].train_steps
BOTH_AMFIR = ("AMFIR", "AMFIR, λ = 0")  # the series of 02_training that take the options of AMFIR
SWITCHED = {"kd_strategy": (FULL, NO_AMI)}  # options that the other configurations of Table 2 set themselves


@dataclass(frozen=True)
class Ablation:
    """One thing to change.

    Attributes:
        name: what is varied, in words.
        notebook: in which notebook.
        parameter: which parameter of it.
        values: as typed after ``-p NAME=``; the first stands in the command.
        compare: where the effect shows.
        decision: id of the decision that it questions, or "".
        reaches: series of the notebook that are trained anew; empty for all of them.
        new_features: whether the clips must be read again.
    """

    name: str
    notebook: str
    parameter: str
    values: tuple[str, ...]
    compare: str = PAIRED
    decision: str = ""
    reaches: tuple[str, ...] = ()
    new_features: bool = False

    @property
    def assignments(self) -> tuple[str, ...]:
        """What follows ``-p``, one per value."""
        return tuple(f"{self.parameter}={value}" for value in self.values)

    def options(self) -> str:
        """The end of the command."""
        return f"--only {self.notebook} -p {shlex.quote(self.assignments[0])}"


NOTEBOOK_PARAMETERS = (
    Ablation("λ, the weight of distillation (Eq. 9)", "02_training", "kd_lambda", ("0.5", "2.0", "0.0"), decision="C9",
             reaches=("AMFIR",)),
    Ablation("λ, in every configuration of Table 2", "05_table2_ablation", "kd_lambda", ("0.5", "2.0"),
             decision="C9"),
    Ablation("score that forms the groups (Eq. 1)", "02_training", "score",
             ("helmholtz", "neg_certainty", "entropy", "random", "oracle"), decision="A1", reaches=BOTH_AMFIR),
    Ablation("score, in every configuration of Table 2", "05_table2_ablation", "score",
             ("helmholtz", "neg_certainty", "random", "oracle"), decision="A1"),
    Ablation("fusion weights at meta-test (Eq. 8)", "02_training", "ami_weight",
             ("equal", "free_energy", "hard", "first", "second"), decision="A7", reaches=BOTH_AMFIR),
    Ablation("length of the training", "02_training", "train_steps",
             (f"{2 * STEPS}", f"{STEPS // 2}"),
             "all trained methods in `variant_difference`; `learning_curves`: is anything cut off early?"),
    Ablation("number of training seeds", "02_training", "n_seeds", ("5", "10"),
             "`seed_sd` in `accuracy`; `variant_difference`: how far the mean of three seeds was off"),
    Ablation("backbone", "02_training", "backbone", ("efficientnet_lite0", "compact_blurred"),
             "all methods in `variant_difference`, nearest mean first", new_features=True),
    Ablation("flow algorithm", "02_training", "flow_algorithm", ("farneback", "tvl1"),
             "ProtoNet-F and AMFIR in `variant_difference`", decision="B8", new_features=True),
    Ablation("ways", "02_training", "n_way", ("10", "8"),
             "`accuracy` and `paired` of the variant; other episodes, so nothing can be paired with 5-way"),
    Ablation("shots in training, matched to the test", "06_shot_sweep", "train_shots", ("1", "5"),
             "the same shots in `variant_difference`", decision="E14"),
)  # fmt: skip


def ablations() -> tuple[Ablation, ...]:
    """All rows: parameters of notebooks, then every decided option of AMFIR that is not one of those."""
    named = {row.parameter for row in NOTEBOOK_PARAMETERS}
    known = {*METHODS[METHOD].options.__dataclass_fields__, "preset"}
    by_option = [
        Ablation(
            f"`{one.option}` ({one.where})",
            "05_table2_ablation",
            OPTIONS,
            tuple(f"{{{one.option}: {_yaml(value)}}}" for value in one.alternatives),
            decision=one.id,
            reaches=SWITCHED.get(one.option, ()),
        )
        for one in DECISIONS
        if one.option in known - named and one.alternatives
    ]
    return (*NOTEBOOK_PARAMETERS, *by_option)


def available(rows: tuple[Ablation, ...], notebooks: Mapping[str, Notebook]) -> tuple[Ablation, ...]:
    """Those whose notebook is there and declares the parameter."""
    return tuple(
        row for row in rows if row.notebook in notebooks and row.parameter in notebooks[row.notebook].parameters
    )


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
