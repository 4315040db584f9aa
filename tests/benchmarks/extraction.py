"""How many clips a second feature extraction reads, and what the real benchmarks will cost.

Reading a clip and its features are timed in one thread, then whole extraction on several cores, beside what the
single-thread costs promise when they are divided by the cores; the rest is arithmetic.  The clips of the real
benchmarks are drifting textures of their typical length and size, coded in MPEG-4 part 2 as UCF101 and HMDB51 are; the
networks are those of the paper, with random weights, which are as fast as trained ones.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from amfir_lib.backbones.opening import input_size_of, names_of_streams, open_backbone
from amfir_lib.data.benchmarks import BENCHMARKS
from amfir_lib.data.catalogue import load_dataset
from amfir_lib.data.features import extract_stores
from amfir_lib.data.frames import cache_bytes
from amfir_lib.data.manifest import COLUMNS, Dataset
from amfir_lib.data.streams import seen_by, streams
from amfir_lib.methods import METHODS, uses_patches
from amfir_lib.parallel import map_parallel, single_thread
from amfir_lib.records import peak_memory
from amfir_lib.storage import write_json
from amfir_lib.study.end_to_end.clips import EndToEnd, stored_streams
from amfir_lib.study.evaluation import evaluate
from amfir_lib.study.feature_table import MAX_WIDTH, FeatureTable
from amfir_lib.study.study import FLOW_OF_REAL_CLIPS, FLOW_OF_RENDERED_CLIPS
from amfir_lib.study.training import Training, train
from amfir_lib.workers import available_cores

from .data import FPS, new_method, random_table, untrained_compact, write_probe_clip
from .measure import machine_facts
from .planning import MODEL_CLIPS, PAPER, page, plan, training_plan

PAPERS = "resnet50+i3d"
CASES = (("rendered", "compact", 640), (MODEL_CLIPS, PAPERS, 24))  # clips, backbone, number of clips
QUICK = (("rendered", "compact", 8), (MODEL_CLIPS, "compact", 2))
BATCH = 4  # clips that a backbone is timed on
STEPS = 4  # of training that are timed, after as many that warm up
EPISODES = 100  # that are timed at test


def report(output: Path | None, *, quick: bool) -> None:
    """Measure all; print the planning page, and save it with what was measured."""
    name = "compact" if quick else PAPERS
    side = max(112, input_size_of(names_of_streams(name)[1], synthetic=False))
    backbones = backbones_of(name, flow_size=side)
    rates = measure_throughput(quick=quick)
    settings = {"flow_size": side, "repeats": 1 if quick else 3, **FLOW_OF_REAL_CLIPS}
    costs = measure_benchmarks(backbones, ["hmdb51"] if quick else list(BENCHMARKS), **settings)
    methods = ["protonet", "amfir"] if quick else [name for name, spec in METHODS.items() if not spec.parts]
    training, gpu = training_plan(measure_training(methods)), {}
    if torch.cuda.is_available():
        nets = backbones_of(name, flow_size=side, device="cuda:0")
        gpu = {"gpu_features_s": measure_benchmarks(nets, ["hmdb51"], **settings)["hmdb51"]["features_s"]}
        gpu["gpu_training"] = training_plan(measure_training(methods, device="cuda:0"))
    frames_bytes = cache_bytes(1, stored_streams(backbones, EndToEnd()))
    worker = float(rates["worker_bytes"].iloc[-1])
    planned = plan(costs, worker_bytes=worker, frame_bytes=frames_bytes, training=training, **gpu)
    machine = machine_facts() | {"gpu": torch.cuda.get_device_name(0) if gpu else None}
    record = {
        "benchmark": "extraction", "machine": machine, "backbone": name, "throughput": rates.to_dict("records"),
        "costs": costs, "plan": planned.to_dict("records"), "training": training.to_dict("records"),
    }  # fmt: skip
    text = page(machine, name, costs, planned, training, rates)
    print(text)
    if output is not None:
        write_json(output / "extraction.json", record)
        (output / "planning.md").write_text(text, encoding="utf-8")


def backbones_of(name: str, *, flow_size: int, device: str = "cpu") -> dict[str, Any]:
    """Stream -> untrained backbone, as a study opens it."""
    opened = {}
    for stream, net in zip(("rgb", "flow"), names_of_streams(name), strict=True):
        opened[stream] = open_backbone(
            net, stream, compact=untrained_compact, adapted=lambda stream: None, flow_size=flow_size, device=device,
            input_size=input_size_of(net, synthetic=False), weights="pretrained" if net == "compact" else "random",
        )  # fmt: skip
    return opened


def clip_costs(path: Path, backbones: Mapping[str, Any], *, repeats: int = 3, **settings: Any) -> dict[str, float]:
    """Seconds of reading a clip (decoding and flow) and of its features, in one thread; bytes of the features."""
    with single_thread():
        inputs = streams(path, **seen_by(backbones.values()), **settings)
        costs = {"read_s": median_seconds(lambda: streams(path, **seen_by(backbones.values()), **settings), repeats)}
        costs |= feature_costs(backbones, inputs, repeats=repeats)
    return costs


def feature_costs(backbones: Mapping[str, Any], inputs: Mapping[str, np.ndarray], *, repeats: int) -> dict[str, float]:
    """Seconds of the features of one clip, both streams, wherever the backbones are; bytes of them."""
    batches = [(net, np.repeat(inputs[net.modality][None], BATCH, axis=0)) for net in backbones.values()]
    seconds = sum(median_seconds(lambda net=net, batch=batch: net.features(batch), repeats) for net, batch in batches)
    return {"features_s": seconds / BATCH, "bytes": sum(net.features(batch[:1]).nbytes for net, batch in batches)}


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median time of a call, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure_benchmarks(backbones: Mapping[str, Any], names: Sequence[str], **settings: Any) -> dict[str, dict]:
    """Benchmark -> costs of a clip of its typical length and size."""
    costs = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(names):
            kind, path = BENCHMARKS[name], Path(folder) / f"{name}.mp4"
            rng = np.random.default_rng([0, number])
            write_probe_clip(path, n_frames=kind.frames, height=kind.height, width=kind.width, rng=rng)
            costs[name] = clip_costs(path, backbones, **settings)
    return costs


def measure_throughput(*, quick: bool) -> pd.DataFrame:
    """For each kind of clips and backbone one row a number of cores.

    ``clips_per_s`` as measured, ``promised_per_s`` (cores / seconds a clip in one thread), ``share_of_features`` of
    those seconds, and ``worker_bytes``, the most memory that a worker held.
    """
    rows = []
    for clips, backbone, n_clips in QUICK if quick else CASES:
        with tempfile.TemporaryDirectory() as name:
            folder, rendered = Path(name), clips == "rendered"
            if rendered:
                sizes = {"clips_per_class": max(2, n_clips // 32), "class_counts": (2, 2, 2) if quick else (8, 8, 16)}
                dataset = load_dataset("synth-ssv2", cache_dir=folder, **sizes)
            else:
                dataset = probe_clips(folder, n_clips=n_clips, n_frames=20 if quick else BENCHMARKS[clips].frames)
            dataset = replace(dataset, manifest=dataset.manifest.iloc[:n_clips].reset_index(drop=True))
            side = max(112, input_size_of(names_of_streams(backbone)[1], synthetic=rendered))
            backbones = backbones_of(backbone, flow_size=side)
            settings = {"flow_size": side, **(FLOW_OF_RENDERED_CLIPS if rendered else FLOW_OF_REAL_CLIPS)}
            costs = clip_costs(Path(dataset.clip_path(0)), backbones, **settings)
            total = costs["read_s"] + costs["features_s"]
            for n_jobs in [1] if quick else sorted({1, min(2, available_cores())}):
                on_workers(import_all, n_jobs)  # a worker's first task, which is no part of the throughput
                start = time.perf_counter()
                extract_stores(dataset, backbones, cache_dir=folder / f"cache{n_jobs}", n_jobs=n_jobs, **settings)
                rate = len(dataset) / (time.perf_counter() - start)
                rows.append((clips, backbone, n_jobs, rate, n_jobs / total, costs["features_s"] / total))
                rows[-1] += (max(on_workers(peak_bytes, n_jobs)),)
    columns = "clips_are backbone cores clips_per_s promised_per_s share_of_features worker_bytes".split()
    return pd.DataFrame(rows, columns=columns)


def probe_clips(root: Path, *, n_clips: int, n_frames: int) -> Dataset:
    """Drifting textures of the size of a real benchmark's clips, as a data set of one class."""
    kind, rng, rows = BENCHMARKS[MODEL_CLIPS], np.random.default_rng(7), []
    for i in range(n_clips):
        write_probe_clip(root / f"{i:03d}.mp4", n_frames=n_frames, height=kind.height, width=kind.width, rng=rng)
        rows.append((f"{i:03d}", f"{i:03d}.mp4", "all", "train", f"{i}", n_frames, FPS, kind.height, kind.width))
    return Dataset(f"{MODEL_CLIPS}-like", root, pd.DataFrame(rows, columns=list(COLUMNS)))


