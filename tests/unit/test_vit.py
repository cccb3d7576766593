"""The video transformer against its definition, and against what official code gave for small published layouts."""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vitascope.nn.attention import Attention
from vitascope.nn.positions import sincos3d_d4, sinusoid_flat, table
from vitascope.nn.vit import Architecture, PatchEmbed, VideoViT, random_vit
from vitascope.runtime import generator

PARITY = Path(__file__).resolve().parents[2].parent / "shared" / "parity" / "encoders"
SMALL = Architecture(dim=48, depth=2, heads=3, mlp=96, patch=8, tubelet=2)


def test_sincos3d_is_its_definition() -> None:
    t, h, w, dim = 2, 3, 4, 32
    made = sincos3d_d4((t, h, w), dim)

    def block(place: int, size: int) -> list[float]:
        angles = [place * 10000 ** (-k / (size / 2)) for k in range(size // 2)]
        return [math.sin(a) for a in angles] + [math.cos(a) for a in angles]

    rows = [block(i, 8) + block(k, 12) + block(j, 12) for i in range(t) for j in range(h) for k in range(w)]
    np.testing.assert_allclose(made.numpy(), np.array(rows), atol=1e-12)
    with pytest.raises(ValueError, match="40 is not a multiple"):
        sincos3d_d4((1, 1, 1), 40)


def test_sinusoid_flat_is_its_definition() -> None:
    dim, made = 6, sinusoid_flat((2, 1, 3), 6)
    for n in range(6):
        for j in range(dim):
            angle = n / 10000 ** (2 * (j // 2) / dim)
            assert float(made[n, j]) == pytest.approx(math.cos(angle) if j % 2 else math.sin(angle), abs=1e-12)


def test_tables_are_float32_and_computed_once() -> None:
    first = table("sincos3d_d4", (2, 2, 2), 16, torch.device("cpu"))
    assert first.dtype == torch.float32
    assert table("sincos3d_d4", (2, 2, 2), 16, torch.device("cpu")) is first


def test_attention_is_the_explicit_softmax() -> None:
    torch.manual_seed(0)
    layer, x = Attention(12, 3).double(), torch.randn(2, 5, 12, dtype=torch.float64)
    q, k, v = layer.qkv(x).chunk(3, dim=-1)
    heads = []
    for i in range(3):
        part = slice(4 * i, 4 * i + 4)
        weights = (q[..., part] @ k[..., part].transpose(1, 2) / 2).softmax(-1)
        heads.append(weights @ v[..., part])
    torch.testing.assert_close(layer(x), layer.proj(torch.cat(heads, -1)))


def test_patches_are_a_linear_map_of_blocks_in_time_row_column_order() -> None:
    torch.manual_seed(0)
    embed, clips = PatchEmbed(SMALL).double(), torch.randn(1, 3, 4, 16, 24, dtype=torch.float64)
    made = embed(clips)
    for t in range(2):
        for h in range(2):
            for w in range(3):
                block = clips[0, :, 2 * t : 2 * t + 2, 8 * h : 8 * h + 8, 8 * w : 8 * w + 8]
                expected = (embed.proj.weight * block).sum((1, 2, 3, 4)) + embed.proj.bias
                torch.testing.assert_close(made[0, :, t, h, w], expected)


@pytest.mark.parametrize("positions", ["sincos3d_d4", "sinusoid_flat"])
def test_other_sizes_get_their_own_grid(positions: str) -> None:
    arch = Architecture(dim=48, depth=1, heads=3, mlp=96, patch=8, tubelet=2, positions=positions)
    model = random_vit(arch, generator(0))
    assert model(torch.zeros(2, 3, 4, 16, 16)).shape == (2, 2, 2, 2, 48)
    assert model(torch.zeros(1, 3, 6, 24, 8)).shape == (1, 3, 3, 1, 48)


@pytest.mark.parametrize("shape", [(1, 3, 3, 16, 16), (1, 3, 4, 17, 16), (1, 3, 0, 16, 16)])
def test_clips_that_do_not_divide_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="do not divide into 2 x 8 x 8 blocks"):
        random_vit(SMALL, generator(0))(torch.zeros(shape))


def test_random_weights_are_the_seed_s_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (random_vit(SMALL, generator(seed)).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["blocks.0.attn.qkv.weight"], other["blocks.0.attn.qkv.weight"])
    weight = random_vit(Architecture(dim=192, depth=1, heads=3, mlp=768), generator(0)).blocks[0].mlp.fc1.weight
    assert float(weight.abs().max()) <= 0.04
    assert float(weight.std()) == pytest.approx(0.02 * 0.8796, rel=0.01)  # a normal cut at two standard deviations
    for name, value in first.items():
        if value.ndim == 1:
            assert torch.equal(value, torch.full_like(value, float("norm" in name and "weight" in name)))


def test_published_sizes_have_their_published_parameter_counts() -> None:
    """ENCODERS 2.2: 86.2 M and 303.9 M for VideoMAE B and L."""
    for dim, depth, heads, millions in ((768, 12, 12, 86.2), (1024, 24, 16, 303.9)):
        with torch.device("meta"):
            model = VideoViT(Architecture(dim=dim, depth=depth, heads=heads, mlp=4 * dim))
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def _official(case: str) -> tuple[dict[str, Tensor], dict[str, np.ndarray], Architecture]:
    if not PARITY.is_dir():
        pytest.skip("shared/parity is not beside this checkout")
    found = next(entry for entry in json.loads((PARITY / "index.json").read_text()) if entry["name"] == case)
    small = found["architecture"]
    arch = Architecture(
        dim=small["dim"],
        depth=small["depth"],
        heads=small["heads"],
        mlp=4 * small["dim"],
        patch=small["patch"],
        tubelet=small["tubelet"],
        positions="sincos3d_d4" if small["model"] == "mvd" else "sinusoid_flat",
    )
    with torch.serialization.safe_globals([argparse.Namespace]):
        weights = torch.load(PARITY / found["checkpoint"], weights_only=True, map_location="cpu")
    return weights.get("model", weights), dict(np.load(PARITY / found["io"])), arch


def _fused(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Separate query and value biases as one with zeros for the keys."""
    fused = {k: v for k, v in weights.items() if not k.endswith(("q_bias", "v_bias"))}
    for key, q in weights.items():
        if key.endswith("q_bias"):
            v = weights[key.replace("q_bias", "v_bias")]
            fused[key.replace("q_bias", "qkv.bias")] = torch.cat([q, torch.zeros_like(q), v])
    return fused


@pytest.mark.parametrize(
    ("case", "prefix"),
    [("mvd-pt_l", ""), ("umt-s1_l", "encoder."), ("videomae-pt_l", "encoder."), ("omnimae-pt_l", "trunk.")],
)
def test_tokens_equal_the_official_code_s(case: str, prefix: str) -> None:
    weights, io, arch = _official(case)
    weights = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
    weights = {k.replace("patch_embed.proj.1.", "patch_embed.proj."): v for k, v in _fused(weights).items()}
    model = VideoViT(arch).eval()
    model.load_state_dict({k: weights[k] for k in model.state_dict()}, strict=True)
    with torch.no_grad():
        grid = model(torch.tensor(io["video"]))
    expected = io["tokens"]
    assert np.abs(grid.flatten(1, 3).numpy() - expected).max() / expected.std() <= 2e-5
    if case == "mvd-pt_l":
        np.testing.assert_allclose(
            table("sincos3d_d4", tuple(io["grid"].tolist()), arch.dim, torch.device("cpu"))[None],
            io["pos_embed"],
            atol=1e-6,
        )
