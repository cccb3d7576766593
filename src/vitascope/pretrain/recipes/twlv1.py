"""TWLV-I at the report's scale: ViT-B and ViT-L from scratch on the datasets of its table 1, and larger ones.

The report describes the architecture, the data and the idea: masked modeling with diversified targets that include
distillation. It does not specify the mixture, the masks or the schedule; those here are this project's choices, after
the papers that each part comes from, and have never been run at this scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.encoders.families.twlv import SHAPES
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.pretrain.data.base import ClipSource
from vitascope.pretrain.data.folder import VideoFolder
from vitascope.pretrain.data.webdataset import Shards
from vitascope.pretrain.masking import Blocks, DualMask, Mask, Random, Tube
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.targets import Distilled, Hog, Latent, Pixels, Target

RECIPES: dict[str, str] = {
    "twlv1_b": "TWLV-I ViT-B on the 11.7 M videos and 15 M images of table 1, five targets: 6 days on one H100",
    "twlv1_l": "TWLV-I ViT-L on the same data, five targets: 20 days on one H100",
    "twlv1_h": "ViT-H/14 on the same data, larger than the report's, five targets: 42 days on one H100",
    "twlv1_g": "ViT-g/14 on the same data, larger than the report's, five targets: 79 days on one H100",
}


class Size(NamedTuple):
    """What depends on the size of the encoder."""

    shape: VideoViTConfig
    image_teacher: str
    """Image teacher as in UMT, applied frame by frame."""
    video_teacher: str
    """Video teacher as in MVD."""
    width: int = 512
    """Channels of the decoders."""
    lr: float = 6e-4
    """Learning rate, close to V-JEPA's."""
    accumulate: int = 1
    """Parts of a batch."""
    checkpointing: bool = False
    """Whether activations are computed twice to save memory."""


HUGE = VideoViTConfig(dim=1280, depth=32, heads=16, mlp=5120, patch=14, grid=(8, 16, 16))
GIANT = VideoViTConfig(dim=1408, depth=40, heads=16, mlp=6144, patch=14, grid=(8, 16, 16))
SIZES: dict[str, Size] = {
    "twlv1_b": Size(SHAPES["base"], "clip/base", "videomae/base-pt", width=384),
    "twlv1_l": Size(SHAPES["large"], "clip/large", "videomae/large-pt", accumulate=2),
    "twlv1_h": Size(HUGE, "siglip2/so400m-16-256", "videomae/huge-pt", accumulate=4, checkpointing=True),
    "twlv1_g": Size(GIANT, "siglip2/giant", "videomae/giant-v2-pt", lr=5e-4, accumulate=4, checkpointing=True),
}
"""Each with teachers of about its own size. The video teachers' weights are CC BY-NC 4.0, which restricts encoders
distilled from them to research; replace them by a checkpoint of your own with `video_teacher=FILE`."""


class PretrainingSet(NamedTuple):
    """A dataset of table 1."""

    kind: Literal["video", "image"]
    size: int
    """Number of clips or images according to the report's table 1."""
    pretraining_datasets: tuple[str, ...]
    """Dataset names in encoder cards."""
    about: str
    """Description in the exported card."""


PARTS: dict[str, PretrainingSet] = {
    "k710": PretrainingSet("video", 658_000, ("k400", "k600", "k700"), "K710 (training videos alone)"),
    "howto360k": PretrainingSet("video", 360_000, ("howto360k",), "HowTo360K (of HowTo100M)"),
    "webvid10m": PretrainingSet("video", 10_730_000, ("webvid10m",), "WebVid10M"),
    "coco": PretrainingSet("image", 113_000, ("coco",), "COCO"),
    "sbu": PretrainingSet("image", 860_000, ("sbu",), "SBU"),
    "vg": PretrainingSet("image", 100_000, ("vg",), "VG"),
    "cc3m": PretrainingSet("image", 2_880_000, ("cc3m",), "CC3M"),
    "cc12m": PretrainingSet("image", 11_000_000, ("cc12m",), "CC12M"),
}
"""The datasets of the report's table 1, by folder name. Captions and labels are not read."""
EXTRAS: dict[str, PretrainingSet] = {
    "ssv2": PretrainingSet("video", 168_913, ("ssv2",), "SSv2 (training videos alone)"),
}
"""Datasets that `extra` adds: SSv2 is that of the report's row TWLV-I (+SSv2)."""
ALL = PARTS | EXTRAS
VIDEOS = 0.75
"""Share of the steps on videos, from which alone motion is learned; in proportion to size it would be 0.44."""
RESEARCH = "CC BY-NC 4.0, as the video teacher's"
MASKS: tuple[Mask, ...] = (DualMask(Tube(0.9), 0.5), Blocks(8, 0.15))
"""Two masks per clip: VideoMAE's tubes, predicting half of the hidden tokens (VideoMAE V2), and V-JEPA's short-range
blocks, which latent prediction needs. Teachers, most of the cost, run once for both."""


