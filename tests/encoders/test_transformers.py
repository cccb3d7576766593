"""transformers models from folders: what is embedded, how pixels are wanted, and every way weights can fail to fit."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import official_encoders
from vitascope.encoders.base import Encoder
from vitascope.encoders.contract import check_encoder
from vitascope.encoders.families import transformers as hf
from vitascope.encoders.load import load

transformers = pytest.importorskip("transformers", reason="the extra [hf] is not installed")
safetensors = pytest.importorskip("safetensors.torch")

TINY = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
IMAGE = {**TINY, "image_size": 32, "patch_size": 8}
CLIP = {**IMAGE, "projection_dim": 12}
MODELS: dict[str, tuple[str, dict[str, Any], str, tuple[int, ...], int]] = {
    # name: class, settings, how it is summarized, grid of one clip, width of the vector
    "clip": ("CLIPVisionModelWithProjection", CLIP, "image_embeds", (16, 4, 4, 24), 12),
    "siglip": ("SiglipVisionModel", IMAGE, "pooler_output", (16, 4, 4, 24), 24),
    "dinov2": ("Dinov2Model", {**IMAGE, "mlp_ratio": 2}, "pooler_output", (16, 4, 4, 24), 24),
    "vit": ("ViTModel", IMAGE, "pooler_output", (16, 4, 4, 24), 24),
    "resnet": (
        "ResNetModel",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
        "pooler_output",
        (16, 4, 4, 16),
        16,
    ),
    "swin": (
        "SwinModel",
        {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
        "pooler_output",
        (16, 4, 4, 16),
        16,
    ),
    "videomae": ("VideoMAEModel", {**IMAGE, "num_frames": 4}, "mean of the patch tokens", (2, 4, 4, 24), 24),
    "vjepa2": (
        "VJEPA2Model",
        {
            **{k: v for k, v in TINY.items() if k != "intermediate_size"},
            "crop_size": 32,
            "patch_size": 8,
            "frames_per_clip": 4,
            "pred_hidden_size": 24,
            "pred_num_hidden_layers": 1,
            "pred_num_attention_heads": 2,
            "mlp_ratio": 2,
        },
        "mean of the patch tokens",
        (2, 4, 4, 24),
        24,
    ),
    "timesformer": ("TimesformerModel", {**IMAGE, "num_frames": 3}, "mean of the patch tokens", (3, 4, 4, 24), 24),
    "vivit": (
        "VivitModel",
        {**TINY, "image_size": 32, "num_frames": 4, "tubelet_size": [2, 8, 8]},
        "pooler_output",
        (2, 4, 4, 24),
        24,
    ),
    "videoprism": (
        "VideoPrismVisionModel",
        {
            **{k: v for k, v in TINY.items() if k != "num_hidden_layers"},
            "image_size": 32,
            "num_frames": 3,
            "tubelet_size": [1, 8, 8],
            "num_spatial_layers": 1,
            "num_temporal_layers": 1,
        },
        "mean of the patch tokens",
        (3, 4, 4, 24),
        24,
    ),
}
PREPROCESSOR = {
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.4, 0.5, 0.6],
    "size": {"shortest_edge": 40},
    "crop_size": {"height": 32, "width": 32},
    "do_center_crop": True,
}


def quietly(action: Callable[[], Any]) -> Any:
    with hf._quiet(transformers):
        return action()


def saved(folder: Path, name: str, *, preprocessor: dict[str, Any] | None = None) -> Any:
    """A model of random weights in `folder`, every one-dimensional weight of it non-trivial too."""
    kind, settings, *_ = MODELS[name]
    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, kind).config_class(**settings)).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    quietly(lambda: model.save_pretrained(folder))
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return model


def clips(encoder: Encoder, n: int = 1) -> torch.Tensor:
    card = encoder.card
    return torch.randn(n, 3, card.frames, card.size, card.size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MODELS)
def test_models_embed_as_transformers_does(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path, name, preprocessor=PREPROCESSOR)
    _, _, summary, grid, dim = MODELS[name]
    encoder = load(f"hf:{tmp_path}")
    card = encoder.card
    assert card.name == f"hf:{tmp_path.name}"
    assert (card.size, card.dim, card.mean, card.std) == (32, dim, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert card.pool.startswith(summary)
    x = clips(encoder)
    tokens = encoder(x)
    assert tokens.grid.shape == (1, *grid)
    with torch.no_grad():
        if len(x) and "frames" in card.pool:
            out = model(pixel_values=x[0].transpose(0, 1))
            expected = getattr(out, summary).flatten(1).mean(0, keepdim=True)
        else:
            skip = {"skip_predictor": True} if name == "vjepa2" else {}
            out = model(**{model.main_input_name: x.transpose(1, 2)}, **skip)
            whole = out.last_hidden_state[:, -int(np.prod(grid[:3])) :]
            expected = out.pooler_output if summary == "pooler_output" else whole.mean(1)
    torch.testing.assert_close(tokens.clip, expected, rtol=1e-4, atol=1e-5)
    check_encoder(encoder)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", ["videomae", "vjepa2", "timesformer", "vivit", "videoprism", "dinov2", "resnet", "swin"]
)
def test_grids_are_in_the_order_of_time_row_and_column(name: str, tmp_path: Path) -> None:
    """The token that answers most to a change of a block is the block's own."""
    saved(tmp_path, name, preprocessor=PREPROCESSOR)
    encoder = load(f"hf:{tmp_path}")
    for weight in encoder.parameters() if isinstance(encoder, torch.nn.Module) else ():
        weight.mul_(0.2 if weight.ndim > 1 else 1)  # shallow mixing
    x = clips(encoder)
    base = encoder(x).grid
    steps = [x.shape[2] // base.shape[1], x.shape[3] // base.shape[2], x.shape[4] // base.shape[3]]
    for place in ((0, 1, 3), (base.shape[1] - 1, 2, 0)):
        t, h, w = (slice(i * s, (i + 1) * s) for i, s in zip(place, steps, strict=True))
        other = x.clone()
        other[:, :, t, h, w] += 2
        moved = (encoder(other).grid - base).norm(dim=-1)[0]
        assert np.unravel_index(int(moved.argmax()), moved.shape) == place


def test_without_a_preprocessor_file_a_known_family_has_its_published_habits(tmp_path: Path) -> None:
    saved(tmp_path, "clip")
    card = load(f"hf:{tmp_path}").card
    assert (card.mean[0], card.resize, card.filter, card.size) == (0.48145466, "shorter", "bicubic", 32)
    saved(tmp_path / "other", "resnet")
    with pytest.raises(
        ValueError, match=r"the input normalization of 'resnet' is unknown; put the model's preprocessor_config\.json"
    ):
        load(f"hf:{tmp_path / 'other'}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "videomae",
            "its preprocessor gives 48 x 48 pixels, and config.json says 32 x 32; put the",
        ),
        ("vit", "the model does not take images of 48 x 48 pixels, which its preprocessor gives"),
    ],
)
def test_another_size_than_the_models_is_refused(name: str, said: str, tmp_path: Path) -> None:
    saved(tmp_path, name, preprocessor={**PREPROCESSOR, "size": {"shortest_edge": 56}, "crop_size": 48})
    with pytest.raises(ValueError, match=said):
        load(f"hf:{tmp_path}")


