"""What is written from the results for readers: the generated parts of the README and of those of folders.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``.  ``update`` rewrites the parts whose
results exist; a test fails when these files and the committed results differ.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Any

import pandas as pd

from amfir_lib import paths
from amfir_lib.analysis.claims import FAILS, HOLDS, NOT_TESTABLE, NOT_TESTED, ONLY_DEGRADED, UNDECIDED
from amfir_lib.methods import METHODS, OUR_READING
from amfir_lib.run.ledger import cost_of, format_bytes, format_seconds
from amfir_lib.run.notebooks import find_notebooks, read_notebook
from amfir_lib.run.plan import DATA_FACTS
from amfir_lib.run.report import read_claims, read_records
from amfir_lib.storage import read_json, write_text
from amfir_lib.units import text_of

INDEX = "index"  # the part that the results folders of users have, too
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
NOT_IN_PAPER = "not in the paper's table"


def write_index(results: Path) -> Path | None:
    """Write or renew ``README.md`` of a results folder; None where it holds only studies of the profile smoke."""
    if _index(results) is None:
        return None
    path = results / "README.md"
    if not path.exists():
        write_text(path, f"# What makes what\n\n<!-- generated: {INDEX} -->\n<!-- end: {INDEX} -->\n")
    update([path], results)
    return path


def _index(results: Path) -> str | None:
    """Every figure, table and claim with its notebook, command and time, but of smoke: its numbers mean nothing."""
    rows = []
    for folder in sorted(path.parent for path in results.glob("*/records")):
        claims = read_claims(folder).drop_duplicates("key")
        for name, record in read_records(folder).items():
            if record["profile"]["name"] == "smoke":
                continue
            made = dict.fromkeys(str(PurePosixPath(path).with_suffix("")) for path in sorted(record["exports"]))
            files = {stem: f"{stem}.{'md' if stem.startswith('tables') else 'png'}" for stem in made}
            links = [  # pictures of research data are not handed on
                f"[{stem}]({folder.name}/{file})" if (folder / file).exists() else stem for stem, file in files.items()
            ]
            links += claims.loc[claims["notebook"] == name, "claim"].tolist()
            time = format_seconds(cost_of(record)["seconds"])
            common = {"notebook": name, "command": f"`{command_of(record)}`", "time": time}
            rows += [{"figure, table or claim": link} | common for link in links]
    return _markdown(rows) if rows else None


def command_of(record: Mapping[str, Any]) -> str:
    """The command that makes a notebook's results again: profile, data set and what describes it."""
    given, options, words = record["parameters"], record["options"], []
    if record["profile"]["name"] != STUDY:
        words += ["--profile", record["profile"]["name"]]
    if given["data_root"]:
        words += ["--dataset", given["datasets"][0], "--data-root", f"DIR/{given['data_root']}"]
        words += ["--group-pattern", given["group_pattern"]] if given["group_pattern"] else []
        facts = {name: options[name] for name in DATA_FACTS if options.get(name) not in (None, "", 0, -1)}
        words += [word for name, value in facts.items() for word in ("--set", f"{name}={value}")]
    elif len(given["datasets"]) == 1 and record["study"].endswith(given["datasets"][0]):
        words += ["--dataset", given["datasets"][0]]
    return shlex.join(["./run_all.sh", *words, "--only", record["notebook"]])


def readmes() -> list[Path]:
    """The README and those of folders."""
    return [paths.REPOSITORY / "README.md", *sorted(paths.REPOSITORY.glob("[a-z]*/README.md")),
            *sorted(paths.LIBRARY.glob("*/README.md"))]  # fmt: skip


def update(files: Sequence[Path] | None = None, results: Path = paths.RESULTS) -> list[str]:
    """Rewrite the generated parts of files (None: ``readmes``) where they differ; names of the parts that changed."""
    changed = stale_parts(files, results)
    for file in {file for file, _ in changed}:
        text = file.read_text(encoding="utf-8")
        for name in (name for other, name in changed if other == file):
            content = PARTS[name](results)
            text = _part(name).sub(lambda match, content=content: f"{match[1]}\n{content.strip()}\n{match[3]}", text)
        write_text(file, text)
    return [name for _, name in changed]


