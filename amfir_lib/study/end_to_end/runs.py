"""Runs whose backbones learn too (Eq. 11 updates theta_m): one more line beside the runs on frozen features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from amfir_lib.backbones import frozen as frozen_module
from amfir_lib.backbones.opening import BACKBONES
from amfir_lib.data import streams
from amfir_lib.data.frames import FrameCache, build_frame_cache
from amfir_lib.data.manifest import Dataset
from amfir_lib.data.streams import MARGIN
from amfir_lib.errors import BackboneUnavailable, BadParameter, UnknownParameter, unknown_name
from amfir_lib.methods import Method, title_of
from amfir_lib.storage import digest_of, read_sealed
from amfir_lib.study.cache import CHECKPOINT, RECORD, code_digests, compute, save_arrays, whole_arrays
from amfir_lib.study.config import Config
from amfir_lib.study.end_to_end import clips as clips_module
from amfir_lib.study.end_to_end.clips import Clips, EndToEnd, seen_by, stored_streams
from amfir_lib.study.end_to_end.devices import check_devices, train_on_devices
from amfir_lib.study.material import Material, TestCell, episodes_of
from amfir_lib.study.runs import STATE, Run, RunJob, RunResult, Series, name_of, save_run
from amfir_lib.study.study import open_backbones, stream_names
from amfir_lib.study.training import HEAD, Training
from amfir_lib.workers import resolve_device

SUFFIX = ", end to end"


@dataclass(frozen=True, kw_only=True)
class RunEndToEnd(RunJob):
    """A run whose backbones learn too; beside the frozen ones in the cache, with a record of the same form.

    Attributes:
        run: method, options, settings and seed, on the material with frozen features of the same backbones.
        backbones: modality -> backbone; where training begins.
    """

    backbones: Mapping[str, Any]
    options: EndToEnd
    frames: FrameCache | None
    n_devices: int = 1

    @property
    def item_name(self) -> str:
        return f"{self.run.item_name}{SUFFIX}"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that can change the result."""
        code = code_digests(streams, frozen_module, clips_module)
        return self.run.identity | {
            "end_to_end": asdict(self.options),
            "backbones": {m: backbone.digest for m, backbone in self.backbones.items()},
            "frames": self.frames.digest,
            "code": self.run.identity["code"] | code,
        }

    @property
    def folder(self) -> Path:
        """Where the cache keeps it."""
        name = f"{self.run.method}-end-to-end-{self.run.seed}-{digest_of(self.identity)}"
        return self.cache_dir / "runs" / self.run.material.dataset.name / name

    def modules(self) -> tuple[Method, Clips]:
        """The method and its clips, with fresh weights.

        Raises:
            BadParameter: the method is assembled from others or learns nothing; train its parts end to end instead.
        """
        run, dataset = self.run, self.run.material.dataset
        if parts := [part.method for part in run.parts]:
            raise BadParameter(f'"{run.method}" is assembled from {", ".join(parts)}. Train those end to end.')
        method = run.untrained({m: self.backbones[m].dim for m in run.material.stores})
        if not list(method.parameters()):
            raise BadParameter(f'"{run.method}" has no loss to train a backbone with. Choose a method that learns.')
        used = {m: self.backbones[m] for m in method.modalities}
        learning = {m: backbone.network().requires_grad_(True) for m, backbone in used.items()}
        flip = dataset.flip if self.options.flip is None else self.options.flip
        return method, Clips(run.material.layout(), learning, seen_by(used), self.frames, self.options, flip=flip)

    def work(self) -> None:
        """Train through the backbones and test, whatever of it is missing."""
        run, folder, (method, clips) = self.run, self.folder, self.modules()
        files = {HEAD: STATE} | {m: f"{m}-backbone.safetensors" for m in clips.backbones}
        if read_sealed(folder / RECORD) is None:
            trained = train_on_devices(
                method, clips, run.training, device=self.device, n_devices=self.n_devices, seed=run.seed,
                checkpoint=folder / CHECKPOINT,
            )  # fmt: skip
            modules = [method, *clips.backbones.values()]
            record = {
                "identity": self.identity,
                "key": digest_of(self.identity),
                "title": f"{title_of(run.method, run.n_patches)} (end to end)",
                "parameters": sum(p.numel() for module in modules for p in module.parameters()),
                "device": self.device,
                "n_devices": self.n_devices,
                "step_seconds": trained.seconds / max(1, run.training.steps),
            }
            names = ("seconds", "clips_per_second", "best_step", "val_accuracy")
            record |= {name: getattr(trained, name) for name in names}
            states = {files[name]: state for name, state in trained.states.items()}
            save_run(folder, states, trained.history, trained.validation, record)
        for name, module in {HEAD: method, **clips.backbones}.items():
            module.load_state_dict(load_file(folder / files[name]))
        clips.place(self.device)
        for cell in self.cells:
            if not whole_arrays(cell.path(folder)):
                results = clips.evaluate(method, {cell.n_shot: episodes_of(run.material, cell)})[cell.n_shot]
                save_arrays(cell.path(folder), results.to_arrays())


