"""Families of the video transformer: official files give what the official code gave, and nothing else is let in."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from helpers import official_cases, official_encoders
from vitascope.core.device import generator
from vitascope.encoders import pretrained
from vitascope.encoders.base import NetworkEncoder
from vitascope.encoders.catalog import cards, models
from vitascope.encoders.families import internvideo2, omnimae, twlv, umt, videomae, vjepa, vjepa2
from vitascope.encoders.networks import empty
from vitascope.encoders.weights import state_dict
from vitascope.encoders.weights.layouts import rename_tensors, split_surplus
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.video_vit import random_vit

LIMIT = 2e-5
CASES = {
    "internvideo2-s1": "internvideo2/1b-s1",
    "internvideo2-s2_interp8": "internvideo2/1b-s2",
    "mvd-pt_l": "mvd/large-pt",
    "omnimae-pt_h": "omnimae/huge",
    "omnimae-pt_l": "omnimae/large",
    "umt-s1_l": "umt/large-s1",
    "umt-s2_interp8": "umt/large-s2",
    "umt-s2_l": "umt/large-s2",
    "videomae-ft_l": "videomae/large-ft",
    "videomae-hf": "videomae/large-pt",
    "videomae-pt_l": "videomae/large-pt",
    "videomae-v2_ft_b": "videomae/base-v2",
    "vjepa-vit_l": "vjepa/large",
    "vjepa2-vit_l": "vjepa2/large",
    "vjepa2_1-vit_b": "vjepa2/base-2.1",
}
PROBE = {"attn_pooled"}
"""Outputs of a probe whose weights no file of the encoder has."""
FAMILIES = ("umt", "vjepa", "vjepa2", "internvideo2", "videomae", "omnimae", "mvd", "twlv")
DISTINCT = sorted({m.shape: m.card.name for family in FAMILIES for m in models(family).values() if m.layouts}.values())
"""A variant of each shape."""


def case(name: str) -> dict[str, Any]:
    return official_cases()[name]


def content(name: str) -> Any:
    with torch.serialization.safe_globals([argparse.Namespace]):
        return torch.load(official_encoders() / case(name)["checkpoint"], weights_only=True)


def build(name: str, path: Path, architecture: dict[str, Any]) -> NetworkEncoder:
    family, _, variant = name.partition("/")
    encoder = pretrained.build(models(family)[variant], path, architecture)
    assert isinstance(encoder, NetworkEncoder)
    return encoder


def apart(ours: Tensor, known: Any) -> float:
    known = np.asarray(known, np.float64)
    assert tuple(ours.shape) == known.shape
    return float(np.abs(ours.numpy() - known).max() / known.std())


@pytest.mark.parametrize("name", CASES)
def test_every_output_is_the_official_code_s(name: str) -> None:
    found = case(name)
    encoder = build(CASES[name], official_encoders() / found["checkpoint"], found["architecture"])
    arrays = dict(np.load(official_encoders() / found["io"]))
    inputs = {key: arrays.pop(key) for key in list(arrays) if key.startswith(("video", "image"))}
    seen = set()
    for given, pixels in inputs.items():
        clips = torch.from_numpy(pixels)
        clips = clips if clips.ndim == 5 else clips[:, :, None]
        suffix = given.removeprefix("video") if given != "image" else "_image"
        parts, tokens = encoder.parts(clips), encoder(clips)
        for output in arrays:
            base = output.removesuffix(suffix)
            if base not in parts or (suffix and base == output):
                continue
            seen.add(output)
            if base == "grid":
                assert parts["grid"].tolist() == arrays["grid"].tolist()
            else:
                assert apart(parts[base], arrays[output]) <= LIMIT, output
            also = {"tokens": tokens.grid.flatten(1, 3), "pooled": tokens.clip}.get(base)
            assert also is None or torch.equal(also, parts[base])
    assert seen == arrays.keys() - PROBE


def encoders_part(name: str) -> tuple[Any, dict[str, Tensor], dict[str, str]]:
    """A file's content, the dictionary in it that is read, and the names there that the encoder needs, with ours."""
    family, _, variant = CASES[name].partition("/")
    model, whole = models(family)[variant], content(name)
    layout, _ = state_dict.open_layout(model, whole, name, name)
    inside = [whole.get(container) if container else whole for container in layout.containers]
    part = next(inner for inner in inside if inner and any("patch_embed" in key for key in inner))
    kept, _ = split_surplus(layout, part)
    needed = [key for key in part if key.removeprefix(layout.prefix) in kept]
    ours = {key: next(iter(rename_tensors(layout, {key.removeprefix(layout.prefix): part[key]})[0])) for key in needed}
    fused = {key: re.sub(r"attn\.[qkv](?:\.|_)(?=weight|bias)", "attn.qkv.", name) for key, name in ours.items()}
    return whole, part, {k: v for k, v in fused.items() if not re.match(layout.mark, k)}


