"""`view=report` and `view=authors`: what they change, and the embedding of a video file by the authors' transform."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from helpers import FIXTURES, official_encoders, write_lossless
from vitascope.core.errors import UserError
from vitascope.core.pixel_transform import PixelTransform
from vitascope.core.types import Card, digest
from vitascope.encoders import options as settings
from vitascope.encoders.catalog import ENCODERS, cards, models
from vitascope.encoders.load import load
from vitascope.encoders.weights.native_card import shipped_cards
from vitascope.features.decode_job import ClipIndex, DecodeJob, decode_example
from vitascope.features.encode import encode_clips
from vitascope.sampling.names import parse

OPENCV = PixelTransform(antialias=False)
SLOWFAST = PixelTransform(antialias=False, crop_rounding="up")
AUTHORS = {
    "clip/large": PixelTransform(filter="bicubic"),
    "dfn/h14": PixelTransform(resize="square", filter="bicubic"),
    "dinov2/base": PixelTransform(filter="bicubic", crop_ratio=0.875),
    "dinov2/giant-reg": PixelTransform(filter="bicubic", crop_ratio=0.875),
    "dinov3/large": PixelTransform(resize="square"),
    "hiera/large-mae": SLOWFAST,
    "internvideo2/1b-s1": OPENCV,
    "internvideo2/1b-s2": PixelTransform(resize="square", antialias=False),
    "mvd/large-pt": OPENCV,
    "omnimae/large": SLOWFAST,
    "pe/large": PixelTransform(resize="square"),
    "siglip2/base": PixelTransform(resize="square"),
    "umt/large-s1": OPENCV,
    "umt/base-ft": OPENCV,
    "umt/large-s2": PixelTransform(resize="square", filter="bicubic", antialias=False),
    "videomae/large-pt": OPENCV,
    "videomae/base-v2": OPENCV,
    "videoprism/large": PixelTransform(resize="square", filter="lanczos"),
    "vjepa/large": PixelTransform(antialias=False, crop_ratio=0.875),
    "vjepa2/giant-384": PixelTransform(antialias=False, crop_ratio=0.875),
    "vjepa2/large-2.1": PixelTransform(antialias=False, crop_ratio=0.875),
}
ALL = [f"{family}/{variant}" for family in ENCODERS.families() for variant in models(family)]


def view(name: str, word: str) -> Card:
    return settings.configured(f"{name}+view={word}").card


@pytest.mark.parametrize("name", AUTHORS)
def test_the_authors_view(name: str) -> None:
    assert view(name, "authors").pixels == AUTHORS[name]
    assert AUTHORS[name].resize == view(name, "report").resize


@pytest.mark.parametrize("name", [n for n in ALL if not n.startswith("twlv/")])
def test_every_published_model_says_where_its_transform_is_defined(name: str) -> None:
    report, authors = view(name, "report"), view(name, "authors")
    assert report == settings.configured(name).card == cards()[name] or report.params == 0
    assert report.pixels == PixelTransform(resize=report.resize), "the report's"
    assert "(" in authors.transform, "and names its source"
    changed = authors.pixels != report.pixels
    assert authors.name == f"{name}{'+view:authors' * changed}"
    assert authors.options == "view:authors" * changed
    assert (digest(authors.behavior) != digest(report.behavior)) is changed


@pytest.mark.parametrize(
    ("size", "short"), [("vjepa/large", 256), ("vjepa/huge-384", 438), ("vjepa2/large", 292), ("dinov2/base", 256)]
)
def test_the_side_before_the_crop_is_the_authors(size: str, short: int) -> None:
    card = view(size, "authors")
    assert card.pixels.short_side(card.size) == short == int(card.size * 256 / 224)


def test_native_is_the_authors_setting_in_everything() -> None:
    card = settings.configured("umt/large-s2+native").card
    assert (card.name, card.frames) == ("umt/large-s2+frames:4+view:authors", 4)
    assert settings.configured("umt/large-s2+native+view=report").card.name == "umt/large-s2+frames:4"
    assert settings.configured("clip/large+native").card.name == "clip/large+view:authors"
    assert settings.configured("umt/large-s2+view=authors+paper").card.pixels.filter == "bicubic"


def test_what_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="view = 'author' must be one of report, authors; did you mean 'authors'"):
        settings.configured("clip/large+view=author")
    with pytest.raises(UserError, match="twlv/large: no authors' transform is known of it; omit view=authors"):
        settings.configured("twlv/large+view=authors")


def test_cards_without_a_transform_of_their_own_keep_their_digest() -> None:
    """The fields of the transform are in a digest only where they differ from the report's."""
    for card in [*shipped_cards().values(), *cards().values()]:
        assert not {"filter", "antialias", "crop_ratio", "crop_rounding"} & card.behavior.keys()
    card = next(iter(shipped_cards().values()))
    written = {**card.behavior, **card.knowledge, "type": "Card"}
    assert Card.from_data(written) == card
    assert view("dinov2/base", "authors").behavior["crop_ratio"] == 0.875