def open_frames(
    run: Run, backbones: Mapping[str, Any], options: EndToEnd, *, cache_dir: Path, n_jobs: int = 1
) -> FrameCache:
    """The frame cache that the run's clips are cut from, with the flow settings of its frozen features.

    The square on which flow is computed is larger by ``MARGIN`` too: a crop then holds displacements in the pixels that
    the backbone knows.
    """
    flow = next((f for store in run.material.stores.values() if (f := store.metadata.get("flow"))), {})
    settings = {f"flow_{name}": flow[name] for name in ("algorithm", "bound") if name in flow}
    return build_frame_cache(
        run.material.dataset,
        stored_streams({m: backbones[m] for m in run.material.stores}, options),
        cache_dir=cache_dir,
        flow_size=round(flow.get("size", 112) * MARGIN),
        flow_type=options.flow_type,
        n_jobs=n_jobs,
        **settings,
    )


def train_through_backbones(
    config: Config,
    material: Material,
    series: Series,
    settings: Training,
    cells: Sequence[TestCell],
    *,
    options: EndToEnd,
    n_steps: int,
) -> list[RunResult]:
    """Train a series through its backbones with every seed of the configuration, and test it, where the cache lacks it.

    The results have the form of those of ``run_all``, so that tables and figures take them beside those; episodes of
    training, validation and test are the same.  Test clips are seen in their central view.  The head reads the
    features as the backbones give them: whitening is fitted to fixed features and is left out.

    Args:
        material: the data set with frozen features of the same backbones.
        settings: as of the frozen runs, but for ``n_steps`` where it is not 0.
    Raises:
        BadParameter, BackboneUnavailable, TrainingDiverged, DiskFull: in one sentence each.
    """
    runs = series.runs(material, replace(settings, steps=n_steps or settings.steps), config.seeds)
    backbones = open_backbones(config, material.dataset)
    cache_dir, device = config.cache_dir, resolve_device(config.device)
    frames = open_frames(runs[0], backbones, options, cache_dir=cache_dir, n_jobs=config.jobs)
    jobs = [
        RunEndToEnd(
            run,
            tuple(cells),
            cache_dir,
            device,
            backbones=backbones,
            options=options,
            frames=frames,
            n_devices=config.devices,
        )
        for run in runs
    ]
    compute(jobs, n_jobs=0, description="training end to end")
    return [job.result() for job in jobs]


def check_end_to_end(config: Config, datasets: Iterable[Dataset]) -> None:
    """Refuse backbones that are only used frozen, and devices that cannot train together, before anything is trained.

    Raises:
        BackboneUnavailable: names the backbones that can be trained, or what several devices need.
        BadParameter: more devices than there are, or than a step has episodes.
    """
    device = resolve_device(config.device)
    check_devices(config.devices, device=device, episodes_per_step=config.profile.episodes_per_step)
    for name in (name for dataset in datasets for name in stream_names(config, dataset)):
        if not BACKBONES[name].learns:
            raise BackboneUnavailable(
                f"{name} is only used frozen. Train end to end with compact, resnet18, resnet50, i3d, or two of them "
                "as appearance+motion: -p backbone=resnet18."
            )


def end_to_end_options(given: Mapping[str, Any]) -> EndToEnd:
    """Settings of the backbones' training from a notebook's ``e2e_options``.

    Raises:
        UnknownParameter: no such setting; the nearest is suggested.
        UnknownName, BadParameter: a value of another type than the default's; and see ``EndToEnd``.
    """
    defaults, chosen = {field.name: field.default for field in fields(EndToEnd)}, {}
    for name, value in given.items():
        if name not in defaults:
            raise unknown_name("setting of end-to-end training", name, defaults, error=UnknownParameter)
        kind = bool if defaults[name] is None else type(defaults[name])
        try:
            chosen[name] = float(value) if kind is float else value  # YAML reads 1e-3 as text
        except ValueError:
            pass
        if type(chosen.get(name)) is not kind:
            raise BadParameter(f'{name} of end-to-end training is "{value}", but must be of the type {kind.__name__}.')
    return EndToEnd(**chosen)


def name_with_backbones(series: Sequence[Series]) -> Callable[[RunResult], str]:
    """``name_of``, where a run that trained its backbones has a name of its own, such as "AMFIR, end to end"."""
    frozen = name_of(series)
    return lambda result: frozen(result) + (SUFFIX if "end_to_end" in result.record["identity"] else "")
