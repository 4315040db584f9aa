"""Regenerate the study: run its notebooks one after another, each in a process of its own, and say what was made.

A notebook declares in its metadata what the runner needs to know (all entries may be left out)::

    "amfir": {
        "makes": ["figures/free_energy", "tables/free_energy"],   exports; no suffix: png and pdf, or csv, md, tex
        "needs": ["02_training"],                                 not run when one of these failed just before
        "timeout_s": 3600                                         longer than this counts as hanging (default 4 h)
    }

A done notebook is noted in the ledger of the cache folder and not run again until something that it depends on changes;
the reason is printed.  Exit status of a run: 0 all done, 1 at least one failed, 2 the request itself was wrong (no
kernel was started), 130 interrupted.
"""

from __future__ import annotations

import platform
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from amfir_lib import paths
from amfir_lib.run import ledger
from amfir_lib.run.clean import folder_lock, tag_cache
from amfir_lib.run.execute import log_path, run_notebook
from amfir_lib.run.ledger import cost_of, format_bytes, format_seconds, read_record, record_path
from amfir_lib.run.plan import Request, Task, plan, remarks
from amfir_lib.storage import digest_of, digest_of_file

INTERRUPTED = 130
LOG_EVERY_S = 30.0  # a line where there is no terminal to draw a bar on


@dataclass(frozen=True)
class Line:
    """One line of the closing table; ``result`` is done, up to date, failed or not run."""

    notebook: str
    result: str
    seconds: float | None = None
    detail: str = ""

    @property
    def failed(self) -> bool:
        """The notebook should have been run and is not done."""
        return self.result in ("failed", "not run")