def refused(name: str, whole: Any, folder: Path) -> str:
    torch.save(whole, folder / "bad.pth")
    with pytest.raises(ValueError, match=r"bad\.pth") as error:
        build(CASES[name], folder / "bad.pth", case(name)["architecture"])
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", CASES)
def test_each_missing_tensor_is_named(name: str, tmp_path: Path) -> None:
    whole, part, needed = encoders_part(name)
    asked = {key: ours for key, ours in needed.items() if not re.match(r"blocks\.[1-9]", ours)}
    assert len(asked) >= 14
    for key, ours in list(asked.items())[::3]:  # a sample: each failure is compared with every other model
        tensor = part.pop(key)
        assert f"missing {ours}" in refused(name, whole, tmp_path)
        part[key] = tensor


@pytest.mark.parametrize("name", CASES)
def test_a_surplus_tensor_is_named(name: str, tmp_path: Path) -> None:
    whole, part, needed = encoders_part(name)
    beside = next(key for key, ours in needed.items() if ours == "blocks.0.norm1.weight").removesuffix("weight")
    for extra in (f"{beside}extra", "stray.weight"):
        part[extra] = torch.ones(3)
        said = refused(name, whole, tmp_path)
        assert "surplus" in said
        assert ("norm1.extra" if extra.endswith("extra") else extra) in said
        del part[extra]


@pytest.mark.parametrize(
    ("name", "said"),
    [("umt-s1_l", r"norm.weight (outside encoder.)"), ("vjepa2-vit_l", "norm.weight (twice)")],
)
def test_a_tensor_cannot_come_in_under_another_name(name: str, said: str, tmp_path: Path) -> None:
    whole, part, _ = encoders_part(name)
    part["norm.weight"] = torch.ones(64)
    assert f"surplus {said}" in refused(name, whole, tmp_path)


@pytest.mark.parametrize("name", CASES)
def test_a_misshapen_tensor_is_named(name: str, tmp_path: Path) -> None:
    whole, part, needed = encoders_part(name)
    for key, ours in needed.items():
        if ours in ("blocks.0.mlp.fc1.weight", "blocks.0.norm2.weight", "blocks.1.attn.proj.bias"):
            kept = part[key]
            part[key] = kept[:-1]
            assert f"{ours} is {list(part[key].shape)}, not {list(kept.shape)}" in refused(name, whole, tmp_path)
            part[key] = kept


@pytest.mark.parametrize("name", [n for n in CASES if not n.startswith(("umt-s1", "omnimae", "videomae-hf"))])
def test_another_container_is_taken_and_named(name: str, tmp_path: Path) -> None:
    whole, part, _ = encoders_part(name)
    key = next(key for key, value in whole.items() if value is part)
    moved = {("somewhere" if k == key else k): v for k, v in whole.items() if k != "encoder"}
    torch.save(moved, tmp_path / "moved.pth")
    assert "taken from 'somewhere'" in build(CASES[name], tmp_path / "moved.pth", case(name)["architecture"]).loaded


@pytest.mark.parametrize("name", ["vjepa-vit_l", "vjepa2-vit_l"])
def test_the_context_encoder_is_not_the_target_encoder(name: str, tmp_path: Path) -> None:
    whole = content(name)
    said = refused(name, {k: v for k, v in whole.items() if k != "target_encoder"}, tmp_path)
    assert "it has no target_encoder, only the context encoder under 'encoder'" in said


