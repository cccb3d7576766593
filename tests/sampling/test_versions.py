"""Versions of clips: the same frames in every one, in the order and at the step that their names say."""

import numpy as np
import pytest

from vitascope.core.errors import UserError
from vitascope.core.types import Video
from vitascope.sampling.contract import check_sampler
from vitascope.sampling.names import MultiClip, Reversed, Uniform, Views, altered, crops_of, describe, parse
from vitascope.sampling.versions import VERSIONS, Versions


def video(seconds: float = 10.0, path: str = "v.mp4") -> Video:
    times = tuple(i / 30 for i in range(round(30 * seconds)))
    return Video(path=path, times=times, duration=seconds, width=320, height=240)


@pytest.mark.parametrize("inner", [Uniform(), MultiClip(2.0), Views(3, 2)])
@pytest.mark.parametrize("of", VERSIONS)
def test_every_version_has_the_same_frames_and_as_many_clips(inner, of):
    clips = Versions(inner, of)(video(), 8)
    count = len(clips) // len(VERSIONS[of])
    each = [clips[i * count : (i + 1) * count] for i in range(len(VERSIONS[of]))]
    shown = [sorted(t for clip in part for t in clip.times) for part in each]
    assert len(clips) == count * len(VERSIONS[of])
    assert all(frames == shown[0] for frames in shown)
    assert [[c.crop for c in part] for part in each[1:]] == [[c.crop for c in each[0]]] * (len(each) - 1)
    check_sampler(Versions(inner, of))


def test_reversed_clips_are_the_clips_backwards():
    forward, backward = Versions(Uniform())(video(), 8)
    assert [forward] == Uniform()(video(), 8)
    assert [backward] == Reversed(Uniform())(video(), 8)


def test_shuffled_clips_have_an_order_of_their_own_that_is_neither_time_s_nor_its_reverse():
    orders = []
    for name in map(str, range(30)):
        ordered, shuffled = Versions(Uniform(), "order")(video(path=name), 4)
        orders.append([ordered.times.index(t) for t in shuffled.times])
        assert Versions(Uniform(), "order")(video(path=f"elsewhere/{name}"), 4)[1] == shuffled
    assert len({tuple(order) for order in orders}) > 10
    assert all(order not in ([0, 1, 2, 3], [3, 2, 1, 0]) for order in orders)
    seeds = {Versions(Uniform(), "order", seed)(video(), 8)[1].times for seed in range(5)}
    assert len(seeds) == 5
    assert Versions(Uniform(), "order")(video(), 2)[1].times == Versions(Uniform())(video(), 2)[1].times


def test_speeds_differ_in_the_step_between_frames_alone():
    clips = Versions(Uniform(), "speed")(video(), 8)
    assert len(clips) == 12
    steps = [np.diff(clip.times) for clip in clips]
    for version, step in enumerate((1, 2, 4)):
        for gaps in steps[4 * version : 4 * version + 4]:
            np.testing.assert_allclose(gaps, step * 10 / 32, atol=1e-9)
    assert {clip.span for clip in clips} == {(0.0, 10.0)}


def test_names():
    assert parse("versions(multiclip:2,speed)") == Versions(MultiClip(2.0), "speed")
    assert describe(Versions(Uniform(), "order", 7)) == "versions(uniform,order,7)"
    assert describe(Versions(Uniform())) == "versions(uniform)"
    assert crops_of(Versions(Views(3, 2))) == 3
    with pytest.raises(UserError, match="did you mean 'direction'"):
        parse("versions(uniform,directon)")


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("uniform", ""),
        ("wholeframe(uniform)", ""),
        ("versions(uniform)", "reversed"),
        ("wholeframe(slowed(uniform))", "slowed"),
        ("versions(uniform,order)", "shuffled"),
        ("frozen(versions(uniform))", "frozen"),
    ],
)
def test_altered_clips_are_known_as_such(text, how):
    assert altered(parse(text)) == how
