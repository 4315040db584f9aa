"""``index.html``: one page of a study, made from its records and exports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amfir_lib import paths
from amfir_lib.run.report import claims, facts, variants
from amfir_lib.run.report.executed import write_executed
from amfir_lib.run.report.exhibits import Exhibit, read_exhibits
from amfir_lib.run.report.facts import Record
from amfir_lib.run.report.guide_page import write_guide
from amfir_lib.run.report.story import Part, Story, read_story
from amfir_lib.run.report.templates import render
from amfir_lib.storage import atomic_write

PAGE = "index.html"


@dataclass(frozen=True)
class Section:
    """One notebook in the report.

    Attributes:
        name: of the notebook.
        story: its title, claim and parts.
        summary: the sentences that its record holds, Markdown.
        exhibits: stem -> export.
        rest: exports that the story places nowhere.
        executed: page of the executed notebook; empty where it was not executed.
        record: what it ran with.
    """

    name: str
    story: Story
    summary: str
    exhibits: dict[str, Exhibit]
    rest: tuple[Exhibit, ...]
    executed: str
    record: Record

    @property
    def links(self) -> list[tuple[str, str]]:
        """(What it is called, link): executed notebook, record."""
        notebook = [("executed notebook", self.executed)] if self.executed else []
        return [*notebook, ("record", f"records/{self.name}.json")]

    def exhibits_of(self, part: Part) -> list[Exhibit]:
        """The exports that stand below a heading, but those that the page shows before all notebooks."""
        found = [self.exhibits[stem] for stem in part.exports if stem in self.exhibits]
        return [exhibit for exhibit in found if not exhibit.is_numbered_table]

    def said_in(self, part: Part) -> list[str]:
        """Generated sentences below a heading, but the summary, which stands at the top."""
        return [text for text in part.said if text.strip() != self.summary.strip()]


def write(output_dir: Path) -> Path:
    """Write the report of a study, and beside it a page of each executed notebook and one of the guide.

    The page holds its pictures and style, so that the one file can be mailed; links to PDF, CSV and notebooks work
    where it lies in its folder.  Records and exports are read, nothing is computed.

    Args:
        output_dir: ``results/<study>``, or the folder of a variant.
    Returns:
        The path of ``index.html``.
    """
    output_dir = Path(output_dir)
    records = facts.read_records(output_dir)
    sections = [_section(output_dir, name, record) for name, record in records.items()]
    everything = list(records.values())
    found = claims.read_claims(output_dir, everything)
    first = everything[0] if everything else {}
    anchors = {exhibit.anchor for section in sections for exhibit in section.exhibits.values()}
    html = render(
        "page.html",
        study=first.get("study", output_dir.name),
        variant=first.get("variant", ""),
        profile=first.get("profile", {}).get("name", ""),
        synthetic=facts.is_synthetic(everything),
        sections=sections,
        names=records.keys(),
        numbered=[(section, e) for section in sections for e in section.exhibits.values() if e.is_numbered_table],
        claims=found,
        verdicts=claims.count_verdicts(found),
        verdict_of=claims.Verdict,
        claim_files=_files(output_dir, f"tables/{claims.CLAIMS}"),
        own_difference=variants.own_difference(output_dir),
        anchors=anchors,
        variants=variants.read_variants(output_dir, records),
        in_words=variants.in_words,
        guide=write_guide(output_dir, study=first.get("study", output_dir.name), anchors=anchors),
        codes=facts.code_versions(everything),
        machines=facts.machines(everything),
        packages=facts.package_versions(everything),
        total_time=facts.total_time(everything),
        timing=facts.timing,
    )
    path = output_dir / PAGE
    with atomic_write(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def _section(output_dir: Path, name: str, record: Record) -> Section:
    executed = output_dir / "notebooks" / f"{name}.ipynb"
    source = executed if executed.exists() else paths.NOTEBOOKS / f"{name}.ipynb"
    story = read_story(source) if source.exists() else Story(name.replace("_", " "), "", ())
    page = ""
    if executed.exists():
        page = write_executed(executed, title=story.title, study=record["study"]).relative_to(output_dir).as_posix()
    exhibits = read_exhibits(output_dir, record["exports"], record.get("captions", {}))
    placed = {stem for part in story.parts for stem in part.exports}
    rest = tuple(e for stem, e in exhibits.items() if stem not in placed and not e.is_numbered_table)
    summary = record["numbers"].get("summary", "")
    return Section(name, story, summary if isinstance(summary, str) else "", exhibits, rest, page, record)


def _files(output_dir: Path, stem: str) -> list[tuple[str, str]]:
    return [
        (suffix.upper(), f"{stem}.{suffix}") for suffix in ("csv", "tex") if (output_dir / f"{stem}.{suffix}").exists()
    ]
