"""The table of claims: what all notebooks of a study measured, and what nothing here can measure, in one place."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from amfir_lib import paths
from amfir_lib.analysis.claims.claim import COPIES, NOT_TESTABLE, NOT_TESTED, Claim, settle
from amfir_lib.analysis.claims.statements import OnBasis, Statement, statements
from amfir_lib.analysis.tables import ALL, UNDEGRADED
from amfir_lib.exports import Table, bold, write_table
from amfir_lib.paper import published
from amfir_lib.run.notebooks import read_notebook
from amfir_lib.storage import read_json

BESIDE = (ALL, UNDEGRADED, COPIES)  # bases that have a column
OF_FOLDERS = ("appearance", "class_counts", "class_folds", "class_fold")
CAPTION = (
    "Every claim of the paper's text, and what we measure. Differences are paired, on identical episodes, and pooled "
    "over the data sets and shots named: data sets count equally, and so do the cells of one. ± is the 95 % "
    "class-jackknife interval; where the setting says so, it covers training seeds instead. A claim holds if the whole "
    "interval lies on the claimed side, does not hold if it lies on the other, and is undecided otherwise: undecided "
    "is not equal. Claims about modalities stand on three bases: all queries; undegraded queries only (their supports "
    "as they are); copies of two benchmarks without any degradation, on which the methods are trained and tested. What "
    'holds on the first and on neither of the others "holds only under degradation". The verdict of a claim is the one '
    "on all queries; where these were not asked (–), it is that of the basis which was: the copies, or the other basis "
    "that is named. A best method is the best on validation classes among those trained on that basis "
    "(fewer on the copies). Each claim is the paper's own statement and has an interval of its own; there is "
    "no correction over the rows of this table (the comparisons of Table 1 have one). The paper's numbers are as "
    "printed, on real data."
)


def untested() -> list[Claim]:
    """What the paper claims and nothing here can measure, with the reason as the value."""
    return [
        Claim(
            key=row.key, claim=row.claim, source=row.source, setting="", basis=ALL, value=row.reason,
            verdict=NOT_TESTABLE if row.verdict == NOT_TESTABLE else NOT_TESTED, notebook="", paper=row.paper,
        )
        for row in published("untested_claims").fillna("").itertuples()
    ]  # fmt: skip


def command_of(record: Mapping[str, Any], *, notebooks: Path = paths.NOTEBOOKS) -> str:
    """The command that regenerates a record: profile, data set and parameters where they are not the usual ones."""
    words = ["./run_all.sh"]
    if (profile := record["profile"]["name"]) != "study":
        words += ["--profile", profile]
    given = record["parameters"]
    if given["data_root"]:
        words += ["--dataset", "folder", "--data-root", f"DIR/{given['data_root']}"]
        if given["group_pattern"]:
            words += ["--group-pattern", given["group_pattern"]]
    elif len(given["datasets"]) == 1 and record["study"].endswith(given["datasets"][0]):
        words += ["--dataset", given["datasets"][0]]
    if given["n_seeds"] != record["profile"]["n_seeds"]:
        words += ["--seeds", str(given["n_seeds"])]
    words += ["--only", record["notebook"]]
    if given["seed"]:
        words += ["-p", f"seed={given['seed']}"]
    path = notebooks / f"{record['notebook']}.ipynb"
    declared = read_notebook(path).parameters if path.exists() else {}
    for name, value in record["options"].items():
        rendered = name in OF_FOLDERS and not given["data_root"]  # says nothing about rendered clips
        if name in declared and value != declared[name].default and not rendered:
            words += ["-p", f"{name}={value}"]
    return shlex.join(words)


def collect(output_dir: Path) -> Table | None:
    """Join the claims of all records of a study, and write them to ``tables/claims.{csv,md,tex}``.

    Args:
        output_dir: the folder of the study: ``results/study``.
    Returns:
        The table: as data one row per claim and basis with the columns of ``Claim``, ``command`` and
        ``overall`` (the verdict on the claim); as shown one row per claim.  None, and nothing written, where no
        notebook has measured a claim.
    """
    found: list[tuple[Claim, str]] = []
    for path in sorted((output_dir / "records").glob("*.json")):
        record = read_json(path)
        own = record.get("numbers", {}).get("claims") or []
        found += [(claim, command_of(record)) for claim in settle(map(Claim.from_record, own))]
    if not found:
        return None
    measured = {claim.key for claim, _ in found}
    found += [(one, "") for one in untested() if not any(key.startswith(f"{one.key}_") for key in measured)]
    rows = [claim.to_record() | {"command": command} for claim, command in found]
    joined = statements(rows)
    data = pd.DataFrame(rows)
    data.insert(len(data.columns) - 1, "overall", data["key"].map({one.key: one.verdict for one in joined}))
    table = Table(data, _shown(joined), CAPTION)
    write_table(table, output_dir / "tables" / "claims")
    return table


def _shown(joined: Sequence[Statement]) -> pd.DataFrame:
    """One row per claim, its bases side by side, each with its verdict; a dash where a basis was not asked."""
    rows = []
    for one in joined:
        tested = one.verdict not in (NOT_TESTED, NOT_TESTABLE)
        others = [f"{own.basis}: {own.value}" for own in one.found if own.basis not in BESIDE]
        rows.append({
            "claim": one.claim,
            "paper": f"{one.source}: {one.paper}" if one.paper else one.source,
            "verdict": one.verdict,
            **{basis: _cell(one.on(basis)) if tested else "–" for basis in BESIDE},
            "other basis, or why none": ("; ".join(others) or "–") if tested else one.found[0].value,
            "setting": one.setting or "–",
            "command": f"`{one.command}`" if one.command else "–",
        })  # fmt: skip
    return pd.DataFrame(rows)


def _cell(found: OnBasis | None) -> str:
    """The verdict in bold, then the value."""
    return "–" if found is None else f"{bold(found.verdict)}: {found.value}"
