"""What is asked of the runner, checked in whole before a kernel starts: names, parameters, configuration."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amfir_lib import paths
from amfir_lib.errors import BadParameter, DataNotFound, UnknownParameter
from amfir_lib.run.notebooks import Notebook, check_values, find_notebooks, read_notebook
from amfir_lib.storage import digest_of, read_sealed
from amfir_lib.study.config import Config, variant_name

DATA_FACTS = ("appearance", "class_counts", "class_folds", "n_way", "n_query")
"""Parameters that describe a data set, which ``--set`` gives to its baseline: without them it may not run at all."""
READING = ("class_counts", "class_folds", "class_fold", "n_way")  # in which the notebooks of a request may differ


@dataclass(frozen=True)
class Request:
    """What the user asked for; None and empty mean "as usual"."""

    baseline: dict[str, Any] = field(default_factory=dict)  # chooses the study: profile, dataset, data_root ...
    facts: dict[str, Any] = field(default_factory=dict)  # ``--set``: describe the data set, part of its baseline
    overrides: dict[str, Any] = field(default_factory=dict)  # ``-p``, ``--seeds``: make it a variant
    only: tuple[str, ...] = ()  # names or numbers of notebooks
    environment: dict[str, str] = field(default_factory=dict)  # the ``AMFIR_*`` variables
    force: bool = False
    dry_run: bool = False
    timeout_s: float | None = None
    notebooks: Path = paths.NOTEBOOKS


@dataclass(frozen=True)
class Task:
    """One notebook with everything checked that can be checked before a kernel starts."""

    notebook: Notebook
    given: dict[str, Any]
    config: Config
    environment: dict[str, str]

    @property
    def parameters(self) -> dict[str, Any]:
        """All parameters, defaults included."""
        return {name: parameter.default for name, parameter in self.notebook.parameters.items()} | self.given


def plan(request: Request) -> list[Task]:
    """Check names, parameters and configuration of everything that was asked for; no kernel is started.

    Raises:
        UnknownName, UnknownParameter, BadParameter, DataNotFound: with the nearest name or a remedy.
    """
    notebooks = [read_notebook(path) for path in find_notebooks(request.notebooks, request.only).values()]
    environment = request.environment | {"AMFIR_VARIANT": variant_name(request.overrides)}
    tasks = []
    for notebook in notebooks:
        facts = {name: value for name, value in request.facts.items() if name in notebook.parameters}
        wanted = request.baseline | facts | request.overrides
        try:
            checked = check_values(notebook, wanted)
        except UnknownParameter as error:
            others = [other.name for other in notebooks if wanted.keys() <= other.parameters.keys() | facts.keys()]
            hint = f" Only these have it: --only {','.join(others)}" if others else ""
            raise UnknownParameter(f"{error}{hint}") from None
        given = {name: value for name, value in checked.items() if value != notebook.parameters[name].default}
        defaults = {name: parameter.default for name, parameter in notebook.parameters.items()}
        config = Config.from_notebook(defaults | given, environ=os.environ | environment)
        if config.data_root is not None and not config.data_root.is_dir():
            clips = "your clips" if config.datasets == ("folder",) else f"the videos of {config.datasets[0]}"
            raise DataNotFound(f"There is no folder {config.data_root}; --data-root must be the folder of {clips}.")
        # Folders are made absolute: the working folder of the kernel is another one.
        places = {"AMFIR_CACHE_DIR": str(config.cache_dir), "AMFIR_RESULTS_DIR": str(config.results_dir)}
        tasks.append(Task(notebook, given, config, environment | places))
    place, root = source_path(tasks[0].config), tasks[0].config.data_root
    other = (read_sealed(place) or {}).get("data_root")
    if root is not None and other not in (None, str(root)) and Path(other).is_dir():
        raise BadParameter(
            f"{tasks[0].config.output_dir} holds the results of {other}, another folder of the same name. Choose "
            "another --results-dir, or rename one of them."
        )
    n_devices = tasks[0].config.devices
    if n_devices > 1 and not any(task.parameters.get("end_to_end") for task in tasks):
        raise no_effect_of_devices(n_devices)
    return tasks


def source_path(config: Config) -> Path:
    """The file of the cache that says whose clips the results of a study are; never a path in the results."""
    return config.cache_dir / "studies" / f"{digest_of(str(config.results_dir / config.study))}.json"


def remarks(tasks: list[Task], request: Request) -> list[str]:
    """What the user should know before anything runs: options that some notebooks lack, and the clips by their names.

    Raises:
        DataNotFound, ManifestError, BadParameter: the clips, their groups or classes cannot be used as they are.
    """
    sentences = []
    for fact in request.facts:
        if lacking := [task.notebook.name for task in tasks if fact not in task.notebook.parameters]:
            sentences.append(f"{', '.join(lacking)} without {fact}: no such parameter there.")
    looks: dict[tuple, str] = {}
    for task in tasks if tasks[0].config.data_root is not None else ():
        from amfir_lib.run.first_look import look

        names = task.notebook.parameters.keys()
        draws_episodes = not names.isdisjoint(("n_query", "n_shot")) and "n_ways" not in names
        reading = (draws_episodes, *(str(task.parameters.get(name)) for name in READING))
        if reading not in looks:  # notebooks that read the clips alike need one look together
            looks[reading] = look(task.config, draws_episodes=draws_episodes)
    return [*sentences, *dict.fromkeys(looks.values())]


def no_effect_of_devices(n_devices: int | str) -> BadParameter:
    """The refusal of ``--devices`` where no backbone is trained."""
    return BadParameter(
        f"--devices {n_devices} is for training the backbones: add --only 02_training -p end_to_end=True. Leave it out "
        "for anything else; --device cuda:N chooses one GPU."
    )


def check_facts(facts: dict[str, str], dataset: str) -> dict[str, str]:
    """Return what ``--set`` gives, if it describes one data set.

    Raises:
        BadParameter: no single data set was chosen, or the parameter describes none.
    """
    for name, value in facts.items():
        if name not in DATA_FACTS or not dataset:
            raise BadParameter(
                f"--set {name}={value}: what describes one data set is set for good ({', '.join(DATA_FACTS)}), with "
                f"--dataset NAME. Any other change is a variant: -p {name}={value}"
            )
    return facts


def parse_assignments(texts: list[str], *, option: str = "-p") -> dict[str, str]:
    """``["n_way=5"]`` -> ``{"n_way": "5"}``; ``option`` is what they were typed after.

    Raises:
        BadParameter: no equals sign, or a name given twice.
    """
    assignments: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise BadParameter(f'"{option} {text}" is not of the form {option} NAME=VALUE.')
        if name in assignments:
            raise BadParameter(f"{option} {name} is given twice; which of the two values is meant?")
        assignments[name] = value
    return assignments
