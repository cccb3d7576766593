"""Encoders in files of their own: what is written is what is read, and what is not whole is refused."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils.flop_counter import FlopCounterMode

from vitascope.core.device import generator
from vitascope.core.types import Card
from vitascope.encoders.load import load
from vitascope.encoders.weights import native, native_card
from vitascope.nn.configs.convnet import ConvNetConfig
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.convnet import ConvNet
from vitascope.nn.video_vit import random_vit
from vitascope.pretrain import export
from vitascope.pretrain.data.motionlab import MotionLab
from vitascope.pretrain.image_teacher import ImageTeacherRecipe, train

SHAPE = VideoViTConfig(dim=32, depth=2, heads=2, mlp=64, patch=8, tubelet=2, grid=(2, 3, 3))
CARD = Card(
    name="lab/mine", digest="", dim=32, frames=4, size=24, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4),
    pretraining_datasets=frozenset({"k400", "ssv2"}), license="mine",
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    network = random_vit(SHAPE, generator(0))
    state = {n: p for n, p in network.state_dict().items() if n not in network.tables()}
    native.write(tmp_path / native.WEIGHTS, state, CARD, SHAPE, {"why": "a test"})
    return tmp_path / native.WEIGHTS


def rewritten(file: Path, **changes: Any) -> None:
    """The same tensors with other words beside them, or other tensors."""
    state = changes.pop("state", load_file(file))
    with safe_open(file, framework="pt") as opened:
        told = json.loads(opened.metadata()[native_card.KEY])
    save_file(state, file, metadata={native_card.KEY: json.dumps({**told, **changes})})


@pytest.mark.parametrize("by", ["file", "folder"])
def test_what_is_written_is_read(file: Path, by: str) -> None:
    encoder: Any = load(str(file if by == "file" else file.parent))
    network = random_vit(SHAPE, generator(0))
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(p.half().float())
        clips = torch.randn(2, 3, 4, 24, 24, generator=generator(1))
        grid, vector = network(clips)
    said = encoder(clips)
    torch.testing.assert_close(said.grid, grid, rtol=0, atol=0)
    torch.testing.assert_close(said.clip, vector, rtol=0, atol=0)
    card = encoder.card
    assert (card.name, card.pretraining_datasets, card.license, card.mean, card.size) == (
        "lab/mine",
        CARD.pretraining_datasets,
        "mine",
        CARD.mean,
        24,
    )
    assert len(card.digest) == 16
    assert native_card.read_metadata(file).origin == {"why": "a test"}


def test_other_weights_are_another_digest(file: Path, tmp_path: Path) -> None:
    network = random_vit(SHAPE, generator(1))
    state = {n: p for n, p in network.state_dict().items() if n not in network.tables()}
    other = native.write(tmp_path / "other.safetensors", state, CARD, SHAPE, {})
    assert other.digest != load(str(file)).card.digest


def test_weights_that_are_not_those_of_the_card_are_refused(file: Path) -> None:
    state = load_file(file)
    state["norm.weight"] = state["norm.weight"] + 1
    rewritten(file, state=state)
    with pytest.raises(ValueError, match="the weights do not match the card"):
        load(str(file))


def test_a_tensor_too_few_or_too_many_is_named(file: Path) -> None:
    state = load_file(file)
    less = {n: t for n, t in state.items() if n != "norm.bias"}
    rewritten(file, state=less)
    with pytest.raises(ValueError, match=r"1 missing or surplus tensors: norm\.bias"):
        load(str(file))
    rewritten(file, state={**state, "norm.extra": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"1 missing or surplus tensors: norm\.extra"):
        load(str(file))


def test_names_of_families_go_before_files_and_folders(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^absent\.safetensors: no such file or folder"):
        load("dfn/h14=absent.safetensors")
    (tmp_path / "vit" / "tiny-random").mkdir(parents=True)
    assert load("vit/tiny-random").card.name == "vit/tiny-random"
    file.rename(tmp_path / "vit" / "tiny-random" / native.WEIGHTS)
    assert load("./vit/tiny-random").card.name == "lab/mine"


def test_what_is_no_such_file_is_said(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        load(str(tmp_path / "absent.safetensors"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no model\.safetensors in it; `vitascope export"):
        load(str(tmp_path / "empty"))
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(ValueError, match="has no Vitascope card"):
        load(str(tmp_path / "bare.safetensors"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match="cut short"):
        load(str(file))


@pytest.mark.parametrize("changes", [{"network": "other"}, {"shape": {"dim": 32, "wings": 2}}, {"card": {"name": "x"}}])
def test_a_card_of_another_version_is_said(file: Path, changes: dict[str, Any]) -> None:
    rewritten(file, **changes)
    with pytest.raises(ValueError, match="its card is not one of this version"):
        load(str(file))


def test_weights_that_half_precision_cannot_hold_are_not_written(tmp_path: Path) -> None:
    network = random_vit(SHAPE, generator(0))
    state = {n: p * 1e9 if n == "norm.weight" else p for n, p in network.state_dict().items()}
    with pytest.raises(ValueError, match="not finite in half precision"):
        native.write(tmp_path / "a.safetensors", state, CARD, SHAPE, {})
    assert not list(tmp_path.iterdir())


def test_folded_batch_norms_say_the_same() -> None:
    network = ConvNet(ConvNetConfig(widths=(8, 12, 16), strides=(2, 1, 2), size=24))
    rng = generator(0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.weight, module.bias, module.running_mean, module.running_var):
                values.data.copy_(torch.rand(values.shape, generator=rng) + 0.5)
    network.eval()
    pictures = torch.randn(3, 3, 24, 24, generator=rng)
    with torch.no_grad():
        before = network(pictures)
        after = network.folded()(pictures)
    for a, b in zip(before, after, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    assert before[0].shape == (3, 6, 6, 16)


def test_a_shape_counts_what_its_network_has() -> None:
    shape = ConvNetConfig(widths=(8, 12), strides=(2, 1), size=20)
    network = ConvNet(shape)
    assert shape.params == sum(p.numel() for p in network.parameters())
    with FlopCounterMode(display=False) as counted:
        network(torch.zeros(1, 3, 20, 20))
    assert shape.macs(1, 20) == counted.get_total_flops() // 2
    assert shape.macs(3, 20) == 3 * shape.macs(1, 20)


def test_a_teacher_of_stills_learns_and_is_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    recipe = ImageTeacherRecipe(
        name="lab/stills",
        shape=ConvNetConfig(widths=(16, 16), strides=(4, 2), size=56),
        data=MotionLab(clips=8, kind="still", quiet=True),
        classes=24,
        batch=8,
        steps=60,
        warmup=5,
        lr=1e-2,
    )
    once, twice = (train(recipe, tmp_path / name, quiet=True) for name in ("a", "b"))
    assert once.read_bytes() == twice.read_bytes()
    encoder = load(str(once))
    assert encoder.card.pretraining_datasets == frozenset({"motionlab"})
    said = encoder(torch.zeros(2, 3, 12, 56, 56))
    assert said.grid.shape == (2, 12, 7, 7, 16)
    assert said.clip.shape == (2, 16)


def test_the_commit_is_told_and_whether_files_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "vitascope" / "__init__.py"
    package.parent.mkdir()
    package.touch()
    monkeypatch.setattr(export, "__file__", str(package))
    assert export.code_version()["commit"] == ""
    words = ("init -q", "add .", "-c user.name=a -c user.email=a@b.c commit -qm first")
    for asked in words:
        subprocess.run(["git", "-C", str(tmp_path), *asked.split()], check=True)
    commit = export.code_version()["commit"]
    assert len(commit) == 40
    package.write_text("changed = True")
    assert export.code_version()["commit"] == f"{commit}, changed since"
