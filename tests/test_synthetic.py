"""The embedded benchmarks: equal from a seed, labelled as they are, whole or absent.

FFV1 is lossless: exact.  MJPG: mean error of brightness under 4 of 255, as in ``test_video``.  All else is exact.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from amfir_lib import paths
from amfir_lib.data.manifest import read_manifest
from amfir_lib.data.synthetic import CORPUS, SYNTHETIC_NAMES, clips, generate, make_corpus, make_dataset
from amfir_lib.data.synthetic.appearance import draw_appearance
from amfir_lib.data.synthetic.benchmarks import character_of
from amfir_lib.data.synthetic.clips import (
    N_FRAMES,
    N_PERSONS,
    SIDE,
    ClipPlan,
    class_motion,
    degradation_of,
    person_of,
    render_clip,
)  # fmt: skip
from amfir_lib.data.synthetic.degradation import KINDS, SHARES
from amfir_lib.data.synthetic.figure import draw_body
from amfir_lib.data.video import read_frames
from amfir_lib.errors import BadParameter, UnknownName

FEW = {"class_counts": (2, 2, 2), "clips_per_class": 3}
HEAD, RIGHT_HAND = 2, 11  # rows of the joints that ``render_clip`` returns


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return make_dataset("synth-ucf101", cache_dir=tmp_path_factory.mktemp("mixed"), **FEW)


@pytest.fixture(scope="module")
def undegraded(tmp_path_factory):
    return make_dataset("synth-ucf101", cache_dir=tmp_path_factory.mktemp("none"), degradation="none", **FEW)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(cache_dir=tmp_path_factory.mktemp("corpus"), n_classes=4, clips_per_class=3)


def bytes_of(dataset) -> list[bytes]:
    return [dataset.clip_path(row).read_bytes() for row in range(len(dataset))]


def plans_of(name: str, *, n_classes: int, n_takes: int, split: str = "val", **changes) -> list[ClipPlan]:
    return [ClipPlan(name, split, c, c, take, **changes) for c in range(n_classes) for take in range(n_takes)]


# reproducible


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_second_run_gives_the_same_bytes_for_any_number_of_workers(tmp_path, mixed, n_jobs):
    again = make_dataset("synth-ucf101", cache_dir=tmp_path, n_jobs=n_jobs, **FEW)
    assert (again.root / "manifest.csv").read_bytes() == (mixed.root / "manifest.csv").read_bytes()
    assert again.root.name == mixed.root.name and again.digest == mixed.digest
    assert bytes_of(again) == bytes_of(mixed)


def test_another_seed_gives_other_clips_and_another_folder(tmp_path, mixed):
    other = make_dataset("synth-ucf101", cache_dir=tmp_path, seed=1, **FEW)
    assert other.root.name != mixed.root.name
    assert not set(bytes_of(other)) & set(bytes_of(mixed))


DIES_IN_THE_FIFTH_CLIP = """
import functools, itertools, os, signal, sys
from amfir_lib.data.synthetic import generate
from amfir_lib.data.video import write_video

counter = itertools.count(1)

@functools.wraps(write_video)  # the digest of the data set reads the source of the wrapped function
def dying(path, frames, **options):
    if next(counter) == 5:
        with generate.atomic_write(path) as temporary:
            temporary.write_bytes(b"RIFF half a clip")
            os.kill(os.getpid(), signal.SIGKILL)
    write_video(path, frames, **options)

