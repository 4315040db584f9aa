"""The runner against sound and broken notebooks: what is done, what is not, and what the user is told.

Starting a kernel takes about two seconds, so the broken notebooks run once, in one study, and tests read its output.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from small_notebooks import PARAMETERS, QUICK_FINISH, write_notebook

from amfir_lib import paths, storage
from amfir_lib.errors import BadParameter, CacheLocked, DataNotFound, UnknownName, UnknownParameter
from amfir_lib.run import ledger, runner
from amfir_lib.run.clean import folder_lock
from amfir_lib.run.ledger import cost_of
from amfir_lib.run.notebooks import read_notebook
from amfir_lib.run.plan import Request, variant_name


class Study:
    """A folder with small notebooks, and a way to run them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.notebooks = folder, folder / "notebooks"
        self.results, self.cache = folder / "results", folder / "cache"
        self.output_dir = self.results / "smoke"

    def add(self, name: str, *cells: str, quick: bool = True, **options: object) -> Path:
        """Add a notebook; a quick one writes its record by itself, without the seconds that importing torch takes."""
        if quick:
            cells = (*cells, QUICK_FINISH.format(name=name)) if options.pop("finish", True) else cells
            options = {"makes": [f"tables/{name}.csv"], "start": False, "finish": False} | options
        return write_notebook(self.notebooks, name, *cells, **options)

    def request(self, **changes: object) -> Request:
        environment = {"AMFIR_CACHE_DIR": str(self.cache), "AMFIR_RESULTS_DIR": str(self.results), "AMFIR_JOBS": "1"}
        return Request(**({"environment": environment, "notebooks": self.notebooks} | changes))

    def run(self, **changes: object) -> tuple[int, str]:
        """Exit status and everything printed."""
        stream = io.StringIO()
        status = runner.run(self.request(**changes), stream)
        return status, stream.getvalue()

    def reasons(self, name: str) -> str:
        """What a dry run says about one notebook."""
        _, text = self.run(dry_run=True)
        return next(line for line in text.splitlines() if f" {name}: " in line).partition(": ")[2]


LIBRARY = ledger.library_digests()


@pytest.fixture(autouse=True)
def a_library_that_nobody_edits_meanwhile(monkeypatch):
    monkeypatch.setattr(ledger, "library_digests", lambda: dict(LIBRARY))


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path / "a study")


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """One run over every kind of broken notebook, with a sound one after them."""
    study = Study(tmp_path_factory.mktemp("broken"))
    study.add("01_raises", "1 / 0")
    study.add(
        "02_refuses", "from amfir_lib.errors import TooFewVideos\nraise TooFewVideos('class \"cartwheel\" is small.')"
    )
    study.add(
        "03_killed", "import os, time\nprint('so far so good', flush=True)\ntime.sleep(0.5)\nos.kill(os.getpid(), 9)"
    )
    hang = "import subprocess, time\nprint(subprocess.Popen(['sleep', '600']).pid, flush=True)\ntime.sleep(600)"
    study.add("04_hangs", hang, timeout_s=12)  # longer than a kernel takes to start on a busy machine
    study.add("05_exits", "import sys\nsys.exit(0)")
    study.add("06_forgets", makes=["figures/fig2"])
    study.add("07_no_record", finish=False)
    study.add("08_needs", needs=["01_raises"])
    study.add("09_sound", "import sys\nfor i in range(3):\n    print(f'\\rstep {i}', end='', file=sys.stderr)")
    study.status, study.text = study.run()
    return study


def said(broken: Study, name: str) -> str:
    """The sentence about one failed notebook."""
    return next(line for line in broken.text.splitlines() if line.startswith(f"NotebookFailed: {name}"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("01_raises", "stopped in cell 3 of 4: ZeroDivisionError: division by zero. Full log: "),
        ("02_refuses", 'TooFewVideos: class "cartwheel" is small. Full log'),
        ("03_killed", "stopped in cell 3 of 4: its kernel died (peak memory"),
        ("03_killed", "last line: so far so good"),
        ("04_hangs", "stopped in cell 3 of 4: it did not end within 12 s (--timeout SECONDS raises the limit)"),
        ("05_exits", "stopped after cell 3 of 4, which left the notebook with sys.exit()"),
        ("06_forgets", 'did not make figures/fig2.png, which its metadata declares under "makes"'),
        ("07_no_record", "ran to its end but wrote no record"),
    ],
)
def test_a_broken_notebook_is_named_with_what_went_wrong(broken, name, words):
    assert words in said(broken, name)


