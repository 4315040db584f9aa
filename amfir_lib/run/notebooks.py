"""A notebook as the runner sees it: its parameters, what it makes and needs, how long it may take.

The cell tagged ``parameters`` reads ``n_way: int = 5  # classes per episode``: one plain assignment a line, the type as
annotation (or taken from the default), the meaning as comment.  Papermill reads it.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml

from amfir_lib.errors import AmfirError, BadParameter, DataNotFound, NotebookFailed, UnknownParameter, unknown_name
from amfir_lib.run.ledger import cost_of, format_bytes, format_seconds, read_record
from amfir_lib.storage import digest_of

DEFAULT_TIMEOUT_S = 4 * 3600.0
SUFFIXES = {"figures": (".png", ".pdf"), "tables": (".csv", ".md", ".tex")}
KINDS = {  # type of a parameter -> what it must be, in words
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (bool, "true or false"),
    "list": (list, "a list such as [5,6,8]"),
    "dict": (dict, "a mapping such as {rgb: 1.0}"),
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook: its type in Python's notation, its default value and what it means."""

    name: str
    kind: str
    default: Any
    comment: str = ""

    def __str__(self) -> str:
        """``kd_lambda: float = 1.0   weight of distillation``."""
        return f"{self.name}: {self.kind} = {self.default!r}   {self.comment}".rstrip()


@dataclass(frozen=True)
class Notebook:
    """One notebook of the study."""

    name: str  # file name without suffix, such as ``03_free_energy``
    path: Path
    title: str  # its first line, without mark-up
    parameters: dict[str, Parameter]
    makes: tuple[str, ...]  # exports that must exist when it is done, relative to the study's folder
    needs: tuple[str, ...]  # notebooks that must not have failed before it
    timeout_s: float  # after which it counts as hanging
    digest: str  # of the sources of its cells and of its declarations; outputs do not count


def read_notebook(path: Path) -> Notebook:
    """Read what a notebook declares.

    Raises:
        NotebookFailed: the file is no notebook.
        BadParameter: a default is not a plain value (derived values belong into the next cell).
    """
    try:
        node = nbformat.read(path, as_version=4)
        parameters = {name: _parameter(**facts) for name, facts in papermill.inspect_notebook(str(path)).items()}
    except AmfirError as error:
        raise type(error)(f"{path.stem}: {error}") from error
    except Exception as error:
        raise NotebookFailed(f"{path.name} cannot be read as a notebook: {error}") from error
    declared = node.metadata.get("amfir", {})
    first = next((cell.source for cell in node.cells if cell.source.strip()), path.stem)
    return Notebook(
        name=path.stem,
        path=path,
        title=first.strip().splitlines()[0].lstrip("# "),
        parameters=parameters,
        makes=tuple(name + suffix for name in declared.get("makes", ()) for suffix in _suffixes(name)),
        needs=tuple(declared.get("needs", ())),
        timeout_s=float(declared.get("timeout_s", DEFAULT_TIMEOUT_S)),
        digest=digest_of([[cell.cell_type, cell.source] for cell in node.cells] + [dict(declared)]),
    )


def _parameter(name: str, inferred_type_name: str, default: str, help: str) -> Parameter:
    try:
        value = ast.literal_eval(default)
    except (ValueError, SyntaxError, TypeError):
        message = f'The default of "{name}" is no plain value: {default}. Derive values in the next cell.'
        raise BadParameter(message) from None
    kind = type(value).__name__ if inferred_type_name == "None" else inferred_type_name
    return Parameter(name, kind, value, help)


def _suffixes(export: str) -> tuple[str, ...]:
    """Of an export that is declared without one: ``tables/nway`` is .csv, .md and .tex."""
    return ("",) if Path(export).suffix else SUFFIXES.get(export.partition("/")[0], ("",))