def build(
    name: str,
    *,
    data: str | Path = "",
    only: str | Sequence[str] = (),
    extra: str | Sequence[str] = (),
    image_teacher: str = "",
    video_teacher: str = "",
    batch: int = 2048,
    steps: int = 100_000,
    seed: int = 0,
) -> Recipe:
    """Build the recipe `name` on the datasets in the folder `data`.

    Each dataset is a subfolder: `k710` `howto360k` `webvid10m` (videos), `coco` `sbu` `vg` `cc3m` `cc12m` (images),
    containing tar shards (`*.tar`, WebDataset format) or files. All eight are required unless `only` selects some
    ("k710,coco"); their shares are then renormalized, which makes it a different recipe. `extra="ssv2"` adds a folder
    `ssv2` with the training videos of Something-Something V2, as for the report's TWLV-I (+SSv2). They have 12 frames a
    second and 45 on average, so that the frames of a clip are mostly 2 apart. A teacher is any encoder, by name or
    file. Raises UserError for unknown names and missing datasets.

    Cost in closed form (two operations per multiply-add, forward and backward as three forward passes, without norms):

    | | twlv1_b | twlv1_l | twlv1_h | twlv1_g |
    |---|---:|---:|---:|---:|
    | student, two masks of a video | 199 | 694 | 2119 | 3379 GFLOP |
    | its five decoders | 256 | 425 | 603 | 608 |
    | moving average | 361 | 1194 | 3270 | 5086 |
    | teachers | 642 | 2490 | 4146 | 9878 |
    | total per video | 1458 | 4803 | 10138 | 18950 GFLOP |
    | total per image | 155 | 539 | 1108 | 2111 GFLOP |
    | 205 M clips, a quarter of them images | 232 | 765 | 1614 | 3019 EFLOP |
    | at 0.45 of an H100's 989 TFLOP/s in bfloat16 | 6.0 | 19.9 | 42.0 | 78.5 days |

    On two machines with eight GPUs each `twlv1_b` and `twlv1_l` take 9 and 30 hours if 6300 and 1900 clips per second
    can be decoded: use videos of 256 pixels and many cores, or training will wait for data (share of waiting in the
    training log). `twlv1_h` and `twlv1_g` (ViT-H/14, ViT-g/14; the report stops at L) recompute activations, which is a
    quarter more of the student's share, and need 17 and 30 GB before any activation: `--parallel fsdp`.

    Expected accuracy is unknown: the recipes have never been run, and the report does not publish its exact mixture.
    Compare with the report's own models (tables 3 and 5), averages over five action recognition datasets: 42.9 (B) and
    48.6 % (L) by linear, 59.3 and 66.7 % by attentive probing.
    """
    if name not in RECIPES:
        raise UserError(f"no recipe {name!r}{nearest(name, RECIPES)}; available are {', '.join(RECIPES)}")
    root = Path(data).expanduser() if data else None
    size = SIZES[name]
    teachers = (image_teacher or size.image_teacher, video_teacher or size.video_teacher)
    recipe = _recipe(name, _sources(name, root, only, extra), teachers, steps)
    license = RESEARCH if teachers[1] in {s.video_teacher for s in SIZES.values()} else recipe.license
    return replace(recipe, batch=batch, seed=seed, license=license)


