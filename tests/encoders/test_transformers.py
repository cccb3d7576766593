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
from vitascope.core.pixel_transform import PixelTransform
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


def test_the_reports_view_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a+view=report"
    saved(folder, "dinov2", preprocessor={**PREPROCESSOR, "resample": 3, "size": {"shortest_edge": 36}})
    own, report = load(f"hf:{folder}"), load(f"hf:{folder}+view=report")
    assert own.card == load(f"hf:{folder}+view=authors").card
    assert (own.card.filter, own.card.crop_ratio, own.card.name) == ("bicubic", 32 / 36, f"hf:{folder.name}")
    assert report.card.pixels == PixelTransform()
    assert report.card.name == f"hf:{folder.name}+view:report"
    assert (report.card.mean, report.card.size, report.card.digest) == (own.card.mean, 32, own.card.digest)
    squashed = {**PREPROCESSOR, "size": {"height": 32, "width": 32}, "do_center_crop": False}
    saved(tmp_path / "b", "dinov2", preprocessor=squashed)
    card = load(f"hf:{tmp_path / 'b'}+view=report").card
    assert (card.resize, card.name) == ("square", "hf:b"), "which changes nothing there"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("+view=author", "no view 'author'; did you mean 'authors'"),
        ("+frames=8", r"no option 'frames'; hf: encoders take \+view=report or \+view=authors only"),
        ("+native", "no option 'native'"),
        ("+view=report+view=authors", "view is set twice"),
    ],
)
def test_other_options_of_a_folder_are_refused_by_name(options: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        load(f"hf:{tmp_path}{options}")


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


def test_a_size_that_patches_do_not_divide_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved(tmp_path, "dinov2", preprocessor={**PREPROCESSOR, "crop_size": {"height": 38, "width": 38}})
    assert load(f"hf:{tmp_path}").card.size == 38
    said = "size 38 is no multiple of the patch size 8: the last 6 pixels of rows and columns are not seen"
    assert caplog.messages == [f"{tmp_path}: {said}"]


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


VIDEO = {**IMAGE, "num_frames": 4}
DECODER = {f"decoder_{key}": value for key, value in TINY.items()}
TEXT = {**TINY, "vocab_size": 30, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "projection_dim": 12}
XCLIP = {
    "vision_config": {**VIDEO, **{f"mit_{key}": value for key, value in TINY.items()}, "mit_hidden_size": 12},
    "text_config": TEXT,
    "projection_dim": 12,
    "prompt_layers": 1,
    "prompt_num_attention_heads": 2,
}


def mean_of_patches(out: Any, patches: int = 32) -> torch.Tensor:
    states: torch.Tensor = out.last_hidden_state
    return states[:, states.shape[1] - patches :].mean(1)


def video(model: Any, x: torch.Tensor) -> Any:
    return model(pixel_values=x.transpose(1, 2))


LARGER: dict[str, tuple[dict[str, Any], Callable[[Any, torch.Tensor], torch.Tensor], str]] = {
    # class: settings, the vector of a clip as transformers computes it, what is left out
    "VideoMAEForVideoClassification": (
        VIDEO,
        lambda m, x: m.fc_norm(mean_of_patches(video(m.videomae, x))),
        "classifier (2)",
    ),
    "VideoMAEForVideoClassification without fc_norm": (
        {**VIDEO, "use_mean_pooling": False},
        lambda m, x: mean_of_patches(video(m.videomae, x)),
        "classifier (2)",
    ),
    "VideoMAEForPreTraining": (
        {**VIDEO, **DECODER, "use_mean_pooling": False},
        lambda m, x: mean_of_patches(video(m.videomae, x)),
        "decoder (19), encoder_to_decoder (1), mask_token (1)",
    ),
    "VJEPA2ForVideoClassification": (
        {**MODELS["vjepa2"][1], "num_pooler_layers": 1},
        lambda m, x: mean_of_patches(m.vjepa2(pixel_values_videos=x.transpose(1, 2), skip_predictor=True)),
        "classifier (2), pooler (31)",
    ),
    "TimesformerForVideoClassification": (
        VIDEO,
        lambda m, x: mean_of_patches(video(m.timesformer, x), 64),
        "classifier (2)",
    ),
    "VivitForVideoClassification": (
        MODELS["vivit"][1],
        lambda m, x: mean_of_patches(video(m.vivit, x)),
        "classifier (2)",
    ),
    "XCLIPModel": (
        XCLIP,
        lambda m, x: m.get_video_features(pixel_values=x.transpose(1, 2)).pooler_output,
        "prompts_generator (",
    ),
    "CLIPForImageClassification": (
        {"vision_config": CLIP, "text_config": TEXT},
        lambda m, x: m.vision_model(x[0].transpose(0, 1)).pooler_output.mean(0, keepdim=True),
        "classifier (2)",
    ),
    "ViTForMaskedImageModeling": (
        {**IMAGE, "encoder_stride": 8},
        lambda m, x: mean_of_patches(m.vit(x[0].transpose(0, 1)), 16).mean(0, keepdim=True),
        "decoder (2), embeddings (1)",
    ),
    "DeiTForImageClassificationWithTeacher": (
        IMAGE,
        lambda m, x: mean_of_patches(m.deit(x[0].transpose(0, 1)), 16).mean(0, keepdim=True),
        "cls_classifier (2), distillation_classifier (2)",
    ),
    "Data2VecVisionForImageClassification": (
        IMAGE,
        lambda m, x: m.data2vec_vision(x[0].transpose(0, 1)).pooler_output.mean(0, keepdim=True),
        "classifier (2)",
    ),
    "BlipModel": (
        {"vision_config": IMAGE, "text_config": {**TINY, "vocab_size": 30, "encoder_hidden_size": 24}},
        lambda m, x: m.vision_model(x[0].transpose(0, 1)).pooler_output.mean(0, keepdim=True),
        "text_model (",
    ),
}


@pytest.mark.parametrize("name", LARGER)
def test_of_a_larger_model_the_encoder_is_taken_and_the_rest_is_said(name: str, tmp_path: Path) -> None:
    given, expected, left_out = LARGER[name]
    kind = getattr(transformers, name.partition(" ")[0])
    torch.manual_seed(0)
    model = kind(kind.config_class(**given)).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    quietly(lambda: model.save_pretrained(tmp_path))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**PREPROCESSOR, "do_center_crop": True}))
    encoder = load(f"hf:{tmp_path}")
    assert "; left out: " in encoder.loaded  # type: ignore[attr-defined]
    assert left_out in encoder.loaded  # type: ignore[attr-defined]
    x = clips(encoder)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x).clip, expected(model, x), rtol=1e-4, atol=1e-4)
    assert encoder.card.dim == encoder(x).clip.shape[1]
    assert load(f"hf:{tmp_path}").card == encoder.card