def test_a_traceback_is_in_the_log_and_not_on_the_screen(broken):
    log = broken.output_dir / "notebooks" / "01_raises.log"
    assert said(broken, "01_raises").endswith(f"Full log: {log}")
    assert "Traceback" in log.read_text() and "Traceback" not in broken.text


def test_a_hanging_cell_is_ended_with_everything_that_it_started(broken):
    assert not is_alive(int(re.search(r"last line: (\d+)", said(broken, "04_hangs"))[1]))


def test_a_notebook_that_needs_a_failed_one_is_not_run(broken):
    assert "08_needs: not run because 01_raises failed" in broken.text


def test_sound_notebooks_still_run_and_the_run_ends_non_zero(broken):
    assert broken.status == 1
    assert re.search(r"09_sound +done .*tables/09_sound", broken.text)
    assert "1 notebooks run, 0 up to date, 8 failed" in broken.text


def test_a_failed_notebook_is_kept_beside_and_never_over_a_good_one(broken):
    names = {path.name for path in (broken.output_dir / "notebooks").glob("*.ipynb")}
    assert "09_sound.ipynb" in names
    assert "01_raises.failed.ipynb" in names and "01_raises.ipynb" not in names


def test_executed_notebooks_hold_no_paths_of_this_machine_and_no_overwritten_text(broken):
    text = (broken.output_dir / "notebooks" / "09_sound.ipynb").read_text()
    assert str(broken.folder) not in text and "amfir-" not in text
    outputs = [output for cell in json.loads(text)["cells"] for output in cell.get("outputs", ())]
    assert ["step 2"] in [output.get("text") for output in outputs]


@pytest.mark.parametrize(
    ("error", "changes", "words"),
    [
        (UnknownParameter, {"overrides": {"nway": "5"}}, r'"nway" is not a .* of 01_first \(did you mean "n_way"\?\)'),
        (UnknownParameter, {"overrides": {"margin": "0.2"}}, "Only these have it: --only 02_other"),
        (BadParameter, {"overrides": {"n_way": "five"}}, 'n_way of 01_first is "five", .* whole number .* -p n_way=5'),
        (UnknownName, {"only": ("01_frist",)}, 'did you mean "01_first"'),
        (DataNotFound, {"baseline": {"dataset": "folder", "data_root": "/no/clips"}}, "There is no folder /no/clips"),
    ],
)
def test_a_wrong_request_is_refused_before_any_kernel_starts(study, error, changes, words):
    study.add("01_first", parameters=f'{PARAMETERS}\ndataset: str = ""\ndata_root: str = ""')
    study.add("02_other", parameters="n_way: int = 5\nmargin: float = 0.1")
    with pytest.raises(error, match=words):
        study.run(**changes)
    assert not study.results.exists()


def test_a_second_run_computes_nothing_and_says_so(study):
    study.add("01_first")
    assert study.run()[0] == 0
    status, text = study.run()
    assert status == 0
    assert "Nothing to compute: all 1 notebooks are up to date" in text


def test_a_record_keeps_what_it_took_to_compute_its_runs_when_they_are_found_later(tmp_path):
    record = tmp_path / "records" / "01_first.json"
    for n_seeds, seconds, memory, longest in ((3, 60.0, 5, 60.0), (3, 4.0, 2, 60.0), (1, 20.0, 3, 20.0)):
        storage.write_json(record, {"notebook": "01_first", "seeds": list(range(n_seeds)), "seconds": seconds})
        ledger.note_cost(record, tmp_path / "cache", seconds=seconds, peak_memory_bytes=memory)
        found = storage.read_json(record)
        assert found["seconds"] == seconds and cost_of(found)["seconds"] == longest
    storage.write_json(record, {"seconds": 9.0})
    assert cost_of(storage.read_json(record))["seconds"] == 9.0


