"""A file that is not the one asked for is said to be what it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vitascope.encoders.catalog import models
from vitascope.encoders.load import load
from vitascope.encoders.networks import empty
from vitascope.encoders.spec import CheckpointLayout
from vitascope.encoders.weights import diagnose, state_dict

SMALL = {"dim": 48, "depth": 2, "heads": 3, "mlp_ratio": 2, "patch": 8, "frames": 4, "img": 16}


def shaped(name: str, architecture: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
    """Tensors under our names with the shapes of a published model and without numbers, tables left out."""
    family, _, variant = name.partition("/")
    shape = models(family)[variant].shape
    network = empty(shape.updated(architecture) if architecture else shape)
    tables = network.tables() if hasattr(network, "tables") else {}
    return {key: tensor for key, tensor in network.state_dict().items() if key not in tables}


def parted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With a bias of queries and of values instead of one for all, as the VideoMAE family keeps them."""
    out: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key.endswith("qkv.bias"):
            q, _, v = tensor.chunk(3)
            out |= {key.replace("qkv.bias", "q_bias"): q, key.replace("qkv.bias", "v_bias"): v}
        else:
            out[key] = tensor
    return out


def prefixed(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in state.items()}


def numbers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: torch.ones(tensor.shape) for key, tensor in state.items()}


def stage_1(size: str) -> dict[str, Tensor]:
    return prefixed(parted(shaped(f"umt/{size}-s1")), "encoder.")


def unopened(content: Mapping[str, Any], name: str) -> str:
    family, _, variant = name.partition("/")
    return diagnose.why_no_layout(content, models(family)[variant].layouts, name)


def misfit(content: Mapping[str, Any], name: str) -> str:
    """As loading says it, for tensors without numbers."""
    family, _, variant = name.partition("/")
    model = models(family)[variant]
    with pytest.raises(ValueError) as error:
        state_dict.fit_state_dict(model, empty(model.shape), content, name, "f.pth")
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"f.pth: not {name} (")
    return message


ONES = torch.ones(2)
ATTENTIVE = {"module.pooler.query_tokens": ONES, "module.pooler.cross_attention_block.norm1.weight": ONES}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": {"head.weight": ONES, "head.bias": ONES}}, "only a fine-tuned head"),
        ({"module": {"module.head.weight": ONES, "module.fc_norm.bias": ONES}}, "only a fine-tuned head"),
        ({"decoder.blocks.0.norm1.weight": ONES, "mask_token": ONES}, "only a decoder"),
        ({"clip_decoder.0.head.weight": ONES}, "only a decoder"),
        ({"state_dict": {"text_model.encoder.x": ONES, "text_projection.weight": ONES}}, "only a text tower"),
        ({"transformer.resblocks.0.ln_1.weight": ONES, "token_embedding.weight": ONES}, "only a text tower"),
        ({"classifier": {**ATTENTIVE, "module.linear.weight": ONES}, "opt": {}}, "an attentive probe"),
        ({"classifiers": {"0": ATTENTIVE}, "epoch": 3}, "an attentive probe"),
        ({"optimizer": {"state": {"0": {"exp_avg": ONES}}}, "epoch": 2}, "only optimizer states"),
        ({"optimizer_state_dict": {"flat": ONES}}, "only optimizer states"),
        ({"epoch": 3, "args": None}, "it contains no tensors"),
        ({}, "it contains no tensors"),
    ],
)
def test_a_part_of_a_model_is_named(content: dict[str, Any], said: str) -> None:
    assert said in unopened(content, "umt/large-s1")


def test_a_head_that_bears_the_mark_of_a_fine_tuned_file() -> None:
    content = {"module": {"fc_norm.weight": ONES, "fc_norm.bias": ONES, "head.weight": ONES}}
    assert "only a fine-tuned head" in misfit(content, "umt/large-ft")


