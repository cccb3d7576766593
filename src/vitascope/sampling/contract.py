"""Contract check for custom samplers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vitascope.core.types import CLOCK, Video, digest, plain
from vitascope.sampling.names import Sampler


def check_sampler(sampler: Sampler, videos: Sequence[Video] = ()) -> None:
    """Check that `sampler` satisfies the contract of `Sampler` on `videos`, by default five edge cases.

    Raises AssertionError that names the violation.
    """
    assert hash(sampler) == hash(sampler), f"{sampler}: not hashable by value; make it a frozen dataclass"
    assert isinstance(plain(sampler), dict), f"{sampler}: not plain data; make it a frozen dataclass"
    for video in videos or odd_videos():
        for frames in (1, 2, 16):
            clips = sampler(video, frames)
            assert clips, f"{sampler}: no clips for {video.path}"
            assert digest(sampler(video, frames)) == digest(clips), f"{sampler}: random without a generator"
            seeded = [sampler(video, frames, np.random.default_rng(0)) for _ in range(2)]
            assert seeded[0] == seeded[1], f"{sampler}: clips differ for the same seed"
            for clip in (*clips, *seeded[0]):
                _check_clip(clip.times, clip.span, video, frames)


def odd_videos() -> list[Video]:
    """Edge cases: a plain video, a span of it, a single frame, a variable frame rate and an image."""
    steady = tuple(i / 30 for i in range(300))
    uneven = tuple(float(t) for t in np.cumsum([0.0, 0.02, 0.5, 0.033, 0.01, 1.0, 0.04]))
    return [
        Video(path="steady", times=steady, duration=10.0, width=320, height=240),
        Video(path="part", times=steady, duration=10.0, width=320, height=240, span=(2.51, 3.02)),
        Video(path="one frame", times=(0.0,), duration=0.04, width=320, height=240),
        Video(path="uneven", times=uneven, duration=uneven[-1] + 0.04, width=240, height=320),
        Video(path="image", times=(0.0,), duration=0.0, width=64, height=64, kind="image"),
    ]


def _check_clip(times: Sequence[float], span: tuple[float, float], video: Video, frames: int) -> None:
    assert len(times) == frames, f"{video.path}: {len(times)} time stamps instead of {frames}"
    assert video.start <= span[0] <= span[1] <= video.end, f"{video.path}: span {span} exceeds the span of the video"
    within = all(span[0] - CLOCK <= t <= span[1] + CLOCK for t in times)
    assert within, f"{video.path}: time stamps {times} outside span {span}"
