"""Encoders on a device that is not the CPU: no tensor of theirs stays behind. Checked without one, by shapes alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from helpers import FIXTURES
from official_files import rebuild
from vitascope.encoders import golden

OTHER = "meta"
"""Mixed with tensors of the CPU, its tensors are refused as those of a GPU are."""


def move(encoder: nn.Module) -> None:
    """Replace all parameters and buffers by empty ones on the other device."""
    for module in encoder.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = torch.empty(tensor.shape, dtype=tensor.dtype, device=OTHER)


def test_every_known_encoder_runs_where_it_was_moved(tmp_path: Path) -> None:
    rebuild(FIXTURES / "official_encoders", tmp_path)
    for case in golden.index(tmp_path):
        _, encoder, _ = golden.open_case(tmp_path, case, case.get("checkpoint") or case["hf"])
        arrays = golden.read_arrays(tmp_path, case["io"], ())
        shape = next(golden.clips(a).shape for name, a in arrays.items() if golden.is_input(name, a))
        with FakeTensorMode():
            move(encoder)
            tokens = encoder(torch.empty(shape, device=OTHER))
        assert (tokens.grid.device.type, tokens.clip.device.type) == (OTHER, OTHER), case["name"]


class Behind(nn.Module):
    """Adds a tensor that does not move with it."""

    def __init__(self) -> None:
        super().__init__()
        self.left = torch.ones(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.left


def test_a_tensor_that_stays_behind_is_seen() -> None:
    with pytest.raises(RuntimeError, match="device"), FakeTensorMode(allow_non_fake_inputs=True):
        Behind()(torch.empty(3, device=OTHER))
