"""What ``--list`` prints: each notebook with its title, its time, what it makes and its parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat

from amfir_lib.run.display import format_bytes, format_seconds
from amfir_lib.run.ledger import cost_of
from amfir_lib.run.notebooks import Notebook
from amfir_lib.run.parameters import Parameter
from amfir_lib.run.verify import record_path
from amfir_lib.storage import read_json


def describe(notebooks: Sequence[Notebook], output_dir: Path) -> Iterator[str]:
    """The lines of the list; parameters that all notebooks have alike stand once, at the end.

    Args:
        notebooks: in running order.
        output_dir: folder of the study, whose records tell the times, and what each notebook made there.
    """
    shared = _shared(notebooks)
    for notebook in notebooks:
        own = [p for p in notebook.parameters.values() if p.name not in shared]
        record = _record(notebook, output_dir)
        yield f"{notebook.name}  {title_of(notebook)}"
        yield f"    time        {_time(record, output_dir)}"
        for kind in ("figures", "tables"):
            made = record.get("exports") or notebook.makes  # more for some data sets than what is made for all
            names = dict.fromkeys(Path(path).stem for path in made if path.startswith(f"{kind}/"))
            if names:
                yield f"    {kind:<10}  {', '.join(names)}"
        if notebook.needs:
            yield f"    needs       {', '.join(notebook.needs)}"
        yield from _parameters(own, "parameters")
        yield ""
    if shared:
        yield from _parameters(list(shared.values()), "parameters of all of them")
        yield ""
    yield "Change a parameter with -p NAME=VALUE; what a notebook computes then goes to variants/, beside the baseline."
    yield "--help NOTEBOOK prints all parameters of one notebook in its own words."


def title_of(notebook: Notebook) -> str:
    """The first line of a notebook, without its mark-up."""
    cells = nbformat.read(notebook.path, as_version=4).cells
    first = next((cell.source for cell in cells if cell.source.strip()), "")
    return first.splitlines()[0].lstrip("# ") if first else ""


def parameter_line(parameter: Parameter) -> str:
    """``kd_lambda: float = 1.0   weight of distillation``."""
    return f"{parameter.name}: {parameter.kind} = {parameter.default!r}   {parameter.comment}".rstrip()


def _shared(notebooks: Sequence[Notebook]) -> dict[str, Parameter]:
    """Name -> parameter with the same type and default in every notebook; none if there is but one notebook.

    Of comments that differ in their wording the most frequent one is shown.
    """
    shared = {}
    for name in notebooks[0].parameters if len(notebooks) > 1 else ():
        found = [notebook.parameters[name] for notebook in notebooks if name in notebook.parameters]
        if len(found) == len(notebooks) and len({(one.kind, str(one.default)) for one in found}) == 1:
            wordings = Counter(one.comment for one in reversed(found))
            differs = " (in other words in some: --help NOTEBOOK)" if len(wordings) > 1 else ""
            shared[name] = replace(found[0], comment=wordings.most_common(1)[0][0] + differs)
    return shared


def _parameters(parameters: Sequence[Parameter], heading: str) -> Iterator[str]:
    if parameters:
        yield f"    {heading}"
    yield from (f"        {parameter_line(parameter)}" for parameter in parameters)


def _record(notebook: Notebook, output_dir: Path) -> Mapping[str, Any]:
    """The record of a notebook; empty where there is none."""
    path = record_path(output_dir, notebook.name)
    return read_json(path) if path.exists() else {}


def _time(record: Mapping[str, Any], output_dir: Path) -> str:
    """What it took to compute what the notebook shows, not to find it in the cache."""
    cost = cost_of(record)
    if "seconds" not in cost:
        return f"not measured yet (no record in {output_dir.name})"
    machine = record.get("environment", {})
    where = f" on {machine['cores']} cores ({machine['device']})" if machine else ""
    memory = f", {format_bytes(cost['peak_memory_bytes'])}" if cost.get("peak_memory_bytes") else ""
    return f"{format_seconds(cost['seconds'])}{where}{memory}, by its record in {output_dir.name}"
