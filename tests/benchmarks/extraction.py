"""How many clips a second feature extraction reads, and what the real benchmarks will cost.

Unlike the other benchmarks there is no slow path to compare with.  Each stage is timed alone in one thread, then whole
extraction on several cores, beside what the single-thread costs promise when they are divided by the cores.  The clips
of the real benchmarks are drifting textures of their typical length and size; the networks are those of the paper, with
random weights, which are as fast as trained ones.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from amfir_lib.analysis.stage_costs import FPS, costs_table, measure_benchmarks, measure_features, write_probe_clip
from amfir_lib.backbones.opening import input_size_of, names_of_streams, open_backbone
from amfir_lib.data.benchmarks import BENCHMARKS
from amfir_lib.data.catalogue import load_dataset
from amfir_lib.data.manifest import COLUMNS, Dataset
from amfir_lib.exports import Table
from amfir_lib.storage import write_json
from amfir_lib.study.end_to_end.clips import EndToEnd, stored_streams
from amfir_lib.study.feature_table import MAX_WIDTH, FeatureTable
from amfir_lib.study.materials import FLOW_OF_REAL_CLIPS, FLOW_OF_RENDERED_CLIPS
from amfir_lib.workers import available_cores
from tests.benchmarks.planning import plan, plan_table, planning_page, storage_table
from tests.benchmarks.throughput import measure_throughput, throughput_table
from tests.benchmarks.training_costs import measure_training, training_plan, training_table

from .data import new_method, random_table, untrained_compact
from .measure import machine_facts

PAPERS = "resnet50+i3d"
MODEL_CLIPS = "ucf101"  # whose typical clip stands for real ones
CASES = (  # clips, backbone, number of clips
    ("rendered", "compact", 640),
    (MODEL_CLIPS, "compact", 160),
    (MODEL_CLIPS, PAPERS, 24),
)
QUICK = (("rendered", "compact", 8), (MODEL_CLIPS, "compact", 2))


def backbones_of(name: str, *, flow_size: int, device: str = "cpu") -> dict[str, Any]:
    """Stream -> untrained backbone, as a study opens it."""
    opened = {}
    for stream, one in zip(("rgb", "flow"), names_of_streams(name), strict=True):
        size = input_size_of(one, synthetic=False)
        opened[stream] = open_backbone(
            one, stream, compact=untrained_compact, adapted=lambda stream: None, input_size=size,
            flow_size=flow_size, weights="pretrained" if one == "compact" else "random", device=device,
        )  # fmt: skip
    return opened


def probe_clips(root: Path, *, n_clips: int, n_frames: int) -> Dataset:
    """Drifting textures of the size of a real benchmark's clips, as a data set of one class."""
    kind, rng = BENCHMARKS[MODEL_CLIPS], np.random.default_rng(7)
    rows = []
    for i in range(n_clips):
        write_probe_clip(root / f"{i:03d}.mp4", n_frames=n_frames, height=kind.height, width=kind.width, rng=rng)
        rows.append((f"{i:03d}", f"{i:03d}.mp4", "all", "train", f"{i}", n_frames, FPS, kind.height, kind.width))
    return Dataset(f"{MODEL_CLIPS}-like", root, pd.DataFrame(rows, columns=list(COLUMNS)))


