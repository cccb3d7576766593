"""Official weights rewritten under our names load as before, say where they came from, and are whole or not there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vitascope.core.device import generator
from vitascope.core.types import plain
from vitascope.encoders import convert as module
from vitascope.encoders.base import NetworkEncoder
from vitascope.encoders.convert import convert
from vitascope.encoders.families import umt
from vitascope.encoders.load import load
from vitascope.nn.video_vit import random_vit

SMALL = {"dim": 48, "depth": 2, "heads": 3, "mlp_ratio": 2, "patch": 8, "frames": 4, "img": 16}
NAME = "umt/large-s2"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A small UMT file as the authors' code saves it: separate biases, half precision, one tensor a view."""
    network = random_vit(umt.MODELS["large-s2"].shape.updated(SMALL), generator(1))  # type: ignore[arg-type]
    state: dict[str, Any] = {}
    for key, tensor in network.state_dict().items():
        tensor = torch.randn(tensor.shape, generator=generator(len(key))).half()
        name = f"vision_encoder.{key}" if key.startswith("pool_norm") else f"vision_encoder.encoder.{key}"
        if key.endswith("qkv.bias"):
            q, _, v = tensor.chunk(3)
            state |= {name.replace("qkv.bias", "q_bias"): q, name.replace("qkv.bias", "v_bias"): v}
        elif key != "pos_embed":
            state[name] = tensor
    both = torch.randn(2, 48)
    state["vision_encoder.pool_norm.weight"], state["vision_encoder.pool_norm.bias"] = both
    path = tmp_path / "l16_25m.pth"
    torch.save({"model": {**state, "temp": torch.ones(())}, "epoch": 3}, path)
    return path


def small(name: str, path: Path, **changes: Any) -> NetworkEncoder:
    encoder = load(f"{name}={path}", architecture=changes)
    assert isinstance(encoder, NetworkEncoder)
    return encoder


def test_converted_weights_load_as_the_official_ones(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "umt"
    said = convert(file, NAME, out, architecture=SMALL)
    assert said.startswith(f"{out}: umt/large-s2, stage 2 file: all of 31 tensors; computed: pos_embed; left out: temp")
    assert sorted(p.name for p in out.iterdir()) == ["card.json", "model.safetensors"]
    official = small(NAME, file, **SMALL)
    clips = torch.randn(2, 3, 4, 16, 16, generator=generator(2))
    for path in (out, out / "model.safetensors"):
        again = small(NAME, path)
        assert again.card == official.card
        assert again.loaded == "vitascope file: all of 31 tensors"
        for a, b in zip(again(clips), official(clips), strict=True):
            assert torch.equal(a, b)
    mean = small(f"{NAME}+pool:mean", out)
    assert mean.card == small(f"{NAME}+pool:mean", file, **SMALL).card


def test_the_card_says_where_the_weights_came_from(file: Path, tmp_path: Path) -> None:
    convert(file, NAME, tmp_path / "out", architecture=SMALL)
    told = json.loads((tmp_path / "out" / "card.json").read_text(encoding="utf-8"))
    card = small(NAME, file, **SMALL).card
    assert told["card"] == plain(card)
    assert told["architecture"] == SMALL
    assert (told["layout"], told["container"]) == ("stage 2", "model")
    assert told["coverage"].startswith("stage 2 file: all of 31 tensors")
    assert told["source"] == {"l16_25m.pth": hashlib.sha256(file.read_bytes()).hexdigest()}
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as weights:
        said = weights.metadata()
        kinds = {weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118
    assert said == {"vitascope": json.dumps({"model": NAME, "architecture": SMALL})}
    assert kinds == {"F32"}


def test_what_is_there_is_not_overwritten(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    convert(file, NAME, out, architecture=SMALL)  # an empty folder is as good as none
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.iterdir()}
    assert "already converted" in convert(file, NAME, out, architecture=SMALL)
    content = torch.load(file, weights_only=True)
    content["model"]["vision_encoder.pool_norm.bias"] += 1
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="contains other files; name another folder"):
        convert(tmp_path / "other.pth", NAME, out, architecture=SMALL)
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.iterdir()} == before
    weights = out / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="contains other files"):
        convert(file, NAME, out, architecture=SMALL)
    with pytest.raises(ValueError, match="contains other files"):
        convert(file, NAME, file, architecture=SMALL)
    assert file.stat().st_size > 0


def test_nothing_half_written_remains(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(tmp_path.iterdir())

    def full(state: Any, path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", full)
    with pytest.raises(ValueError, match=r"cannot be written \(No space left on device\)"):
        convert(file, NAME, tmp_path / "out", architecture=SMALL)

    def refused(state: Any, path: Path, **_: Any) -> None:
        save_file(state, path / "no such folder" / "w")  # the library's own error

    monkeypatch.setattr(module, "save_file", refused)
    with pytest.raises(ValueError, match=r"out: cannot be written \(.*I/O error"):
        convert(file, NAME, tmp_path / "out", architecture=SMALL)

    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_file", stopped)
    with pytest.raises(KeyboardInterrupt):
        convert(file, NAME, tmp_path / "out", architecture=SMALL)
    assert sorted(tmp_path.iterdir()) == before


def test_only_what_fits_is_converted(file: Path, tmp_path: Path) -> None:
    content = torch.load(file, weights_only=True)
    del content["model"]["vision_encoder.pool_norm.bias"]
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"missing pool_norm\.bias"):
        convert(tmp_path / "bad.pth", NAME, tmp_path / "out", architecture=SMALL)
    with pytest.raises(ValueError, match="did you mean 'umt/large-s2'"):
        convert(file, "umt/larg-s2", tmp_path / "out")
    with pytest.raises(ValueError, match="no encoder 'nosuch/x'"):
        convert(file, "nosuch/x", tmp_path / "out")
    with pytest.raises(ValueError, match="vit/base-random has no weight file"):
        convert(file, "vit/base-random", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_converted_weights_are_of_one_model(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert(file, NAME, out, architecture=SMALL)
    with pytest.raises(ValueError, match=r"converted from umt/large-s2, not umt/base-s2; use umt/large-s2=") as error:
        load(f"umt/base-s2={out}")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"missing blocks\.2\.norm1\.weight"):
        small(NAME, out, depth=3)


def test_converting_twice_changes_nothing(file: Path, tmp_path: Path) -> None:
    convert(file, NAME, tmp_path / "one", architecture=SMALL)
    convert(tmp_path / "one", NAME, tmp_path / "two")
    one, two = (tmp_path / name / "model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert small(NAME, two).card == small(NAME, one).card
