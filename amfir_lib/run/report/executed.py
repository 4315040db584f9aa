"""An executed notebook as a light HTML page: no network, no script, pictures re-encoded."""

from __future__ import annotations

import base64
from itertools import zip_longest
from pathlib import Path

import nbformat
from markupsafe import Markup
from nbconvert import HTMLExporter

from amfir_lib.run.report.pictures import picture_of_bytes
from amfir_lib.run.report.prose import to_text
from amfir_lib.run.report.templates import render, source_of_template
from amfir_lib.storage import atomic_write, digest_of, digest_of_file

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
WIDGET_NOTE = "Sliders and menus work in JupyterLab only: ./run_all.sh lab"


def write_executed(notebook: Path, *, title: str, study: str) -> Path:
    """Write ``NAME.html`` beside an executed notebook, unless it is there and was made of the same.

    Args:
        notebook: the executed file.
        title: of the page.
        study: what the link back to the report is called.
    Returns:
        The page.
    """
    path = notebook.with_suffix(".html")
    made_of = digest_of([digest_of_file(notebook), title, study, source_of_template("notebook.html")])
    if path.exists() and f'content="{made_of}"' in path.read_text(encoding="utf-8"):
        return path
    node = nbformat.read(notebook, as_version=4)
    uris = _describe_outputs(node)
    body, _ = HTMLExporter(template_name="basic").from_notebook_node(node)
    for content, uri in uris.items():
        body = body.replace(f"data:image/png;base64,{content}", uri)
    page = render("notebook.html", title=title, body=Markup(body), study=study, source=notebook.name, made_of=made_of)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _describe_outputs(node: nbformat.NotebookNode) -> dict[str, str]:
    """Give pictures an alternative text and widgets a sentence; return base64 of each PNG -> its smaller URI."""
    uris: dict[str, str] = {}
    heading = ""
    node.metadata.pop("widgets", None)  # the state of menus that do not work here
    for cell in node.cells:
        if cell.cell_type == "markdown":
            heading = cell.source.strip().partition("\n")[0].lstrip("# ") or heading
            continue
        outputs = cell.get("outputs", [])
        for output, following in zip_longest(outputs, outputs[1:], fillvalue={}):
            data = output.get("data", {})
            if WIDGET_MIME in data:
                output["data"] = {"text/plain": WIDGET_NOTE}
            elif "image/png" in data:
                content = "".join(data["image/png"]).replace("\n", "")
                data["image/png"] = content
                caption = "".join(following.get("data", {}).get("text/markdown", ""))
                output.setdefault("metadata", {})["image/png"] = {"alt": to_text(caption) or heading or "figure"}
                uris[content] = picture_of_bytes(base64.b64decode(content)).uri
    return uris
