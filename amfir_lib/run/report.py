"""``index.html`` in the folder of a study, one page that can be mailed, and a page of each executed notebook.

Everything comes from records, captions, exported tables and figures; nothing is computed.  Pictures and style are
inside the pages, and nothing is loaded from a network.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import mistune
import nbformat
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from nbconvert import HTMLExporter
from traitlets.config import Config

from amfir_lib.analysis.claims import FAILS, HOLDS, NOT_TESTABLE, NOT_TESTED, ONLY_DEGRADED, UNDECIDED
from amfir_lib.analysis.variants import TABLE as DIFFERENCE
from amfir_lib.errors import BadParameter, DataNotFound
from amfir_lib.records import SHARED
from amfir_lib.run.ledger import cost_of, format_bytes, format_seconds
from amfir_lib.run.notebooks import read_notebook
from amfir_lib.storage import digest_of_file, read_json, write_text
from amfir_lib.study.config import SYNTHETIC_BENCHMARKS

PAGE = "index.html"
MARKS = {HOLDS: "✓", ONLY_DEGRADED: "◐", FAILS: "✗", UNDECIDED: "≈", NOT_TESTED: "○", NOT_TESTABLE: "–"}
MAIN_TABLE = re.compile(r"tables/(table\d+|accuracy)$")  # shown unfolded, before all else
LOSSLESS_BYTES = 100_000  # curves stay below this without loss; pictures of clips do not
QUALITIES = (101, 85)  # of WebP: without loss, as OpenCV calls it; for what is larger then
# Widgets work in Lab alone; what else a cell shows, the richest first.
SHOWN = ["text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/plain"]

Record = Mapping[str, Any]


def write(output_dir: Path) -> Path:
    """Write ``index.html`` of a study or of a variant, and a page beside each executed notebook that has changed."""
    records = check_together(output_dir)
    sections = [_section(output_dir, name, record) for name, record in records.items()]
    first: Record = next(iter(records.values()), {})
    datasets = {name for record in records.values() for name in record["parameters"]["datasets"]}
    variants = sorted(page.parent.name for page in output_dir.glob(f"variants/*/{PAGE}"))
    page = _fill(
        "page.html",
        study=first.get("study", output_dir.name),
        variant=first.get("variant", ""),
        profile=first.get("profile", {}).get("name", ""),
        synthetic=bool(datasets) and datasets <= set(SYNTHETIC_BENCHMARKS),
        sections=sections,
        names=records.keys(),
        claims=_claims(output_dir),
        marks=MARKS,
        difference=_exhibit(output_dir, f"tables/{DIFFERENCE}", "", {}),
        variants={name: _exhibit(output_dir, f"variants/{name}/tables/{DIFFERENCE}", "", {}) for name in variants},
        total=format_seconds(sum(cost_of(record)["seconds"] for record in records.values())),
    )
    write_text(output_dir / PAGE, page)
    return output_dir / PAGE


def read_records(output_dir: Path) -> dict[str, Record]:
    """Notebook -> record, in running order, without those of unfinished notebooks and of other programs."""
    records = {path.stem: read_json(path) for path in sorted((output_dir / "records").glob("*.json"))}
    return {name: record for name, record in records.items() if record.get("status") == "done" and "code" in record}


def check_together(output_dir: Path) -> dict[str, Record]:
    """The records of a study; refuses (BadParameter) a mixture of profiles, or of parameters that notebooks share."""
    records = read_records(output_dir)
    settings = {
        name: record["profile"] | {key: record["parameters"].get(key) for key in SHARED}
        for name, record in records.items()
    }
    for (name, first), (other, second) in pairwise(settings.items()):
        for key in sorted(first.keys() | second.keys()):
            if first.get(key) != second.get(key):
                raise BadParameter(
                    f"{output_dir} holds results that do not belong together: {key} is {first.get(key)} in {name} and "
                    f"{second.get(key)} in {other}. Run the one again that is not as you want it: --only {name} or "
                    f"--only {other}, with --force."
                )
    return records


def write_notebook(executed: Path, *, study: str) -> Path:
    """Write ``NAME.html`` beside an executed notebook, unless it is there and younger; it links to the report."""
    path = executed.with_suffix(".html")
    if path.exists() and path.stat().st_mtime >= executed.stat().st_mtime:
        return path
    node = nbformat.read(executed, as_version=4)
    node.metadata.pop("widgets", None)
    for output in (output for cell in node.cells for output in cell.get("outputs", ())):
        if "data" in output and not set(output.data) & set(SHOWN):
            output.data["text/plain"] = "Sliders and menus work in JupyterLab only: ./run_all.sh lab"
    exporter = HTMLExporter(template_name="basic", config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}))
    body, _ = exporter.from_notebook_node(node)
    write_text(path, _fill("notebook.html", body=Markup(body), study=study, source=executed.name))
    return path


def to_html(markdown: str) -> Markup:
    """Markdown as HTML; raw HTML in it is shown, not obeyed, but for ``<br>``."""
    return Markup(_MARKDOWN(markdown.strip()))


def inline(markdown: str) -> Markup:
    """One paragraph without the tags around it, for a caption or a cell."""
    return Markup(re.sub(r"^<p>|</p>$", "", str(_MARKDOWN(" ".join(markdown.split()))).strip()))


def to_text(markdown: str) -> str:
    """Plain words, for an alternative text."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", str(to_html(markdown)))).split())


