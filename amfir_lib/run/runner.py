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
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from tqdm import tqdm

from amfir_lib import paths
from amfir_lib.data.preparation import LEFT_OUT
from amfir_lib.run import ledger
from amfir_lib.run.clean import folder_lock, tag_cache
from amfir_lib.run.execute import log_path, run_notebook
from amfir_lib.run.ledger import format_bytes, format_seconds, read_record, record_path
from amfir_lib.run.plan import Request, Task, plan, remarks, source_path
from amfir_lib.storage import digest_of, digest_of_file, write_sealed

INTERRUPTED = 130
LOG_EVERY_S = 30.0  # a line where there is no terminal to draw a bar on


class Line(NamedTuple):
    """One line of the closing table; ``result`` is done, up to date or failed."""

    notebook: str
    result: str
    seconds: float | None = None
    detail: str = ""


class Run:
    """One run: what is asked, where its progress is shown, and what has become of each notebook.

    Args:
        request: what to run, and how.
        stream: a terminal gets a line that is redrawn in place, anything else a line now and then.
    """

    def __init__(self, request: Request, stream: TextIO) -> None:
        self.request, self.tasks, self.stream = request, plan(request), stream
        self.config, self.library = self.tasks[0].config, ledger.library_digests()
        self.baseline = self.config.results_dir / self.config.study  # to which a variant is compared
        self.lines: dict[str, Line] = {}
        self.left_out: set[str] = set()  # sentences about clips, which several notebooks print
        hidden, (width, height) = request.dry_run or not stream.isatty(), shutil.get_terminal_size()
        look = {"bar_format": "      {n_fmt}/{total_fmt} {desc}{postfix}", "ncols": width - 1, "nrows": height}
        self.bar = tqdm(total=len(self.tasks), file=stream, disable=hidden, leave=False, **look)
        self.began = self.shown = time.monotonic()  # of the present notebook; of the last line about it

    def say(self, text: str = "") -> None:
        """Print a line that stays."""
        self.bar.write(text, file=self.stream)
        self.stream.flush()

    def announce(self, task: Task, text: str) -> None:
        """Say what becomes of the next notebook."""
        self.began = self.shown = time.monotonic()
        self.bar.set_description_str(task.notebook.name)
        self.say(f"[{self.tasks.index(task) + 1}/{len(self.tasks)}] {task.notebook.name}: {text}")

    def tick(self, account: Mapping[str, Any]) -> None:
        """Show where the running notebook is, by the account of its process."""
        now, cell = time.monotonic(), account["cell"]
        where = f"cell {cell} of {account['n_cells']}" if cell else "starting"
        text = f"{format_seconds(now - self.began)}, {where}  {account['progress']}".rstrip()
        self.bar.set_postfix_str(text)
        if self.bar.disable and now - self.shown >= LOG_EVERY_S:
            self.shown = now
            self.say(f"      {text}")

    def entry_path(self, notebook: str) -> Path:
        """The ledger's file of a notebook."""
        return ledger.entry_path(self.config.cache_dir, self.config.output_dir, notebook)

    def fingerprint(self, task: Task) -> dict[str, Any]:
        """Everything that the results of a notebook depend on, at present."""
        needed = {}
        for name in task.notebook.needs:
            entry = ledger.read_entry(self.entry_path(name)) or {"exports": {}}
            # Figures and tables only: records and executed notebooks carry times and differ with every run.
            needed[name] = digest_of({k: v for k, v in entry["exports"].items() if k.startswith(("fig", "tab"))})
        return {
            "notebook": task.notebook.digest,
            "library": self.library,
            "pins": digest_of_file(paths.LOCK_FILE) if paths.LOCK_FILE.exists() else "",
            "python": ".".join(platform.python_version_tuple()[:2]),
            "parameters": task.parameters | task.config.data_choices,
            "data": ledger.listing_digest(task.config.data_root),
            "needed": needed,
        }

    def run_task(self, task: Task) -> Line:
        """Run one notebook if it has to run."""
        notebook, output_dir = task.notebook, self.config.output_dir
        broken = [name for name in notebook.needs if name in self.lines and self.lines[name].result == "failed"]
        if broken:
            self.announce(task, f"not run because {broken[0]} failed")
            return Line(notebook.name, "failed", detail=f"not run because {broken[0]} failed")
        current = self.fingerprint(task)  # before the run: what is edited meanwhile is noticed next time
        entry = ledger.read_entry(self.entry_path(notebook.name))
        why = ["--force was given"] if self.request.force else ledger.reasons_to_run(entry, current, output_dir)
        would = "would run" if self.request.dry_run else "runs"
        self.announce(task, f"{would} because {'; '.join(why)}" if why else "up to date")
        if self.request.dry_run or not why:
            return Line(notebook.name, would if why else "up to date")
        settings = {"parameters": task.given, "environment": task.environment, "output_dir": output_dir}
        settings |= {"timeout_s": self.request.timeout_s, "on_tick": self.tick}
        problem, seconds, peak = run_notebook(notebook, **settings)
        log = log_path(output_dir, notebook.name).read_text(encoding="utf-8", errors="replace")
        for line in dict.fromkeys(line for line in log.splitlines() if line.startswith(LEFT_OUT)):
            if line not in self.left_out:
                self.say(f"      {line}")
                self.left_out.add(line)
        if problem:
            self.say(f"NotebookFailed: {problem}")
            log = paths.for_display(log_path(output_dir, notebook.name))
            return Line(notebook.name, "failed", seconds, f"see {log}")
        record = record_path(output_dir, notebook.name)
        ledger.note_cost(record, self.config.cache_dir, seconds=seconds, peak_memory_bytes=peak)
        made = read_record(output_dir, notebook.name)["exports"]
        exports = [*made, f"records/{record.name}", f"notebooks/{notebook.name}.ipynb"]
        ledger.write_entry(self.entry_path(notebook.name), current, output_dir, exports)
        self.say(f"      done in {format_seconds(seconds)}, peak memory {format_bytes(peak)}")
        stems = dict.fromkeys(str(Path(name).with_suffix("")) for name in made)
        return Line(notebook.name, "done", seconds, ", ".join(stems))

    def summarise(self, seconds: float) -> None:
        """Print what was made, where, and how long each took."""
        lines = list(self.lines.values())
        width = max(len(line.notebook) for line in lines)
        self.say()
        for line in lines:
            took = "" if line.seconds is None else format_seconds(line.seconds)
            self.say(f"  {line.notebook:<{width}}  {line.result:<10}  {took:>9}  {line.detail}".rstrip())
        counts = Counter(line.result for line in lines)
        text = f"{counts['done']} notebooks run, {counts['up to date']} up to date, {counts['failed']} failed"
        if counts["up to date"] == len(lines):
            text = f"Nothing to compute: all {len(lines)} notebooks are up to date"
        where = paths.for_display(self.config.output_dir)
        self.say(f"{text}, in {format_seconds(seconds)}. Results: {where}")

    def close(self) -> Iterator[str]:
        """Write what depends on the results of all notebooks; yields sentences for the screen."""
        # Imported here, because they import all that the notebooks do.
        from amfir_lib.analysis import claims, variants
        from amfir_lib.exports import write_table
        from amfir_lib.run import readme, report

        output_dir, variant = self.config.output_dir, self.config.variant
        if variant:
            failed = [line.notebook for line in self.lines.values() if line.result == "failed"]
            recorded = sorted(path.stem for path in (output_dir / "records").glob("*.json"))  # in earlier runs, too
            done = [name for name in recorded if name not in failed]
            difference, notes = variants.compare(self.baseline, output_dir, self.config.cache_dir, notebooks=done)
            if not difference.empty:
                table = variants.difference_table(difference, variant)
                _, markdown, _ = write_table(table, output_dir / "tables" / variants.TABLE)
                yield f"\n{markdown.read_text(encoding='utf-8').rstrip()}"
                yield f"(also as {paths.for_display(markdown)}, with .csv and .tex)"
            yield from notes
        report.check_together(output_dir)
        claims.collect(output_dir)
        yield f"Report: {paths.for_display(report.write(output_dir))} (open it in a browser)."
        if variant and (self.baseline / "index.html").exists():
            report.write(self.baseline)  # it names the variant, too
        readme.write_index(self.config.results_dir)
        if self.config.results_dir == paths.RESULTS and (renewed := readme.update()):
            yield f"READMEs: renewed from the results: {', '.join(renewed)}."


def run(request: Request, stream: TextIO | None = None) -> int:
    """Run the notebooks that are not up to date; ``stream`` is where the progress goes (default: standard output).

    Returns:
        Exit status.
    Raises:
        AmfirError: the request is wrong, or another runner is at work; nothing was started.
    """
    study, started = Run(request, stream or sys.stdout), time.monotonic()
    for sentence in remarks(study.tasks, request):
        study.say(sentence)
    if request.dry_run:
        results = [study.run_task(task).result for task in study.tasks]
        study.say(f"{results.count('would run')} of {len(results)} notebooks would run.")
        return 0
    tag_cache(study.config.cache_dir)
    if study.config.data_root is not None:
        write_sealed(source_path(study.config), {"data_root": str(study.config.data_root)})
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
    return 1 if any(line.result == "failed" for line in study.lines.values()) else 0


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
