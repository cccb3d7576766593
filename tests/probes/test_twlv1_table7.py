"""Table 7 as printed, and that its windows are what a published grid assumes."""

from __future__ import annotations

import math

import pytest

from vitascope.core.types import Video
from vitascope.probes.temporal.twlv1_table7 import OTHERS, WINDOWS, windows
from vitascope.sampling.names import MultiClip

PRINTED = {
    "thumos14": (30, 0.5, 0.125),
    "activitynet": (30, 0.5, 0.25),
    "50salads": (30, 1.0, 0.25),
    "gtea": (15, 0.5, 0.125),
    "breakfast": (15, 0.5, 0.125),
}


def test_as_printed() -> None:
    assert {name: (w.fps, w.seconds, w.stride) for name, w in WINDOWS.items()} == PRINTED
    assert windows("mine") == OTHERS
    assert windows("thumos14").view.sampler == MultiClip(0.5, 0.125)


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize("duration", [0.3, 0.5, 7.0, 33.83, 91.4])
def test_clips_cover_the_video_but_for_a_stride(name: str, duration: float) -> None:
    fps, length, stride = PRINTED[name]
    video = Video(
        path="v", times=tuple(i / fps for i in range(int(duration * fps))), duration=duration, width=8, height=8
    )
    clips = windows(name).view.sampler(video, 16)
    assert len(clips) == max(1, math.floor((duration - length) / stride + 1e-6) + 1)
    assert [c.span[0] for c in clips] == pytest.approx([j * stride for j in range(len(clips))])
    assert 0 <= duration - clips[-1].span[1] < stride + 1e-9
