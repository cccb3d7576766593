"""Encoders by name, the pixel floors against plain loops, frame-wise wrapping, and what wrong names are told."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vitascope.core.device import device
from vitascope.core.types import Card
from vitascope.encoders.base import Encoder, NetworkEncoder, fingerprint, framewise
from vitascope.encoders.catalog import ENCODERS
from vitascope.encoders.load import load
from vitascope.nn.pixel_statistics import QUIET


def clips(encoder: Encoder, n: int = 2, seed: int = 0) -> torch.Tensor:
    card = encoder.card
    return torch.randn(n, 3, card.frames, card.size, card.size, generator=torch.Generator().manual_seed(seed))


def test_thumbnail_is_the_mean_frame_in_cells() -> None:
    encoder = load("pixels/thumbnail")
    x = clips(encoder)
    grid, vector = encoder(x)
    side = encoder.card.size // 16
    for i, j in ((0, 0), (3, 15), (15, 7)):
        cell = x[:, :, :, i * side : (i + 1) * side, j * side : (j + 1) * side].mean((2, 3, 4))
        torch.testing.assert_close(grid[:, 0, i, j], cell)
    assert vector.shape == (2, encoder.card.dim)
    torch.testing.assert_close(encoder(x.flip(2)).clip, vector)


def test_motion_energy_is_the_share_of_change_by_cell_and_time() -> None:
    encoder = load("pixels/motion-energy")
    x = clips(encoder, 1)
    grid, vector = encoder(x)
    gray, side = x[0].mean(0), encoder.card.size // 8
    change = (gray[1:] - gray[:-1]).abs()
    for t, i, j in ((0, 0, 0), (14, 7, 2)):
        cell = change[t, i * side : (i + 1) * side, j * side : (j + 1) * side].mean()
        torch.testing.assert_close(grid[0, t, i, j, 0], cell / (change.mean() + QUIET))
    assert vector.shape == (1, encoder.card.dim)
    assert not torch.allclose(encoder(x.flip(2)).clip, vector)
    torch.testing.assert_close(encoder(x.flip(2)).grid, grid.flip(1))
    torch.testing.assert_close(encoder(x + 3).clip, vector)  # brighter, but nothing else moves
    assert not encoder(x[:, :, :1].repeat(1, 1, 16, 1, 1)).clip.any()
    with pytest.raises(ValueError, match="needs clips of at least two frames"):
        encoder(x[:, :, :1])


def test_random_vits_are_named_by_size_and_seed() -> None:
    tiny, again, other = load("vit/tiny-random"), load("vit/tiny-random-0"), load("vit/tiny-random-7")
    assert tiny.card.digest == again.card.digest != other.card.digest
    assert (other.card.name, tiny.card.dim, tiny.card.frames, tiny.card.size) == ("vit/tiny-random-7", 192, 16, 112)
    small = torch.randn(1, 3, 4, 32, 48, generator=torch.Generator().manual_seed(0))
    grid, vector = tiny(small)
    assert grid.shape == (1, 2, 2, 3, 192)
    torch.testing.assert_close(vector, grid.flatten(1, 3).mean(1))
    assert not vector.requires_grad
    assert torch.equal(again(small).clip, vector)


CARD = Card(name="own/flat", digest="0", dim=3, frames=4, size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Channels(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.amax((2, 3))


class Cells(nn.Module):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return images.permute(0, 2, 3, 1), images.mean((2, 3))


def test_image_models_see_each_frame_and_are_averaged() -> None:
    x = torch.rand(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    grid, vector = framewise(Channels(), CARD)(x)
    torch.testing.assert_close(vector, x.amax((3, 4)).mean(2))
    torch.testing.assert_close(grid, x.amax((3, 4)).transpose(1, 2)[:, :, None, None])
    grid, vector = framewise(Cells(), CARD)(x)
    torch.testing.assert_close(grid, x.permute(0, 2, 3, 4, 1))
    torch.testing.assert_close(vector, x.mean((2, 3, 4)))


def test_a_plain_function_may_be_the_image_model() -> None:
    encoder = framewise(lambda images: images.mean((2, 3)), CARD)
    assert load(encoder) is encoder
    assert encoder(torch.ones(1, 3, 4, 8, 8)).clip.tolist() == [[1.0, 1.0, 1.0]]


def test_fingerprints_tell_names_shapes_and_bits_apart() -> None:
    a = {"w": torch.zeros(2, 3), "b": torch.zeros(2, dtype=torch.bfloat16)}
    assert fingerprint(a) == fingerprint(dict(reversed(a.items())))
    others = [
        {**a, "w": torch.zeros(3, 2)},
        {**a, "w": torch.zeros(2, 3).half()},
        {"v": a["w"], "b": a["b"]},
        {**a, "w": torch.zeros(2, 3).index_fill(0, torch.tensor([0]), 1e-30)},
    ]
    assert len({fingerprint(weights) for weights in (a, *others)}) == 5
    assert fingerprint({"w": torch.tensor(1.0)}) != fingerprint({"w": torch.tensor(2.0)})


def test_variants_are_read_from_the_files() -> None:
    assert set(ENCODERS.variants("pixels")) == {"thumbnail", "motion-energy"}
    assert "tiny-random" in ENCODERS.variants("vit")


OWN = """
from vitascope.encoders.base import framewise
from vitascope.core.types import Card
size = 8
def build():
    card = Card(name="own/mean", digest="1", dim=3, frames=2, size=size, mean=(0.0,) * 3, std=(1.0,) * 3)
    return framewise(lambda images: images.mean((2, 3)), card)
