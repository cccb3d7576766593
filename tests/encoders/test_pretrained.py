"""Published models by name: options, presets, strict loading of an official file; published vectors as an encoder."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vitascope.core.device import generator
from vitascope.core.types import digest
from vitascope.datasets.builders import motionlab
from vitascope.encoders import options as settings
from vitascope.encoders.base import NetworkEncoder
from vitascope.encoders.catalog import ENCODERS, cards, models
from vitascope.encoders.convert import convert
from vitascope.encoders.families import umt
from vitascope.encoders.load import load
from vitascope.encoders.networks import empty
from vitascope.evaluation.evaluate import evaluate
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features.encode import encode_clips
from vitascope.motionlab.suite import Size
from vitascope.nn.video_vit import VideoViT, random_vit

SMALL = {"dim": 48, "depth": 2, "heads": 3, "mlp_ratio": 2, "patch": 8, "frames": 4, "img": 16}


def official(path: Path, *, stage: str = "s2") -> Path:
    """A small UMT file as the authors' code saves it, with random weights and separate query and value biases."""
    model = umt.MODELS[f"large-{stage}"]
    network = random_vit(model.shape.updated(SMALL), generator(1))  # type: ignore[arg-type]
    state: dict[str, Any] = {}
    for key, tensor in network.state_dict().items():
        tensor = torch.randn(tensor.shape, generator=generator(len(key))) * 0.2
        name = f"vision_encoder.{key}" if key.startswith("pool_norm") else f"vision_encoder.encoder.{key}"
        if key.endswith("qkv.bias"):
            q, _, v = tensor.chunk(3)
            state |= {name.replace("qkv.bias", "q_bias"): q, name.replace("qkv.bias", "v_bias"): v}
        elif key != "pos_embed":
            state[name] = tensor
    torch.save({"model": {**state, "temp": torch.ones(()), "text_encoder.x": torch.ones(3)}}, path)
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official(tmp_path_factory.mktemp("weights") / "l16_25m.pth")


def small(name: str, file: Path, **changes: Any) -> NetworkEncoder:
    encoder = load(f"{name}={file}", architecture={**SMALL, **changes})
    assert isinstance(encoder, NetworkEncoder)
    return encoder


def test_every_tensor_is_accounted_for(file: Path) -> None:
    encoder = small("umt/large-s2", file)
    state = torch.load(file, weights_only=True)["model"]
    told = "stage 2 file: all of 31 tensors; computed: pos_embed; left out: temp (1), text_encoder (1)"
    assert encoder.loaded == told
    network = encoder.network
    assert isinstance(network, VideoViT)
    q, v = (state[f"vision_encoder.encoder.blocks.1.attn.{part}_bias"] for part in "qv")
    torch.testing.assert_close(network.blocks[1].attn.qkv.bias, torch.cat([q, torch.zeros(48), v]))  # type: ignore[union-attr]
    assert encoder.card.dim == 48
    assert (encoder.card.frames, encoder.card.size) == (4, 16)
    assert not any(p.is_meta or p.requires_grad for p in encoder.parameters())
    assert encoder(torch.zeros(2, 3, 8, 16, 16)).grid.shape == (2, 8, 2, 2, 48)


def test_the_weights_are_in_the_digest(file: Path, tmp_path: Path) -> None:
    content = torch.load(file, weights_only=True)
    content["model"]["vision_encoder.pool_norm.bias"][0] += 1
    torch.save(content, tmp_path / "other.pth")
    assert small("umt/large-s2", file).card.digest == small("umt/large-s2", file).card.digest
    assert small("umt/large-s2", file).card.digest != small("umt/large-s2", tmp_path / "other.pth").card.digest


def damaged(file: Path, where: Path, how: str) -> Path:
    content = torch.load(file, weights_only=True)
    state, key = content["model"], "vision_encoder.encoder.blocks.0.mlp.fc1.weight"
    if how == "missing":
        del state[key]
    elif how == "surplus":
        state["vision_encoder.encoder.blocks.0.mlp.fc9.weight"] = torch.ones(2)
    elif how == "misshapen":
        state[key] = state[key][:, :5]
    elif how == "packed":
        state[key] = (state[key] * 100).to(torch.int8)
    elif how == "transposed":
        state[key] = state[key].T.contiguous()
    else:
        content = {"optimizer": content["model"]}
    torch.save(content, where)
    return where


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "missing blocks.0.mlp.fc1.weight"),
        ("surplus", "surplus blocks.0.mlp.fc9.weight"),
        ("misshapen", r"blocks.0.mlp.fc1.weight is \[96, 5\], not \[96, 48\]"),
        ("transposed", r"blocks.0.mlp.fc1.weight is \[48, 96\], not \[96, 48\]"),
        ("packed", r"blocks.0.mlp.fc1.weight is int8, not floating point \(quantized weights\?\)"),
        ("moved", "optimizer"),
    ],
)
def test_what_does_not_fit_is_named(file: Path, tmp_path: Path, how: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        small("umt/large-s2", damaged(file, tmp_path / "bad.pth", how))
    assert "bad.pth" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named_as_in_the_file(file: Path, tmp_path: Path) -> None:
    content = torch.load(file, weights_only=True)
    del content["model"]["vision_encoder.encoder.blocks.0.attn.q_bias"]
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="not umt") as error:
        small("umt/large-s2", tmp_path / "bad.pth")
    told = "missing blocks.0.attn.qkv.bias (in the file vision_encoder.encoder.blocks.0.attn.q_bias); "
    assert told in str(error.value)
    assert "surplus blocks.0.attn.v_bias (in the file vision_encoder.encoder.blocks.0.attn.v_bias)" in str(error.value)


