"""One list of pins holds the lock, environment.yml and pyproject.toml together."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from amfir_lib import __version__, paths
from amfir_lib.run import doctor

CARD = ("torch", "torchvision", "jupyterlab", "matplotlib", "seaborn", "pandas", "papermill", "opencv-python")
PROJECT = tomllib.loads((paths.REPOSITORY / "pyproject.toml").read_text())
CONDA = yaml.safe_load((paths.REPOSITORY / "environment.yml").read_text())
PINS = [line for line in paths.LOCK_FILE.read_text().splitlines() if line and not line.startswith("#")]


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def test_every_line_of_the_lock_is_one_exact_pin_and_none_names_a_place():
    for line in PINS:
        (specifier,) = Requirement(line).specifier
        assert specifier.operator == "==" and "*" not in specifier.version, line
        assert not re.search(r"https?:|file:|@ |--|/(home|opt|tmp|root)/", line)


def test_the_lock_holds_every_direct_dependency_with_a_version_that_the_project_accepts():
    optional = PROJECT["project"]["optional-dependencies"]
    pinned = [Requirement(line) for line in PINS]
    for text in [*PROJECT["project"]["dependencies"], *optional["test"], *optional["imagenet"]]:
        wanted = Requirement(text)
        versions = [pin.specifier for pin in pinned if canonicalize_name(pin.name) == canonicalize_name(wanted.name)]
        assert versions, f"{wanted.name} is not in requirements.lock"
        assert all(wanted.specifier.contains(next(iter(version)).version) for version in versions)


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_each_package_has_one_version_on_each_system_and_python(python, system):
    machine = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": system,
        "os_name": "posix",
    }
    seen = set()
    for pin in map(Requirement, PINS):
        if pin.marker is None or pin.marker.evaluate(machine):
            assert pin.name not in seen, f"{pin.name} is pinned twice for Python {python} on {system}"
            seen.add(pin.name)
    assert names(PROJECT["project"]["dependencies"]) <= {canonicalize_name(name) for name in seen}


def test_the_conda_route_reads_the_same_list_and_has_no_versions_of_its_own():
    *packages, pip = CONDA["dependencies"]
    assert f"python{PROJECT['project']['requires-python']}" in packages
    first, *listed, last = pip["pip"]
    assert (first, last) == ("-r requirements.lock", "-e .")
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", name) for name in listed)
    assert set(CARD) <= set(listed) and names(listed) == names(PROJECT["project"]["dependencies"])


def test_package_and_citation_have_the_same_version():
    assert yaml.safe_load((paths.REPOSITORY / "CITATION.cff").read_text())["version"] == __version__


@pytest.mark.parametrize(
    ("lock", "installed", "differences"),
    [
        ("# comment\nnumpy==0.1\nnone==1.0\nonly-there==1 ; sys_platform == 'win32'\npip==25.0\n",
         {"numpy": "2.0", "pip": "25.0+local"}, ["numpy is 2.0, not 0.1", "none 1.0 is missing"]),
        ("opencv-python==5.0.0.93\n", {"opencv-python-headless": "5.0.0.93"}, []),
        ("opencv-python==5.0.0.93\n", {"opencv-python-headless": "4.9"}, ["opencv-python 5.0.0.93 is missing"]),
    ],
)  # fmt: skip
def test_differences_are_named_by_package_and_any_opencv_wheel_of_the_pinned_version_will_do(
    tmp_path, monkeypatch, lock, installed, differences
):
    (tmp_path / "requirements.lock").write_text(lock)
    monkeypatch.setattr(doctor, "installed_version", installed.get)
    assert doctor.differences(tmp_path / "requirements.lock") == differences


def test_the_check_runs_as_a_script_of_its_own(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("no-such-package==1.0\n")
    command = [sys.executable, str(paths.LIBRARY / "run" / "doctor.py"), str(lock)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "no-such-package 1.0 is missing\n")
    assert subprocess.run([*command[:2], "--quiet", str(lock)], capture_output=True).stdout == b""
