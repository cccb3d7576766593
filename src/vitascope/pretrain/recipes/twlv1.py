"""TWLV-I at the report's scale: ViT-B and ViT-L from scratch on the data sets of its table 1.

The report tells the architecture, the data and the idea: masked modeling with diversified targets, the strengths of
distillation taken in. It does not tell the mix, the masks or the schedule; those here are this project's choice, after
the papers that each part comes from, and were never run at this scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.encoders.families.twlv import SHAPES
from vitascope.pretrain.data.base import ClipSource
from vitascope.pretrain.data.folder import VideoFolder
from vitascope.pretrain.data.webdataset import Shards
from vitascope.pretrain.masking import Blocks, DualMask, Mask, Random, Tube
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.targets import Distilled, Hog, Latent, Pixels, Target

RECIPES: dict[str, str] = {
    "twlv1_b": "TWLV-I ViT-B on table 1's 11.7 M videos and 15 M images, five targets: 6 days of an H100",
    "twlv1_l": "TWLV-I ViT-L on the same, five targets: 20 days of an H100",
}
SIZES = {"twlv1_b": "base", "twlv1_l": "large"}


class PretrainingSet(NamedTuple):
    """A data set of table 1."""

    kind: Literal["video", "image"]
    size: int
    """Clips or images, as the report's table 1 gives them."""
    pretraining_datasets: tuple[str, ...]
    """What cards call it."""
    about: str


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
"""The report's table 1, by the name of the folder. Captions and labels are not read."""
VIDEOS = 0.75
"""Share of the steps that are of videos: motion is learned from them alone, and by size they would be 0.44."""
IMAGE_TEACHERS = {"twlv1_b": "clip/base", "twlv1_l": "clip/large"}
"""As UMT has them; frame by frame."""
VIDEO_TEACHERS = {"twlv1_b": "videomae/base-pt", "twlv1_l": "videomae/large-pt"}
"""As MVD has them. Their weights are CC BY-NC 4.0, and so what learns from them is for research; a checkpoint of your
own takes their place with `video_teacher=FILE`."""
RESEARCH = "CC BY-NC 4.0, as the video teacher's"
MASKS: tuple[Mask, ...] = (DualMask(Tube(0.9), 0.5), Blocks(8, 0.15))
"""Two looks at every clip: VideoMAE's tubes, half of what they hide being asked (VideoMAE V2), and V-JEPA's short
blocks, which latent prediction wants. Teachers, most of the cost, look once for both."""


def build(
    name: str,
    *,
    data: str | Path = "",
    only: str | Sequence[str] = (),
    image_teacher: str = "",
    video_teacher: str = "",
    batch: int = 2048,
    steps: int = 100_000,
    seed: int = 0,
) -> Recipe:
    """`twlv1_b` or `twlv1_l`, on the sets that lie below the folder `data`.

    Each set is a folder of its own: `k710` `howto360k` `webvid10m` (videos), `coco` `sbu` `vg` `cc3m` `cc12m` (images),
    of tar shards (`*.tar`, as WebDataset has them) or of files. All eight have to be there, or `only` names those that
    are to be used ("k710,coco"); shares are divided anew then, and it is another recipe. A teacher is any encoder, by
    name or file. ValueError where a set or a name is not known or not there.

    Cost, in closed form: two operations a multiply-add, three forward passes for forward and backward, no norms.

    | | twlv1_b | twlv1_l |
    |---|---:|---:|
    | student, two looks at a video | 199 | 694 GFLOP |
    | its five decoders | 256 | 425 |
    | slow copy | 361 | 1194 |
    | teachers | 642 | 2490 |
    | a video in all | 1458 | 4803 GFLOP |
    | an image in all | 155 | 539 GFLOP |
    | 205 M clips, a quarter of them images | 232 | 765 EFLOP |
    | at 0.45 of an H100's 989 TFLOP/s in bfloat16 | 6.0 | 19.9 days |

    On two machines of eight that is 9 and 30 hours, if 6300 and 1900 clips a second are decoded meanwhile: videos of
    256 pixels and many cores, or it is the data that is waited for, which the recorder shows.

    Expected: nothing is promised. It was never run here, and the report's exact mix was never published. What the
    report's own models reached (tables 3 and 5) is what to compare with: averages of five action recognition sets of
    42.9 (B) and 48.6 % (L) by linear, 59.3 and 66.7 % by attentive probing.
    """
    if name not in RECIPES:
        raise UserError(f"no recipe {name!r}{nearest(name, RECIPES)}; there are {', '.join(RECIPES)}")
    root = Path(data).expanduser() if data else None
    teachers = (image_teacher or IMAGE_TEACHERS[name], video_teacher or VIDEO_TEACHERS[name])
    recipe = _recipe(name, _sources(name, root, only), teachers, steps)
    license = RESEARCH if teachers[1] in VIDEO_TEACHERS.values() else recipe.license
    return replace(recipe, batch=batch, seed=seed, license=license)


