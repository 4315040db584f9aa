"""What the paper leaves open, as a list of single changes to the study's AMFIR: one line a choice.

A line names a key, a title, the decision of ``decisions.csv`` that it questions, and what is changed.  Add one, and the
choice stands in the tables and the forest plot of ``09_open_choices``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from amfir_lib.analysis.decisions import DECISIONS, Decision
from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.methods import resolve_options

METHOD = "amfir"
DEFAULT = "default"
MATCHED = "matched"  # training shots as in each test
GROUPS, TEST = "groups", "test"  # where calibrated temperatures act
TEST_OPTIONS = {"ami_weight", "ami_power", "ami_distances"}  # of AMFIR: they enter neither loss nor gradient
DATA = ("flow_algorithm", "flow_backbone", "whiten")


@dataclass(frozen=True)
class Choice:
    """One change to the default, everything else alike.

    Raises:
        UnknownName, UnknownParameter, BadParameter: an option, a value or a kind of data that there is not.
    """

    key: str
    title: str
    decision: str  # id of the one that it questions
    options: Mapping[str, Any] = field(default_factory=dict)  # those that act at test alone need no training
    training: Mapping[str, Any] = field(default_factory=dict)  # settings; shots may be MATCHED
    data: Mapping[str, Any] = field(default_factory=dict)  # of DATA; of several names the first that is not the default
    calibrated: str = ""  # temperatures fitted on validation classes act on the GROUPS of training, or at TEST

    def __post_init__(self) -> None:
        resolve_options(METHOD, self.options)
        if self.calibrated not in ("", GROUPS, TEST):
            raise unknown_name("place of calibrated temperatures", self.calibrated, (GROUPS, TEST))
        for name in set(self.data) - set(DATA):
            raise unknown_name("change of the data", name, DATA)
        if not (self.options or self.training or self.data or self.calibrated):
            raise BadParameter(f'the choice "{self.key}" changes nothing. Name an option, a setting or the data.')

    @property
    def trains(self) -> bool:
        """Whether it needs a training of its own."""
        at_test = self.calibrated == TEST or (self.options.keys() <= TEST_OPTIONS and not self.calibrated)
        return bool(self.training or self.data) or not at_test

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The rows of the table of decisions that it questions."""
        named = {*self.options} | ({"score_temperature_first"} if self.calibrated else set())
        rows = [decision for decision in DECISIONS if decision.id == self.decision]
        return tuple(row for row in rows if row.option in named or (not row.option and not named))

    @property
    def section(self) -> str:
        """The heading that it stands under; "further" for a choice that is not in the list."""
        return next((name for name, choices in SECTIONS.items() if self in choices), "further")

    def change(self, data: Mapping[str, tuple[Any, Any]] | None = None) -> dict[str, str]:
        """What changes: default "score = centred", alternative "score = entropy"; data as it turned out."""
        usual = resolve_options(METHOD, {})
        pairs = {name: (getattr(usual, name, "study"), value) for name, value in self.options.items()}
        pairs |= {name: ("tuned" if name == "lr" else "mixed", value) for name, value in self.training.items()}
        pairs |= data if data is not None else {name: ("–", value) for name, value in self.data.items()}
        if self.calibrated:
            pairs[f"temperatures ({self.calibrated})"] = "learnt", "fitted on validation classes"
        sides = enumerate(("default", "alternative"))
        return {name: ", ".join(f"{key} = {_text(pair[i])}" for key, pair in pairs.items()) for i, name in sides}


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return " or ".join(value)
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


