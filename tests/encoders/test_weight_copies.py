"""Files with several copies of a network, with layer scale, and under the names of other libraries."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers import SHARED, official_cases, official_encoders
from vitascope.core.device import generator
from vitascope.encoders import golden
from vitascope.encoders import options as settings
from vitascope.encoders.base import NetworkEncoder
from vitascope.encoders.catalog import models
from vitascope.encoders.convert import convert
from vitascope.encoders.load import load
from vitascope.encoders.networks import empty

State = dict[str, Tensor]
TUNED = "videomae-ft_l"
"""A fine-tuned file of VideoMAE with known outputs."""


def official(case: str) -> dict[str, Any]:
    return torch.load(official_encoders() / official_cases()[case]["checkpoint"], weights_only=True)


def opened(case: str, name: str, path: Path) -> NetworkEncoder:
    """The file at `path` as the model `name`, in the size of a case."""
    family, _, variant = name.partition("+")[0].partition("/")
    numbers, _ = golden.known_numbers(models(family)[variant], official_cases()[case]["architecture"])
    encoder = load(f"{name}={path}", architecture=numbers)
    assert isinstance(encoder, NetworkEncoder)
    return encoder


def error_of(case: str, encoder: NetworkEncoder, name: str) -> float:
    """Difference of the output `name` for a clip from the known one, in its standard deviations."""
    with np.load(official_encoders() / official_cases()[case]["io"]) as io:
        if f"{name}_video" in io:
            return golden.compare_output(
                {name: [encoder(golden.clips(io["video"])).clip]}, (name, name), io[f"{name}_video"]
            )[0]
        output = golden.outputs_of(encoder, golden.clips(io["video"]))
        return golden.compare_output(output, (name, name), io[name])[0]


def moved(state: State) -> State:
    return {key: tensor + 0.1 for key, tensor in state.items()}


@pytest.fixture
def tuned() -> State:
    content = official(TUNED)
    return dict(next(content[key] for key in ("module", "model") if key in content))


@pytest.mark.parametrize(
    ("first", "second"),
    [("model", "model_ema"), ("module", "module_ema"), ("model", "ema"), ("model", "state_dict")],
)
def test_the_copy_that_was_taken_is_said_and_the_other_can_be_chosen(
    first: str, second: str, tuned: State, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "both.pth"
    torch.save({first: tuned, second: moved(tuned), "epoch": 3}, path)
    with caplog.at_level(logging.WARNING, "vitascope"):
        plain = opened(TUNED, "videomae/large-ft", path)
    assert error_of(TUNED, plain, "pooled") <= golden.LIMIT
    assert f"taken from {first!r}" in plain.loaded
    assert f"not used: {second} ({len(tuned)}, another copy of the network: +weights={second})" in plain.loaded
    said = f"{path}: holds the network twice; taking {first}, not {second} (videomae/large-ft+weights={second})"
    assert caplog.messages == [said]
    other = opened(TUNED, f"videomae/large-ft+weights={second}", path)
    assert error_of(TUNED, other, "pooled") > 0.01
    assert other.card.name == f"videomae/large-ft+weights:{second}"
    assert other.card.options == ""  # as comparable as other weights of the same network
    assert other.card.digest != plain.card.digest
    assert f"not used: {first} (" in other.loaded
    if "ema" in second:
        assert opened(TUNED, "videomae/large-ft+weights=ema", path).card.digest == other.card.digest
    assert len(caplog.messages) == 1


def test_tensors_of_every_part_of_a_file_are_counted(tuned: State, tmp_path: Path) -> None:
    ones = torch.ones(2)
    optimizer = {"state": {0: {"exp_avg": ones, "exp_avg_sq": ones}, 1: {"exp_avg": ones}}, "param_groups": [{"lr": 1}]}
    content = {"module": {**tuned, "inner": {"x": ones}}, "optimizer": optimizer, "scale": ones}
    torch.save(content, tmp_path / "x.pth")
    told = opened(TUNED, "videomae/large-ft", tmp_path / "x.pth").loaded
    assert told.endswith("; not used: top level (1), module.inner (1), optimizer (3)")
    assert "taken from" not in told


@pytest.mark.parametrize("key", ["state_dict", "model_ema", "student", "net"])
def test_the_only_network_of_a_file_is_taken_under_any_key(key: str, tuned: State, tmp_path: Path) -> None:
    torch.save({key: tuned, "optimizer": {"state": {"0": {"exp_avg": torch.ones(2)}}}}, tmp_path / "x.pth")
    encoder = opened(TUNED, "videomae/large-ft", tmp_path / "x.pth")
    assert error_of(TUNED, encoder, "pooled") <= golden.LIMIT
    assert f"taken from {key!r}" in encoder.loaded


@pytest.mark.parametrize(("first", "second"), [("state_dict", "state_dict_ema"), ("student", "teacher"), ("a", "ema")])
def test_of_two_under_unusual_keys_one_must_be_chosen(first: str, second: str, tuned: State, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({first: tuned, second: moved(tuned)}, path)
    said = (
        f"holds the network 2 times, under {first} (45 tensors), {second} (45 tensors); choose one, for example "
        f"videomae/large-ft+weights={first}={path}"
    )
    with pytest.raises(ValueError, match=re.escape(said)):
        opened(TUNED, "videomae/large-ft", path)
    assert error_of(TUNED, opened(TUNED, f"videomae/large-ft+weights={first}", path), "pooled") <= golden.LIMIT
    assert error_of(TUNED, opened(TUNED, f"videomae/large-ft+weights={second}", path), "pooled") > 0.01


def test_a_copy_that_is_not_there_is_said_with_those_that_are(tuned: State, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"model": tuned, "model_ema": moved(tuned)}, path)
    said = (
        "weights=model_em is not in the file; did you mean 'model_ema'?; it holds the network under model (45 tensors)"
    )
    with pytest.raises(ValueError, match=re.escape(said)):
        opened(TUNED, "videomae/large-ft+weights=model_em", path)
    torch.save({"model": tuned}, path)
    with pytest.raises(ValueError, match="weights=ema is not in the file"):
        opened(TUNED, "videomae/large-ft+weights=ema", path)


def test_the_context_encoder_of_vjepa_can_be_chosen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = dict(official("vjepa-vit_l"))
    content["encoder"] = moved(content["target_encoder"])
    torch.save(content, tmp_path / "x.pth")
    target = opened("vjepa-vit_l", "vjepa/large", tmp_path / "x.pth")
    assert error_of("vjepa-vit_l", target, "tokens") <= golden.LIMIT
    assert "encoder (41, another copy of the network: +weights=encoder)" in target.loaded
    assert not caplog.messages  # its files always hold both, and the target encoder is the published one
    assert (
        error_of("vjepa-vit_l", opened("vjepa-vit_l", "vjepa/large+weights=encoder", tmp_path / "x.pth"), "tokens") > 1
    )


def test_the_option_is_listed() -> None:
    rows = settings.options(settings.configured("videomae/large-ft"))
    assert [row.constraint for row in rows if row.name == "weights"] == ["a key of the file"]
    with pytest.raises(ValueError, match="released embeddings take no options"):
        load("twlv/base-published+weights=ema=somewhere")


def test_converted_weights_are_those_that_were_chosen(tuned: State, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"model": moved(tuned), "model_ema": tuned}, path)
    numbers, _ = golden.known_numbers(models("videomae")["large-ft"], official_cases()[TUNED]["architecture"])
    convert(path, "videomae/large-ft+weights=ema", tmp_path / "out", architecture=numbers)
    encoder = load(f"videomae/large-ft={tmp_path / 'out'}")
    assert isinstance(encoder, NetworkEncoder)
    assert error_of(TUNED, encoder, "pooled") <= golden.LIMIT
    assert encoder.card.digest == opened(TUNED, "videomae/large-ft+weights=ema", path).card.digest


def test_layer_scale_is_read(tuned: State, tmp_path: Path) -> None:
    """A branch whose last matrix is divided by its layer scale gives what it gave without."""
    scaled = dict(tuned)
    for i in {key.split(".")[1] for key in tuned if key.startswith("blocks.")}:
        for number, last in ((1, "attn.proj"), (2, "mlp.fc2")):
            gamma = 0.5 + torch.rand(tuned[f"blocks.{i}.{last}.bias"].shape, generator=generator(number))
            scaled[f"blocks.{i}.gamma_{number}"] = gamma
            scaled[f"blocks.{i}.{last}.weight"] = tuned[f"blocks.{i}.{last}.weight"] / gamma[:, None]
            scaled[f"blocks.{i}.{last}.bias"] = tuned[f"blocks.{i}.{last}.bias"] / gamma
    torch.save({"module": scaled}, tmp_path / "x.pth")
    encoder = opened(TUNED, "videomae/large-ft", tmp_path / "x.pth")
    assert "with layer scale" in encoder.loaded
    assert error_of(TUNED, encoder, "pooled") <= golden.LIMIT
    numbers, _ = golden.known_numbers(models("videomae")["large-ft"], official_cases()[TUNED]["architecture"])
    convert(tmp_path / "x.pth", "videomae/large-ft", tmp_path / "out", architecture=numbers)
    assert load(f"videomae/large-ft={tmp_path / 'out'}").card.digest == encoder.card.digest
    del scaled["blocks.1.gamma_2"]
    torch.save({"module": scaled}, tmp_path / "x.pth")
    with pytest.raises(ValueError, match=re.escape("missing blocks.1.ls2.gamma (in the file blocks.1.gamma_2)")):
        opened(TUNED, "videomae/large-ft", tmp_path / "x.pth")


def test_a_state_dict_of_transformers_as_it_is_in_memory(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    tiny = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.VideoMAEConfig(
        **tiny, image_size=32, patch_size=16, num_frames=4, use_mean_pooling=False, layer_norm_eps=1e-6
    )
    model = transformers.VideoMAEModel(config).eval()
    for weight in model.parameters():
        weight.data.normal_(std=0.2, generator=generator(weight.numel()))
    torch.save(model.state_dict(), tmp_path / "x.pth")
    numbers = {"dim": 24, "depth": 2, "heads": 2, "mlp": 32, "img": 32, "frames": 4}
    encoder = load(f"videomae/base-pt={tmp_path / 'x.pth'}", architecture=numbers)
    clips = torch.randn(2, 3, 4, 32, 32, generator=generator(1))
    with torch.no_grad():
        expected = model(pixel_values=clips.transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(encoder(clips).grid.flatten(1, 3), expected, rtol=1e-4, atol=1e-5)


IMAGE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
IN_MEMORY: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov2/base": ("Dinov2Model", {**IMAGE, "mlp_ratio": 2}),
    "dinov2/base-reg": ("Dinov2WithRegistersModel", {**IMAGE, "mlp_ratio": 2}),
    "dinov3/base": ("DINOv3ViTModel", {**IMAGE, "num_register_tokens": 4, "intermediate_size": 32}),
    "clip/base": ("CLIPVisionModelWithProjection", {**IMAGE, "projection_dim": 12, "intermediate_size": 32}),
    "siglip2/base": ("SiglipVisionModel", {**IMAGE, "intermediate_size": 32, "hidden_act": "gelu_pytorch_tanh"}),
    "vjepa2/large-context": (
        "VJEPA2Model",
        {
            **{key: value for key, value in IMAGE.items() if key != "image_size"},
            "crop_size": 32,
            "frames_per_clip": 4,
            "mlp_ratio": 2,
            "pred_hidden_size": 24,
            "pred_num_hidden_layers": 1,
            "pred_num_attention_heads": 2,
        },
    ),
}


@pytest.mark.parametrize("name", IN_MEMORY)
def test_state_dicts_in_memory_are_read_for_every_family_of_both(name: str, tmp_path: Path) -> None:
    """`torch.save(model.state_dict())` instead of `save_pretrained`: other names for some models, and no config."""
    transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
    kind, given = IN_MEMORY[name]
    model = getattr(transformers, kind)(getattr(transformers, kind).config_class(**given)).eval()
    for weight in model.parameters():
        weight.data.normal_(std=0.2, generator=generator(weight.numel()))
    torch.save(model.state_dict(), tmp_path / "x.pth")
    family, _, variant = name.partition("/")
    read = models(family)[variant].from_config
    assert read
    encoder = load(f"{name}={tmp_path / 'x.pth'}", architecture=read(model.config.to_dict()))
    clips = torch.randn(1, 3, 4, 32, 32, generator=generator(1))
    with torch.no_grad():
        if family == "vjepa2":
            out = model(pixel_values_videos=clips.transpose(1, 2), skip_predictor=True).last_hidden_state.mean(1)
        else:
            outputs = model(pixel_values=clips[0].transpose(0, 1))
            out = (outputs.image_embeds if family == "clip" else outputs.pooler_output).mean(0, keepdim=True)
    torch.testing.assert_close(encoder(clips).clip, out, rtol=1e-3, atol=1e-4)


TIMM = (
    ("conv1", "patch_embed.proj"),
    ("positional_embedding", "pos_embed"),
    ("transformer.resblocks.", "blocks."),
    ("ln_pre", "norm_pre"),
    ("ln_post", "norm"),
    ("ln_", "norm"),
    ("ls_1.gamma", "gamma_1"),
    ("ls_2.gamma", "gamma_2"),
    ("in_proj_", "qkv."),
    ("out_proj", "proj"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
    ("attn_pool.attn", "attn_pool"),
    ("attn_pool.layernorm", "attn_pool.norm"),
    ("attn_pool.probe", "attn_pool.latent"),
)
"""What timm calls the parts of a file in the layout of OpenCLIP (its function `_convert_pe`)."""


def as_timm(state: State) -> State:
    """The image tower of an OpenCLIP file under timm's names, in its shapes."""
    out: State = {}
    for key, tensor in ((k.removeprefix("visual."), v) for k, v in state.items() if k.startswith("visual.")):
        for theirs, timm in TIMM:
            key = key.replace(theirs, timm)
        if key.startswith("attn_pool.qkv."):
            d, end = len(tensor) // 3, key.rpartition(".")[2]
            out |= {f"attn_pool.q.{end}": tensor[:d], f"attn_pool.kv.{end}": tensor[d:]}
        elif key == "proj":
            out |= {"head.weight": tensor.T, "head.bias": torch.zeros(tensor.shape[1])}
        else:
            out[{"class_embedding": "cls_token"}.get(key, key)] = (
                tensor[None, None] if key == "class_embedding" else tensor[None] if key == "pos_embed" else tensor
            )
    return out


