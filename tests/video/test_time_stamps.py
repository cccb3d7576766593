"""Frame times: doubled, missing and absurd time stamps, pauses, restarts, and frames that follow each other fast."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import FIXTURES
from vitascope.core.types import Video
from vitascope.sampling.names import Uniform
from vitascope.video import inspect
from vitascope.video.time_stamps import LEAP, Clock, timeline

TICK = 0.001
PLAIN = Clock(TICK, 25.0)
MPEG = Clock(TICK, 25.0, LEAP["mpegts"])


def steady(n: int, step: int = 40) -> list[int | None]:
    return [i * step for i in range(n)]


def test_good_stamps_are_taken_as_they_are() -> None:
    stamps = [7, 40, 80, 95, 200, 1300]
    times = timeline(stamps, 40, PLAIN)
    np.testing.assert_allclose(times.seconds, [0, 0.033, 0.073, 0.088, 0.193, 1.293])
    assert times.duration == pytest.approx(1.293 + 0.04)
    assert times.warnings == ["no new frame for 1.1 s after frame 4 (0.19 s)"]


@given(st.sets(st.integers(1, 98)), st.sampled_from(["double", "none", "zero", "far"]))
@settings(deadline=None)
def test_a_wrong_stamp_does_not_move_the_frames_after_it(wrong: set[int], kind: str) -> None:
    """Isolated wrong stamps between frames at a constant rate: every frame is at its time, the wrong ones too."""
    alone = sorted(i for i in wrong if not {i - 1, i - 2, i + 1} & wrong)
    stamps = steady(100)
    for i in alone:
        stamps[i] = {"double": stamps[i - 1], "none": None, "zero": 0, "far": 10**12}[kind]
    times = timeline(stamps, 40, PLAIN)
    np.testing.assert_allclose(times.seconds, np.arange(100) / 25, atol=1e-9)
    assert times.duration == pytest.approx(4.0)
    assert bool(times.warnings) == bool(alone)
    assert (
        not alone or f"missing or not increasing: {len(alone)}, the first is of frame {alone[0]};" in times.warnings[0]
    )


def test_several_frames_with_one_stamp_share_the_time_to_the_next() -> None:
    stamps = [0, 40, 80, 80, 80, 80, 120, 160, 200, 240]
    times = timeline(stamps, 40, PLAIN).seconds
    np.testing.assert_allclose(times, [0, 0.04, 0.08, 0.09, 0.1, 0.11, 0.12, 0.16, 0.2, 0.24])
    # all at the end: no later stamp to go by
    np.testing.assert_allclose(timeline([0, 40, 80, 80, 80], 40, PLAIN).seconds, [0, 0.04, 0.08, 0.12, 0.16])
    np.testing.assert_allclose(timeline([0, 0, 80, 80, 160, 160], 40, PLAIN).seconds, np.arange(6) / 25)
    # all the same
    np.testing.assert_allclose(timeline([5] * 4, 40, PLAIN).seconds, [0, 0.04, 0.08, 0.12])


@pytest.mark.parametrize("lengths", [(20, 20), (20, 60), (60, 20), (5, 400, 7)])
def test_parts_whose_stamps_start_over_follow_each_other(lengths: tuple[int, ...]) -> None:
    stamps = [s for n in lengths for s in steady(n)]
    times = timeline(stamps, 40, PLAIN)
    np.testing.assert_allclose(times.seconds, np.arange(sum(lengths)) / 25, atol=1e-9)
    assert f"start over after frame {lengths[0] - 1} " in times.warnings[0]


def test_a_leap_is_an_error_of_the_clock_in_mpeg_and_a_pause_elsewhere() -> None:
    stamps = steady(30) + [600_000 + s for s in steady(30) if s is not None]
    mpeg = timeline(stamps, 40, MPEG)
    np.testing.assert_allclose(mpeg.seconds, np.arange(60) / 25, atol=1e-9)
    assert "leap by 598.8 s after frame 29 (1.16 s)" in mpeg.warnings[0]
    other = timeline(stamps, 40, PLAIN)
    np.testing.assert_allclose(other.seconds[30:], 600 + np.arange(30) / 25)
    assert other.warnings == ["no new frame for 598.8 s after frame 29 (1.16 s)"]
    far = timeline([*steady(30), *(s + 10**9 for s in steady(30) if s is not None)], 40, PLAIN)
    np.testing.assert_allclose(far.seconds, np.arange(60) / 25, atol=1e-9)
    assert "leap by" in far.warnings[0]


def test_the_longest_pause_is_named_and_the_others_are_counted() -> None:
    stamps = [0, 40, 2040, 2080, 7080, 7120, *range(7160, 8000, 40)]
    assert timeline(stamps, 40, PLAIN).warnings == ["no new frame for 5 s after frame 3 (2.08 s), and 1 times more"]
    slow = [i * 60_000 for i in range(10)]
    assert timeline(slow, 60_000, PLAIN).warnings == []


def test_a_last_frame_without_end() -> None:
    long = timeline(steady(50), 30_000, PLAIN)
    assert (long.duration, long.warnings) == (pytest.approx(31.96), ["the last frame is displayed for 30 s"])
    assert timeline(steady(50), 10**12, PLAIN).duration == pytest.approx(2.0)


def test_a_clock_that_cannot_be_right() -> None:
    slow = timeline([i * 10**8 for i in range(30)], 10**8, PLAIN)
    assert (slow.seconds[-1], slow.duration, slow.untimed) == (pytest.approx(29 / 25), pytest.approx(1.2), True)
    assert "a frame every 1e+05 s: assuming 25 frames per second" in slow.warnings[0]
    fast = timeline(steady(30, 1), 1, Clock(1e-6, 0.0))
    assert fast.duration == pytest.approx(30e-6)
    assert "improbable time stamps: 1e+06 frames per second" in fast.warnings[0]


@given(st.lists(st.none() | st.integers(-(10**6), 10**6), min_size=1, max_size=60))
@settings(deadline=None)
def test_times_start_at_0_and_never_decrease(stamps: list[int | None]) -> None:
    times = timeline(stamps, 40, PLAIN)
    assert times.seconds[0] == 0
    assert len(times.seconds) == len(stamps)
    assert (np.diff(times.seconds) > 0).all()
    assert times.duration > times.seconds[-1]


def test_files_with_doubled_and_leaping_stamps() -> None:
    doubled = inspect(FIXTURES / "video" / "dup10.mkv")
    np.testing.assert_allclose(doubled.times, np.arange(250) / 25, atol=1e-9)
    assert doubled.duration == pytest.approx(10.0)
    assert "missing or not increasing: 25, the first is of frame 9" in doubled.warnings[0]
    leaping = inspect(FIXTURES / "video" / "jump2.ts")
    np.testing.assert_allclose(leaping.times, np.arange(60) / 25, atol=1e-6)
    assert "leap by 598.8 s after frame 29" in leaping.warnings[0]


@pytest.mark.parametrize("rate", [50, 120, 240, 500, 600, 960, 1000, 2500, 100_000])
@pytest.mark.parametrize("frames", [60, 61, 97])
def test_centers_are_exact_at_any_rate(rate: int, frames: int) -> None:
    times = tuple(i / rate for i in range(frames))
    video = Video(path="v", times=times, duration=frames / rate, width=9, height=9)
    [clip] = Uniform()(video, 16)
    assert [video.frame_at(t) for t in clip.times] == [(2 * i + 1) * frames // 32 for i in range(16)]
    assert [video.frame_at(t) for t in times] == list(range(frames))
    assert video.visible() == range(frames)
    part = video.within((10 / rate, 40 / rate))
    assert part.visible() == range(10, 40)
    [clip] = Uniform()(part, 30)
    assert [video.frame_at(t) for t in clip.times] == list(range(10, 40))


def test_a_file_of_1000_frames_a_second() -> None:
    video = inspect(FIXTURES / "video" / "fps1000.mp4")
    [clip] = Uniform()(video, 16)
    assert [video.frame_at(t) for t in clip.times] == [(2 * i + 1) * 60 // 32 for i in range(16)]
    assert [video.frame_at(t + 0.0005) for t in video.times] == list(range(60))
