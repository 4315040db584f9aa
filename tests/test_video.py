"""Decoding and writing.  FFV1 is lossless: exact.  MJPG: mean error of brightness under 4 of 255 (q = 90);
its colours have half the resolution and are not compared."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_clips import moving_frames

from amfir_lib.data.video import count_frames, probe_video, read_frames, sample_instants, write_video
from amfir_lib.errors import BadParameter, DataNotFound, ShapeError, UnreadableVideo


@pytest.fixture(scope="module")
def frames():
    return moving_frames(np.random.default_rng(0), n_frames=12)


def test_ffv1_gives_back_every_pixel(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames, codec="FFV1")
    np.testing.assert_array_equal(read_frames(tmp_path / "a.avi"), frames)


def test_mjpg_gives_back_nearly_the_same_frames(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames)
    grey = [[cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in clip] for clip in (frames, read_frames(tmp_path / "a.avi"))]
    assert np.abs(np.subtract(*np.asarray(grey, int))).mean() < 4


def test_red_stays_red(tmp_path):
    red = np.zeros((9, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    write_video(tmp_path / "a.avi", red)
    assert (read_frames(tmp_path / "a.avi").mean(axis=(0, 1, 2)) > [150, -1, -1]).all()
    assert read_frames(tmp_path / "a.avi").mean(axis=(0, 1, 2))[2] < 20


@pytest.mark.parametrize("codec", ["MJPG", "FFV1"])
def test_writing_twice_gives_the_same_bytes(tmp_path, frames, codec):
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, frames, codec=codec)
    assert (tmp_path / "a.avi").read_bytes() == (tmp_path / "b.avi").read_bytes()


def test_chosen_frames_come_in_the_order_asked_for_with_repeats(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames, codec="FFV1")
    np.testing.assert_array_equal(read_frames(tmp_path / "a.avi", [7, 2, 2, 11]), frames[[7, 2, 2, 11]])
    assert len(read_frames(tmp_path / "a.avi", [])) == 0


def test_probing_finds_number_of_frames_rate_and_size(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames[:, :40], fps=25)
    info = probe_video(tmp_path / "a.avi")
    assert (info.n_frames, info.fps, info.height, info.width) == (12, 25.0, 40, 48)


def test_odd_sizes_are_kept(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames[:, :47, :33])
    assert read_frames(tmp_path / "a.avi").shape == (12, 47, 33, 3)
    with pytest.raises(BadParameter, match="FFV1 needs even sizes, not 47 x 33. Use MJPG"):
        write_video(tmp_path / "a.avi", frames[:, :47, :33], codec="FFV1")


def test_a_grey_video_has_three_equal_channels(tmp_path, frames):
    path = str(tmp_path / "grey.avi")
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"FFV1"), 12.0, (48, 48), isColor=False)
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., 1]))
    writer.release()
    grey = read_frames(path)
    assert grey.shape == frames.shape
    assert (grey == grey[..., :1]).all()


def test_a_truncated_file_counts_the_frames_that_are_left(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames)
    whole = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "b.avi").write_bytes(whole[: int(0.6 * len(whole))])
    assert 0 < count_frames(tmp_path / "b.avi") < 12
    with pytest.raises(UnreadableVideo, match=r"b\.avi has \d+ frames that can be decoded, but frame 11 .* was asked"):
        read_frames(tmp_path / "b.avi", [0, 11])


def test_a_header_that_promises_more_frames_is_not_believed(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames)
    content = bytearray((tmp_path / "a.avi").read_bytes())
    start = content.index(b"avih") + 8 + 16  # dwTotalFrames
    content[start : start + 4] = (500).to_bytes(4, "little")
    start = content.index(b"strh") + 8 + 32  # dwLength of the stream
    content[start : start + 4] = (500).to_bytes(4, "little")
    (tmp_path / "a.avi").write_bytes(content)
    assert count_frames(tmp_path / "a.avi") == 12


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", r"is empty \(0 bytes\)"), (b"not pictures\n" * 40, "is not a video"), (b"\0" * 999, "is not a video")],
)
def test_a_file_that_is_no_video_is_named_with_a_remedy(tmp_path, capfd, content, message):
    (tmp_path / "bad.avi").write_bytes(content)
    for read in (probe_video, read_frames):
        with pytest.raises(UnreadableVideo, match=rf"bad\.avi.*{message}.*Copy or download the file again"):
            read(tmp_path / "bad.avi")
    assert capfd.readouterr().err == ""


def test_a_truncated_header_is_named_and_the_decoder_stays_silent(tmp_path, capfd, frames):
    write_video(tmp_path / "a.avi", frames)
    for n in (20, 200, 3000):
        (tmp_path / "bad.avi").write_bytes((tmp_path / "a.avi").read_bytes()[:n])
        with pytest.raises(UnreadableVideo, match="bad.avi"):
            print(probe_video(tmp_path / "bad.avi"))
    assert capfd.readouterr().err == ""


def test_a_video_without_frames_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    (tmp_path / "folder.avi").mkdir()
    with pytest.raises(UnreadableVideo, match="folder.avi is a folder"):
        probe_video(tmp_path / "folder.avi")
    with pytest.raises(DataNotFound, match="There is no video .*none.avi"):
        probe_video(tmp_path / "none.avi")
    writer = cv2.VideoWriter(
        str(tmp_path / "zero.avi"), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter_fourcc(*"MJPG"), 12.0, (32, 32)
    )
    writer.release()
    with pytest.raises(UnreadableVideo, match="zero.avi"):
        probe_video(tmp_path / "zero.avi")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"codec": "H264"}, BadParameter, 'codec is "H264"; choose "MJPG" or "FFV1"'),
        ({"path": "a.mp4"}, BadParameter, "written as .avi"),
        ({"fps": 0}, BadParameter, "positive rate"),
        ({"frames": np.zeros((0, 8, 8, 3), np.uint8)}, ShapeError, "F > 0"),
        ({"frames": np.zeros((3, 8, 8, 3))}, ShapeError, "float64"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, frames, change, error, message):
    arguments = {"path": "a.avi", "frames": frames, "fps": 12.0, "codec": "MJPG"} | change
    with pytest.raises(error, match=message):
        write_video(tmp_path / arguments.pop("path"), arguments.pop("frames"), **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_loses_frames_leaves_no_file(tmp_path, frames, monkeypatch):
    monkeypatch.setattr("amfir_lib.data.video.count_frames", lambda path: 5)
    with pytest.raises(UnreadableVideo, match=r"Only 5 of 12 frames .*a\.avi reached the disk"):
        write_video(tmp_path / "a.avi", frames)
    assert list(tmp_path.iterdir()) == []


def test_centres_of_segments_by_hand():
    np.testing.assert_array_equal(sample_instants(16, 8), [0, 2, 4, 6, 8, 10, 12, 14])
    np.testing.assert_array_equal(sample_instants(9, 3), [1, 4, 7])
    np.testing.assert_array_equal(sample_instants(5, 1), [2])


@given(st.integers(1, 20), st.integers(0, 400), st.integers(0, 2**32 - 1))
def test_instants_increase_inside_the_clip_one_in_each_segment(n_segments, more, seed):
    n_frames = n_segments + more
    for rng in (None, np.random.default_rng(seed)):
        instants = sample_instants(n_frames, n_segments, rng=rng)
        assert instants.dtype == np.int64 and instants.shape == (n_segments,)
        assert (np.diff(instants) > 0).all() and instants[0] >= 0 and instants[-1] < n_frames
        if rng is not None:
            edges = np.arange(n_segments + 1) * n_frames // n_segments
            assert (edges[:-1] <= instants).all() and (instants < edges[1:]).all()


@given(st.integers(1, 20), st.integers(0, 400))
def test_centres_are_symmetric_in_time_up_to_one_frame(n_segments, more):
    instants = sample_instants(n_segments + more, n_segments)
    assert np.abs(instants + instants[::-1] - (n_segments + more - 1)).max() <= 1


def test_a_clip_with_fewer_frames_than_segments_is_refused():
    with pytest.raises(BadParameter, match="A clip of 5 frames cannot be cut into 8 segments"):
        sample_instants(5, 8)
