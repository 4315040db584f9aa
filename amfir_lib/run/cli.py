"""The command line: reads the options, sets where and how to compute, and calls the command.

The help text is the file ``usage.txt``, which ``run_all.sh`` prints without any set-up.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from amfir_lib import __version__, paths
from amfir_lib.errors import AmfirError, BadParameter, DataNotFound, UnknownName, UnknownParameter, unknown_name

if TYPE_CHECKING:
    from amfir_lib.run.planning import Request

COMMANDS = ("run", "test", "lab", "doctor", "check", "cache", "clean")
FIRST_NOTEBOOK = "00_tour.ipynb"  # what Lab opens
# Lab asks the network for news and updates, and a person whether it may; the versions are pinned here anyway.
QUIET_LAB = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
USAGE_ERRORS = (BadParameter, UnknownName, UnknownParameter, DataNotFound)


class Parser(argparse.ArgumentParser):
    """Argument parser that prints our own help and one sentence for a mistake."""

    def format_help(self) -> str:
        """The text of ``usage.txt``."""
        return (paths.LIBRARY / "run" / "usage.txt").read_text(encoding="utf-8")

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise BadParameter(f"{message}. See: ./run_all.sh --help")


def build_parser() -> Parser:
    """The options of every command but ``test`` and ``lab``, which pass theirs on."""
    parser = Parser(prog="./run_all.sh", allow_abbrev=False, add_help=False)
    parser.add_argument("-h", "--help", nargs="?", const="", metavar="NOTEBOOK")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--profile")
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--dataset")
    parser.add_argument("--data-root")
    parser.add_argument("--group-pattern")
    parser.add_argument("--video-list")
    parser.add_argument("--min-found")
    parser.add_argument("--weights-dir")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--device")
    parser.add_argument("--devices")
    parser.add_argument("--jobs")
    parser.add_argument("--backend", default="")
    parser.add_argument("--scheduler", default="")
    parser.add_argument("--cache-dir")
    parser.add_argument("--results-dir")
    parser.add_argument("--notebooks-dir", default=str(paths.NOTEBOOKS), help=argparse.SUPPRESS)
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--set", dest="facts", action="append", default=[], metavar="NAME=VALUE")
    for flag in ("--list", "--dry-run", "--force", "--cold", "--exact", "--cache", "--variants", "--stale", "--yes"):
        parser.add_argument(flag, action="store_true")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what follows the program's name; default: those of this process.
    Returns:
        Exit status: 0 all well, 1 something failed, 2 the request was wrong, 130 interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command, rest = split_command(arguments)
        if command == "test":
            return _test(rest)
        if command == "lab":
            return _lab(rest)
        return _dispatch(command, build_parser().parse_args(rest))
    except AmfirError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2 if isinstance(error, USAGE_ERRORS) else 1
    except KeyboardInterrupt:
        return 130


def split_command(arguments: list[str]) -> tuple[str, list[str]]:
    """Separate the command, ``run`` if there is none, from what follows it.

    Raises:
        UnknownName: the first word is no command; the nearest one is suggested.
    """
    if not arguments or arguments[0].startswith("-"):
        return "run", arguments
    if arguments[0] not in COMMANDS:
        raise unknown_name("command", arguments[0], COMMANDS[1:])
    return arguments[0], arguments[1:]


def _dispatch(command: str, options: argparse.Namespace) -> int:
    if options.version:
        print(f"amfir-study {__version__}")
        return 0
    if options.help is not None:
        return _help(options)
    _refuse_what_does_not_fit(command, options)
    environment = compute_environment(options)
    if command == "doctor":
        from amfir_lib.run.doctor import examine

        return examine(environment)
    if command in ("cache", "clean"):
        return _housekeeping(command, options, environment)
    return _check(options, environment) if command == "check" else _run(options, environment)


def _refuse_what_does_not_fit(command: str, options: argparse.Namespace) -> None:
    if options.devices and command != "run":
        from amfir_lib.run.planning import no_effect_of_devices

        raise BadParameter(no_effect_of_devices(options.devices))
    if command != "clean" and (options.cache or options.variants or options.stale or options.yes):
        raise BadParameter(
            "--cache, --variants, --stale and --yes belong to the command clean: ./run_all.sh clean --cache"
        )
    if command == "check" and (options.dry_run or options.list):
        raise BadParameter("--dry-run and --list belong to a run, not to check: ./run_all.sh --dry-run")
    if command != "check" and (options.cold or options.exact):
        raise BadParameter("--cold and --exact belong to the command check: ./run_all.sh check --cold")


def compute_environment(options: argparse.Namespace) -> dict[str, str]:
    """The ``AMFIR_*`` variables that the options stand for; folders count from the present working folder.

    Raises:
        BadParameter: a device or number of jobs that cannot be.
        BackendUnavailable: no cluster answers at the scheduler's address.
    """
    from amfir_lib.study.config import check_count, check_share
    from amfir_lib.workers import LOCAL, check_backend, check_device

    environment = {}
    for name, value in (
        ("AMFIR_CACHE_DIR", options.cache_dir),
        ("AMFIR_RESULTS_DIR", options.results_dir),
        ("AMFIR_WEIGHTS_DIR", options.weights_dir),
        ("AMFIR_VIDEO_LIST", options.video_list),
    ):
        if value:
            environment[name] = os.path.abspath(os.path.expanduser(value))
    if options.device:
        environment["AMFIR_DEVICE"] = check_device(options.device)
    if options.devices:
        environment["AMFIR_DEVICES"] = str(check_count("devices", options.devices))
    if options.min_found:
        environment["AMFIR_MIN_FOUND"] = str(check_share(options.min_found))
    if options.jobs:
        environment["AMFIR_JOBS"] = str(check_count("jobs", options.jobs))
    if options.backend or options.scheduler:
        check_backend(options.backend or LOCAL, options.scheduler)
        environment |= {"AMFIR_BACKEND": options.backend, "AMFIR_SCHEDULER": options.scheduler}
    return environment


def _run(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from amfir_lib.run import runner

    request = _request(options, environment)
    return _list(request) if options.list else runner.run(request)


def _check(options: argparse.Namespace, environment: dict[str, str]) -> int:
    from amfir_lib.run.check import check

    named = bool(options.results_dir or os.environ.get("AMFIR_RESULTS_DIR"))
    return check(
        _request(options, environment), cold=options.cold or options.force, exact=options.exact, as_it_is=named
    )


def _request(options: argparse.Namespace, environment: dict[str, str]) -> Request:
    """The options as the runner wants them.

    Raises:
        BadParameter, UnknownName: an option that cannot be.
    """
    from amfir_lib.run.planning import Request, check_facts, parse_assignments
    from amfir_lib.study.config import check_profile
    from amfir_lib.workers import resolve_device

    if options.profile:
        check_profile(options.profile)
    if options.seeds is not None and options.seeds < 1:
        raise BadParameter(f"--seeds is {options.seeds}, but must be at least 1.")
    if options.device and options.device.startswith("cuda"):
        resolve_device(options.device)
    overrides = parse_assignments(options.parameters)
    baseline = {
        "profile": options.profile,
        "dataset": options.dataset,
        "data_root": options.data_root and _from_repository(options.data_root),
        "group_pattern": options.group_pattern,
    }
    baseline = {name: value for name, value in baseline.items() if value}
    baseline |= {name: overrides.pop(name) for name in ("profile", "dataset") if name in overrides}
    if not baseline.get("dataset"):
        baseline |= _dataset_without_a_name(options, str(baseline.get("profile", "")))
    if options.seeds is not None:
        overrides["n_seeds"] = str(options.seeds)
    return Request(
        baseline=baseline,
        facts=check_facts(parse_assignments(options.facts, option="--set"), baseline.get("dataset", "")),
        overrides=overrides,
        only=tuple(name for text in options.only for name in text.split(",") if name.strip()),
        environment=environment,
        force=options.force,
        dry_run=options.dry_run,
        timeout_s=options.timeout,
        notebooks=Path(options.notebooks_dir),
    )


def _dataset_without_a_name(options: argparse.Namespace, profile: str) -> dict[str, str]:
    """The data set that the files under ``--data-root`` are of; or a word on what the profile ``paper`` runs without.

    Raises:
        BadParameter, DataNotFound: the files do not say which data set they are of; lists the names.
    """
    from amfir_lib.study.config import PROFILES

    if options.data_root:
        from amfir_lib.data.recognition import recognise

        name = recognise(Path(os.path.abspath(os.path.expanduser(options.data_root))), video_list=options.video_list)
        print(f"The files in {options.data_root} are named as those of {name}: --dataset {name}.")
        return {"dataset": name}
    if profile == "paper":
        print(
            f"The profile paper without --data-root runs the synthetic benchmarks, {PROFILES[profile].train_steps:,} "
            "steps for each model; add --data-root DIR for a real one."
        )
    return {}


def _from_repository(folder: str) -> str:
    """A relative path as it is named from the repository, where notebooks count from; an absolute one as it is."""
    folder = os.path.expanduser(folder)
    return folder if os.path.isabs(folder) else os.path.relpath(os.path.abspath(folder), paths.REPOSITORY)


def _list(request: Request) -> int:
    from amfir_lib.run.listing import describe
    from amfir_lib.run.planning import plan

    tasks = plan(request)
    print(*describe([task.notebook for task in tasks], tasks[0].config.output_dir), sep="\n")
    return 0


def _help(options: argparse.Namespace) -> int:
    if not options.help:
        print(build_parser().format_help(), end="")
        return 0
    from amfir_lib.run.listing import parameter_line
    from amfir_lib.run.notebooks import find_notebooks, read_notebook, select_notebooks

    for path in select_notebooks(find_notebooks(Path(options.notebooks_dir)), [options.help]):
        print(f"Parameters of {path.stem} (change one with -p NAME=VALUE):")
        print(*(f"  {parameter_line(parameter)}" for parameter in read_notebook(path).parameters.values()), sep="\n")
    return 0


def _housekeeping(command: str, options: argparse.Namespace, environment: dict[str, str]) -> int:
    from amfir_lib.run import housekeeping
    from amfir_lib.study.config import Config

    config = Config.from_notebook({}, environ=os.environ | environment)
    if command == "cache":
        return housekeeping.show_cache(config.cache_dir, config.results_dir)
    everything = not (options.cache or options.variants or options.stale)
    return housekeeping.clean(
        config.cache_dir,
        config.results_dir,
        cache=options.cache or everything,
        variants=options.variants or everything,
        stale=options.stale,
        yes=options.yes,
    )


def _test(arguments: list[str]) -> int:
    """Run pytest from the repository; what pytest prints is all that is printed."""
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=paths.REPOSITORY, check=False).returncode


def _lab(arguments: list[str]) -> NoReturn:
    """Become JupyterLab with the tour open and this interpreter as the kernel ``python3``, registered for it alone."""
    from amfir_lib.run.housekeeping import tag_cache
    from amfir_lib.run.supervise import python_path, write_kernel_spec
    from amfir_lib.storage import digest_of, write_json
    from amfir_lib.study.config import Config

    cache_dir = Config.from_notebook({}).cache_dir
    tag_cache(cache_dir)
    folder = cache_dir / "jupyter" / digest_of(sys.executable)
    write_kernel_spec(folder)
    write_json(folder / "labconfig" / "page_config.json", QUIET_LAB)
    environment = os.environ | {"PYTHONPATH": python_path()}
    for name in ("JUPYTER_PATH", "JUPYTER_CONFIG_PATH"):  # kernels, settings
        environment[name] = os.pathsep.join(filter(None, [str(folder), os.environ.get(name, "")]))
    usual = {
        "--ServerApp.root_dir": str(paths.REPOSITORY),
        "--LabApp.default_url": f"/lab/tree/notebooks/{FIRST_NOTEBOOK}",
    }
    given = {argument.partition("=")[0] for argument in arguments}
    options = [f"{name}={value}" for name, value in usual.items() if name not in given]
    command = [sys.executable, "-m", "jupyterlab", *options, *arguments]
    os.execve(sys.executable, command, environment)
