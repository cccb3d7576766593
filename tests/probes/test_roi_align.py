"""RoIAlign against closed forms, the published algorithm as loops, and its own derivative."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vitascope.probes.detection.roi_align import roi_align

WIDTH = 16.0
"""Pixels of a feature cell, as SlowFast's scale of 1/16; any other gives the same."""


def looped(features: np.ndarray, box: list[float], cells: int) -> np.ndarray:
    """RoIAlign of detectron2 (`aligned=True`, `sampling_ratio=0`) of one image and a box in pixels."""
    left, top, right, bottom = (v / WIDTH - 0.5 for v in box)
    cell_w, cell_h = (right - left) / cells, (bottom - top) / cells
    across, down = math.ceil(round(cell_w, 9)), math.ceil(round(cell_h, 9))
    out = np.zeros((len(features), cells, cells))
    for i in range(cells):
        for j in range(cells):
            for a in range(down):
                for b in range(across):
                    y = top + i * cell_h + (a + 0.5) * cell_h / down
                    x = left + j * cell_w + (b + 0.5) * cell_w / across
                    out[:, i, j] += bilinear(features, y, x) / (down * across)
    return out


def bilinear(features: np.ndarray, y: float, x: float) -> np.ndarray:
    """The value between four features, as in detectron2: nothing far outside, the border near it."""
    _, rows, columns = features.shape
    if y < -1 or y > rows or x < -1 or x > columns:
        return np.zeros(len(features))
    y, x = min(max(y, 0.0), rows - 1.0), min(max(x, 0.0), columns - 1.0)
    i, j = min(int(y), max(rows - 2, 0)), min(int(x), max(columns - 2, 0))
    below, right = min(i + 1, rows - 1), min(j + 1, columns - 1)
    v, u = y - i, x - j
    top = features[:, i, j] * (1 - u) + features[:, i, right] * u
    return top * (1 - v) + (features[:, below, j] * (1 - u) + features[:, below, right] * u) * v


def aligned(features: Tensor, boxes: list[list[float]], cells: int) -> Tensor:
    """The boxes of one image."""
    return roi_align(features[None], torch.tensor(boxes, dtype=features.dtype), torch.zeros(len(boxes)).long(), cells)


side = st.tuples(st.floats(0, 0.95), st.floats(0.01, 1.0)).map(lambda p: (p[0], min(p[0] + p[1], 1.0)))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.lists(st.tuples(side, side), min_size=1, max_size=3), st.integers(1, 4))
def test_as_detectron2_sample_by_sample(rows: int, columns: int, sides: list, cells: int) -> None:
    features = torch.rand(2, rows, columns, generator=torch.Generator().manual_seed(rows), dtype=torch.float64)
    boxes = [[x[0], y[0], x[1], y[1]] for x, y in sides]
    found = aligned(features, boxes, cells)
    for box, own in zip(boxes, found, strict=True):
        pixels = [v * WIDTH * (columns if i % 2 == 0 else rows) for i, v in enumerate(box)]
        np.testing.assert_allclose(own.numpy(), looped(features.numpy(), pixels, cells), atol=1e-9)


def test_the_whole_frame_in_its_own_cells_is_the_grid() -> None:
    features = torch.rand(3, 7, 7)
    torch.testing.assert_close(aligned(features, [[0, 0, 1, 1]], 7)[0], features)


def test_of_a_ramp_each_cell_has_the_value_at_its_center() -> None:
    ramp = (torch.arange(8) + 0.5).double() / 8
    features = torch.stack([ramp.expand(8, 8), ramp[:, None].expand(8, 8)])
    across, down = aligned(features, [[0.2, 0.1, 0.8, 0.9]], 3)[0]
    torch.testing.assert_close(across[1], torch.tensor([0.3, 0.5, 0.7], dtype=torch.float64))
    torch.testing.assert_close(down[:, 0], 0.1 + 0.8 * torch.tensor([1, 3, 5], dtype=torch.float64) / 6)


def test_samples_are_as_many_as_cells_rounded_up() -> None:
    impulse = torch.zeros(1, 1, 8).double()
    impulse[0, 0, 3] = 1.0
    # half the frame in one cell: four samples, at the centers of the first four cells
    assert float(aligned(impulse, [[0, 0, 0.5, 1]], 1)) == 0.25
    # a little more: five samples
    expected = looped(impulse.numpy(), [0, 0, 0.51 * 8 * WIDTH, WIDTH], 1)
    assert float(aligned(impulse, [[0, 0, 0.51, 1]], 1)) == pytest.approx(float(expected[0, 0, 0]))


def test_each_box_is_of_its_own_image() -> None:
    features = torch.rand(3, 2, 5, 6)
    boxes = torch.tensor([[0.1, 0.2, 0.5, 0.9], [0.3, 0.0, 0.4, 0.1], [0.0, 0.5, 1.0, 1.0]])
    owner = torch.tensor([0, 2, 2])
    found = roi_align(features, boxes, owner, 2)
    for i, image in enumerate(owner.tolist()):
        alone = roi_align(features[image : image + 1], boxes[i : i + 1], torch.zeros(1).long(), 2)
        torch.testing.assert_close(found[i : i + 1], alone)


def test_gradients_are_those_of_finite_differences() -> None:
    features = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0.13, 0.21, 0.57, 0.83], [0.31, 0.05, 0.47, 0.18]], dtype=torch.float64, requires_grad=True)
    owner = torch.zeros(2).long()
    assert torch.autograd.gradcheck(lambda f, b: roi_align(f, b, owner, 3), (features, boxes))


def test_no_boxes_and_a_box_without_area() -> None:
    features = torch.rand(2, 3, 4, 4)
    assert roi_align(features, torch.zeros(0, 4), torch.zeros(0).long(), 7).shape == (0, 3, 7, 7)
    point = roi_align(features, torch.tensor([[0.5, 0.5, 0.5, 0.5]]), torch.zeros(1).long(), 2)
    torch.testing.assert_close(point, features[:1, :, 1:3, 1:3].mean((2, 3), keepdim=True).expand(1, 3, 2, 2))
