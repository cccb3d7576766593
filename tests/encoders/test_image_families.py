"""Frame-wise image models: sizes, every layout of their files, transformers' classes, strictness."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
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
from vitascope.encoders import pretrained
from vitascope.encoders.families import clip, dfn, dinov2, dinov3, pe, siglip2
from vitascope.encoders.load import load
from vitascope.encoders.networks import empty
from vitascope.encoders.spec import Model
from vitascope.nn.configs.image_vit import ImageViTConfig, transformers
from vitascope.nn.image_vit import ImageViT, centered, counted

FAMILIES = (dfn, clip, siglip2, dinov2, dinov3, pe)
MODELS: dict[str, Model] = {model.card.name: model for family in FAMILIES for model in family.MODELS.values()}
PUBLISHED = {
    "dfn/h14": 632.1,
    "dfn/h14-378": 632.7,
    "clip/large": 304.0,
    "siglip2/so400m": 428.2,
    "pe/base": 93.7,
    "pe/large": 317.2,
    "pe/giant": 1882.0,
}
"""Millions of parameters as their authors count them."""
SMALL = {"dim": 48, "depth": 2, "heads": 3, "patch": 8, "img": 32}
CONFIG = {
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "patch_size": 8,
    "image_size": 32,
}


def drawn(model: Model, **changes: Any) -> ImageViT:
    """A small network of a variant, every number drawn; masks of biases are left to its file."""
    network = empty(model.shape.updated({**SMALL, **changes})).to_empty(device="cpu")
    for number, parameter in enumerate(network.parameters()):
        parameter.normal_(std=0.3, generator=generator(number))
    for name, rows in network.tables().items():
        network.register_buffer(name, rows)
    assert isinstance(network, ImageViT)
    return network


def close(a: Tensor, b: Tensor) -> None:
    assert (a - b).abs().max() / b.std() <= 2e-5


@pytest.mark.parametrize("name", MODELS)
def test_size_and_cost_are_those_of_the_network(name: str) -> None:
    model = MODELS[name]
    assert isinstance(model.shape, ImageViTConfig)
    assert model.shape.params == sum(p.numel() for p in empty(model.shape).parameters())
    for size in (model.card.size, 8 * model.shape.patch):
        counted = {}
        for depth in (1, 2):  # counting takes a second for each dozen blocks
            with FlopCounterMode(display=False) as counter:
                grid, vector = empty(replace(model.shape, depth=depth))(torch.empty(1, 3, size, size, device="meta"))
            counted[depth] = counter.get_total_flops()
        per_block = counted[2] - counted[1]
        assert counted[1] + (model.shape.depth - 1) * per_block == 2 * model.shape.macs(1, size)
        assert grid.shape == (1, size // model.shape.patch, size // model.shape.patch, model.shape.dim)
        assert vector.shape == (1, model.shape.out)
    assert model.full_card().gflops == round(16 * model.shape.macs(1, model.card.size) / 1e9, 1)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name: str) -> None:
    assert round(MODELS[name].shape.params / 1e6, 1) == PUBLISHED[name]


# --- transformers' classes, random weights, through a saved folder ----------------------------------------------------


def saved(kind: str, folder: Path, **config: Any) -> Any:
    """A transformers model with every number drawn, and its folder."""
    import transformers as library

    made = getattr(library, f"{kind}Config")(**config)
    names = {"CLIPVision": "CLIPVisionModelWithProjection", "SiglipVision": "SiglipVisionModel"}
    model = getattr(library, names.get(kind, f"{kind}Model"))(made).eval().requires_grad_(False)
    for number, parameter in enumerate(model.parameters()):
        parameter.normal_(std=0.2, generator=generator(number))
    model.save_pretrained(folder)
    return model


def opened(name: str, path: Path, architecture: dict[str, Any] | None = None) -> Any:
    return pretrained.build(MODELS[name], path, architecture or {"note": "small"})


def images(*sides: int) -> Tensor:
    return torch.randn(2, 3, *sides, generator=generator(5))


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("name", ["clip/base", "dfn/h14"])
def test_clip_of_transformers(tmp_path: Path, name: str, act: str) -> None:
    theirs = saved("CLIPVision", tmp_path, **CONFIG, intermediate_size=96, projection_dim=20, hidden_act=act)
    parts = opened(name, tmp_path).parts(images(32, 32)[:, :, None])
    out = theirs(images(32, 32))
    close(parts["pooled"], out.image_embeds)
    close(parts["sequence"][:, 0], out.last_hidden_state)
    close(parts["tokens"][:, 0], theirs.vision_model.post_layernorm(out.last_hidden_state)[:, 1:])


def test_clip_of_another_size_is_resampled_as_transformers_does(tmp_path: Path) -> None:
    theirs = saved("CLIPVision", tmp_path, **CONFIG, intermediate_size=96, projection_dim=20, hidden_act="quick_gelu")
    wide = images(40, 24)
    out = theirs(wide, interpolate_pos_encoding=True)
    close(opened("clip/large", tmp_path).parts(wide[:, :, None])["pooled"], out.image_embeds)


def test_siglip_of_transformers(tmp_path: Path) -> None:
    theirs = saved("SiglipVision", tmp_path, **CONFIG, intermediate_size=100)
    for side in (32, 48):
        out = theirs(images(side, side), interpolate_pos_encoding=True)
        parts = opened("siglip2/base", tmp_path).parts(images(side, side)[:, :, None])
        close(parts["tokens"][:, 0], out.last_hidden_state)
        close(parts["pooled"], out.pooler_output)


@pytest.mark.parametrize("kind", ["Siglip", "CLIP"])
def test_text_towers_are_left_out(tmp_path: Path, kind: str) -> None:
    vision = {**CONFIG, "intermediate_size": 96}
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": 40, "projection_size" if kind == "Siglip" else "projection_dim": 48}
    both = {"vision_config": vision, "text_config": text} | ({} if kind == "Siglip" else {"projection_dim": 20})
    theirs = saved(kind, tmp_path, **both)
    encoder = opened("siglip2/large" if kind == "Siglip" else "clip/large", tmp_path, {"act": "gelu_tanh"})
    assert "text_model" in encoder.loaded
    if kind == "Siglip":
        close(encoder.parts(images(32, 32)[:, :, None])["pooled"], theirs.vision_model(images(32, 32)).pooler_output)
    assert encoder.card.dim == (48 if kind == "Siglip" else 20)


def test_siglip_leaves_out_the_pixels_that_fill_no_patch(tmp_path: Path) -> None:
    theirs = saved("SiglipVision", tmp_path, **{**CONFIG, "image_size": 35}, intermediate_size=96)
    encoder = opened("siglip2/so400m", tmp_path)
    close(encoder.parts(images(35, 35)[:, :, None])["pooled"], theirs(images(35, 35)).pooler_output)
    assert encoder(images(35, 35)[:, :, None]).grid.shape == (2, 1, 4, 4, 48)
    with pytest.raises(ValueError, match=r"33 x 35 pixels .* do not divide into patches of 8 x 8"):
        encoder(images(33, 35)[:, :, None])


@pytest.mark.parametrize("swiglu", [False, True])
def test_dinov2_of_transformers_at_the_size_of_its_table(tmp_path: Path, swiglu: bool) -> None:
    theirs = saved("Dinov2", tmp_path, **CONFIG, use_swiglu_ffn=swiglu)
    parts = opened("dinov2/base", tmp_path).parts(images(32, 32)[:, :, None])
    out = theirs(images(32, 32))
    close(parts["sequence"][:, 0], out.last_hidden_state)
    close(parts["pooled"], out.pooler_output)
    torch.save(theirs.state_dict(), tmp_path / "memory.pth")  # whose names are not those of the folder
    numbers = {**SMALL, "swiglu": swiglu, "mlp_ratio": 4}
    close(opened("dinov2/base", tmp_path / "memory.pth", numbers).parts(images(32, 32)[:, :, None])["pooled"], out[1])


@pytest.mark.parametrize("swiglu", [False, True])
def test_dinov2_with_registers_of_transformers_at_any_size(tmp_path: Path, swiglu: bool) -> None:
    theirs = saved("Dinov2WithRegisters", tmp_path, **CONFIG, use_swiglu_ffn=swiglu, num_register_tokens=4)
    for sides in ((32, 32), (24, 48)):
        parts = opened("dinov2/giant-reg", tmp_path).parts(images(*sides)[:, :, None])
        out = theirs(images(*sides)).last_hidden_state
        close(parts["sequence"][:, 0], out)
        close(parts["registers"][:, 0], out[:, 1:5])


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("small", {}),
        ("small-plus", {"use_gated_mlp": True, "hidden_act": "silu"}),
        ("7b", {"use_gated_mlp": True, "hidden_act": "silu", "query_bias": False, "value_bias": False}),
        ("base", {"key_bias": True, "rope_theta": 50.0}),
    ],
)
def test_dinov3_of_transformers_at_any_size(tmp_path: Path, name: str, config: dict[str, Any]) -> None:
    theirs = saved("DINOv3ViT", tmp_path, **CONFIG, intermediate_size=80, num_register_tokens=4, **config)
    for sides in ((32, 32), (24, 48)):
        parts = opened(f"dinov3/{name}", tmp_path).parts(images(*sides)[:, :, None])
        close(parts["sequence"][:, 0], theirs(images(*sides)).last_hidden_state)


@pytest.mark.parametrize("kind", ["Siglip2", "Siglip2Vision"])
def test_a_naflex_file_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    vision = {**CONFIG, "intermediate_size": 96, "num_patches": 16}
    text = {"hidden_size": 48, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    both = {"vision_config": vision, "text_config": text | {"vocab_size": 40}}
    saved(kind, tmp_path, **(both if kind == "Siglip2" else vision))
    with pytest.raises(ValueError, match=r"a NaFlex file of SigLIP 2.*48 x 192.*; use"):
        opened("siglip2/base", tmp_path)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("clip/large-336", {"vision_config": {"image_size": 336, "num_attention_heads": 16}, "projection_dim": 768}),
        ("siglip2/base-384", {"vision_config": {"model_type": "siglip_vision_model", "image_size": 384}}),
        ("dinov2/giant", {"hidden_size": 1536, "mlp_ratio": 4, "use_swiglu_ffn": True, "image_size": 518}),
        ("dinov3/7b", {"intermediate_size": 8192, "query_bias": False, "hidden_act": "silu", "use_gated_mlp": True}),
    ],
)
def test_a_config_that_says_what_is_known_changes_nothing(name: str, config: dict[str, Any]) -> None:
    model = MODELS[name]
    assert model.shape.updated(transformers(config)) == model.shape
    card, _ = pretrained.with_architecture(model, transformers(config), "")
    assert card.size == model.card.size  # the table of DINOv2 is for 518 pixels, its images are not


# --- official layouts, written from a drawn network -------------------------------------------------------------------


def back(state: dict[str, Tensor], *names: tuple[str, str]) -> dict[str, Tensor]:
    """A state under other names."""
    out = {}
    for key, tensor in state.items():
        for pattern, replacement in names:
            key = re.sub(pattern, replacement, key)
        out[key] = tensor
    return out


def openclip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    named = back(
        state,
        (r"^cls_token$", "class_embedding"),
        (r"^pos_embed$", "positional_embedding"),
        (r"^patch_embed\.", "conv1."),
        (r"^norm_pre\.", "ln_pre."),
        (r"^norm\.", "ln_post."),
        (r"^proj\.weight$", "proj"),
        (r"^blocks\.", "transformer.resblocks."),
        (r"^head\.norm\.", "attn_pool.layernorm."),
        (r"^head\.", "attn_pool."),
        (r"\.norm([12])\.", r".ln_\1."),
        (r"\.ls([12])\.", r".ls_\1."),
        (r"\.qkv\.", ".in_proj_"),
        (r"\.attn\.proj\.", ".attn.out_proj."),
        (r"\.fc1\.", ".c_fc."),
        (r"\.fc2\.", ".c_proj."),
    )
    flat = {"class_embedding": (48,), "positional_embedding": (-1, 48)}
    named = {key: tensor.reshape(flat.get(key, tensor.shape)) for key, tensor in named.items()}
    return {key: tensor.T.contiguous() if key == "proj" else tensor for key, tensor in named.items()}


def with_text(state: dict[str, Tensor]) -> dict[str, Tensor]:
    text = ("positional_embedding", "transformer.resblocks.0.ln_1.weight", "text_projection", "context_length")
    return {f"visual.{key}": tensor for key, tensor in openclip(state).items()} | {key: torch.ones(3) for key in text}


def dino2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**back(state, (r"^patch_embed\.", "patch_embed.proj.")), "mask_token": torch.ones(1, 48)}


def dino3(state: dict[str, Tensor]) -> dict[str, Tensor]:
    named = back(
        dino2(state),
        (r"^register_tokens$", "storage_tokens"),
        (r"^periods$", "rope_embed.periods"),
    )
    for key in [key for key in named if ".w12." in key]:
        named[key.replace("w12", "w1")], named[key.replace("w12", "w2")] = named.pop(key).chunk(2)
    for key in [key for key in named if key.endswith("qkv.bias")]:
        named[f"{key}_mask"] = torch.cat([torch.ones(48), torch.zeros(48), torch.ones(48)])
        named[key] = torch.where(named[f"{key}_mask"] == 0, torch.full((144,), 7.0), named[key])
    return {**named, "local_cls_norm.weight": torch.ones(48)}


WRITERS: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], dict[str, Any]]] = {
    "dfn/h14": (with_text, {"out_dim": 20}),
    "clip/base": (with_text, {"out_dim": 20}),
    "dinov2/small": (dino2, {}),
    "dinov2/giant": (dino2, {}),
    "dinov2/giant-reg": (dino2, {}),
    "dinov3/base": (dino3, {}),
    "dinov3/huge-plus": (dino3, {}),
    "dinov3/7b": (dino3, {}),
    "pe/base": (with_text, {"output_dim": 20, "attn_pooler_heads": 4}),
    "pe/giant": (with_text, {"output_dim": 20, "attn_pooler_heads": 4}),
    "pe/lang-large": (openclip, {}),
    "pe/spatial-giant": (with_text, {}),
}


def official(name: str, path: Path) -> tuple[ImageViT, Path]:
    """A drawn network and its file as the authors' code saves it."""
    writer, changes = WRITERS[name]
    network = drawn(MODELS[name], **changes)
    if writer is dino3 and network.shape.qkv_bias:  # which its file masks
        for block in network.blocks:
            block.attn.qkv.bias[48:96] = 0  # type: ignore[union-attr, operator]
    torch.save(writer(dict(network.state_dict())), path)
    return network, path


