"""The claims of Table 1: who is above whom, pooled over data sets and shots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from amfir_lib.analysis.claims.bases import claims_on_bases
from amfir_lib.analysis.claims.claim import Claim
from amfir_lib.analysis.tables import by_method, percent
from amfir_lib.analysis.tables.rows import papers_name
from amfir_lib.methods import METHODS
from amfir_lib.paper import published, published_name
from amfir_lib.study.runs import RunResult

# what the claims compare, and so what is trained on the degradation-free copies; of the single modalities the light
# heads alone, which keeps a cold study within its budget
CLAIM_METHODS = ("amfir", "amfar", "strm_ec", "protonet", "protonet_f", "protonet_lf")


def best_on_validation(results: Iterable[RunResult], methods: Iterable[str]) -> dict[str, str]:
    """Data set -> the one of the methods with the best validation accuracy, mean over seeds (and class folds)."""
    methods = set(methods)
    found: dict[str, dict[str, list[float]]] = {}
    for result in results:
        value = result.record["val_accuracy"]
        if result.run.method in methods and value is not None:
            by_name = found.setdefault(result.run.material.dataset.name, {})
            by_name.setdefault(result.run.method, []).append(value)
    return {dataset: max(own, key=lambda method: np.mean(own[method])) for dataset, own in found.items()}


def multimodal() -> list[str]:
    """Methods that read both modalities."""
    return [name for name, spec in METHODS.items() if spec.streams == "both"]


def unimodal() -> list[str]:
    """Methods that read one modality."""
    return [name for name, spec in METHODS.items() if spec.streams != "both"]


def best_multimodal(results: Sequence[RunResult]) -> dict[str, str]:
    """Data set -> the multimodal method that is best on validation."""
    return best_on_validation(results, multimodal())


def best_unimodal(results: Sequence[RunResult]) -> dict[str, str]:
    """Data set -> the unimodal method that is best on validation."""
    return best_on_validation(results, unimodal())


def best_other(results: Sequence[RunResult]) -> dict[str, str]:
    """Data set -> the method that is best on validation, AMFIR left out."""
    return best_on_validation(results, set(METHODS) - {"amfir"})


def table1_claims(results: Sequence[RunResult], copies: Sequence[RunResult] = (), *, notebook: str) -> list[Claim]:
    """The claims of Table 1 on every basis that the data have.

    Args:
        results: runs of all methods on the benchmarks.
        copies: runs of ``CLAIM_METHODS`` on their degradation-free copies.
        notebook: that measures them.
    Returns:
        The claims in the paper's order; those whose methods were not run are left out.
    """
    appearance, motion = results[0].run.material.dataset.modalities
    names = {"rgb": "RGB"}
    first, second = names.get(appearance, appearance), names.get(motion, motion)
    texts = (
        ("amfir_above_best_other", "AMFIR is more accurate than the best other method (best on validation classes)",
         "Sec. 4.3, Table 1", "amfir", best_other, ""),
        ("amfir_above_amfar", "AMFIR is more accurate than AMFAR: free energy groups the queries better than certainty",
         "Sec. 4.3, Table 1", "amfir", "amfar", _gain(results, "amfir", "amfar")),
        ("amfar_above_strm_ec", "AMFAR is more accurate than early fusion (STRM-EC)",
         "Table 1", "amfar", "strm_ec", _gain(results, "amfar", "strm_ec")),
        ("amfir_above_strm_ec", "AMFIR is more accurate than early fusion (STRM-EC)",
         "Sec. 4.3, Table 1", "amfir", "strm_ec", _gain(results, "amfir", "strm_ec")),
        ("multimodal_above_unimodal", "The best multimodal method is more accurate than the best unimodal one (each "
         "the best on validation classes)", "Sec. 1, Table 1", best_multimodal, best_unimodal, ""),
        ("amfir_above_appearance", f"AMFIR is more accurate than the same head on {first} alone (ProtoNet)",
         "Sec. 1, 3.5", "amfir", "protonet", ""),
        ("amfir_above_motion", f"AMFIR is more accurate than the same head on {second} alone (ProtoNet-F)",
         "Sec. 1, 3.5", "amfir", "protonet_f", _gain(results, "amfir", "protonet_f")),
        ("amfir_above_late_fusion", "AMFIR is more accurate than late fusion of two separately trained networks with "
         "the same heads (ProtoNet-LF)", "Sec. 4.3", "amfir", "protonet_lf", ""),
    )  # fmt: skip
    claims = []
    for key, claim, source, one, other, paper in texts:
        claims += claims_on_bases(
            key, claim=claim, source=source, notebook=notebook, one=one, other=other, results=results, copies=copies,
            series=by_method, paper=paper,
        )  # fmt: skip
    return claims


def _gain(results: Sequence[RunResult], one: str, other: str) -> str:
    """The same mean difference in the paper's Table 1, over the printed cells of the data sets at hand."""
    columns = {published_name(result.run.material.dataset.name) for result in results}
    cells = published("table1").pivot(index=["dataset", "shot"], columns="method", values="accuracy")
    cells = cells[cells.index.get_level_values("dataset").isin(columns)]
    gains = (cells[papers_name(one)] - cells[papers_name(other)]).dropna()
    return f"{percent(gains.mean() / 100, signed=True)} points, mean of {len(gains)} cells" if len(gains) else ""
