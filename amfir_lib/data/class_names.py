"""Class names as people write them: compared without case, spaces, underscores, brackets and punctuation."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


def class_key(name: str) -> str:
    """What is compared of a class name: its letters and digits, in lower case.

    "Playing_ice-hockey" and "playing ice hockey" are one class, and so are "Holding [something]" and "Holding
    something", the template and the plain form of a Something-Something label.
    """
    return "".join(character for character in name.casefold() if character.isalnum())


def keys_of(labels: Iterable[str]) -> dict[str, str]:
    """Key -> class name, of class names that all have different keys."""
    return {class_key(label): label for label in labels}


def nearest_names(wanted: str, found: Iterable[str], *, n: int = 3) -> list[str]:
    """The names among ``found`` that look most like ``wanted``, best first; only similar ones."""
    by_key: Mapping[str, str] = keys_of(sorted(found))
    near = difflib.get_close_matches(class_key(wanted), by_key, n=n, cutoff=0.5)
    return [by_key[key] for key in near]
