"""What Table 2 and Figure 4 switch off: configurations of AMFIR, who teaches whom, and the claims about them.

Neither is defined beyond its name in the paper (decision E7), so each name has its readings here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.analysis.answers import ALL, COPIES, Answers
from amfir_lib.analysis.claims import Claim
from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.exports import text_of
from amfir_lib.paper import published, published_name
from amfir_lib.study.material import TestCell
from amfir_lib.study.runs import Series

FULL, NO_AMD, NO_AMI = "AMFIR", "no AMD", "no AMI"
MUTUAL, NO_DISTILLATION, CONTROL = "bidirectional", "no distillation", "both teach all"
READINGS = ("a", "b", "c")
AMI_OFF = ("equal", "first", "second", "hard")
MORE, LESS = "synth-ssv2", "synth-kinetics"  # where the paper's text says that AMI counts more, and less


@dataclass(frozen=True)
class Configuration:
    """One row of Table 2.

    Attributes:
        name: in tables and figures.
        off: what is switched off, by the paper's columns: ``asi_rd`` and ``asi_fd`` (the appearance- and the
            motion-dominant group), ``amd`` (distillation), ``ami`` (adaptive fusion).
        reading: of what is switched off: "a", "b" or "c"; "" where there is one only.
        options: of the method ``amfir``.
    """

    name: str
    off: str = ""
    reading: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def series(self) -> Series:
        """The runs of this row."""
        return Series(self.name, "amfir", self.options)

    @property
    def marks(self) -> dict[str, bool]:
        """The check marks by the names of the paper's columns."""
        return {column: column != self.off for column in ("asi_rd", "asi_fd", "amd", "ami")}


def table2_configurations(
    modalities: Sequence[str],
    *,
    kd_lambda: float = 1.0,
    score: str = "centred",
    ami_off: str = "equal",
    readings: Sequence[str] = ("a", "b"),
    method_options: Mapping[str, Any] | None = None,
) -> list[Configuration]:
    """The rows of Table 2, the paper's order, one-sided dominance once for each reading.

    Reading (a): the group of the disabled side is empty, so one modality teaches its own group and the other nobody.
    Reading (b): all queries are forced into the group of the enabled side, which teaches all of them.
    Reading (c): as (b), and that modality alone decides at meta-test.

    Args:
        modalities: appearance, motion.
        kd_lambda, score: lambda of Eq. 9 and reading of the free energy, for all rows.
        ami_off: fusion weights of "no AMI"; one of ``AMI_OFF``.
        readings: which of "a", "b", "c".
        method_options: further options of AMFIR for all rows, unless a row switches them itself.
    Raises:
        UnknownName: no such reading or weights. BadParameter: no reading, or one twice.
    """
    if ami_off not in AMI_OFF:
        raise unknown_name("fusion without AMI (ami_off)", ami_off, AMI_OFF)
    if not readings or len(set(readings)) < len(readings):
        raise BadParameter(f"readings is {list(readings)}, but must name some of {', '.join(READINGS)}, each once.")
    for reading in readings:
        if reading not in READINGS:
            raise unknown_name("reading of one-sided dominance", reading, READINGS)
    common = {"kd_lambda": kd_lambda, "score": score} | dict(method_options or {})
    appearance, motion = modalities
    rows = []
    for teacher, off, group_only, teaches_all, position in (
        (motion, "asi_rd", "fd_only", "t_flow", "second"),
        (appearance, "asi_fd", "rd_only", "t_rgb", "first"),
    ):
        for reading in readings:
            options = common | {"kd_strategy": group_only if reading == "a" else teaches_all}
            options |= {"ami_weight": position} if reading == "c" else {}
            rows.append(Configuration(f"{_in_words(teacher)}-dominant only ({reading})", off, reading, options))
    return [
        *rows,
        Configuration(NO_AMD, "amd", options=common | {"kd_strategy": "none"}),
        Configuration(NO_AMI, "ami", options=common | {"ami_weight": ami_off}),
        Configuration(FULL, options=common),
    ]


def distillation_strategies(
    modalities: Sequence[str], *, kd_lambda: float = 1.0, score: str = "centred", control: bool = True
) -> list[Series]:
    """The strategies of Figure 4, for modalities appearance and motion.

    T-RGB and T-Flow: the appearance (motion) stream teaches all queries and learns nothing from the other.
    Bidirectional is AMFIR: each teaches its own group.  The control has both teach all queries, because the
    one-sided strategies differ from AMFIR in two things: in direction and in scope.
    """
    common = {"kd_lambda": kd_lambda, "score": score}
    appearance, motion = (_in_words(modality) for modality in modalities)
    strategies = {
        NO_DISTILLATION: {"kd_strategy": "none"},
        f"T-{appearance}": {"kd_strategy": "t_rgb"},
        f"T-{motion.capitalize()}": {"kd_strategy": "t_flow"},
        MUTUAL: {},
        CONTROL: {"kd_scope": "all"},
    }
    return [Series(name, "amfir", common | own) for name, own in strategies.items() if control or name != CONTROL]


def _in_words(modality: str) -> str:
    return "RGB" if modality == "rgb" else modality


def published_ablation(dataset: str, n_shot: int, marks: Mapping[str, bool], *, n_way: int = 5) -> float:
    """The accuracy that the paper's Table 2 prints for these check marks, in [0, 1]; NaN where it has none."""
    table = published("table2")
    same = (table["dataset"] == published_name(dataset)) & (table["shot"] == n_shot) & (n_way == 5)
    for column, value in marks.items():
        same &= table[column] == int(value)
    return float(table.loc[same, "accuracy"].iloc[0]) / 100 if same.any() else np.nan