class Run:
    """One run: what is asked, where its progress is shown, and what has become of each notebook.

    Args:
        request: what to run, and how.
        stream: a terminal gets a bar that is redrawn in place, anything else a line now and then.
    """

    def __init__(self, request: Request, stream: TextIO) -> None:
        self.request, self.tasks, self.stream = request, plan(request), stream
        self.config, self.library = self.tasks[0].config, ledger.library_digests()
        self.baseline = self.config.results_dir / self.config.study  # to which a variant is compared
        self.lines: dict[str, Line] = {}
        hidden, (width, height) = request.dry_run or not stream.isatty(), shutil.get_terminal_size()
        look = {
            "bar_format": "      {n_fmt}/{total_fmt} {desc}{postfix}",
            "ncols": width - 1,
            "nrows": height,
            "leave": False,
        }
        self.bar = tqdm(total=len(self.tasks), file=stream, disable=hidden, **look)
        self.began = self.shown = time.monotonic()  # of the present notebook; of the last line about it

    def say(self, text: str = "") -> None:
        """Print a line that stays."""
        self.bar.write(text, file=self.stream)
        self.stream.flush()

    def announce(self, task: Task, text: str) -> None:
        """Say what becomes of the next notebook."""
        number = self.tasks.index(task) + 1
        self.began = self.shown = time.monotonic()
        self.bar.set_description_str(task.notebook.name)
        self.say(f"[{number}/{len(self.tasks)}] {task.notebook.name}: {text}")

    def tick(self, account: Mapping[str, Any]) -> None:
        """Show where the running notebook is, by the account of its process."""
        now, cell = time.monotonic(), account["cell"]
        where = f"cell {cell} of {account['n_cells']}" if cell else "starting"
        text = f"{format_seconds(now - self.began)}, {where}  {account['progress']}".rstrip()
        self.bar.set_postfix_str(text)
        if self.bar.disable and now - self.shown >= LOG_EVERY_S:
            self.shown = now
            self.say(f"      {text}")

    def fingerprint(self, task: Task) -> dict[str, Any]:
        """Everything that the results of a notebook depend on, at present."""
        needed = {}
        for name in task.notebook.needs:
            entry = ledger.read_entry(self.entry_path(name)) or {"exports": {}}
            # Figures and tables only: records and executed notebooks carry times and differ with every run.
            lasting = {k: v for k, v in entry["exports"].items() if k.startswith(("figures/", "tables/"))}
            needed[name] = digest_of(lasting) if lasting else ""
        return {
            "notebook": task.notebook.digest,
            "library": self.library,
            "pins": digest_of_file(paths.LOCK_FILE) if paths.LOCK_FILE.exists() else "",
            "python": ".".join(platform.python_version_tuple()[:2]),
            "parameters": task.parameters | task.config.data_choices,
            "data": ledger.listing_digest(task.config.data_root),
            "needed": needed,
        }

    def entry_path(self, notebook: str) -> Path:
        """The ledger's file of a notebook."""
        return ledger.entry_path(self.config.cache_dir, self.config.output_dir, notebook)

    def reasons(self, task: Task) -> list[str]:
        """Why a notebook has to run; empty if it is up to date."""
        if self.request.force:
            return ["--force was given"]
        entry = ledger.read_entry(self.entry_path(task.notebook.name))
        return ledger.reasons_to_run(entry, self.fingerprint(task), self.config.output_dir)

    def run_task(self, task: Task) -> Line:
        """Run one notebook if it has to run."""
        notebook, output_dir = task.notebook, self.config.output_dir
        broken = [name for name in notebook.needs if name in self.lines and self.lines[name].failed]
        if broken:
            self.announce(task, f"not run because {broken[0]} failed")
            return Line(notebook.name, "not run", detail=f"because {broken[0]} failed")
        why = self.reasons(task)
        if not why:
            self.announce(task, "up to date")
            return Line(notebook.name, "up to date")
        current = self.fingerprint(task)  # before the run: what is edited meanwhile is noticed next time
        self.announce(task, f"runs because {'; '.join(why)}")
        outcome = run_notebook(
            notebook,
            parameters=task.given,
            environment=task.environment,
            output_dir=output_dir,
            timeout_s=self.request.timeout_s,
            on_tick=self.tick,
        )
        if outcome.problem:
            self.say(f"NotebookFailed: {outcome.problem}")
            log = paths.for_display(log_path(output_dir, notebook.name))
            return Line(notebook.name, "failed", outcome.seconds, f"see {log}")
        record = record_path(output_dir, notebook.name)
        ledger.note_cost(record, self.config.cache_dir, seconds=outcome.seconds, peak_memory_bytes=outcome.peak_bytes)
        made = read_record(output_dir, notebook.name)["exports"]
        exports = [*made, f"records/{record.name}", f"notebooks/{notebook.name}.ipynb"]
        ledger.write_entry(self.entry_path(notebook.name), current, output_dir, exports)
        self.say(f"      done in {format_seconds(outcome.seconds)}, peak memory {format_bytes(outcome.peak_bytes)}")
        stems = dict.fromkeys(str(Path(name).with_suffix("")) for name in made)
        return Line(notebook.name, "done", outcome.seconds, ", ".join(stems))

    def say_what_would_run(self) -> None:
        """One line per notebook with the reason, then how many and what they cost by their records."""
        records = []
        for task in self.tasks:
            why = self.reasons(task)
            self.announce(task, f"would run because {'; '.join(why)}" if why else "up to date")
            if why:
                name = task.notebook.name
                records.append(read_record(self.config.output_dir, name) or read_record(self.baseline, name))
        seconds, took = [cost_of(record)["seconds"] for record in records if record], ""
        if seconds:  # each record is of a notebook that found what those before it had made
            total, lacking = format_seconds(sum(seconds)), len(records) - len(seconds)
            took = f"; by their records {total} after the notebooks before them, less with a filled cache"
            took += f" ({lacking} of them without a record)" if lacking else ""
        where = paths.for_display(self.config.output_dir)
        self.say(f"{len(records)} of {len(self.tasks)} notebooks would run{took}. Results: {where}")

    def summarise(self, seconds: float) -> None:
        """Print what was made, where, and how long each took."""
        lines = list(self.lines.values())
        width = max(len(line.notebook) for line in lines)
        self.say()
        for line in lines:
            took = "" if line.seconds is None else format_seconds(line.seconds)
            self.say(f"  {line.notebook:<{width}}  {line.result:<10}  {took:>9}  {line.detail}".rstrip())
        counts = Counter("failed" if line.failed else line.result for line in lines)
        text = f"{counts['done']} notebooks run, {counts['up to date']} up to date, {counts['failed']} failed"
        if counts["up to date"] == len(lines):
            text = f"Nothing to compute: all {len(lines)} notebooks are up to date"
        where = paths.for_display(self.config.output_dir)
        self.say(f"{text}, in {format_seconds(seconds)}. Results: {where}")

    def close(self) -> Iterator[str]:
        """Write what depends on the results of all notebooks; yields sentences for the screen."""
        # Imported here, because they import all that the notebooks do.
        from amfir_lib.analysis import claims
        from amfir_lib.run import readme, report

        if self.config.variant:
            yield from self._compare_with_baseline()
        claims.collect(self.config.output_dir)
        page = report.write(self.config.output_dir)
        variant = " of the variant" if self.config.variant else ""
        yield f"Report{variant}: {paths.for_display(page)} (open it in a browser)."
        if self.config.variant and (self.baseline / "index.html").exists():
            report.write(self.baseline)  # it names the variant, too
        readme.write_index(self.config.results_dir)
        if self.config.results_dir == paths.RESULTS and (renewed := readme.update()):
            yield f"README.md: renewed from the results: {', '.join(renewed)}."

    def _compare_with_baseline(self) -> Iterator[str]:
        """Print the paired difference of a variant to its baseline and write it beside the variant's tables."""
        from amfir_lib.analysis import variants
        from amfir_lib.exports import write_table

        recorded = sorted(path.stem for path in (self.config.output_dir / "records").glob("*.json"))
        failed = [line.notebook for line in self.lines.values() if line.failed]
        done = [name for name in recorded if name not in failed]  # also those of earlier runs of the same variant
        difference, remarks = variants.compare(
            self.baseline, self.config.output_dir, self.config.cache_dir, notebooks=done, again=self.request.command
        )
        if not difference.empty:
            table = variants.difference_table(difference, self.config.variant)
            _, markdown, _ = write_table(table, self.config.output_dir / "tables" / variants.TABLE)
            yield ""
            yield markdown.read_text(encoding="utf-8").rstrip()
            yield f"(also as {paths.for_display(markdown)}, with .csv and .tex)"
        yield from remarks


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
    study = Run(request, stream or sys.stdout)
    for sentence in remarks(study.tasks, request):
        study.say(sentence)
    if study.config.variant:
        from amfir_lib.analysis.variants import without_baseline

        names = [task.notebook.name for task in study.tasks]
        if lacking := without_baseline(study.baseline, study.config.cache_dir, names):
            study.say(
                f"No baseline on this machine yet for {', '.join(lacking)}: the difference to it can only be given "
                f"once it is there. It is made with: {request.command} --only {','.join(lacking)}"
            )
    if request.dry_run:
        study.say_what_would_run()
        return 0
    tag_cache(study.config.cache_dir)
    started = time.monotonic()
    with folder_lock(study.config.output_dir), _termination_as_interrupt():
        try:
            for task in study.tasks:
                study.lines[task.notebook.name] = study.run_task(task)
                study.bar.update()
        except KeyboardInterrupt:
            study.say("Interrupted. What is finished is kept; run the same command again to go on.")
            return INTERRUPTED
        finally:
            study.bar.close()
    study.summarise(time.monotonic() - started)
    for sentence in study.close():
        study.say(sentence)
    return 1 if any(line.failed for line in study.lines.values()) else 0


@contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that a cluster's scheduler ends the kernels, too."""
    if threading.current_thread() is not threading.main_thread():  # leave signals to whoever owns them
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
