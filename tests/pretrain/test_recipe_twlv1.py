"""TWLV-I's recipes: table 1 as data, what is refused, what a clip costs, and that all of it fits together."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from vitascope.core.device import generator
from vitascope.encoders.catalog import cards
from vitascope.encoders.families.twlv import SHAPES
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.pretrain import export
from vitascope.pretrain.data.folder import VideoFolder
from vitascope.pretrain.data.webdataset import Shards
from vitascope.pretrain.masking import Mask
from vitascope.pretrain.model import Student
from vitascope.pretrain.objective import Objective, draw_masks
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.recipes import twlv1
from vitascope.pretrain.targets.targets import Distilled


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for part in twlv1.PARTS:
        (tmp_path / part).mkdir()
    (tmp_path / "webvid10m" / "webvid-000.tar").touch()
    return tmp_path


def test_the_names_are_literal_as_a_finder_reads_them() -> None:
    tree = ast.parse(Path(twlv1.__file__).read_text(encoding="utf-8"))
    (assignment,) = [n for n in tree.body if isinstance(n, ast.AnnAssign) and ast.unparse(n.target) == "RECIPES"]
    assert assignment.value
    assert ast.literal_eval(assignment.value) == twlv1.RECIPES


@pytest.mark.parametrize(("name", "millions"), [("twlv1_b", 86), ("twlv1_l", 304)])
def test_the_encoders_are_the_reports(name: str, millions: int, data: Path) -> None:
    recipe = twlv1.build(name, data=data)
    assert round(recipe.shape.params / 1e6) in (millions, millions + 1)
    assert (recipe.frames, recipe.size, recipe.name) == (16, 224, name)
    assert recipe.digest != twlv1.build(name, data=data, steps=5).digest


def test_shares_are_by_root_of_size_within_a_kind(data: Path) -> None:
    recipe = twlv1.build("twlv1_b", data=str(data))
    shares = {source.name: share for source, share in recipe.data}
    assert math.isclose(sum(shares.values()), 1)
    assert math.isclose(shares["k710"] + shares["howto360k"] + shares["webvid10m"], 0.75)
    assert math.isclose(shares["webvid10m"] / shares["k710"], math.sqrt(10_730_000 / 658_000))
    assert math.isclose(shares["cc12m"] / shares["coco"], math.sqrt(11_000_000 / 113_000))
    stills = twlv1.build("twlv1_b", data=data, only="cc3m, coco")
    assert math.isclose(sum(share for _, share in stills.data), 1)


def test_sets_are_folders_or_shards_and_cards_name_them(data: Path) -> None:
    recipe = twlv1.build("twlv1_l", data=data, only=("webvid10m", "k710", "coco"))
    sources = {source.name: source for source, _ in recipe.data}
    assert list(sources) == ["k710", "webvid10m", "coco"]
    shards, folder, stills = sources["webvid10m"], sources["k710"], sources["coco"]
    assert isinstance(shards, Shards)
    assert shards.pattern == str(data / "webvid10m" / "*.tar")
    assert isinstance(folder, VideoFolder)
    assert isinstance(stills, VideoFolder)
    assert (folder.kind, shards.kind, stills.kind) == ("video", "video", "image")
    assert {folder.labeled, shards.labeled, stills.labeled} == {False}
    card = export.card(recipe)
    assert card.pretraining_datasets == {"k400", "k600", "k700", "webvid10m", "coco"}
    assert "clip/large" in card.trained
    assert "HowTo" not in card.trained


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "no data folder given; set data=FOLDER"),
        ({"data": "nowhere"}, "nowhere: no such folder"),
        ({"only": "k71"}, "only='k71'; did you mean 'k710'?"),
        ({"only": "sbu,coco"}, "does not contain sbu; to train without them: only=coco; expected are folders of *.tar"),
        ({"only": ""}, "does not contain sbu; to train without them: only=k710,howto360k,webvid10m,coco,vg,cc3m,cc12m"),
    ],
)
def test_missing_data_raises_in_one_line(given: dict[str, str], message: str, data: Path) -> None:
    (data / "sbu").rmdir()
    with pytest.raises(ValueError, match=r"^twlv1_b: ") as error:
        twlv1.build("twlv1_b", **({"data": str(data)} | given if given else {}))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_a_research_teacher_taught_is_for_research(data: Path) -> None:
    assert "CC BY-NC" in twlv1.build("twlv1_b", data=data).license
    assert "CC BY-NC" in twlv1.build("twlv1_l", data=data, video_teacher="videomae/base-pt").license
    assert "CC BY-NC" not in twlv1.build("twlv1_b", data=data, video_teacher="mine.safetensors").license


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(ValueError, match="no recipe 'twlv1_h'; did you mean 'twlv1_"):
        twlv1.build("twlv1_h")


DRAWS = 4


@cache
def shown_and_hidden(masks: tuple[Mask, ...], steps: int) -> list[tuple[float, float]]:
    """The mean numbers of tokens that each mask shows and hides; blocks have others at every step."""
    draws = [draw_masks(masks, (steps, 14, 14), generator(i), count=2048, rows=slice(None)) for i in range(DRAWS)]
    looks = [[(part.keep.shape[1], part.hide.shape[1]) for part in parts] for parts in zip(*draws, strict=True)]
    return [tuple(sum(counts) / DRAWS for counts in zip(*look, strict=True)) for look in looks]


def block(tokens: float, dim: int) -> float:
    """Multiply-adds of a transformer block: four square projections, an MLP of four widths, scores and their use."""
    return 12 * tokens * dim**2 + 2 * tokens**2 * dim


def costs(recipe: Recipe, frames: int) -> dict[str, float]:
    """Operations of one clip, part by part, written out anew; in GFLOP."""
    shape, steps = recipe.shape, max(frames // 2, 1)
    dim, depth, width = shape.dim, shape.depth, recipe.targets[0].width

    def encoder(tokens: float) -> float:
        return tokens * 1536 * dim + depth * block(tokens, dim)

    student = decoders = 0.0
    for visible, hidden in shown_and_hidden(tuple(recipe.masks_for(frames)), steps):
        student += 3 * encoder(visible)
        for blocks, numbers in ((2, 1536), (2, 2 * 4 * 9), (2, dim), (4, dim)):
            inside = visible * dim * width + blocks * block(visible + hidden, width) + hidden * width * numbers
            decoders += 3 * inside
        decoders += 3 * visible * dim * dim  # the image teacher's linear map; its tokens are as wide as the student's
    computed = cards()
    image, video = (computed[t.teacher] for t in recipe.targets if isinstance(t, Distilled))
    teachers = max(frames // 2, 1) * image.gflops * 1e9 / image.frames
    teachers += video.gflops * 1e9 if frames > 1 else encoder(196)  # the video teacher is the student's twin
    parts = {"student": student, "decoders": decoders, "slow": encoder(steps * 196), "teachers": teachers}
    return {part: 2 * macs / 1e9 for part, macs in parts.items()}


@pytest.mark.parametrize(("name", "column"), [("twlv1_b", 0), ("twlv1_l", 1)])
def test_documented_costs_follow_the_closed_form(name: str, column: int, data: Path) -> None:
    rows = re.findall(r"\| ([^|]+) \| ([\d.]+) \| ([\d.]+)[^|]*\|", twlv1.build.__doc__ or "")
    documented = [float(row[1 + column]) for row in rows]
    recipe = twlv1.build(name, data=data)
    video, image = costs(recipe, 16), costs(recipe, 1)
    whole, still = sum(video.values()), sum(image.values())
    total = recipe.batch * recipe.steps * (0.75 * whole + 0.25 * still) / 1e9
    days = total * 1e18 / (0.45 * 989e12) / 86400
    computed = [video["student"], video["decoders"], video["slow"], video["teachers"], whole, still, total, days]
    assert documented == pytest.approx(computed, rel=0.03)
    assert f"{documented[-1]:.0f} days" in twlv1.RECIPES[name]


@pytest.mark.parametrize("frames", [16, 1])
def test_all_of_it_fits_together_on_a_small_student(frames: int, data: Path) -> None:
    recipe = twlv1.build("twlv1_b", data=data, image_teacher="vit/tiny-random", video_teacher="vit/tiny-random-1")
    shape = VideoViTConfig(dim=32, depth=1, heads=2, mlp=64)
    targets = tuple(replace(target, width=64 if target.depth else target.width) for target in recipe.targets)
    student = Student(shape, generator(0))
    objective = Objective(student, targets, export.card(recipe), generator(1))
    pixels = torch.randint(0, 256, (2, frames, 224, 224, 3), dtype=torch.uint8, generator=generator(2))
    grid = student.grid(frames, 224)
    masks = draw_masks(recipe.masks_for(frames), grid, generator(3), count=2, rows=slice(None))
    losses = objective(pixels, torch.full((2,), -1), masks)
    assert list(losses) == ["pixels", "hog-differences", "image-teacher", "video-teacher", "latent"]
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values(), torch.zeros(())).backward()
    unmoved = [n for n, p in objective.named_parameters() if p.requires_grad and p.grad is None]
    assert not unmoved
    assert SHAPES["base"] == recipe.shape