def with_published(frame: pd.DataFrame, configurations: Sequence[Configuration]) -> pd.DataFrame:
    """Accuracies with the check marks, the reading and the paper's accuracy (column ``paper``) of each row.

    Of differences to the full method (column ``other``) with the paper's difference alone.
    """
    by_name, rows = {one.name: one for one in configurations}, []
    for row in frame.to_dict("records"):
        where = row["dataset"], row["n_shot"]
        one = by_name[row["method" if "method" in row else "other"]]
        paper = published_ablation(*where, one.marks, n_way=row["n_way"])
        if "method" in row:
            row |= one.marks | {"reading": one.reading}
        else:
            paper = published_ablation(*where, by_name[FULL].marks, n_way=row["n_way"]) - paper
        rows.append(row | {"paper": paper})
    return pd.DataFrame(rows)


def published_strategies(datasets: Sequence[str], cell: TestCell) -> pd.DataFrame:
    """What the paper prints for the strategies of Figure 4 in this cell: ``dataset, method, value`` (a share).

    Its text prints the bidirectional accuracy alone.  "No distillation" is taken from the row without AMD of its
    Table 2, which should be the same thing.
    """
    numbers = published("text_numbers")
    numbers = numbers[(numbers["figure"] == "fig4") & (numbers["setting"] == f"{cell.n_way}-way {cell.n_shot}-shot")]
    numbers = numbers[numbers["method"].str.contains("bidirectional")].set_index("dataset")["value"]
    without = Configuration(NO_AMD, "amd").marks
    rows = []
    for dataset in datasets:
        rows.append((dataset, MUTUAL, float(numbers.get(published_name(dataset), np.nan)) / 100))
        table2 = published_ablation(dataset, cell.n_shot, without, n_way=cell.n_way)
        rows.append((dataset, NO_DISTILLATION, table2))
    return pd.DataFrame(rows, columns=["dataset", "method", "value"]).dropna(ignore_index=True)


def table2_claims(configurations: Sequence[Configuration]) -> list[Claim]:
    """Each component helps, and each one-sided dominance harms: full minus without, pooled."""
    by_name = {one.name: one for one in configurations}
    statements = {
        NO_AMD: ("amd_helps", "Distillation (AMD) raises accuracy"),
        NO_AMI: ("ami_helps", "Adaptive fusion (AMI) raises accuracy"),
    }
    one_sided = {(one.reading, one.off): one.name for one in configurations if one.reading}
    for reading in dict.fromkeys(reading for reading, _ in one_sided):
        for off, side in (("asi_fd", "rgb"), ("asi_rd", "flow")):
            name = one_sided[reading, off]
            words = f"Accuracy falls if only {name.partition('-')[0]} may be dominant (reading ({reading}))"
            statements[name] = (f"{side}_only_dominance_{reading}", words)
    return [
        Claim(key, words, "Sec. 4.4, Table 2", FULL, name, _printed_costs(by_name[FULL], by_name[name]))
        for name, (key, words) in statements.items()
    ]


def ami_claim(configurations: Sequence[Configuration], answers: Sequence[Answers]) -> tuple[list[Claim], list[Answers]]:
    """AMI counts more on SSv2 than on Kinetics, and the places of these two; no claim where one of them is missing."""
    names = {basis: {p.where["dataset"] for p in answers if p.basis == basis} for basis in (ALL, COPIES)}
    places = [p for name in (MORE, LESS) for p in answers if p.where["dataset"] == name]
    places = [p for p in places if {MORE, LESS} <= names[p.basis]]
    if not places:
        return [], []
    by_name = {one.name: one for one in configurations}
    n_shots = len({place.cell.n_shot for place in places})
    paper = f"its own Table 2 says the opposite: {_printed_costs(by_name[FULL], by_name[NO_AMI])}"
    claim = Claim(
        "ami_counts_more_on_ssv2", "Switching AMI off costs more on SSv2 than on Kinetics", "Sec. 4.4", FULL, NO_AMI,
        paper, share=lambda place: (1 if place.where["dataset"] == MORE else -1) / n_shots,
    )  # fmt: skip
    return [claim], places


def strategy_claims(strategies: Sequence[Series]) -> list[Claim]:
    """Bidirectional distillation is better than each fixed teacher, and each of these is better than none."""
    teachers = {one.options.get("kd_strategy"): one.name for one in strategies}
    fixed = {key: teachers[key] for key in ("t_rgb", "t_flow") if key in teachers}
    pairs = {f"bidirectional_above_{key}": (MUTUAL, name) for key, name in fixed.items()}
    pairs["bidirectional_above_none"] = (MUTUAL, NO_DISTILLATION)
    pairs |= {f"{key}_above_none": (name, NO_DISTILLATION) for key, name in fixed.items()}
    words = {MUTUAL: "Bidirectional distillation"}
    return [
        Claim(key, f"{words.get(better, better)} is better than {worse}", "Sec. 4.5, Fig. 4", better, worse)
        for key, (better, worse) in pairs.items()
    ]


def one_shot(answers: Sequence[Answers]) -> list[Answers]:
    """The places with one shot, which Figure 4 is about; all of them where there is none."""
    return [place for place in answers if place.cell.n_shot == 1] or list(answers)


def _printed_costs(full: Configuration, without: Configuration) -> str:
    """What the paper's Table 2 prints for the difference, in points, 1- and 5-shot."""
    texts = []
    for dataset, name in ((LESS, "Kinetics"), (MORE, "SSv2")):
        both = [[published_ablation(dataset, n, one.marks) for n in (1, 5)] for one in (full, without)]
        costs = np.subtract(*both)
        if np.isfinite(costs).all():
            texts.append(f"{name} {' / '.join(text_of(value, 'difference') for value in costs)}")
    return f"{', '.join(texts)} points (1- / 5-shot)" if texts else ""