@pytest.mark.parametrize("name", WRITERS)
def test_official_files(tmp_path: Path, name: str) -> None:
    network, path = official(name, tmp_path / "weights.pth")
    encoder = opened(name, path, {**SMALL, **WRITERS[name][1]})
    clips = torch.randn(1, 3, 2, 40, 24, generator=generator(6))
    grid, vector = network(clips[0].transpose(0, 1))
    tokens = encoder(clips)
    torch.testing.assert_close(tokens.grid[0], grid)
    torch.testing.assert_close(tokens.clip[0], vector.mean(0))
    torch.testing.assert_close(encoder.parts(clips)["frame_embed"][0], vector)


@pytest.mark.parametrize("container", ["", "state_dict", "weights"])
def test_containers_and_prefixes_of_pe(tmp_path: Path, container: str) -> None:
    network, path = official("pe/base", tmp_path / "weights.pt")
    state = {f"module.{key}": tensor for key, tensor in torch.load(path, weights_only=True).items()}
    torch.save({container: state} if container else state, path)
    encoder = opened("pe/base", path, {**SMALL, **WRITERS["pe/base"][1]})
    torch.testing.assert_close(encoder(images(32, 32)[:, :, None]).clip, network(images(32, 32))[1])


@pytest.mark.parametrize("start", ["", "visual.", "module.visual."])
@pytest.mark.parametrize("name", ["dfn/h14", "clip/base"])
def test_containers_and_prefixes_of_clip(tmp_path: Path, name: str, start: str) -> None:
    network, path = official(name, tmp_path / "weights.pt")
    state = openclip(dict(network.state_dict()))
    torch.save({"epoch": 3, "state_dict": {start + key: tensor for key, tensor in state.items()}}, path)
    encoder = opened(name, path, {**SMALL, **WRITERS[name][1]})
    torch.testing.assert_close(encoder(images(32, 32)[:, :, None]).clip, network(images(32, 32))[1])


