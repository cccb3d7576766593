"""A walk for several readers gives each what decoding alone gives, reads a frame once, and keeps what is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from formats import FORMATS, numbered, write
from helpers import required
from vitascope.core.types import Clip, Crop, Video
from vitascope.video import decode, inspect
from vitascope.video import frame_reader as reading
from vitascope.video.crops import Cutter
from vitascope.video.frame_reader import DisturbedError
from vitascope.video.walk import Reader, Walk

ALL = Crop(box=(0.0, 0.0, 1.0, 1.0))
SIZE = 24
Clips = list[tuple[int, bytes]]


def clip(video: Video, first: int, frames: int = 8, stride: int = 2, crop: Crop = ALL) -> Clip:
    """Every `stride`-th frame from `first` on, clamped."""
    places = [min(first + k * stride, len(video.times) - 1) for k in range(frames)]
    return Clip(tuple(video.times[i] for i in places), (0.0, 1.0), crop)


def windows(video: Video, step: int = 5) -> list[list[Clip]]:
    """Overlapping readers all through a video, every other one with two crops and a clip that begins later."""
    starts = range(0, len(video.times), step)
    return [[clip(video, s), *([clip(video, s + 3), clip(video, s, crop=Crop())] * (s % 2))] for s in starts]


def alone(video: Video, clips: Sequence[Clip]) -> Clips:
    return [(i, pixels.tobytes()) for i, pixels in decode(video, clips, SIZE)]


def walked(video: Video, readers: Sequence[Sequence[Clip]]) -> Iterator[Clips]:
    walk = Walk(video, [Reader(clips, SIZE, "shorter") for clips in readers])
    for number in range(len(readers)):
        yield [(i, pixels.tobytes()) for i, pixels in walk.clips(number)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Video]:
    """One video of 60 numbered frames in every format."""
    folder = tmp_path_factory.mktemp("formats")
    return {name: inspect(write(folder / name, codec, **o)) for name, (codec, o) in FORMATS.items()}


UNSTEADY = {"vp8-hidden.webm", "ffv1.mkv"}
"""Formats whose decoders hide damage."""


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - UNSTEADY))
def test_every_reader_gets_what_decoding_alone_gives(made: dict[str, Video], name: str) -> None:
    readers = windows(made[name])
    assert list(walked(made[name], readers)) == [alone(made[name], clips) for clips in readers]


@pytest.mark.parametrize("name", sorted(UNSTEADY))
def test_what_may_depend_on_where_decoding_began_is_not_shared(made: dict[str, Video], name: str) -> None:
    with pytest.raises(DisturbedError):
        list(walked(made[name], windows(made[name])))


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_readers_in_any_order_get_their_clips(made: dict[str, Video], data: st.DataObject) -> None:
    video = made[data.draw(st.sampled_from(("h264-b-frames.mp4", "vp9-hidden.webm", "mpeg4-b-frames.avi")))]
    places = st.lists(st.integers(0, 59), min_size=1, max_size=5)
    drawn = data.draw(st.lists(st.lists(places, max_size=3), min_size=1, max_size=4))
    readers = [[Clip(tuple(video.times[i] for i in p), (0.0, 1.0)) for p in clips] for clips in drawn]
    assert list(walked(video, readers)) == [alone(video, clips) for clips in readers]


def test_variable_rate(tmp_path: Path) -> None:
    ticks = np.cumsum([1 + 7 * (i % 5 == 0) + 40 * (i == 17) for i in range(60)]).tolist()
    for name in ("a.mkv", "b.mp4"):
        video = inspect(write(tmp_path / name, "libx264", ticks=ticks, g="12"))
        readers = [[Clip(tuple(t + 0.04 * k for k in range(12)), (0.0, 1.0))] for t in np.arange(0.0, 1.6, 0.2)]
        assert list(walked(video, readers)) == [alone(video, clips) for clips in readers]


def test_folders_of_frames(tmp_path: Path) -> None:
    for i in range(20):
        picture = Image.fromarray(numbered(i))
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(tmp_path / f"{i:03d}.jpg", exif=exif)
    video = inspect(tmp_path)
    assert video.rotation == 90
    readers = windows(video)
    assert list(walked(video, readers)) == [alone(video, clips) for clips in readers]


def test_a_frame_is_read_and_cut_once(made: dict[str, Video], monkeypatch: pytest.MonkeyPatch) -> None:
    video, cut, taken = made["h264-b-frames.mp4"], [], []
    original, take = Cutter.cut, reading._Stream._take
    monkeypatch.setattr(Cutter, "cut", lambda self, f, crops: cut.append(len(crops)) or original(self, f, crops))
    monkeypatch.setattr(reading._Stream, "_take", lambda self, f: taken.append(f.pts) or take(self, f))
    readers = [[clip(video, s, frames=16, stride=1)] for s in range(0, 44, 4)]
    list(walked(video, readers))
    assert cut == [1] * 56
    assert len(taken) <= 60
    assert len(set(taken)) == len(taken)
    taken.clear()
    for clips in readers:
        alone(video, clips)
    assert len(taken) > 200


def test_a_square_is_kept_until_the_last_reader_has_it(made: dict[str, Video]) -> None:
    video = made["mjpeg.avi"]
    starts = (0, 2, 20, 21, 6, 30)
    readers = [[clip(video, s, frames=10, stride=1)] for s in starts]
    places = [set(range(s, s + 10)) for s in starts]
    read = [set().union(*places[: k + 1]) for k in range(len(starts))]
    reach = [max(r) for r in read]
    needed = [{i for p in places[k + 1 :] for i in p if i <= reach[k]} for k in range(len(starts))]
    walk = Walk(video, [Reader(clips, SIZE, "shorter") for clips in readers])
    assert walk.largest_bytes == max(map(len, needed)) * SIZE * SIZE * 3
    for number, later in enumerate(needed):
        list(walk.clips(number))
        assert walk.kept_bytes == len(later) * SIZE * SIZE * 3
    assert not walk.advance()


def test_reading_ahead_changes_nothing(made: dict[str, Video]) -> None:
    video = made["hevc-open-gop.mp4"]
    readers = windows(video)
    walk = Walk(video, [Reader(clips, SIZE, "shorter") for clips in readers])
    for number, clips in enumerate(readers):
        for _ in range(7):
            walk.advance()
        assert [(i, pixels.tobytes()) for i, pixels in walk.clips(number)] == alone(video, clips)
    assert walk.kept_bytes == 0


def test_a_walk_ends_where_a_file_is_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ts", "libx264", g="10", bf="0")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + bytes(1000) + data[len(data) // 2 + 1000 :])
    video = inspect(path)
    readers = [[clip(video, s, frames=6, stride=1)] for s in range(0, 54, 3)]
    got = []
    with pytest.raises(DisturbedError):
        got.extend(walked(video, readers))
    assert 3 <= len(got) <= 12
    assert got == [alone(video, clips) for clips in readers[: len(got)]]


def test_a_changed_file_is_not_walked_through(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264")
    video = inspect(path)
    write(path, "libx264", frames=30)
    with pytest.raises(DisturbedError):
        next(walked(video, [[clip(video, 0)]]))


LARGEST = 6_000
"""Size of the odd and broken files that are tried, bytes; all of them take minutes."""


@pytest.mark.slow
def test_odd_and_broken_files() -> None:
    files = [p for p in required("robustness", "the odd and broken files").rglob("*.*") if p.is_file()]
    for path in sorted(p for p in files if p.stat().st_size < LARGEST):
        try:
            video = inspect(path)
        except (ValueError, OSError):
            continue
        readers = windows(video, 9)[:8]
        expected = []
        try:
            expected = [alone(video, clips) for clips in readers]
        except (ValueError, OSError):
            continue
        results = walked(video, readers)
        try:
            for clips in expected:
                assert next(results) == clips, path
        except DisturbedError:
            continue