def find_notebooks(folder: Path, only: Sequence[str] = ()) -> dict[str, Path]:
    """Name -> path of the study's notebooks in the order in which they run, by file name; ``only`` those of these names
    or numbers, if there are any.

    Raises:
        DataNotFound: the folder holds none.
        UnknownName: no such notebook; the nearest name is suggested.
    """
    paths = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not paths:
        raise DataNotFound(f"There are no notebooks named like 00_tour.ipynb in {folder}.")
    chosen: set[str] = set() if only else set(paths)
    for wanted in only:
        name = wanted.strip().removesuffix(".ipynb")
        matches = {known for known in paths if known == name or (name.isdigit() and known.startswith(f"{name:0>2}_"))}
        if not matches:
            raise unknown_name("notebook", wanted, paths)
        chosen |= matches
    return {name: path for name, path in paths.items() if name in chosen}


def check_values(notebook: Notebook, values: Mapping[str, Any]) -> dict[str, Any]:
    """Check values (or their texts as typed after ``-p NAME=``) against the parameters of a notebook.

    Returns:
        Name -> value of the declared type.
    Raises:
        UnknownParameter: the notebook has no parameter of that name; the nearest one is suggested.
        BadParameter: the value is not of the declared type.
    """
    checked = {}
    for name, value in values.items():
        if name not in notebook.parameters:
            raise unknown_name(f"parameter of {notebook.name}", name, notebook.parameters, error=UnknownParameter)
        parameter = notebook.parameters[name]
        expected, words = KINDS.get(parameter.kind.partition("[")[0], (object, parameter.kind))
        try:
            checked[name] = _converted(value, expected)
        except (ValueError, yaml.YAMLError):
            default = ",".join(map(str, parameter.default)) if expected is list else str(parameter.default)
            default = default.lower() if expected is bool else default
            raise BadParameter(
                f'{name} of {notebook.name} is "{value}", but must be {words} ({parameter.kind}), for example '
                f"-p {name}={default}"
            ) from None
    return checked


def _converted(value: Any, expected: type) -> Any:
    """A value, or its text as typed, in the expected type; raises ValueError where it is of another one."""
    if isinstance(value, str) and expected is not str:
        text = value.strip()
        if expected is list and not text.startswith("["):
            text = f"[{text.removeprefix('(').removesuffix(')')}]"
        whole = expected is int and text.lstrip("+-").isdigit()  # YAML reads 010 as 8, and 1e-3 as text
        value = int(text) if whole else float(text) if expected is float else yaml.safe_load(text)
    if expected is float and type(value) is int:
        value = float(value)
    if expected is list and isinstance(value, tuple):
        value = list(value)
    if expected is not object and type(value) is not expected:
        raise ValueError(value)
    return value


def describe(notebooks: Sequence[Notebook], output_dir: Path) -> Iterator[str]:
    """The lines of ``--list``: each notebook with its title, what it took and made by its record in the study's folder,
    and its parameters; those that all have alike stand once, at the end."""
    lines = [Counter(map(str, notebook.parameters.values())) for notebook in notebooks]
    shared = [line for line, count in sum(lines, Counter()).items() if count == len(notebooks) > 1]
    for notebook in notebooks:
        record = read_record(output_dir, notebook.name)
        made = record.get("exports") or notebook.makes  # more for some data sets than what is made for all
        names = {kind: dict.fromkeys(Path(path).stem for path in made if path.startswith(kind)) for kind in SUFFIXES}
        yield f"{notebook.name}  {notebook.title}"
        yield f"    time        {_time(record, output_dir)}"
        yield from (f"    {kind:<10}  {', '.join(stems)}" for kind, stems in names.items() if stems)
        if notebook.needs:
            yield f"    needs       {', '.join(notebook.needs)}"
        further = [str(parameter) for parameter in notebook.parameters.values() if str(parameter) not in shared]
        yield from ("    parameters", *(f"        {line}" for line in further), "")
    if shared:
        yield from ("    parameters of all of them", *(f"        {line}" for line in shared), "")
    yield "Change a parameter with -p NAME=VALUE; what a notebook computes then goes to variants/, beside the baseline."


def _time(record: Mapping[str, Any], output_dir: Path) -> str:
    """What it took to compute what the notebook shows, not to find it in the cache."""
    if not record:
        return f"not measured yet (no record in {output_dir.name})"
    cost, machine = cost_of(record), record["environment"]
    words = f"{format_seconds(cost['seconds'])} on {machine['cores']} cores ({machine['device']})"
    return f"{words}, {format_bytes(cost['peak_memory_bytes'])}, by its record in {output_dir.name}"