# fmt: off
SECTIONS: dict[str, tuple[Choice, ...]] = {
    "score and groups": (
        Choice("helmholtz", "Helmholtz free energy", "A1", {"score": "helmholtz"}),
        Choice("vfe_gauss", "Gaussian variational free energy", "A1", {"score": "vfe_gauss"}),
        Choice("vfe_discrete", "discrete variational free energy", "A1", {"score": "vfe_discrete"}),
        Choice("entropy", "entropy", "A1", {"score": "entropy"}),
        Choice("certainty", "certainty (AMFAR)", "A1", {"score": "neg_certainty"}),
        Choice("joint", "divergence from the joint posterior (ours)", "A1", {"score": "joint"}),
        Choice("joint_decision", "surprise under the joint posterior (ours)", "A1", {"score": "joint_decision"}),
        Choice("random", "random groups", "A1", {"score": "random"}),
        Choice("oracle", "oracle groups (read the labels)", "A1", {"score": "oracle"}),
        Choice("eq3_literal", "Eq. 3 with the printed sign", "A3", {"eq3_literal": True}),
        Choice("margin_0.1", "margin of 0.1 nat", "A4", {"margin": 0.1}),
        Choice("margin_0.5", "margin of 0.5 nat", "A4", {"margin": 0.5}),
        Choice("z_score", "score z-scored in each episode", "A6", {"standardise_score": True}),
        Choice("calibrated_groups", "calibrated free energy", "A6", calibrated=GROUPS),
        Choice("calibrated_certainty", "calibrated certainty", "A6", {"score": "neg_certainty"}, calibrated=GROUPS),
        Choice("calibrated_joint", "calibrated surprise (ours)", "A6", {"score": "joint_decision"}, calibrated=GROUPS),
    ),
    "features and posterior": (
        Choice("trx_prototype", "query-specific prototypes", "B1", {"prototype": "trx"}),
        Choice("mean_pooling", "frames averaged over time", "B1", {"pooling": "mean"}),
        Choice("sqeuclidean", "squared Euclidean distance", "B2", {"metric": "sqeuclidean"}),
        Choice("cosine", "cosine distance", "B2", {"metric": "cosine"}),
        Choice("no_layer_norm", "no LayerNorm", "B3", {"layer_norm": False}),
        Choice("no_projection", "no projection", "B3", {"projection": False}),
        Choice("unscaled", "distance not over √d", "B3", {"scaled": False}),
        Choice("logit_scale_1", "inverse temperature from 1", "B3", {"logit_scale": 1.0}),
        Choice("fixed_temperature", "temperature not learnt", "B3", {"learn_temperature": False}),
        Choice("paper_literal", "paper_literal: SGD 1e-3, no repairs", "B3",
               {"preset": "paper_literal"}, training={"lr": 1e-3}),
        Choice("fle", "enhancer: mixer (FLE)", "B4", {"enhancer": "fle"}),
        Choice("transformer", "enhancer: transformer", "B4", {"enhancer": "transformer"}),
        Choice("flow_backbone", "another flow backbone", "B5", data={"flow_backbone": ("compact_blurred", "compact")}),
        Choice("flow_algorithm", "another flow algorithm", "B8", data={"flow_algorithm": ("farneback", "dis")}),
        Choice("raw_features", "features not whitened", "B11", data={"whiten": False}),
    ),
    "losses": (
        Choice("sum", "cross-entropy summed over queries", "C2", {"ce_reduction": "sum"}),
        Choice("kd_temperature_2", "softened teacher, T = 2", "C3", {"kd_temperature": 2.0}),
        Choice("kd_temperature_4", "softened teacher, T = 4", "C3", {"kd_temperature": 4.0}),
        Choice("kd_scope_all", "both teach all queries", "C4", {"kd_scope": "all"}),
        Choice("reverse", "divergence reversed", "C6", {"kd_direction": "reverse"}),
        Choice("js", "Jensen-Shannon divergence", "C6", {"kd_direction": "js"}),
        Choice("lambda_0", "no distillation, λ = 0", "C9", {"kd_lambda": 0.0}),
        Choice("lambda_0.5", "λ = 0.5", "C9", {"kd_lambda": 0.5}),
        Choice("lambda_2", "λ = 2", "C9", {"kd_lambda": 2.0}),
        Choice("teacher_correct", "only teachers who are right", "C11", {"kd_mask": "teacher_correct"}),
    ),
    "inference and episodes": (
        Choice("ami_free_energy", "fused by free energy", "A7", {"ami_weight": "free_energy"}),
        Choice("ami_equal", "fused by equal weights", "A7", {"ami_weight": "equal"}),
        Choice("ami_hard", "the more certain modality alone", "A7", {"ami_weight": "hard"}),
        Choice("raw_distances", "raw distances fused", "D2", {"ami_distances": "raw"}),
        Choice("power_2", "weights squared", "D3", {"ami_power": 2.0}),
        Choice("power_4", "weights to the power 4", "D3", {"ami_power": 4.0}),
        Choice("calibrated_test", "calibrated posteriors at test", "A6", calibrated=TEST),
        Choice("matched_shots", "trained with the shots of the test", "E14", training={"shots": MATCHED}),
    ),
}
# fmt: on
CHOICES = tuple(choice for section in SECTIONS.values() for choice in section)


def chosen(keys: Sequence[str] = ()) -> tuple[Choice, ...]:
    """The choices with these keys, in the order of the list; all for none.  Raises UnknownName."""
    known = [choice.key for choice in CHOICES]
    for key in keys:
        if key not in known:
            raise unknown_name("choice", key, known)
    return tuple(choice for choice in CHOICES if not keys or choice.key in keys)
