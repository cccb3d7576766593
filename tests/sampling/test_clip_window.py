"""Where a time is among the tokens of a clip, against the frames that the samplers draw."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.types import Video
from vitascope.sampling.clip_window import ClipWindow, clip_window, keyframe
from vitascope.sampling.names import Around, RandomClip, Reversed, Sampler, Slowed, Uniform, WholeFrame

RATE = 25
SPREAD = [Uniform(), Around(window=1.0), Around(window=0.5), Around(seconds=2.0, window=1.0), RandomClip(window=1.0)]
STRIDED = [Around(stride=1), Around(stride=4), RandomClip(stride=2)]


def video(frames: int, span: tuple[float, float]) -> Video:
    times = tuple(float(Fraction(i, RATE)) for i in range(frames))
    return Video(path="v", times=times, duration=frames / RATE, width=320, height=240, span=span)


def wrapped(sampler: Sampler, how: int) -> Sampler:
    return [sampler, WholeFrame(sampler), Reversed(WholeFrame(sampler)), Slowed(sampler, 2.0)][how]


@settings(deadline=None, max_examples=200)
@given(
    frames=st.integers(75, 200),
    start=st.floats(0, 1.9),
    length=st.floats(0.2, 8.0),
    steps=st.sampled_from([1, 2, 4, 8]),
    sampler=st.sampled_from([*SPREAD, *STRIDED]),
    how=st.integers(0, 3),
    where=st.floats(0, 1),
)
def test_the_step_that_shows_a_time_has_the_frame_nearest_to_it(
    frames: int, start: float, length: float, steps: int, sampler: Sampler, how: int, where: float
) -> None:
    span = (start, max(start + length, 2.1))
    outer = wrapped(sampler, how)
    (clip,) = outer(video(frames, span), 8)
    window = clip_window(outer, span, clip.span)
    if window is None:
        assert isinstance(sampler, Around)
        assert sampler.window is None
        assert clip.span[1] - clip.span[0] < 8 * sampler.stride / RATE + 0.05, "clamped on both sides"
        return
    if how == 3 and clip.span[1] - clip.span[0] < 2 * abs(window.last - window.first) - 1e-6:
        return  # some of the slowed frames were clamped
    time = clip.span[0] + where * (clip.span[1] - clip.span[0])
    step = min(max(math.floor(window.position(time, steps)), 0), steps - 1)
    times = np.array(clip.times).reshape(steps, -1)
    slack = 1e-6 if sampler in SPREAD else (sampler.stride + 1) / RATE  # type: ignore[attr-defined]
    half = abs(window.last - window.first) / 8 / 2  # of two frames that are nearer than that, one may be clamped
    assert np.abs(times[step] - time).min() <= max(np.abs(times - time).min(), half) + slack


@given(steps=st.sampled_from([2, 4, 8]), start=st.floats(0, 2), length=st.floats(0.5, 3))
def test_the_middles_of_steps_are_the_mean_times_of_their_frames(steps: int, start: float, length: float) -> None:
    span = (start, start + length)
    (clip,) = Uniform()(video(200, span), 8)
    window = clip_window(Uniform(), span, None)
    assert window == ClipWindow(*span)
    means = np.array(clip.times).reshape(steps, -1).mean(1)
    assert [window.position(t, steps) for t in means.tolist()] == pytest.approx((np.arange(steps) + 0.5).tolist())


def test_a_keyframe_is_in_the_middle_of_its_clip() -> None:
    for sampler in (Around(), WholeFrame(Around(window=1.0))):
        assert keyframe(sampler, (1.0, 3.0), None) == 2.0
        (clip,) = sampler(video(100, (1.0, 3.0)), 8)
        window = clip_window(sampler, (1.0, 3.0), clip.span)
        assert window is not None
        assert window.position(2.0, 4) == 2.0
    assert keyframe(Uniform(), (1.0, 3.0), None) is None


def test_what_cannot_be_told_is_not_guessed() -> None:
    assert clip_window(Around(stride=4), (1.0, 2.0), None) is None
    assert clip_window(Around(stride=4), (1.0, 2.0), (1.0, 2.0)) is None, "clamped on both sides"
    assert clip_window(Around(stride=4), (1.0, 3.0), (1.4, 2.6)) == ClipWindow(1.4, 2.6)
    assert clip_window(Around(stride=4), (-1.0, 3.0), (0.0, 2.5)) == ClipWindow(-0.5, 2.5), "clamped on one"
    assert clip_window(Uniform(), None, None) is None
    assert clip_window(Uniform(), (0.0, math.inf), (0.0, 4.0)) == ClipWindow(0.0, 4.0)
    assert ClipWindow(1.0, 1.0).position(1.0, 4) == 2.0
