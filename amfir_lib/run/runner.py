"""Regenerate the study: run its notebooks one after another, each in a process of its own, and say what was made.

A notebook declares in its metadata what the runner needs to know (all entries may be left out)::

    "amfir": {
        "makes": ["figures/free_energy", "tables/free_energy"],   exports; no suffix: png and pdf, or csv, md, tex
        "needs": ["02_training"],                                 not run when one of these failed just before
        "timeout_s": 3600                                         longer than this counts as hanging (default 4 h)
    }

It is **done** when its process ended with status 0, every code cell was executed, the declared exports exist with the
digests that its record names, and the record was written last.  A done notebook is noted in the ledger of the cache
folder and not run again until something that it depends on changes; the reason is printed.  What follows the notebooks
(guide, claims, README, the difference of a variant to its baseline) is in ``running.closing``.  Exit status of a run:
0 all done, 1 at least one failed, 2 the request itself was wrong (no kernel was started), 130 interrupted.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from amfir_lib import paths
from amfir_lib.run import closing, ledger
from amfir_lib.run.display import Display, format_bytes, format_seconds
from amfir_lib.run.housekeeping import tag_cache
from amfir_lib.run.lock import folder_lock
from amfir_lib.run.planning import Request, Task, facts_not_taken, first_looks, parse_assignments, plan, variant_name
from amfir_lib.run.supervise import log_path, run_notebook
from amfir_lib.run.verify import record_path
from amfir_lib.storage import digest_of, read_json

__all__ = ["INTERRUPTED", "Line", "Request", "Task", "parse_assignments", "plan", "run", "variant_name"]

INTERRUPTED = 130


@dataclass(frozen=True)
class Line:
    """One line of the closing table."""

    notebook: str
    result: str
    seconds: float | None = None
    detail: str = ""


def run(request: Request, stream: TextIO | None = None) -> int:
    """Run the notebooks that are not up to date.

    Args:
        request: what to run, and how.
        stream: where the progress goes; default: standard output.
    Returns:
        Exit status.
    Raises:
        AmfirError: the request is wrong, or another runner is at work; nothing was started.
    """
    stream = stream or sys.stdout
    tasks = plan(request)
    display = Display(stream, len(tasks))
    for sentence in (*facts_not_taken(tasks, request), *first_looks(tasks)):
        display.line(sentence)
    if lacking := _without_baseline(tasks):
        display.line(
            f"No baseline on this machine yet for {', '.join(lacking)}: the difference to it can only be given once it "
            f"is there. It is made with: {request.command} --only {','.join(lacking)}"
        )
    if request.dry_run:
        _say_what_would_run(tasks, request, display)
        return 0
    output_dir, cache_dir = tasks[0].config.output_dir, tasks[0].config.cache_dir
    tag_cache(cache_dir)
    started = time.monotonic()
    lines: list[Line] = []
    with folder_lock(output_dir), _termination_as_interrupt():
        try:
            for task in tasks:
                lines.append(_run_one(task, request, {line.notebook: line for line in lines}, display))
        except KeyboardInterrupt:
            display.line("Interrupted. What is finished is kept; run the same command again to go on.")
            return INTERRUPTED
    _summary(display, tasks, lines, time.monotonic() - started)
    failed = [line.notebook for line in lines if line.result in ("failed", "not run")]
    for sentence in closing.close(tasks[0].config, failed, notebooks=request.notebooks, command=request.command):
        display.line(sentence)
    return 1 if failed else 0


def _without_baseline(tasks: list[Task]) -> list[str]:
    """The notebooks of a variant that have nothing to be compared with."""
    config = tasks[0].config
    if not config.variant:
        return []
    from amfir_lib.analysis.variants import without_baseline

    return without_baseline(config.results_dir / config.study, config.cache_dir, [t.notebook.name for t in tasks])


def _say_what_would_run(tasks: list[Task], request: Request, display: Display) -> None:
    """One line per notebook with the reason, then how many and what they cost by their records."""
    seconds, unknown, n_wanted = 0.0, 0, 0
    for task in tasks:
        why = _reasons(task, request)
        display.skip(task.notebook.name, f"would run because {'; '.join(why)}" if why else "up to date")
        if why:
            n_wanted += 1
            took = closing.measured_seconds(task.config, task.notebook.name)
            seconds, unknown = seconds + (took or 0.0), unknown + (took is None)
    where = paths.for_display(tasks[0].config.output_dir)
    if n_wanted == 0:
        display.line(f"Nothing would run: all {len(tasks)} notebooks are up to date. Results: {where}")
        return
    took = ""
    if seconds:  # each record is of a notebook that found what those before it had made
        took = f"; by their records {format_seconds(seconds)} after the notebooks before them, less with a filled cache"
    took += f" ({unknown} of them without a record)" if seconds and unknown else ""
    display.line(f"{n_wanted} of {len(tasks)} notebooks would run{took}. Results: {where}")


def _entry_path(task: Task, name: str) -> Path:
    return ledger.entry_path(task.config.cache_dir, task.config.output_dir, name)


def _fingerprint(task: Task) -> dict[str, Any]:
    needed = {}
    for name in task.notebook.needs:
        entry = ledger.read_entry(_entry_path(task, name))
        needed[name] = digest_of(_lasting_exports(entry["exports"])) if entry else ""
    return ledger.fingerprint(
        task.notebook,
        parameters=task.parameters | task.config.data_choices,
        library=ledger.library_digests(),
        data_root=task.config.data_root,
        needed=needed,
    )


def _lasting_exports(exports: Mapping[str, str]) -> dict[str, str]:
    """The figures and tables; records and executed notebooks carry times and differ with every run."""
    return {name: digest for name, digest in exports.items() if not name.startswith(("records/", "notebooks/"))}


def _reasons(task: Task, request: Request) -> list[str]:
    if request.force:
        return ["--force was given"]
    entry = ledger.read_entry(_entry_path(task, task.notebook.name))
    return ledger.reasons_to_run(entry, _fingerprint(task), task.config.output_dir)


def _run_one(task: Task, request: Request, before: Mapping[str, Line], display: Display) -> Line:
    """Run one notebook if it has to run."""
    notebook, output_dir = task.notebook, task.config.output_dir
    broken = [name for name in notebook.needs if name in before and before[name].result in ("failed", "not run")]
    if broken:
        display.skip(notebook.name, f"not run because {broken[0]} failed")
        return Line(notebook.name, "not run", detail=f"because {broken[0]} failed")
    why = _reasons(task, request)
    if not why:
        display.skip(notebook.name, "up to date")
        return Line(notebook.name, "up to date")
    current = _fingerprint(task)  # before the run: what is edited meanwhile is noticed next time
    display.start(notebook.name, "; ".join(why))
    outcome = run_notebook(
        notebook,
        parameters=task.given,
        environment=task.environment,
        output_dir=output_dir,
        timeout_s=request.timeout_s,
        on_tick=display.tick,
    )
    if not outcome.done:
        display.line(f"NotebookFailed: {outcome.problem}")
        return Line(
            notebook.name, "failed", outcome.seconds, f"see {paths.for_display(log_path(output_dir, notebook.name))}"
        )
    record = record_path(output_dir, notebook.name)
    ledger.note_cost(record, task.config.cache_dir, seconds=outcome.seconds, peak_memory_bytes=outcome.peak_bytes)
    exports = [*read_json(record)["exports"], f"records/{record.name}", f"notebooks/{notebook.name}.ipynb"]
    ledger.write_entry(_entry_path(task, notebook.name), current, output_dir, exports, outcome.seconds)
    peak = format_bytes(outcome.peak_bytes)
    display.line(f"      done in {format_seconds(outcome.seconds)}, peak memory {peak}")
    return Line(notebook.name, "done", outcome.seconds)


def _summary(display: Display, tasks: list[Task], lines: list[Line], seconds: float) -> None:
    """Print what was made, where, and how long each took."""
    config = tasks[0].config
    width = max(len(line.notebook) for line in lines)
    display.line()
    for line in lines:
        took = "" if line.seconds is None else format_seconds(line.seconds)
        made = line.detail
        if line.result == "done":
            exports = read_json(record_path(config.output_dir, line.notebook))["exports"]
            made = ", ".join(dict.fromkeys(str(Path(name).with_suffix("")) for name in exports))
        display.line(f"  {line.notebook:<{width}}  {line.result:<10}  {took:>9}  {made}".rstrip())
    where = paths.for_display(config.output_dir)
    n_done = sum(line.result == "done" for line in lines)
    n_current = sum(line.result == "up to date" for line in lines)
    failed = [line for line in lines if line.result in ("failed", "not run")]
    if n_current == len(lines):
        display.line(f"Nothing to compute: all {n_current} notebooks are up to date. Results: {where}")
    else:
        text = f"{n_done} notebooks run, {n_current} up to date, {len(failed)} failed, in {format_seconds(seconds)}."
        display.line(f"{text} Results: {where}")


@contextmanager
def _termination_as_interrupt() -> Any:
    """Treat SIGTERM like Ctrl-C, so that a cluster's scheduler ends the kernels, too."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread: leave signals to whoever owns them
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
