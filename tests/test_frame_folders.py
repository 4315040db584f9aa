"""Folders of numbered images as clips.  PNG is lossless: exact."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from toy_clips import moving_frames

from amfir_lib.data.clip_inputs import clip_inputs
from amfir_lib.data.folder import load_folder
from amfir_lib.data.frame_folders import digest_of_frames, frame_files, is_frame_folder
from amfir_lib.data.video import VideoInfo, probe_video, read_frames, write_video
from amfir_lib.errors import UnreadableVideo


def write_images(folder, frames, pattern="{:05d}.png", start=1):
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, start=start):
        cv2.imwrite(str(folder / pattern.format(number)), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder


@pytest.fixture
def frames():
    return moving_frames(np.random.default_rng(0), n_frames=12, size=32)


@pytest.mark.parametrize("pattern", ["{:05d}.png", "img_{:05d}.png", "frame{:06d}.png", "{}.png", "image-{}.PNG"])
def test_frames_come_in_the_order_of_their_numbers(tmp_path, frames, pattern):
    folder = write_images(tmp_path / "clip", frames, pattern)
    np.testing.assert_array_equal(read_frames(folder), frames)
    np.testing.assert_array_equal(read_frames(folder, [7, 2, 2, 11]), frames[[7, 2, 2, 11]])
    assert probe_video(folder) == VideoInfo(n_frames=12, fps=0.0, height=32, width=32)


def test_a_folder_of_frames_gives_the_same_inputs_as_the_video(tmp_path, frames):
    write_video(tmp_path / "clip.avi", frames, codec="FFV1")
    write_images(tmp_path / "clip", frames)
    video, folder = (clip_inputs(tmp_path / name, size=32, flow_size=32) for name in ("clip.avi", "clip"))
    np.testing.assert_array_equal(video.rgb, folder.rgb)
    np.testing.assert_array_equal(video.flow, folder.flow)


def test_pictures_of_flow_hidden_files_and_notes_are_no_frames(tmp_path, frames):
    folder = write_images(tmp_path / "clip", frames, "img_{:05d}.png")
    for name in ("flow_x_00001.jpg", "flow_y_00001.jpg", "._img_00001.png", "cover.png", "n_frames"):
        (folder / name).write_bytes(b"0")
    assert [file.name for file in frame_files(folder)] == [f"img_{n:05d}.png" for n in range(1, 13)]
    (tmp_path / "empty").mkdir()
    assert is_frame_folder(folder) and not is_frame_folder(tmp_path / "empty")


def test_a_broken_frame_and_a_folder_without_frames_are_named(tmp_path, frames):
    folder = write_images(tmp_path / "clip", frames)
    before = digest_of_frames(folder)
    (folder / "00007.png").write_bytes(b"not an image")
    assert digest_of_frames(folder) != before
    with pytest.raises(UnreadableVideo, match=r"00007\.png is not an image"):
        probe_video(folder)
    with pytest.raises(UnreadableVideo, match=r"clip has 12 frames .*frame 40 .from 0. was asked for"):
        read_frames(folder, [0, 40])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnreadableVideo, match="empty is a folder without numbered images"):
        read_frames(tmp_path / "empty")


def test_folders_of_frames_are_clips_of_a_folder_data_set_and_a_changed_frame_is_noticed(tmp_path, frames):
    for label in "abc":
        for clip in range(2):
            write_images(tmp_path / "clips" / label / f"clip{clip}", np.roll(frames, clip, axis=1))
    first = load_folder(tmp_path / "clips", cache_dir=tmp_path / "cache")
    assert len(first) == 6 and set(first.manifest["n_frames"]) == {12}
    cv2.imwrite(str(tmp_path / "clips" / "a" / "clip0" / "00003.png"), np.zeros((32, 32, 3), np.uint8))
    assert load_folder(tmp_path / "clips", cache_dir=tmp_path / "cache").digest != first.digest
