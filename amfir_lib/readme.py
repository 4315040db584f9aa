"""The generated parts of the README: tables and numbers between markers, filled from the records of ``results/``.

A part stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``.  ``update`` rewrites the parts whose
results exist; a test fails when the README and the committed results differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from amfir_lib import paths
from amfir_lib.claims import COPIES, statements
from amfir_lib.storage import atomic_write, read_json
from amfir_lib.tables import UNDEGRADED, percent, shown_accuracies

README = paths.REPOSITORY / "README.md"
STUDY = "study"
REAL = ("utd_mhad_depth", "weizmann")


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


def _table1(results: Path) -> str | None:
    """Accuracies of Table 1, without intervals and without the paper's numbers."""
    path = results / STUDY / "tables" / "table1.csv"
    if not path.exists():
        return None
    frame = pd.read_csv(path)
    frame = frame.assign(cell=[percent(value) for value in frame["accuracy"]])
    wide = frame.pivot(index=["heading", "label"], columns=["dataset", "n_shot"], values="cell")
    order = frame.drop_duplicates(["heading", "label"])[["heading", "label"]]
    wide = wide.reindex(pd.MultiIndex.from_frame(order))[
        list(dict.fromkeys(zip(frame["dataset"], frame["n_shot"], strict=True)))
    ]
    wide.columns = [f"{name.removeprefix('synth-')} {shot}" for name, shot in wide.columns]
    return wide.reset_index().rename(columns={"heading": "reads", "label": "method"}).to_markdown(index=False)


PARTS: dict[str, Callable[[Path], str | None]] = {
    "claims": _claims,
    "table1": _table1,
    "headline": _headline,
    "comparison": lambda results: _summary(results, STUDY, "02_training"),
    "free_energy": lambda results: _summary(results, STUDY, "03_free_energy"),
    "times": _times,
    "real": _real,
}
