"""What follows the notebooks: pages and parts that are written from the results of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from amfir_lib import paths
from amfir_lib.run.ledger import cost_of
from amfir_lib.run.verify import record_path
from amfir_lib.storage import read_json
from amfir_lib.study.config import Config


def close(config: Config, failed: Sequence[str], *, notebooks: Path, command: str) -> Iterator[str]:
    """Write what depends on the results of a whole run.

    Args:
        config: of the study, or of a variant of it.
        failed: names of the notebooks that did not get done in this run.
        notebooks: folder of all notebooks.
        command: that makes the study.
    Yields:
        Sentences for the screen.
    """
    # The modules are imported here, because they import all that the notebooks do.
    from amfir_lib.analysis import claims
    from amfir_lib.run import report
    from amfir_lib.run.report import guide

    study = config.results_dir / config.study
    if config.variant:
        yield from _compare_with_baseline(config, failed, command)
        page = report.write(config.output_dir)
        yield f"Report of the variant: {paths.for_display(page)} (open it in a browser)."
        if any((study / "records").glob("*.json")):  # the baseline's pages name the variant, too
            guide.write(study, notebooks, command=command)
            report.write(study)
        return
    claims.collect(study)
    guide.write(study, notebooks, command=command)
    page = report.write(study)
    yield f"Report: {paths.for_display(page)} (open it in a browser)."
    if config.results_dir == paths.RESULTS:
        from amfir_lib.run import readme

        if renewed := readme.update():
            yield f"README.md: renewed from the results: {', '.join(renewed)}."


def measured_seconds(config: Config, notebook: str) -> float | None:
    """What computing a notebook took, by its record (or its baseline's, for a variant without one); None if unknown."""
    for folder in (config.output_dir, config.results_dir / config.study):
        path = record_path(folder, notebook)
        if path.exists():
            return cost_of(read_json(path)).get("seconds")
    return None


def _compare_with_baseline(config: Config, failed: Sequence[str], command: str) -> Iterator[str]:
    """Print the paired difference of a variant to its baseline and write it beside the variant's tables."""
    from amfir_lib.analysis import variants
    from amfir_lib.exports import write_table

    baseline_dir = config.results_dir / config.study
    recorded = sorted(path.stem for path in (config.output_dir / "records").glob("*.json"))
    done = [name for name in recorded if name not in failed]  # also those of earlier runs of the same variant
    found = variants.compare(baseline_dir, config.output_dir, config.cache_dir, notebooks=done, again=command)
    if not found.data.empty:
        table = found.table(config.variant)
        _, markdown, _ = write_table(table, config.output_dir / "tables" / variants.TABLE)
        yield ""
        yield markdown.read_text(encoding="utf-8").rstrip()
        yield f"(also as {paths.for_display(markdown)}, with .csv and .tex)"
    yield from found.remarks
