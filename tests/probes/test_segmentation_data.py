"""Frames from clips: ramps of time come out exact, stretching is the published one, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.core.types import Example, Timeline
from vitascope.features.base import StoredFeatures
from vitascope.probes.temporal.segmentation_data import (
    encoded_examples,
    frame_sequences,
    interpolate_rows,
    positions_by_stretching,
    positions_by_time,
    repeat_labels,
)


def sliding(count, seconds=0.5, stride=0.125):
    return np.arange(count)[:, None] * stride + [0.0, seconds]


def ramp(count=77, fps=15.0, labeled=150, **grid):
    """One video whose vector is the middle of its clip, seconds."""
    spans = sliding(count, **grid)
    truth = Timeline(((0, labeled // 2), (1, labeled - labeled // 2)), fps)
    values = torch.from_numpy(spans.mean(1, keepdims=True)).float()
    first = torch.tensor([0, count])
    return StoredFeatures([Example(id="a", path="", truth=truth)], ["x", "y"], values, first, [spans])


def test_a_ramp_of_time_is_exact_between_the_first_and_the_last_clip():
    (seen,) = frame_sequences(ramp(), [0], every=1, align="time")
    seconds = (np.arange(150) + 0.5) / 15
    np.testing.assert_allclose(seen.values[:, 0].numpy(), seconds.clip(0.25, 9.75), atol=1e-5)
    assert seen.labels.tolist() == [0] * 75 + [1] * 75


def test_half_the_rate_takes_every_second_frame():
    (seen,) = frame_sequences(ramp(fps=30.0, labeled=299), [0], every=2, align="time")
    np.testing.assert_allclose(seen.values[:, 0].numpy(), ((np.arange(150) * 2 + 0.5) / 30).clip(0.25, 9.75), atol=1e-5)
    assert seen.labels.tolist() == [0] * 75 + [1] * 75
    assert repeat_labels(torch.tensor([4, 1, 2]), 2, 5).tolist() == [4, 4, 1, 1, 2]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(2, 60))
def test_stretching_is_linear_interpolation_of_cells(rows, count):
    values = torch.from_numpy(np.random.default_rng(rows).standard_normal((rows, 3)))
    wanted = F.interpolate(values.T[None], count, mode="linear", align_corners=False)[0].T
    torch.testing.assert_close(interpolate_rows(values, positions_by_stretching(rows, count)), wanted)


def test_stretching_is_up_to_half_a_clip_off_at_the_ends():
    (seen,) = frame_sequences(ramp(), [0], every=1, align="stretch")
    late = seen.values[:, 0].numpy() - (np.arange(150) + 0.5) / 15
    assert 0.15 < late[4] < 0.2  # within the first and the last clip's middle, where alignment in time is exact
    assert -0.2 < late[-5] < -0.15
    assert abs(late[75]) < 0.01


def test_uneven_and_single_clips():
    spans = np.array([[0.0, 1.0], [1.0, 4.0], [4.0, 5.0]])
    np.testing.assert_allclose(positions_by_time(spans, 5, 1.0), [0, 0.5, 1, 1.5, 2])
    np.testing.assert_allclose(positions_by_time(spans[:1], 3, 3.0), 0)
    torch.testing.assert_close(interpolate_rows(torch.tensor([[2.0]]), np.zeros(3)), torch.full((3, 1), 2.0))


def error_of(features, every=1):
    with pytest.raises(ValueError) as error:
        list(frame_sequences(features, range(len(features.examples)), every=every, align="time"))
    return str(error.value)


def labeled(features, truth):
    return replace(features, examples=[replace(features.examples[0], truth=truth)])


def test_invalid_videos_are_rejected():
    whole = ramp()
    assert error_of(labeled(whole, Timeline(((0, 90), (2, 60)), 15.0))) == (
        "a: label 2 at frame 90 is outside the 2 classes (0 to 1); correct the labels or add the classes"
    )
    assert error_of(labeled(whole, Timeline(((0, 1),), 0.1))) == (
        "a: 1 labeled frames, 1 after striding; two are needed, so leave the video out"
    )
    assert error_of(labeled(whole, Timeline(((0, 2),), 0.2)), every=2).startswith(
        "a: 2 labeled frames, 1 after striding"
    )
    assert error_of(ramp(count=30)) == (
        "a: 150 labeled frames at 15 fps cover 10.0 s, its 30 clips end at 4.1 s; embed the whole video, or correct "
        "the fps of the labels"
    )
    assert "cover 5.0 s, its 77 clips end at 10.0 s" in error_of(ramp(fps=30.0, labeled=150))
    broken = ramp()
    broken.values[3] = torch.nan
    assert error_of(broken).startswith("NaN or infinite vectors for 1 of 1 examples (a)")
    assert "have no time spans" in error_of(replace(whole, spans=()))


def test_videos_without_vectors():
    spans, example = sliding(4), ramp().examples[0]
    examples = [replace(example, id="a"), replace(example, id="b")]
    features = StoredFeatures(examples, ["x", "y"], torch.zeros(4, 1), torch.tensor([0, 4, 4]), [spans, spans[:0]])
    with pytest.raises(ValueError) as error:
        encoded_examples(features)
    assert str(error.value) == "no vectors for 1 of 2 videos (b); embed them or leave them out of the split"
    assert encoded_examples(replace(features, failures={"b": "no such file"})) == [0]