def test_a_card_checks_its_transform() -> None:
    card: dict[str, Any] = {**cards()["clip/base"].behavior, "mean": (0.0,) * 3, "std": (1.0,) * 3}
    for values, said in (
        ({"crop_ratio": 2.0}, "clip/base: card: crop_ratio must be"),
        ({"filter": "lanczos", "antialias": False}, "clip/base: card: filter 'lanczos' needs antialiasing"),
    ):
        with pytest.raises(UserError, match=said):
            Card(**{**card, **values})


def film(path: Path, frames: int) -> list[np.ndarray]:
    """A lossless video of an odd shape in odd colors, and its frames."""
    rng = np.random.default_rng(5)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).resize((373, 211), Image.Resampling.BICUBIC)
    pictures = [np.roll(np.asarray(coarse), 5 * t, 1) for t in range(frames)]
    pictures = [np.clip(p + rng.normal(0, 25, p.shape), 0, 255).astype(np.uint8) for p in pictures]
    write_lossless(path, *pictures, fps=10)
    return pictures


def bicubic_square(picture: np.ndarray, size: int) -> np.ndarray:
    """torchvision's Resize((size, size), BICUBIC) of a tensor in version 0.13."""
    tensor = torch.tensor(picture).permute(2, 0, 1)[None].float()
    small = F.interpolate(tensor, (size, size), mode="bicubic", align_corners=False).clamp(0, 255).round()
    return small[0].permute(1, 2, 0).numpy()


def opencv_cropped(picture: np.ndarray, size: int) -> np.ndarray:
    """V-JEPA's evaluation: short side to size x 256 / 224 between the four nearest pixels, center crop."""
    height, width = picture.shape[:2]
    short = int(size * 256 / 224)
    h, w = short, int(short * width / height)
    y, x = (np.arange(h) + 0.5) * height / h - 0.5, (np.arange(w) + 0.5) * width / w - 0.5
    rows = np.stack([np.interp(y, np.arange(height), line) for line in picture.reshape(height, -1).T], 1)
    rows = rows.reshape(h, width, 3).transpose(1, 0, 2).reshape(width, -1)
    small = np.stack([np.interp(x, np.arange(width), line) for line in rows.T], 1).reshape(w, h, 3).transpose(1, 0, 2)
    top, left = round((h - size) / 2), round((w - size) / 2)
    return small[top : top + size, left : left + size]


CASES: dict[str, tuple[str, str, Callable[[np.ndarray, int], np.ndarray]]] = {
    "umt": ("umt/large-s2", "umt-s2_l.pth", bicubic_square),
    "vjepa": ("vjepa/large", "vjepa-vit_l.pth", opencv_cropped),
}


@pytest.mark.parametrize("case", CASES)
def test_from_a_video_file_to_the_authors_embedding(case: str, tmp_path: Path) -> None:
    name, weights, transform = CASES[case]
    folder = FIXTURES / "encoders" if case == "umt" else official_encoders()
    small = {"dim": 64, "depth": 3, "heads": 4, "mlp_ratio": 4.0, "patch": 16, "img": 64}
    small |= {"tubelet": 1, "frames": 4} if case == "umt" else {"tubelet": 2, "frames": 16}
    pictures = film(tmp_path / "a.mkv", int(small["frames"]))
    vectors = {}
    for word in ("report", "authors"):
        encoder = load(f"{name}+view={word}={folder / weights}", architecture=small)
        job = DecodeJob("", "a", str(tmp_path / "a.mkv"), None, None, (parse("uniform"),), encoder.card)
        (pixels,) = [p for index, p in decode_example(job) if isinstance(index, ClipIndex) and p is not None]
        vectors[word] = encode_clips(encoder, torch.from_numpy(pixels)[None]).clip[0]
    seen = np.stack([transform(picture, 64) for picture in pictures])
    assert np.abs(pixels - seen).mean() < 0.5
    mean, std = np.array((0.485, 0.456, 0.406)), np.array((0.229, 0.224, 0.225))
    clip = torch.tensor((seen / 255 - mean) / std).permute(3, 0, 1, 2)[None].float()
    expected = encoder(clip).clip[0]
    error = float((vectors["authors"] - expected).abs().max() / expected.std())
    other = float((vectors["report"] - expected).abs().max() / expected.std())
    assert error < 0.03, (error, other)
    assert other > 4 * error, "the report's view is another one"
