"""Videos on a grid of points: seconds and back, crops, batches, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.device import generator
from vitascope.core.types import Example, Segment
from vitascope.features.base import ClipSpans, StoredFeatures
from vitascope.probes.temporal.localization_data import (
    PointGrid,
    VideoSequence,
    count_invalid,
    examples_with_vectors,
    nominal_stride,
    pad_batch,
    random_crop,
    video_sequences,
)
from vitascope.sampling.names import MultiClip, Uniform

SECONDS, STRIDE = 0.5, 0.125


def stored(*lengths, truth=(), stride=STRIDE, seconds=SECONDS):
    """Videos whose vectors say when they are: two numbers, the middle of the clip and 1."""
    spans = [np.arange(n)[:, None] * stride + [0.0, seconds] for n in lengths]
    values = torch.from_numpy(np.concatenate([np.stack([s.mean(1), np.ones(len(s))], 1) for s in spans])).float()
    examples = [
        Example(id=f"v{i}", path="", truth=truth, duration=float(s.max(initial=0.0))) for i, s in enumerate(spans)
    ]
    first = torch.tensor([0, *lengths]).cumsum(0)
    return StoredFeatures(examples, ["a", "b"], values, first, ClipSpans(np.concatenate(spans), first))


def seen(features, fit="crop", length=192, stride=STRIDE):
    return list(video_sequences(features, examples_with_vectors(features), fit=fit, length=length, stride=stride))


def test_a_point_is_the_middle_of_its_clip():
    """PROTOCOL of the published grid: g = (t fps - frames / 2) / stride, back t = (g stride + frames / 2) / fps."""
    fps = 30.0
    frames, stride = fps * SECONDS, fps * STRIDE
    (sight,) = seen(stored(40, truth=(Segment(1.0, 3.2, 1),)))
    wanted = (np.array([1.0, 3.2]) * fps - frames / 2) / stride
    np.testing.assert_allclose(sight.segments[0], wanted, atol=1e-5)
    np.testing.assert_allclose(sight.grid.seconds(wanted), [1.0, 3.2])
    np.testing.assert_allclose(sight.grid.seconds(np.arange(40.0)), sight.values[:, 0], atol=1e-5)
    assert sight.labels.tolist() == [1]
    assert sight.duration == pytest.approx(39 * STRIDE + SECONDS)


def test_a_resized_grid():
    """As published: stride' = ((M - 1) stride + frames) / 192, g = t fps / stride' - 1 / 2; linear between clips."""
    (sight,) = seen(stored(57, truth=(Segment(1.0, 3.2, 0),)), fit="resize")
    stretch = (56 * STRIDE + SECONDS) / 192
    assert sight.values.shape == (192, 2)
    np.testing.assert_allclose(sight.segments[0], np.array([1.0, 3.2]) / stretch - 0.5, atol=1e-4)
    np.testing.assert_allclose(sight.grid.seconds(np.array([-0.5, 191.5])), [0, 56 * STRIDE + SECONDS])
    wanted = torch.nn.functional.interpolate(torch.arange(57.0)[None, None], 192, mode="linear")[0, 0]
    np.testing.assert_allclose(sight.values[:, 0], wanted * STRIDE + SECONDS / 2, atol=1e-4)
    np.testing.assert_allclose(sight.values[:, 1], 1.0, atol=1e-6)


@given(origin=st.floats(-9, 9), step=st.floats(0.01, 9), t=st.floats(-99, 999))
def test_round_trip(origin, step, t):
    grid = PointGrid(origin, step)
    assert grid.seconds(grid.points(np.array([t])))[0] == pytest.approx(t, abs=1e-6)


def test_one_clip_is_a_video():
    (sight,) = seen(stored(1, truth=(Segment(0.1, 0.3, 0),)))
    assert sight.grid == PointGrid(SECONDS / 2, STRIDE)
    assert sight.values.shape == (1, 2)
    assert seen(stored(1), fit="resize")[0].values.shape == (192, 2)
    assert seen(stored(1), stride=None)[0].grid.step == SECONDS


def test_uneven_and_unexpected_strides_are_rejected():
    features = stored(9, 9)
    features.spans.table[13:] += 0.2
    with pytest.raises(ValueError) as caught:
        seen(features)
    assert str(caught.value).startswith("v1: clips are 0.125 to 0.325 s apart; localization needs evenly spaced clips")
    with pytest.raises(ValueError) as caught:
        seen(stored(9), stride=0.25)
    assert "v0: clips are 0.125 s apart, but the view has 0.25 s; set the sampler" in str(caught.value)
    assert len(seen(stored(9), stride=None)) == 1


def test_nominal_stride():
    assert nominal_stride(MultiClip(0.5, 0.125)) == 0.125
    assert nominal_stride(MultiClip(2)) == 2.0
    assert nominal_stride(Uniform()) is None


def test_segments_that_cannot_be_learned_are_dropped_and_counted():
    truth = (Segment(1, 2, 0), Segment(3, 3, 0), Segment(4, 3, 1), Segment(99, 100, 1), Segment(4, 99, 1))
    features = stored(40, truth=truth)
    assert seen(features)[0].labels.tolist() == [0, 1]
    assert count_invalid(features.examples) == {"v0": 3}
    assert count_invalid(stored(40).examples) == {}


def test_videos_without_vectors_are_left_out():
    assert examples_with_vectors(stored(3, 0, 2)) == [0, 2]


def long(length, segments, origin=0.25):
    values = torch.arange(length, dtype=torch.float32)[:, None]
    return VideoSequence(
        values, torch.tensor(segments).view(-1, 2), torch.arange(len(segments)), PointGrid(origin, 0.125), 99.0
    )


several = st.lists(st.tuples(st.floats(0, 90), st.floats(0.5, 30)), max_size=5)


@settings(max_examples=60, deadline=None)
@given(drawn=several, most=st.integers(8, 120), seed=st.integers(0, 99), margin=st.booleans())
def test_crops_keep_what_is_in_them_by_half(drawn, most, seed, margin):
    segments = [(s, s + length) for s, length in drawn]
    sight = long(100, segments)
    crop = random_crop(sight, generator(seed), limit=most, min_crop=0.9, margin=margin)
    length = len(crop.values)
    assert length == most if most < 100 else 90 <= length <= 100
    begin = crop.values[0, 0]
    assert torch.equal(crop.values[:, 0], begin + torch.arange(length))
    if length == 100:
        assert torch.equal(crop.segments, sight.segments)
        return
    wider = 2.0 if margin else 0.0
    for i, (start, end) in enumerate(segments):
        left, right = max(start, begin - wider), min(end, begin + length + wider)
        if (right - left) / (end - start) >= 0.5 + 1e-4:
            own = crop.segments[(crop.labels == i).nonzero()[:, 0]]
            np.testing.assert_allclose(own, [[left - begin, right - begin]], atol=1e-4)
        elif (right - left) / (end - start) < 0.5 - 1e-4:
            assert i not in crop.labels


def test_a_crop_is_drawn_until_it_holds_an_action():
    sight = long(1000, [(970.0, 990.0)])
    assert all(len(random_crop(sight, generator(s), limit=100, min_crop=0.9, margin=False).labels) for s in range(20))
    assert len(random_crop(long(1000, []), generator(0), limit=100, min_crop=0.9, margin=False).values) == 100


def test_a_batch_is_padded_as_far_as_the_longest_needs():
    pair = [long(40, [(1.0, 5.0)]), long(70, [(2.0, 3.0), (4.0, 9.0)])]
    batch = pad_batch(pair, windows=(19,) * 6, limit=2304)
    assert batch.values.shape == (2, 1, 128)
    assert batch.mask.sum(1).tolist() == [40, 70]
    assert torch.equal(batch.values[1, 0, :70], torch.arange(70.0))
    assert not batch.values[0, 0, 40:].any()
    assert batch.actions.owner.tolist() == [0, 1, 1]
    assert pad_batch(pair, windows=(5,) * 3, limit=72).values.shape == (2, 1, 72)
