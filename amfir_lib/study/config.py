"""What a notebook computes, and where and how: its configuration, and the sizes of the three profiles.

What to compute comes from the parameters cell of the notebook; where and how comes from environment variables that the
command line sets (``AMFIR_CACHE_DIR``, ``AMFIR_RESULTS_DIR``, ``AMFIR_DEVICE``, ``AMFIR_DEVICES``, ``AMFIR_JOBS``,
``AMFIR_WEIGHTS_DIR``, ``AMFIR_VIDEO_LIST``, ``AMFIR_MIN_FOUND``, ``AMFIR_VARIANT``) and that never enter the key of a
run; what is prepared from a video list does, through the digest of the data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from amfir_lib import paths
from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.storage import digest_of
from amfir_lib.workers import available_cores, check_device

SYNTHETIC_BENCHMARKS = ("synth-kinetics", "synth-ssv2", "synth-hmdb51", "synth-ucf101")
REAL_BENCHMARKS = ("kinetics100", "ssv2_small", "ssv2_full", "hmdb51", "ucf101")
FOLDER = "folder"
DATASETS = (*SYNTHETIC_BENCHMARKS, *REAL_BENCHMARKS, FOLDER)
LEAST = {  # of a notebook's parameter, or of each entry of a list; 0 stands for the profile's
    "n_way": 2, "n_ways": 2, "n_shot": 1, "n_shots": 1, "train_shots": 1, "n_query": 1, "train_steps": 1,
    "e2e_steps": 1, "n_test_episodes": 2, "n_episodes": 2, "validate_every": 1, "input_size": 16, "clips_per_class": 2,
}  # fmt: skip
OF_AMFIR = ("kd_lambda", "score", "ami_weight")  # parameters of notebooks that are options of the method
COMMON_PARAMETERS = ("profile", "dataset", "data_root", "group_pattern", "n_seeds", "seed")


@dataclass(frozen=True)
class Profile:
    """How much is computed; the defaults are the study's."""

    name: str
    clips_per_class: int = 20
    corpus_classes: int = 128
    corpus_clips_per_class: int = 12
    pretrain_epochs: int = 8
    n_way: int = 5
    train_shots: tuple[int, ...] = (1, 5)  # training steps take them in turn
    test_shots: tuple[int, ...] = (1, 5)
    n_query: int = 5  # of each class
    train_steps: int = 200
    episodes_per_step: int = 8
    validate_every: int = 50  # steps
    curve_every: int = 5  # the same where a curve over training is drawn (Figure 2)
    n_val_episodes: int = 200
    n_test_episodes: int = 1000  # per cell of a table
    n_seeds: int = 3
    backbone: str = "compact"
    # Synthetic data set -> (train, val, test) classes; one that is not named has at least those of the real one.
    class_counts: dict[str, tuple[int, int, int]] = field(default_factory=dict)


STUDY = Profile("study")
SMOKE = Profile(
    "smoke", clips_per_class=8, corpus_classes=6, corpus_clips_per_class=8, pretrain_epochs=1, train_shots=(1, 2),
    test_shots=(1, 2), n_query=2, train_steps=4, episodes_per_step=2, validate_every=2, curve_every=2,
    n_val_episodes=20, n_test_episodes=40, n_seeds=1,
    class_counts=dict.fromkeys(SYNTHETIC_BENCHMARKS, (6, 6, 8)),  # even: those of synth-ssv2 come in pairs
)  # fmt: skip
PAPER = Profile(
    "paper", train_steps=10_000, episodes_per_step=16, validate_every=500, curve_every=100, n_val_episodes=1000,
    n_test_episodes=10_000, backbone="resnet50+i3d",
)  # fmt: skip
PROFILES = {profile.name: profile for profile in (SMOKE, STUDY, PAPER)}


