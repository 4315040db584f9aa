"""Work over many items: order, errors, threads.  All comparisons are exact."""

from __future__ import annotations

import cv2
import pytest
from toy_clips import die, refuse_file, refuse_three, run_out_of_memory, square, threads_in_use

from amfir_lib.errors import BadParameter, UnreadableVideo, WorkerFailed
from amfir_lib.parallel import iterate_parallel, map_parallel, progress_bar, single_thread


def test_results_come_in_the_order_of_the_items_for_one_and_four_workers():
    expected = [n * n for n in range(9)]
    assert map_parallel(square, range(9), n_jobs=1, description="squares") == expected
    assert map_parallel(square, range(9), n_jobs=4, description="squares") == expected


def test_no_items_give_no_results():
    assert map_parallel(square, [], n_jobs=4, description="squares") == []


@pytest.mark.filterwarnings("ignore:A worker stopped")
def test_every_worker_and_the_present_process_use_one_thread():
    for n_jobs in (1, 2):
        assert set(map_parallel(threads_in_use, range(2), n_jobs=n_jobs, description="threads")) == {(1, 1)}


def test_the_number_of_threads_is_restored():
    before = cv2.getNumThreads()
    with single_thread():
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_unexpected_error_names_the_item_and_keeps_the_workers_traceback(n_jobs):
    with pytest.raises(WorkerFailed, match="^counting stopped at 3: KeyError: 'three'") as caught:
        map_parallel(refuse_three, range(6), n_jobs=n_jobs, description="counting")
    assert "refuse_three" in caught.value.__notes__[0]
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_that_is_a_sentence_arrives_as_it_was(n_jobs):
    with pytest.raises(UnreadableVideo, match=r"^a.avi is empty \(0 bytes\). Copy it again."):
        map_parallel(refuse_file, ["a.avi", "b.avi"], n_jobs=n_jobs, description="reading")


def test_a_killed_worker_is_reported_with_a_remedy():
    with pytest.raises(WorkerFailed, match="a worker process was killed.*fewer workers.*input_size"):
        map_parallel(die, range(2), n_jobs=2, description="dying")


@pytest.mark.parametrize("kind", ["gpu", "torch", "numpy", "opencv"])
def test_a_lack_of_memory_is_reported_with_a_remedy(kind):
    with pytest.raises(WorkerFailed, match=rf"stopped at {kind}: .*fewer workers \(--jobs, now 1\).*input_size=112"):
        map_parallel(run_out_of_memory, [kind], n_jobs=1, description="reading")


def test_results_before_a_failure_are_handed_out():
    seen = []
    with pytest.raises(WorkerFailed):
        for result in iterate_parallel(refuse_three, range(6), n_jobs=1, description="counting"):
            seen.append(result)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("n_jobs", [0, -2])
def test_a_number_of_workers_that_makes_no_sense_is_refused(n_jobs):
    with pytest.raises(BadParameter, match=f"n_jobs is {n_jobs}"):
        map_parallel(square, [1], n_jobs=n_jobs, description="squares")


def test_short_work_writes_nothing_to_a_log(capsys):
    map_parallel(square, range(3), n_jobs=1, description="squares")
    assert capsys.readouterr().err == ""


def test_long_work_writes_a_line_with_the_time_left_to_a_log(capsys, monkeypatch):
    monkeypatch.setattr("amfir_lib.parallel.LOG_EVERY_SECONDS", 0.0)
    with progress_bar(4, description="squares") as bar:
        bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert any("squares" in line and "1/4" in line for line in lines)
