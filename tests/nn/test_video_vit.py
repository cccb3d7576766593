"""The video transformer and its parts against their definitions."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vitascope.core.device import generator
from vitascope.nn.attention import Attention, GatedMlp, RMSNorm, Rope
from vitascope.nn.configs.video_vit import Grid, VideoViTConfig
from vitascope.nn.positions import linear_bicubic, rope3d, sincos3d_d4, sinusoid_flat, table, trilinear
from vitascope.nn.video_vit import PatchEmbed, random_vit

SMALL = VideoViTConfig(dim=48, depth=2, heads=3, mlp=96, patch=8, tubelet=2)


def test_sincos3d_is_its_definition() -> None:
    t, h, w, dim = 2, 3, 4, 32
    made = sincos3d_d4((t, h, w), dim)

    def block(place: int, size: int) -> list[float]:
        angles = [place * 10000 ** (-k / (size / 2)) for k in range(size // 2)]
        return [math.sin(a) for a in angles] + [math.cos(a) for a in angles]

    rows = [block(i, 8) + block(k, 12) + block(j, 12) for i in range(t) for j in range(h) for k in range(w)]
    np.testing.assert_allclose(made.numpy(), np.array(rows), atol=1e-12)
    with pytest.raises(ValueError, match="a multiple of 16, not 40"):
        sincos3d_d4((1, 1, 1), 40)


def test_sinusoid_flat_is_its_definition() -> None:
    dim, made = 6, sinusoid_flat((2, 1, 3), 6)
    for n in range(6):
        for j in range(dim):
            angle = n / 10000 ** (2 * (j // 2) / dim)
            assert float(made[n, j]) == pytest.approx(math.cos(angle) if j % 2 else math.sin(angle), abs=1e-12)


@pytest.mark.parametrize("kind", ["sincos3d_d4", "sinusoid_flat"])
def test_tables_are_float32_of_float64(kind: str) -> None:
    exact = {"sincos3d_d4": sincos3d_d4, "sinusoid_flat": sinusoid_flat}[kind]((2, 2, 3), 16)
    assert exact.dtype == torch.float64
    assert torch.equal(table(kind, (2, 2, 3), 16), exact.float())


def resampled(lines: np.ndarray, n: int, taps: int) -> np.ndarray:
    """The first axis at `n` places: centers of equal cells, linear (2 taps) or cubic with a = -3/4 (4), edges held."""
    old = len(lines)
    out = np.zeros((n, *lines.shape[1:]))
    for i in range(n):
        place = (i + 0.5) * old / n - 0.5
        place = max(place, 0.0) if taps == 2 else place
        first = math.floor(place) - (taps // 2 - 1)
        for j in range(first, first + taps):
            d = abs(place - j)
            cubic = 1.25 * d**3 - 2.25 * d**2 + 1 if d <= 1 else -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            out[i] += lines[min(max(j, 0), old - 1)] * ((1 - d) if taps == 2 else cubic)
    return out


@pytest.mark.parametrize(("old", "new"), [((8, 2, 3), (16, 2, 3)), ((4, 3, 3), (6, 5, 2)), ((3, 4, 4), (1, 11, 15))])
def test_tables_go_to_another_grid_by_their_definition(old: Grid, new: Grid) -> None:
    rows = torch.randn(1, math.prod(old), 5, dtype=torch.float64)
    volume = rows.view(*old, 5).numpy()
    for taps, ours in ((4, linear_bicubic), (2, trilinear)):
        expected = resampled(volume, new[0], 2)
        expected = resampled(expected.swapaxes(0, 1), new[1], taps).swapaxes(0, 1)
        expected = resampled(expected.swapaxes(0, 2), new[2], taps).swapaxes(0, 2)
        np.testing.assert_allclose(ours(rows, old, new).view(*new, 5).numpy(), expected, atol=1e-12)


def test_sizes_whose_quotient_rounds_down_are_met() -> None:
    assert trilinear(torch.zeros(1, 11 * 11, 2), (1, 11, 11), (1, 15, 15)).shape == (1, 225, 2)


@pytest.mark.parametrize(
    ("width", "tiled", "scaled_to"), [(64, True, 0), (64, False, 16), (80, True, 0), (24, False, 4)]
)
def test_rotary_angles_are_their_definition(width: int, tiled: bool, scaled_to: int) -> None:
    """Shares of a head for time, row, column; frequencies tiled or in pairs; channels that are left over stay."""
    grid = (2, 3, 5)
    rope = rope3d(grid, width, tiled=tiled, scaled_to=scaled_to)
    x = torch.randn(1, 1, 30, width, dtype=torch.float64)
    turned = rope.rotate(x)[0, 0]
    share = {64: 20, 80: 26, 24: 8}[width]
    for token in range(30):
        places = [token // 15, token // 5 % 3, token % 5]
        places = [
            p * (scaled_to - 1) / (n - 1) if scaled_to and a else p
            for a, (p, n) in enumerate(zip(places, grid, strict=True))
        ]
        for channel in range(0, 3 * share, 2):
            axis, inner = divmod(channel, share)
            for side in (0, 1):
                k = (inner + side) % (share // 2) if tiled else inner // 2
                angle = places[axis] * 10000 ** (-k / (share / 2))
                even, odd = float(x[0, 0, token, channel]), float(x[0, 0, token, channel + 1])
                across = even if side else -odd
                expected = (odd if side else even) * math.cos(angle) + across * math.sin(angle)
                assert float(turned[token, channel + side]) == pytest.approx(expected, abs=1e-6)
    assert torch.equal(turned[:, 3 * share :], x[0, 0, :, 3 * share :])


def test_halves_turn_together_where_pairs_do_not() -> None:
    angle = torch.tensor([[0.3, 0.7, 0.3, 0.7]])
    x = torch.randn(1, 1, 1, 4)
    a, b, c, d = x.flatten().tolist()
    expected = [a * math.cos(0.3) - c * math.sin(0.3), b * math.cos(0.7) - d * math.sin(0.7)]
    expected += [c * math.cos(0.3) + a * math.sin(0.3), d * math.cos(0.7) + b * math.sin(0.7)]
    turned = Rope(angle.cos(), angle.sin(), pairs=False).rotate(x)
    np.testing.assert_allclose(turned.flatten().numpy(), expected, atol=1e-6)


def test_rms_norm_counts_in_float32() -> None:
    norm, x = RMSNorm(8, 1e-6), torch.randn(3, 8)
    norm.weight.data.uniform_()
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected)
    assert (norm.bfloat16()(x.bfloat16()).float() - expected).abs().max() < 0.05


def test_gated_mlp_is_its_definition() -> None:
    mlp, x = GatedMlp(6, 10), torch.randn(2, 6)
    gate, value = F.linear(x, mlp.w12.weight, mlp.w12.bias).split(10, dim=-1)
    torch.testing.assert_close(mlp(x), F.linear(gate * torch.sigmoid(gate) * value, mlp.w3.weight, mlp.w3.bias))


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
    embed, clips = PatchEmbed(48, 2, 8).double(), torch.randn(1, 3, 4, 16, 24, dtype=torch.float64)
    made = embed(clips)
    for t in range(2):
        for h in range(2):
            for w in range(3):
                block = clips[0, :, 2 * t : 2 * t + 2, 8 * h : 8 * h + 8, 8 * w : 8 * w + 8]
                expected = (embed.proj.weight * block).sum((1, 2, 3, 4)) + embed.proj.bias
                torch.testing.assert_close(made[0, 6 * t + 3 * h + w], expected)


@pytest.mark.parametrize("positions", ["sincos3d_d4", "sinusoid_flat"])
def test_other_sizes_get_their_own_grid(positions: str) -> None:
    arch = VideoViTConfig(dim=48, depth=1, heads=3, mlp=96, patch=8, tubelet=2, positions=positions)
    model = random_vit(arch, generator(0))
    grid, summary = model(torch.zeros(2, 3, 4, 16, 16))
    assert (grid.shape, summary.shape) == ((2, 2, 2, 2, 48), (2, 48))
    assert model(torch.zeros(1, 3, 6, 24, 8))[0].shape == (1, 3, 3, 1, 48)


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
    weight = random_vit(VideoViTConfig(dim=192, depth=1, heads=3, mlp=768), generator(0)).blocks[0].mlp.fc1.weight
    assert float(weight.abs().max()) <= 0.04
    assert float(weight.std()) == pytest.approx(0.02 * 0.8796, rel=0.01)  # a normal cut at two standard deviations
    for name, value in first.items():
        if value.ndim == 1:
            assert torch.equal(value, torch.full_like(value, float("norm" in name and "weight" in name)))


@pytest.mark.parametrize(
    ("pool", "words"),
    [
        ("mean", "the final norm, then the mean"),
        ("mean_then_norm", "the mean, then the final norm"),
        ("mean_then_poolnorm", "the final norm, the mean, another norm"),
    ],
)
def test_summaries_are_what_they_are_called(pool: str, words: str) -> None:
    model = random_vit(VideoViTConfig(dim=48, depth=1, heads=3, mlp=96, patch=8, pool=pool), generator(0))  # type: ignore[arg-type]
    model.norm.weight.data.uniform_(generator=generator(1))
    if pool == "mean_then_poolnorm":
        model.pool_norm.weight.data.uniform_(generator=generator(2))
    clips = torch.randn(2, 3, 4, 16, 16, generator=generator(3))
    x = model.parts(clips)["tokens_prenorm"]
    order = [model.norm if "final" in w else model.pool_norm if "another" in w else None for w in words.split(",")]
    for step in order:
        x = x.mean(1) if step is None else step(x)
    torch.testing.assert_close(model(clips)[1], x)


@pytest.mark.parametrize("image", ["repeat", "first", "mean", "stored", "embed"])
def test_a_picture_is_a_clip_of_one_frame(image: str) -> None:
    shape = VideoViTConfig(dim=48, depth=1, heads=3, mlp=96, patch=8, grid=(2, 2, 2), positions="stored", image=image)  # type: ignore[arg-type]
    model = random_vit(shape, generator(0))
    picture = torch.randn(1, 3, 1, 16, 16, generator=generator(1))
    grid = model(picture)[0]
    assert grid.shape == (1, 1, 2, 2, 48)
    model.pos_embed.data[:, 4:] += 1  # the second time step of the table
    assert torch.equal(model(picture)[0], grid) == (image in ("first", "stored"))
    if image == "repeat":
        assert torch.equal(model(picture)[0], model(picture.repeat(1, 1, 2, 1, 1))[0])
    if image == "mean":  # now it is what it was, of other rows
        model.pos_embed.data[:, :4] += 1
        model.pos_embed.data[:, 4:] -= 2
        torch.testing.assert_close(model(picture)[0], grid)
    own = {"stored": "img_pos_embed", "embed": "img_mod_embed"}.get(image)
    if own:
        before, clip = model(picture)[0], model(picture.repeat(1, 1, 4, 1, 1))[0]
        model.get_parameter(own).data.normal_(generator=generator(2))
        assert not torch.equal(model(picture)[0], before)
        assert torch.equal(model(picture.repeat(1, 1, 4, 1, 1))[0], clip)
