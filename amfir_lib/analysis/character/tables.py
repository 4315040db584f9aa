"""Tables and sentences about the character of the benchmarks, as they are to be read."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from amfir_lib.analysis.character.verdicts import MAX_OTHER_COST, MIN_OWN_COST
from amfir_lib.analysis.tables import percent
from amfir_lib.exports import Table
from amfir_lib.study.runs import TestCell

STREAM_LABELS = {"rgb": "RGB", "flow": "flow"}
MEASURES = {
    "rgb": "RGB",
    "middle_frame": "RGB, middle frame",
    "flow": "flow",
    "flow_reversed": "flow, queries reversed",
    "early_fusion": "early fusion",
}


LABEL_RULE = (
    f"Earned: the mean cost is at least {100 * MIN_OWN_COST:.0f} points for the own stream and at most "
    f"{100 * MAX_OTHER_COST:.0f} for the other; the mean decides, though its interval may cross a limit."
)


def basis(cells: Sequence[TestCell], *, n_seeds: int | None = None) -> str:
    """What the numbers rest on, for captions.

    Args:
        cells: validation episodes, one cell a number of shots.
        n_seeds: training seeds behind a mean over seeds and shots; None where the table itself states them.
    """
    one = cells[0]
    shots = " and ".join(str(cell.n_shot) for cell in cells)
    seeds = "seeds as stated"
    if n_seeds is not None:
        seeds = f"mean over shots and {n_seeds} training seed{'s' if n_seeds > 1 else ''}"
    return (
        f"Synthetic; validation classes, {one.n_way}-way, {shots} shots, {one.n_episodes} episodes each, {seeds}; "
        "±: 95 % class-jackknife interval, left out where the classes are too few for one."
    )


def degradation_table(degradation: pd.DataFrame, *, caption: str) -> Table:
    """Accuracy of each stream with all queries sound, RGB-degraded or flow-degraded: 2 x 3 for each benchmark."""
    mean = degradation[(degradation["n_shot"] == 0) & (degradation["kind"] == "all")]
    names = {"none": "sound queries", "rgb": "RGB-degraded queries", "flow": "flow-degraded queries"}
    rows = []
    for (dataset, stream), part in mean.groupby(["dataset", "stream"], sort=False):
        row = {"data set": dataset, "stream": STREAM_LABELS[stream]}
        for found in part.itertuples():
            row[names[found.queries]] = percent(found.accuracy, found.half_width)
        rows.append(row)
    return Table(degradation, pd.DataFrame(rows), caption)


def kinds_table(verdicts: pd.DataFrame, *, caption: str) -> Table:
    """What each kind costs its own stream and the other, and whether its label is earned; the caption says when."""
    shown = pd.DataFrame({
        "data set": verdicts["dataset"],
        "kind": verdicts["kind"].str.replace("_", " "),
        "label": verdicts["label"].map(STREAM_LABELS),
        "cost to own stream": _column(verdicts, "own"),
        "cost to the other": _column(verdicts, "other"),
        "verdict": verdicts["verdict"],
    })  # fmt: skip
    return Table(verdicts, shown, f"{caption} {LABEL_RULE}")


def character_table(character: pd.DataFrame, *, caption: str) -> Table:
    """Accuracy of each measure at each number of shots, one row a benchmark and measure."""
    rows = []
    for dataset in dict.fromkeys(character["dataset"]):
        for measure, label in MEASURES.items():
            part = character[(character["dataset"] == dataset) & (character["measure"] == measure)]
            shots = {f"{r.n_shot}-shot": percent(r.accuracy, r.half_width) for r in part.itertuples()}
            rows.append({"data set": dataset, "input": label} | shots | {"seeds": str(int(part["n_seeds"].iloc[0]))})
    return Table(character, pd.DataFrame(rows), caption)


def targets_table(targets: pd.DataFrame, *, caption: str) -> Table:
    """Targets of the benchmarks, what was measured, and whether they are met."""
    shown = targets.assign(met=targets["met"].map({True: "yes", False: "no"})).rename(columns={"dataset": "data set"})
    return Table(targets, shown, caption)


def label_sentence(verdicts: pd.DataFrame) -> str:
    """One sentence a benchmark on its labels."""
    own, other = 100 * MIN_OWN_COST, 100 * MAX_OTHER_COST
    rule = f"(mean cost at least {own:.0f} points for the own stream, at most {other:.0f} for the other)"
    lines = []
    for dataset, part in verdicts.groupby("dataset", sort=False):
        earned = part[part["verdict"] == "earned"]["kind"].tolist()
        rest = [_failure(row) for row in part[part["verdict"] != "earned"].itertuples()]
        text = f"**{dataset}**: {len(earned)} of {len(part)} kinds earn their label {rule}."
        lines.append(text + (f" Not earned: {'; '.join(rest)}." if rest else ""))
    return "\n\n".join(lines)


def target_sentence(targets: pd.DataFrame) -> str:
    """One sentence a benchmark on its targets."""
    lines = []
    for dataset, part in targets.groupby("dataset", sort=False):
        missed = [f"{row.target}, measured {row.measured}" for row in part[~part["met"]].itertuples()]
        text = f"**{dataset}** meets {int(part['met'].sum())} of {len(part)} targets"
        lines.append(text + (f"; it misses: {'; '.join(missed)}." if missed else "."))
    return "\n\n".join(lines)


def _failure(row) -> str:
    own, other = (percent(*pair) for pair in (
        (row.own_cost, row.own_half_width), (row.other_cost, row.other_half_width)
    ))  # fmt: skip
    return f"{row.kind.replace('_', ' ')} ({row.verdict}: own {own}, other {other} points)"


def _column(verdicts: pd.DataFrame, role: str) -> list[str]:
    pairs = zip(verdicts[f"{role}_cost"], verdicts[f"{role}_half_width"], strict=True)
    return [percent(mean, half) for mean, half in pairs]
