"""What Table 2 and Figure 4 switch off: configurations of AMFIR, and who teaches whom.

Neither is defined beyond its name in the paper (decision E7), so each name has its readings here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.paper import published, published_name
from amfir_lib.study.runs import Series, TestCell

FULL, NO_AMD, NO_AMI = "AMFIR", "no AMD", "no AMI"
MUTUAL, NO_DISTILLATION, CONTROL = "bidirectional", "no distillation", "both teach all"
READINGS = {"a": "(a)", "b": "(b)", "c": "(c)"}
AMI_OFF = ("equal", "first", "second", "hard")


@dataclass(frozen=True)
class Configuration:
    """One row of Table 2.

    Attributes:
        name: in tables and figures.
        rd, fd, amd, ami: the check marks: appearance-dominant group, motion-dominant group, distillation, adaptive
            fusion.
        reading: of what is switched off: "a", "b" or "c"; "" where there is one only.
        options: of the method ``amfir``.
    """

    name: str
    rd: bool = True
    fd: bool = True
    amd: bool = True
    ami: bool = True
    reading: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def series(self) -> Series:
        """The runs of this row."""
        return Series(self.name, "amfir", self.options)

    @property
    def marks(self) -> dict[str, bool]:
        """The check marks by the names of the paper's columns."""
        return {"asi_rd": self.rd, "asi_fd": self.fd, "amd": self.amd, "ami": self.ami}


def stream_label(modality: str) -> str:
    """``RGB``, ``flow``, ``depth``: a modality as it stands in names."""
    return {"rgb": "RGB"}.get(modality, modality)


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
        kd_lambda: lambda of Eq. 9, for all rows.
        score: reading of the free energy, for all rows.
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
    own = {"kd_lambda": kd_lambda, "score": score} | dict(method_options or {})
    appearance, motion = modalities
    rows = []
    for teacher, side, whole, position in (
        (motion, "fd_only", "t_flow", "second"),
        (appearance, "rd_only", "t_rgb", "first"),
    ):
        for reading in readings:
            options = own | {"kd_strategy": side if reading == "a" else whole}
            if reading == "c":
                options["ami_weight"] = position
            rows.append(
                Configuration(
                    f"{stream_label(teacher)}-dominant only {READINGS[reading]}",
                    rd=teacher == appearance,
                    fd=teacher == motion,
                    reading=reading,
                    options=options,
                )  # fmt: skip
            )
    return [
        *rows,
        Configuration(NO_AMD, amd=False, options=own | {"kd_strategy": "none"}),
        Configuration(NO_AMI, ami=False, options=own | {"ami_weight": ami_off}),
        Configuration(FULL, options=own),
    ]


def one_sided(configurations: Sequence[Configuration], *, reading: str) -> list[Configuration]:
    """The two rows with one group only, in one reading: motion-dominant, appearance-dominant."""
    return [one for one in configurations if one.reading == reading and one.rd != one.fd]


def distillation_strategies(
    modalities: Sequence[str], *, kd_lambda: float = 1.0, score: str = "centred", control: bool = True
) -> list[Series]:
    """The strategies of Figure 4.

    T-RGB and T-Flow: the appearance (motion) stream teaches all queries and learns nothing from the other.
    Bidirectional is AMFIR: each teaches its own group.  The control has both teach all queries, because the
    one-sided strategies differ from AMFIR in two things: in direction and in scope.

    Args:
        modalities: appearance, motion.
        kd_lambda: lambda of Eq. 9.
        score: reading of the free energy.
        control: add "both teach all".
    """
    own = {"kd_lambda": kd_lambda, "score": score}
    appearance, motion = (stream_label(m) for m in modalities)
    chosen = {
        NO_DISTILLATION: {"kd_strategy": "none"},
        f"T-{appearance}": {"kd_strategy": "t_rgb"},
        f"T-{motion.capitalize()}": {"kd_strategy": "t_flow"},
        MUTUAL: {},
        CONTROL: {"kd_scope": "all"},
    }
    return [Series(name, "amfir", own | options) for name, options in chosen.items() if control or name != CONTROL]


def strategies_in_table2(strategies: Sequence[Series], configurations: Sequence[Configuration]) -> str:
    """Which strategies of Figure 4 are rows of Table 2 under another name: those with the same options; or nothing.

    Args:
        strategies: from ``distillation_strategies``.
        configurations: from ``table2_configurations``, with the same weight and score.
    """
    named = [(s.name, c.name) for s in strategies for c in configurations if dict(s.options) == dict(c.options)]
    pairs = [f"{one} is {other}" for one, other in named]
    return f"The same trainings stand in Table 2: {', '.join(pairs)}." if pairs else ""


def published_ablation(dataset: str, n_shot: int, marks: Mapping[str, bool]) -> float:
    """The accuracy that the paper's Table 2 prints for these check marks, in [0, 1]; NaN where it has none."""
    table = published("table2")
    same = (table["dataset"] == published_name(dataset)) & (table["shot"] == n_shot)
    for column, value in marks.items():
        same &= table[column] == int(value)
    return float(table.loc[same, "accuracy"].iloc[0]) / 100 if same.any() else np.nan


def published_frame(datasets: Sequence[str], cell: TestCell) -> pd.DataFrame:
    """What the paper prints for the strategies of Figure 4 at these ways and shots.

    Its text prints the bidirectional accuracy alone.  "No distillation" is taken from the row without AMD of its
    Table 2, which should be the same thing.

    Returns:
        Columns ``dataset, method, value``; accuracies in [0, 1].
    """
    numbers = published("text_numbers")
    numbers = numbers[(numbers["figure"] == "fig4") & (numbers["setting"] == f"{cell.n_way}-way {cell.n_shot}-shot")]
    numbers = numbers[numbers["method"].str.contains("bidirectional")].set_index("dataset")["value"]
    without = Configuration(NO_AMD, amd=False).marks
    rows = []
    for dataset in datasets:
        rows.append((dataset, MUTUAL, float(numbers.get(published_name(dataset), np.nan)) / 100))
        table2 = published_ablation(dataset, cell.n_shot, without) if cell.n_way == 5 else np.nan
        rows.append((dataset, NO_DISTILLATION, table2))
    return pd.DataFrame(rows, columns=["dataset", "method", "value"]).dropna(ignore_index=True)


def with_published(frame: pd.DataFrame, configurations: Sequence[Configuration]) -> pd.DataFrame:
    """Accuracies with the check marks, the reading and the paper's accuracy (column ``paper``) of each row."""
    by_name = {one.name: one for one in configurations}
    rows = []
    for row in frame.to_dict("records"):
        one = by_name[row["method"]]
        paper = published_ablation(row["dataset"], row["n_shot"], one.marks) if row["n_way"] == 5 else np.nan
        rows.append(row | one.marks | {"reading": one.reading, "paper": paper})
    return pd.DataFrame(rows)
