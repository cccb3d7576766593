"""Fixture folders: what is right passes, and whatever is wrong is one line in a row of its own."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import FIXTURES, official_cases, official_encoders
from vitascope.core.device import generator
from vitascope.encoders import golden
from vitascope.encoders.base import NetworkEncoder
from vitascope.encoders.catalog import models
from vitascope.encoders.families import umt
from vitascope.encoders.load import load
from vitascope.nn.video_vit import VideoViT

ARCHITECTURE = {
    "model": "umt",
    "variant": "s1_l",
    "dim": 32,
    "depth": 2,
    "heads": 2,
    "mlp_ratio": 2.0,
    "patch": 16,
    "tubelet": 1,
    "frames": 4,
    "img": 32,
    "pos": "sinusoid_1d_flat",
    "qkv_bias": "q_v",
    "size": "tiny",
    "seed": 3,
}
Arrays = dict[str, np.ndarray[Any, Any]]


def network(seed: int = 0) -> VideoViT:
    """A small first-stage UMT in which every number is drawn."""
    trunk = VideoViT(umt.MODELS["large-s1"].shape.updated(ARCHITECTURE)).eval().requires_grad_(False)
    rng = generator(seed)
    for parameter in trunk.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=rng))
    for name, rows in trunk.tables().items():
        trunk.register_buffer(name, rows)
    return trunk


def official(trunk: VideoViT) -> dict[str, Tensor]:
    """The names and tensors that the official code would write."""
    state = {}
    for name, tensor in trunk.state_dict().items():
        if name.endswith("attn.qkv.bias"):
            q, k, v = tensor.chunk(3)
            k.zero_()  # the official code has none
            state |= {f"encoder.{name[:-8]}q_bias": q.clone(), f"encoder.{name[:-8]}v_bias": v.clone()}
        elif name != "pos_embed":
            state[f"encoder.{name}"] = tensor
    return state | {"clip_decoder.0.head.weight": torch.zeros(3, 3)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One case, `umt-s1_l`: a clip, a longer one, an image with the channels last; and what the network says."""
    trunk, rng = network(), generator(1)
    torch.save(official(trunk), tmp_path / "umt.pth")
    given = {
        "video": torch.randn(1, 3, 4, 32, 32, generator=rng),
        "video_t": torch.randn(1, 3, 6, 48, 32, generator=rng),
        "image": torch.randn(2, 3, 32, 32, generator=rng),
    }
    parts = {name: trunk.parts(x if x.ndim == 5 else x[:, :, None]) for name, x in given.items()}
    arrays = {
        **given,
        "image": given["image"].permute(0, 2, 3, 1),
        **{name: parts["video"][name] for name in ("tokens", "pooled", "grid", "pooled_per_frame")},
        "tokens_t": parts["video_t"]["tokens"].unflatten(1, (6, 6)),
        "pooled_image": parts["image"]["pooled"],
        "attn_pooled": torch.ones(1, 32),
    }
    write(tmp_path, {name: array.numpy() for name, array in arrays.items()})
    return tmp_path


def write(folder: Path, arrays: Arrays, **changes: Any) -> None:
    np.savez(folder / "umt.io.npz", **arrays)  # type: ignore[arg-type]
    listed = {name: list(array.shape) for name, array in arrays.items()}
    case = {"name": "umt-s1_l", "checkpoint": "umt.pth", "io": "umt.io.npz", "hf": None, "arrays": listed}
    (folder / "index.json").write_text(json.dumps([case | {"architecture": ARCHITECTURE} | changes]))


def change(folder: Path, **changes: Any) -> None:
    """Other words in the index; None takes one out."""
    case = json.loads((folder / "index.json").read_text())[0] | changes
    (folder / "index.json").write_text(json.dumps([{k: v for k, v in case.items() if v is not None}]))


def arrays(folder: Path) -> Arrays:
    with np.load(folder / "umt.io.npz") as file:
        return dict(file)


def test_what_is_right_passes(folder: Path) -> None:
    (row,) = golden.run(folder)
    assert row.ok, row.why
    assert (row.case, row.encoder, row.why) == ("umt-s1_l", "umt/large-s1", "")
    assert set(row.outputs) == {"tokens", "pooled", "grid", "pooled_per_frame", "tokens_t", "pooled_image"}
    assert max(row.outputs.values()) <= golden.LIMIT
    assert row.coverage.startswith("stage 1 file: all of 29 tensors; computed: pos_embed; left out: clip_decoder")
    assert "attn_pooled is not part of the encoder" in row.coverage


@pytest.mark.parametrize("name", ["tokens", "pooled", "tokens_t", "pooled_image", "pooled_per_frame"])
def test_an_output_that_is_off_fails_by_name(folder: Path, name: str) -> None:
    known = arrays(folder)
    known[name].flat[0] += 1e-3 * known[name].std()
    write(folder, known)
    (row,) = golden.run(folder)
    assert not row.ok
    assert row.why.startswith(f"{name} is 0.001 standard deviations off (limit 2e-05)")
    assert row.outputs[name] == pytest.approx(1e-3, rel=0.05)


