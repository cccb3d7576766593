"""Folders of files that follow each other: the same frames as of one file."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from vitascope.core.errors import UserError
from vitascope.core.types import Clip
from vitascope.video import decode, inspect
from vitascope.video.walk import Reader, Walk

RATE = 5


def picture(i: int) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 256, (32, 48, 3), dtype=np.uint8)


def encode(path: Path, numbers: range, codec: str = "ffv1") -> Path:
    """A file of lossless frames, which do not depend on where a file begins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "bgr0" if codec == "ffv1" else "yuv420p"
        for i in numbers:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(i), "rgb24")))
        out.mux(stream.encode())
    return path


def segmented(folder: Path, seconds: int, *, extra: int = 0, ending: str = "mkv") -> Path:
    codec = "ffv1" if ending == "mkv" else "mpeg4"
    for k in range(seconds):
        encode(folder / f"{902 + k:04d}.{ending}", range(RATE * k, RATE * (k + 1) + extra), codec)
    return folder


def pixels(video: object, clips: list[Clip]) -> dict[int, np.ndarray]:
    return dict(decode(video, clips, 32))  # type: ignore[arg-type]


@pytest.mark.parametrize("extra", [0, 1], ids=["exact", "a-frame-longer"])
def test_the_frames_are_those_of_one_file(extra: int, tmp_path: Path) -> None:
    whole = inspect(encode(tmp_path / "whole.mkv", range(4 * RATE)))
    parts = inspect(segmented(tmp_path / "parts", 4, extra=extra))
    assert parts.kind == "segments"
    assert len(parts.times) == len(whole.times) + extra
    assert np.allclose(parts.times[: len(whole.times)], whole.times, atol=1e-3)
    clips = [Clip(times=(0.1, 0.9, 1.1, 3.5), span=(0, 4)), Clip(times=(3.9, 2.0, 0.0), span=(0, 4))]
    both = pixels(whole, clips), pixels(parts, clips)
    assert all(np.array_equal(both[0][i], both[1][i]) for i in range(2))


def test_one_walk_through_the_files(tmp_path: Path) -> None:
    video = inspect(segmented(tmp_path, 4, ending="mp4"))
    readers = [[Clip(times=(0.1, 0.9, 1.1), span=(0, 4))], [Clip(times=(1.1, 2.0, 3.9), span=(0, 4))]]
    walk = Walk(video, [Reader(clips, 32, "shorter") for clips in readers])
    for number, clips in enumerate(readers):
        assert np.array_equal(dict(walk.clips(number))[0], pixels(video, clips)[0])


def test_files_are_in_order_of_their_numbers(tmp_path: Path) -> None:
    for name, first in (("9.mkv", 0), ("10.mkv", RATE), ("11.mkv", 2 * RATE)):
        encode(tmp_path / name, range(first, first + RATE))
    (tmp_path / "notes.txt").write_text("11")
    video = inspect(tmp_path)
    ((_, found),) = decode(video, [Clip(times=(0.0, 1.0, 2.0), span=(0, 3))], 32)
    ((_, first),) = decode(inspect(tmp_path / "10.mkv"), [Clip(times=(0.0,), span=(0, 1))], 32)
    assert np.array_equal(found[1], first[0])


def test_gaps_and_damaged_files_are_said(tmp_path: Path) -> None:
    segmented(tmp_path, 4)
    (tmp_path / "0903.mkv").write_bytes(b"damaged")
    video = inspect(tmp_path)
    assert video.warnings[:2] == (
        "gaps between files: 1; the last frame before is displayed longer",
        "unreadable files: 1",
    )
    assert video.frame_at(1.5) == RATE - 1
    assert video.frame_at(2.01) == RATE


def test_frames_that_cannot_be_decoded_are_replaced(tmp_path: Path) -> None:
    for k in range(3):
        encode(tmp_path / f"{k}.mp4", range(RATE * k, RATE * (k + 1)), "mpeg4")
    video = inspect(tmp_path)
    spoil(tmp_path / "1.mp4")
    warnings: list[str] = []
    ((_, found),) = decode(video, [Clip(times=(0.9, 1.0, 1.9, 2.5), span=(0, 3))], 32, warnings=warnings)
    assert any(w.startswith("undecodable frames: 1") for w in warnings)
    ((_, good),) = decode(inspect(tmp_path / "1.mp4"), [Clip(times=(0.0, 0.7), span=(0, 1))], 32)
    assert np.array_equal(found[2], good[1])
    assert not np.array_equal(found[0], found[1])


def spoil(path: Path) -> None:
    """Overwrite the last frame of a file, and leave its index as it is."""
    with av.open(str(path)) as container:
        last = [p for p in container.demux() if p.size][-1]
    data = bytearray(path.read_bytes())
    data[last.pos : last.pos + last.size] = bytes(last.size)
    path.write_bytes(bytes(data))


def test_overlapping_files_are_refused(tmp_path: Path) -> None:
    encode(tmp_path / "902.mkv", range(3 * RATE))
    encode(tmp_path / "903.mkv", range(RATE))
    with pytest.raises(UserError, match=r"902.mkv lasts 3 s, and another file begins 1 s after it"):
        inspect(tmp_path)
    (tmp_path / "902.mkv").unlink()
    encode(tmp_path / "0903.mkv", range(RATE))
    with pytest.raises(UserError, match="begin at the same second; keep one of them"):
        inspect(tmp_path)


def test_a_folder_of_frames_with_a_video_beside_them_is_one_of_frames(tmp_path: Path) -> None:
    from PIL import Image

    for i in range(3):
        Image.fromarray(picture(i)).save(tmp_path / f"{i:04d}.png")
    encode(tmp_path / "5.mkv", range(RATE))
    assert inspect(tmp_path).kind == "frames"
