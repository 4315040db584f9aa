"""Decoding and writing.  FFV1 and PNG are lossless: exact.  MJPG: mean error of brightness under 4 of 255 (q = 90);
its colours have half the resolution and are not compared."""

from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace
from toy_clips import encode_streams, encode_video, moving_frames, smooth_frames, write_images

from amfir_lib.data import video
from amfir_lib.data.images import frame_files, is_frame_folder
from amfir_lib.data.video import VideoInfo, probe_video, read_frames, write_video
from amfir_lib.errors import BadParameter, DataNotFound, ShapeError, UnreadableVideo


@pytest.fixture(scope="module")
def frames():
    return moving_frames(np.random.default_rng(0), n_frames=12)


def test_ffv1_gives_back_every_pixel_and_chosen_frames_in_the_order_asked_for(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames, codec="FFV1")
    np.testing.assert_array_equal(read_frames(tmp_path / "a.avi"), frames)
    np.testing.assert_array_equal(read_frames(tmp_path / "a.avi", [7, 2, 2, 11]), frames[[7, 2, 2, 11]])
    assert len(read_frames(tmp_path / "a.avi", [])) == 0
    with pytest.raises(BadParameter, match="Frame -1 of .* start at 0"):
        read_frames(tmp_path / "a.avi", [3, -1])


def test_mjpg_gives_back_nearly_the_same_frames_and_red_stays_red(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames)
    grey = [[cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in clip] for clip in (frames, read_frames(tmp_path / "a.avi"))]
    assert np.abs(np.subtract(*np.asarray(grey, int))).mean() < 4
    red = np.zeros((9, 32, 32, 3), np.uint8)
    red[..., 0] = 200
    write_video(tmp_path / "red.avi", red)
    mean = read_frames(tmp_path / "red.avi").mean(axis=(0, 1, 2))
    assert mean[0] > 150 and mean[2] < 20


@pytest.mark.parametrize("codec", ["MJPG", "FFV1"])
def test_writing_twice_gives_the_same_bytes(tmp_path, frames, codec):
    for name in ("a.avi", "b.avi"):
        write_video(tmp_path / name, frames, codec=codec)
    assert (tmp_path / "a.avi").read_bytes() == (tmp_path / "b.avi").read_bytes()


def test_probing_finds_number_of_frames_rate_and_size_odd_ones_too(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames[:, :47, :33], fps=25)
    assert probe_video(tmp_path / "a.avi") == VideoInfo(n_frames=12, fps=25.0, height=47, width=33)
    with pytest.raises(BadParameter, match="FFV1 needs even sizes, not 47 x 33. Use MJPG"):
        write_video(tmp_path / "a.avi", frames[:, :47, :33], codec="FFV1")


def test_a_grey_video_has_three_equal_channels(tmp_path, frames):
    path = str(tmp_path / "grey.avi")
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"FFV1"), 12.0, (48, 48), isColor=False)
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., 1]))
    writer.release()
    grey = read_frames(path)
    assert grey.shape == frames.shape and (grey == grey[..., :1]).all()


def test_a_truncated_file_counts_the_frames_that_are_left(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames)
    whole = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "b.avi").write_bytes(whole[: int(0.6 * len(whole))])
    assert 0 < probe_video(tmp_path / "b.avi").n_frames < 12
    with pytest.raises(UnreadableVideo, match=r"b\.avi has \d+ frames that can be decoded, but frame 11 .* was asked"):
        read_frames(tmp_path / "b.avi", [0, 11])


def test_a_header_that_promises_more_frames_is_not_believed(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames)
    content = bytearray((tmp_path / "a.avi").read_bytes())
    for chunk, offset in ((b"avih", 16), (b"strh", 32)):  # dwTotalFrames, and dwLength of the stream
        start = content.index(chunk) + 8 + offset
        content[start : start + 4] = (500).to_bytes(4, "little")
    (tmp_path / "a.avi").write_bytes(content)
    assert probe_video(tmp_path / "a.avi").n_frames == 12


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