@pytest.mark.parametrize(
    ("case", "name", "output"),
    [("pe-core_b16", "pe/base", "pooled_video"), ("openclip_dfn-h14", "dfn/h14", "pooled")],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_names_of_timm_are_read(case: str, name: str, output: str, wrapped: bool, tmp_path: Path) -> None:
    content = official(case)
    state = as_timm(content.get("state_dict", content))
    if wrapped:  # by OpenCLIP, which keeps the projection beside the trunk and without a bias
        head = state.pop("head.weight")
        del state["head.bias"]
        state = {f"visual.trunk.{key}": tensor for key, tensor in state.items()} | {"visual.head.proj.weight": head}
        state |= {"text.x": torch.ones(2), "logit_scale": torch.ones(())}
    torch.save(state, tmp_path / "x.pth")
    encoder = opened(case, name, tmp_path / "x.pth")
    assert encoder.loaded.startswith("timm file: all of")
    with np.load(official_encoders() / official_cases()[case]["io"]) as io:
        expected = io[output]
        clip = encoder(golden.clips(io["video"])).clip.numpy()
    assert np.abs(clip - expected).max() / expected.std() <= golden.LIMIT
    if not wrapped:
        torch.save({**state, "head.bias": torch.ones(len(state["head.bias"]))}, tmp_path / "x.pth")
        with pytest.raises(ValueError, match=re.escape("surplus proj.bias (in the file head.bias)")):
            opened(case, name, tmp_path / "x.pth")


def test_names_of_timm_for_dinov2_with_registers(tmp_path: Path) -> None:
    case = "dino-v2_l14_reg"
    state = dict(official(case))
    state.pop("mask_token", None)
    state["reg_token"] = state.pop("register_tokens")
    state["cls_token"] = state["cls_token"] + state["pos_embed"][:, :1]
    state["pos_embed"] = state["pos_embed"][:, 1:]
    torch.save(state, tmp_path / "x.pth")
    encoder = opened(case, "dinov2/large-reg", tmp_path / "x.pth")
    assert encoder.loaded.startswith("timm, with registers file: all of")
    assert error_of(case, encoder, "pooled") <= golden.LIMIT


def test_names_of_timm_for_dinov3(tmp_path: Path) -> None:
    case = "dino-v3_l16"
    state = {key: tensor for key, tensor in official(case).items() if not re.search("rope|mask", key)}
    for key in [key for key in state if key.endswith("attn.qkv.bias")]:
        q, _, v = state.pop(key).chunk(3)
        state |= {key.replace("qkv.bias", "q_bias"): q, key.replace("qkv.bias", "v_bias"): v}
    state["reg_token"] = state.pop("storage_tokens")
    state = {re.sub(r"ls([12])\.gamma", r"gamma_\1", key): tensor for key, tensor in state.items()}
    torch.save(state, tmp_path / "x.pth")
    encoder = opened(case, "dinov3/large", tmp_path / "x.pth")
    assert encoder.loaded.startswith("timm file: all of")
    assert error_of(case, encoder, "pooled") <= golden.LIMIT


@pytest.mark.parametrize("size", ["small-plus", "base"])
def test_names_of_timm_for_dinov3_without_biases(size: str, tmp_path: Path) -> None:
    numbers = {"dim": 48, "depth": 2, "heads": 3, "mlp": 64, "side": 32}
    wanted = empty(models("dinov3")[size].shape.updated(numbers)).state_dict()
    state: State = {}
    for key, tensor in wanted.items():
        values = torch.randn(tensor.shape, generator=generator(len(key)))
        key = re.sub(r"ls([12])\.gamma", r"gamma_\1", key).replace("patch_embed.", "patch_embed.proj.")
        key = key.replace("register_tokens", "reg_token").replace("mlp.w3", "mlp.fc2")
        if "mlp.w12" in key:
            gate, value = values.chunk(2)
            state |= {key.replace("w12", "fc1_g"): gate, key.replace("w12", "fc1_x"): value}
        elif not key.endswith(("qkv.bias", "periods")):
            state[key] = values
    torch.save(state, tmp_path / "x.pth")
    encoder: Any = load(f"dinov3/{size}={tmp_path / 'x.pth'}", architecture=numbers)
    block = encoder.network.model.blocks[1]
    assert not block.attn.qkv.bias.any()
    if size == "small-plus":
        assert torch.equal(block.mlp.w12.weight[:64], state["blocks.1.mlp.fc1_g.weight"])


CASES: dict[str, Callable[[Path], Any]] = {
    "model_and_model_ema": lambda folder: golden.run(folder),
    "videomae_gamma": lambda folder: golden.run(folder),
    "transformers_fine_tuned_videomae": lambda folder: load(f"hf:{folder / 'model'}"),
    "hf_xclip": lambda folder: load(f"hf:{folder}"),
}


@pytest.mark.parametrize("name", CASES)
def test_files_that_people_have(name: str) -> None:
    folder = SHARED / "cases" / name
    if not folder.is_dir():
        pytest.skip(f"the files are absent: there is no ../shared/cases/{name}")
    result = CASES[name](folder)
    assert not isinstance(result, list) or all(row.ok for row in result), json.dumps([row.why for row in result])
