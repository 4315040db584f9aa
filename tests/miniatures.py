"""Miniature copies of the five real benchmarks: their file names, layouts and label files, with tiny clips in them."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from toy_clips import moving_frames

from amfir_lib.data.benchmarks import BENCHMARKS
from amfir_lib.data.manifest import SPLITS
from amfir_lib.data.video import write_video

N_FRAMES = 10
CODECS = {".avi": "MJPG", ".mp4": "mp4v", ".webm": "VP80", ".mkv": "MJPG"}


def write_clip(path: Path, seed: int, *, n_frames: int = N_FRAMES) -> None:
    """A clip of a drifting texture in the container that the suffix says."""
    frames = moving_frames(np.random.default_rng(seed), n_frames=n_frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".avi":
        write_video(path, frames)
        return
    code = cv2.VideoWriter_fourcc(*CODECS[path.suffix])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, 12.0, frames.shape[2:0:-1])
    assert writer.isOpened(), f"this OpenCV cannot write {path.suffix}"
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def write_frames(folder: Path, seed: int, *, pattern: str = "{:05d}.jpg", n_frames: int = N_FRAMES) -> None:
    """The frames of a clip as numbered images, counted from 1."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(moving_frames(np.random.default_rng(seed), n_frames=n_frames), start=1):
        cv2.imwrite(str(folder / pattern.format(number)), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))


def some_classes(name: str, counts: tuple[int, int, int]) -> dict[str, list[str]]:
    """The first classes of each split of a published class list."""
    split_of = BENCHMARKS[name].split.split_of
    return {
        split: [label for label, own in split_of.items() if own == split][:count]
        for split, count in zip(SPLITS, counts, strict=True)
    }


def youtube_id(number: int) -> str:
    """Eleven characters, some of them no letters."""
    return f"-{number:04d}_aBcDe"


def kinetics(root: Path, counts: tuple[int, int, int] = (2, 2, 2), clips: int = 4) -> list[str]:
    """Class folders with underscores or spaces, ``id_000001_000011.mp4``; returns the lines of a video list."""
    lines, number = [], 0
    for labels in some_classes("kinetics100", counts).values():
        for i, label in enumerate(labels):
            for _ in range(clips):
                number += 1
                name = f"{youtube_id(number)}_{number:06d}_{number + 10:06d}"
                folder = label.replace(" ", "_") if i % 2 else label.title()
                write_clip(root / "videos" / folder / f"{name}{'.mkv' if number % 4 == 0 else '.mp4'}", number)
                lines.append(f"{label}/{name}")
    return lines


def kinetics_flat(root: Path, counts: tuple[int, int, int] = (1, 1, 1), clips: int = 4) -> None:
    """``train/id_000001_000011.mp4`` and ``val/``, all classes together, with their ``annotations/train.csv``."""
    rows, number = {"train": [], "val": []}, 0
    for labels in some_classes("kinetics100", counts).values():
        for label in labels:
            for _ in range(clips):
                number += 1
                part = "val" if number % 2 == 0 else "train"
                write_clip(root / part / f"{youtube_id(number)}_{number:06d}_{number + 10:06d}.mp4", number)
                rows[part].append(f"{label},{youtube_id(number)},{number},{number + 10},{part}")
    (root / "annotations").mkdir()
    for part, lines in rows.items():
        text = "\n".join(["label,youtube_id,time_start,time_end,split", *lines])
        (root / "annotations" / f"{part}.csv").write_text(text)


def ssv2(root: Path, counts: tuple[int, int, int] = (2, 2, 2), clips: int = 4) -> dict[str, list[str]]:
    """Flat ``id.webm`` with label files whose templates have brackets; returns split -> lines of a numbered list."""
    entries, lines, number = [], {}, 70_000
    for split, labels in some_classes("ssv2_small", counts).items():
        lines[split] = []
        for i, label in enumerate(labels):
            for _ in range(clips):
                number += 1
                write_clip(root / "20bn-something-something-v2" / f"{number}.webm", number)
                template = label.replace("omething", "omething]").replace("something]", "[something]")
                template = template.replace("Something]", "[Something]")
                text = label.replace("something", "a cup")
                entries.append({"id": str(number), "label": text, "template": template, "placeholders": ["a cup"]})
                lines[split].append(f"{split}{i}/{number}")
    (root / "labels").mkdir()
    (root / "labels" / "train.json").write_text(json.dumps(entries[::2]))
    (root / "labels" / "validation.json").write_text(json.dumps(entries[1::2]))
    (root / "labels" / "labels.json").write_text(json.dumps({entry["template"]: "0" for entry in entries}))
    (root / "labels" / "test.json").write_text(json.dumps([{"id": "1"}]))
    return lines


def hmdb51(root: Path, counts: tuple[int, int, int] = (2, 2, 2), films: int = 3) -> None:
    """Class folders with ``film_class_f_cm_np1_le_med_0.avi``, two clips of each film."""
    number = 0
    for labels in some_classes("hmdb51", counts).values():
        for label in labels:
            for film in range(films):
                for take in range(2):
                    number += 1
                    name = f"A_Film_{film}!_{label}_f_cm_np1_le_med_{take}.avi"
                    write_clip(root / label / name, number)


def ucf101(root: Path, counts: tuple[int, int, int] = (2, 2, 2), groups: int = 3, *, flat: bool = False) -> None:
    """``v_Class_g01_c01.avi`` in class folders or flat, two clips of each group."""
    number = 0
    for labels in some_classes("ucf101", counts).values():
        for label in labels:
            for group in range(1, groups + 1):
                for clip in (1, 2):
                    number += 1
                    folder = root / "UCF-101" if flat else root / "UCF-101" / label
                    write_clip(folder / f"v_{label}_g{group:02d}_c{clip:02d}.avi", number)


def frame_folders(root: Path, counts: tuple[int, int, int] = (2, 2, 2), clips: int = 3) -> None:
    """Kinetics as extracted frames, ``class/video/img_00001.jpg``."""
    number = 0
    for labels in some_classes("kinetics100", counts).values():
        for label in labels:
            for _ in range(clips):
                number += 1
                folder = root / label / f"{youtube_id(number)}_000001_000011"
                write_frames(folder, number, pattern=("{:05d}.jpg", "img_{:05d}.jpg", "frame{:06d}.jpg")[number % 3])
