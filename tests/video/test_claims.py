"""Files cut short, in every container; durations promised and found; what is no regular file."""

import os
import shutil
import socket
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from helpers import FIXTURES, blob, write_video
from vitascope.video import inspect
from vitascope.video.claims import read_claim, truncation

CODECS = {
    "a.mp4": "libx264",
    "a.mov": "libx264",
    "a.mkv": "libx264",
    "a.webm": "libvpx",
    "a.avi": "mpeg4",
    "a.flv": "libx264",
    "a.ts": "mpeg2video",
    "a.mpg": "mpeg2video",
    "a.wmv": "wmv2",
    "a.ogv": "libtheora",
}


def written(path: Path, frames: int = 100, **options: str) -> Path:
    """A video of 25 frames a second in the format of its name."""
    with av.open(str(path), "w", format="asf" if path.suffix == ".wmv" else None, options=options) as file:
        stream = file.add_stream(CODECS[f"a{path.suffix}"], rate=25, width=64, height=48, pix_fmt="yuv420p")
        stream.codec_context.thread_count = 1  # the same bytes on any number of cores
        for picture in blob(0.3, 1, frames, 64)[:, :48]:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        file.mux(stream.encode())
    return path


@pytest.fixture(scope="module", params=[n for n, codec in CODECS.items() if codec in av.codecs_available])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"movflags": "faststart"} if request.param.endswith(("4", "v")) else {}
    return written(tmp_path_factory.mktemp("original") / request.param, **options)


@pytest.fixture
def video(original: Path, tmp_path: Path) -> Path:
    """A file of every format, to be spoilt."""
    return Path(shutil.copy(original, tmp_path))


def test_whole_files_give_no_warning(video: Path) -> None:
    assert inspect(video).warnings == ()
    assert truncation(str(video)) == ""


def test_files_cut_anywhere_say_so(video: Path) -> None:
    data = video.read_bytes()
    unnoticed, noticed = [], 0
    for size in range(len(data) - 1, len(data) * 2 // 3, -1):
        os.truncate(video, size)
        if truncation(str(video)):
            noticed = size
        elif not between_packets(video.suffix, data, size):
            unnoticed.append(size)
    assert unnoticed == []
    video.write_bytes(data[:noticed])
    assert inspect(video).warnings[0].startswith("truncated: ")


def between_packets(suffix: str, data: bytes, size: int) -> bool:
    """Whether nothing of the first `size` bytes tells that a packet is cut, by the definition of the format."""
    starts = [data[max(size - back, 0) :][:3] for back in range(3)]
    return {
        ".ts": size % 188 == 0,
        ".mpg": b"\0\0\1" in starts,
        ".avi": size == len(data) - 1 and data[-1:] == b"\0",
    }.get(suffix, False)


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_matroska_written_as_a_stream_has_no_size_and_is_walked(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, live="1")
    assert inspect(path).warnings == ()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    assert "truncated: the last block" in inspect(path).warnings[0]


def test_a_cut_webm_names_both_durations() -> None:
    video = inspect(FIXTURES / "video" / "cut.webm")
    assert len(video.times) == 381
    assert video.warnings == (
        "truncated: 'Segment' should end at byte 47351, but the file ends at 12000",
        "the header declares 60.0 s, but the video has 15.2 s",
    )


@pytest.mark.parametrize("name", ["a.mkv", "a.wmv", "a.flv"])
def test_durations_are_read_from_headers(tmp_path: Path, name: str) -> None:
    assert read_claim(str(written(tmp_path / name))).seconds == pytest.approx(4.0, abs=0.1)


def test_a_header_that_declares_another_duration(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", blob(0, 0, 30), fps=10)
    data = bytearray(path.read_bytes())
    place = data.index(b"mvhd") + 16
    scale = struct.unpack_from(">I", data, place)[0]
    for seconds, warned in ((3, False), (30, True), (1, True)):
        struct.pack_into(">I", data, place + 4, seconds * scale)
        path.write_bytes(data)
        message = f"the header declares {seconds:.1f} s, but the video has 3.0 s"
        assert inspect(path).warnings == ((message,) if warned else ())


def test_sound_may_be_longer_than_the_video(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        with av.open(str(tmp_path / name), "w") as file:
            video = file.add_stream("mpeg4", rate=25, width=32, height=32, pix_fmt="yuv420p")
            sound = file.add_stream("aac", rate=8000)
            for _ in range(5):
                file.mux(video.encode(av.VideoFrame(32, 32, "yuv420p")))
            file.mux(video.encode())
            for i in range(60):
                frame = av.AudioFrame("fltp", "mono", 1024)
                frame.sample_rate, frame.pts = 8000, i * 1024
                for plane in frame.planes:
                    plane.update(bytes(plane.buffer_size))
                file.mux(sound.encode(frame))
            file.mux(sound.encode())
        assert inspect(tmp_path / name).warnings == (), name


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "gif"])
def test_images_cut_short(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    assert truncation(str(path)) == ""
    data = path.read_bytes()
    path.write_bytes(data + bytes(2))
    assert truncation(str(path)) == ""
    path.write_bytes(data[: len(data) * 2 // 3])
    assert truncation(str(path)).startswith("truncated: ")


def test_pages_of_a_tiff_file(tmp_path: Path) -> None:
    page = Image.new("RGB", (32, 32))
    page.save(tmp_path / "one.tif")
    page.save(tmp_path / "two.tif", save_all=True, append_images=[page])
    assert inspect(tmp_path / "one.tif").warnings == ()
    assert inspect(tmp_path / "two.tif").warnings == ("only the first page is used",)


def test_headers_of_noise_are_no_claim(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    heads = (
        b"\x1a\x45\xdf\xa3",
        b"RIFF",
        b"FLV\x01",
        b"OggS",
        b"GIF8",
        bytes.fromhex("3026b2758e66cf11"),
        b"",
        b"G" * 9,
    )
    for head in heads:
        for size in (0, 1, 5, 30, 5000):
            (tmp_path / "a").write_bytes(head + rng.bytes(size))
            read_claim(str(tmp_path / "a"))


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    os.symlink("circle.mp4", tmp_path / "circle.mp4")
    os.symlink("/dev/zero", tmp_path / "zero.mp4")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s.mp4"))
    causes = {"pipe.mp4": "a named pipe", "circle.mp4": "in a circle", "zero.mp4": "a device", "s.mp4": "a socket"}
    for name, cause in {**causes, "x" * 300: "no such file", "pipe.mp4/a.mp4": "no such file", "a\0b": "null"}.items():
        with pytest.raises(ValueError, match=cause) as caught:
            inspect(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1


def test_a_folder_of_frames_with_a_pipe_in_it(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (32, 32)).save(tmp_path / f"{i}.png")
    os.mkfifo(tmp_path / "3.png")
    os.symlink(tmp_path, tmp_path / "4.png")
    assert inspect(tmp_path).warnings == ("unreadable frames: 2, the first is 3.png",)
