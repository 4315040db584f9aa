"""The generated parts of the README: tables and numbers between markers, filled from the records of ``results/``.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``.  ``update`` rewrites the parts whose
results exist; a test fails when the README and the committed results differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pandas as pd

from amfir_lib import paths
from amfir_lib.analysis.claims import (
    FAILS,
    HOLDS,
    NOT_TESTABLE,
    NOT_TESTED,
    ONLY_DEGRADED,
    UNDECIDED,
    Statement,
    statements,
)
from amfir_lib.analysis.tables import ALL, percent
from amfir_lib.analysis.tables.rows import NOT_IN_PAPER
from amfir_lib.methods import METHODS, OUR_READING
from amfir_lib.run.display import format_bytes
from amfir_lib.run.ledger import cost_of
from amfir_lib.run.listing import title_of
from amfir_lib.run.notebooks import find_notebooks, read_notebook
from amfir_lib.storage import atomic_write, read_json

README = paths.REPOSITORY / "README.md"
STUDY = "study"
REAL = "utd_mhad_depth"  # real clips, in class folds
COMPARED = {
    "protonet": "ProtoNet (appearance)",
    "protonet_f": "ProtoNet-F (flow)",
    "protonet_lf": "ProtoNet-LF (both)",
    "amfir": "AMFIR",
}
VERDICTS = {HOLDS: (HOLDS, ONLY_DEGRADED), UNDECIDED: (UNDECIDED,), FAILS: (FAILS,)}  # column -> what stands in it
WHAT_IF = "what_if"  # the benchmark that measures an answer, not a ratio
STAR = "\\*"  # of a claim whose verdict depends on the degradations
OURS, FURTHER = "‡", "†"  # marks of methods in Table 1


def update(readme: Path = README, results: Path = paths.RESULTS) -> list[str]:
    """Rewrite the generated parts of the README.

    Args:
        readme: the file, changed in place where anything differs.
        results: folder that holds one folder per study.
    Returns:
        Names of the parts that changed.
    """
    text = readme.read_text(encoding="utf-8")
    changed = []
    for name, render in PARTS.items():
        match = _part(name).search(text)
        content = render(results)
        if match and content is not None and match[2].strip() != content.strip():
            text = text[: match.start(2)] + f"\n{content.strip()}\n" + text[match.end(2) :]
            changed.append(name)
    if changed:
        with atomic_write(readme) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return changed


def stale_parts(readme: Path = README, results: Path = paths.RESULTS) -> list[str]:
    """Names of the generated parts that are missing from the README or differ from the results."""
    text = readme.read_text(encoding="utf-8")
    stale = []
    for name, render in PARTS.items():
        match, content = _part(name).search(text), render(results)
        if content is not None and (match is None or match[2].strip() != content.strip()):
            stale.append(name)
    return stale


def _part(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- generated: {name} -->)(.*?)(<!-- end: {name} -->)", re.DOTALL)


def _notebooks(results: Path) -> str | None:
    """Each notebook with its title and the time that its record holds."""
    records = {path.stem: read_json(path) for path in (results / STUDY / "records").glob("*.json")}
    if not records:
        return None
    rows = []
    for name, path in find_notebooks(paths.NOTEBOOKS).items():
        time = f"{cost_of(records[name])['seconds'] / 60:.1f} min" if name in records else "not run yet"
        link = f"[{name}](notebooks/{name}.ipynb)"
        rows.append({"notebook": link, "what it is about": title_of(read_notebook(path)), "time": time})
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True, colalign=("left", "left", "right"))
    machine = next(iter(records.values()))["environment"]
    minutes = sum(cost_of(record)["seconds"] for record in records.values()) / 60
    memory = format_bytes(max(cost_of(record)["peak_memory_bytes"] for record in records.values()))
    return (
        f"{table}\n\nMeasured on {machine['cores']} cores ({machine['device']}), each after those above it, whose work "
        f"it reuses: {minutes:.0f} minutes in all, set-up not counted, and at most {memory} of memory."
    )


def _headline(results: Path) -> str | None:
    """AMFIR against late fusion, one row per data set and number of shots."""
    rows = []
    for study in (STUDY, REAL):
        tables = [results / study / "tables" / f"{name}.csv" for name in ("table1", "table1_paired")]
        if not all(path.exists() for path in tables):
            continue
        accuracy, paired = (pd.read_csv(path) for path in tables)
        cells = accuracy.set_index(["dataset", "n_shot", "method"])
        for one in paired[(paired["other"] == "protonet_lf") & (paired["basis"] == ALL)].to_dict("records"):
            row = {"data set": one["dataset"], "shots": one["n_shot"]}
            for method, title in COMPARED.items():
                own = cells.loc[(one["dataset"], one["n_shot"], method)]
                row[title] = _narrow(percent(own["accuracy"], own["half_width"]))
            gain = _narrow(percent(one["difference"], one["half_width"], signed=True))
            rows.append(row | {"AMFIR − ProtoNet-LF": gain, "verdict": one["verdict"]})
    return pd.DataFrame(rows).to_markdown(index=False) if rows else None


def _speed(results: Path) -> str | None:
    """How many times as fast as its plain loop each kind of work is, by the medians of the committed measurement."""
    ratios: dict[str, list[float]] = {}
    changes: list[float] = []
    machines = set()
    for path in sorted((results / STUDY / "benchmarks").glob("*.json")):
        record = read_json(path)
        if record.get("comparisons"):  # the planning page names its own machine
            machines.add("{device_name}, {threads} threads".format(**record["machine"]))
        for one in record.get("comparisons", ()):
            if record.get("benchmark") == WHAT_IF:
                changes.append(1000 * median(one["fast"]))
            else:
                ratios.setdefault(one["name"].split(" of ")[0], []).append(median(one["slow"]) / median(one["fast"]))
    if not ratios:
        return None
    spans = [f"{kind} {min(own):.1f} to {max(own):.1f}" for kind, own in ratios.items()]
    panel = f" A change in the what-if panel takes about {max(changes):.0f} ms." if changes else ""
    return f"Times as fast as the loop: {', '.join(spans)} (medians of five, on {'; '.join(sorted(machines))}).{panel}"


def _claims(results: Path) -> str | None:
    """The tested claims of each notebook by their verdict; how many others there are."""
    path = results / STUDY / "tables" / "claims.csv"
    if not path.exists():
        return None
    found = statements(pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records"))
    tested = [one for one in found if one.verdict not in (NOT_TESTED, NOT_TESTABLE)]
    notebooks = find_notebooks(paths.NOTEBOOKS)
    rows = []
    for name in dict.fromkeys(one.notebook for one in tested):
        own = [one for one in tested if one.notebook == name]
        title = title_of(read_notebook(notebooks[name])).partition(" — ")[0]
        row = {"from": f"[{title.replace(' ', '&nbsp;')}](notebooks/{name}.ipynb)"}
        for heading, verdicts in VERDICTS.items():
            row[heading] = "<br>".join(_claim(one) for one in own if one.verdict in verdicts) or "–"
        rows.append(row)
    untested, untestable = (sum(one.verdict == kind for one in found) for kind in (NOT_TESTED, NOT_TESTABLE))
    return (
        f"{_unpadded(rows)}\n\n{STAR} another verdict on undegraded queries, or on clips of which none is degraded. "
        f"Left out: {untested} claims that are not tested here, such as the paper's numbers on real data, and "
        f"{untestable} that nothing in the paper makes testable."
    )


def _claim(one: Statement) -> str:
    """The words of a claim, marked where its verdict is not the same on every basis."""
    words = one.claim[0].upper() + one.claim[1:]
    return f"• {words}{STAR if any(own.verdict != one.verdict for own in one.found) else ''}"


def _narrow(text: str) -> str:
    """``50.6±3.7``: a cell of a wide table that no browser breaks."""
    return text.replace(" ± ", "±")


def _unpadded(rows: list[dict[str, str]]) -> str:
    """A table whose cells are too long to be filled up to equal widths."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _table1(results: Path) -> str | None:
    """Accuracies of Table 1 with their intervals, without the paper's numbers."""
    path = results / STUDY / "tables" / "table1.csv"
    if not path.exists():
        return None
    rows: dict[str, dict[str, str]] = {}
    for one in pd.read_csv(path).to_dict("records"):
        spec = METHODS[one["method"]]
        marks = (FURTHER if one["heading"] == NOT_IN_PAPER else "") + (OURS if spec.note == OUR_READING else "")
        name = one["label"].removesuffix(f" ({OUR_READING})") + marks
        row = rows.setdefault(one["method"], {"method": name})
        cell = _narrow(percent(one["accuracy"], one["half_width"]))
        row[f"{one['dataset'].removeprefix('synth-')} {one['n_shot']}"] = f"**{cell}**" if one["bold"] else cell
    frame = pd.DataFrame(rows.values())
    aligned = ("left", *("right",) * (frame.shape[1] - 1))
    return (
        f"{frame.to_markdown(index=False, disable_numparse=True, colalign=aligned)}\n\n"
        "±: 95 % class-jackknife interval. Names with -F read flow alone; EC, EA, LF, AMFAR, AMFIR and nearest mean, "
        "which learns nothing, read both; the others RGB. Bold: the highest of its column, where its paired difference "
        f"to AMFIR (of AMFIR: to the best other row) is significant. {OURS} our reading of a name that the paper does "
        f"not define. {FURTHER} not in the paper's table."
    )


PARTS: dict[str, Callable[[Path], str | None]] = {
    "claims": _claims,
    "table1": _table1,
    "headline": _headline,
    "notebooks": _notebooks,
    "speed": _speed,
}
