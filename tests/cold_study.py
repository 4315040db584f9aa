"""The whole study in the smoke profile, made from an empty cache while the other tests run: neither fills two cores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from amfir_lib import paths

USER = "test_notebooks.py"  # the tests that look at it, which come last


def start_study(folder, *options) -> subprocess.Popen:
    """The runner that users call, in a folder, with all that it says in one pipe or file."""
    place = ["--cache-dir", str(folder / "cache"), "--results-dir", str(folder / "results")]
    command = [sys.executable, "-m", "amfir_lib", "--profile", "smoke", *place, *options]
    environment = os.environ | {"PYTHONPATH": str(paths.REPOSITORY)}
    with (folder / "said").open("w") as said:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=said, start_new_session=True)


@pytest.fixture(scope="session", autouse=True)
def cold_study(request, tmp_path_factory):
    """Its folder, with a space in the name, and its process; None where no test will look at it."""
    if not any(item.path.name == USER for item in request.session.items):
        yield None
        return
    folder = tmp_path_factory.mktemp("a cold study")
    process = start_study(folder)
    yield folder, process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
