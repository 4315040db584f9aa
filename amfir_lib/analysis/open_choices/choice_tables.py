"""Tables of the open choices: the difference that each makes, what its score picks, and what the decisions cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from amfir_lib.analysis.open_choices.choice_runs import Measured, choice_of
from amfir_lib.analysis.open_choices.choices import DEFAULT, METHOD, Choice, change_of, section_of
from amfir_lib.analysis.open_choices.picks import RIGHT, UNHURT, own_score, picks, pooled_picks
from amfir_lib.analysis.tables import (
    Group,
    calibration_table,
    grouped,
    percent,
    pooled_difference,
    verdict,
    verdict_cell,
)
from amfir_lib.exports import Table
from amfir_lib.methods import resolve_options
from amfir_lib.study.statistics import holm

PICKED = (RIGHT, UNHURT)


def choices_frame(measured: Measured, choices: Sequence[Choice]) -> pd.DataFrame:
    """The default and every choice on every data set and number of shots.

    Args:
        measured: from ``choice_runs.measure``.
        choices: those that were measured.
    Returns:
        One row per choice, data set and shots: ``choice, title, section, decision, default, alternative, dataset,
        n_way, n_shot, accuracy, difference`` (to the default), ``half_width, p_value, p_holm`` (over the choices of
        the cell), ``verdict``; of the choice's own score ``hit_rate_right, auroc_right, hit_rate_undegraded,
        auroc_undegraded``; ``calibration_error_M`` for each modality M, ``training_seconds`` (of a run; missing where
        the default's runs were only tested) and ``n_seeds``.
    """
    described = {DEFAULT: _described(None, measured)} | {one.key: _described(one, measured) for one in choices}
    turned = {one.key for one in choices if resolve_options(METHOD, one.options).eq3_literal}
    seconds = _seconds(measured)
    rows = []
    for group in grouped(measured.results, choice_of):
        default = group.accuracy(DEFAULT).mean(0)
        family = []
        for key in group.results:
            own = group.accuracy(key).mean(0)
            interval = group.interval(own - default)
            row = {"choice": key} | described[key] | group.where() | {"accuracy": group.mean(own)}
            row |= {"difference": group.mean(own - default) if key != DEFAULT else np.nan}
            row |= {"half_width": interval.half_width if interval and key != DEFAULT else np.nan}
            row |= {"p_value": interval.p_value if interval and key != DEFAULT else np.nan}
            family.append(row | _picked(group, key, turned=key in turned))
        corrected = corrected_p([row["p_value"] for row in family])
        for row, p in zip(family, corrected, strict=True):
            named = verdict(row["difference"], p) if row["choice"] != DEFAULT else "–"
            row |= {"p_holm": p, "verdict": named, "training_seconds": seconds[row["choice"], row["dataset"]]}
            row["n_seeds"] = len(measured.seeds)
        rows += family
    frame = pd.DataFrame(rows)
    errors = calibration_table(measured.results, series=choice_of).rename(columns={"method": "choice"})
    wide = errors.pivot(index=["dataset", "n_shot", "choice"], columns="stream", values="calibration_error")
    wide = wide[list(dict.fromkeys(errors["stream"]))].add_prefix("calibration_error_").reset_index()
    return frame.merge(wide, on=["dataset", "n_shot", "choice"], how="left", validate="one_to_one")


def pooled_frame(measured: Measured, choices: Sequence[Choice]) -> pd.DataFrame:
    """Every choice minus the default, pooled over data sets and shots.

    Returns:
        One row per choice: ``choice, title, section, decision, default, alternative, difference, half_width, p_value,
        p_holm`` (over all choices), ``verdict`` and ``training_seconds``.
    """
    seconds = _seconds(measured)
    default = [result for result in measured.results if choice_of(result) == DEFAULT]
    rows = []
    for one in choices:
        own = [result for result in measured.results if choice_of(result) == one.key]
        found = pooled_difference([*default, *own], one.key, DEFAULT, series=choice_of)
        row = {"choice": one.key} | _described(one, measured) | {"difference": found.mean}
        row |= {"half_width": found.half_width, "p_value": found.interval.p_value if found.interval else np.nan}
        taken = [value for (key, _), value in seconds.items() if key == one.key]
        rows.append(row | {"training_seconds": float(np.mean(taken))})
    corrected = corrected_p([row["p_value"] for row in rows])
    for row, p in zip(rows, corrected, strict=True):
        row |= {"p_holm": p, "verdict": verdict(row["difference"], p)}
    return pd.DataFrame(rows)


def shown_pooled(pooled: pd.DataFrame, *, caption: str) -> Table:
    """The pooled differences as they are to be read, in points.

    Args:
        pooled: from ``pooled_frame``.
        caption: of the table.
    """
    shown = pooled[["title", "decision", "default", "alternative"]].rename(columns={"title": "choice"})
    pairs = zip(pooled["difference"], pooled["half_width"], strict=True)
    shown["difference"] = [percent(mean, half_width, signed=True) for mean, half_width in pairs]
    shown["p (Holm)"] = [f"{p:.3f}" if np.isfinite(p) else "–" for p in pooled["p_holm"]]
    shown["verdict"] = [verdict_cell(*pair) for pair in zip(pooled["verdict"], pooled["p_holm"], strict=True)]
    return Table(pooled, shown, caption)


def corrected_p(values: Sequence[float]) -> np.ndarray:
    """Holm's correction over the values that are defined; NaN where one is not."""
    values = np.asarray(values, dtype=float)
    defined = np.isfinite(values)
    corrected = np.full(len(values), np.nan)
    corrected[defined] = holm(values[defined])
    return corrected


def shown_choices(frame: pd.DataFrame, pooled: pd.DataFrame, *, caption: str) -> Table:
    """The choices as they are to be read: one row each; what scores pick and calibration are means over the cells.

    Args:
        frame: from ``choices_frame``.
        pooled: from ``pooled_frame``.
        caption: of the table; the default's accuracies are added to it.
    """
    errors = [column for column in frame if column.startswith("calibration_error_")]
    by_choice = pooled.set_index("choice")
    rows = []
    for key, part in frame.groupby("choice", sort=False):
        first = part.iloc[0]
        row = {"choice": first["title"], "decision": first["decision"]}
        row |= {"default": first["default"], "alternative": first["alternative"]}
        if key in by_choice.index:
            own = by_choice.loc[key]
            row["pooled"] = percent(own["difference"], own["half_width"], signed=True)
            row["p (Holm)"] = f"{own['p_holm']:.3f}" if np.isfinite(own["p_holm"]) else "–"
        else:
            row |= {"pooled": "–", "p (Holm)": "–"}
        for cell in part.itertuples():
            head = f"{cell.dataset} {cell.n_shot}-shot"
            row[head] = percent(cell.difference, cell.half_width, signed=True)
        for what in PICKED:
            row |= {f"picks {what}": percent(part[f"hit_rate_{what}"].mean())}
            row |= {f"AUROC {what}": percent(part[f"auroc_{what}"].mean())}
        row |= {f"ECE {column.removeprefix('calibration_error_')}": percent(part[column].mean()) for column in errors}
        taken = part["training_seconds"].mean()
        row["seconds"] = f"{taken:.1f}" if np.isfinite(taken) else "–"
        rows.append(row)
    own = frame[frame["choice"] == DEFAULT]
    told = ", ".join(f"{row.dataset} {row.n_shot}-shot {percent(row.accuracy)} %" for row in own.itertuples())
    shown = pd.DataFrame(rows)
    unknown = [column for column in shown if (shown[column] == "–").all()]  # such as what is degraded in own clips
    units = {column: "share" for column in errors}
    return Table(frame, shown.drop(columns=unknown), f"{caption} Accuracy of the default: {told}.", units=units)


def _described(choice: Choice | None, measured: Measured) -> dict[str, str]:
    if choice is None:
        return {"title": DEFAULT, "section": DEFAULT, "decision": "–", "default": "–", "alternative": "–"}
    before, after = change_of(choice, measured.resolved.get(choice.key))
    named = {"title": choice.title, "section": section_of(choice), "decision": choice.decision}
    return named | {"default": before, "alternative": after}


def _picked(group: Group, key: str, *, turned: bool) -> dict[str, float]:
    """What the choice's own score picks, seeds together."""
    degraded = group.degraded
    if degraded is not None:
        degraded = degraded[group.episodes.query].reshape(len(group.episodes), -1)
    found = {}
    for what in PICKED:
        parts = [picks(own_score(test, turned=turned), test.correct, degraded, what=what) for test in group.tests[key]]
        known = [one for one in parts if one is not None and one.counted.any()]
        both = pooled_picks(known) if known else None
        found |= {f"hit_rate_{what}": both.rate if both else np.nan, f"auroc_{what}": both.auroc if both else np.nan}
    return found


def _seconds(measured: Measured) -> dict[tuple[str, str], float]:
    """(choice, data set) -> seconds of training of one run; NaN where nothing was trained."""
    found: dict[tuple[str, str], list[float]] = {}
    for result in measured.results:
        key = choice_of(result), result.run.material.dataset.name
        found.setdefault(key, []).append(result.record["seconds"] or np.nan)
    return {key: float(np.mean(values)) for key, values in found.items()}
