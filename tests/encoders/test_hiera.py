"""Video Hiera: order of tokens, what looks at what, the two readings of an autoencoder, official files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vitascope.core.device import generator
from vitascope.encoders import options as settings
from vitascope.encoders.base import NetworkEncoder
from vitascope.encoders.families import hiera
from vitascope.encoders.load import load
from vitascope.encoders.networks import empty
from vitascope.nn.hiera import Hiera, max_pool, to_grid, to_units

SMALL = {"input_size": [4, 64, 64], "embed_dim": 8, "num_heads": 1, "stages": [1, 2, 2, 1]}
PUBLISHED = {"base": 50.8, "base-plus": 69.0, "large": 212.6, "huge": 670.8}
"""Millions of parameters without the classifier."""


def network(kind: str, *, fused: bool = False) -> Hiera:
    """The small network, every number drawn."""
    name = f"hiera/large-{kind}" + ("+features:fused" if fused else "")
    model = empty(settings.configured(name).shape.updated(SMALL)).to_empty(device="cpu")
    for number, parameter in enumerate(model.parameters()):
        parameter.normal_(std=0.3, generator=generator(number))
    assert isinstance(model, Hiera)
    return model


def official(path: Path, kind: str, *, container: str = "model_state", **changes: Tensor | None) -> Path:
    """A file as the authors' code saves it; `changes` replace tensors, with dots as `__`, or take them out."""
    state: dict[str, Any] = dict(network(kind).state_dict())
    surplus = {
        "mae": ("mask_token", "decoder_pos_embed", "decoder_embed.weight", "decoder_blocks.0.norm1.weight"),
        "ft": ("head.projection.weight", "head.projection.bias"),
    }
    state |= {key: torch.ones(3) for key in surplus[kind]}
    for key, tensor in changes.items():
        state[key.replace("__", ".")] = tensor
    state = {key: tensor for key, tensor in state.items() if tensor is not None}
    torch.save({container: state, "epoch": 3} if container else state, path)
    return path


def small(name: str, file: Path) -> NetworkEncoder:
    encoder = load(f"{name}={file}", architecture=SMALL)
    assert isinstance(encoder, NetworkEncoder)
    return encoder


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(2, 3, 4, 64, 64, generator=generator(0))


@pytest.mark.parametrize("name", [*hiera.MODELS, "large-mae+features:fused", "base-mae+features:fused"])
def test_size_and_cost_are_those_of_the_network(name: str) -> None:
    model = settings.configured(f"hiera/{name}")
    assert model.shape.params == sum(p.numel() for p in empty(model.shape).parameters())
    # counting takes a second for each dozen blocks: those of other sizes than this are alike but for their widths
    whole = name.startswith("base-ft")
    shape = model.shape if whole else replace(model.shape, stages=tuple(min(n, 2) for n in model.shape.stages))
    for frames, size in ((16, 224), (8, 96)) if whole or "fused" in name else ((16, 224),):
        assert flops(shape, frames, size) == 2 * shape.macs(frames, size)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*hiera.MODELS, "large-mae+features:fused", "base-mae+features:fused"])
def test_the_cost_of_all_blocks(name: str) -> None:
    shape = settings.configured(f"hiera/{name}").shape
    for frames, size in ((16, 224), (8, 96)) if name.startswith("base") else ((16, 224),):
        assert flops(shape, frames, size) == 2 * shape.macs(frames, size)


def flops(shape: Any, frames: int, size: int) -> int:
    """Operations of the network for one clip, counted."""
    with FlopCounterMode(display=False) as counted:
        empty(shape)(torch.empty(1, 3, frames, size, size, device="meta"))
    return int(counted.get_total_flops())


@pytest.mark.parametrize("size", PUBLISHED)
def test_published_parameter_counts(size: str) -> None:
    assert round(hiera.MODELS[f"{size}-ft"].shape.params / 1e6, 1) == PUBLISHED[size]
    assert hiera.MODELS[f"{size}-ft"].shape.input == (16, 224)


def test_units_keep_neighbors_together() -> None:
    t, y, x = torch.meshgrid(torch.arange(2), torch.arange(8), torch.arange(16), indexing="ij")
    grid = torch.stack([t, y, x], -1)[None].float()
    units = to_units(grid, 2)
    assert units.shape == (1, 2 * 2 * 4, 16, 3)
    assert units[0, 5, :5, :].int().tolist() == [[0, 4, 4], [0, 4, 5], [0, 5, 4], [0, 5, 5], [0, 4, 6]]
    assert torch.equal(to_grid(units, (2, 2, 4)), grid)
    assert torch.equal(to_grid(max_pool(units), (2, 2, 4)), grid[:, :, 1::2, 1::2])


def test_early_stages_look_within_units_and_late_ones_everywhere(clips: Tensor) -> None:
    net = network("ft")
    changed = clips.clone()
    changed[:, :, :2, :24, :24] += 1.0  # inside the first unit of the first token of time, so that no block overlaps
    before, after = (net.stages(x, net.shape.levels) for x in (clips, changed))
    touched = [(a != b).any(-1).any(0) for a, b in zip(before, after, strict=True)]
    for stage, side in ((0, 8), (1, 4)):
        assert touched[stage][0, :side, :side].all()
        assert not touched[stage][:, side:].any()
        assert not touched[stage][..., side:].any()
    assert touched[2].all()