def on_workers(task: Callable[[int], Any], n_jobs: int) -> list[Any]:
    """A task on every worker, several times each, so that none is left out."""
    return map_parallel(task, range(4 * n_jobs), n_jobs=n_jobs, description="workers", unit="task")


def import_all(_: int) -> None:
    """What a worker imports once."""
    import torch  # noqa: F401


def peak_bytes(_: int) -> int:
    """The most memory that a worker ever held; what it was forked from does not count on Linux."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
    return peaks[0] if peaks else peak_memory()


def measure_training(methods: Sequence[str], *, device: str = "cpu") -> dict[str, tuple[float, float]]:
    """Method -> seconds of a training step and of a test episode, in one thread or on one GPU, on random features."""
    settings = Training(
        n_way=PAPER.n_way, shots=PAPER.train_shots, n_query=PAPER.n_query, steps=STEPS, validate_every=STEPS,
        episodes_per_step=PAPER.episodes_per_step, n_val_episodes=1,
    )  # fmt: skip
    costs = {}
    with single_thread():
        for name in methods:
            table = whitened_table(16 if uses_patches(name) else 1, device=device)
            method = new_method(name, table).to(device)
            train(method, table, settings, seed=0)
            step_s = train(method, table, settings, seed=1).seconds / STEPS
            episodes = table.sample(
                "val", n_way=PAPER.n_way, n_shot=max(PAPER.test_shots), n_query=PAPER.n_query, n_episodes=EPISODES,
                rng=np.random.default_rng(0),
            )  # fmt: skip
            start = time.perf_counter()
            evaluate(method, table, episodes)
            costs[name] = step_s, (time.perf_counter() - start) / EPISODES
    return costs


def whitened_table(n_patches: int, *, device: str) -> FeatureTable:
    """Random features as methods read the whitened ones of the paper's backbones."""
    table = random_table(dim=MAX_WIDTH, n_classes=48, n_patches=n_patches, modalities=("rgb", "flow"))
    return replace(table, splits=np.where(table.labels < 24, "train", "val")).to(device)