def _recipe(name: str, sources: dict[str, ClipSource], teachers: tuple[str, str], steps: int) -> Recipe:
    """Optimizer and schedule: learning rate and number of clips of V-JEPA's order, the rest VideoMAE's and UMT's."""
    large = SIZES[name] == "large"
    share = shares(tuple(sources))
    return Recipe(
        name=name,
        shape=SHAPES[SIZES[name]],
        frames=16,
        size=224,
        data=tuple((source, share[part]) for part, source in sources.items()),
        targets=_targets(*teachers, width=512 if large else 384),
        masks=MASKS,
        image_masks=(Random(0.75),),
        accumulate=2 if large else 1,
        steps=steps,
        lr=6e-4,
        final_lr=1e-6,
        warmup=steps // 10,
        weight_decay=0.05,
        betas=(0.9, 0.95),
        clip_grad_norm=3.0,
        trained=f"{', '.join(PARTS[part].about for part in sources)}; taught by {' and '.join(teachers)}",
    )


def shares(used: Sequence[str]) -> dict[str, float]:
    """The share of the steps of each set: `VIDEOS` for videos, and within a kind by the square root of its size.

    By size K710, which is clean and full of action, would be seen in 2 % of the steps; the root makes it 13.
    """
    roots = {kind: sum(PARTS[p].size ** 0.5 for p in used if PARTS[p].kind == kind) for kind in ("video", "image")}
    of_kind = {"video": VIDEOS, "image": 1 - VIDEOS}
    total = sum(share for kind, share in of_kind.items() if roots[kind])
    return {p: of_kind[PARTS[p].kind] / total * PARTS[p].size ** 0.5 / roots[PARTS[p].kind] for p in used}


def _targets(image_teacher: str, video_teacher: str, *, width: int) -> tuple[Target, ...]:
    """The mixture; weights bring what predicting the mean costs to about 1 for each."""
    return (
        Pixels(depth=2, width=width),
        Hog(name="hog-differences", differences=True, depth=2, width=width, weight=100.0),
        Distilled(name="image-teacher", teacher=image_teacher, every=2, on="seen", depth=0),
        Distilled(name="video-teacher", teacher=video_teacher, depth=2, width=width),
        Latent(depth=4, width=width, weight=2.5),
    )


def _sources(name: str, root: Path | None, only: str | Sequence[str]) -> dict[str, ClipSource]:
    """The sets to train on, all of which are there."""
    kinds = {kind: " ".join(p for p, part in PARTS.items() if part.kind == kind) for kind in ("video", "image")}
    layout = f"each a folder of *.tar shards or of files: videos {kinds['video']}; images {kinds['image']}"
    if root is None or not root.is_dir():
        where = f"{root}: no such folder" if root else "no folder of data was given"
        raise UserError(f"{name}: {where}; data=FOLDER holds the sets of the report's table 1, {layout}")
    asked = tuple(only.replace(",", " ").split()) if isinstance(only, str) else tuple(only)
    if unknown := next((part for part in asked if part not in PARTS), ""):
        raise UserError(f"{name}: only={unknown!r}{nearest(unknown, PARTS)}; there are {', '.join(PARTS)}")
    used = [part for part in PARTS if part in asked or not asked]
    there = [part for part in used if (root / part).is_dir()]
    if len(there) < len(used):
        absent = ", ".join(part for part in used if part not in there)
        hint = f"to train on what is there: only={','.join(there)}; " if there else ""
        raise UserError(f"{name}: {root} lacks {absent}; {hint}expected, {layout}")
    return {part: _source(part, root / part) for part in used}


def _source(part: str, folder: Path) -> ClipSource:
    """The data of one set, from shards where there are any."""
    kind, saw = PARTS[part].kind, PARTS[part].pretraining_datasets
    if any(folder.glob("*.tar")):
        return Shards(pattern=str(folder / "*.tar"), kind=kind, name=part, pretraining_datasets=saw)
    return VideoFolder(path=str(folder), kind=kind, name=part, pretraining_datasets=saw)