def test_each_cause_of_staleness_is_named(study, monkeypatch):
    """One run, then one change after the other; a dry run names each."""
    path = study.add("01_first")
    study.run()
    assert study.reasons("01_first") == "up to date"

    table = study.output_dir / "tables" / "01_first.csv"
    content = table.read_text()
    table.write_text("n_way\n6\n")
    assert "tables/01_first.csv is not what the notebook made" in study.reasons("01_first")
    table.unlink()
    assert "tables/01_first.csv is missing" in study.reasons("01_first")
    table.write_text(content)

    changed = LIBRARY | {"amfir_lib/errors.py": "0", "amfir_lib/new.py": "1"}
    monkeypatch.setattr(ledger, "library_digests", lambda: changed)
    assert "amfir_lib/errors.py changed; amfir_lib/new.py is new" in study.reasons("01_first")
    monkeypatch.setattr(ledger, "library_digests", lambda: LIBRARY)

    node = nbformat.read(path, as_version=4)
    node.cells[1].source = node.cells[1].source.replace("n_way: int = 5", "n_way: int = 7")
    nbformat.write(node, path)
    assert "the notebook changed; parameter n_way changed from 5 to 7" in study.reasons("01_first")


def test_outputs_and_plumbing_do_not_make_a_notebook_stale_but_the_mathematics_and_a_new_clip_do(study, tmp_path):
    path = study.add("01_first")
    before, clips = read_notebook(path).digest, ledger.listing_digest(tmp_path)
    node = nbformat.read(path, as_version=4)
    node.cells[1].execution_count = 3
    node.cells[1].metadata["collapsed"] = True
    nbformat.write(node, path)
    assert read_notebook(path).digest == before
    assert "amfir_lib/storage.py" in LIBRARY and not any(name.startswith("amfir_lib/run/") for name in LIBRARY)
    (tmp_path / "clip.avi").write_bytes(b"")
    assert ledger.listing_digest(tmp_path) != clips


def test_a_variant_is_written_beside_the_baseline_and_says_how_it_differs_or_why_it_cannot(study):
    study.add("01_first")
    _, text = study.run(overrides={"n_way": "7"})
    assert "01_first has no baseline yet. Make it with the same command without -p" in text
    study.run()
    table = study.output_dir / "tables" / "01_first.csv"
    before = table.read_bytes()
    status, text = study.run(overrides={"n_way": "7"})
    assert status == 0 and "up to date" in text
    assert "01_first measures no test accuracy; compare its tables" in text
    assert table.read_bytes() == before and study.reasons("01_first") == "up to date"
    variant = study.output_dir / "variants" / "n_way=7" / "tables" / "01_first.csv"
    assert variant.read_text() == "n_way\n7\n"


def test_what_describes_a_data_set_is_part_of_its_baseline(study):
    study.add("01_first", parameters='profile: str = "smoke"\nn_way: int = 5\nclass_counts: str = ""')
    study.add("02_other")
    _, text = study.run(facts={"n_way": "3", "class_counts": "4/3/3"})
    assert "02_other without class_counts: no such parameter there." in text
    assert (study.output_dir / "tables" / "01_first.csv").read_text() == "n_way\n3\n"
    assert not (study.output_dir / "variants").exists()
    assert "parameter n_way changed from 3 to 5" in study.reasons("01_first")


def test_a_dry_run_ends_with_how_many_notebooks_would_run_and_writes_nothing(study):
    study.add("01_first")
    study.add("02_other")
    assert "2 of 2 notebooks would run." in study.run(dry_run=True)[1]
    assert not study.results.exists() and not study.cache.exists()