def test_a_convolutional_model_takes_the_preprocessors_size(tmp_path: Path) -> None:
    saved(tmp_path, "resnet", preprocessor={**PREPROCESSOR, "crop_size": 40})
    card = load(f"hf:{tmp_path}").card
    assert (card.size, card.crop_ratio, card.crop_rounding) == (40, 1.0, "down")


def edited(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = safetensors.load_file(folder / "model.safetensors")
    change(weights)
    safetensors.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _drop(w: dict[str, torch.Tensor]) -> None:
    del w["encoder.layer.0.attention.attention.q_bias"]


def _shorten(w: dict[str, torch.Tensor]) -> None:
    w["embeddings.patch_embeddings.projection.bias"] = torch.zeros(7)


def _add(w: dict[str, torch.Tensor]) -> None:
    w["encoder.layer.9.stray.weight"] = torch.zeros(7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, r"the weights do not fit VideoMAEModel with \d+ tensors: missing encoder\.layer\.0\.attention.*bias"),
        (_shorten, r"embeddings\.patch_embeddings\.projection\.bias is \[7\], not \[24\]"),
        (_add, r"unexpected encoder\.layer\.9\.stray\.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_tensor(change: Any, message: str, tmp_path: Path) -> None:
    saved(tmp_path, "videomae")
    edited(tmp_path, change)
    with pytest.raises(ValueError, match=message) as caught:
        load(f"hf:{tmp_path}")
    assert "\n" not in str(caught.value)


def test_weights_for_another_size_are_refused(tmp_path: Path) -> None:
    saved(tmp_path, "dinov2")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "image_size": 64}))
    with pytest.raises(ValueError, match=r"position_embeddings is \[1, 17, 24\], not \[1, 65, 24\]"):
        load(f"hf:{tmp_path}")


