"""Runs with their backbones trained: from a ``Run`` on frozen features to a result of the same form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from amfir_lib.backbones import trainable
from amfir_lib.backbones.trainable import trainable_stream
from amfir_lib.data import streams
from amfir_lib.data.frames import FrameCache
from amfir_lib.errors import BadParameter
from amfir_lib.methods import DataFacts, build_method, title_of
from amfir_lib.storage import atomic_write, digest_of, digest_of_code, read_json, write_json
from amfir_lib.study.end_to_end import clips, job, loop
from amfir_lib.study.end_to_end.clips import evaluate_end_to_end
from amfir_lib.study.end_to_end.devices import train_on_devices
from amfir_lib.study.end_to_end.frames import open_frames, sources_of
from amfir_lib.study.end_to_end.job import EndToEnd, Job
from amfir_lib.study.evaluation import QueryResults
from amfir_lib.study.runs import Run, RunResult, TestCell
from amfir_lib.workers import resolve_device

STATE, RECORD, CHECKPOINT = "state.safetensors", "record.json", "checkpoint.pt"


def build_job(
    run: Run, backbones: Mapping[str, Any], cache: FrameCache, options: EndToEnd, *, checkpoint: Path | None = None
) -> Job:
    """The training that a run stands for, with fresh modules.

    Raises:
        BadParameter: the method is assembled from others or learns nothing; train its parts end to end instead.
        BackboneUnavailable: a backbone that is only used frozen.
    """
    dataset, layout = run.material.dataset, run.material.layout()
    if parts := [part.method for part in run.parts]:
        raise BadParameter(f'"{run.method}" is assembled from {", ".join(parts)}. Train those end to end.')
    facts = DataFacts(n_base_classes=len(layout.base_classes), n_patches=run.n_patches)
    dims = {m: backbones[m].dim for m in run.material.stores}
    generator = torch.Generator().manual_seed(run.seed)
    method = build_method(run.method, dims=dims, options=dict(run.options), generator=generator, facts=facts)
    if not list(method.parameters()):
        raise BadParameter(f'"{run.method}" has no loss to train a backbone with. Choose a method that learns.')
    used = {m: backbones[m] for m in method.modalities}
    return Job(
        method=method,
        streams={m: trainable_stream(backbone) for m, backbone in used.items()},
        sources=sources_of(used),
        cache=cache,
        layout=layout,
        settings=run.training,
        options=options,
        flip=dataset.flip if options.flip is None else options.flip,
        seed=run.seed,
        checkpoint=checkpoint,
    )


def run_end_to_end(
    run: Run,
    cells: Sequence[TestCell],
    *,
    backbones: Mapping[str, Any],
    cache_dir: Path,
    options: EndToEnd | None = None,
    device: str = "cpu",
    n_devices: int = 1,
    n_jobs: int = 1,
) -> RunResult:
    """Train a run through its backbones and test it, or take both from the cache.

    The result has the form of those of ``run_all``, so that tables and figures take it beside them; episodes of
    training, validation and test are the same.  Test clips are seen in their central view.

    Args:
        run: method, options, settings and seed, on the material with frozen features of the same backbones.
        cells: test episodes.
        backbones: modality -> backbone, as ``materials.open_backbones`` gives them; where training begins.
        cache_dir: folder of the cache; frames go to ``frames/``, the run to ``end_to_end/``.
        options: of the backbones' training.
        device: ``cpu``, ``cuda:N`` or ``auto``.
        n_devices: more than one needs Lightning Fabric.
        n_jobs: worker processes that decode.
    Raises:
        BadParameter, BackboneUnavailable, TrainingDiverged, DiskFull: in one sentence each.
    """
    options, device = options or EndToEnd(), resolve_device(device)
    cache = open_frames(run, backbones, options, cache_dir=cache_dir, n_jobs=n_jobs)
    identity = {
        "frozen": run.identity,
        "end_to_end": asdict(options),
        "backbones": {m: backbone.digest for m, backbone in backbones.items()},
        "frames": cache.digest,
        "code": digest_of_code(streams, trainable, clips, job, loop),
    }
    key = digest_of(identity)
    folder = cache_dir / "end_to_end" / run.material.dataset.name / f"{run.method}-{run.seed}-{key}"
    work = build_job(run, backbones, cache, options, checkpoint=folder / CHECKPOINT)
    if not (folder / RECORD).exists():
        _train(run, work, folder, identity, device, n_devices)
    missing = [cell for cell in cells if not _test_path(folder, cell).exists()]
    if missing:
        work.method.load_state_dict(load_file(folder / STATE))
        for m, stream in work.streams.items():
            stream.load_state_dict(load_file(_stream_path(folder, m)))
    for cell in missing:
        results = evaluate_end_to_end(work, cell.episodes(work.layout), device=device)
        with atomic_write(_test_path(folder, cell)) as temporary:
            np.savez_compressed(temporary, **results.to_arrays())
    return _load(run, cells, folder)


def _train(run: Run, work: Job, folder: Path, identity: dict[str, Any], device: str, n_devices: int) -> None:
    """Train, and write states, histories and, last, the record."""
    trained = train_on_devices(work, device=device, n_devices=n_devices)
    states = {folder / STATE: trained.method_state}
    states |= {_stream_path(folder, m): state for m, state in trained.stream_states.items()}
    for path, state in states.items():
        with atomic_write(path) as temporary:
            save_file({name: values.contiguous() for name, values in state.items()}, temporary)
    for name, frame in (("history", trained.history), ("validation", trained.validation)):
        with atomic_write(folder / f"{name}.csv") as temporary:
            frame.to_csv(temporary, index=False)
    modules = {"head": work.method, **work.streams}
    write_json(
        folder / RECORD,
        {
            "identity": identity,
            "key": digest_of(identity),
            "title": f"{title_of(run.method, run.n_patches)} (end to end)",
            "parameters": sum(p.numel() for module in modules.values() for p in module.parameters()),
            "device": device,
            "n_devices": n_devices,
            "seconds": trained.seconds,
            "step_seconds": trained.seconds / max(1, run.training.steps),
            "clips_per_second": trained.clips_per_second,
            "best_step": trained.best_step,
            "val_accuracy": trained.val_accuracy,
        },
    )
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _load(run: Run, cells: Sequence[TestCell], folder: Path) -> RunResult:
    tests = {}
    for cell in cells:
        with np.load(_test_path(folder, cell)) as arrays:
            tests[cell] = QueryResults.from_arrays(dict(arrays))
    frames = [pd.read_csv(path) if path.stat().st_size > 1 else pd.DataFrame()
              for path in (folder / "history.csv", folder / "validation.csv")]  # fmt: skip
    return RunResult(run, read_json(folder / RECORD), *frames, tests, folder)


def _stream_path(folder: Path, modality: str) -> Path:
    return folder / f"{modality}-backbone.safetensors"


def _test_path(folder: Path, cell: TestCell) -> Path:
    name = f"{cell.split}-{cell.n_way}way-{cell.n_shot}shot-{cell.n_query}query-{cell.n_episodes}episodes-{cell.seed}"
    return folder / f"{name}.npz"