def test_the_norm_of_a_fine_tuned_model_is_in_the_card(tmp_path: Path) -> None:
    kind = transformers.VideoMAEForVideoClassification
    quietly(lambda: kind(transformers.VideoMAEConfig(**VIDEO)).save_pretrained(tmp_path))
    before = load(f"hf:{tmp_path}").card
    assert before.pool == "fc_norm of the mean of the patch tokens"
    edited(tmp_path, lambda w: w.update({"fc_norm.bias": torch.ones(24)}))
    assert load(f"hf:{tmp_path}").card.digest != before.digest
    edited(tmp_path, lambda w: w.update({"fc_norm.bias": torch.ones(7)}))
    with pytest.raises(ValueError, match="fc_norm does not fit the model"):
        load(f"hf:{tmp_path}")


def test_a_vjepa_2_without_its_predictor_is_an_encoder(tmp_path: Path) -> None:
    model = saved(tmp_path, "vjepa2")
    edited(tmp_path, lambda w: [w.pop(key) for key in list(w) if key.startswith("predictor.")] and None)
    encoder = load(f"hf:{tmp_path}")
    x = clips(encoder)
    with torch.no_grad():
        expected = mean_of_patches(model(pixel_values_videos=x.transpose(1, 2), skip_predictor=True))
    torch.testing.assert_close(encoder(x).clip, expected, rtol=1e-4, atol=1e-4)
    assert load(f"hf:{tmp_path}").card == encoder.card


def test_frames_of_x_clip_are_in_order_and_tell_each_other(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = transformers.XCLIPModel(transformers.XCLIPConfig(**XCLIP)).eval()
    quietly(lambda: model.save_pretrained(tmp_path))
    encoder = load(f"hf:{tmp_path}")
    assert (encoder.card.mean, encoder.card.frames, encoder.card.size) == ((0.485, 0.456, 0.406), 4, 32)
    x = clips(encoder, 2)
    grid = encoder(x).grid
    assert grid.shape == (2, 4, 4, 4, 24)
    with torch.no_grad():
        states = model.vision_model(x.transpose(1, 2).flatten(0, 1)).last_hidden_state
    torch.testing.assert_close(grid[1, 2].flatten(0, 1), states[4 + 2, 1:])
    with pytest.raises(ValueError, match="takes clips of 4 x 32 x 32, not 3 x 32 x 32"):
        encoder(x[:, :, :3])


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
        ({"architecture": "vit_base_patch14_dinov2", "num_classes": 0}, "is a model of timm; load it as"),
        ({"model_type": "siglip2"}, "use a SigLIP 2 of fixed size"),
        ({"model_type": "xclip_vision_model"}, "use the folder of the whole X-CLIP"),
        ({"model_type": "clipseg"}, r"save its vision part alone, as in model\.vision_model\.save_pretrained"),
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
    monkeypatch.chdir(tmp_path)
    for name in ("../weights", "a/b/c", "", "a b"):
        with pytest.raises(ValueError, match=r"no such folder|no id"):
            load(f"hf:{name}")
    saved(tmp_path, "videomae")
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"weights cannot be read .* download model\.safetensors again"):
        load(f"hf:{tmp_path}")
    saved(tmp_path, "videomae")
    (tmp_path / "preprocessor_config.json").write_text("[")
    with pytest.raises(ValueError, match=r"preprocessor_config\.json: invalid JSON"):
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