def without(name: str) -> Callable[[Path], object]:
    def act(folder: Path) -> None:
        known = arrays(folder)
        write(folder, {k: v for k, v in known.items() if k != name})
        change(folder, arrays={k: [] for k in known})

    return act


def only(*names: str) -> Callable[[Path], object]:
    return lambda folder: write(folder, {k: v for k, v in arrays(folder).items() if k in names})


def extra(name: str, array: np.ndarray[Any, Any]) -> Callable[[Path], object]:
    return lambda folder: write(folder, {**arrays(folder), name: array})


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown model": (
        lambda f: change(f, architecture={**ARCHITECTURE, "model": "umr"}),
        "no encoder family for model 'umr'; did you mean 'umt'?; families: ",
    ),
    "corrupt file": (lambda f: (f / "umt.pth").write_bytes(b"no weights"), "umt.pth"),
    "half a file": (lambda f: (f / "umt.pth").write_bytes((f / "umt.pth").read_bytes()[:3000]), "umt.pth"),
    "no file": (lambda f: (f / "umt.pth").unlink(), "umt.pth: no such file"),
    "no io file": (lambda f: (f / "umt.io.npz").unlink(), "umt.io.npz: no readable arrays"),
    "corrupt io": (lambda f: (f / "umt.io.npz").write_bytes(b"PK no arrays"), "umt.io.npz: no readable arrays"),
    "io is not named": (lambda f: change(f, io=None), "names no io file"),
    "no checkpoint is named": (lambda f: change(f, checkpoint=None), "names no checkpoint"),
    "not an object": (lambda f: (f / "index.json").write_text('["umt"]'), "names no checkpoint"),
    "an array is absent": (without("pooled"), "umt.io.npz: lacks pooled, which the index lists"),
    "no input": (only("tokens"), "umt.io.npz: no video or image among tokens"),
    "no output": (only("video"), "umt.io.npz: no outputs among video"),
    "nothing that an encoder has": (only("video", "attn_pooled"), "nothing to compare"),
    "an output that nobody gives": (extra("tokenz", np.ones(3)), "tokenz is not an output; did you mean 'tokens'?"),
    "another shape": (extra("pooled", np.ones((1, 31))), "pooled is 1 x 32, not 1 x 31"),
    "not a number": (extra("pooled", np.full((1, 32), np.nan)), "pooled is inf standard deviations off"),
    "another grid": (extra("grid", np.array([4, 2, 3])), "grid is inf standard deviations off"),
}


@pytest.mark.parametrize("what", WRONG)
def test_whatever_is_wrong_is_one_line(folder: Path, what: str) -> None:
    act, said = WRONG[what]
    act(folder)
    (row,) = golden.run(folder)
    assert not row.ok
    assert said in row.why
    assert "\n" not in row.why
    json.dumps(row.outputs, allow_nan=False)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    state = torch.load(folder / "umt.pth", weights_only=True)
    del state["encoder.blocks.1.mlp.fc2.bias"]
    torch.save(state, folder / "umt.pth")
    (row,) = golden.run(folder)
    assert not row.ok
    assert "missing blocks.1.mlp.fc2.bias" in row.why


def test_a_file_of_a_sibling_is_opened_and_said(folder: Path) -> None:
    change(folder, architecture={**ARCHITECTURE, "variant": "s2_l"})
    (row,) = golden.run(folder)
    assert row.ok, row.why
    assert row.encoder == "umt/large-s1"
    assert row.coverage.count("not umt/large-s2, the best match by name") == 1


def test_what_the_call_returns_is_judged_beside_the_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = VideoViT.forward
    monkeypatch.setattr(VideoViT, "forward", lambda self, x: (forward(self, x)[0], forward(self, x)[1] + 1))
    (row,) = golden.run(folder)
    assert not row.ok
    assert re.match(r"pooled is .* standard deviations off.*; pooled_image is ", row.why)


def test_a_model_that_pools_nothing_is_judged_by_its_sequence() -> None:
    sequence = torch.randn(1, 5, 8, generator=generator(4))
    mean = sequence[:, 1:].mean(1)

    class Network(nn.Module):
        def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
            return sequence[:, 1:].reshape(1, 1, 2, 2, 8), mean

        def parts(self, clips: Tensor) -> dict[str, Tensor]:
            return {"sequence": sequence, "pooled": mean}

    encoder = NetworkEncoder(umt.MODELS["large-s1"].card, Network())
    said = golden.outputs_of(encoder, torch.zeros(1, 3, 1, 2, 2))
    assert golden.compare_output(said, ("pooled", "pooled"), sequence.numpy()) == (0, "")
    assert golden.compare_output(said, ("pooled", "pooled"), mean.numpy()) == (0, "")
    assert "standard deviations off" in golden.compare_output(said, ("pooled", "pooled"), mean.numpy() + 1)[1]


