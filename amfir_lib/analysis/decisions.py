"""Every place where the paper is silent, or contradicts itself, and what the study does there.

One row per option, or per choice that is no option.  ``09_open_choices`` renders them, with the measured effects, as
``tables/decisions``, to which the README links; a test holds rows and code together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from amfir_lib.study.config import PROFILES
from amfir_lib.study.training import Training

_STUDY, _SGD = PROFILES["study"], Training()


@dataclass(frozen=True)
class Decision:
    """One open choice.

    Attributes:
        id: short name; A free energy and groups, B features and posterior, C losses, D inference, E experiments.
        where: equation, section, table or figure of the paper.
        problem: what is missing or wrong there.
        option: name of the method option, or "" where the choice is not an option of a method.
        default: its default value, or in words what is done.
        alternatives: other values, or in words what else can be chosen.
        reason: for the default.
    """

    id: str
    where: str
    problem: str
    option: str
    default: Any
    alternatives: tuple[Any, ...]
    reason: str


# fmt: off
DECISIONS: tuple[Decision, ...] = (
    Decision("A1", "Eq. 1", "F is a divergence without generative model, likelihood or prior, so it cannot be computed",
             "score", "centred",
             ("helmholtz", "vfe_gauss", "vfe_discrete", "entropy", "neg_certainty", "oracle", "random", "joint",
              "joint_decision"),
             "mean_k log p(k) is a free energy with its free constant fixed, needs the posterior alone as in Sec. 3.3, "
             "and can reach the -4 of Fig. 2 (A2); a reading that fits, "
             "not a proof. neg_certainty is taken for AMFAR, whose relative certainty gives the same groups at "
             "margin 0; oracle reads the labels and random ignores the data (controls); joint and joint_decision are "
             "ours: how far a modality is from what both say together"),
    Decision("A2", "Sec. 4.2, Fig. 2", "F settles near -4, which the usual readings of one query (helmholtz, entropy, "
             "vfe_discrete) cannot reach with five classes",
             "", "no target: the level of the centred reading is reported as it is, Helmholtz' is logged beside it",
             ("temperatures fixed at several values (logit_scales of 03_free_energy)",),
             "centred F is -log 5 = -1.61 for a uniform posterior and -4.03 at p_max = 0.974, so the level says how "
             "sharp posteriors are; it is no evidence for or against active inference"),
    Decision("A3", "Eq. 3", "printed F^m > F^n, while the text calls the lower F more reliable",
             "eq3_literal", False, (True,), "the text says it twice, and the printed sign would let the worse teach"),
    Decision("A4", "Eq. 3", "margin (\"significant discrepancy\"), ties and the set G are undefined",
             "margin", 0.0, (0.05, 0.1), "G is all queries; an exact tie, or a difference within the margin, is in no "
             "group. The margin is in the unit of the score"),
    Decision("A5", "Sec. 3.3", "actions, time, policies of active inference are introduced and never used",
             "", "one inference per episode; the action is the choice of the teacher", (),
             "nothing in Eq. 2-11 uses more"),
    Decision("A6", "Eq. 3", "offset and scale of F differ between modalities that are calibrated differently",
             "standardise_score", False, (True,), "centred F has no offset and each modality learns a temperature; the "
             "z-score over an episode forces groups of about equal size"),
    Decision("A6", "Eq. 3", "the same", "score_temperature_first", 1.0, (0.5, 2.0),
             "the temperature that was learnt on base classes; calibration asks for one that is fitted on validation "
             "classes (amfir_lib/analysis/open_choices/calibration.py)"),
    Decision("A6", "Eq. 3", "the same", "score_temperature_second", 1.0, (0.5, 2.0), "the same"),
    Decision("A7", "Sec. 3.2, 4.2, Eq. 8", "does free energy act at test? 3.2 says training only, 4.2 the opposite",
             "ami_weight", "certainty", ("free_energy", "equal", "hard", "first", "second"), "Eq. 8 as printed; first "
             "and second are single-modality inference, hard takes the more certain modality alone"),
    Decision("B1", "Sec. 3.2, 4.1", "prototype is a class mean in 3.2 and query-specific in 4.1",
             "prototype", "mean", ("trx",), "the equations index it by class alone"),
    Decision("B1", "Sec. 4.1", "how frame features become a video feature is unsaid",
             "pooling", "time", ("mean",), "time keeps the order of segments, in which motion shows; chosen on "
             "validation classes"),
    Decision("B2", "Eq. 2", "psi is \"e.g. Euclidean\"",
             "metric", "euclidean", ("sqeuclidean", "cosine"), "the paper's word; prototype networks use the square"),
    Decision("B3", "Eq. 2", "unscaled high-dimensional distances saturate the posterior, so that all certainties are 1",
             "layer_norm", True, (False,), "features of both modalities enter at one scale"),
    Decision("B3", "Eq. 2", "the same", "projection", True, (False,),
             "the trainable part while backbones are frozen (B9); paper_literal keeps it for that reason"),
    Decision("B3", "Eq. 2", "the same", "scaled", True, (False,), "a distance that does not grow with the width"),
    Decision("B3", "Eq. 2", "the same", "logit_scale", 10.0, (1.0,),
             "inverse temperature at the start; with 1 and scaled distances the posterior is nearly uniform and "
             "training barely moves. What the search (C9) found for a method stands in its place"),
    Decision("B3", "Eq. 2", "the same", "learn_temperature", True, (False,),
             "each modality calibrates its own posterior, on which the comparison of free energies rests"),
    Decision("B3", "Eq. 2", "what the formulas say without these repairs", "preset", "study", ("paper_literal",),
             "paper_literal: no LayerNorm, no scaling of the distance, temperature fixed at 1, frames averaged (B1)"),
    Decision("B4", "Sec. 4.1", "\"enhanced frame-level features\": the enhancer is undefined",
             "enhancer", "none", ("fle", "transformer"),
             "fewest assumptions; fle is the mixer of STRM, whose words these are"),
    Decision("B5", "Sec. 4.1", "I3D is said to read individual frames, but it is a clip model",
             "", "one flow field per sampled instant, read by a net for single fields",
             ("the same, its features blurred in time (compact_blurred)", "i3d, on 64 frames"),
             "affordable on a CPU; blurred features are the default for real clips, I3D that of the paper profile"),
    Decision("B6", "Sec. 4.1", "the public Charades flow weights of I3D are suspected to be broken: users see nearly "
             "the same output for every clip (pytorch-i3d, issue 46)",
             "", "flow_imagenet.pt (Kinetics) where it is found, else flow_charades.pt",
             ("backbone=resnet50+i3d_charades",), "a table made from dead features looks like any other; "
             "whatever the weights, features that hardly vary from clip to clip are warned about"),
    Decision("B7", "Sec. 4.1", "public I3D weights have seen novel classes of the Kinetics benchmarks: those of "
             "Charades, too, were trained from Kinetics-400 weights",
             "", "used as in the paper; each run with them prints the sentence, and it is kept with the features",
             ("resnet50 on flow, ImageNet weights", "compact, trained on rendered clips alone"),
             "the paper's own recipe leaks in the same way"),
    Decision("B8", "Sec. 4.1", "the dense flow algorithm, its bound and size are unsaid",
             "", "rendered clips: DIS; real clips: Farnebäck, averaged over seven pairs of frames; on squares of at "
             "least 112 px, clipped to 20 px per frame", ("dis", "farneback", "tvl1"),
             "DIS is many times faster than TV-L1 at nearly its accuracy; averaging quiets a noisy sensor and was "
             "chosen on base and validation classes; the algorithm is recorded with the features"),
    Decision("B9", "Eq. 9-11", "are the backbones trained?", "", "frozen cached features, trained heads",
             ("end to end: end_to_end=True in 02_training",),
             "a declared deviation that makes the study affordable on a CPU"),
    Decision("B10", "Sec. 4.1", "frames per clip, crop and flips are unsaid",
             "", "8 segment centres, central square, no flips", ("end to end: instants and crops are drawn, clips "
             "mirrored where left and right do not tell classes apart",),
             "the field's 8; a flip would turn left into right"),
    Decision("B11", "Eq. 9-11", "what a head is given when the backbone stays frozen",
             "", "features whitened by base-class statistics, the same for every method", ("whiten = False",),
             "directions of frozen features differ in size for reasons that no episode asks about; chosen on "
             "validation classes. Nearest mean, which learns nothing, reads them raw"),
    Decision("C1", "Eq. 10", "sum p log p has no label and no minus: minimised, it drives posteriors to uniform",
             "", "-log p(y)", (), "a test shows that the literal form fails"),
    Decision("C2", "Eq. 6, 10", "Eq. 10 sums over queries, Eq. 6 averages: lambda depends on their number",
             "ce_reduction", "mean", ("sum",), "lambda = 1 then balances two means"),
    Decision("C3", "Eq. 4", "\"logits\" inside logarithms; i runs over classes here and over queries elsewhere",
             "kd_temperature", 1.0, (2.0, 4.0), "sum over classes of posteriors, not softened"),
    Decision("C4", "Eq. 6", "the sum names no group; over all queries the groups would have no effect",
             "kd_scope", "group", ("all",), "a modality teaches its own group; an empty group gives zero. The weighted "
             "mean is taken within each episode, then over episodes"),
    Decision("C5", "Eq. 6, 11", "gradient through teacher and weights?", "", "none: both are detached", (),
             "the loss is written as a function of the student's parameters only"),
    Decision("C6", "Eq. 4, 6", "direction of the divergence", "kd_direction", "forward", ("reverse", "js"),
             "teacher first, as in Eq. 4"),
    Decision("C7", "Eq. 6, 9, 11", "one loss is written L_{m->n}, L_m -> L_n and, with the letters exchanged, "
             "L_n -> L_m", "", "one quantity: the first letter teaches, the second learns", (),
             "the text under Eq. 9 says distillation from m to n, and in Eq. 11 the parameters that learn are those of "
             "m"),
    Decision("C8", "Eq. 11", "simultaneous or alternating updates", "", "one backward pass for both", (),
             "with detached teachers it gives each modality exactly the gradient of Eq. 11"),
    Decision("C9", "Eq. 9", "lambda", "kd_lambda", 1.0, (0.0, 0.5, 2.0), "Sec. 4.1: 1.0 on all data sets"),
    Decision("C9", "Sec. 4.1", "of SGD nothing is said but the learning rate 1e-3: no momentum, decay, schedule or "
             "batch; training ends at \"convergence\"",
             "", f"{_STUDY.train_steps} steps of {_STUDY.episodes_per_step} episodes, twice as many for a method that "
             f"gains much by them (next row), constant learning rate, momentum {_SGD.momentum:g}, decay "
             f"{_SGD.weight_decay:g}, gradient norm at most {_SGD.clip_norm:g}; kept is the state that is best on "
             f"validation classes, looked at every {_STUDY.validate_every} steps",
             ("train_steps, episodes_per_step and validate_every of Training",),
             "one budget for every method whose validation curve has settled by then, and no method cut off"),
    Decision("C9", "Sec. 4.1", "one learning rate and one length for everybody would favour the methods that they suit",
             "", "learning rate and initial temperature of each trained method: the best of six trials on validation "
             "classes of two benchmarks; that trial once more with twice the steps, which are taken only where their "
             "second half gains two points (amfir_lib/methods/tuned.csv)", ("lr = 1e-3 (paper_literal in "
             "09_open_choices)",), "the same search for all, with one seed; a method on flow takes what was found on "
             "RGB, AMFAR what was found for AMFIR, late fusion what was found for its parts. Nothing else was searched "
             "for a single method"),
    Decision("C10", "Sec. 3.4, 3.5", "\"absolute certainty\" is defined for distillation, then preferred to a "
             "\"relative certainty\" that is never defined", "", "absolute certainty, max_k p(k), wherever c stands",
             (), "relative certainty seems a left-over of AMFAR, which is taken to group by it (A1)"),
    Decision("C11", "Eq. 6", "a confident wrong teacher teaches its error although training labels exist",
             "kd_mask", "none", ("teacher_correct",), "as written"),
    Decision("D1", "Eq. 7", "the left side conditions on one modality though it fuses both", "", "P(k | x_i)", (),
             "the right side holds both"),
    Decision("D2", "Eq. 7", "with raw distances the modality that has larger ones dominates whatever the weights are",
             "ami_distances", "scaled", ("raw",), "temperature-scaled distances: posteriors raised to their weights"),
    Decision("D3", "Eq. 8", "with five classes the weights stay near one half", "ami_power", 1.0, (2.0, 4.0),
             "as written; a power sharpens them"),
    Decision("D4", "Table 2", "\"without AMI\": what decides in its place is unsaid", "", "equal weights",
             ("ami_off of 05_table2_ablation: first, second or hard",), "the least that still reads both modalities"),
    Decision("E7", "Table 2, Fig. 4", "RD, FD, T-RGB and T-Flow are never defined",
             "kd_strategy", "bidirectional", ("none", "t_rgb", "t_flow", "rd_only", "fd_only"), "t_rgb and t_flow: one "
             "modality teaches all queries; rd_only and fd_only: one teaches its group, the other group is empty. "
             "Fig. 4 has the first two; Table 2 has both as readings (b) and (a) of one-sided dominance"),
    Decision("E10", "Fig. 5", "whether models are trained again for each number of classes is unsaid",
             "", "trained with the profile's ways, tested with more", (), "a method that must be told beforehand how "
             "many classes there will be is of less use, and a sweep then costs evaluation alone"),
    Decision("E12", "Fig. 2", "which samples, modality and aggregation the plotted F has is unsaid", "",
             "mean over queries, modalities and shots of fixed validation episodes, beside each modality", (),
             "fixed episodes: the curve moves because the model does"),
    Decision("E13", "Sec. 4", "number of test episodes, intervals and seeds are unsaid",
             "", f"{_STUDY.n_test_episodes:,} fixed episodes of {_STUDY.n_way * _STUDY.n_query} queries a cell (fewer "
             f"at the points of a sweep that Table 1 lacks), {_STUDY.n_seeds} seeds, class-jackknife intervals", (),
             "the interval is set by the number of test classes far more than by episodes"),
    Decision("E14", "Sec. 4", "the number of shots in training is unsaid",
             "", f"steps alternate between {' and '.join(map(str, _STUDY.train_shots))} shots; one model is tested at "
             "every shot", ("as in the test",), "one training serves every table"),
    Decision("E16", "Table 1, Fig. 5", "late fusion is named and not defined", "late_fusion", "posterior_mean",
             ("logit_sum",), "two networks trained apart, as the name says"),
    Decision("E17", "Table 1", "cascaded (EC) and collaborative attention (EA) early fusion are named and not defined",
             "", "EC: normalised, projected frames side by side; EA: the same after each modality attended to the "
             "other; ProtoNet or STRM reads the joint stream", ("early_layer: a further layer on the joint stream",),
             "the shortest reading of each name; the tables mark them as ours"),
)
# fmt: on


def decisions_table(effects: Mapping[tuple[str, str], str] | None = None) -> pd.DataFrame:
    """The decisions as a table, one row per decision, in the order of their ids.

    Args:
        effects: (id, option) -> what its alternatives were measured to change; None leaves the column out, and a
            decision that has none gets a dash.
    """
    rows = []
    for one in DECISIONS:
        row = {
            "id": one.id,
            "where": one.where,
            "problem": one.problem,
            "option": one.option or "–",
            "default": _value(one.default),
            "alternatives": ", ".join(_value(other) for other in one.alternatives) or "–",
            "reason": one.reason,
        }
        if effects is not None:
            row["effect"] = effects.get((one.id, one.option), "–")
        rows.append(row)
    return pd.DataFrame(rows)


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