@dataclass(frozen=True)
class Config:
    """Everything that a notebook was asked to do, checked once.

    Attributes:
        study: sub-folder of the results: the profile's name, or the data set's.
        data_root: folder of the user's own clips, or of a real benchmark, or None.
        group_pattern: regular expression that finds the group in a file name, or None.
        seed: first of the training seeds.
        device: ``auto``, ``cpu`` or ``cuda:N``, as asked for; see ``workers.resolve_device``.
        jobs: worker processes; ``devices`` share an end-to-end training.
        video_list: published video list of a real benchmark, or None to look for it in the data root.
        min_found: smallest accepted share of the videos of each class of a real benchmark, or None for the default.
        variant: name of a re-run with changed parameters, kept beside the baseline; empty for the baseline itself.
        options: the parameters that only this notebook has.
    """

    profile: Profile
    study: str
    datasets: tuple[str, ...]
    data_root: Path | None
    group_pattern: str | None
    n_seeds: int
    seed: int
    cache_dir: Path
    results_dir: Path
    device: str
    jobs: int
    devices: int = 1
    weights_dir: Path | None = None
    video_list: Path | None = None
    min_found: float | None = None
    variant: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def output_dir(self) -> Path:
        """The folder that receives tables/, figures/, notebooks/ and records/ of this run."""
        base = self.results_dir / self.study
        return base / "variants" / self.variant if self.variant else base

    @property
    def data_choices(self) -> dict[str, str]:
        """What else decides which videos are used; empty unless it was given."""
        given = {"video_list": self.video_list, "min_found": self.min_found}
        return {name: str(value) for name, value in given.items() if value is not None}

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds."""
        return tuple(range(self.seed, self.seed + self.n_seeds))

    @property
    def workplace(self) -> dict[str, Any]:
        """Where and on what runs are computed, as ``run_all`` takes it; nothing of it enters a key."""
        return {"cache_dir": self.cache_dir, "n_jobs": self.jobs, "device": self.device}

    def size(self, name: str) -> Any:
        """A size of training or test: the notebook's parameter unless it is 0 or empty, else the profile's."""
        return self.options.get(name) or getattr(self.profile, name)

    def having(self, **options: Any) -> Config:
        """The same with other values of these parameters of the notebook."""
        return replace(self, options={**self.options, **options})

    def as_variant(self, changes: Mapping[str, Any]) -> Config:
        """The same with its results beside those of the baseline, under the name of these parameters."""
        return replace(self, variant=variant_name(changes))

    @classmethod
    def from_notebook(
        cls,
        parameters: Mapping[str, Any],
        *,
        benchmarks: Sequence[str] = SYNTHETIC_BENCHMARKS,
        environ: Mapping[str, str] | None = None,
    ) -> Config:
        """Build the configuration from a notebook's variables (``locals()``), right after the parameters cell.

        Names with a leading underscore and anything that is no plain value are left out.  ``benchmarks`` are those that
        ``dataset = ""`` stands for in this notebook.

        Raises:
            UnknownName: no such profile or data set; the nearest one is suggested.
            BadParameter: a value out of its range, a data set of real clips without ``data_root``, or a group pattern
                for anything but a folder.
        """
        values = {name: value for name, value in parameters.items() if _is_parameter(name, value)}
        environ = os.environ if environ is None else environ
        profile = check_profile(values.get("profile", "study"))
        dataset = values.get("dataset", "")
        if dataset and dataset not in DATASETS:
            raise unknown_name("data set", dataset, DATASETS)
        check_options(values)
        data_root = _data_root(dataset, values.get("data_root", ""))
        group_pattern = values.get("group_pattern") or None
        if group_pattern and dataset != FOLDER:
            raise BadParameter(
                f'The group pattern "{group_pattern}" is for your own clips: add --dataset folder --data-root DIR. '
                "All other data sets know their groups."
            )
        n_seeds = values.get("n_seeds", 0) or profile.n_seeds
        if values.get("seed", 0) < 0:
            raise BadParameter(f"seed is {values['seed']}, but must be 0 or more.")
        if n_seeds < 1:
            raise BadParameter(f"n_seeds is {n_seeds}, but must be at least 1 (0 means: as many as the profile says).")
        return cls(
            profile=profile,
            study=study_name(profile.name, dataset, data_root),
            datasets=(dataset,) if dataset else tuple(benchmarks),
            data_root=data_root,
            group_pattern=group_pattern,
            n_seeds=n_seeds,
            seed=values.get("seed", 0),
            cache_dir=_folder(environ.get("AMFIR_CACHE_DIR"), paths.default_cache_dir()),
            results_dir=_folder(environ.get("AMFIR_RESULTS_DIR"), paths.RESULTS),
            device=check_device(environ.get("AMFIR_DEVICE") or "auto"),
            jobs=check_count("jobs", environ.get("AMFIR_JOBS") or available_cores()),
            devices=check_count("devices", environ.get("AMFIR_DEVICES") or 1),
            weights_dir=_folder(environ.get("AMFIR_WEIGHTS_DIR"), None),
            video_list=_folder(environ.get("AMFIR_VIDEO_LIST"), None),
            min_found=check_share(environ["AMFIR_MIN_FOUND"]) if environ.get("AMFIR_MIN_FOUND") else None,
            variant=environ.get("AMFIR_VARIANT", ""),
            options={name: value for name, value in values.items() if name not in COMMON_PARAMETERS},
        )


def check_options(values: Mapping[str, Any]) -> None:
    """Refuse values of a notebook's parameters that no data set could make right, before anything is computed.

    Raises:
        BadParameter, UnknownName, UnknownParameter: a number too small; a method, an option of AMFIR, a backbone or an
            algorithm that does not exist, or a value that the option does not have.
    """
    for name in values.keys() & LEAST.keys():
        given, least = values[name], LEAST[name]
        numbers = given if isinstance(given, list | tuple) else [given] if given else []
        for number in numbers:
            if not isinstance(number, int) or number < least:
                raise BadParameter(f"{name} is {given}, but must be whole and at least {least}. Correct it.")
    # Imported where they are needed: PyTorch takes seconds.
    of_amfir = {name: values[name] for name in OF_AMFIR if name in values} | dict(values.get("method_options") or {})
    if of_amfir or values.get("methods"):
        from amfir_lib.methods import resolve_options

        for method, options in [("amfir", of_amfir), *((name, {}) for name in values.get("methods") or ())]:
            resolve_options(method, options)
    if values.get("backbone", "auto") not in ("", "auto"):
        from amfir_lib.backbones.opening import names_of_streams

        names_of_streams(values["backbone"])
    if values.get("flow_algorithm"):
        from amfir_lib.data.flow import check_flow_algorithm

        check_flow_algorithm(values["flow_algorithm"])


def check_profile(name: str) -> Profile:
    """The profile of that name; refuses another one with the nearest name."""
    if name not in PROFILES:
        raise unknown_name("profile", name, PROFILES)
    return PROFILES[name]


def study_name(profile: str, dataset: str, data_root: Path | None) -> str:
    """Name of the results sub-folder.

    The four synthetic benchmarks together are named after the profile, one data set after itself, the user's own
    folder after the folder; with the smoke profile it lies below ``smoke/``, so that a trial overwrites no result.
    """
    if not dataset:
        return profile
    name = data_root.name if dataset == FOLDER and data_root is not None else dataset
    name = f"folder-{name}" if dataset == FOLDER and name in (*PROFILES, *DATASETS) else name
    return f"smoke/{name}" if profile == "smoke" else name


def variant_name(changes: Mapping[str, Any]) -> str:
    """Folder name of a re-run with changed parameters: ``n_ways=5,10``; empty without changes."""
    name = ",".join(f"{key}={changes[key]}" for key in sorted(changes))
    safe = re.sub(r"[^A-Za-z0-9_.=,+-]", "", name)
    return safe if safe == name and len(safe) <= 80 else f"{safe[:80]}-{digest_of(dict(changes))[:8]}"


def check_count(name: str, number: str | int) -> int:
    """Return the number of ``jobs`` or ``devices`` as a whole number of at least 1."""
    if not str(number).isdigit() or int(number) < 1:
        raise BadParameter(f'The number of {name} is "{number}", but must be a whole number of at least 1.')
    return int(number)


def check_share(share: str | float) -> float:
    """Return ``--min-found`` as a number between 0 and 1."""
    try:
        value = float(share)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BadParameter(f'The share of videos (--min-found) is "{share}", but must lie between 0 and 1, like 0.8.')
    return value


def _is_parameter(name: str, value: Any) -> bool:
    if name.startswith("_") or name in ("In", "Out"):
        return False
    if isinstance(value, list | tuple):
        return all(_is_parameter("item", item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_parameter("item", item) for key, item in value.items())
    return value is None or isinstance(value, str | int | float | bool)


def _data_root(dataset: str, text: str) -> Path | None:
    reads_it = dataset in (*REAL_BENCHMARKS, FOLDER)
    if reads_it and not text:
        raise BadParameter(
            f'The data set "{dataset}" needs the folder of the clips: add --data-root DIR (or data_root).'
        )
    if text and not reads_it:
        raise BadParameter(
            f'data_root is "{text}", but no data set reads it: add --dataset folder, or {", ".join(REAL_BENCHMARKS)}.'
        )
    return _folder(text, None)


def _folder(text: str | None, default: Path | None) -> Path | None:
    """An absolute path; a relative one counts from the repository, whatever the kernel's working folder is."""
    if not text:
        return default
    return Path(os.path.normpath(paths.REPOSITORY / Path(text).expanduser()))
