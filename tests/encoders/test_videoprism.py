"""VideoPrism: the published Flax names, the transformers library's own model as reference, official files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from vitascope.core.device import generator
from vitascope.encoders.base import NetworkEncoder
from vitascope.encoders.families import videoprism
from vitascope.encoders.load import load
from vitascope.encoders.networks import empty
from vitascope.nn.attention import Attention
from vitascope.nn.videoprism import CappedAttention

SMALL = {
    "model_dim": 24,
    "num_spatial_layers": 3,
    "num_temporal_layers": 2,
    "num_heads": 3,
    "mlp_dim": 40,
    "patch_size": 6,
    "pos_emb_shape": [4, 3, 3],
}
PUBLISHED = {"base": 114.4, "large": 354.0, "giant": 1112.8}
"""Millions of parameters."""
CLIPS = [(4, 18), (7, 18), (3, 18), (4, 30), (6, 12)]
"""Frames and side: the tables' own, and both axes longer and shorter."""


def flax(*, scan: bool = True, start: str = "params/") -> dict[str, np.ndarray]:
    """Parameters as the published code names and shapes them, random, layers stacked or not."""
    d, heads, mlp, side = 24, 3, 40, 6
    layer = {
        **{f"layer_norm/{kind}": (d,) for kind in ("scale", "bias")},
        **{f"ff_layer/layer_norm/{kind}": (d,) for kind in ("scale", "bias")},
        **{f"self_attention/{part}/w": (d, heads, d // heads) for part in ("query", "key", "value", "post")},
        **{f"self_attention/{part}/b": (heads, d // heads) for part in ("query", "key", "value")},
        "self_attention/post/b": (d,),
        "ff_layer/ffn_layer1/linear/kernel": (d, mlp),
        "ff_layer/ffn_layer1/linear/bias": (mlp,),
        "ff_layer/ffn_layer2/linear/kernel": (mlp, d),
        "ff_layer/ffn_layer2/linear/bias": (d,),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "patch_projection/linear/kernel": (side * side * 3, d),
        "patch_projection/linear/bias": (d,),
        "spatial_pos_emb/emb_var": (9, d),
        "temporal_pos_emb/emb_var": (4, d),
    }
    for stack, depth in (("spatial", 3), ("temporal", 2)):
        shapes |= {f"{stack}_ln/{kind}": (d,) for kind in ("scale", "bias")}
        layers = f"{stack}_encoder/transformers_stack/x_layers"
        shapes |= {f"{layers}/{name}": (depth, *shape) for name, shape in layer.items()}
    rng = np.random.default_rng(0)
    state = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    if not scan:
        state = {new: one for name, array in state.items() for new, one in unstacked(name, array)}
    return {f"{start}{name}": array for name, array in state.items()}


def unstacked(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """One entry a layer."""
    if "x_layers/" not in name:
        return [(name, array)]
    return [(name.replace("x_layers/", f"x_layers_{i}/"), one) for i, one in enumerate(array)]


def saved(path: Path, state: dict[str, np.ndarray]) -> Path:
    np.savez(path, **state)  # type: ignore[arg-type]
    return path


def small(name: str, file: Path) -> NetworkEncoder:
    encoder = load(f"{name}={file}", architecture=SMALL)
    assert isinstance(encoder, NetworkEncoder)
    return encoder


def drawn(frames: int, side: int) -> Tensor:
    return torch.rand(2, 3, frames, side, side, generator=generator(frames))


@pytest.mark.parametrize("name", videoprism.MODELS)
def test_size_and_cost_are_those_of_the_network(name: str) -> None:
    shape = videoprism.MODELS[name].shape
    net = empty(shape)
    assert shape.params == sum(p.numel() for p in net.parameters())
    assert round(shape.params / 1e6, 1) == PUBLISHED[name.removeprefix("lvt-")]
    for frames, size in (shape.input, (16, 288)) if name == "base" else (shape.input,):
        with FlopCounterMode(display=False) as counted:
            net(torch.empty(1, 3, frames, size, size, device="meta"))
        assert counted.get_total_flops() == 2 * shape.macs(frames, size)


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize("start", ["params/", ""])
def test_published_files(tmp_path: Path, scan: bool, start: str) -> None:
    first = small("videoprism/base", saved(tmp_path / "first.npz", flax()))
    again = small("videoprism/base", saved(tmp_path / "again.npz", flax(scan=scan, start=start)))
    assert again.card.digest == first.card.digest
    assert again.loaded == "flax file: all of 68 tensors"
    assert (first.card.dim, first.card.frames, first.card.size) == (24, 4, 18)
    clips = drawn(4, 18)
    tokens, parts = again(clips), again.parts(clips)
    assert tokens.grid.shape == (2, 4, 3, 3, 24)
    torch.testing.assert_close(tokens.clip, parts["tokens"].mean(1))
    torch.testing.assert_close(tokens.grid.flatten(1, 3), parts["tokens"])
    assert parts["grid"].tolist() == [4, 3, 3]


def test_video_tower_of_the_model_with_text(tmp_path: Path) -> None:
    extra = ("text_encoder/token_emb/emb_var", "auxiliary_encoder/transformers_stack/x_layers/layer_norm/scale")
    extra += ("contrastive_vision_pooler/pooling_attention/query/w",)
    state = flax(start="params/vision_encoder/") | {f"params/{name}": np.ones((2, 2), np.float32) for name in extra}
    tower = small("videoprism/lvt-base", saved(tmp_path / "lvt.npz", state))
    alone = small("videoprism/base", saved(tmp_path / "alone.npz", flax()))
    assert tower.card.digest == alone.card.digest
    assert "left out: params.text_encoder" in tower.loaded
    with pytest.raises(ValueError, match=r"not a file of videoprism/base: .* load it as an lvt- variant"):
        small("videoprism/base", tmp_path / "lvt.npz")
    with pytest.raises(ValueError, match=r"not a file of videoprism/lvt-base: .* omit lvt-"):
        small("videoprism/lvt-base", tmp_path / "alone.npz")


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("patch_projection/linear/bias", None, r"missing patch_embed\.proj\.bias"),
        ("something/new", np.ones(2), r"surplus something\.new"),
        ("temporal_pos_emb/emb_var", np.ones((5, 24)), r"temporal_pos is \[5, 24\], not \[1, 4, 24\]"),
        ("patch_projection/linear/kernel", np.ones((12, 24)), r"patch_embed\.proj\.weight is \[24, 3, 2, 2\]"),
        ("patch_projection/linear/kernel", np.ones((11, 24)), r"patch_embed\.proj\.weight is \[11, 24\]"),
        ("spatial_encoder/transformers_stack/x_layers/layer_norm/bias", np.ones((2, 24)), r"missing spatial\.2\.norm1"),
        ("spatial_encoder/transformers_stack/x_layers/self_attention/post/w", np.ones(3), r"spatial\.0\.attn\.proj"),
        ("temporal_encoder/transformers_stack/x_layers/self_attention/key/w", None, r"missing temporal\.0\.attn\.qkv"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str, array: np.ndarray | None, said: str) -> None:
    state = {key: value for key, value in flax().items() if key != f"params/{name}"}
    state |= {} if array is None else {f"params/{name}": array.astype(np.float32)}
    with pytest.raises(ValueError, match=said) as error:
        small("videoprism/base", saved(tmp_path / "bad.npz", state))
    assert "bad.npz" in str(error.value)


def test_another_container_is_opened_and_named(tmp_path: Path) -> None:
    torch.save({"state": {key: torch.from_numpy(array) for key, array in flax().items()}}, tmp_path / "odd.pth")
    assert "taken from 'state'" in small("videoprism/base", tmp_path / "odd.pth").loaded


def reference(kind: str) -> Any:
    """The transformers library's small model of a class, every number drawn."""
    transformers = pytest.importorskip("transformers")
    config = transformers.VideoPrismVisionConfig(
        hidden_size=24,
        num_attention_heads=3,
        intermediate_size=40,
        image_size=18,
        num_frames=4,
        tubelet_size=(1, 6, 6),
        num_spatial_layers=3,
        num_temporal_layers=2,
        attn_implementation="eager",
    )
    if kind == "VideoPrismClipModel":
        text = transformers.VideoPrismTextConfig(
            vocab_size=9, hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=3
        )
        config = transformers.VideoPrismConfig(text_config=text.to_dict(), vision_config=config.to_dict())
    model = getattr(transformers, kind)(config).eval().requires_grad_(False)
    for number, parameter in enumerate(model.parameters()):
        parameter.normal_(std=0.5, generator=generator(number))
    return model


def apart(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).abs().max() / theirs.std())


@pytest.mark.parametrize(("frames", "side"), CLIPS)
def test_equals_the_transformers_model(tmp_path: Path, frames: int, side: int) -> None:
    model = reference("VideoPrismVisionModel")
    torch.save(model.state_dict(), tmp_path / "bare.pth")
    clips = drawn(frames, side)
    told = model(clips.transpose(1, 2), interpolate_pos_encoding=True)
    parts = small("videoprism/base", tmp_path / "bare.pth").parts(clips)
    assert apart(parts["tokens"], told.last_hidden_state) < 2e-5
    places = model.layernorm1(told.last_spatial_hidden_state)
    assert apart(parts["spatial_tokens"], places.reshape(parts["spatial_tokens"].shape)) < 2e-5


@pytest.mark.parametrize(
    ("kind", "name", "tower"),
    [
        ("VideoPrismForVideoClassification", "videoprism/base", "vision_model"),
        ("VideoPrismVideoModel", "videoprism/lvt-base", "vision_model"),
        ("VideoPrismClipModel", "videoprism/lvt-base", "video_model.vision_model"),
    ],
)
def test_towers_of_other_transformers_models(tmp_path: Path, kind: str, name: str, tower: str) -> None:
    model = reference(kind)
    torch.save(model.state_dict(), tmp_path / "whole.pth")
    torch.save(model.get_submodule(tower).state_dict(), tmp_path / "tower.pth")
    encoder = small(name, tmp_path / "whole.pth")
    assert "left out: " in encoder.loaded
    assert encoder.card.digest == small("videoprism/base", tmp_path / "tower.pth").card.digest


def test_a_transformers_folder_says_its_own_numbers(tmp_path: Path) -> None:
    model = reference("VideoPrismVisionModel")
    model.save_pretrained(tmp_path)
    encoder = load(f"videoprism/large={tmp_path}", architecture={"note": "small"})
    assert (encoder.card.dim, encoder.card.frames, encoder.card.size) == (24, 4, 18)
    clips = drawn(4, 18)
    assert apart(encoder(clips).clip, model(clips.transpose(1, 2)).last_hidden_state.mean(1)) < 2e-5


def test_numbers_of_a_transformers_configuration() -> None:
    config = reference("VideoPrismVisionModel").config.to_dict()
    shape = videoprism.MODELS["large"].shape
    assert shape.updated(videoprism.numbers(config)) == shape.updated({**SMALL, "atten_logit_cap": 50.0})
    nested = reference("VideoPrismClipModel").config.to_dict()
    assert videoprism.numbers(nested) == videoprism.numbers(config)
    assert videoprism.numbers({"model_type": "vivit", "hidden_size": 3}) == {}


def test_numbers_that_are_not_known() -> None:
    with pytest.raises(ValueError, match="unknown architecture option 'spatail'; did you mean 'spatial'"):
        videoprism.MODELS["base"].shape.updated({"spatail": 3})


def test_logits_are_capped() -> None:
    plain, capped, loose = Attention(12, 2), CappedAttention(12, 2, 5.0), CappedAttention(12, 2, 1e6)
    without = CappedAttention(12, 2, 0.0)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.normal_(generator=generator(1))
        capped.load_state_dict(plain.state_dict())
        loose.load_state_dict(plain.state_dict())
        without.load_state_dict(plain.state_dict())
        x = torch.randn(1, 6, 12, generator=generator(2))
        torch.testing.assert_close(loose(x), plain(x), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(without(x), plain(x), rtol=1e-4, atol=1e-4)
        assert apart(capped(x), plain(x)) > 0.01


@pytest.mark.parametrize("shape", [(1, 3, 4, 17, 18), (1, 3, 4, 18, 20), (1, 3, 0, 18, 18)])
def test_clips_that_patches_do_not_fill(tmp_path: Path, shape: tuple[int, ...]) -> None:
    encoder = small("videoprism/base", saved(tmp_path / "w.npz", flax()))
    with pytest.raises(ValueError, match="do not divide into patches of 6 x 6"):
        encoder(torch.zeros(shape))