def test_the_context_encoder_is_a_variant_of_its_own(tmp_path: Path) -> None:
    whole = content("vjepa2-vit_l")
    whole["encoder"] = {key: tensor + 1 for key, tensor in whole["encoder"].items()}
    torch.save(whole, tmp_path / "file.pth")
    for name, key in (("vjepa2/large", "target_encoder"), ("vjepa2/large-context", "encoder")):
        encoder = build(name, tmp_path / "file.pth", case("vjepa2-vit_l")["architecture"])
        for ours, tensor in encoder.network.state_dict().items():
            assert torch.equal(tensor, whole[key][f"module.backbone.{ours}"])


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("umt-s1_l", "umt/large-s2", "stage 1 file; load it as a -s1 variant"),
        ("umt-s2_l", "umt/large-ft", "stage 2 file; load it as a -s2 variant"),
        ("videomae-ft_l", "umt/large-s1", "fine-tuned file; load it as a -ft variant"),
        ("videomae-ft_l", "videomae/large-pt", "it is fine-tuned"),
        ("videomae-pt_l", "videomae/large-ft", "it is a pre-training file"),
        ("videomae-ft_l", "mvd/large-pt", "it is fine-tuned"),
        ("mvd-pt_l", "mvd/large-ft", "it is a pre-training file"),
        ("omnimae-pt_l", "omnimae/large-ssv2-ft", "it is a pre-training file"),
        ("internvideo2-s1", "internvideo2/1b-s2", "stage 1 file; load it as a -s1 variant"),
        ("internvideo2-s2_interp8", "internvideo2/1b-s1", "stage 2 file; load it as a -s2 variant"),
        ("videomae-hf", "videomae/large-ft", "missing norm.weight.*surplus layernorm.weight"),
        ("vjepa2-vit_l", "vjepa2/large-2.1", "it is a V-JEPA 2 file, not 2.1"),
    ],
)
def test_a_file_of_another_kind_is_sent_where_it_belongs(name: str, asked: str, said: str) -> None:
    found = case(name)
    with pytest.raises(ValueError, match=said):
        build(asked, official_encoders() / found["checkpoint"], found["architecture"])


SMALL: dict[str, Any] = {"dim": 48, "depth": 4, "heads": 4, "mlp": 96, "frames": 4, "img": 32, "clip_dim": 12}


def weights(shape: VideoViTConfig, *, table: bool = False) -> dict[str, Tensor]:
    """Random weights of a network under our names; with or without the fixed table."""
    state = random_vit(shape, generator(4)).state_dict()
    drawn = {k: torch.randn(v.shape, generator=generator(len(k))) * 0.2 for k, v in state.items()}
    return drawn if table or shape.positions == "stored" else {k: v for k, v in drawn.items() if k != "pos_embed"}


