"""What the tables say, in words: every number comes from a table, no sentence is typed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd

from amfir_lib.tables import percent

PARTS = ("certainty fusion", "distillation")  # that AMFIR minus ProtoNet-LF is the sum of


def summarise_comparison(
    paired: pd.DataFrame, decomposition: pd.DataFrame, selection: pd.DataFrame, calibration: pd.DataFrame
) -> str:
    """What notebook 02 found, in words: one paragraph per data set, every number from the tables."""
    paragraphs = []
    for dataset in dict.fromkeys(paired["dataset"]):
        lines = []
        for _, row in paired[(paired["dataset"] == dataset) & (paired["other"] == "ProtoNet-LF")].iterrows():
            effects = decomposition[(decomposition["dataset"] == dataset) & (decomposition["n_shot"] == row["n_shot"])]
            shares = "; ".join(
                f"{effect['comparison']} {percent(effect['difference'], effect['half_width'], signed=True)}"
                for _, effect in effects[effects["comparison"].isin(PARTS)].iterrows()
            )
            judged = {"better": "beats", "worse": "loses to", "undecided": "is not shown to differ from"}[
                row["verdict"]
            ]
            lines.append(
                f"{row['n_shot']}-shot AMFIR {judged} equal-weight late fusion "
                f"({percent(row['difference'], row['half_width'], signed=True)} points: {shares})"
            )
            lines += [
                f"{row['n_shot']}-shot {effect['comparison']} adds "
                f"{percent(effect['difference'], effect['half_width'], signed=True)} points ({effect['verdict']})"
                for _, effect in effects[~effects["comparison"].isin(PARTS)].iterrows()
            ]
        own = _own(selection, dataset)
        cal = calibration[(calibration["dataset"] == dataset) & (calibration["method"] == "AMFIR")]
        lines.append(
            f"free energy picks the right modality in {percent(own['hit_rate_free_energy'])} % of the decidable "
            f"queries, certainty in {percent(own['hit_rate_certainty'])} % (mean over the shots)"
        )
        if "degraded_auroc_free_energy" in own and np.isfinite(own["degraded_auroc_free_energy"]):
            lines.append(
                "the AUROC of telling which stream is degraded is "
                f"{own['degraded_auroc_free_energy']:.2f} by free energy and "
                f"{own['degraded_auroc_certainty']:.2f} by certainty"
            )
        lines.append(
            "mean certainty minus accuracy is "
            + ", ".join(
                f"{percent(row['overconfidence'], signed=True)} points ({row['stream']}, {row['n_shot']}-shot)"
                for _, row in cal.iterrows()
            )
        )
        paragraphs.append(f"**{dataset}**: " + "; ".join(lines) + ".")
    return "\n\n".join(paragraphs)


def _own(selection: pd.DataFrame, dataset: str) -> pd.Series:
    rows = selection[(selection["dataset"] == dataset) & (selection["method"] == "AMFIR")]
    return rows.drop(columns=["dataset", "method"]).mean()
