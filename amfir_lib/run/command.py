"""The command line: reads the options, sets where and how to compute, and calls the command.

The help text is the file ``usage.txt``, which ``run_all.sh`` prints without any set-up.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from amfir_lib import __version__, paths
from amfir_lib.errors import AmfirError, BadParameter, DataNotFound, UnknownName, UnknownParameter, unknown_name

if TYPE_CHECKING:
    from amfir_lib.run.plan import Request

COMMANDS = ("run", "test", "lab", "doctor", "check", "cache", "clean")
FIRST_NOTEBOOK = "00_tour.ipynb"  # what Lab opens
# Lab asks the network for news and updates, and a person whether it may; the versions are pinned here anyway.
QUIET_LAB = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
USAGE_ERRORS = (BadParameter, UnknownName, UnknownParameter, DataNotFound)
TEXTS = "profile dataset data-root group-pattern".split()
PLACES = (  # where and how to compute
    "video-list min-found weights-dir device devices jobs cache-dir results-dir backend scheduler".split()
)
FLAGS = "version list dry-run force cold exact cache variants stale yes".split()
BELONGS = (  # flags, the command that they belong to, what to say elsewhere
    ("cache variants stale yes".split(), "clean", "--cache, --variants, --stale and --yes belong to the command clean"),
    ("cold exact".split(), "check", "--cold and --exact belong to the command check: ./run_all.sh check --cold"),
    ("dry_run list".split(), "run", "--dry-run and --list belong to a run: ./run_all.sh --dry-run"),
)


class Parser(argparse.ArgumentParser):
    """Argument parser that prints our own help and one sentence for a mistake."""

    def format_help(self) -> str:
        """The text of ``usage.txt``."""
        return (paths.LIBRARY / "run" / "usage.txt").read_text(encoding="utf-8")

    def error(self, message: str) -> NoReturn:
        """Refuse the command line, with the nearest option where there is no such one."""
        unknown, _, given = message.partition("unrecognized arguments: ")
        if given and not unknown and given.startswith("-"):
            raise unknown_name("option", given.split()[0].partition("=")[0], self._option_string_actions)
        raise BadParameter(f"{message}. See: ./run_all.sh --help")


def build_parser() -> Parser:
    """The options of every command but ``test`` and ``lab``, which pass theirs on."""
    parser = Parser(prog="./run_all.sh", allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", nargs="?", const="", metavar="NOTEBOOK")
    for name in (*TEXTS, *PLACES):
        parser.add_argument(f"--{name}", default="")
    for name in FLAGS:
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--set", dest="facts", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--notebooks-dir", type=Path, default=paths.NOTEBOOKS, help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; exit status: 0 all well, 1 something failed, 2 the request was wrong, 130 interrupted."""
    try:
        command, rest = split_command(sys.argv[1:] if arguments is None else arguments)
        if command == "test":  # what pytest prints is all that is printed
            return subprocess.run([sys.executable, "-m", "pytest", *rest], cwd=paths.REPOSITORY).returncode
        return _lab(rest) if command == "lab" else _dispatch(command, build_parser().parse_args(rest))
    except AmfirError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2 if isinstance(error, USAGE_ERRORS) else 1
    except PermissionError as error:
        print(
            f"{error.filename} may not be read or written ({error.strerror}). Change its permissions, or choose "
            "another --cache-dir, --results-dir or --data-root.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130


def split_command(arguments: list[str]) -> tuple[str, list[str]]:
    """Separate the command, ``run`` if there is none, from what follows it."""
    if not arguments or arguments[0].startswith("-"):
        return "run", arguments
    if arguments[0] not in COMMANDS:
        raise unknown_name("command", arguments[0], COMMANDS[1:])
    return arguments[0], arguments[1:]


def _dispatch(command: str, options: argparse.Namespace) -> int:
    if options.version:
        print(f"amfir-study {__version__}")
        return 0
    if options.help in ("", *COMMANDS):
        print(build_parser().format_help(), end="")
        return 0
    # Imported where they are needed: a mistyped option is refused at once.
    from amfir_lib.run.notebooks import describe, find_notebooks, read_notebook
    from amfir_lib.run.plan import no_effect_of_devices, plan

    if options.help:
        for name, path in find_notebooks(options.notebooks_dir, [options.help]).items():
            print(f"Parameters of {name} (change one with -p NAME=VALUE):")
            print(*(f"  {parameter}" for parameter in read_notebook(path).parameters.values()), sep="\n")
        return 0
    if options.devices and command != "run":
        raise no_effect_of_devices(options.devices)
    for flags, owner, refusal in BELONGS:
        if command != owner and any(getattr(options, flag) for flag in flags):
            raise BadParameter(refusal)
    environment = compute_environment(options)
    if command == "doctor":
        from amfir_lib.run.doctor import examine

        return examine(environment)
    if command in ("cache", "clean"):
        return _clean(command, options, environment)
    request = _request(options, environment)
    if command == "check":
        from amfir_lib.run.check import check

        named = bool(options.results_dir or os.environ.get("AMFIR_RESULTS_DIR"))
        return check(request, cold=options.cold or options.force, exact=options.exact, as_it_is=named)
    if options.list:
        tasks = plan(request)
        print(*describe([task.notebook for task in tasks], tasks[0].config.output_dir), sep="\n")
        return 0
    from amfir_lib.run import runner

    return runner.run(request)


def compute_environment(options: argparse.Namespace) -> dict[str, str]:
    """The ``AMFIR_*`` variables that the options stand for; folders count from the present working folder."""
    from amfir_lib.study.config import check_count, check_share
    from amfir_lib.workers import LOCAL, check_backend, check_device

    readers = dict.fromkeys(("cache_dir", "results_dir", "weights_dir", "video_list"), _absolute)
    readers |= {name: partial(check_count, name) for name in ("devices", "jobs")}
    readers |= {"device": check_device, "min_found": check_share}
    given = {name: getattr(options, name) for name in readers}
    environment = {f"AMFIR_{name.upper()}": str(readers[name](value)) for name, value in given.items() if value}
    if options.backend or options.scheduler:
        check_backend(options.backend or LOCAL, options.scheduler)
        environment |= {"AMFIR_BACKEND": options.backend, "AMFIR_SCHEDULER": options.scheduler}
    return environment


def _absolute(folder: str) -> str:
    return os.path.abspath(os.path.expanduser(folder))


def _request(options: argparse.Namespace, environment: dict[str, str]) -> Request:
    from amfir_lib.run.plan import Request, check_facts, parse_assignments
    from amfir_lib.study.config import check_profile
    from amfir_lib.workers import resolve_device

    if options.profile:
        check_profile(options.profile)
    if options.seeds is not None and options.seeds < 1:
        raise BadParameter(f"--seeds is {options.seeds}, but must be at least 1.")
    if options.device and options.device.startswith("cuda"):
        resolve_device(options.device)
    overrides = parse_assignments(options.parameters)
    baseline = {name: getattr(options, name) for name in ("profile", "dataset", "data_root", "group_pattern")}
    baseline = {name: value for name, value in baseline.items() if value}
    baseline |= {name: overrides.pop(name) for name in ("profile", "dataset") if name in overrides}
    if options.data_root:  # a relative path is named from the repository, where notebooks count from
        folder = os.path.expanduser(options.data_root)
        relative = os.path.relpath(_absolute(folder), paths.REPOSITORY)
        baseline["data_root"] = folder if os.path.isabs(folder) else relative
    if not baseline.get("dataset"):
        baseline |= _dataset_without_a_name(options, baseline.get("profile", ""))
    if options.seeds is not None:
        overrides["n_seeds"] = str(options.seeds)
    facts = check_facts(parse_assignments(options.facts, option="--set"), baseline.get("dataset", ""))
    only = tuple(name for text in options.only for name in text.split(",") if name.strip())
    how = {"force": options.force, "dry_run": options.dry_run, "timeout_s": options.timeout}
    return Request(baseline, facts, overrides, only, environment, **how, notebooks=options.notebooks_dir)


def _dataset_without_a_name(options: argparse.Namespace, profile: str) -> dict[str, str]:
    """The data set that the files under ``--data-root`` are of."""
    if options.data_root:
        from amfir_lib.data.selection import recognise

        name = recognise(Path(_absolute(options.data_root)), video_list=options.video_list)
        print(f"The files in {options.data_root} are named as those of {name}: --dataset {name}.")
        return {"dataset": name}
    if profile == "paper":
        print("The profile paper runs the synthetic benchmarks without --data-root DIR, in full length.")
    return {}


def _clean(command: str, options: argparse.Namespace, environment: dict[str, str]) -> int:
    from amfir_lib.run.clean import clean, show_cache
    from amfir_lib.study.config import Config

    config = Config.from_notebook({}, environ=os.environ | environment)
    if command == "cache":
        return show_cache(config.cache_dir, config.results_dir)
    everything = not (options.cache or options.variants or options.stale)
    cache, variants = options.cache or everything, options.variants or everything
    return clean(
        config.cache_dir, config.results_dir, cache=cache, variants=variants, stale=options.stale, yes=options.yes
    )


def _lab(arguments: list[str]) -> NoReturn:
    """Become JupyterLab with the tour open and this interpreter as the kernel ``python3``, registered for it alone."""
    from amfir_lib.run.clean import tag_cache
    from amfir_lib.run.execute import python_path, write_kernel_spec
    from amfir_lib.storage import digest_of, write_json
    from amfir_lib.study.config import Config

    parser = Parser(allow_abbrev=False, add_help=False)
    for name in PLACES:
        parser.add_argument(f"--{name}", default="")
    places, arguments = parser.parse_known_args(arguments)
    environment = os.environ | compute_environment(places)
    cache_dir = Config.from_notebook({}, environ=environment).cache_dir
    tag_cache(cache_dir)
    folder = cache_dir / "jupyter" / digest_of(sys.executable)
    write_kernel_spec(folder)
    write_json(folder / "labconfig" / "page_config.json", QUIET_LAB)
    environment |= {"PYTHONPATH": python_path()}
    for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH"):  # kernels, settings
        environment[name] = os.pathsep.join(filter(None, [str(folder), os.environ.get(name, "")]))
    usual = [f"--ServerApp.root_dir={paths.REPOSITORY}", f"--LabApp.default_url=/lab/tree/notebooks/{FIRST_NOTEBOOK}"]
    usual += ["--ContentsManager.pre_save_hook=amfir_lib.run.lab.save_without_outputs"]
    given = {argument.partition("=")[0] for argument in arguments}  # Jupyter takes each of them once
    options = [option for option in usual if option.partition("=")[0] not in given]
    os.execve(sys.executable, [sys.executable, "-m", "jupyterlab", *options, *arguments], environment)
