"""What a notebook tells and in which order: its title, its claim, and which export stands below which heading.

The report follows each notebook without its code.  An export belongs to the heading below which it is first shown;
``run.finish(figures={"differences": figure}, ...)`` in the last cell says what becomes which export.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

KINDS = ("figures", "tables")
NUMBERED = re.compile(r"^\d+ · ")
SHOW_PAGE = "show_page"


@dataclass
class Part:
    """What stands below one heading.

    Attributes:
        heading: without its marks and its number, since the report leaves parts out.
        prose: Markdown below it.
        exports: shown there, such as ``figures/differences``.
        said: sentences that code generated there, Markdown.
        has_page: whether a page of clips that play is shown there, which the report leaves out.
    """

    heading: str = ""
    prose: str = ""
    exports: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    has_page: bool = False


@dataclass(frozen=True)
class Story:
    """A notebook as the report tells it.

    Attributes:
        title: its first heading.
        lead: the paragraphs below it, such as the claim; without the line that says what the notebook makes.
        parts: in the order of the notebook; those that show or say something, and the last one, which has the limits.
    """

    title: str
    lead: str
    parts: tuple[Part, ...]


def read_story(path: Path) -> Story:
    """The story of a notebook file, executed or not; sentences that code generates are in executed ones only."""
    return story_of(nbformat.read(path, as_version=4), name=path.stem)


def story_of(notebook: NotebookNode, *, name: str) -> Story:
    """The story of a notebook; ``name`` is its title where it has no heading."""
    finished = _finished(notebook)
    title, lead = name, ""
    parts: list[Part] = []
    seen: set[str] = set()
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "markdown":
            heading, prose = _split_heading(cell.source)
            if number == 0:
                title, lead = heading or name, _without_declarations(prose)
            elif heading or not parts:
                parts.append(Part(heading, prose))
            else:
                parts[-1].prose += f"\n\n{prose}"
        elif cell.cell_type == "code":
            shown = [e for node in _shown(cell.source) for e in finished.exports_of(node) if e not in seen]
            said = [text for output in cell.get("outputs", ()) if (text := _said(output))]
            if (shown or said) and not parts:
                parts.append(Part())
            if shown or said:
                parts[-1].exports += shown
                parts[-1].said += said
                seen |= set(shown)
            if parts:
                parts[-1].has_page |= f"{SHOW_PAGE}(" in cell.source
    kept = [part for part in parts if part.exports or part.said or part is parts[-1]]
    return Story(title, lead, tuple(kept))


def _split_heading(source: str) -> tuple[str, str]:
    """First line, if it is a heading, without its number, and the rest."""
    first, _, rest = source.strip().partition("\n")
    if not first.startswith("#"):
        return "", source.strip()
    return NUMBERED.sub("", first.lstrip("#").strip()), rest.strip()


def _without_declarations(prose: str) -> str:
    """The paragraphs but those that begin like ``*Makes:*``: the report shows times and exports as measured."""
    return "\n\n".join(part for part in prose.split("\n\n") if not part.lstrip().startswith("*Makes"))


def _said(output: Mapping) -> str:
    """Markdown that a cell displayed, unless it is a caption, which the export brings along."""
    text = "".join(output.get("data", {}).get("text/markdown", "")).strip()
    is_caption = text.startswith("*") and not text.startswith("**") and text.endswith("*")
    return "" if is_caption else text


def _tree(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:  # a magic in a notebook of the user's own
        return ast.Module([], [])


@dataclass
class _Finished:
    """What the last cell gives to ``finish``: expression -> exports, and containers -> kind of what they hold."""

    expressions: dict[str, list[str]] = field(default_factory=dict)
    containers: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, given: ast.expr) -> None:
        """Note a dictionary, written out or by its name, or several joined by ``|``."""
        if isinstance(given, ast.BinOp):
            self.add(kind, given.left)
            self.add(kind, given.right)
        elif isinstance(given, ast.Name):
            self.containers[given.id] = kind
        elif isinstance(given, ast.Dict):
            for key, value in zip(given.keys, given.values, strict=True):
                if isinstance(key, ast.Constant):
                    self.expressions.setdefault(ast.unparse(value), []).append(f"{kind}/{key.value}")

    def exports_of(self, shown: ast.expr) -> list[str]:
        """The exports that an expression becomes, such as ``figure`` or ``made_figures["clips"]``."""
        if isinstance(shown, ast.Subscript) and isinstance(shown.slice, ast.Constant):
            kind = self.containers.get(ast.unparse(shown.value))
            if kind:
                return [f"{kind}/{shown.slice.value}"]
        return self.expressions.get(ast.unparse(shown), [])


def _finished(notebook: NotebookNode) -> _Finished:
    found = _Finished()
    for cell in notebook.cells:
        if cell.cell_type == "code" and ".finish(" in cell.source:
            for call in (node for node in ast.walk(_tree(cell.source)) if isinstance(node, ast.Call)):
                for keyword in call.keywords:
                    if keyword.arg in KINDS:
                        found.add(keyword.arg, keyword.value)
    return found


def _shown(source: str) -> list[ast.expr]:
    """What a cell shows: given to a function ``show...`` or ``display``, or the value of its last line."""
    tree = _tree(source)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if called.startswith("show") or called == "display":
                found += node.args
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        found.append(tree.body[-1].value)
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))
