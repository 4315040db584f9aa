"""The paper's Table 1: its rows, our numbers with intervals, the printed ones beside them, and its claims."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from amfir_lib.analysis.answers import ALL, UNDEGRADED, Answers, method_title
from amfir_lib.analysis.claims import Claim, best_on_validation
from amfir_lib.analysis.contrasts import BETTER, PLACE, UNDECIDED, WORSE, accuracies, contrast
from amfir_lib.analysis.training import training_behind
from amfir_lib.exports import text_of
from amfir_lib.methods import METHODS
from amfir_lib.paper import doubtful_cells, published, published_name
from amfir_lib.study.runs import RunResult

REFERENCE = "amfir"
NOT_IN_PAPER = "not in the paper's table"
# what the claims compare, and so what is trained on the degradation-free copies; of the single modalities the light
# heads alone, which keeps a cold study within its budget
CLAIM_METHODS = ("amfir", "amfar", "strm_ec", "protonet", "protonet_f", "protonet_lf")


def by_method(result: RunResult) -> str:
    """Names a series by its method, which stays the same where a title changes."""
    return result.run.method


def ordered_methods(methods: Iterable[str]) -> list[str]:
    """Methods in the order of Table 1, those that the paper's table lacks at the end."""
    return sorted(dict.fromkeys(methods), key=list(METHODS).index)


def labels(results: Iterable[RunResult]) -> dict[str, str]:
    """Method -> its title with what must be said beside it, such as "STRM-EC (our reading)"."""
    notes = {name: f" ({spec.note})" if spec.note else "" for name, spec in METHODS.items()}
    return {result.run.method: method_title(result) + notes[result.run.method] for result in results}


def heading(method: str, modalities: Sequence[str]) -> str:
    """The group of rows of a method: the modality that it reads, Multimodal, or not in the paper's table."""
    if not METHODS[method].paper_name:
        return NOT_IN_PAPER
    names = [name.upper() if name == "rgb" else name.capitalize() for name in modalities]
    return {"first": names[0], "second": names[1], "both": "Multimodal"}[METHODS[method].streams]


def table1(answers: Sequence[Answers], results: Sequence[RunResult]) -> pd.DataFrame:
    """Accuracy of every method (series named ``by_method``) with the paper's number for the same cell.

    Returns:
        The rows of ``accuracies`` in the order of Table 1, with ``label``, ``heading``, ``n_queries`` (of an episode),
        ``accuracy_undegraded, half_width_undegraded`` (NaN where it is unknown which queries are degraded), ``paper``
        (share; NaN where nothing is printed), ``paper_doubt`` (why the printed number looks wrong; empty otherwise) and
        its ``mark``, ``best`` (highest in its data set and shot) and ``bold``: it is the best, and the difference
        between AMFIR and it (for AMFIR: the best other row) excludes 0 after Holm's correction.
    """
    frame = _placed(accuracies(answers), "method", results)
    queries = {tuple(place.where.values()): place.cell.n_way * place.cell.n_query for place in answers}
    frame["n_queries"] = [queries[tuple(where)] for where in frame[PLACE].itertuples(index=False)]
    undegraded = accuracies(answers, bases=(UNDEGRADED,))
    undegraded = undegraded[[*PLACE, "method", "accuracy", "half_width"]].astype({"n_way": int, "n_shot": int})
    frame = frame.merge(undegraded, on=[*PLACE, "method"], how="left", suffixes=("", "_undegraded"))
    numbers = published("table1").set_index(["method", "dataset", "shot"])["accuracy"].to_dict()
    cells = [
        (METHODS[row.method].paper_name, published_name(row.dataset), row.n_shot) if row.n_way == 5 else ()
        for row in frame.itertuples()
    ]
    doubted = doubtful_cells()
    frame["paper"] = [numbers.get(cell, np.nan) / 100 for cell in cells]
    frame["paper_doubt"] = [doubted.get(cell, "") for cell in cells]
    frame["mark"] = ["†" if doubt else "" for doubt in frame["paper_doubt"]]
    paired = contrast(answers, REFERENCE).set_index([*PLACE, "other"])["verdict"]
    frame["best"] = frame["bold"] = False
    for where, rows in frame.groupby(PLACE, sort=False):
        accuracy = rows.set_index("method")["accuracy"]
        best = accuracy.idxmax()
        rival = accuracy.drop(REFERENCE).idxmax() if best == REFERENCE and len(accuracy) > 1 else best
        earned = paired.get((*where, rival)) == (BETTER if best == REFERENCE else WORSE)
        frame.loc[rows.index[rows["method"] == best], ["best", "bold"]] = True, earned
    return frame


def table1_paired(answers: Sequence[Answers], results: Sequence[RunResult]) -> pd.DataFrame:
    """AMFIR minus every other method, on all queries and on undegraded ones, in the order of Table 1.

    The columns of ``contrast``, ``label`` and ``heading`` of the other method, and ``decided``: not 0 after Holm's
    correction over the rows of one data set, shot and basis.
    """
    frame = contrast(answers, REFERENCE, bases=(ALL, UNDEGRADED))
    frame = _placed(frame, "other", results)
    comparisons = f"{labels(results)[REFERENCE]} − " + frame["label"]
    return frame.assign(comparison=comparisons, decided=frame["verdict"] != UNDECIDED)


def _placed(frame: pd.DataFrame, column: str, results: Sequence[RunResult]) -> pd.DataFrame:
    """Rows of each basis and place in the order of Table 1, with label and heading of the method in a column."""
    titles = labels(results)
    order = {method: place for place, method in enumerate(ordered_methods(titles))}
    by_place = [rows for _, rows in frame.groupby(["basis", *PLACE], sort=False)]
    parts = [rows.sort_values(column, key=lambda methods: methods.map(order)) for rows in by_place]
    frame = pd.concat(parts or [frame], ignore_index=True)
    modalities = {result.run.material.dataset.name: result.run.material.dataset.modalities for result in results}
    heads = [heading(row[column], modalities[row["dataset"]]) for _, row in frame.iterrows()]
    return frame.assign(label=frame[column].map(titles), heading=heads)


