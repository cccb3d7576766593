"""Normalised pixels as a target: every channel of a token by its own mean and unbiased deviation."""

from __future__ import annotations

import numpy as np
import torch

from vitascope.architectures.video import VideoShape
from vitascope.pretrain.student import Student
from vitascope.pretrain.targets import Pixels, Shown
from vitascope.runtime import generator


def test_normalised_pixels_are_those_of_the_definition() -> None:
    shape = VideoShape(dim=16, depth=1, heads=1, mlp=16, patch=4, tubelet=2, grid=(1, 2, 2))
    student = Student(shape, generator(0))
    clips = torch.randint(0, 256, (2, 3, 2, 8, 8), generator=generator(1)) / 255
    clips[0, 1, :, :4, :4] = 0.25  # a channel of one token without any contrast
    shown = Shown(clips, student.blocks((clips - 0.4) / 0.2), (1, 2, 2), torch.tensor([-1, -1]))
    found = Pixels().bind(student, torch.device("cpu")).values(shown)

    for n, row, column, channel in np.ndindex(2, 2, 2, 3):
        part = clips[n, channel, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].double().flatten()
        known = (part - part.mean()) / (part.std() + 1e-6)
        there = found[n, 2 * row + column].view(3, -1)[channel].double()
        torch.testing.assert_close(there, known, rtol=1e-4, atol=0.05 if part.std() == 0 else 1e-4)
