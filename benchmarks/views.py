"""Our views against the authors' evaluation transforms: `python benchmarks/views.py -m ENCODER VIDEO...`.

ENCODER is any trained image encoder, such as `module:function` or `siglip2/base=FILE`: its embeddings say what matters
to a network. The frames are taken by PyAV, the authors' pixels made by Pillow, OpenCV and torch as in the authors' code
(`pip install opencv-python-headless`). Every number is a cosine of embeddings with those of the authors' pixels, the
mean and the least over the videos, for `+view=report` and `+view=authors`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

import av
import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from vitascope import load
from vitascope.core.types import Clip, Video
from vitascope.encoders.base import Encoder
from vitascope.encoders.options import configured
from vitascope.encoders.preprocess import to_tensor
from vitascope.video import decode, inspect

Resizer = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
FRAMES = 8


def pillow(filter: Image.Resampling) -> Resizer:
    """torchvision's Resize of an image, mediapy's resize_video."""
    return lambda frame, size: np.asarray(Image.fromarray(frame).resize(size, filter))


def opencv(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """cv2.resize as in VideoMAE, UMT, MVD, InternVideo2 and V-JEPA."""
    small: np.ndarray = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return small


def torch_tensor(mode: str) -> Resizer:
    """torchvision's Resize of a tensor before 0.17, PyTorchVideo's ShortSideScale."""

    def resize(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        pixels = torch.tensor(frame).permute(2, 0, 1)[None].float()
        small = F.interpolate(pixels, size[::-1], mode=mode, align_corners=False)[0]
        return small.clamp(0, 255).round().permute(1, 2, 0).numpy().astype(np.uint8)

    return resize


def squashed(resize: Resizer) -> Resizer:
    """The whole frame as a square."""
    return resize


def cropped(resize: Resizer, ratio: float = 1.0, halves: Callable[[float], int] = round) -> Resizer:
    """The short side resized, then the center cropped."""

    def apply(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        (height, width), (side, _) = frame.shape[:2], size
        short = int(side * ratio)
        w, h = (short, int(short * height / width)) if width < height else (int(short * width / height), short)
        left, top = halves((w - side) / 2), halves((h - side) / 2)
        return resize(frame, (w, h))[top : top + side, left : left + side]

    return apply


BICUBIC, BILINEAR, LANCZOS = (
    pillow(f) for f in (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)
)
AUTHORS: dict[str, Resizer] = {
    "clip/large": cropped(BICUBIC),
    "dfn/h14": squashed(BICUBIC),
    "dinov2/large": cropped(BICUBIC, 256 / 224),
    "omnimae/large": cropped(torch_tensor("bilinear"), halves=math.ceil),
    "internvideo2/1b-s2": squashed(opencv),
    "siglip2/base": squashed(BILINEAR),
    "umt/large-s2": squashed(torch_tensor("bicubic")),
    "videomae/large-pt": cropped(opencv),
    "videoprism/large": squashed(LANCZOS),
    "vjepa/large": cropped(opencv, 256 / 224),
}
"""One model of each transform: dinov3 and pe have that of siglip2, hiera of omnimae, umt stage 1, mvd and internvideo2
stage 1 of videomae, vjepa2 of vjepa."""


def frames(video: Video, clip: Clip) -> list[np.ndarray]:
    """The frames of a clip at full size, as PyAV converts them."""
    wanted = {video.frame_at(t) for t in clip.times}
    with av.open(video.path) as file:
        return [f.to_ndarray(format="rgb24") for i, f in enumerate(file.decode(video=0)) if i in wanted]


def embedding(encoder: Encoder, pixels: np.ndarray) -> torch.Tensor:
    """The vector of one clip."""
    return encoder(to_tensor(torch.from_numpy(pixels)[None], encoder.card)).clip[0]


def cosines(encoder: Encoder, path: str) -> dict[str, tuple[float, float]]:
    """By model, cosines of the report's and the authors' view with the authors' own pixels, on one video."""
    video, size = inspect(path), encoder.card.size
    clip = Clip(tuple(video.duration * (i + 0.5) / FRAMES for i in range(FRAMES)), (0.0, video.duration))
    whole, rows = frames(video, clip), {}
    for name, authors in AUTHORS.items():
        there = embedding(encoder, np.stack([authors(frame, (size, size)) for frame in whole]))
        row = []
        for view in ("report", "authors"):
            ((_, pixels),) = decode(video, [clip], size, configured(f"{name}+view={view}").card.pixels)
            row.append(float(F.cosine_similarity(embedding(encoder, pixels), there, dim=0)))
        rows[name] = (row[0], row[1])
    return rows


def main() -> None:
    """Print a line per model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-m", "--model", required=True, help="a trained image encoder")
    parser.add_argument("videos", nargs="+")
    options = parser.parse_args()
    encoder = load(options.model)
    videos = [cosines(encoder, path) for path in options.videos]
    print(f"{'':20s} report mean   min  authors mean   min")
    for name in AUTHORS:
        report, authors = zip(*(video[name] for video in videos), strict=True)
        numbers = (np.mean(report), min(report), np.mean(authors), min(authors))
        print("{:20s} {:11.4f} {:6.3f} {:12.4f} {:6.4f}".format(name, *numbers))


if __name__ == "__main__":
    main()
