"""The claims of Table 2 (components of AMFIR) and of Figure 4 (who teaches whom)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from amfir_lib.analysis.claims.bases import claims_on_bases
from amfir_lib.analysis.claims.claim import Claim
from amfir_lib.analysis.studies.components import (
    FULL,
    MUTUAL,
    NO_AMD,
    NO_AMI,
    NO_DISTILLATION,
    READINGS,
    Configuration,
    one_sided,
    published_ablation,
)
from amfir_lib.analysis.tables import percent
from amfir_lib.analysis.tables.grouping import Namer
from amfir_lib.study.runs import RunResult, Series

MORE, LESS = "synth-ssv2", "synth-kinetics"  # where the paper's text says that AMI counts more, and less


def table2_claims(
    results: Sequence[RunResult],
    copies: Sequence[RunResult] = (),
    *,
    configurations: Sequence[Configuration],
    series: Namer,
    notebook: str,
) -> list[Claim]:
    """Each component helps, each one-sided dominance harms, and AMI counts more on SSv2: full minus without, pooled.

    Args:
        results: runs on the benchmarks.
        copies: runs on the degradation-free copies.
        configurations: the rows of Table 2.
        series: names the series of a run.
        notebook: that measures them.
    """
    marks = {one.name: one for one in configurations}
    statements = [
        ("amd_helps", "Distillation (AMD) raises accuracy", NO_AMD),
        ("ami_helps", "Adaptive fusion (AMI) raises accuracy", NO_AMI),
    ]
    for reading in dict.fromkeys(one.reading for one in configurations if one.reading):
        motion, appearance = one_sided(configurations, reading=reading)
        for side, row in (("rgb", appearance), ("flow", motion)):
            stream = row.name.partition("-")[0]
            statement = f"Accuracy falls if only {stream} may be dominant (reading {READINGS[reading]})"
            statements.append((f"{side}_only_dominance_{reading}", statement, row.name))
    found = []
    for key, statement, without in statements:
        found += claims_on_bases(
            key, claim=statement, source="Sec. 4.4, Table 2", notebook=notebook, one=FULL, other=without,
            results=results, copies=copies, series=series, paper=_published_costs(marks[FULL], marks[without]),
        )  # fmt: skip
    both, both_copies = (_of_sets(runs) for runs in (results, copies))
    if both:
        n_shots = len({cell.n_shot for cell in both[0].tests})
        found += claims_on_bases(
            "ami_counts_more_on_ssv2", claim="Switching AMI off costs more on SSv2 than on Kinetics", source="Sec. 4.4",
            notebook=notebook, one=FULL, other=NO_AMI, results=both, copies=both_copies, series=series,
            share=lambda dataset, n_way, n_shot: (1 if dataset.startswith(MORE) else -1) / n_shots,
            paper=f"its own Table 2 says the opposite: {_published_costs(marks[FULL], marks[NO_AMI])}",
        )  # fmt: skip
    return found


def strategy_claims(
    results: Sequence[RunResult],
    copies: Sequence[RunResult] = (),
    *,
    strategies: Sequence[Series],
    series: Namer,
    notebook: str,
) -> list[Claim]:
    """Bidirectional distillation is better than each fixed teacher, and each of these is better than none.

    Figure 4 is 1-shot, so only such cells count, where there are any.  Arguments as ``table2_claims``; ``strategies``
    are those of ``components.distillation_strategies``.
    """
    one_way = {
        one.options["kd_strategy"]: one.name
        for one in strategies
        if one.options.get("kd_strategy") in ("t_rgb", "t_flow")
    }
    pairs = {f"bidirectional_above_{key}": (MUTUAL, name) for key, name in one_way.items()}
    pairs["bidirectional_above_none"] = (MUTUAL, NO_DISTILLATION)
    pairs |= {f"{key}_above_none": (name, NO_DISTILLATION) for key, name in one_way.items()}
    found = []
    for key, (better, worse) in pairs.items():
        named = {name: f"{name} distillation" if name == MUTUAL else name for name in (better, worse)}
        found += claims_on_bases(
            key, claim=f"{named[better].capitalize() if better == MUTUAL else better} is better than {named[worse]}",
            source="Sec. 4.5, Fig. 4", notebook=notebook, one=better, other=worse, results=_one_shot(results),
            copies=_one_shot(copies), series=series,
        )  # fmt: skip
    return found


def _of_sets(results: Sequence[RunResult]) -> list[RunResult]:
    """The runs on the two data sets that are compared; none where one is missing."""
    own = {name: [r for r in results if r.run.material.dataset.name.startswith(name)] for name in (MORE, LESS)}
    return [result for runs in own.values() for result in runs] if all(own.values()) else []


def _one_shot(results: Sequence[RunResult]) -> list[RunResult]:
    kept = [replace(r, tests={cell: test for cell, test in r.tests.items() if cell.n_shot == 1}) for r in results]
    return kept if any(result.tests for result in kept) else list(results)


def _published_costs(full: Configuration, without: Configuration) -> str:
    """What the paper's Table 2 prints for the difference, in points, 1- and 5-shot."""
    texts = []
    for dataset, name in ((LESS, "Kinetics"), (MORE, "SSv2")):
        costs = [
            published_ablation(dataset, n_shot, full.marks) - published_ablation(dataset, n_shot, without.marks)
            for n_shot in (1, 5)
        ]
        if np.isfinite(costs).all():
            texts.append(f"{name} {' / '.join(percent(cost, signed=True) for cost in costs)}")
    return f"{', '.join(texts)} points (1- / 5-shot)" if texts else ""