def throughputs(folder: Path, *, quick: bool) -> tuple[dict[str, Table], pd.DataFrame]:
    """Heading -> table of each case, and all measured numbers in one frame."""
    cores = [1] if quick else sorted({1, min(2, available_cores())})
    tables, frames = {}, []
    for clips, backbone, n_clips in QUICK if quick else CASES:
        if clips == "rendered":
            dataset = load_dataset("synth-ssv2", cache_dir=folder, clips_per_class=max(2, n_clips // 32),
                                   class_counts=(2, 2, 2) if quick else (8, 8, 16))  # fmt: skip
            flow, what = FLOW_OF_RENDERED_CLIPS, "16 frames, 112 × 112, rendered"
        else:
            n_frames, kind = 20 if quick else BENCHMARKS[clips].frames, BENCHMARKS[clips]
            (folder / backbone).mkdir()
            dataset = probe_clips(folder / backbone, n_clips=n_clips, n_frames=n_frames)
            flow, what = FLOW_OF_REAL_CLIPS, f"{n_frames} frames, {kind.width} × {kind.height}, as {kind.title}"
        side = max(112, input_size_of(names_of_streams(backbone)[1], synthetic=clips == "rendered"))
        settings = {"flow_size": side, "flow_average": flow["flow_average"], "algorithm": flow["flow_algorithm"]}
        frame = measure_throughput(dataset, backbones_of(backbone, flow_size=side), cores=cores, n_clips=n_clips,
                                   repeats=1 if quick else 3, **settings)  # fmt: skip
        frames.append(frame.assign(clips_are=clips, backbone=backbone))
        pairs = "the network's 64 fields" if "i3d" in backbone else f"pairs averaged: {flow['flow_average']}"
        basis = f"Clips: {what}. Backbone: {backbone}. Flow: {flow['flow_algorithm']} at {side} px, {pairs}."
        tables[f"Throughput: {clips} clips, {backbone}"] = throughput_table(frame, basis=basis)
    return tables, pd.concat(frames, ignore_index=True)


def whitened_tables(*, device: str = "cpu") -> dict[bool, FeatureTable]:
    """Random features as methods read the whitened ones of the paper's backbones, without and with 16 patches."""
    tables = {}
    for n_patches in (1, 16):
        table = random_table(dim=MAX_WIDTH, n_classes=48, n_patches=n_patches, modalities=("rgb", "flow"))
        splits = np.where(table.labels < 24, "train", "val")
        tables[n_patches > 1] = replace(table, splits=splits).to(device)
    return tables


def measure(*, quick: bool) -> tuple[dict[str, Any], str]:
    """All that is measured, for JSON, and the planning page in Markdown."""
    name = "compact" if quick else PAPERS
    side = max(112, input_size_of(names_of_streams(name)[1], synthetic=False))
    backbones = backbones_of(name, flow_size=side)
    options = {"names": ("hmdb51",), "repeats": 1} if quick else {}
    with tempfile.TemporaryDirectory() as folder:
        tables, rates = throughputs(Path(folder), quick=quick)
    costs = measure_benchmarks(
        backbones, flow_size=side, flow_average=FLOW_OF_REAL_CLIPS["flow_average"], **options
    )  # fmt: skip
    gpu_s = None
    if torch.cuda.is_available():
        seconds, _ = measure_features(backbones_of(name, flow_size=side, device="cuda:0"))
        gpu_s = sum(seconds.values())
    methods = ("protonet", "amfir") if quick else None
    training, gpu_training = training_plan(measure_training(new_method, whitened_tables(), methods=methods)), None
    if gpu_s is not None:
        gpu_training = training_plan(measure_training(new_method, whitened_tables(device="cuda:0"), methods=methods))
    frames = stored_streams(backbones, EndToEnd())
    algorithm, worker = FLOW_OF_REAL_CLIPS["flow_algorithm"], float(rates["worker_bytes"].iloc[-1])
    planned = plan(
        costs, algorithm=algorithm, worker_bytes=worker, frames=frames, training=training, gpu_features_s=gpu_s,
        gpu_training=gpu_training,
    )  # fmt: skip
    machine = machine_facts() | {"gpu": torch.cuda.get_device_name(0) if gpu_s else None}
    page = planning_page(
        {
            "Costs of one clip": costs_table(costs, backbone=name),
            "Plan": plan_table(planned, algorithm=algorithm, backbone=name, gpu_measured=gpu_s is not None),
            "Training Table 1, in one thread": training_table(training),
            "Storing flow": storage_table(frames), **tables,
        },
        machine=f"{machine['device_name']}, {machine['cores']} cores, GPU: {machine['gpu'] or 'none'}, torch "
        f"{machine['packages']['torch']}, load average {machine['load_average']}",
    )  # fmt: skip
    record = {
        "benchmark": "extraction", "machine": machine, "backbone": name, "gpu_features_s": gpu_s,
        "costs": {benchmark: asdict(cost) for benchmark, cost in costs.items()},
        "throughput": rates.to_dict("records"), "plan": planned.to_dict("records"),
        "training": training.to_dict("records"),
        "training_on_gpu": None if gpu_training is None else gpu_training.to_dict("records"),
    }  # fmt: skip
    return record, page


def save(folder: Path, record: dict[str, Any], page: str) -> None:
    """Write extraction.json and planning.md."""
    write_json(folder / "extraction.json", record)
    (folder / "planning.md").write_text(page, encoding="utf-8")
