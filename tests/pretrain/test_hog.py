"""Histograms of oriented gradients against a loop over pixels, ramps whose answer is known, and symmetries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitascope.pretrain.targets.hog import hog


def slow(frame: np.ndarray, cell: int, bins: int, *, signed: bool, floor: float) -> np.ndarray:
    """One frame, pixel by pixel."""
    down, right = np.gradient(frame.astype(np.float64))
    turn = math.tau if signed else math.pi
    histograms = np.zeros((frame.shape[0] // cell, frame.shape[1] // cell, bins))
    for y, x in np.ndindex(*frame.shape):
        where = (math.atan2(down[y, x], right[y, x]) % turn) / turn * bins
        low, share = int(where), where - int(where)
        strength = math.hypot(down[y, x], right[y, x]) / cell**2
        histograms[y // cell, x // cell, low % bins] += (1 - share) * strength
        histograms[y // cell, x // cell, (low + 1) % bins] += share * strength
    return histograms / np.sqrt((histograms**2).sum(-1, keepdims=True) + floor**2)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None, max_examples=15)
@given(
    cell=st.integers(2, 8),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    bins=st.integers(2, 12),
    signed=st.booleans(),
)
def test_as_pixel_by_pixel(cell: int, rows: int, columns: int, bins: int, signed: bool) -> None:
    frames = noise(2, 2, rows * cell, columns * cell, seed=bins)
    histograms = hog(frames, cell=cell, bins=bins, signed=signed, floor=0.03)
    expected = [[slow(f, cell, bins, signed=signed, floor=0.03) for f in clip] for clip in frames.numpy()]
    np.testing.assert_allclose(histograms.numpy(), np.array(expected), atol=2e-6)


def ramp(angle: float, size: int = 16, step: float = 0.02) -> Tensor:
    """Brightness that grows by `step` a pixel in the direction `angle` from the x axis towards y (down)."""
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    return ((x * math.cos(angle) + y * math.sin(angle)) * step)[None, None]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("k", range(9))
def test_a_ramp_is_one_bin(k: int, signed: bool) -> None:
    turn = math.tau if signed else math.pi
    histograms = hog(ramp(k * turn / 9), signed=signed, floor=1e-6)
    expected = torch.zeros(9)
    expected[k] = 1.0
    torch.testing.assert_close(histograms, expected.expand(1, 1, 2, 2, 9), atol=2e-3, rtol=0)
    opposite = hog(ramp(k * turn / 9 + math.pi), signed=signed, floor=1e-6)
    assert (
        torch.allclose(opposite, histograms, atol=4e-3) != signed
    )  # only signed bins tell light to dark from dark to light


def test_between_two_bins_the_nearer_gets_more() -> None:
    histograms = hog(ramp(0.25 * math.pi / 9), floor=1e-6)[0, 0, 0, 0]
    expected = torch.zeros(9)
    expected[0], expected[1] = 0.75 / math.hypot(0.75, 0.25), 0.25 / math.hypot(0.75, 0.25)
    torch.testing.assert_close(histograms, expected, atol=2e-3, rtol=0)


def test_the_floor_is_a_mean_gradient() -> None:
    for step in (0.001, 0.01, 0.1):
        assert float(hog(ramp(0.0, step=step), floor=0.01)[0, 0, 0, 0, 0]) == pytest.approx(
            step / math.hypot(step, 0.01), rel=1e-3
        )


def test_uniform_frames_have_zero_histograms() -> None:
    assert torch.equal(hog(torch.full((1, 2, 16, 16), 0.7)), torch.zeros(1, 2, 2, 2, 9))


def test_contrast_and_brightness_do_not_count() -> None:
    frames = noise(1, 2, 16, 24)
    torch.testing.assert_close(hog(frames * 3 + 0.5, floor=1e-6), hog(frames, floor=1e-6), atol=1e-4, rtol=0)


def test_a_mirror_turns_the_bins_around() -> None:
    frames = noise(2, 1, 16, 24)
    mirrored = hog(frames.flip(3))
    around = [(9 - k) % 9 for k in range(9)]
    torch.testing.assert_close(mirrored, hog(frames).flip(3)[..., around], atol=1e-5, rtol=0)


def test_differences_show_only_what_moves() -> None:
    frames = noise(1, 1, 24, 24).repeat(1, 2, 1, 1)
    frames[:, 1, :8, 8:16] = frames[:, 1, :8, 8:16].roll(1, 1)
    length = hog(frames.diff(dim=1)).norm(dim=-1)[0, 0]
    assert length[0, 1] > 0.9
    assert (length[2] == 0).all()
    assert length[0, 0] < length[0, 1]  # its border pixels see the change beside them


def test_input_is_left_as_it_was() -> None:
    frames = noise(1, 1, 16, 16)
    before = frames.clone()
    hog(frames)
    assert torch.equal(frames, before)
    assert hog(frames.half()).dtype == torch.float32


def test_many_frames_as_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = noise(3, 5, 16, 24)
    alone = torch.stack([torch.cat([hog(f[None, None])[0] for f in clip]) for clip in frames])
    for piece in (1, 4 * 16 * 24, 1 << 20):  # frames in pieces of 1, of 4 and a rest, and at once
        monkeypatch.setattr("vitascope.pretrain.targets.hog.PIXELS_PER_CHUNK", piece)
        assert torch.equal(hog(frames), alone)


def test_an_image_has_no_differences() -> None:
    assert hog(noise(2, 1, 16, 24).diff(dim=1)).shape == (2, 0, 2, 3, 9)


def test_frames_that_do_not_fit_are_refused() -> None:
    frames = noise(1, 1, 16, 20)
    for wrong, says in [
        ({"cell": 8}, "cells of 8 pixels do not divide frames of 16 x 20"),
        ({"cell": 0}, "cells of 0 pixels do not divide"),
        ({"cell": 4, "bins": 1}, "at least 2 bins"),
        ({"cell": 4, "floor": 0.0}, "a floor above 0"),
    ]:
        with pytest.raises(ValueError) as caught:
            hog(frames, **wrong)  # type: ignore[arg-type]
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