class _Renderer(mistune.HTMLRenderer):
    def inline_html(self, html: str) -> str:
        return "<br>" if html == "<br>" else super().inline_html(html)


_MARKDOWN = mistune.create_markdown(renderer=_Renderer(escape=True), plugins=["table"])


def picture_of(path: Path) -> tuple[str, int, int]:
    """A PNG file as a WebP URI, as small as it can be without a visible loss; its width and height in px.

    Raises:
        DataNotFound: the file is not there, or is no image.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.exists() else None
    if pixels is None:
        raise DataNotFound(f"{path} is not there or is no image. Run its notebook again with --force.")
    for quality in QUALITIES:
        encoded = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])[1]
        if len(encoded) <= LOSSLESS_BYTES:
            break
    uri = f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode()}"
    return uri, pixels.shape[1], pixels.shape[0]


def _section(output_dir: Path, name: str, record: Record) -> dict[str, Any]:
    """What the page shows of one notebook."""
    executed = output_dir / "notebooks" / f"{name}.ipynb"
    title, files = name.replace("_", " "), {"record": f"records/{name}.json"}
    if executed.exists():
        title = read_notebook(executed).title
        page = write_notebook(executed, study=record["study"])
        files = {"executed notebook": page.relative_to(output_dir).as_posix()} | files
    stems: dict[str, dict[str, str]] = {}
    for path, digest in sorted(record["exports"].items()):
        stems.setdefault(str(PurePosixPath(path).with_suffix("")), {})[path] = digest
    captions = record.get("captions", {})
    exhibits = [_exhibit(output_dir, stem, captions.get(stem, ""), digests) for stem, digests in stems.items()]
    cost, machine, code = cost_of(record), record["environment"], record["code"]
    commit = f"commit {code['commit'][:12]}" if code["commit"] else "not in a git repository"
    return {
        "name": name,
        "title": title,
        "summary": str(record["numbers"].get("summary", "")),
        "exhibits": sorted(filter(None, exhibits), key=lambda exhibit: not exhibit["is_main"]),
        "files": files,
        "time": f"{format_seconds(cost['seconds'])}, {format_bytes(cost['peak_memory_bytes'])}",
        "seeds": ", ".join(map(str, record["seeds"])),
        "code": f"{code['version']}, {commit}{', with changes that are not committed' if code['dirty'] else ''}",
        "machine": f"{machine['device_name']} ({machine['device']}), {machine['cores']} CPU cores, "
        f"{machine['system']}, Python {machine['python']}, torch {machine['packages']['torch']}",
    }


def _exhibit(output_dir: Path, stem: str, caption: str, digests: Mapping[str, str]) -> dict[str, Any] | None:
    """A figure or table (such as ``figures/differences``) as its files are; None where one is missing.

    Args:
        output_dir, stem: the study's folder, and the place in it.
        caption: of a figure; a table brings its own.
        digests: path -> digest of each file, by the record; empty for a table without a record.
    """
    files = list(digests) or [f"{stem}.csv", f"{stem}.md"]
    if not all((output_dir / path).exists() for path in files):
        return None
    table = None
    if f"{stem}.md" in files:
        markdown, _, caption = (output_dir / f"{stem}.md").read_text(encoding="utf-8").strip().partition("\n\n")
        table = to_html(markdown)
    return {
        "stem": stem,
        "anchor": stem.replace("/", "-"),
        "name": PurePosixPath(stem).name.replace("_", " "),
        "caption": caption,
        "picture": picture_of(output_dir / f"{stem}.png") if f"{stem}.png" in files else None,
        "table": table,
        "is_main": bool(MAIN_TABLE.match(stem)),
        "files": [path for path in files if not path.endswith(".md")],
        "changed": any(digest_of_file(output_dir / path) != digest for path, digest in digests.items()),
    }


def read_claims(output_dir: Path) -> pd.DataFrame:
    """The claims table of a study, one row per claim and basis, ``overall`` being the verdict; empty without one."""
    path = output_dir / "tables" / "claims.csv"
    if not path.exists():
        return pd.DataFrame(columns=["key", "claim", "notebook", "basis", "verdict", "overall"])
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _claims(output_dir: Path) -> list[dict[str, Any]]:
    """Each claim with its bases."""
    groups = read_claims(output_dir).groupby("key", sort=False)
    return [rows.iloc[0].to_dict() | {"bases": rows.to_dict("records")} for _, rows in groups]


def _fill(template: str, **values: Any) -> str:
    """Fill a template; text is escaped unless it is marked as HTML, and a value that is not given is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"html": to_html, "inline": inline, "text": to_text}
    return environment.get_template(template).render(**values)