def test_what_the_trainer_of_dinov2_saves(tmp_path: Path) -> None:
    network, path = official("dinov2/small", tmp_path / "weights.pth")
    state = back(torch.load(path, weights_only=True), (r"^blocks\.(\d)\.", r"blocks.\1.\1."), (r"^", "backbone."))
    torch.save({"teacher": state | {"dino_head.mlp.0.weight": torch.ones(2, 2)}}, path)
    encoder = opened("dinov2/small", path, SMALL)
    torch.testing.assert_close(encoder(images(32, 32)[:, :, None]).clip, network(images(32, 32))[1])


@pytest.mark.parametrize("cls", [True, False])
@pytest.mark.parametrize("pool", ["tok", "avg", "none"])
def test_poolings_of_pe_by_their_definition(pool: str, cls: bool) -> None:
    network = drawn(MODELS["pe/base"], pool_type=pool, use_cls_token=cls, output_dim=None)
    sequence = network.norm(network.trunk(images(32, 32))[0])
    wanted = {"tok": sequence[:, 0], "avg": sequence.mean(1), "none": sequence[:, int(cls) :].mean(1)}
    torch.testing.assert_close(network(images(32, 32))[1], wanted[pool])
    torch.testing.assert_close(network.parts(images(32, 32))["sequence"], sequence)


