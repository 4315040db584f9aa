"""Write synthetic data sets to disk, video files first, the manifest last, and copies that differ in one thing."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from amfir_lib.data import synthetic
from amfir_lib.data.manifest import SPLITS, Dataset, read_manifest, write_manifest
from amfir_lib.data.synthetic.benchmarks import CORPUS, character_of
from amfir_lib.data.synthetic.clips import FPS, N_FRAMES, SIDE, ClipPlan, degradation_of, person_of, render_clip
from amfir_lib.data.synthetic.degradation import SHARES
from amfir_lib.data.video import MJPG_QUALITY, read_frames, write_video
from amfir_lib.errors import BadParameter, unknown_name
from amfir_lib.parallel import map_parallel
from amfir_lib.storage import atomic_write, digest_of, digest_of_code, digest_of_file, meaning_of


def make_dataset(
    name: str, *, cache_dir: Path | str, clips_per_class: int = 20, class_counts: tuple[int, int, int] | None = None,
    degradation: str = "mixed", splits: tuple[str, ...] = SPLITS, codec: str = "MJPG", seed: int = 0, n_jobs: int = 1,
) -> Dataset:  # fmt: skip
    """Make a benchmark, or find it in the cache.

    Clips that an interrupted call has already written are kept; the manifest is written last, so a data set with a
    manifest is whole.

    Args:
        name: ``synth-kinetics``, ``synth-ssv2``, ``synth-hmdb51`` or ``synth-ucf101``.
        cache_dir: folder of the cache; the clips go to ``clips/<name>-<digest>``.
        clips_per_class: takes of each class.
        class_counts: classes in (train, val, test); None for those of the benchmark.
        degradation: ``mixed`` (20 % RGB, 20 % flow, 60 % none), or ``none``, ``rgb``, ``flow`` forced on every clip;
            the clips are the same in all else.
        splits: which splits to render.
        codec: ``MJPG``, or ``FFV1`` (lossless, larger).
        seed: of everything.
        n_jobs: worker processes.
    Raises:
        UnknownName: no such benchmark, split or kind of degradation.
        BadParameter: fewer than two clips a class, class counts that are no three numbers, or an odd number of classes
            where classes come in pairs.
    """
    character = character_of(name)
    for split in splits:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
    if degradation not in ("mixed", *SHARES):
        raise unknown_name("degradation", degradation, ("mixed", *SHARES))
    counts = tuple(class_counts or character.class_counts)
    if len(counts) != len(SPLITS):
        raise BadParameter(f"class_counts is {counts}, but must be three numbers: classes in train, val and test.")
    if clips_per_class < 2:
        raise BadParameter(
            f"clips_per_class is {clips_per_class}, but an episode needs a support and a query: take 2 or more."
        )
    if character.reversals and any(count % 2 for count in counts):
        raise BadParameter(f"class_counts is {counts}, but the classes of {name} come in pairs: take even numbers.")
    plans = [
        ClipPlan(name, split, number, number, take, degradation, seed)
        for split, count in zip(SPLITS, counts, strict=True)
        if split in splits
        for number in range(count)
        for take in range(clips_per_class)
    ]
    manifest, root = _write(name, plans, cache_dir=Path(cache_dir), codec=codec, n_jobs=n_jobs)
    return Dataset(
        name=name, root=root, manifest=manifest, synthetic=True, caption=f"{name} (synthetic clips, seed {seed})"
    )


def make_corpus(
    *, cache_dir: Path | str, n_classes: int = 96, clips_per_class: int = 16, seed: int = 0, n_jobs: int = 1
) -> Dataset:
    """Make the pretraining corpus: no degradation, scenes and actions drawn independently, both labelled.

    Its classes appear in no benchmark, because every data set draws its latents from a stream of its own.

    Args:
        n_classes: number of actions, and of scenes.
        clips_per_class: takes of each action, each in another scene.
    Returns:
        A data set whose ``label`` is the action and whose further column ``scene`` is the scene.
    Raises:
        BadParameter: fewer than two classes or clips a class; the last takes of each are held out.
    """
    for name, value in (("n_classes", n_classes), ("clips_per_class", clips_per_class)):
        if value < 2:
            raise BadParameter(f"{name} of the pretraining corpus is {value}, but must be at least 2. Raise it.")
    plans = _corpus_plans(n_classes, clips_per_class, seed)
    manifest, root = _write(CORPUS, plans, cache_dir=Path(cache_dir), codec="MJPG", n_jobs=n_jobs)
    scenes = {_entry(plan)["clip_id"]: f"scene{plan.scene:03d}" for plan in plans}
    manifest = manifest.assign(scene=manifest["clip_id"].map(scenes))
    return Dataset(name=CORPUS, root=root, manifest=manifest, synthetic=True, caption="synthetic pretraining corpus")


def corpus_digest(*, n_classes: int, clips_per_class: int, seed: int) -> str:
    """Digest of all that the corpus depends on, for the keys of what is learnt from it; renders nothing."""
    return _digest(CORPUS, _corpus_plans(n_classes, clips_per_class, seed), "MJPG")


def _corpus_plans(n_classes: int, clips_per_class: int, seed: int) -> list[ClipPlan]:
    scenes = np.random.default_rng([seed, 1]).permuted(
        np.tile(np.arange(n_classes), (clips_per_class, 1)), axis=1
    )  # each scene as often as each action
    return [
        ClipPlan(CORPUS, "train", action, int(scenes[take, action]), take, "none", seed)
        for action in range(n_classes)
        for take in range(clips_per_class)
    ]


def _entry(plan: ClipPlan) -> dict[str, object]:
    """The manifest row of a clip."""
    degradation, label = degradation_of(plan), f"{plan.split}_action{plan.action:03d}"
    return {
        "clip_id": f"{label}_{plan.take:03d}", "path": f"{label}/{plan.take:03d}.avi", "label": label,
        "split": plan.split, "group": f"{plan.split}_person{person_of(plan):02d}", "n_frames": N_FRAMES, "fps": FPS,
        "height": SIDE, "width": SIDE, "degraded": degradation.stream, "kind": degradation.kind,
        "strength": round(degradation.strength, 4),
    }  # fmt: skip


def _digest(name: str, plans: list[ClipPlan], codec: str) -> str:
    """Digest of all that the files depend on: the plans, the character, the encoder and the code in between.

    The character of another benchmark is not among it, nor are the degradations where no clip has any.
    """
    modules = [synthetic.motion, synthetic.appearance, synthetic.figure, synthetic.clips]
    if any(plan.degradation != "none" for plan in plans):
        modules.append(synthetic.degradation)
    functions = (_entry, _render_class, write_video)
    source = [digest_of_code(*modules), *(meaning_of(function) for function in functions)]
    return digest_of([source, asdict(character_of(name)), codec, MJPG_QUALITY, [vars(plan) for plan in plans]])


def _write(name: str, plans: list[ClipPlan], *, cache_dir: Path, codec: str, n_jobs: int) -> tuple[pd.DataFrame, Path]:
    root = cache_dir / "clips" / f"{name}-{_digest(name, plans, codec)}"
    path = root / "manifest.csv"
    manifest = read_manifest(path) if path.exists() else pd.DataFrame()
    if "file_digest" in manifest:
        clips = zip(map(root.joinpath, manifest["path"]), manifest["file_digest"], strict=True)
        damaged = [clip for clip, digest in clips if not clip.exists() or digest_of_file(clip) != digest]
        if not damaged:
            return manifest, root
        print(f"{name}: {len(damaged)} clips are damaged in the cache and are rendered again.")
        for clip in damaged:
            clip.unlink(missing_ok=True)
    takes: dict[tuple[str, int], list[ClipPlan]] = {}
    for plan in plans:
        takes.setdefault((plan.split, plan.action), []).append(plan)
    render = partial(_render_class, root=root, codec=codec)
    map_parallel(render, list(takes.values()), n_jobs=n_jobs, description=f"{name}: clips", unit="class")
    manifest = pd.DataFrame([_entry(plan) for plan in plans])
    manifest["file_digest"] = [digest_of_file(root / path) for path in manifest["path"]]
    write_manifest(path, manifest.sort_values("clip_id", ignore_index=True))
    return read_manifest(path), root


def _render_class(plans: list[ClipPlan], *, root: Path, codec: str) -> None:
    for plan in plans:
        path = root / str(_entry(plan)["path"])
        if not path.exists():  # each file is written whole or not at all
            frames, joints = render_clip(plan)
            if plan.dataset == CORPUS:
                with atomic_write(joints_path(path)) as temporary:
                    np.save(temporary, joints)
            write_video(path, frames, fps=FPS, codec=codec)


def joints_path(clip: Path) -> Path:
    """Where the corpus keeps the joint positions of a clip, float32 (F, J, 2) in shares of the side."""
    return clip.with_suffix(".npy")


def reversed_copy(dataset: Dataset, split: str, *, cache_dir: Path | str, n_jobs: int = 1) -> Dataset:
    """The clips of one split played backwards, as lossless video files in the cache.

    Everything that reads a data set reads the copy in the same way, so flow is computed anew from the reversed frames:
    a field of the copy is not the negative of an old one, it starts at the other frame of the pair.

    Returns:
        A data set of that split alone, its rows in the order of the original.  Frames need even sizes, which FFV1 asks
        for.
    """
    manifest = dataset.manifest.iloc[dataset.rows(split)].reset_index(drop=True)
    paths = manifest["path"].map(lambda path: str(Path(path).with_suffix(".avi")))
    made_of = digest_of([dataset.root.name, split, digest_of_code(_reverse)])
    root = Path(cache_dir) / "clips" / f"{dataset.name}-reversed-{made_of}"
    items = [
        (dataset.root / path, root / copy, fps)
        for path, copy, fps in zip(manifest["path"], paths, manifest["fps"], strict=True)
        if not (root / copy).exists()  # each file is written whole or not at all
    ]
    map_parallel(_reverse, items, n_jobs=n_jobs, description=f"{dataset.name}: reversed clips")
    caption = f"{dataset.caption}, played backwards"
    manifest = manifest.assign(path=paths).drop(columns="file_digest", errors="ignore")
    return replace(dataset, root=root, manifest=manifest, caption=caption)


def _reverse(pair: tuple[Path, Path, float]) -> None:
    original, copy, fps = pair
    write_video(copy, read_frames(original)[::-1], fps=fps, codec="FFV1")