def number():
    return 3
def sized(size):
    return build()
"""


def test_an_encoder_from_outside_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ownlab_models.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    encoder = load("ownlab_models:build")
    np.testing.assert_allclose(encoder(torch.ones(1, 3, 2, 8, 8)).clip, np.ones((1, 3)))
    for name, message in {
        "ownlab_models:biuld": "no function 'biuld' in ownlab_models; did you mean 'build'",
        "ownlab_models:size": "no function 'size'",
        "ownlab_models:number": "returned int, which is not an encoder",
        "ownlab_models:sized": "must take no required arguments: missing a required argument: 'size'",
        "ownlab_modles:build": "No module named 'ownlab_modles'; run where ownlab_modles.py is",
    }.items():
        with pytest.raises(ValueError, match=message):
            load(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vt/tiny-random", "no encoder 'vt/tiny-random'; did you mean 'vit/tiny-random'"),
        ("vit/tiny-randon", "did you mean 'vit/tiny-random'.*`vitascope ls encoders`"),
        ("vit/huge-random", "no encoder 'vit/huge-random'"),
        ("pixels/thumbnial", "did you mean 'pixels/thumbnail'"),
        ("vit", "no encoder 'vit'"),
        ("", "no encoder ''"),
        ("vit/tiny-random=weights.pt", "vit encoders take no weights"),
        ("../vit/tiny", "no encoder"),
    ],
)
def test_wrong_names_get_one_line_with_the_remedy(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load(name)
    assert "\n" not in str(caught.value)


def said(code: str) -> str:
    """The last line that a Python of its own says: here arguments are checked before they get anywhere."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1]


def test_a_card_knows_its_words() -> None:
    card = "from vitascope.core.types import Card; Card(name='a/b', digest='', dim=1, frames=1, size=8, mean=(0,) * 3"
    told = said(f"{card}, std=(1,) * 3, resize='long')")
    assert told == "vitascope.core.errors.UserError: a/b: card.resize is one of shorter, square, not 'long'"


def test_a_layout_of_one_pattern_needs_its_comma() -> None:
    layout = "from vitascope.encoders.spec import CheckpointLayout; CheckpointLayout(name='x', mark='y', "
    told = said(f"{layout}surplus='mask_token$')")
    assert told == "vitascope.core.errors.UserError: layout 'x': surplus is a string, expected a tuple: (x,)"


def test_what_is_no_encoder_is_told_how_to_become_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["import torch", "def net(): return torch.nn.Linear(2, 2)", "def nothing(): torch.ones(2)"]
    (tmp_path / "nearly_models.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"returned Linear, .*; wrap it: vitascope.framewise\(model, card\)"):
        load("nearly_models:net")
    with pytest.raises(ValueError, match=r"returned NoneType, .*; does the function end with `return`"):
        load("nearly_models:nothing")


def test_a_network_that_returns_one_tensor_is_told_what_is_wanted() -> None:
    encoder = NetworkEncoder(load("pixels/thumbnail").card, torch.nn.Identity())
    with pytest.raises(ValueError, match=r"returned Tensor, expected a pair \(token grid, clip vectors\)"):
        encoder(torch.zeros(1, 3, 16, 64, 64))


def test_options_without_a_variant_are_no_module() -> None:
    with pytest.raises(ValueError, match="no encoder 'umt"):
        load("umt+frames:8")


def test_float32_is_float32_on_every_device() -> None:
    device("cpu")
    assert not torch.backends.cudnn.allow_tf32