def test_heads_are_left_out_by_name(tmp_path: Path) -> None:
    saved(tmp_path, "videomae")
    edited(tmp_path, lambda w: w.update({"classifier.weight": torch.zeros(2, 24), "decoder.norm.bias": torch.zeros(3)}))
    assert load(f"hf:{tmp_path}").loaded.endswith("; left out: classifier (1), decoder (1)")


@pytest.mark.parametrize("name", ["CLIP", "Siglip"])
def test_of_a_model_of_image_and_text_the_image_tower_is_taken(name: str, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"vision_config": CLIP, "text_config": {**TINY, "vocab_size": 30, "eos_token_id": 2}}
    settings["text_config"] |= {"bos_token_id": 1, "pad_token_id": 0, "projection_dim": 12}
    config, kind = (getattr(transformers, name + part) for part in ("Config", "Model"))
    model = kind(config(**settings, **({"projection_dim": 12} if name == "CLIP" else {}))).eval()
    quietly(lambda: model.save_pretrained(tmp_path))
    encoder = load(f"hf:{tmp_path}")
    assert "text_model (" in getattr(encoder, "loaded", "")
    x = clips(encoder)
    with torch.no_grad():
        found = model.get_image_features(pixel_values=x[0].transpose(0, 1))
    expected = found if isinstance(found, torch.Tensor) else found.pooler_output
    torch.testing.assert_close(encoder(x).clip[0], expected.mean(0))


def test_a_missing_pooler_is_no_pooler(tmp_path: Path) -> None:
    saved(tmp_path, "vit")
    edited(tmp_path, lambda w: [w.pop(k) for k in list(w) if k.startswith("pooler.")] and None)
    assert load(f"hf:{tmp_path}").card.pool == "mean of the patch tokens, mean over the frames"


def test_clips_of_another_size_are_refused_by_video_models(tmp_path: Path) -> None:
    saved(tmp_path, "vjepa2")
    with pytest.raises(ValueError, match="vjepa2 takes clips of 4 x 32 x 32, not 4 x 48 x 48"):
        load(f"hf:{tmp_path}")(torch.zeros(1, 3, 4, 48, 48))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "config.json: "),
        ({"model_type": "vitt"}, "config.json: .*vitt"),
        ({"model_type": "bert"}, "'bert' is not an image or video encoder"),
        ({"model_type": "vit_mae"}, "masks its input at random"),
        ({"model_type": "vit", "image_size": 32, "patch_size": 8}, "the weights cannot be read"),
    ],
)
def test_folders_that_hold_no_encoder(content: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        load(f"hf:{tmp_path}")
    assert "\n" not in str(caught.value)


def test_unreadable_files_and_wrong_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"no config\.json; put the model's config\.json"):
        load(f"hf:{tmp_path}")
    with pytest.raises(
        ValueError, match=r"no such folder, and download failed .* put config\.json and model\.safetensors of"
    ):
        load("hf:nobody/nothing-of-the-kind")
    for name in ("../weights", "a/b/c", "", "a b"):
        with pytest.raises(ValueError, match=r"no such folder|no id"):
            load(f"hf:{name}")
    saved(tmp_path, "videomae")
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"weights cannot be read .* download model\.safetensors again"):
        load(f"hf:{tmp_path}")
    saved(tmp_path, "videomae")
    (tmp_path / "preprocessor_config.json").write_text("[")
    with pytest.raises(ValueError, match=r"preprocessor_config\.json: not an image preprocessor"):
        load(f"hf:{tmp_path}")


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'vitascope\[hf\]'"):
        load("hf:any/thing")


@pytest.mark.parametrize(
    "case", ["dino-v2_b14", "dino-v2_l14_reg", "dino-v3_l16", "hf_image-clip_l14", "hf_image-siglip2_b16"]
)
def test_published_layouts_give_the_official_numbers(case: str) -> None:
    folder = official_encoders()
    io = np.load(folder / f"{case}.io.npz")
    tokens = load(f"hf:{folder / case}.hf")(torch.tensor(io["video"]))
    expected = io["pooled_video"] if "pooled_video" in io else io["pooled"]
    assert np.abs(tokens.clip.numpy() - expected).max() / expected.std() <= 2e-5
    if case.startswith("hf_image"):
        patches = io["tokens"][:, :, -tokens.grid.shape[2] * tokens.grid.shape[3] :]
        assert np.abs(tokens.grid.flatten(2, 3).numpy() - patches).max() / patches.std() <= 2e-5