def test_a_video_without_frames_a_folder_and_a_missing_file_are_told_apart(tmp_path):
    (tmp_path / "folder.avi").mkdir()
    with pytest.raises(UnreadableVideo, match="folder.avi is a folder without numbered images"):
        probe_video(tmp_path / "folder.avi")
    with pytest.raises(DataNotFound, match="There is no video .*none.avi"):
        probe_video(tmp_path / "none.avi")
    fourcc = cv2.VideoWriter_fourcc(*"MJPG")
    cv2.VideoWriter(str(tmp_path / "zero.avi"), cv2.CAP_OPENCV_MJPEG, fourcc, 12.0, (32, 32)).release()
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
    monkeypatch.setattr(video, "probe_video", lambda path: VideoInfo(5, 12.0, 48, 48))
    with pytest.raises(UnreadableVideo, match=r"Only 5 of 12 frames .*a\.avi reached the disk"):
        write_video(tmp_path / "a.avi", frames)
    assert list(tmp_path.iterdir()) == []


# what cameras, phones and sensors write


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"crf": "10"}),
        ("interlaced.mp4", "libx264", {"crf": "10", "x264-params": "tff=1"}),
        ("interlaced.mpg", "mpeg2video", {"b": "4000000"}),
        ("a.webm", "libsvtav1", {"crf": "20"}),
        ("a.webm", "libvpx", {"b": "4000000"}),
        ("a.wmv", "wmv2", {"b": "4000000"}),
        ("a.avi", "mpeg4", {"b": "4000000"}),
    ],
)
def test_progressive_and_interlaced_video_of_any_codec_is_read_as_it_was_recorded(tmp_path, name, codec, options):
    recorded = smooth_frames()
    path = encode_video(tmp_path / name, recorded, codec, options=options, interlaced="interlaced" in name)
    decoded = read_frames(path)
    assert decoded.shape == recorded.shape
    assert np.abs(decoded.astype(int) - recorded).mean() < 8  # another frame differs by 20 and more


@pytest.mark.parametrize("matrix", [Colorspace.ITU709, Colorspace.ITU601])
@pytest.mark.parametrize("full_range", [ColorRange.JPEG, ColorRange.MPEG])
def test_colours_follow_the_matrix_and_the_range_that_the_file_states(tmp_path, matrix, full_range):
    patches = np.repeat(np.repeat(np.uint8([[[255, 0, 0], [0, 255, 0], [40, 80, 120], [250, 250, 250]]]), 64, 0), 16, 1)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, full_range
        for _ in range(4):
            rgb = av.VideoFrame.from_ndarray(patches, format="rgb24")
            frame = rgb.reformat(format="yuv444p", dst_colorspace=matrix, dst_color_range=full_range)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    np.testing.assert_allclose(read_frames(tmp_path / "a.mp4")[2].astype(int), patches, atol=6)