@pytest.mark.parametrize("name", ["umt/large-s1", "vjepa/large", "mvd/base-pt", "omnimae/base"])
def test_an_encoder_is_no_part(name: str) -> None:
    assert diagnose.lone_component({"": shaped(name)}) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: prefixed(s, "module."), "prefix 'module.': the model was saved in its DataParallel wrapper"),
        (lambda s: {"model": prefixed(s, "_orig_mod.")}, "prefix '_orig_mod.': the model was saved compiled"),
        (lambda s: {"ema": s}, "under 'ema', but in stage 1 files under the file itself or model or module"),
        (lambda s: {"a": {"b": s}}, "under 'a.b', but in stage 1 files"),
    ],
)
def test_what_hides_the_names_is_said(change: Callable[[dict[str, Tensor]], Any], said: str) -> None:
    assert said in unopened(change(stage_1("base")), "umt/base-s1")


def test_a_prefix_behind_the_mark_is_said() -> None:
    state = parted(shaped("mvd/base-ft"))
    content = {"module": {key if key.startswith("fc_norm") else f"module.{key}": t for key, t in state.items()}}
    content["module"] |= {"fc_norm.weight": content["module"].pop("module.norm.weight")}
    assert "prefix 'module.'" in misfit(content, "mvd/base-ft")


def test_another_variant_of_the_family_is_named() -> None:
    said = misfit(stage_1("base"), "umt/large-s1")
    assert "it seems to have dim 768, depth 12, but umt/large-s1 has 1024, 24" in said
    assert said.endswith("it fits umt/base-s1; use umt/base-s1=PATH")


def test_another_family_is_named() -> None:
    of_hiera = {"model_state": shaped("hiera/large-ft")}
    assert unopened(of_hiera, "dfn/h14") == "it fits hiera/large-ft; use hiera/large-ft=PATH"
    assert "it fits umt/large-s1; use" in misfit(stage_1("large"), "videomae/large-pt")


def test_small_models_of_another_family_are_told_by_their_names() -> None:
    of_vjepa = {"target_encoder": prefixed(shaped("vjepa/huge", SMALL), "module.backbone.")}
    assert unopened(of_vjepa, "dfn/h14") == "its tensor names are those of vjepa and vjepa2 in another size"


def test_names_that_fit_suggest_nothing() -> None:
    state = stage_1("base")
    state["encoder.blocks.3.mlp.fc1.weight"] = torch.empty(5, 768, device="meta")
    said = misfit(state, "umt/base-s1")
    assert said.endswith(
        "blocks.3.mlp.fc1.weight is [5, 768], not [3072, 768] (in the file encoder.blocks.3.mlp.fc1.weight)"
    )
    del state["encoder.blocks.3.mlp.fc1.weight"]
    assert misfit(state, "umt/base-s1").endswith(
        "missing blocks.3.mlp.fc1.weight (in the file encoder.blocks.3.mlp.fc1.weight)"
    )


def test_without_a_clue_what_is_there_and_what_is_wanted() -> None:
    layouts = (
        CheckpointLayout(name="x", mark="patch", containers=("model", "")),
        CheckpointLayout(name="y", mark="no", refused="why"),
    )
    said = diagnose.why_no_layout({"stem.weight": ONES, "neck.weight": ONES}, layouts, "a/b")
    assert said == "it contains stem.weight, neck.weight; expected 'patch' in model"


@pytest.mark.parametrize("family", ["vjepa", "vjepa2"])
def test_a_context_encoder_is_not_taken_for_the_target_encoder(tmp_path: Path, family: str) -> None:
    state = numbers(prefixed(shaped(f"{family}/large", SMALL), "module.backbone."))
    torch.save({"encoder": state, "predictor": {}}, tmp_path / "vitl.pt")
    with pytest.raises(ValueError, match="it has no target_encoder") as error:
        load(f"{family}/large={tmp_path / 'vitl.pt'}", architecture=SMALL)
    assert "context encoder" in str(error.value)


def test_circular_files_are_looked_into_once(tmp_path: Path) -> None:
    content: dict[str, Any] = {"x": ONES}
    content["self"] = content
    torch.save(content, tmp_path / "circle.pth")
    with pytest.raises(ValueError, match="it contains x, self; expected"):
        load(f"umt/large-s1={tmp_path / 'circle.pth'}")
