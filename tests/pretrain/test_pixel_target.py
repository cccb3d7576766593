"""Pixels as input of the student and as targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vitascope.core.device import generator
from vitascope.encoders.families.twlv import CARD
from vitascope.encoders.preprocess import to_tensor
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.pretrain.model import Student
from vitascope.pretrain.objective import Objective
from vitascope.pretrain.targets.targets import Pixels, TargetInputs


def test_normalized_pixels_are_those_of_the_definition() -> None:
    shape = VideoViTConfig(dim=16, depth=1, heads=1, mlp=16, patch=4, tubelet=2, grid=(1, 2, 2))
    student = Student(shape, generator(0))
    clips = torch.randint(0, 256, (2, 3, 2, 8, 8), generator=generator(1)) / 255
    clips[0, 1, :, :4, :4] = 0.25  # a channel of one token without any contrast
    inputs = TargetInputs(clips, student.patchify((clips - 0.4) / 0.2), (1, 2, 2), torch.tensor([-1, -1]))
    values = Pixels().bind(student, torch.device("cpu")).values(inputs)

    for n, row, column, channel in np.ndindex(2, 2, 2, 3):
        part = clips[n, channel, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].double().flatten()
        known = (part - part.mean()) / (part.std() + 1e-6)
        value = values[n, 2 * row + column].view(3, -1)[channel].double()
        torch.testing.assert_close(value, known, rtol=1e-4, atol=0.05 if part.std() == 0 else 1e-4)


@pytest.mark.parametrize("frames", [4, 1])
def test_a_batch_is_preprocessed_as_for_encoders_bit_for_bit(frames: int) -> None:
    shape = VideoViTConfig(dim=16, depth=1, heads=1, mlp=16, patch=4, tubelet=2, grid=(2, 2, 2))
    objective = Objective(Student(shape, generator(0)), (Pixels(width=16, depth=1),), CARD, generator(1))
    pixels = torch.randint(0, 256, (3, frames, 8, 8, 3), dtype=torch.uint8, generator=generator(2))
    inputs = objective.prepare(pixels, torch.full((3,), -1))

    clips = to_tensor(pixels, CARD)
    clips = clips.expand(-1, -1, 2, -1, -1) if frames == 1 else clips
    for token, (t, row, column) in enumerate(np.ndindex(inputs.grid)):
        part = clips[:, :, 2 * t : 2 * t + 2, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert torch.equal(inputs.patches[:, token], part.flatten(1))
    assert torch.equal(inputs.clips, pixels.movedim(-1, 1) / 255)
