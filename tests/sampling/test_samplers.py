"""Samplers against independent arithmetic: counts, instants, spans, and V-JEPA's indices from its description."""

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.types import CLOCK, Crop, Video, digest, plain
from vitascope.sampling.augmentations import fitted
from vitascope.sampling.contract import check_sampler
from vitascope.sampling.names import (
    SAMPLERS,
    Around,
    Drawn,
    Frozen,
    MultiClip,
    RandomClip,
    RandomCrop,
    Reversed,
    Sampler,
    Shuffled,
    Slowed,
    Uniform,
    Views,
    VJepa,
    describe,
    parse,
)

STEADY = settings(deadline=None)
RATES = st.sampled_from([Fraction(8), Fraction(12), Fraction(15), Fraction(24000, 1001), Fraction(25), Fraction(30)])


def constant(n: int, rate: Fraction = Fraction(30), digits: int | None = None, **given: object) -> Video:
    times = [float(i / rate) for i in range(n)]
    if digits is not None:
        times = [round(t, digits) for t in times]
    return Video(path="v.mp4", times=tuple(times), duration=float(n / rate), width=320, height=240, **given)


def displayed(video: Video, times: tuple[float, ...]) -> list[int]:
    return [video.frame_at(t) for t in times]


@st.composite
def videos(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of a Video: variable rates, one frame, a span inside. The run-time type check draws samples of its own,
    which hypothesis forbids here, so tests make the Video."""
    gaps = draw(st.lists(st.sampled_from([0.01, 0.033, 0.04, 0.2, 1.0]), min_size=0, max_size=80))
    times = tuple(float(t) for t in np.concatenate([[0.0], np.cumsum(gaps)]))
    duration = times[-1] + 0.04
    low = draw(st.floats(0, 0.7)) * duration
    high = low + draw(st.floats(0.2, 1.0)) * duration
    span = draw(st.sampled_from([(0.0, math.inf), (low, high)]))
    return {"path": "v.mkv", "times": times, "duration": duration, "width": 320, "height": 240, "span": span}


SECONDS = st.floats(0.05, 20)
COUNT = st.integers(1, 8)
RANGE = st.tuples(st.floats(0.1, 0.5), st.floats(0.5, 1.0))
PLAIN = st.one_of(
    st.builds(Uniform, st.sampled_from(["centers", "ends"])),
    st.builds(MultiClip, SECONDS, st.none() | SECONDS),
    st.builds(Views, COUNT, COUNT, COUNT),
    st.builds(VJepa, COUNT, COUNT, COUNT),
    st.builds(Around, st.none(), COUNT, st.none() | SECONDS),
    st.builds(RandomClip, COUNT, st.none() | SECONDS),
)
ANY = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.builds(Reversed, inner),
        st.builds(Shuffled, inner, st.integers(0, 99)),
        st.builds(Frozen, inner, st.sampled_from(["middle", "first"])),
        st.builds(RandomCrop, inner, RANGE, RANGE, st.booleans()),
        st.builds(Slowed, inner, st.floats(1, 4)),
        st.builds(Drawn, inner, st.integers(0, 3), st.integers(0, 9), st.integers(0, 9)),
    ),
    max_leaves=3,
)


@STEADY
@given(videos(), PLAIN, st.integers(1, 20), st.none() | st.integers(0, 3))
def test_times_ascend_within_the_span_of_clip_and_video(
    fields: dict[str, Any], sampler: Sampler, frames: int, seed: int | None
) -> None:
    video = Video(**fields)
    clips = sampler(video, frames, None if seed is None else np.random.default_rng(seed))
    assert clips
    for clip in clips:
        assert len(clip.times) == frames
        assert list(clip.times) == sorted(clip.times)
        low, high = clip.span
        assert video.start <= low <= high <= video.end
        assert all(low - CLOCK <= t <= high + CLOCK for t in clip.times)
        assert set(displayed(video, clip.times)) <= set(video.visible())


@STEADY
@given(videos(), ANY, st.integers(1, 20))
def test_without_a_generator_nothing_is_drawn_and_plans_are_values(
    fields: dict[str, Any], sampler: Sampler, frames: int
) -> None:
    video = Video(**fields)
    twin = parse(describe(sampler))
    assert twin == sampler
    assert hash(twin) == hash(sampler)
    assert digest(twin) == digest(sampler)
    assert twin(video, frames) == sampler(video, frames)
    assert sampler(video, frames) == sampler(video, frames)


@STEADY
@given(videos(), ANY, st.integers(1, 9), st.integers(0, 9))
def test_equal_generators_draw_equal_plans(fields: dict[str, Any], sampler: Sampler, frames: int, seed: int) -> None:
    video = Video(**fields)
    draws = [sampler(video, frames, np.random.default_rng(seed)) for _ in range(2)]
    assert draws[0] == draws[1]


@STEADY
@given(st.integers(1, 400), RATES, st.integers(1, 64), st.sampled_from([None, 3]))
def test_uniform_centers_are_the_floor_of_the_center(n: int, rate: Fraction, frames: int, digits: int | None) -> None:
    video = constant(n, rate, digits)
    [clip] = Uniform()(video, frames)
    # a frame due within the clock's tick (and its rounding) may count as on display
    tick = Fraction(CLOCK) + (Fraction(1, 2000) if digits else 0) + Fraction(1, 10**9)
    for i, index in enumerate(displayed(video, clip.times)):
        exact = (i + Fraction(1, 2)) * n / frames
        late = math.floor(exact + tick * rate)
        assert index in {math.floor(exact), min(late, n - 1)}
        if late == math.floor(exact):
            assert index == math.floor(exact)


def test_uniform_of_the_standard_clip_is_exact() -> None:
    for n in range(1, 400):
        video = constant(n)
        [clip] = Uniform()(video, 16)
        assert displayed(video, clip.times) == [(2 * i + 1) * n // 32 for i in range(16)]
        assert clip.span == (0.0, video.duration)


@STEADY
@given(videos(), st.integers(2, 40))
def test_uniform_ends_are_rounded_evenly_spaced_indices(fields: dict[str, Any], frames: int) -> None:
    video = Video(**fields)
    [clip] = Uniform("ends")(video, frames)
    visible = list(video.visible())
    expected = [visible[int(np.rint(i * (len(visible) - 1) / (frames - 1)))] for i in range(frames)]
    assert displayed(video, clip.times) == expected
    assert expected[0] == visible[0]
    assert expected[-1] == visible[-1]


@STEADY
@given(st.integers(1, 2000), st.integers(5, 400), st.integers(5, 400), st.integers(1, 16))
def test_multiclip_counts_whole_clips_exactly(length: int, size: int, step: int, frames: int) -> None:
    """Hundredths of seconds, so that the expected count is integer arithmetic."""
    video = Video(
        path="v", times=tuple(i / 25 for i in range(length)), duration=length / 100, width=9, height=9, span=(0.0, 99.0)
    )
    clips = MultiClip(size / 100, step / 100)(video, frames)
    assert len(clips) == (1 if length < size else (length - size) // step + 1)
    for j, clip in enumerate(clips):
        begin, end = j * step / 100, min(j * step + size, length) / 100
        assert clip.span == pytest.approx((begin, end))
        ideal = [begin + (k + 0.5) * (end - begin) / frames for k in range(frames)]
        assert clip.times == pytest.approx(ideal, abs=2 * CLOCK)


def test_multiclip_default_stride_is_its_length_and_reads_the_span_only() -> None:
    video = constant(300, span=(2.0, 7.0))
    clips = MultiClip(2)(video, 4)
    assert [clip.span for clip in clips] == [(2.0, 4.0), (4.0, 6.0)]
    assert clips[0].times == (2.25, 2.75, 3.25, 3.75)


@STEADY
@given(st.integers(1, 400), st.integers(1, 5), st.integers(1, 6), st.integers(1, 5), st.integers(1, 20))
def test_views_are_crops_times_windows_at_equal_intervals(
    n: int, crops: int, windows: int, stride: int, frames: int
) -> None:
    video = constant(n)
    clips = Views(crops, windows, stride)(video, frames)
    assert len(clips) == crops * windows
    length = frames * stride
    for k, clip in enumerate(clips):
        j, i = divmod(k, crops)
        assert clip.crop == Crop(i, crops)
        start = 0 if n <= length else (n - length) // 2 if windows == 1 else j * (n - length) // (windows - 1)
        assert displayed(video, clip.times) == [min(start + k * stride, n - 1) for k in range(frames)]
        assert clip.times == tuple(video.times[i] for i in displayed(video, clip.times))


def vjepa(n: int, frames: int, clips: int, stride: int, start: int = 0) -> list[list[int]]:
    """PROTOCOLS 1.4 word by word, in exact fractions but for the linspace of the long case."""
    length, part, plans = frames * stride, n // clips, []
    for k in range(clips):
        if part > length:
            spaced = [start + i * Fraction(length, max(frames - 1, 1)) for i in range(frames)]
            plans.append([k * part + min(math.floor(x), start + length - 1) for x in spaced])
            continue
        m = min(length, n) - 1
        q = m // stride
        spaced = [i * Fraction(m, max(q - 1, 1)) for i in range(q)] + [Fraction(m)] * (frames - q)
        shift = k * ((n - length) // (clips - 1)) if n > length else 0
        plans.append([shift + math.floor(max(min(x, Fraction(m - 1)), Fraction(0))) for x in spaced])
    return plans


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 700), st.integers(2, 20), st.integers(1, 8), st.integers(1, 5))
def test_vjepa_is_its_description(n: int, frames: int, clips: int, stride: int) -> None:
    video = constant(n)
    made = VJepa(clips, stride, crops=1)(video, frames)
    for clip, expected in zip(made, vjepa(n, frames, clips, stride), strict=True):
        # floating-point linspace may fall a hair short of a whole number, as it does in the original
        assert all(e - i in (0, 1) for i, e in zip(displayed(video, clip.times), expected, strict=True))
        assert sum(e != i for i, e in zip(displayed(video, clip.times), expected, strict=True)) <= 2


def test_vjepa_quirks_of_kinetics_and_short_videos() -> None:
    video = constant(300)
    clips = VJepa()(video, 16)
    assert len(clips) == 24
    plans = [displayed(video, clip.times) for clip in clips[::3]]
    assert plans == vjepa(300, 16, 8, 4)
    assert all(plan[-1] == plan[-2] for plan in plans)
    assert max(map(max, plans)) < 299
    short = constant(40)
    assert len({clip.times for clip in VJepa(crops=1)(short, 16)}) == 1
    assert [clip.crop for clip in VJepa(1, 4, 1)(video, 16)] == [Crop(scale=256 / 224)]


def test_vjepa_draws_a_window_in_each_partition_of_a_long_video() -> None:
    video = constant(2000)
    rng = np.random.default_rng(3)
    starts = [displayed(video, c.times)[0] for _ in range(50) for c in VJepa(crops=1)(video, 16, rng)]
    offsets = [start - k % 8 * 250 for k, start in enumerate(starts)]
    assert min(offsets) >= 0
    assert max(offsets) < 250 - 64
    assert len(set(offsets)) > 50
    assert [displayed(video, c.times) for c in VJepa(crops=1)(video, 16)] == vjepa(2000, 16, 8, 4)


def test_around_has_the_keyframe_in_the_middle_and_holds_the_ends() -> None:
    video = constant(300)
    [clip] = Around(5.0)(video, 16)
    assert displayed(video, clip.times) == list(range(150 - 32, 150 + 32, 4))
    [edge] = Around(0.0)(video, 16)
    assert displayed(video, edge.times) == [0] * 8 + list(range(0, 32, 4))
    [wide] = Around(5.0, window=2)(video, 4)
    assert wide.times == (4.25, 4.75, 5.25, 5.75)
    [cut] = Around(window=8)(constant(300, span=(2.0, 4.0)), 4)
    assert cut.span == (2.0, 4.0)
    assert cut.times[:3] == (2.0, 2.0, 4.0 - 1e-3 * 1.001)
    with pytest.raises(ValueError, match=r"v\.mp4: keyframe 11 s is outside the span 0-10 s"):
        Around(11)(video, 16)


def test_reversed_shuffled_and_frozen_change_only_the_order() -> None:
    video = constant(300)
    [plain] = Uniform()(video, 8)
    [back] = Reversed(Uniform())(video, 8)
    assert back.times == plain.times[::-1]
    assert back.span == plain.span
    assert Frozen(Uniform())(video, 8)[0].times == (plain.times[4],) * 8
    assert Frozen(Uniform(), "first")(video, 8)[0].times == (plain.times[0],) * 8
    for seed in range(30):
        for frames in (2, 3, 8):
            [mixed] = Shuffled(Uniform(), seed)(video, frames)
            [order] = Uniform()(video, frames)
            assert sorted(mixed.times) == list(order.times)
            assert mixed.times != order.times
    assert Shuffled(Uniform(), 1)(video, 8) != Shuffled(Uniform(), 2)(video, 8)
    assert Shuffled(Uniform())(video, 1) == Uniform()(video, 1)


@STEADY
@given(st.integers(1, 200), st.integers(1, 16), st.integers(1, 5), st.integers(0, 99))
def test_random_clip_is_a_strided_window(n: int, frames: int, stride: int, seed: int) -> None:
    video = constant(n)
    [clip] = RandomClip(stride)(video, frames, np.random.default_rng(seed))
    indices = displayed(video, clip.times)
    assert indices == [min(indices[0] + k * stride, n - 1) for k in range(frames)]
    assert indices[0] <= max(n - frames * stride, 0)


@STEADY
@given(st.integers(1, 130), st.integers(2, 16), st.integers(1, 5), st.integers(0, 99))
def test_random_clip_that_fits_repeats_no_frame_at_the_end(n: int, frames: int, stride: int, seed: int) -> None:
    video, fitting = constant(n), RandomClip(stride, fit=True)
    [clip] = fitting(video, frames, np.random.default_rng(seed))
    indices, spacing = displayed(video, clip.times), fitting.spacing(video, frames)
    if n >= frames * stride:
        assert [clip] == RandomClip(stride)(video, frames, np.random.default_rng(seed)), "long videos as without it"
    elif n > frames:
        steps = {b - a for a, b in itertools.pairwise(indices)}
        assert steps == {spacing}
        # by brute force: the largest step of which two clips or more have all their frames in the video
        starts = {s: [a for a in range(n) if a + (frames - 1) * s <= n - 1] for s in range(1, stride + 1)}
        assert spacing == max(s for s, at in starts.items() if len(at) >= 2)
        assert indices[0] in starts[int(spacing)]
    else:
        assert indices == sorted(indices)
        assert set(indices) == set(range(n)), "every frame is seen"
        assert max(map(indices.count, indices)) - min(map(indices.count, indices)) <= 1


def test_a_fitted_clip_of_48_frames_is_three_apart_and_jitters() -> None:
    video, fitting = constant(48), fitted(Drawn(RandomCrop(RandomClip(4)), 0))
    assert fitting == Drawn(RandomCrop(RandomClip(4, fit=True)), 0)
    assert fitted(Views()) == Views()
    rng = np.random.default_rng(0)
    clips = [RandomClip(4, fit=True)(video, 16, rng)[0] for _ in range(60)]
    assert {tuple(displayed(video, c.times)) for c in clips} == {tuple(range(a, a + 46, 3)) for a in range(3)}
    assert digest(plain(RandomClip(4))) == digest({"type": "RandomClip", "stride": 4, "window": None})


def test_random_clip_reaches_both_ends() -> None:
    video = constant(20)
    rng = np.random.default_rng(0)
    starts = {displayed(video, RandomClip(2)(video, 8, rng)[0].times)[0] for _ in range(200)}
    assert starts == set(range(5))
    assert displayed(video, RandomClip(2)(video, 8)[0].times)[0] == 2


@STEADY
@given(RANGE, st.tuples(st.floats(0.3, 1.0), st.floats(1.0, 3.0)), st.integers(0, 999), st.integers(20, 700))
def test_random_crops_keep_their_area_and_ratio(
    scale: tuple[float, float], ratio: tuple[float, float], seed: int, width: int
) -> None:
    video = Video(path="v", times=(0.0, 0.1), duration=0.2, width=width, height=240)
    [clip] = RandomCrop(Uniform(), scale, ratio)(video, 4, np.random.default_rng(seed))
    assert clip.crop.box is not None
    left, top, right, bottom = clip.crop.box
    assert 0 <= left < right <= 1
    assert 0 <= top < bottom <= 1
    shape = (right - left) * width / ((bottom - top) * 240)
    fallback = left == pytest.approx(1 - right) and (right - left == 1 or bottom - top == 1)
    # where no draw fits, the box is the largest allowed ratio, whatever its area
    assert ratio[0] - 1e-9 <= shape <= ratio[1] + 1e-9
    assert fallback or scale[0] - 1e-9 <= (right - left) * (bottom - top) <= scale[1] + 1e-9
    assert not clip.crop.flip


def test_random_crop_flips_half_and_keeps_the_plan_without_a_generator() -> None:
    video, rng = constant(30), np.random.default_rng(0)
    sampler = RandomCrop(Views(1, 2, 1), flip=True)
    clips = [clip for _ in range(200) for clip in sampler(video, 4, rng)]
    assert 140 < sum(clip.crop.flip for clip in clips) < 260
    assert len({clip.crop.box for clip in clips}) == len(clips)
    assert sampler(video, 4) == Views(1, 2, 1)(video, 4)


def test_slowed_halves_the_speed_about_the_middle() -> None:
    (clip,) = Slowed(Uniform())(constant(100, Fraction(10)), 5)
    np.testing.assert_allclose(clip.times, [3.0, 4.0, 5.0, 6.0, 7.0])
    assert clip.span == (0.0, 10.0)


def test_draws_are_numbered_and_do_not_depend_on_their_company() -> None:
    video = constant(300)
    every = Drawn(RandomCrop(RandomClip(4), flip=True), 5, seed=2)
    together = every(video, 8)
    assert len({digest(clip) for clip in together}) == 5
    assert [every.at(n)(video, 8)[0] for n in range(7)] == [*together, *together[:2]]
    endless = replace(every, count=0)
    assert [endless.at(n)(video, 8)[0] for n in range(5)] == together
    assert endless.at(6)(video, 8)[0] not in together
    moved = replace(video, path="elsewhere/" + video.path)
    assert every(moved, 8) == together
    assert every(replace(video, path="other.mp4"), 8) != together
    assert every(video.within((0.0, 5.0)), 8) != together


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_an_image_is_sampled_at_zero(name: str) -> None:
    image = Video(path="i.png", times=(0.0,), duration=0.0, width=9, height=9, kind="image")
    wrapped = name if name[0] in "uva" and name != "versions" else f"{name}(uniform)"
    text = {"multiclip": "multiclip:2", "randomclip": name}.get(name, wrapped)
    sampler = parse(text)
    for clip in sampler(image, 4):
        assert clip.times == (0.0,) * 4
        assert clip.span == (0.0, 0.0)


@pytest.mark.parametrize("span", [(3.0, 3.0), (4.0, 2.0), (20.0, 30.0), (-5.0, 0.0), (math.nan, 2.0)])
@pytest.mark.parametrize(
    "sampler", [Uniform(), MultiClip(2), Views(), VJepa(), Around(), RandomClip(), RandomClip(2, 1)]
)
def test_an_empty_span_is_refused_by_name(span: tuple[float, float], sampler: Sampler) -> None:
    with pytest.raises(ValueError, match=r"^v\.mp4: the span .* has no overlap with the video of 10 s"):
        sampler(constant(300, span=span), 16)


@pytest.mark.parametrize(
    ("text", "sampler"),
    [
        ("uniform", Uniform()),
        (" Uniform:ends ", Uniform("ends")),
        ("multiclip:2", MultiClip(2.0)),
        ("multiclip:0.5/0.125", MultiClip(0.5, 0.125)),
        ("views:3x4/4", Views(3, 4, 4)),
        ("vjepa:8", VJepa(8)),
        ("around:-/2", Around(None, 2)),
        ("reversed(uniform)", Reversed(Uniform())),
        ("shuffled(multiclip:2,7)", Shuffled(MultiClip(2), 7)),
        ("frozen(reversed(uniform:ends),first)", Frozen(Reversed(Uniform("ends")), "first")),
        ("slowed(views:1x2/4,3)", Slowed(Views(1, 2, 4), 3)),
        ("drawn(randomcrop(randomclip:4),8,1)", Drawn(RandomCrop(RandomClip(4)), 8, 1)),
        ("randomcrop(randomclip:2,0.5..1,0.8..1.25,true)", RandomCrop(RandomClip(2), (0.5, 1.0), (0.8, 1.25), True)),
        ("views+crops=1+stride=2", Views(1, 4, 2)),
        ("views(crops=1,stride=2)", Views(1, 4, 2)),
        ("views:crops=1,stride=2", Views(1, 4, 2)),
        ("views(1,2,stride=3)", Views(1, 2, 3)),
        ("uniform+rule=ends", Uniform("ends")),
        ("uniform(ends)", Uniform("ends")),
        ("around+seconds=none+stride=2+window=3", Around(None, 2, 3)),
        ("shuffled(views+crops=1,seed=7)", Shuffled(Views(1), 7)),
        ("shuffled(views(crops=1))+seed=7", Shuffled(Views(1), 7)),
        ("randomcrop(uniform,scale=0.5..1,flip=yes)", RandomCrop(Uniform(), (0.5, 1.0), flip=True)),
    ],
)
def test_text_names_a_sampler(text: str, sampler: Sampler) -> None:
    assert parse(text) == sampler


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("unifrm", "no sampler 'unifrm'; did you mean 'uniform'"),
        ("", "no sampler ''"),
        ("uniform:end", "uniform: rule = 'end' must be one of centers, ends; did you mean 'ends'"),
        ("multiclip", "multiclip takes seconds, stride?"),
        ("multiclip:0", "multiclip: seconds = 0.0 must be positive and finite"),
        ("multiclip:nan", "multiclip: seconds = nan must be positive and finite"),
        ("views:3x4/4/5", "views takes crops"),
        ("views:3x0", "views: clips = 0 must be at least 1"),
        ("views:3x2.5", "views: clips = '2.5' must be a whole number"),
        ("reversed:uniform", r"is written reversed\(uniform\)"),
        ("uniform(2)", "uniform: rule = '2' must be one of centers, ends"),
        ("views+crop=2", r"views has no 'crop'; did you mean 'crops'\?; it takes crops\?, clips\?, stride\?"),
        ("views:3x4+crops=2", "crops is set twice"),
        ("views:crops=2,clip=3", "has no 'clip'; did you mean 'clips'"),
        ("views+crops=0+clips=-1", "views: crops = 0 must be at least 1; clips = -1 must be at least 1"),
        ("reversed+seed=3", "has no 'seed'; it takes inner"),
        ("reversed(unifrm)", "did you mean 'uniform'"),
        ("shuffled(uniform,-1)", "shuffled: seed = -1 must be at least 0"),
        ("frozen(uniform,last)", "frozen: at = 'last' must be one of middle, first"),
        ("slowed(uniform,0.5)", "slowed: factor = 0.5 must be at least 1 and finite"),
        ("drawn(uniform,-2)", "drawn: count = -2 must be at least 0"),
        ("randomcrop(uniform,3)", "scale = '3' must be 2 numbers, with commas or low..high"),
        ("vjepa:3x8", "clips = '3x8' must be a whole number"),
        ("shuffled()", r"shuffled takes inner, seed\?"),
        ("multiclip:two", "seconds = 'two' must be a number"),
        ("randomcrop(uniform,0.5..2)", "randomcrop: scale = 2.0 must be above 0 and at most 1"),
        ("randomcrop(uniform,0.5..1,1..2,7)", "flip = '7' must be true or false"),
        ("randomcrop(uniform,1..0.5)", r"scale = 1\.\.0\.5 must be low\.\.high, the smaller number first"),
    ],
)
def test_bad_text_gets_one_line_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["uniform", "multiclip:0.3/0.1", "views", "vjepa", "around", "randomclip", "randomclip:4/2", "frozen(views)"],
)
def test_samplers_keep_the_shipped_contract(text: str) -> None:
    check_sampler(parse(text))


def test_frames_are_at_least_one() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        Uniform()(constant(3), 0)