def stale_parts(files: Sequence[Path] | None = None, results: Path = paths.RESULTS) -> list[tuple[Path, str]]:
    """Files, and names of the parts in them that differ from the results."""
    stale = []
    for file in readmes() if files is None else files:
        text = file.read_text(encoding="utf-8")
        for name, render in PARTS.items():
            if (match := _part(name).search(text)) and (content := render(results)):
                stale += [(file, name)] if match[2].strip() != content.strip() else []
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
        rows.append({"notebook": link, "what it is about": read_notebook(path).title, "time": time})
    machine = next(iter(records.values()))["environment"]
    minutes = sum(cost_of(record)["seconds"] for record in records.values()) / 60
    memory = format_bytes(max(cost_of(record)["peak_memory_bytes"] for record in records.values()))
    return (
        f"{_markdown(rows)}\n\n"
        f"Measured on {machine['cores']} cores ({machine['device']}), each after those above it, whose work "
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
        for row in paired[(paired["other"] == "protonet_lf") & (paired["basis"] == "all queries")].to_dict("records"):
            place = row["dataset"], row["n_shot"]
            shown = {title: _accuracy(cells.loc[(*place, method)]) for method, title in COMPARED.items()}
            gain = f"{text_of(row['difference'], 'difference')}±{text_of(row['half_width'], 'share')}"
            verdict = {"AMFIR − ProtoNet-LF": gain, "verdict": row["verdict"]}
            rows.append({"data set": place[0], "shots": str(place[1])} | shown | verdict)
    return _markdown(rows) if rows else None


def _accuracy(row: Mapping[str, float]) -> str:
    """``50.6±3.7``: a cell of a wide table that no browser breaks."""
    return f"{text_of(row['accuracy'], 'share')}±{text_of(row['half_width'], 'share')}"


def _speed(results: Path) -> str | None:
    """How many times as fast as its plain loop each kind of work is, by the medians of the committed measurement."""
    ratios: dict[str, list[float]] = {}
    changes: list[float] = []
    machines = set()
    for path in sorted((results / STUDY / "benchmarks").glob("*.json")):
        record = read_json(path)
        if record.get("comparisons"):  # the planning page names its own machine
            machines.add("{device_name}, {threads} threads".format(**record["machine"]))
        for timing in record.get("comparisons", ()):
            if record.get("benchmark") == WHAT_IF:
                changes.append(1000 * median(timing["fast"]))
            else:
                ratio = median(timing["slow"]) / median(timing["fast"])
                ratios.setdefault(timing["name"].split(" of ")[0], []).append(ratio)
    if not ratios:
        return None
    spans = [f"{kind} {min(span):.1f} to {max(span):.1f}" for kind, span in ratios.items()]
    panel = f" A change in the what-if panel takes about {max(changes):.0f} ms." if changes else ""
    return f"Times as fast as the loop: {', '.join(spans)} (medians of five, on {'; '.join(sorted(machines))}).{panel}"


def _claims(results: Path) -> str | None:
    """The tested claims of each notebook by their verdict; how many others there are."""
    frame = read_claims(results / STUDY)
    if frame.empty:
        return None
    grouped = frame.groupby("key", sort=False)
    claims = grouped[["claim", "notebook", "overall"]].first()
    differs = grouped["verdict"].nunique() > 1  # on another basis
    claims["words"] = (
        "• " + claims["claim"].str[0].str.upper() + claims["claim"].str[1:] + differs.map({True: STAR, False: ""})
    )
    tested = claims[~claims["overall"].isin([NOT_TESTED, NOT_TESTABLE])]
    notebooks = find_notebooks(paths.NOTEBOOKS)
    rows = []
    for name, of_notebook in tested.groupby("notebook", sort=False):
        title = read_notebook(notebooks[name]).title.partition(" — ")[0]
        row = {"from": f"[{title.replace(' ', '&nbsp;')}](../notebooks/{name}.ipynb)"}
        for heading, verdicts in VERDICTS.items():
            row[heading] = "<br>".join(of_notebook.loc[of_notebook["overall"].isin(verdicts), "words"]) or "–"
        rows.append(row)
    untested, untestable = ((claims["overall"] == kind).sum() for kind in (NOT_TESTED, NOT_TESTABLE))
    return (
        f"{_markdown(rows)}\n\n{STAR} another verdict on undegraded queries, or on clips of which none is degraded. "
        f"Left out: {untested} claims that are not tested here, such as the paper's numbers on real data, and "
        f"{untestable} that nothing in the paper makes testable."
    )


def _markdown(rows: list[dict[str, str]]) -> str:
    """A table whose cells are too long to be filled up to equal widths."""
    lines = [rows[0], ["---"] * len(rows[0]), *([text.replace("|", "\\|") for text in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _table1(results: Path) -> str | None:
    """Accuracies of Table 1 with their intervals, without the paper's numbers."""
    path = results / STUDY / "tables" / "table1.csv"
    if not path.exists():
        return None
    rows: dict[str, dict[str, str]] = {}
    for row in pd.read_csv(path).to_dict("records"):
        marks = FURTHER if row["heading"] == NOT_IN_PAPER else ""
        marks += OURS if METHODS[row["method"]].note == OUR_READING else ""
        name = row["label"].removesuffix(f" ({OUR_READING})") + marks
        column = f"{row['dataset'].removeprefix('synth-')} {row['n_shot']}"
        cell = f"**{_accuracy(row)}**" if row["bold"] else _accuracy(row)
        rows.setdefault(row["method"], {"method": name})[column] = cell
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
    INDEX: _index,
}
