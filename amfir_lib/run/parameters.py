"""The parameters cell of a notebook: names, types, defaults and comments, and values checked against them.

The cell tagged ``parameters`` reads ``n_way: int = 5  # classes per episode``: one plain assignment a line, the type as
annotation (or taken from the default), the meaning as comment.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from amfir_lib.errors import BadParameter, UnknownParameter, unknown_name

KINDS = {
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": (float, "a number"),
    "bool": (bool, "true or false"),
    "list": (list, "a list such as [5,6,8]"),
    "tuple": (list, "a list such as [5,6,8]"),
    "dict": (dict, "a mapping such as {rgb: 1.0}"),
    "None": (type(None), "none"),
}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a notebook.

    Attributes:
        name: as written in the cell.
        kind: type in Python's notation: ``int``, ``list[float]``, ``str | None``.
        default: the value in the cell.
        comment: what it means.
    """

    name: str
    kind: str
    default: Any
    comment: str = ""


def read_parameters(source: str) -> dict[str, Parameter]:
    """Read the parameters from the source of a parameters cell.

    Args:
        source: Python source of plain assignments.
    Returns:
        Name -> parameter, in the order of the cell.
    Raises:
        BadParameter: a default is not a plain value (derived values belong into the next cell).
    """
    comments = _comments(source)
    parameters = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name, value, kind = statement.target.id, statement.value, ast.unparse(statement.annotation)
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name, value, kind = statement.targets[0].id, statement.value, ""
        else:
            continue
        try:
            default = ast.literal_eval(value)
        except (ValueError, TypeError):
            raise BadParameter(
                f'The default of "{name}" is no plain value: {ast.unparse(statement)}. Derive values in the next cell.'
            ) from None
        kind = kind or ("None" if default is None else type(default).__name__)
        parameters[name] = Parameter(name, kind, default, comments.get(statement.end_lineno, ""))
    return parameters


def check_values(notebook: str, parameters: Mapping[str, Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check values against the parameters of a notebook; text from the command line becomes the declared type.

    Args:
        notebook: name, for the message.
        parameters: what the notebook declares.
        values: name -> value, or its text as typed after ``-p NAME=``.
    Returns:
        Name -> value of the declared type.
    Raises:
        UnknownParameter: the notebook has no parameter of that name; the nearest one is suggested.
        BadParameter: the value is not of the declared type.
    """
    checked = {}
    for name, value in values.items():
        if name not in parameters:
            raise unknown_name(f"parameter of {notebook}", name, parameters, error=UnknownParameter)
        parameter = parameters[name]
        converted = _convert(value, parameter.kind)
        if not _matches(converted, parameter.kind):
            raise BadParameter(
                f'{name} of {notebook} is "{value}", but must be {describe_kind(parameter.kind)} ({parameter.kind}), '
                f"for example -p {name}={_as_typed(parameter.default)}"
            )
        checked[name] = float(converted) if parameter.kind == "float" else converted
    return checked


def describe_kind(kind: str) -> str:
    """Say a type in words: ``int`` is "a whole number"."""
    return " or ".join(KINDS.get(_base(part), (None, part))[1] for part in _alternatives(kind))


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}


def _alternatives(kind: str) -> list[str]:
    return [part.strip() for part in kind.split("|")]


def _base(kind: str) -> str:
    return kind.partition("[")[0].strip()


def _convert(value: Any, kind: str) -> Any:
    """Text to the declared type where that is possible; anything else is returned as it is, to be refused."""
    if isinstance(value, tuple):
        return list(value)
    if not isinstance(value, str) or kind == "str":
        return value
    bases = [_base(part) for part in _alternatives(kind)]
    if "None" in bases and value.lower() in ("none", "null", ""):
        return None
    if "str" in bases:
        return value
    text = f"[{value}]" if bases[0] in ("list", "tuple") and not value.lstrip().startswith(("[", "(")) else value
    if bases[0] in ("list", "tuple") and text.lstrip().startswith("("):
        text = "[" + text.strip()[1:-1] + "]"
    if bases == ["float"]:  # YAML reads 1e-3 as text
        try:
            return float(text)
        except ValueError:
            return value
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return value


def _matches(value: Any, kind: str) -> bool:
    for part in _alternatives(kind):
        expected = KINDS.get(_base(part), (object, ""))[0]
        if expected in (int, float) and isinstance(value, bool):
            continue
        if isinstance(value, int) and expected is float:
            return True
        if isinstance(value, expected):
            inner = part.partition("[")[2].rstrip("]").partition(",")[0].strip()
            if not (isinstance(value, list) and inner) or all(_matches(item, inner) for item in value):
                return True
    return False


def _as_typed(default: Any) -> str:
    if isinstance(default, list | tuple):
        return ",".join(map(str, default))
    return "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