@pytest.mark.parametrize("name", ["dfn/h14", "pe/base"])
def test_layer_scale_where_the_index_says_so(tmp_path: Path, name: str) -> None:
    numbers = {**SMALL, **WRITERS[name][1], "ls_init_value": 0.1}
    network = drawn(MODELS[name], **numbers)
    torch.save(with_text(dict(network.state_dict())), tmp_path / "weights.pth")
    encoder = opened(name, tmp_path / "weights.pth", numbers)
    torch.testing.assert_close(encoder(images(32, 32)[:, :, None]).clip, network(images(32, 32))[1])


def test_gated_widths_are_rounded_as_their_authors_do() -> None:
    for name, ratio, width in (("dinov2/giant", 4, 152), ("dinov3/small-plus", 6, 224), ("dinov3/7b", 3, 128)):
        shape = MODELS[name].shape.updated({"dim": 56, "mlp_ratio": ratio, "swiglu": True})
        assert isinstance(shape, ImageViTConfig)
        assert shape.mlp == width


DAMAGED = {
    "dfn/h14": ("visual.transformer.resblocks.1.mlp.c_fc.weight", "blocks.1.mlp.fc1.weight"),
    "clip/base": ("visual.proj", "proj.weight"),
    "dinov2/giant-reg": ("register_tokens", "register_tokens"),
    "dinov3/base": ("blocks.1.attn.qkv.bias_mask", "blocks.1.attn.qkv.bias_mask"),
    "dinov3/huge-plus": ("blocks.0.mlp.w2.weight", "blocks.0.mlp.w12.weight"),
    "pe/base": ("visual.attn_pool.probe", "head.probe"),
}


