"""Every unusual and broken file of the shared collection gives the result listed in its manifest."""

import csv
import time
from collections import deque
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation
from PIL import Image

from helpers import required
from vitascope.core.types import Clip, Crop, Video
from vitascope.video import decode, inspect
from vitascope.video.container import open_file, open_stream
from vitascope.video.crops import Cutter
from vitascope.video.orientation import Orientation
from vitascope.video.packet_index import read_index

ROOT = required("robustness", "the odd and broken files")
ROWS = list(csv.DictReader((ROOT / "manifest.csv").read_text(encoding="utf-8").splitlines()))
LIMIT = 30.0
"""Limit of processor time per file, seconds."""

COUNTS = {
    "real/nasa_13013.mp4": (390, "two default streams of different sizes: the larger one, as FFmpeg chooses too"),
    "real/corrupted.mp4": (50, "one of the 50 packets is damaged; replaced by the previous frame"),
    "real/sample_with_invalid_nalu.mp4": (30, "one damaged packet keeps its time"),
    "real/no_timescale.mp4": (182, "twelve damaged packets keep their times"),
    "generated/truncated_half_faststart.mp4": (22, "the packet that is cut keeps its time"),
    "generated/bitflips_in_mdat.mp4": (57, "one damaged packet keeps its time"),
    "generated/zeroed_block_in_mdat.mp4": (57, "34 damaged packets keep their times"),
}
"""Files whose number of frames differs from the manifest, and why."""
CLEAN = {
    "real/invalid-bitstream.webm": "no frame decodes: an error",
    "real/chunk_out_of_range.mp4": "FFmpeg cannot open it: an error",
    "real/zero_empty_stsc.mp4": "no frame decodes: an error",
}
"""Partly decodable files of which nothing decodes."""
SILENT = {
    "real/sample-with-large-length.avi": "all 58 frames are there; the wrong length is in a header that is never read",
    "generated/starts_mid_gop.ts": "FFmpeg drops the head without a word; the rest decodes exactly",
}
"""Partly decodable files that give no cause for a warning."""
IMAGES = {"generated/still_image.jpg", "generated/jpeg_renamed.mp4"}
SLOW = {"real/long_1080p_lowbitrate.mp4", "real/8k24fps_300ms.mp4"}


def rows(*expectations: str) -> list[object]:
    return [pytest.param(r, id=r["file"][-60:]) for r in ROWS if r["expect"] in expectations]


def watch(video: Video, limit: int = 400) -> tuple[np.ndarray, list[str]]:
    """All frames up to a limit as small squares, and all warnings."""
    warnings = list(video.warnings)
    ((_, pixels),) = decode(video, [Clip(video.times[:limit], (0.0, 1.0))], 32, warnings=warnings)
    assert pixels.shape == (min(len(video.times), limit), 32, 32, 3)
    return pixels, warnings


def expected_size(row: dict[str, str]) -> tuple[int, int]:
    width, height = map(int, row["sizes"].split()[-1].split("x"))
    return (height, width) if abs(int(row["rotation"])) in (90, 270) else (width, height)


@pytest.mark.parametrize("row", rows("decode"))
def test_decodes(row: dict[str, str]) -> None:
    began = time.process_time()
    video = inspect(ROOT / row["file"])
    if row["expected_frames"]:
        expected, _ = COUNTS.get(row["file"], (int(row["expected_frames"]), ""))
        assert len(video.times) == expected
    if row["first_pts_s"] and row["file"] not in COUNTS:
        length = float(row["last_pts_s"]) - float(row["first_pts_s"])
        if row["file"] not in ("real/sample_with_fake_auxiliary_tracks.mp4",):  # all its frames have time 0
            assert video.times[-1] == pytest.approx(length, abs=0.002)
        assert (video.width, video.height) == expected_size(row)
    assert list(video.times) == sorted(video.times)
    assert video.duration >= video.times[-1]
    pixels, _ = watch(video, limit=8 if row["file"] in SLOW else 400)
    assert np.isfinite(pixels.astype(np.float32) / 255).all()
    assert time.process_time() - began < LIMIT


