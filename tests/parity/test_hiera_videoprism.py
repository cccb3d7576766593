"""Hiera and VideoPrism against what the official code gave for small official-layout files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from helpers import official_cases, official_encoders
from vitascope.encoders.base import NetworkEncoder
from vitascope.encoders.load import load

LIMIT = 2e-5
"""Largest difference, in standard deviations of the official output."""
CASES = {
    "hiera-ft_l": ("hiera/large-ft", {"video": ("tokens", "pooled_prenorm", "pooled")}),
    "hiera-mae_l": ("hiera/large-mae", {"video": ("tokens", "pooled_prenorm", "pooled", "fused")}),
    "videoprism-base": (
        "videoprism/base",
        {"video": ("tokens", "spatial_tokens", "pooled", "grid"), "video_t": ("tokens_t",)},
    ),
}


@pytest.fixture(scope="module")
def index() -> dict[str, dict[str, Any]]:
    return official_cases()


@pytest.mark.parametrize("name", CASES)
def test_every_output_is_the_official_one(index: dict[str, dict[str, Any]], name: str) -> None:
    encoder_name, outputs = CASES[name]
    case, folder = index[name], official_encoders()
    encoder = load(f"{encoder_name}={folder / case['checkpoint']}", architecture=case["architecture"])
    assert isinstance(encoder, NetworkEncoder)
    arrays = np.load(folder / case["io"])
    assert {*outputs, *(word for words in outputs.values() for word in words)} == set(arrays.files)
    for video, words in outputs.items():
        clips = torch.from_numpy(arrays[video])
        parts = encoder.parts(clips.movedim(-1, 1) if clips.shape[-1] == 3 else clips)
        for word in words:
            known = arrays[word]
            ours = parts[word.removesuffix(video.removeprefix("video"))].numpy()
            assert ours.shape == known.shape, word
            if known.dtype.kind == "i":
                assert (ours == known).all(), word
            else:
                assert np.abs(ours - known).max() / known.std() <= LIMIT, word