def test_options_are_in_the_name_and_the_card(file: Path) -> None:
    plain, mean = small("umt/large-s2", file), small("umt/large-s2+pool:mean", file)
    assert mean.card.name == "umt/large-s2+pool:mean"
    assert mean.card.options == "pool:mean"
    assert "not the model's default pooling" in mean.card.pool
    assert mean.card.digest == plain.card.digest
    clips = torch.randn(2, 3, 4, 16, 16, generator=generator(3))
    torch.testing.assert_close(mean(clips).clip, mean(clips).grid.mean((1, 2, 3)))
    torch.testing.assert_close(mean(clips).grid, plain(clips).grid)
    assert not torch.allclose(mean(clips).clip, plain(clips).clip)
    torch.testing.assert_close(mean.parts(clips)["pooled"], mean(clips).clip)


def test_options_and_presets() -> None:
    card = settings.configured("umt/large-s2").card
    assert (card.frames, card.options) == (16, "")
    assert settings.configured("umt/large-s2+paper").card == card
    native = settings.configured("umt/large-s2+native").card
    assert (native.name, native.frames) == ("umt/large-s2+frames:4+view:authors", 4)
    assert native.options == "frames:4+view:authors"
    both = settings.configured("umt/large-s2+size=336+frames=8").card
    assert (both.name, both.size) == ("umt/large-s2+frames:8+size:336", 336)
    assert settings.configured("umt/large-s2+size:336+frames:8").card == both, "as it was written before"
    assert settings.configured("umt/large-s2+native+view=report+size=336").card.name == "umt/large-s2+frames:4+size:336"
    assert settings.configured("umt/large-s2+frames=16").card == card
    assert settings.configured("umt/large-s2+precision=bfloat16").card.precision == "bfloat16"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("umt/larg-s2", "did you mean 'umt/large-s2'"),
        ("umt/large-s2+nativ", "did you mean 'native'"),
        ("umt/large-s2+frame:8", "no option 'frame'; did you mean 'frames'"),
        ("umt/large-s2+frames=x", "frames = 'x' must be a whole number"),
        ("umt/large-s2+size=100", "size = '100' must be a multiple of 16"),
        ("umt/large-s2+pool=max", "pool = 'max' must be one of mean"),
        ("umt/large-s2+precision=int8", "must be one of float32, bfloat16"),
        ("umt/large-s2+frames=8+frames=4", "frames is set twice"),
        ("dinov2/giant+act:gelu", "no option 'act'"),
    ],
)
def test_wrong_options_are_said(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        load(f"{name}=nothing.pth")
    assert "\n" not in str(error.value)


def test_what_shows_in_no_tensor_is_in_the_card_too(file: Path) -> None:
    behaviors = [
        small("umt/large-s2", file, **changes).card.behavior
        for changes in ({}, {"heads": 6}, {"eps": 0.1}, {"act": "quick_gelu"})
    ]
    assert len({digest(behavior) for behavior in behaviors}) == 4
    assert {behavior["digest"] for behavior in behaviors} == {behaviors[0]["digest"]}


def test_options_hold_against_the_numbers_of_a_file(file: Path, tmp_path: Path) -> None:
    card = small("umt/large-s2+frames:2+size:32", file).card
    assert (card.frames, card.size) == (2, 32)
    out = tmp_path / "out"
    convert(file, "umt/large-s2", out, architecture={**SMALL, "act": "gelu"})
    changed = load(f"umt/large-s2+act:quick_gelu+frames:2={out}")
    assert isinstance(changed, NetworkEncoder)
    assert changed.card.frames == 2
    clips = torch.randn(2, 3, 4, 16, 16, generator=generator(3))
    torch.testing.assert_close(changed(clips), small("umt/large-s2", file, act="quick_gelu")(clips))
    assert not torch.equal(changed(clips).clip, small("umt/large-s2", file)(clips).clip)


@pytest.mark.parametrize("name", ["umt/base-s1", "dinov2/base", "hiera/base-ft", "videoprism/base"])
@pytest.mark.parametrize(
    "numbers", [{"dim": "x"}, {"dim": 0}, {"depth": 3.5}, {"patch": 0}, {"grid": [1]}, {"img": [1, 2, 3]}, {"norm": 5}]
)
def test_numbers_that_no_network_has_are_a_line(tmp_path: Path, name: str, numbers: dict[str, Any]) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"x": torch.ones(2)}, path, metadata={"vitascope": json.dumps({"model": name, "architecture": numbers})})
    with pytest.raises(ValueError, match=re.escape(str(path))) as error:
        load(f"{name}={path}")
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("family", [f for f in ENCODERS.families() if models(f)])
@pytest.mark.parametrize(
    "config",
    [
        {"vision_config": True, "model_type": "videoprism"},
        {"vision_config": {"model_type": "videoprism", "hidden_size": "x", "patch_size": None}},
        {"hidden_size": "x", "mlp_ratio": "4", "image_size": 0, "patch_size": 0, "tubelet_size": {}, "stages": 5},
        {"hidden_size": None, "hidden_act": {}, "intermediate_size": [], "crop_size": "9", "embed_dim": "x"},
    ],
)
def test_a_config_that_says_anything_is_a_line(tmp_path: Path, family: str, config: dict[str, Any]) -> None:
    save_file({"x": torch.ones(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = next(model for model in models(family).values() if model.layouts)
    with pytest.raises(ValueError, match=re.escape(str(tmp_path))) as error:
        load(f"{model.card.name}={tmp_path}")
    assert "\n" not in str(error.value)


def test_a_home_folder_may_be_named_by_its_sign(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    assert load(f"umt/large-s2=~/{file.name}", architecture=SMALL).card == small("umt/large-s2", file).card


@pytest.mark.parametrize("name", ["vit/tiny-random", "pixels/thumbnail", "hf:nowhere", "nowhere:build"])
def test_an_architecture_is_not_passed_over(name: str) -> None:
    with pytest.raises(ValueError, match="only published models"):
        load(name, architecture={"depth": 2})


@pytest.mark.parametrize("option", ["frames:8", "precision:bfloat16", "pool:mean"])
def test_published_vectors_have_no_options(option: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="released embeddings take no options"):
        load(f"twlv/base-published+{option}={tmp_path}")


@pytest.mark.parametrize("name", sorted(cards()))
@pytest.mark.parametrize("pool", ["mean", "cls"])
def test_another_summary_is_as_wide_as_the_tokens(name: str, pool: str) -> None:
    family, _, variant = name.partition("/")
    model = models(family)[variant]
    if pool in settings.switches(model)["pool"]:
        last = "head." if family == "efficientnet" else "blocks."  # whose last convolution widens the blocks' channels
        shape = replace(model.shape, depth=1) if hasattr(model.shape, "depth") else model.shape  # all are as wide
        rows = {key: tensor for key, tensor in empty(shape).state_dict().items() if key.startswith(last)}
        width = list(rows.values())[-1].shape[0] if rows else model.shape.out  # the last bias of the last block
        assert settings.configured(f"{name}+pool:{pool}").full_card().dim == width


def test_an_unknown_number_of_the_shape_is_said(file: Path) -> None:
    with pytest.raises(ValueError, match="unknown architecture option 'deepth'; did you mean 'depth'"):
        small("umt/large-s2", file, deepth=3)


@pytest.mark.parametrize("name", sorted(cards()))
def test_every_card_says_what_it_is(name: str) -> None:
    card = cards()[name]
    family, _, variant = name.partition("/")
    model = models(family)[variant]
    assert model.about
    assert card.license
    assert card.pool
    assert card.trained
    assert card.params == model.shape.params
    assert not card.options
    if model.layouts:
        assert card.frames * card.size * card.gflops > 0
        assert card.sampling
        assert model.source.file
        assert model.source.repo or model.source.url or model.source.page
        assert settings.configured(name).card == replace(model.card)


def test_a_card_that_asks_for_bfloat16_gets_it(file: Path) -> None:
    pixels = torch.randint(0, 255, (2, 4, 16, 16, 3), dtype=torch.uint8, generator=generator(5))
    whole = encode_clips(small("umt/large-s2", file), pixels).clip.float()
    half = encode_clips(small("umt/large-s2+precision:bfloat16", file), pixels).clip.float()
    assert not torch.equal(whole, half)
    assert float((whole - half).abs().max() / whole.std()) < 0.2


def test_other_settings_than_the_report_s_are_another_protocol(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motionlab, "SIZES", {"tiny": Size(6, 3)})
    setting = EvaluationConfig(run=tmp_path / "run", store=tmp_path / "store")
    encoders = [small(f"umt/large-s2{option}", file) for option in ("", "+paper", "+pool:mean")]
    found = [evaluate("motionlab/still-tiny", [e], ["knn"], config=setting)[0] for e in encoders]
    plain, paper, mean = found
    assert plain.key == paper.key
    assert plain.protocol != mean.protocol
    assert mean.settings["options"] == "pool:mean"
    assert "options" not in plain.settings