@pytest.mark.parametrize("how", ["missing", "surplus", "misshapen"])
@pytest.mark.parametrize("name", DAMAGED)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str, how: str) -> None:
    _, path = official(name, tmp_path / "weights.pth")
    state, (theirs, ours) = torch.load(path, weights_only=True), DAMAGED[name]
    if how == "surplus":
        state[theirs.replace(theirs.split(".")[-1], "other")] = torch.ones(2)
    else:
        state[theirs] = torch.ones(5, 7)
    if how == "missing":
        del state[theirs]
    torch.save(state, path)
    with pytest.raises(ValueError, match="other" if how == "surplus" else re.escape(ours)) as error:
        opened(name, path, {**SMALL, **WRITERS[name][1]})
    assert "weights.pth" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_of_safetensors_without_a_part_of_the_query_is_refused(tmp_path: Path) -> None:
    theirs = saved("SiglipVision", tmp_path, **CONFIG, intermediate_size=96)
    state = {key: tensor.contiguous() for key, tensor in theirs.state_dict().items()}
    state.pop("encoder.layers.0.self_attn.v_proj.weight")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing blocks\.0\.attn\.qkv\.weight"):
        opened("siglip2/base", tmp_path)


# --- details ----------------------------------------------------------------------------------------------------------


def test_positions_of_perception_encoder_count_columns_first() -> None:
    rope = counted((2, 3), torch.tensor([1.0, 100.0]), 1)
    assert rope.pairs
    place = {0: (0.0, 0.0), 1: (1.0, 1.0), 3: (3.0, 1.0), 4: (1.0, 2.0)}  # token: column and row, the class token at 0
    for token, (x, y) in place.items():
        angle = torch.tensor([x, x, x / 100, x / 100, y, y, y / 100, y / 100])
        torch.testing.assert_close(rope.cos[token], angle.cos())
        torch.testing.assert_close(rope.sin[token], angle.sin())
    assert counted((2, 3), torch.tensor([1.0, 100.0]), 0).sin[0].abs().max() == 0