def turned(path, *matrix):
    """Put a display matrix (a, b, c, d) into the track header of an MP4 file."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    numbers = [matrix[0] << 16, matrix[1] << 16, 0, matrix[2] << 16, matrix[3] << 16, 0, 0, 0, 1 << 30]
    content[start : start + 36] = np.array(numbers, ">i4").tobytes()
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("matrix", "seen"),
    [
        ((0, 1, -1, 0), lambda x: np.rot90(x, -1, (1, 2))),  # a phone held upright: a quarter turn clockwise
        ((-1, 0, 0, -1), lambda x: np.rot90(x, 2, (1, 2))),
        ((0, -1, 1, 0), lambda x: np.rot90(x, 1, (1, 2))),
        ((-1, 0, 0, 1), lambda x: x[:, :, ::-1]),  # a front camera
        ((1, 0, 0, -1), lambda x: x[:, ::-1]),
        ((0, 1, 1, 0), lambda x: x.swapaxes(1, 2)),
    ],
)
def test_video_is_turned_and_mirrored_as_its_container_says(tmp_path, matrix, seen):
    path = encode_video(tmp_path / "a.mp4", smooth_frames(4), "libx264")
    expected = seen(read_frames(path))
    turned(path, *matrix)
    np.testing.assert_array_equal(read_frames(path), expected)
    assert (probe_video(path).height, probe_video(path).width) == expected.shape[1:3]


@pytest.mark.parametrize("kind", ["video", "images"])
def test_readings_of_16_bits_become_grey_levels_over_the_range_of_their_clip(tmp_path, kind):
    readings = np.tile(np.linspace(500, 4500, 64, dtype=np.uint16), (6, 48, 1))  # mm
    readings[:, :5] = 0  # where the sensor saw nothing
    if kind == "video":
        path = encode_video(tmp_path / "depth.mkv", readings, "ffv1", pix_fmt="gray16le")
    else:
        path = tmp_path / "depth"
        path.mkdir()
        for number, image in enumerate(readings):
            cv2.imwrite(str(path / f"{number:05d}.png"), image)
    frames = read_frames(path)
    assert frames.shape == (6, 48, 64, 3) and (frames[:, :5] == 0).all()
    assert frames[0, 10, 0, 0] == 1 and frames[0, 10, -1, 0] == 255
    low, high = np.percentile(readings[readings > 0], (1, 99))
    expected = 1 + 254 * np.clip((readings[0, 10] - low) / (high - low), 0, 1)
    np.testing.assert_allclose(frames[0, 10, :, 0], expected, atol=0.51)
    assert probe_video(path).readings == f"{low:.0f}-{high:.0f}"
    np.testing.assert_array_equal(read_frames(path, [3]), frames[3:4])


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.avi", "mjpeg"), ("a.mkv", "libx264")])
def test_frames_that_the_container_promises_and_that_cannot_be_decoded_are_counted(tmp_path, name, codec):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    header_first = {"movflags": "faststart"} if name.endswith("mp4") else {}
    path = encode_video(tmp_path / name, smooth_frames(60), codec, pix_fmt=pix_fmt, container_options=header_first)
    assert (probe_video(path).n_frames, probe_video(path).n_lost) == (60, 0)
    content = path.read_bytes()
    path.write_bytes(content[: int(0.7 * len(content))])
    info = probe_video(path)
    assert 0 < info.n_frames < 55 and info.n_frames + info.n_lost == pytest.approx(60, abs=2)


def test_a_codec_without_a_decoder_is_named_with_the_command_that_converts_it(tmp_path, frames):
    write_video(tmp_path / "clip.avi", frames)
    content = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "clip.avi").write_bytes(content.replace(b"MJPG", b"QQQQ"))
    with pytest.raises(UnreadableVideo, match=r'no decoder here. Convert it: ffmpeg -i "clip.avi" .*"clip.mp4"'):
        read_frames(tmp_path / "clip.avi")


def test_a_cover_is_no_video(tmp_path):
    frames = smooth_frames()
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt, cover.disposition = 32, 32, "yuvj420p", Disposition.attached_pic
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(cover.encode())
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert read_frames(path).shape == frames.shape


def test_of_several_video_streams_the_first_is_read_and_all_are_counted(tmp_path):
    path = encode_streams(tmp_path / "a.mkv", smooth_frames(), smooth_frames()[::-1])
    np.testing.assert_array_equal(read_frames(path), smooth_frames())
    assert probe_video(path).n_streams == 2


def test_sound_that_goes_on_is_no_damage(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream, sound = container.add_stream("libx264", rate=25), container.add_stream("pcm_s16le", rate=8000)
        stream.height, stream.width, stream.pix_fmt, sound.layout = 64, 96, "yuv420p", "mono"
        for frame in smooth_frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.int16), format="s16", layout="mono")
        silence.sample_rate = 8000
        container.mux(sound.encode(silence))
    assert (probe_video(tmp_path / "a.mkv").n_frames, probe_video(tmp_path / "a.mkv").n_lost) == (10, 0)


def test_a_name_that_is_no_utf_8_is_read(tmp_path, frames):
    write_video(tmp_path / "a.avi", frames, codec="FFV1")
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.avi"))
    (tmp_path / "a.avi").rename(path)
    np.testing.assert_array_equal(read_frames(path), frames)


# folders of frames


PATTERNS = "{:05d}.png img_{:05d}.png frame{:06d}.png {}.png image-{}.PNG {:04d}_rgb.png cam1_{:03d}_t0.png".split()


@pytest.mark.parametrize("pattern", [*PATTERNS, "frame ({}).png", "v_{:04d}.png", "x{}.png"])
def test_frames_of_a_folder_come_in_the_order_of_their_numbers(tmp_path, frames, pattern):
    folder = write_images(tmp_path / "clip", frames, pattern)
    np.testing.assert_array_equal(read_frames(folder), frames)
    np.testing.assert_array_equal(read_frames(folder, [7, 2, 2, 11]), frames[[7, 2, 2, 11]])
    assert probe_video(folder) == VideoInfo(n_frames=12, fps=0.0, height=48, width=48)


def test_pictures_of_flow_hidden_files_and_notes_are_no_frames(tmp_path, frames):
    folder = write_images(tmp_path / "clip", frames, "img_{:05d}.png")
    for name in ("flow_x_00001.jpg", "flow_y_00001.jpg", "._img_00001.png", "cover.png", "n_frames"):
        (folder / name).write_bytes(b"0")
    assert [file.name for file in frame_files(folder)] == [f"img_{n:05d}.png" for n in range(1, 13)]
    (tmp_path / "empty").mkdir()
    assert is_frame_folder(folder) and not is_frame_folder(tmp_path / "empty")


@pytest.mark.parametrize(
    "names",
    [("x_{:03d}.png", "y_{:03d}.png"), ("rgb_{:03d}.png", "depth_{:03d}.png"), ("{:03d}.png", "{:03d}_mask.png")],
)
def test_two_series_of_images_are_refused_with_their_names(tmp_path, frames, names):
    for pattern in names:
        folder = write_images(tmp_path / "clip", frames, pattern)
    with pytest.raises(UnreadableVideo, match=r"several series of images: .*\(12\), .*\(12\)"):
        read_frames(folder)


@pytest.mark.parametrize("flow", [("x_{:05d}.png", "y_{:05d}.png"), ("img_{:05d}_u.png", "img_{:05d}_v.png")])
def test_flow_and_single_images_beside_a_series_are_no_frames(tmp_path, frames, flow):
    folder = write_images(tmp_path / "clip", frames, "img_{:05d}.png")
    for pattern in flow:
        write_images(folder, frames[::-1], pattern)
    write_images(folder, frames[:1], "poster{}.png")
    np.testing.assert_array_equal(read_frames(folder), frames)


@pytest.mark.parametrize(
    ("numbers", "n_lost"),
    [
        ([*range(1, 10), *range(12, 30)], 2), (range(0, 60, 5), 0), ([*range(0, 60, 5), 70], 2),
        ([0, 40, 81, 120, 160, 203, 240, 281, 320], 0), ([1, 2, 3, 5, 6, 8, 9, 10, 13], 0),
    ],
)  # fmt: skip
def test_frames_that_numbers_skip_are_lost_unless_the_numbers_are_times_or_a_choice(tmp_path, frames, numbers, n_lost):
    for number in numbers:
        write_images(tmp_path / "clip", frames[:1], f"img_{number:05d}.png")
    assert probe_video(tmp_path / "clip").n_lost == n_lost


def test_a_broken_frame_and_one_that_is_missing_are_named(tmp_path, frames):
    folder = write_images(tmp_path / "clip", frames)
    with pytest.raises(UnreadableVideo, match=r"clip has 12 frames .*frame 40 .from 0. was asked for"):
        read_frames(folder, [0, 40])
    (folder / "00007.png").write_bytes(b"not an image")
    with pytest.raises(UnreadableVideo, match=r"00007\.png is not an image"):
        probe_video(folder)
