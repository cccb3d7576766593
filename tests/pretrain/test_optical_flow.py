"""Optical flow against least squares pixel by pixel, waves whose shift is known, and symmetries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor

from vitascope.pretrain.targets.optical_flow import DAMPING, flow


def waves(count: int, shift: tuple[float, float], size: int = 32) -> Tensor:
    """Smooth brightness that moves right and down by `shift` pixels a frame."""
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    frames = []
    for t in range(count):
        right, down = x - t * shift[0], y - t * shift[1]
        frames.append(0.5 + 0.2 * torch.sin(right / 3.1) + 0.2 * torch.cos(down / 2.7) * torch.sin((right - down) / 5))
    return torch.stack(frames)[None]


def turning(turns: float, size: int = 32) -> Tensor:
    """Two frames of waves that turn clockwise about the middle by `turns` radians."""
    y, x = torch.meshgrid(torch.arange(size) - (size - 1) / 2, torch.arange(size) - (size - 1) / 2, indexing="ij")
    frames = []
    for angle in (0.0, turns):
        a = torch.tensor(angle)
        right, down = x * a.cos() + y * a.sin(), y * a.cos() - x * a.sin()
        frames.append(0.5 + 0.25 * torch.sin(right / 2.3) * torch.cos(down / 2.9))
    return torch.stack(frames)[None]


@pytest.mark.parametrize("shift", [(0.4, 0.0), (0.0, -0.3), (-0.25, 0.35)])
def test_a_known_shift_is_recovered(shift: tuple[float, float]) -> None:
    motion = flow(waves(3, shift))[:, :, 1:-1, 1:-1]
    np.testing.assert_allclose(motion.flatten(0, 3).mean(0), shift, atol=0.02)
    assert (motion - torch.tensor(shift)).abs().max() < 0.1


def test_what_turns_flows_in_a_circle() -> None:
    motion = flow(turning(0.03))[0, 0]
    place = torch.arange(8) * 4 + 1.5 - 15.5
    np.testing.assert_allclose(motion[1:-1, 1:-1, 0], -0.03 * place[1:-1, None].expand(6, 6), atol=0.06)
    np.testing.assert_allclose(motion[1:-1, 1:-1, 1], 0.03 * place[None, 1:-1].expand(6, 6), atol=0.06)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), cell=st.sampled_from([2, 4]), window=st.sampled_from([1, 3]))
def test_as_least_squares_of_every_window(seed: int, cell: int, window: int) -> None:
    frames = torch.rand(1, 2, 12, 12, generator=torch.Generator().manual_seed(seed))
    motion = flow(frames, cell=cell, blur=0.1, window=window, limit=100.0)[0, 0].numpy()
    first, second = frames[0].double().numpy()
    mean, change = (first + second) / 2, second - first
    slopes = np.zeros((12, 12, 2))
    slopes[:, 1:-1, 0] = (mean[:, 2:] - mean[:, :-2]) / 2
    slopes[1:-1, :, 1] = (mean[2:] - mean[:-2]) / 2
    reach = window // 2
    for row, column in np.ndindex(12 // cell, 12 // cell):
        rows = slice(max(row - reach, 0) * cell, (row + reach + 1) * cell)
        columns = slice(max(column - reach, 0) * cell, (column + reach + 1) * cell)
        a, b = slopes[rows, columns].reshape(-1, 2), change[rows, columns].reshape(-1)
        damped = a.T @ a + np.eye(2) * DAMPING * len(a)
        np.testing.assert_allclose(motion[row, column], np.linalg.solve(damped, -a.T @ b), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("blur", [0.7, 1.5])
def test_blur_matches_scipy(blur: float) -> None:
    frames = torch.rand(1, 2, 20, 16, generator=torch.Generator().manual_seed(5))
    smooth = gaussian_filter(frames.numpy(), (0, 0, blur, blur), mode="nearest", radius=(0, 0, *[round(3 * blur)] * 2))
    torch.testing.assert_close(flow(frames, blur=blur), flow(torch.from_numpy(smooth), blur=0.1), atol=1e-4, rtol=1e-4)


def test_backwards_is_negative_and_mirrored_is_mirrored() -> None:
    frames = torch.rand(2, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    motion = flow(frames)
    torch.testing.assert_close(flow(frames.flip(1)), -motion.flip(1), atol=1e-4, rtol=1e-4)
    mirrored = motion.flip(3) * torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(flow(frames.flip(3)), mirrored, atol=1e-4, rtol=1e-4)


def test_half_precision_round_it_changes_nothing() -> None:
    frames = waves(3, (0.05, 0.02))
    with torch.autocast("cpu", torch.bfloat16):
        rough = flow(frames)
    assert torch.equal(rough, flow(frames))


def test_static_and_uniform_frames_have_zero_flow() -> None:
    assert not flow(waves(1, (0, 0)).expand(1, 3, 32, 32)).any()
    flat = torch.rand(1, 3, 1, 1).expand(1, 3, 16, 16)
    assert flow(flat).abs().max() < 1e-3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"cell": 5}, "cells of 5 pixels do not divide"), ({"window": 2}, "not 2 and 1"), ({"blur": 0.0}, "not 3 and 0")],
)
def test_invalid_options_raise(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        flow(torch.rand(1, 2, 16, 16), **wrong)  # type: ignore[arg-type]