@pytest.mark.parametrize("row", rows("decode_partial_and_warn"))
def test_decodes_in_part_and_warns(row: dict[str, str]) -> None:
    began = time.process_time()
    if row["file"] in CLEAN:
        refused(row)
        return
    video = inspect(ROOT / row["file"])
    expected, _ = COUNTS.get(row["file"], (int(row["expected_frames"] or 0), ""))
    assert len(video.times) == expected or row["file"] == "generated/frames_dir_gap"
    _, warnings = watch(video)
    assert bool(warnings) == (row["file"] not in SILENT)
    assert time.process_time() - began < LIMIT


def refused(row: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        watch(inspect(ROOT / row["file"]))
    message = str(caught.value)
    assert message.startswith(str(ROOT / row["file"]))
    assert len(message.splitlines()) == 1
    assert len(message) > len(str(ROOT / row["file"])) + 10


@pytest.mark.parametrize("row", rows("skip_no_video", "clean_error"))
def test_refuses(row: dict[str, str]) -> None:
    began = time.process_time()
    if row["file"] in IMAGES:
        assert inspect(ROOT / row["file"]).kind == "image"
    else:
        refused(row)
    assert time.process_time() - began < LIMIT


@pytest.mark.parametrize("row", rows("unsupported_ok"))
def test_decodes_or_refuses(row: dict[str, str]) -> None:
    try:
        watch(inspect(ROOT / row["file"]))
    except ValueError:
        refused(row)


def test_the_manifest_is_covered() -> None:
    outcomes = {"decode", "decode_partial_and_warn", "skip_no_video", "clean_error", "unsupported_ok"}
    assert {r["expect"] for r in ROWS} == outcomes
    assert {*COUNTS, *CLEAN, *SILENT, *IMAGES, *SLOW} <= {r["file"] for r in ROWS}


def sequential(path: Path, places: set[int]) -> dict[int, np.ndarray]:
    """The pictures displayed at these places, of all frames that a file decodes to from its start to its end.

    The picture of a place is that of the last frame up to it, or of the first one where none is.
    """
    video, index = inspect(path), read_index(str(path))
    numbers = {int(stamp): i for i, stamp in enumerate(index.frame_stamps)}
    found: dict[int, tuple[tuple[bool, int], av.VideoFrame]] = {}
    count = 0
    with open_file(str(path)) as container:
        for packet in container.demux(open_stream(container, index.stream)):
            if not packet.size and packet.dts is not None:
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            for frame in frames:
                number = count if index.counted else numbers[frame.pts]
                count += 1
                for place in places:
                    distance = number > place, abs(number - place)
                    if place not in found or distance <= found[place][0]:
                        found[place] = distance, frame
    cutter = Cutter(32, "shorter", Orientation(video.rotation, video.mirrored))
    return {place: cutter.cut(frame, [Crop()])[0] for place, (_, frame) in found.items()}


HARD = [
    r["file"]
    for r in ROWS
    if r["expect"] in ("decode", "decode_partial_and_warn")
    and r["file"] not in SLOW | CLEAN.keys()
    and "frames_dir" not in r["file"]
    and r["file"] != "real/no_timescale.mp4"  # its frames come out in no order at all
]


@pytest.mark.parametrize("file", HARD)
def test_any_frames_are_those_of_decoding_everything(file: str) -> None:
    video = inspect(ROOT / file)
    rng = np.random.default_rng(len(file))
    draws = [[int(i) for i in rng.integers(0, len(video.times), 4)] for _ in range(3)]
    places = {i: video.frame_at(video.times[i]) for draw in draws for i in draw}
    truth = sequential(ROOT / file, set(places.values()))
    for draw in draws:
        ((_, pixels),) = decode(video, [Clip(tuple(video.times[i] for i in draw), (0.0, 1.0))], 32)
        for i, picture in zip(draw, pixels, strict=True):
            np.testing.assert_array_equal(picture, truth[places[i]], str((file, i)))


@pytest.mark.parametrize("name", ["video_0.mov", "video_90.mov", "video_180.mov", "video_270.mov"])
def test_the_picture_is_rotated_upright(name: str) -> None:
    """The stored frames are the same keyboard, rotated by the angle in the name."""
    video = inspect(ROOT / "real" / name)
    assert video.rotation == int(name.removeprefix("video_").removesuffix(".mov"))
    with av.open(str(ROOT / "real" / name)) as file:
        stored = next(file.decode(video=0)).to_ndarray(format="rgb24")
    upright = stored
    for _ in range(video.rotation // 90):  # a quarter turn clockwise: rows become columns, read from the bottom
        upright = upright[::-1].transpose(1, 0, 2)
    assert (video.height, video.width) == upright.shape[:2]
    ((_, pixels),) = decode(video, [Clip((0.0,), (0.0, 0.0))], 160)
    short = min(upright.shape[:2])
    w, h = (160, 160 * video.height // short) if video.width == short else (160 * video.width // short, 160)
    small = np.asarray(Image.fromarray(np.ascontiguousarray(upright)).resize((w, h), Image.Resampling.BILINEAR))
    top, left = round((h - 160) / 2), round((w - 160) / 2)
    assert np.abs(pixels[0].astype(float) - small[top : top + 160, left : left + 160]).mean() < 2


EVERY_FORMAT = [
    "real/sample.mp4",
    "real/bulk-water.mov",
    "real/bt709_full_range.mp4",
    "real/bt601.mov",
    "real/bbb_176x144_192kbps_15fps_mpeg4.mp4",
    "real/bear-vp9-odd-dimensions.webm",
    "real/hdr10-av1.mp4",
    "real/newtonscradle.gif",
    "generated/odd_321x241_yuv444.mp4",
    "generated/h264_422_10bit.mp4",
    "generated/prores_proxy.mov",
    "generated/gray_ffv1.mkv",
    "generated/rgba_png.mov",
    "generated/mjpeg.avi",
]


@pytest.mark.parametrize("size", [64, 224, 320])
@pytest.mark.parametrize("file", EVERY_FORMAT)
def test_one_step_to_small_rgb_is_conversion_and_pillows_resize(file: str, size: int) -> None:
    with av.open(str(ROOT / file)) as container:
        (frame,) = deque((f for _, f in zip(range(6), container.decode(video=0), strict=False)), maxlen=1)
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
    whole = frame.to_ndarray(format="rgb24", interpolation=exact | Interpolation.FULL_CHR_H_INP)
    actual = Cutter(size, "square").cut(frame, [Crop()])[0].astype(float)
    expected = np.asarray(Image.fromarray(whole).resize((size, size), Image.Resampling.BILINEAR))
    assert np.abs(actual - expected).mean() < 1


def test_a_long_file_is_not_decoded_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from vitascope.video import frame_reader as reading

    fed = []
    feed = reading._Stream._feed
    monkeypatch.setattr(reading._Stream, "_feed", lambda self: fed.append(1) or feed(self))
    video = inspect(ROOT / "real" / "long_1080p_lowbitrate.mp4")
    watch_at = tuple(video.duration * (i + 0.5) / 4 for i in range(4))
    ((_, pixels),) = decode(video, [Clip(watch_at, (0.0, video.duration))], 64)
    assert pixels.shape[0] == 4
    assert len(fed) < 4 * 256


def test_nothing_reaches_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    for file in ("real/corrupted.mp4", "generated/bitflips_in_mdat.mp4", "real/BA_MW_D_IDR_LOST.264"):
        watch(inspect(ROOT / file))
    assert capfd.readouterr() == ("", "")