def test_variants_with_the_same_readable_name_do_not_share_a_folder():
    assert variant_name({"n_ways": "5,6"}) == "n_ways=5,6"
    assert variant_name({"pattern": "a b"}) != variant_name({"pattern": "ab"})
    assert "/" not in variant_name({"x": "../../etc"})


def test_a_runner_killed_half_way_leaves_no_process_and_resumes_after_the_last_done_notebook(study, monkeypatch):
    study.add("01_first")
    study.add(
        "02_slow", "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(float(os.environ.get('PAUSE', 600)))"
    )
    command = [sys.executable, "-m", "amfir_lib", "--notebooks-dir", str(study.notebooks)]
    command += ["--results-dir", str(study.results), "--cache-dir", str(study.cache), "--jobs", "1"]
    environment = os.environ | {"PYTHONPATH": str(paths.REPOSITORY)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, cwd=study.folder)
    log = study.output_dir / "notebooks" / "02_slow.log"
    pids = wait_for(lambda: re.findall(r"^\d+$", log.read_text(), re.M) if log.exists() else None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not is_alive(int(pids[0])))

    # The killed process read the library from the disk; it counts as unchanged since then.
    entry = ledger.read_entry(ledger.entry_path(study.cache, study.output_dir, "01_first"))
    monkeypatch.setattr(ledger, "library_digests", lambda: entry["fingerprint"]["library"])
    study_environment = study.request().environment | {"PAUSE": "0"}
    status, text = study.run(environment=study_environment)
    assert status == 0
    assert "01_first: up to date" in text
    assert "02_slow: runs because the runner has not run it here yet" in text


def test_two_runners_on_one_results_folder_are_refused_with_the_process_named(study):
    study.add("01_first")
    with folder_lock(study.output_dir):
        with pytest.raises(CacheLocked, match=f"Process {os.getpid()} is already writing .*smoke"):
            study.run()
    assert study.run(dry_run=True)[0] == 0  # free again, and a dry run needs no lock


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_disk_that_cannot_lock_is_locked_otherwise_or_named(study, monkeypatch):
    def refuses(number):
        def flock(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", flock)

    refuses(errno.ENOSYS)
    with folder_lock(study.output_dir), pytest.raises(CacheLocked, match="is already writing"):
        with folder_lock(study.output_dir):
            pass
    refuses(errno.ENOLCK)
    with pytest.raises(CacheLocked, match=r"cannot be locked \(No locks available\). Choose a --results-dir"):
        with folder_lock(study.output_dir):
            pass


def test_a_temporary_folder_too_deep_for_the_sockets_of_a_kernel_is_not_used(study, tmp_path, monkeypatch):
    deep = tmp_path / ("deep " * 20)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    monkeypatch.setenv("TMPDIR", str(deep))
    study.add("01_first")
    assert study.run()[0] == 0


def test_an_interrupt_ends_the_kernel_and_keeps_what_is_done(study, monkeypatch):
    study.add("01_first")

    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_notebook", interrupt)
    status, text = study.run()
    assert status == runner.INTERRUPTED
    assert "run the same command again to go on" in text


def test_a_notebook_that_uses_the_records_of_the_library_is_done(study):
    """The real start and finish, from a folder with a space in its name."""
    study.add("01_real", quick=False)
    status, text = study.run()
    assert status == 0, text
    record = json.loads((study.output_dir / "records" / "01_real.json").read_text())
    assert record["options"] == {"n_way": 5}
    assert set(record["exports"]) == {f"tables/01_real.{suffix}" for suffix in ("csv", "md", "tex")}


def test_what_was_left_out_of_the_clips_reaches_the_screen_once(study):
    for name in ("01_first", "02_second"):
        study.add(name, "print('Left out: clips that cannot be read (2): a.avi, b.avi')")
    status, text = study.run()
    assert status == 0 and text.count("Left out: clips that cannot be read (2): a.avi, b.avi") == 1


def is_alive(pid: int) -> bool:
    """Whether a process runs (one that ended and waits for its parent does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition, seconds: float = 240.0):
    """Poll until the condition holds; returns its value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise AssertionError("waited too long")
