"""Exported figures and tables as the page shows them: picture or HTML table, caption, links to the files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from markupsafe import Markup

from amfir_lib.run.report.cards import as_cards, holds_paragraphs
from amfir_lib.run.report.numbers import numbers_of_figure
from amfir_lib.run.report.pictures import Picture, picture_of_file
from amfir_lib.run.report.prose import split_table
from amfir_lib.storage import digest_of_file

NUMBERED_TABLE = re.compile(r"table(\d+)$")  # a table of the paper: these stand before everything else


@dataclass(frozen=True)
class Exhibit:
    """One export.

    Attributes:
        stem: such as ``figures/differences``.
        caption: Markdown; empty where the notebook gave none.
        picture: of a figure.
        table: of a table.
        files: (what it is called, link) of each file, such as ("PDF", "figures/differences.pdf").
        changed: the files are not those that the record names: something wrote over them afterwards.
    """

    stem: str
    caption: str
    picture: Picture | None
    table: Markup | None
    files: tuple[tuple[str, str], ...]
    changed: bool

    @property
    def anchor(self) -> str:
        """For links within the page."""
        return self.stem.replace("/", "-")

    @property
    def name(self) -> str:
        """File name in words: ``table 1`` for ``table1``."""
        return NUMBERED_TABLE.sub(r"table \1", PurePosixPath(self.stem).name).replace("_", " ")

    @property
    def is_numbered_table(self) -> bool:
        """Whether it is a table of the paper."""
        return self.table is not None and bool(NUMBERED_TABLE.match(PurePosixPath(self.stem).name))


def read_exhibits(output_dir: Path, exports: Mapping[str, str], captions: Mapping[str, str]) -> dict[str, Exhibit]:
    """The exports of one record.

    Args:
        output_dir: the study's folder.
        exports: path -> digest, from the record.
        captions: stem -> caption of the figures, from the record; tables bring theirs along.
    Returns:
        stem -> exhibit, in alphabetical order.
    """
    files: dict[str, list[str]] = {}
    for path in sorted(exports):
        files.setdefault(str(PurePosixPath(path).with_suffix("")), []).append(path)
    return {
        stem: _read(output_dir, stem, own, captions.get(stem, ""), exports)
        for stem, own in files.items()
        if all((output_dir / path).exists() for path in own)
    }


def _read(output_dir: Path, stem: str, files: Sequence[str], caption: str, digests: Mapping[str, str]) -> Exhibit:
    suffixes = {PurePosixPath(path).suffix for path in files}
    picture = picture_of_file(output_dir / f"{stem}.png") if ".png" in suffixes else None
    table = None
    if ".md" in suffixes:
        table, caption = split_table((output_dir / f"{stem}.md").read_text(encoding="utf-8"))
        table = as_cards(table, always=True) if holds_paragraphs(table) else table
    links = [(PurePosixPath(path).suffix[1:].upper(), path) for path in files if not path.endswith(".md")]
    if picture and ".csv" not in suffixes and (values := numbers_of_figure(output_dir, PurePosixPath(stem).name)):
        links.append(("CSV", values))
    changed = any(digest_of_file(output_dir / path) != digests[path] for path in files)
    return Exhibit(stem, caption, picture, table, tuple(links), changed)