def test_an_autoencoder_is_read_in_two_ways(tmp_path: Path, clips: Tensor) -> None:
    file = official(tmp_path / "mae.pth", "mae")
    last, fused = small("hiera/large-mae", file), small("hiera/large-mae+features:fused", file)
    assert last(clips).grid.shape == (2, 2, 2, 2, 64)
    assert fused(clips).grid.shape == (2, 2, 4, 4, 64)
    assert (last.card.name, fused.card.name) == ("hiera/large-mae", "hiera/large-mae+features:fused")
    assert last.card.digest == fused.card.digest
    parts = last.parts(clips)
    torch.testing.assert_close(parts["pooled"], last(clips).clip)
    torch.testing.assert_close(parts["tokens"], last(clips).grid.flatten(1, 3))
    torch.testing.assert_close(parts["pooled"].mean(-1), torch.full((2,), 0.02))
    torch.testing.assert_close(parts["pooled_fused"], fused(clips).clip)
    unit = fused(clips).grid[:, 1, 0:2, 2:4]  # unit 5 of 2 x 2 x 2
    torch.testing.assert_close(parts["fused"][:, 5, 0], unit)


def test_fine_tuned_weights_cannot_be_fused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"features=fused requires .* use a -mae variant"):
        load(f"hiera/large-ft+features:fused={tmp_path}/x.pth")


@pytest.mark.parametrize("container", ["model_state", ""])
def test_official_files(tmp_path: Path, clips: Tensor, container: str) -> None:
    encoder = small("hiera/large-ft", official(tmp_path / "ft.pth", "ft", container=container))
    assert encoder.loaded.startswith("fine-tuned file: all of 84 tensors; left out: head")
    tokens, pooled = network("ft")(clips)
    torch.testing.assert_close(encoder(clips).grid, tokens)
    torch.testing.assert_close(encoder(clips).clip, pooled)
    assert (encoder.card.dim, encoder.card.frames, encoder.card.size) == (64, 4, 64)


def test_a_folder_from_the_hub_says_its_own_numbers(tmp_path: Path, clips: Tensor) -> None:
    net = network("ft")
    config = {**SMALL, "q_pool": 3, "sep_pos_embed": True, "num_classes": 400, "norm_layer": "LayerNorm"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({**net.state_dict(), "head.projection.weight": torch.ones(3)}, tmp_path / "model.safetensors")
    encoder = load(f"hiera/base-ft={tmp_path}", architecture={"note": "small"})
    torch.testing.assert_close(encoder(clips).clip, net(clips)[1])
    assert net.shape.updated(config) == net.shape


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"blocks__1__proj__weight": None}, "missing blocks.1.proj.weight"),
        ({"blocks__9__proj__weight": torch.ones(2)}, "surplus blocks.9.proj.weight"),
        ({"pos_embed_temporal": torch.ones(1, 3, 8)}, r"pos_embed_temporal is \[1, 3, 8\], not \[1, 2, 8\]"),
        ({"container": "optimizer"}, "not a file of hiera/large-mae: it contains only optimizer states"),
        ({"encoder_norm__weight": None}, r"expected 'encoder_norm"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        small("hiera/large-mae", official(tmp_path / "bad.pth", "mae", **changes))
    assert "bad.pth" in str(error.value)


@pytest.mark.parametrize(("has", "wanted"), [("mae", "ft"), ("ft", "mae")])
def test_one_kind_of_file_is_not_taken_for_the_other(tmp_path: Path, has: str, wanted: str) -> None:
    with pytest.raises(ValueError, match=f"not a file of hiera/large-{wanted}: .* load it as a -{has} variant"):
        small(f"hiera/large-{wanted}", official(tmp_path / "other.pth", has))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"patch_stride": [2, 8, 8]}, r"patch_stride .* must be \(2, 4, 4\), not \[2, 8, 8\]"),
        ({"mask_unit_size": [1, 4, 4]}, r"mask_unit_size .* must be \(1, 8, 8\), not \[1, 4, 4\]"),
        ({"q_pool": 2}, "q_pool .* must be 3, not 2"),
        ({"stage": [1, 1]}, "unknown architecture option 'stage'; did you mean 'stages'"),
    ],
)
def test_numbers_that_no_video_hiera_has(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        hiera.MODELS["large-ft"].shape.updated(given)


def test_positions_at_another_grid_follow_the_table() -> None:
    net = network("ft")
    t, h, w = net.shape.grid
    net.pos_embed_temporal.copy_(torch.arange(t).reshape(1, t, 1).expand(1, t, 8).float())
    net.pos_embed_spatial.copy_(torch.arange(h).repeat_interleave(w).reshape(1, h * w, 1).expand(1, h * w, 8).float())
    same = net.positions((t, h, w))
    assert same[1, 3, 5, 0] == 1 + 3
    larger = net.positions((2 * t, 2 * h, w))
    assert larger.shape == (2 * t, 2 * h, w, 8)
    torch.testing.assert_close(larger[:, h, 0, 0].diff(), torch.tensor([0.25, 0.5, 0.25]))  # linear, flat at the ends
    ramp = larger[0, 8:24, 4, 0]
    torch.testing.assert_close(ramp[2:] - ramp[:-2], torch.ones(14))  # two new rows for every old one
    assert net(torch.zeros(1, 3, 8, 128, 64))[0].shape == (1, 4, 4, 2, 64)


@pytest.mark.parametrize("shape", [(1, 3, 3, 64, 64), (1, 3, 4, 48, 64), (1, 3, 4, 64, 80), (1, 3, 0, 64, 64)])
def test_clips_that_units_do_not_fill(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not divide into blocks of 2 x 32 x 32"):
        network("ft")(torch.zeros(shape))