def doubts(frame: pd.DataFrame) -> pd.DataFrame:
    """The printed numbers of ``table1`` that look wrong, with the reason; no rows where none is shown."""
    rows = frame[frame["paper_doubt"] != ""].reset_index(drop=True)
    parts = rows["paper_doubt"].str.partition(": ")
    columns = rows[[*PLACE, "method", "label", "paper"]]
    return columns.assign(looks=parts[0], because=parts[2]) if len(rows) else columns


def costs(results: Sequence[RunResult]) -> pd.DataFrame:
    """Parameters and training time of each method, from the records of its runs, in the order of Table 1.

    Returns:
        ``method, label, parameters`` (largest over data sets), ``step_ms`` (mean milliseconds per training step,
        validation included), ``training_seconds`` (mean per run), ``steps``, ``episodes`` (trained on),
        ``selected_step`` and ``selected_step_last`` (median and largest step whose state was kept), ``n_runs, device``;
        NaN where nothing is trained.  An assembled method costs what its parts cost: its step is one of each part.
    """
    titles = labels(results)
    rows = []
    for method in ordered_methods(titles):
        runs = [one for one in results if one.run.method == method]
        seconds = np.array([one.record["seconds"] for one in runs])
        settings = training_behind(runs[0].run)
        kept = [one.record["best_step"] for one in runs if one.record["best_step"] is not None]
        trained = bool(seconds.any())
        step_seconds = [one.record["seconds"] / max(1, training_behind(one.run).steps) for one in runs]
        rows.append({
            "method": method,
            "label": titles[method],
            "parameters": max(one.record["parameters"] for one in runs),
            "step_ms": 1000 * float(np.mean(step_seconds)) if trained else np.nan,
            "training_seconds": float(seconds.mean()) if trained else np.nan,
            "steps": settings.steps if trained else np.nan,
            "episodes": settings.steps * settings.episodes_per_step if trained else np.nan,
            "selected_step": float(np.median(kept)) if kept else np.nan,
            "selected_step_last": float(max(kept)) if kept else np.nan,
            "n_runs": len(runs),
            "device": ", ".join(sorted({one.record["device"] for one in runs})),
        })  # fmt: skip
    return pd.DataFrame(rows)


def best_methods(results: Sequence[RunResult]) -> dict[str, dict[str, str]]:
    """ "other", "multimodal", "unimodal" -> data set -> the method that is best on validation; AMFIR is no other."""
    both = {name for name, spec in METHODS.items() if spec.streams == "both"}
    kinds = {"other": set(METHODS) - {REFERENCE}, "multimodal": both, "unimodal": set(METHODS) - both}
    return {kind: best_on_validation(results, methods) for kind, methods in kinds.items()}


def table1_claims(results: Sequence[RunResult]) -> list[Claim]:
    """The claims of Table 1 in the paper's order, from runs on the benchmarks and on degradation-free copies."""
    first, second = (name.upper() if name == "rgb" else name for name in results[0].run.material.dataset.modalities)
    best = best_methods(results)

    def gain(one: str, other: str) -> str:
        return _printed_gain(results, one, other)

    return [
        Claim("amfir_above_best_other", "AMFIR is more accurate than the best other method (best on validation "
              "classes)", "Sec. 4.3, Table 1", "amfir", best["other"]),
        Claim("amfir_above_amfar", "AMFIR is more accurate than AMFAR: free energy groups the queries better than "
              "certainty", "Sec. 4.3, Table 1", "amfir", "amfar", gain("amfir", "amfar")),
        Claim("amfar_above_strm_ec", "AMFAR is more accurate than early fusion (STRM-EC)", "Table 1", "amfar",
              "strm_ec", gain("amfar", "strm_ec")),
        Claim("amfir_above_strm_ec", "AMFIR is more accurate than early fusion (STRM-EC)", "Sec. 4.3, Table 1",
              "amfir", "strm_ec", gain("amfir", "strm_ec")),
        Claim("multimodal_above_unimodal", "The best multimodal method is more accurate than the best unimodal one "
              "(each the best on validation classes)", "Sec. 1, Table 1", best["multimodal"], best["unimodal"]),
        Claim("amfir_above_appearance", f"AMFIR is more accurate than the same head on {first} alone (ProtoNet)",
              "Sec. 1, 3.5", "amfir", "protonet"),
        Claim("amfir_above_motion", f"AMFIR is more accurate than the same head on {second} alone (ProtoNet-F)",
              "Sec. 1, 3.5", "amfir", "protonet_f", gain("amfir", "protonet_f")),
        Claim("amfir_above_late_fusion", "AMFIR is more accurate than late fusion of two separately trained networks "
              "with the same heads (ProtoNet-LF)", "Sec. 4.3", "amfir", "protonet_lf"),
    ]  # fmt: skip


def _printed_gain(results: Sequence[RunResult], one: str, other: str) -> str:
    """The same mean difference in the paper's Table 1, over the printed cells of the data sets at hand."""
    columns = {published_name(result.run.material.dataset.name) for result in results}
    cells = published("table1").pivot(index=["dataset", "shot"], columns="method", values="accuracy")
    cells = cells[cells.index.get_level_values("dataset").isin(columns)]
    gains = (cells[METHODS[one].paper_name] - cells[METHODS[other].paper_name]).dropna()
    return f"{text_of(gains.mean() / 100, 'difference')} points, mean of {len(gains)} cells" if len(gains) else ""
