"""The generated parts of the README: tables and numbers between markers, filled from the records of ``results/``.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``.  ``update`` rewrites the parts whose
results exist; a test fails when the README and the committed results differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import pandas as pd

from amfir_lib import paths
from amfir_lib.claims import COPIES, statements
from amfir_lib.storage import atomic_write, read_json
from amfir_lib.tables import UNDEGRADED, percent, shown_accuracies

README = paths.REPOSITORY / "README.md"
STUDY = "study"
FOLDS = "utd_mhad_depth"  # the real clips that are read in class folds
REAL = (FOLDS, "weizmann")
FINDINGS = ("05_table2_ablation", "06_shot_sweep", "08_way_sweep")


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


def _summary(results: Path, study: str, notebook: str) -> str | None:
    path = results / study / "records" / f"{notebook}.json"
    return read_json(path)["numbers"]["summary"] if path.exists() else None


def _table(results: Path, study: str, name: str) -> str | None:
    path = results / study / "tables" / f"{name}.md"
    return path.read_text(encoding="utf-8") if path.exists() else None


def _times(results: Path) -> str | None:
    """Measured time and memory of each notebook of the committed study."""
    rows = []
    for path in sorted((results / STUDY / "records").glob("*.json")):
        record = read_json(path)
        minutes = f"{record['seconds'] / 60:.1f} min"
        rows.append({"notebook": record["notebook"], "time": minutes, "device": record["environment"]["device"]})
    if not rows:
        return None
    cores = read_json(next((results / STUDY / "records").glob("*.json")))["environment"]["cores"]
    total = sum(float(row["time"].split()[0]) for row in rows)
    table = pd.DataFrame(rows).to_markdown(index=False)
    return (
        f"{table}\n\nMeasured on {cores} CPU cores, each with whatever the cache did not hold at the time: "
        f"{total:.0f} minutes in all, set-up not counted."
    )


def _real(results: Path) -> str | None:
    """Accuracy on real clips: single modalities beside fused."""
    parts = []
    for study in REAL:
        path = results / study / "tables" / "accuracy.csv"
        if path.exists():
            frame = pd.read_csv(path)
            caption = _table(results, study, "accuracy").rstrip().splitlines()[-1]
            parts.append(shown_accuracies(frame, caption="").shown.reset_index().to_markdown(index=False))
            parts.append(caption)
    return "\n\n".join(parts) or None


def _headline(results: Path) -> str | None:
    """AMFIR against late fusion, one row per benchmark and number of shots."""
    path = results / STUDY / "tables" / "paired.csv"
    if not path.exists():
        return None
    frame = pd.read_csv(path).query("other == 'ProtoNet-LF'")
    accuracy = pd.read_csv(path.with_name("accuracy.csv")).set_index(["dataset", "n_shot", "method"])
    rows = []
    for _, row in frame.iterrows():
        cells = {}
        for method in ("ProtoNet", "ProtoNet-F", "ProtoNet-LF", "AMFIR"):
            own = accuracy.loc[(row["dataset"], row["n_shot"], method)]
            cells[method] = percent(own["accuracy"], own["half_width"])
        gain = percent(row["difference"], row["half_width"], signed=True)
        rows.append(
            {"data set (synthetic)": row["dataset"], "shots": row["n_shot"]}
            | cells
            | {"AMFIR − ProtoNet-LF": gain, "verdict": row["verdict"]}
        )
    return pd.DataFrame(rows).to_markdown(index=False)


def _speed(results: Path) -> str | None:
    """Each benchmark's fast path against its plain loop, as the medians of the committed measurement."""
    rows, machines = [], set()
    for path in sorted((results / STUDY / "benchmarks").glob("*.json")):
        record = read_json(path)
        machines.add("{device_name}, {threads} threads".format(**record["machine"]))
        for one in record["comparisons"]:
            fast, loop = median(one["fast"]), median(one["slow"])
            times = {"fast": f"{1e3 * fast:.3g} ms", "loop": f"{1e3 * loop:.3g} ms", "ratio": f"{loop / fast:.1f}"}
            rows.append({"what": one["name"], "per": one["unit"]} | times)
    if not rows:
        return None
    aligned = ("left", "left", "right", "right", "right")
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True, colalign=aligned)
    return f"{table}\n\nMedians of five, on {'; '.join(sorted(machines))}."


def _claims(results: Path) -> str | None:
    """One row per claim of the paper, with its verdict on each basis and the command that regenerates it."""
    path = results / STUDY / "tables" / "claims.csv"
    if not path.exists():
        return None
    shown = [
        {
            "the paper says": one.claim,
            "where": one.source,
            "here": f"**{one.verdict}**",
            **{basis: found.verdict if (found := one.on(basis)) else "–" for basis in (UNDEGRADED, COPIES)},
            "command": f"`{one.command}`" if one.command else "–",
        }
        for one in statements(pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records"))
    ]
    return pd.DataFrame(shown).to_markdown(index=False)


def _table1(results: Path, *, study: str, intervals: bool = False) -> str | None:
    """Accuracies of Table 1, without the paper's numbers."""
    path = results / study / "tables" / "table1.csv"
    if not path.exists():
        return None
    frame = pd.read_csv(path)
    half_widths = frame["half_width"] if intervals else [None] * len(frame)
    frame = frame.assign(cell=[percent(*cell) for cell in zip(frame["accuracy"], half_widths, strict=True)])
    wide = frame.pivot(index=["heading", "label"], columns=["dataset", "n_shot"], values="cell")
    order = frame.drop_duplicates(["heading", "label"])[["heading", "label"]]
    wide = wide.reindex(pd.MultiIndex.from_frame(order))[
        list(dict.fromkeys(zip(frame["dataset"], frame["n_shot"], strict=True)))
    ]
    wide.columns = [f"{name.removeprefix('synth-')} {shot}" for name, shot in wide.columns]
    shown = wide.reset_index().rename(columns={"heading": "reads", "label": "method"})
    aligned = ("left", "left", *("right",) * wide.shape[1])
    return shown.to_markdown(index=False, disable_numparse=True, colalign=aligned)


def _summaries(results: Path, *, study: str, notebooks: Sequence[str]) -> str | None:
    """What several notebooks found, a paragraph each."""
    found = [summary for name in notebooks if (summary := _summary(results, study, name))]
    return "\n\n".join(found) or None


PARTS: dict[str, Callable[[Path], str | None]] = {
    "claims": _claims,
    "table1": partial(_table1, study=STUDY),
    "headline": _headline,
    "comparison": lambda results: _summary(results, STUDY, "02_training"),
    "free_energy": lambda results: _summary(results, STUDY, "03_free_energy"),
    "times": _times,
    "speed": _speed,
    "real": _real,
    "real_table1": partial(_table1, study=FOLDS, intervals=True),
    "real_findings": partial(_summaries, study=FOLDS, notebooks=FINDINGS),
}
