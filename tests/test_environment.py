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


def pip_section() -> list[str]:
    return next(entry["pip"] for entry in CONDA["dependencies"] if isinstance(entry, dict))


def test_every_line_of_the_lock_is_one_exact_pin():
    for line in PINS:
        specifiers = list(Requirement(line).specifier)
        assert [specifier.operator for specifier in specifiers] == ["=="], line
        assert "*" not in specifiers[0].version


def test_the_lock_names_no_index_and_no_place_of_any_machine():
    assert not re.search(r"https?:|file:|@ |--|/(home|opt|tmp|root)/", "\n".join(PINS))


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
    section = pip_section()
    assert section[0] == "-r requirements.lock"
    assert section[-1] == "-e ."
    listed = section[1:-1]
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", name) for name in listed)
    assert set(CARD) <= set(listed)
    assert names(listed) == names(PROJECT["project"]["dependencies"])


def test_conda_and_pip_ask_for_the_same_python():
    wanted = next(entry for entry in CONDA["dependencies"] if str(entry).startswith("python"))
    assert wanted == f"python{PROJECT['project']['requires-python']}"


def test_package_and_citation_have_the_same_version():
    citation = yaml.safe_load((paths.REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == __version__


def test_differences_are_named_by_package(tmp_path, monkeypatch):
    lock = tmp_path / "requirements.lock"
    lock.write_text("# comment\nnumpy==0.1\nno-such-package==1.0\nonly-there==1 ; sys_platform == 'win32'\npip==25.0\n")
    found = {"numpy": "2.0", "pip": "25.0+local"}
    monkeypatch.setattr(doctor, "installed_version", found.get)
    assert doctor.differences(lock) == ["numpy is 2.0, not 0.1", "no-such-package 1.0 is missing"]


def test_any_opencv_wheel_of_the_pinned_version_will_do(tmp_path, monkeypatch):
    lock = tmp_path / "requirements.lock"
    lock.write_text("opencv-python==5.0.0.93\n")
    monkeypatch.setattr(doctor, "installed_version", {"opencv-python-headless": "5.0.0.93"}.get)
    assert doctor.differences(lock) == []
    monkeypatch.setattr(doctor, "installed_version", {"opencv-python-headless": "4.9"}.get)
    assert doctor.differences(lock) == ["opencv-python 5.0.0.93 is missing"]


def test_the_check_runs_as_a_script_of_its_own(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("no-such-package==1.0\n")
    command = [sys.executable, str(paths.LIBRARY / "run" / "doctor.py"), str(lock)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "no-such-package 1.0 is missing\n")
    assert subprocess.run([*command[:2], "--quiet", str(lock)], capture_output=True).stdout == b""
