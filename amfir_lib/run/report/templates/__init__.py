"""The pages' HTML, filled by Jinja; text is escaped unless it is marked as HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from amfir_lib.run.report.prose import inline, linked, to_page, to_text

FOLDER = Path(__file__).parent
INCLUDED = ("head.html", "style.html")  # in all pages


def source_of_template(template: str) -> str:
    """Text of a template and of what all of them include, to tell when a page was made by an older one."""
    return "".join((FOLDER / name).read_text(encoding="utf-8") for name in (template, *INCLUDED))


def render(template: str, **values: Any) -> str:
    """Fill a template of this folder; a value that it asks for and does not get is an error."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"html": to_page, "inline": inline, "linked": linked, "text": to_text}
    return environment.get_template(template).render(**values)