def _recipe(name: str, sources: dict[str, ClipSource], teachers: tuple[str, str], steps: int) -> Recipe:
    """Assemble the recipe: learning rate and number of clips close to V-JEPA's, the rest from VideoMAE and UMT."""
    size, share = SIZES[name], shares(tuple(sources))
    return Recipe(
        name=name,
        shape=size.shape,
        frames=16,
        size=224,
        data=tuple((source, share[part]) for part, source in sources.items()),
        targets=_targets(*teachers, width=size.width),
        masks=MASKS,
        image_masks=(Random(0.75),),
        accumulate=size.accumulate,
        checkpointing=size.checkpointing,
        steps=steps,
        lr=size.lr,
        final_lr=1e-6,
        warmup=steps // 10,
        weight_decay=0.05,
        betas=(0.9, 0.95),
        clip_grad_norm=3.0,
        trained=f"{', '.join(ALL[part].about for part in sources)}; taught by {' and '.join(teachers)}",
    )


def shares(used: Sequence[str]) -> dict[str, float]:
    """Share of the steps of each dataset: `VIDEOS` for videos, within a kind proportional to the square root of size.

    In proportion to size, K710, which is clean and full of action, would get 2 % of the steps; the root gives it 13 %.
    """
    roots = {kind: sum(ALL[p].size ** 0.5 for p in used if ALL[p].kind == kind) for kind in ("video", "image")}
    of_kind = {"video": VIDEOS, "image": 1 - VIDEOS}
    total = sum(share for kind, share in of_kind.items() if roots[kind])
    return {p: of_kind[ALL[p].kind] / total * ALL[p].size ** 0.5 / roots[ALL[p].kind] for p in used}


def _targets(image_teacher: str, video_teacher: str, *, width: int) -> tuple[Target, ...]:
    """Mixture of targets, weighted so that predicting the mean gives a loss of about 1 for each."""
    return (
        Pixels(depth=2, width=width),
        Hog(name="hog-differences", differences=True, depth=2, width=width, weight=100.0),
        Distilled(name="image-teacher", teacher=image_teacher, every=2, on="seen", depth=0),
        Distilled(name="video-teacher", teacher=video_teacher, depth=2, width=width),
        Latent(depth=4, width=width, weight=2.5),
    )


def _selected(name: str, option: str, given: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The datasets named by an option. Raises UserError for an unknown one."""
    selected = tuple(given.replace(",", " ").split()) if isinstance(given, str) else tuple(given)
    if unknown := next((part for part in selected if part not in known), ""):
        raise UserError(f"{name}: {option}={unknown!r}{nearest(unknown, known)}; available are {', '.join(known)}")
    return selected


def _sources(
    name: str, root: Path | None, only: str | Sequence[str], extra: str | Sequence[str]
) -> dict[str, ClipSource]:
    """Sources of the selected datasets. Raises UserError if any is missing."""
    kinds = {kind: " ".join(p for p, part in PARTS.items() if part.kind == kind) for kind in ("video", "image")}
    layout = f"folders of *.tar shards or of files: videos {kinds['video']}; images {kinds['image']}"
    if root is None or not root.is_dir():
        problem = f"{root}: no such folder" if root else "no data folder given"
        raise UserError(
            f"{name}: {problem}; set data=FOLDER, which contains the datasets of the report's table 1, {layout}"
        )
    selected, added = _selected(name, "only", only, list(ALL)), _selected(name, "extra", extra, list(EXTRAS))
    used = [part for part in ALL if part in (selected or PARTS) or part in added]
    present = [part for part in used if (root / part).is_dir()]
    if len(present) < len(used):
        missing = ", ".join(part for part in used if part not in present)
        hint = f"to train without them: only={','.join(present)}; " if present else ""
        raise UserError(f"{name}: {root} does not contain {missing}; {hint}expected are {layout}")
    return {part: _source(part, root / part) for part in used}


def _source(part: str, folder: Path) -> ClipSource:
    """Source of one dataset: its tar shards if there are any, else its files."""
    kind, datasets = ALL[part].kind, ALL[part].pretraining_datasets
    if any(folder.glob("*.tar")):
        return Shards(pattern=str(folder / "*.tar"), kind=kind, name=part, pretraining_datasets=datasets)
    return VideoFolder(path=str(folder), kind=kind, name=part, pretraining_datasets=datasets)