def test_cases_are_chosen_by_name_and_one_failure_does_not_stop_the_rest(folder: Path) -> None:
    good = json.loads((folder / "index.json").read_text())[0]
    (folder / "index.json").write_text(json.dumps([good | {"name": "bad", "io": "gone.npz"}, good, good]))
    assert [row.ok for row in golden.run(folder)] == [False, True, True]
    assert [row.case for row in golden.run(folder, ["bad"])] == ["bad"]
    with pytest.raises(ValueError, match="no case 'umt-s1_m'; did you mean 'umt-s1_l'"):
        golden.run(folder, ["umt-s1_m"])


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}"])
def test_a_folder_without_cases_is_an_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "index.json").write_text(text)
    with pytest.raises(ValueError, match=r"index\.json: (no (list of )?cases|invalid JSON)"):
        golden.run(tmp_path)


def test_outputs_belong_to_the_input_that_their_name_ends_with() -> None:
    given = ["video", "image", "image2", "image_rect", "video_rect", "video_interp"]
    asked = {
        "tokens": ("image", "tokens"),
        "tokens2": ("image2", "tokens"),
        "tokens_rect": ("image_rect", "tokens"),
        "tokens_video_rect": ("video_rect", "tokens"),
        "pooled_video": ("video", "pooled"),
        "cls_image": ("image", "cls"),
        "tokens_interp": ("video_interp", "tokens"),
        "pooled_mean_of_norm": ("image", "pooled_mean_of_norm"),
    }
    assert {name: golden.input_of(name, given, "image") for name in asked} == asked
    assert golden.input_of("tokens_rect", given, "video") == ("video_rect", "tokens")


def test_differences_are_in_standard_deviations_and_whole_numbers_are_equal() -> None:
    known = np.array([0.0, 2.0])
    assert golden.difference(np.array([0.0, 2.5]), known) == 0.5
    assert golden.difference(np.array([3.0, 3.5]), np.array([3.0, 3.0])) == 0.5
    assert golden.difference(np.array([1, 2]), np.array([1, 2])) == 0
    assert golden.difference(np.array([1, 2]), np.array([1, 3])) == np.inf


def test_words_of_a_case_find_the_variant() -> None:
    assert golden.words_of("v2_l14_reg") == {"v2", "l14", "large", "14", "reg", "registers"}
    assert golden.words_of("vit_h384") == {"vit", "h384", "huge", "384"}
    assert golden.words_of("vit_b") == {"vit", "b", "base"}
    assert golden.words_of("v3_s16plus") == {"v3", "s16", "small", "16", "plus"}
    assert golden.words_of("vit7b16 so400m14") == {"vit", "7b", "16", "so400m", "14"}
    assert golden.candidates({"model": "dinov3", "variant": "v3_h16plus"}, "")[0].card.name == "dinov3/huge-plus"
    assert golden.candidates({"model": "dinov2", "variant": "l14", "registers": 4}, "")[0].card.name == (
        "dinov2/large-reg"
    )
    assert golden.candidates({"model": "umt", "variant": "s2_interp8_b"}, "")[0].card.name == "umt/base-s2"
    assert golden.candidates({"model": "umt", "variant": "ft_l"}, "")[0].card.name == "umt/large-ft"
    assert golden.candidates({"model": "openclip_vit", "variant": "hf"}, "")[0].card.name == "dfn/h14"
    assert golden.candidates({"model": "hf_image", "variant": "clip_b16"}, "")[0].card.name == "clip/base"
    assert golden.candidates({"model": "vjepa2_1", "variant": "vit_g"}, "")[0].card.name == "vjepa2/giant-2.1"
    assert golden.candidates({}, "umt-s1_b")[0].card.name == "umt/base-s1"


def test_the_table_names_the_worst_output_and_what_failed() -> None:
    good = golden.GoldenResult(case="a", encoder="f/v", outputs={"x": 1e-7, "y": 2e-6}, coverage="all", ok=True, why="")
    bad = golden.GoldenResult(case="b", encoder="", outputs={}, coverage="", ok=False, why="a|b")
    assert golden.table([good, bad]).splitlines()[2:] == [
        "| a | f/v | y | 2.0e-06 | all |",
        "| b |  |  |  | **failed**: a\\|b |",
    ]


@pytest.mark.parametrize("name", official_cases())
def test_every_published_encoder_gives_what_the_official_code_gives(name: str) -> None:
    for row in golden.run(official_encoders(), [name]):
        assert row.ok, row.why


def test_what_the_index_says_beside_the_numbers_is_told_and_harmless() -> None:
    model = models("umt")["large-s1"]
    numbers, unread = golden.known_numbers(model, {"dim": 64, "heads": 4, "clip_return_layer": 3, "masking": "none"})
    assert numbers == {"dim": 64, "heads": 4}
    assert sorted(unread) == ["clip_return_layer", "masking"]


def test_a_case_made_with_the_authors_code_is_met_and_wants_its_own_stage(tmp_path: Path) -> None:
    folder = FIXTURES / "encoders"
    (row,) = golden.run(folder)
    assert row.ok, row.why
    assert row.encoder == "umt/large-s2"
    assert set(row.outputs) == {"tokens", "pooled", "pooled_per_frame", "grid"}
    assert max(row.outputs.values()) <= 5e-6
    with pytest.raises(ValueError, match="stage 2"):
        load(f"umt/large-s1={folder}/umt-s2_l.pth")