def split_bias(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A fused bias as the VideoMAE family stores it: of queries and values."""
    out = {k: v for k, v in state.items() if not k.endswith("qkv.bias")}
    for key in state.keys() - out.keys():
        q, k, v = state[key].chunk(3)
        k.zero_()
        out |= {key.replace("qkv.bias", "q_bias"): q, key.replace("qkv.bias", "v_bias"): v}
    return out


def fine_tuned(state: dict[str, Tensor]) -> dict[str, Tensor]:
    head = {"head.weight": torch.ones(3, 48), "head.bias": torch.ones(3)}
    return {
        k.replace("norm.", "fc_norm.") if k.startswith("norm.") else k: v for k, v in split_bias(state).items()
    } | head


def projector(state: dict[str, Tensor]) -> dict[str, Tensor]:
    out = {}
    for key, tensor in state.items():
        for part in "qkv":
            key = key.replace(f"pool.{part}.bias", f"clip_projector.cross_attn.{part}_bias")
            key = key.replace(f"pool.{part}.weight", f"clip_projector.cross_attn.{part}.weight")
        key = key.replace("pool.proj", "clip_projector.cross_attn.proj").replace("pool.norm", "clip_projector.norm")
        out[key] = tensor
    return out


def prefixed(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {prefix + key: tensor for key, tensor in state.items()}


def norms_block(state: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {k.replace("norm.", "norms_block.3.") if k.startswith("norm.") else k: v for k, v in state.items()}
    return named | {f"norms_block.{i}.{end}": torch.ones(48) for i in range(3) for end in ("weight", "bias")}


def omni(state: dict[str, Tensor]) -> dict[str, Tensor]:
    named = {k.replace("patch_embed.proj.", "patch_embed.proj.1."): v for k, v in state.items()}
    return {f"trunk.{k}": v for k, v in named.items()} | {"head.weight": torch.ones(5, 48)}


Made = tuple[str, Callable[[dict[str, Tensor]], Any]]
OFFICIAL: list[Made] = [
    ("umt/base-s1", lambda s: prefixed("encoder.")(split_bias(s))),
    ("umt/base-ft", lambda s: {"module": fine_tuned(s)}),
    ("umt/large-ft", lambda s: {"model": fine_tuned(s), "epoch": 3}),
    ("vjepa/huge", lambda s: {"target_encoder": prefixed("module.backbone.")(s), "encoder": {}}),
    ("vjepa/huge-384", lambda s: {"target_encoder": prefixed("module.backbone.")(s)}),
    ("vjepa2/giant", lambda s: {"target_encoder": prefixed("module.backbone.")(s)}),
    ("vjepa2/huge-context", lambda s: {"encoder": prefixed("module.")(s)}),
    ("vjepa2/gigantic-2.1", lambda s: {"target_encoder": prefixed("module.backbone.")(norms_block(s))}),
    ("vjepa2/large-2.1", lambda s: {"ema_encoder": prefixed("module.backbone.")(norms_block(s))}),
    ("internvideo2/1b-s1", projector),
    (
        "internvideo2/1b-s1-ft",
        lambda s: {"module": projector(s) | {"fc_norm.weight": torch.ones(12), "head.bias": torch.ones(3)}},
    ),
    (
        "internvideo2/6b-s2",
        lambda s: (
            prefixed("vision_encoder.")(projector(s))
            | {f"{part}.weight": torch.ones(2) for part in ("audio_encoder", "av_concat_audio_proj", "av_fusion")}
        ),
    ),
    ("videomae/huge-pt", lambda s: {"model": prefixed("encoder.")(split_bias(s)) | {"mask_token": torch.ones(3)}}),
    ("videomae/giant-v2-pt", lambda s: {"model": prefixed("encoder.")(split_bias(s)), "args": argparse.Namespace(a=1)}),
    ("videomae/giant-v2-ft", lambda s: {"module": fine_tuned(s)}),
    ("videomae/base-v2", lambda s: prefixed("model.")(fine_tuned(s))),
    (
        "omnimae/base",
        lambda s: omni(s) | {"trunk.mask_token": torch.ones(1, 48), "trunk.decoder.norm.bias": torch.ones(3)},
    ),
    ("omnimae/huge-in1k-ft", omni),
    (
        "mvd/huge-pt",
        lambda s: {"model": split_bias(s) | {"mask_token_img": torch.ones(1), "pos_embed_img": torch.ones(2)}},
    ),
    ("mvd/base-ft", lambda s: {"module": fine_tuned(s)}),
    ("twlv/base", lambda s: s),
]


@pytest.mark.parametrize(("name", "official"), OFFICIAL, ids=[name for name, _ in OFFICIAL])
def test_other_official_files_reach_the_right_places(
    name: str, official: Callable[[dict[str, Tensor]], Any], tmp_path: Path
) -> None:
    family, _, variant = name.partition("/")
    small = SMALL if models(family)[variant].shape.patch == 16 else {**SMALL, "img": 28}  # type: ignore[attr-defined]
    shape = models(family)[variant].shape.updated(small)
    assert isinstance(shape, VideoViTConfig)
    mine = weights(shape, table=family == "twlv")
    torch.save(official({k: v.clone() for k, v in mine.items()}), tmp_path / "file.pth")
    encoder = build(name, tmp_path / "file.pth", small)
    for key, tensor in encoder.network.state_dict().items():
        expected = mine.get(key)
        if expected is None:
            assert key == "pos_embed"
            assert torch.equal(tensor, encoder.network.tables()[key])  # type: ignore[operator]
        elif key.endswith("qkv.bias") and family in ("umt", "videomae", "mvd"):
            q, _, v = expected.chunk(3)
            assert torch.equal(tensor, torch.cat([q, torch.zeros(48), v]))
        else:
            assert torch.equal(tensor, expected), key
    clips = torch.randn(2, 3, 8, 28 if shape.patch == 14 else 32, 28 if shape.patch == 14 else 32)
    grid, clip = encoder(clips)
    assert grid.shape == (2, 8 // shape.tubelet, 2, 2, 48)
    assert clip.shape == (2, encoder.card.dim)
    assert encoder.card.frames == 4
    if name == "mvd/huge-pt":  # the file's table, not the computed one
        assert torch.equal(encoder.parts(clips[:, :, :4])["pos_embed"], mine["pos_embed"])


@pytest.mark.parametrize("name", ["umt/large-ft", "internvideo2/1b-s1-ft"])
def test_a_table_of_other_time_steps_comes_with_its_file(name: str, tmp_path: Path) -> None:
    """As fine-tuning on 16 frames leaves it, where the published shape is of 8."""
    family, _, variant = name.partition("/")
    published, small = models(family)[variant].shape, SMALL if family == "umt" else {**SMALL, "img": 28}
    shape = published.updated({**small, "frames": 8})
    assert isinstance(shape, VideoViTConfig)
    mine = weights(shape, table=True)
    torch.save(dict(OFFICIAL)[name](mine), tmp_path / "file.pth")
    encoder = build(name, tmp_path / "file.pth", {**small, "frames": 8, "ckpt_frames": 4})
    assert "position table with 8 time steps instead of 4" in encoder.loaded
    assert encoder.card.params == shape.params
    clips = torch.randn(1, 3, 8, small["img"], small["img"])
    assert torch.equal(encoder.parts(clips)["pos_embed"], mine["pos_embed"])
    known = build(name, tmp_path / "file.pth", {**small, "frames": 8})
    assert "time steps" not in known.loaded
    assert torch.equal(encoder(clips).grid, known(clips).grid)
    torch.save(dict(OFFICIAL)[name](mine | {"pos_embed": mine["pos_embed"][:, :-1]}), tmp_path / "short.pth")
    with pytest.raises(ValueError, match=r"pos_embed is \[1, "):
        build(name, tmp_path / "short.pth", small)


@pytest.mark.parametrize(("made", "asked"), [("umt/base-ft", "umt/base-s1"), ("videomae/base-v2", "videomae/base-pt")])
def test_fine_tuned_weights_do_not_pass_for_pre_trained_ones(made: str, asked: str, tmp_path: Path) -> None:
    family, _, variant = made.partition("/")
    shape = models(family)[variant].shape.updated(SMALL)
    assert isinstance(shape, VideoViTConfig)
    torch.save(dict(OFFICIAL)[made](weights(shape)), tmp_path / "file.pth")
    with pytest.raises(ValueError, match="-ft variant"):
        build(asked, tmp_path / "file.pth", SMALL)


@pytest.mark.parametrize("name", DISTINCT)
def test_numbers_on_the_card_are_the_network_s(name: str) -> None:
    """Weights as the module counts them; multiply-adds as torch counts them, of a clip and of a picture."""
    family, _, variant = name.partition("/")
    model = models(family)[variant]
    card, shape = model.full_card(), model.shape
    assert isinstance(shape, VideoViTConfig)
    assert card.params == sum(parameter.numel() for parameter in empty(shape).parameters())
    for frames in (card.frames, 1):
        few, more = (counted_flops(replace(shape, depth=depth), frames, card.size) for depth in (2, 3))
        assert few + (shape.depth - 2) * (more - few) == 2 * shape.macs(frames, card.size)


def counted_flops(shape: VideoViTConfig, frames: int, size: int) -> int:
    """As torch counts them, with few blocks, since counting takes a second for each dozen."""
    with FlopCounterMode(display=False) as counter:
        empty(shape)(torch.empty(1, 3, frames, size, size, device="meta"))
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("umt/base-s1", 85.6),
        ("umt/large-s1", 303.1),
        ("vjepa/large", 305.5),
        ("vjepa/huge", 633.7),
        ("vjepa/huge-384", 637.5),
        ("internvideo2/1b-s1", 1020.7),
        ("internvideo2/1b-s2", 1019.6),
        ("videomae/base-pt", 86.2),
        ("videomae/large-pt", 303.9),
        ("videomae/huge-pt", 631.6),
        ("videomae/giant-v2-ft", 1011.7),
        ("mvd/large-ft", 303.9),
        ("omnimae/large", 305.5),
        ("omnimae/huge", 633.8),
        ("vjepa2/giant", 1012.2),
        ("vjepa2/base-2.1", 86.8),
        ("vjepa2/large-2.1", 304.7),
        ("vjepa2/giant-2.1", 1013.3),
        ("vjepa2/gigantic-2.1", 1845.2),
    ],
)
def test_sizes_are_the_published_ones(name: str, millions: float) -> None:
    assert cards()[name].params / 1e6 == pytest.approx(millions, abs=0.051)


def transformer(kind: str, folder: Path, *, tuned: bool) -> Any:
    """A small transformers model with random weights, as it is kept on the hub."""
    library = pytest.importorskip("transformers")
    torch.manual_seed(3)
    if kind.startswith("VideoMAE"):
        config = library.VideoMAEConfig(
            hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=112, image_size=32,
            num_frames=6, layer_norm_eps=1e-6, use_mean_pooling=tuned, num_labels=3,
            decoder_hidden_size=24, decoder_num_hidden_layers=1, decoder_num_attention_heads=3,
        )  # fmt: skip
    else:
        config = library.VJEPA2Config(
            hidden_size=220, num_hidden_layers=2, num_attention_heads=10, mlp_ratio=48 / 11, crop_size=64,
            frames_per_clip=6, pred_hidden_size=24, pred_num_hidden_layers=1, pred_num_attention_heads=2,
            num_pooler_layers=1, num_labels=3,
        )  # fmt: skip
    model = getattr(library, kind)(config).eval()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.2)
    model.save_pretrained(folder)
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("VideoMAEModel", "videomae/base-pt"),
        ("VideoMAEForPreTraining", "videomae/large-pt"),
        ("VideoMAEForVideoClassification", "videomae/huge-ft"),
        ("VideoMAEForVideoClassification", "videomae/huge-pt"),
        ("VJEPA2Model", "vjepa2/large-context"),
        ("VJEPA2ForVideoClassification", "vjepa2/large"),
    ],
)
def test_files_of_transformers_give_what_transformers_gives(kind: str, name: str, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    theirs: Any = transformer(kind, tmp_path, tuned=name.endswith("-ft"))
    torch.save(safetensors.load_file(tmp_path / "model.safetensors"), tmp_path / "file.pth")
    family, _, variant = name.partition("/")
    model = models(family)[variant]
    assert model.from_config
    config = dict(model.from_config(json.loads((tmp_path / "config.json").read_text())))
    ours = build(name, tmp_path / "file.pth", config)
    side = config["img"]
    clips = torch.randn(2, 3, 6, side, side)
    with torch.no_grad():
        frames = clips.transpose(1, 2)
        if kind.startswith("VideoMAE"):
            body = theirs if kind == "VideoMAEModel" else theirs.videomae
            tokens = body(frames).last_hidden_state
        else:
            body = theirs if kind == "VJEPA2Model" else theirs.vjepa2
            tokens = body(frames, skip_predictor=True).last_hidden_state
    if name.endswith("-ft"):
        assert apart(ours.parts(clips)["tokens_prenorm"], tokens) <= LIMIT
        assert apart(ours(clips).clip, theirs.fc_norm(tokens.mean(1)).detach()) <= LIMIT
    else:
        assert apart(ours(clips).grid.flatten(1, 3), tokens) <= LIMIT


def test_shapes_that_only_a_number_tells_apart() -> None:
    assert internvideo2.MODELS["1b-s1"].shape.act == "gelu_tanh"  # type: ignore[attr-defined]
    assert vjepa.MODELS["huge-384"].card.size == 384
    assert vjepa2.MODELS["giant"].shape.heads == 22  # type: ignore[attr-defined]
    assert videomae.MODELS["giant-v2-pt"].shape.patch == 14  # type: ignore[attr-defined]
    assert omnimae.MODELS["huge"].card.image == "single"
    assert umt.MODELS["large-s2"].shape.grid == (4, 14, 14)  # type: ignore[attr-defined]
    assert twlv.MODELS["large-published"].full_card().gflops == 0