generate.write_video = dying
generate.make_dataset("synth-ucf101", cache_dir=sys.argv[1], class_counts=(2, 2, 2), clips_per_class=3)
"""


def test_a_generation_killed_in_the_middle_of_a_file_resumes_and_equals_the_uninterrupted_one(
    tmp_path, mixed, monkeypatch
):
    command = [sys.executable, "-c", DIES_IN_THE_FIFTH_CLIP, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(paths.REPOSITORY)}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    (root,) = (tmp_path / "clips").iterdir()
    kept = sorted(path for path in root.rglob("*.avi") if not path.name.startswith("."))
    assert len(kept) == 4 and not (root / "manifest.csv").exists()
    assert len(list(root.rglob(".*.partial.avi"))) == 1  # the half of the fifth
    rendered = []
    monkeypatch.setattr(generate, "render_clip", lambda plan: rendered.append(plan) or render_clip(plan))
    for _ in range(2):  # the second time all of it is in the cache
        resumed = make_dataset("synth-ucf101", cache_dir=tmp_path, **FEW)
        assert len(rendered) == len(mixed) - 4  # what was whole is kept
        assert resumed.digest == mixed.digest and bytes_of(resumed) == bytes_of(mixed)


def test_a_clip_that_is_damaged_in_the_cache_or_gone_is_rendered_again(tmp_path, capsys):
    made = make_dataset("synth-ucf101", cache_dir=tmp_path, **FEW)
    whole, (first, second) = bytes_of(made), [made.clip_path(row) for row in (0, 5)]
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    second.unlink()
    capsys.readouterr()
    again = make_dataset("synth-ucf101", cache_dir=tmp_path, **FEW)
    assert "2 clips are damaged in the cache and are rendered again" in capsys.readouterr().out
    assert bytes_of(again) == whole and again.digest == made.digest


def test_a_changed_benchmark_leaves_the_clips_of_the_others_alone(monkeypatch):
    characters = generate.synthetic.benchmarks.CHARACTERS
    plans = {name: plans_of(name, n_classes=1, n_takes=1) for name in SYNTHETIC_NAMES}
    before = {name: generate._digest(name, own, "MJPG") for name, own in plans.items()}
    monkeypatch.setitem(characters, "synth-hmdb51", replace(characters["synth-hmdb51"], jitter=0.2))
    changed = [name for name, own in plans.items() if generate._digest(name, own, "MJPG") != before[name]]
    assert changed == ["synth-hmdb51"]


# the files


def test_decoded_frames_are_exactly_the_rendered_ones_with_ffv1(tmp_path):
    dataset = make_dataset("synth-ssv2", cache_dir=tmp_path, codec="FFV1", clips_per_class=2, splits=("val",),
                           class_counts=(2, 2, 2))  # fmt: skip
    assert set(dataset.manifest["split"]) == {"val"}
    for row, plan in enumerate(plans_of("synth-ssv2", n_classes=2, n_takes=2)):
        np.testing.assert_array_equal(read_frames(dataset.clip_path(row)), render_clip(plan)[0])


def test_the_manifest_says_what_the_files_hold(mixed):
    manifest = mixed.manifest
    assert len(manifest) == 6 * 3 and len(mixed.classes("train")) == len(mixed.classes("test")) == 2
    assert set(manifest["n_frames"]) == {N_FRAMES} and set(manifest["height"]) == set(manifest["width"]) == {SIDE}
    assert read_frames(mixed.clip_path(0)).shape == (N_FRAMES, SIDE, SIDE, 3)
    assert read_manifest(mixed.root / "manifest.csv").equals(manifest)


# degradation


def test_clips_without_degradation_are_the_same_files_whatever_happens_to_the_others(mixed, undegraded):
    stream = mixed.manifest["degraded"].to_numpy()
    assert set(stream) == set(SHARES) and set(undegraded.manifest["degraded"]) == {"none"}
    equal = [a == b for a, b in zip(bytes_of(mixed), bytes_of(undegraded), strict=True)]
    assert equal == list(stream == "none")
    others = mixed.manifest.columns.drop(["degraded", "kind", "strength", "file_digest"])
    assert mixed.manifest[others].equals(undegraded.manifest[others])


@pytest.mark.parametrize("stream", ["rgb", "flow"])
def test_a_forced_degradation_hits_every_clip_and_only_its_own_frames(stream):
    for plan in plans_of("synth-kinetics", n_classes=2, n_takes=2):
        frames, places = render_clip(replace(plan, degradation=stream))
        plain, plain_places = render_clip(replace(plan, degradation="none"))
        assert degradation_of(replace(plan, degradation=stream)).kind in KINDS[stream]
        assert frames.shape == plain.shape and (frames != plain).any()
        np.testing.assert_array_equal(places, plain_places)


def test_degradations_are_drawn_in_the_stated_shares_with_both_kinds_of_each():
    drawn = [degradation_of(plan) for plan in plans_of("synth-hmdb51", n_classes=50, n_takes=40)]
    streams, kinds = Counter(one.stream for one in drawn), Counter(one.kind for one in drawn)
    for stream, share in SHARES.items():
        assert abs(streams[stream] / len(drawn) - share) < 0.045  # 4 standard deviations of 2,000 draws
    for stream, names in KINDS.items():
        for name in names:
            assert abs(kinds[name] / streams[stream] - 1 / len(names)) < 0.1
    assert all(0 < one.strength <= 1 for one in drawn if one.stream != "none")


# persons and classes


def test_no_person_is_in_two_splits(mixed):
    persons = [set(mixed.manifest["group"].iloc[mixed.rows(split)]) for split in ("train", "val", "test")]
    assert not (persons[0] & persons[1] or persons[0] & persons[2] or persons[1] & persons[2])
    bodies = [draw_body(ClipPlan("synth-ucf101", split, 0, 0, 0).rng("body", 3)).skin for split in ("train", "test")]
    assert bodies[0] != bodies[1]


def test_the_persons_of_a_class_come_from_one_lottery_for_all_classes():
    plans = plans_of("synth-ssv2", n_classes=40, n_takes=20)
    persons = Counter(person_of(plan) for plan in plans)
    assert set(persons) == set(range(N_PERSONS))
    assert max(persons.values()) < 3 * min(persons.values())
    assert all(len({person_of(p) for p in plans if p.action == action}) > 8 for action in range(40))


def test_classes_of_different_splits_and_data_sets_are_different():
    splits = ("train", "val", "test")
    plans = [ClipPlan(name, split, 0, 0, 0) for name in (*SYNTHETIC_NAMES, CORPUS) for split in splits]
    motions = {class_motion(plan, character_of(plan.dataset)).key_poses.tobytes() for plan in plans}
    scenes = {draw_appearance(plan.rng("scene", 0)).wall.tobytes() for plan in plans}
    assert len(motions) == len(scenes) == len(plans)


def test_every_odd_class_of_synth_ssv2_is_its_neighbour_in_reverse():
    character = character_of("synth-ssv2")
    motions = [class_motion(plan, character) for plan in plans_of("synth-ssv2", n_classes=10, n_takes=1)]
    for first, second in zip(motions[::2], motions[1::2], strict=True):
        np.testing.assert_array_equal(second.key_poses, first.key_poses[::-1])
        assert (second.cycles, second.cyclic) == (first.cycles, False) and not first.cyclic


def test_the_class_does_not_enter_the_appearance_of_synth_ssv2():
    plan = ClipPlan("synth-ssv2", "val", 3, 3, 1)
    np.testing.assert_array_equal(render_clip(plan)[0], render_clip(replace(plan, scene=9))[0])
    plan = replace(plan, dataset="synth-kinetics")
    assert (render_clip(plan)[0] != render_clip(replace(plan, scene=9))[0]).any()


# the corpus


def test_the_corpus_shows_each_scene_as_often_as_each_action_and_never_twice_in_a_take(corpus):
    manifest = corpus.manifest
    assert set(manifest["label"].value_counts()) == set(manifest["scene"].value_counts()) == {3}
    take = manifest.groupby("label").cumcount()
    assert manifest.groupby(take)["scene"].nunique().tolist() == [4, 4, 4]
    assert set(manifest["degraded"]) == {"none"} and set(manifest["split"]) == {"train"}


def test_scenes_of_the_corpus_are_independent_of_actions():
    table = np.zeros((30, 30))
    for plan in generate._corpus_plans(30, 40, 0):
        table[plan.action, plan.scene] += 1
    chi2 = ((table - 40 / 30) ** 2 / (40 / 30)).sum()
    assert abs(chi2 - 29**2) < 5 * (2 * 29**2) ** 0.5  # within 5 standard deviations of independent draws


def test_joints_lie_where_the_figure_is_drawn(monkeypatch):
    """Without noise, the right hand, which is drawn last, has the colour of the skin; the head nearly always."""
    character = replace(character_of(CORPUS), sensor_noise=0.0, softness=0.0)
    monkeypatch.setattr(clips, "character_of", lambda name: character)
    on_head = []
    for plan in plans_of(CORPUS, n_classes=6, n_takes=1, split="train", degradation="none"):
        frames, places = render_clip(plan)
        skin = draw_body(plan.rng("body", person_of(plan))).skin
        pixels = np.rint(places * SIDE).astype(int)
        for frame, points in zip(frames, pixels, strict=True):
            if (2 < points[RIGHT_HAND]).all() and (points[RIGHT_HAND] < SIDE - 2).all():
                x, y = points[RIGHT_HAND]
                assert np.abs(frame[y, x] - np.array(skin)).max() < 3
            x, y = points[HEAD]
            on_head.append(np.abs(frame[y, x] - np.array(skin)).max() < 3)
    assert np.mean(on_head) > 0.8  # an arm or an object may pass before the face


# refusals


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("synth-ssv2", {"class_counts": (4, 3, 4)}, BadParameter, "come in pairs: take even numbers"),
        ("synth-ssv2", {"class_counts": (4, 4)}, BadParameter, "must be three numbers"),
        ("synth-ssv2", {"clips_per_class": 1}, BadParameter, "clips_per_class is 1, but .* take 2 or more"),
        ("synth-ssv3", {}, UnknownName, 'did you mean "synth-ssv2"'),
        ("synth-ssv2", {"splits": ("vla",)}, UnknownName, 'did you mean "val"'),
        ("synth-ssv2", {"degradation": "rbg"}, UnknownName, 'did you mean "rgb"'),
    ],
)
def test_what_no_benchmark_can_be_is_refused_before_anything_is_written(tmp_path, name, options, error, message):
    with pytest.raises(error, match=message):
        make_dataset(name, cache_dir=tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_a_corpus_without_a_clip_to_hold_out_is_refused(tmp_path):
    with pytest.raises(BadParameter, match="clips_per_class of the pretraining corpus is 1, but must be at least 2"):
        make_corpus(cache_dir=tmp_path, n_classes=4, clips_per_class=1)
