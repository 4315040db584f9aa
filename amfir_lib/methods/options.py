"""Options of a method: frozen, checked where they are constructed, listed for help and for records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from amfir_lib.errors import BadParameter, UnknownParameter, unknown_name


def choice(default: str, choices: tuple[str, ...]) -> Any:
    """A field that takes one of a few names."""
    return field(default=default, metadata={"choices": choices})


def number(default: float, *, low: float, above: bool = False) -> Any:
    """A field that takes a finite number of at least ``low`` (or strictly above it); whole if the default is whole."""
    return field(default=default, metadata={"low": low, "above": above})


@dataclass(frozen=True)
class Options:
    """Base of every method's options; each field is declared by ``choice``, ``number`` or a plain bool default."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            _check(one, value)
            if isinstance(one.default, float):
                object.__setattr__(self, one.name, float(value))  # 1 and 1.0 are one option with one digest

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any], *, method: str) -> Options:
        """Options with the given values and defaults elsewhere.

        Raises:
            UnknownParameter: an option that the method does not have, with the nearest one.
            BadParameter: a value of the wrong type or out of range.
        """
        known = [one.name for one in fields(cls)]
        for name in given:
            if name not in known:
                raise unknown_name(f"option of {method}", name, [*known, "preset"], error=UnknownParameter)
        return cls(**given)


def _check(one: Field, value: Any) -> None:
    choices = one.metadata.get("choices")
    if choices is not None:
        if value not in choices:
            raise unknown_name(f"value of {one.name}", str(value), choices, error=BadParameter)
    elif isinstance(one.default, bool):
        if not isinstance(value, bool):
            raise BadParameter(f"{one.name} is {value!r} but must be true or false. Correct the option.")
    else:
        whole, low, above = isinstance(one.default, int), one.metadata["low"], one.metadata["above"]
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not math.isfinite(value):
            raise BadParameter(f"{one.name} is {value!r} but must be a {'whole ' if whole else ''}number. Correct it.")
        if value < low or (above and value == low):
            raise BadParameter(f"{one.name} is {value} but must be {'above' if above else 'at least'} {low}. Raise it.")