def test_positions_of_dinov3_are_centers_of_patches() -> None:
    rope = centered((2, 4), torch.tensor([1.0, 10.0]), 5)
    assert not rope.pairs
    assert rope.sin[:5].abs().max() == 0
    row, column = -0.5, 0.25  # of token 5 + 2 in two rows and four columns
    angle = 2 * torch.pi * torch.tensor([row, row / 10, column, column / 10] * 2)
    torch.testing.assert_close(rope.cos[7], angle.cos())


def test_what_is_said_of_an_architecture_is_understood_or_refused() -> None:
    shape = pe.MODELS["large"].shape
    assert isinstance(shape, ImageViTConfig)
    said = shape.updated(
        {"width": 64, "use_cls_token": False, "pool_type": "none", "output_dim": None, "use_ln_post": False}
    )
    assert (said.dim, said.cls, said.head, said.out, said.final_norm, said.mlp) == (64, False, "mean", 64, False, 256)
    assert shape.updated({"use_rope2d": False, "use_abs_posemb": False, "ls_init_value": 0.1}) == replace(
        shape, rope="none", table="none", layer_scale=True
    )
    for wrong, words in (
        ({"deepth": 3}, "option 'deepth'; did you mean 'depth'"),
        ({"act": "relu"}, "act is one of gelu, gelu_tanh, gelu_pytorch_tanh, quick_gelu, not 'relu'"),
        ({"pool_type": "max"}, "pool_type is one of attn, tok, avg, none, not 'max'"),
        ({"img": [28, 56]}, r"side \[28, 56\] must be square"),
    ):
        with pytest.raises(ValueError, match=words):
            shape.updated(wrong)


def test_an_image_is_a_clip_of_one_frame(tmp_path: Path) -> None:
    _, path = official("dinov2/small", tmp_path / "weights.pth")
    encoder = opened("dinov2/small", path, SMALL)
    still = images(32, 32)[:, :, None]
    torch.testing.assert_close(encoder(still).clip, encoder(still.expand(-1, -1, 3, -1, -1)).clip)


def test_the_class_token_in_place_of_its_projection(tmp_path: Path) -> None:
    _, path = official("dfn/h14", tmp_path / "weights.pth")
    model = settings.with_options(MODELS["dfn/h14"], {"pool": "cls"})
    encoder = pretrained.build(model, path, {**SMALL, "out_dim": 20})
    assert encoder.card.dim == 48
    plain = opened("dfn/h14", path, {**SMALL, "out_dim": 20})
    clips = torch.randn(1, 3, 2, 32, 32, generator=generator(6))
    torch.testing.assert_close(encoder(clips).clip, plain.parts(clips)["cls_width"].mean(1))


def test_a_folder_of_another_model_is_refused_by_its_config(tmp_path: Path) -> None:
    config = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    config |= {"patch_size": 16, "image_size": 224, "projection_dim": 512, "hidden_act": "quick_gelu"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"vision_model.embeddings.class_embedding": torch.zeros(768)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="differs from clip/large: dim 768, not 1024, depth 12, not 24"):
        load(f"clip/large={tmp_path}")
    with pytest.raises(ValueError, match="1 of 152 tensors fit"):
        load(f"clip/base={tmp_path}")
