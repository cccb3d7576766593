"""Videos: presentation times, and the right frame whatever the access order."""

import os
import re
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from formats import FORMATS, HEIGHT, WIDTH, number_of, numbered, write
from vitascope.core.pixel_transform import PixelTransform
from vitascope.core.types import Clip, Crop, Video
from vitascope.video import decode, inspect
from vitascope.video import frame_reader as reading
from vitascope.video.crops import Cutter

ALL = Crop(box=(0.0, 0.0, 1.0, 1.0))


def displayed(video: Video, times: list[float], **options: object) -> list[int]:
    """The numbers of the frames displayed at `times`, as one clip."""
    ((_, pixels),) = decode(video, [Clip(tuple(times), (0.0, 1.0), ALL)], 40, **options)
    return [number_of(p) for p in pixels]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Video]:
    """One video of 60 numbered frames in every format."""
    folder = tmp_path_factory.mktemp("formats")
    return {name: inspect(write(folder / name, codec, **o)) for name, (codec, o) in FORMATS.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_every_frame_has_its_time(made: dict[str, Video], name: str) -> None:
    video = made[name]
    tick = 0.001 if name.endswith(("mkv", "webm", "flv")) else 1e-6
    assert video.times[0] == 0
    np.testing.assert_allclose(video.times, np.arange(60) / 25, atol=tick)
    assert video.duration == pytest.approx(60 / 25, abs=2 * tick)
    assert (video.width, video.height, video.kind, video.warnings) == (WIDTH, HEIGHT, "file", ())
    assert displayed(video, [t + 0.01 for t in video.times]) == list(range(60))


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_frames_in_any_order_are_the_right_ones(made: dict[str, Video], data: st.DataObject) -> None:
    video = made[data.draw(st.sampled_from(sorted(FORMATS)))]
    wanted = data.draw(st.lists(st.integers(0, 59), min_size=1, max_size=6))
    assert displayed(video, [video.times[i] for i in wanted]) == wanted


def test_times_outside_the_video_are_clamped(made: dict[str, Video]) -> None:
    assert displayed(made["h264-b-frames.mp4"], [-1.0, 1e9, 1.2, -0.0]) == [0, 59, 30, 0]


def test_variable_rate_and_a_late_start(tmp_path: Path) -> None:
    ticks = [300 + t for t in [0, 4, 8, 20, 24, 150, 154, 400]]
    for name in ("a.mkv", "b.mp4"):
        video = inspect(write(tmp_path / name, "libx264", frames=8, ticks=ticks))
        np.testing.assert_allclose(video.times, [0, 0.04, 0.08, 0.2, 0.24, 1.5, 1.54, 4.0], atol=0.001)
        assert displayed(video, [0.15, 1.4, 3.9, 4.1]) == [2, 4, 6, 7]


def test_only_what_is_needed_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = inspect(write(tmp_path / "long.mp4", "libx264", frames=600, g="20", bf="0"))
    fed = []
    feed = reading._Stream._feed
    monkeypatch.setattr(reading._Stream, "_feed", lambda self: fed.append(self.place) or feed(self))
    assert displayed(video, [video.times[i] for i in (1, 305, 590)]) == [1, 305, 590]
    assert len(fed) < 3 * 12
    assert {f // 20 for f in fed} <= {0, 15, 29}


def test_every_square_is_cut_once(made: dict[str, Video], monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[int] = []
    original = Cutter.cut
    monkeypatch.setattr(Cutter, "cut", lambda self, f, crops: cut.append(len(crops)) or original(self, f, crops))
    video = made["h264-b-frames.mp4"]
    clips = [Clip(tuple(s / 25 + k / 25 for k in range(16)), (0.0, 1.0), ALL) for s in range(0, 44, 4)]
    for number, pixels in decode(video, clips, 40):
        assert [number_of(p) for p in pixels] == list(range(4 * number, 4 * number + 16))
    assert cut == [1] * 56


def test_clips_come_as_soon_as_they_are_complete(made: dict[str, Video], monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = reading.frames

    def spy(*arguments: object) -> Iterator[tuple[int, object]]:
        for i, frame in original(*arguments):
            read.append(i)
            yield i, frame

    monkeypatch.setattr(reading, "frames", spy)
    times = [(0.8, 0.0), (2.0,), (0.4, 0.4, 0.4), (0.8, 0.4)]
    clips = [Clip(t, (0.0, 1.0), ALL) for t in times]
    order = [(n, [number_of(p) for p in pixels], max(read)) for n, pixels in decode(made["mpeg2.mpg"], clips, 40)]
    assert order == [(2, [10] * 3, 10), (0, [20, 0], 20), (3, [20, 10], 20), (1, [50], 50)]


def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    video = inspect(write(tmp_path / "long.mp4", "libx264", frames=400, g="50", preset="ultrafast"))
    clips = [Clip(tuple((s + k) / 25 for k in range(8)), (0.0, 1.0), ALL) for s in range(0, 390, 2)]
    tracemalloc.start()
    for _ in decode(video, clips, 80):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * 80 * 80 * 3


def test_no_clips_and_one_empty_file_of_clips(made: dict[str, Video]) -> None:
    assert list(decode(made["ffv1.mkv"], [], 32)) == []


def test_undecodable_frames_are_replaced_by_the_previous_one(tmp_path: Path) -> None:
    path = write(tmp_path / "cut.mp4", "libx264", g="10", bf="0")
    whole = path.read_bytes()
    path.write_bytes(whole[: -len(whole) // 3])
    video = inspect(path)
    assert any("truncated" in w for w in video.warnings)
    warnings: list[str] = []
    numbers = displayed(video, list(video.times), warnings=warnings)
    good = [i for i, n in enumerate(numbers) if n == i]
    assert good == list(range(len(good)))
    assert numbers[len(good) :] == [good[-1]] * (len(numbers) - len(good))
    assert len(good) < 55
    assert bool(warnings) == (len(numbers) > len(good))


def test_damage_is_reported_and_does_not_affect_other_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "hurt.mkv", "libx264", g="10", bf="0")
    with av.open(str(path)) as file:
        places = [(p.pos, p.size) for p in file.demux(video=0) if p.size]
    data = bytearray(path.read_bytes())
    start, size = places[30]
    data[start + 12 : start + size] = bytes(size - 12)
    path.write_bytes(data)
    video = inspect(path)
    warnings: list[str] = []
    numbers = displayed(video, list(video.times), warnings=warnings)
    assert numbers[:30] == list(range(30))
    assert numbers[40:] == list(range(40, 60))
    assert any("undecodable" in w or "damage" in w for w in warnings)


def test_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = write(tmp_path / "plain.mp4", "libx264", frames=3).read_bytes()
    monkeypatch.chdir(tmp_path)
    for name in ("-y.mp4", "http:x.mp4", "100%03d.mp4", "a b'\"[*]#?.MP4", "no-ending", "видео🎬.mov", "file:x.avi"):
        Path(name).write_bytes(plain)
        assert displayed(inspect(name), [0.0, 0.08]) == [0, 2], name
    odd = os.fsdecode(b"latin\xe9.mp4")
    Path(odd).write_bytes(plain)
    assert displayed(inspect(odd), [0.04]) == [1]


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
BROKEN = {
    "pointer.mp4": (LFS, "git-lfs"),
    "empty.mp4": (b"", "empty"),
    "page.mp4": (b"\n<!DOCTYPE html><html></html>", "web page"),
    "notes.mp4": ("naïve text ".encode() * 1000, "text"),
    "playlist.mp4": (b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nfile:///etc/passwd\n", "text"),
    "concat.mp4": (b"ffconcat version 1.0\nfile a.mp4\n", "text"),
    "noise.mp4": (np.random.default_rng(0).bytes(5000), "not a video"),
    "started.mp4": (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\x10\0mdat" + bytes(4088), "moov"),
    "picture.jpg": (b"\xff\xd8\xff" + bytes(50), ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_other_files_are_refused_with_the_cause(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(BROKEN[name][0])
    with pytest.raises(ValueError, match=re.escape(str(path)) + ".*" + BROKEN[name][1]) as caught:
        inspect(path)
    assert len(str(caught.value).splitlines()) == 1


def test_missing_files_are_refused(tmp_path: Path) -> None:
    os.symlink("nowhere", tmp_path / "link.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    for name, cause in (
        ("gone.mp4", "no such file"),
        ("link.mp4", "broken symbolic link"),
        ("pipe.mp4", "a named pipe"),
    ):
        with pytest.raises(ValueError, match=cause):
            inspect(tmp_path / name)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan")])
def test_an_impossible_rate_is_refused(tmp_path: Path, fps: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        inspect(tmp_path, fps=fps)


def folder(path: Path, names: dict[str, int]) -> Path:
    path.mkdir()
    for name, number in names.items():
        Image.fromarray(numbered(number)).save(path / name)
    return path


def test_a_folder_of_frames_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    video = inspect(folder(tmp_path / "frames", {f"img{n}.png": n for n in (0, 10, 2, 9, 1)}), fps=10)
    assert video.kind == "frames"
    assert video.times == (0.0, 0.1, 0.2, 0.9, 1.0)
    assert video.duration == pytest.approx(1.1)
    assert "frame numbers missing: 6" in video.warnings[0]
    assert displayed(video, [0.0, 0.5, 0.95, 1.0]) == [0, 2, 9, 10]


def test_a_folder_numbered_in_steps_or_not_at_all(tmp_path: Path) -> None:
    steps = inspect(folder(tmp_path / "steps", {f"f_{n:04d}.jpg": n for n in range(0, 50, 10)}))
    assert steps.times == tuple(i / 30 for i in range(5))
    assert steps.warnings == ()
    names = inspect(folder(tmp_path / "names", {"a.png": 1, "b.png": 2, "c.JPG": 3}), fps=1)
    assert displayed(names, [0.0, 1.0, 2.0]) == [1, 2, 3]


def test_unreadable_frames_of_a_folder(tmp_path: Path) -> None:
    path = folder(tmp_path / "frames", {f"{n}.png": n for n in range(6)})
    (path / "2.png").write_bytes(b"")
    (path / "4.png").write_bytes((path / "4.png").read_bytes()[:60])
    (path / "notes.txt").write_text("not a frame")
    video = inspect(path, fps=1)
    assert video.warnings == ("unreadable frames: 1, the first is 2.png",)
    warnings: list[str] = []
    assert displayed(video, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], warnings=warnings) == [0, 1, 1, 3, 3, 5]
    assert len(warnings) == 1


def test_a_folder_without_frames(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without images"):
        inspect(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    with pytest.raises(ValueError, match="none of its 1 images"):
        inspect(tmp_path)


def test_images(tmp_path: Path) -> None:
    for name in ("a.png", "b%03d.jpg", "c.bmp", "d.webp", "e.tiff", "f.ppm"):
        Image.fromarray(numbered(77)).save(tmp_path / name)
        video = inspect(tmp_path / name)
        assert (video.kind, video.times, video.duration, video.warnings) == ("image", (0.0,), 0.0, ()), name
        assert displayed(video, [0.0, 5.0]) == [77, 77], name
    (tmp_path / "renamed.mp4").write_bytes((tmp_path / "a.png").read_bytes())
    assert "still image" in inspect(tmp_path / "renamed.mp4").warnings[0]


def test_a_photo_is_rotated_by_its_exif_orientation(tmp_path: Path) -> None:
    for orientation, turns in ((1, 0), (6, -1), (3, 2), (8, 1)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(numbered(99)).save(tmp_path / "photo.jpg", exif=exif, quality=95)
        video = inspect(tmp_path / "photo.jpg")
        upright = np.rot90(numbered(99), turns)
        assert (video.height, video.width) == upright.shape[:2]
        ((_, pixels),) = decode(video, [Clip((0.0,), (0.0, 0.0))], 64)
        side = min(upright.shape[:2])
        top, left = (upright.shape[0] - side) // 2, (upright.shape[1] - side) // 2
        assert np.abs(pixels[0].astype(float) - upright[top : top + side, left : left + side]).mean() < 4
        os.remove(tmp_path / "photo.jpg")


def test_a_picture_too_large_to_decode_is_refused(tmp_path: Path) -> None:
    Image.new("1", (20000, 10000)).save(tmp_path / "huge.png")
    with pytest.raises(ValueError, match="20000 x 10000"):
        inspect(tmp_path / "huge.png")
    with pytest.raises(ValueError, match="none of its 1 images"):
        inspect(tmp_path)


def test_animated_gif(tmp_path: Path) -> None:
    pictures = [Image.fromarray(numbered(n)) for n in range(5)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=[100, 200, 50, 50, 300])
    video = inspect(tmp_path / "a.gif")
    np.testing.assert_allclose(video.times, [0, 0.1, 0.3, 0.35, 0.4])
    assert (video.kind, video.duration) == ("file", pytest.approx(0.7))
    assert displayed(video, [0.35, 0.25, 0.65]) == [3, 1, 4]
    pictures[0].save(tmp_path / "b.gif")
    assert inspect(tmp_path / "b.gif").kind == "image"


def test_a_stream_without_times(tmp_path: Path) -> None:
    video = inspect(write(tmp_path / "raw.264", "libx264", frames=20, bf="3"), fps=10)
    assert video.times == tuple(i / 10 for i in range(20))
    assert video.duration == 2.0
    assert any("no time stamps" in w for w in video.warnings)
    assert displayed(video, [1.9, 0.0, 0.75]) == [19, 0, 7]


def test_parts_joined_end_to_end(tmp_path: Path) -> None:
    part = write(tmp_path / "part.ts", "libx264", frames=20, bf="2").read_bytes()
    (tmp_path / "twice.ts").write_bytes(part + part)
    video = inspect(tmp_path / "twice.ts")
    np.testing.assert_allclose(video.times, np.arange(40) / 25, atol=1e-6)
    assert displayed(video, [t + 0.01 for t in video.times]) == [*range(20), *range(20)]
    assert video.warnings


def test_a_file_that_changes_is_read_anew(tmp_path: Path) -> None:
    assert len(inspect(write(tmp_path / "a.mp4", "libx264", frames=5)).times) == 5
    assert len(inspect(write(tmp_path / "a.mp4", "libx264", frames=9)).times) == 9


def test_a_file_that_changes_between_inspecting_and_decoding_is_refused(tmp_path: Path) -> None:
    video = inspect(write(tmp_path / "a.mp4", "libx264", frames=9))
    write(tmp_path / "a.mp4", "libx264", frames=5)
    with pytest.raises(ValueError, match="changed"):
        displayed(video, [0.3])


def test_the_largest_default_stream_is_taken(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "two.mkv"), "w") as file:
        streams = [file.add_stream("ffv1", rate=25, width=size, height=size, pix_fmt="yuv444p") for size in (32, 64)]
        for stream in streams:
            black = np.zeros((stream.height, stream.width, 3), np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(black, "rgb24")))
        for stream in streams:
            file.mux(stream.encode())
    assert inspect(tmp_path / "two.mkv").width == 64


def test_torchcodec_decodes_the_same(made: dict[str, Video]) -> None:
    """TorchCodec rounds its colors down where PyAV is asked to round: one level and a half of room for that."""
    try:
        import torchcodec  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"torchcodec does not load: {str(error).splitlines()[0]}")
    for name in ("h264-b-frames.mp4", "hevc-open-gop.mp4", "mjpeg.avi", "h264-open-gop.mp4"):
        clips = [Clip((1.5, 0.3, 2.2), (0.0, 1.0)), Clip((0.3, 0.0), (0.0, 1.0), Crop(1, 3))]
        ours = dict(decode(made[name], clips, 64))
        theirs = dict(decode(made[name], clips, 64, transform=PixelTransform(decoder="torchcodec")))
        assert ours.keys() == theirs.keys()
        for number in ours:
            difference = np.abs(ours[number].astype(float) - theirs[number]).mean((1, 2, 3))
            assert difference.max() < 1.5, (name, number, difference)
