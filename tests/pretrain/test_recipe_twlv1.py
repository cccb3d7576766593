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

from vitascope.core.device import generator, peak_bytes
from vitascope.encoders.catalog import cards
from vitascope.encoders.families.twlv import SHAPES
from vitascope.encoders.load import outline
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.pretrain import export
from vitascope.pretrain.cost_estimate import count_cost
from vitascope.pretrain.data.folder import VideoFolder
from vitascope.pretrain.data.webdataset import Shards
from vitascope.pretrain.masking import Mask, Tube
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


@pytest.mark.parametrize(("name", "millions"), [("twlv1_b", 86), ("twlv1_l", 304), ("twlv1_h", 631), ("twlv1_g", 1012)])
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
    with pytest.raises(ValueError, match="no recipe 'twlv1_s'; did you mean 'twlv1_"):
        twlv1.build("twlv1_s")


DRAWS = 4


@cache
def shown_and_hidden(masks: tuple[Mask, ...], steps: int, side: int) -> list[tuple[float, float]]:
    """The mean numbers of tokens that each mask shows and hides; blocks have others at every step."""
    draws = [draw_masks(masks, (steps, side, side), generator(i), count=2048, rows=slice(None)) for i in range(DRAWS)]
    looks = [[(part.keep.shape[1], part.hide.shape[1]) for part in parts] for parts in zip(*draws, strict=True)]
    return [tuple(sum(counts) / DRAWS for counts in zip(*look, strict=True)) for look in looks]


def block(tokens: float, dim: int, mlp: int) -> float:
    """Multiply-adds of a transformer block: four square projections, an MLP, scores and their use."""
    return tokens * (4 * dim**2 + 2 * dim * mlp) + 2 * tokens**2 * dim


def costs(recipe: Recipe, frames: int) -> dict[str, float]:
    """Operations of one clip, part by part, written out anew; in GFLOP."""
    shape, steps = recipe.shape, max(frames // 2, 1)
    dim, depth, width, side = shape.dim, shape.depth, recipe.targets[0].width, 224 // shape.patch
    pixels = 6 * shape.patch**2

    def encoder(tokens: float, numbers: int) -> float:
        return tokens * numbers * dim + depth * block(tokens, dim, shape.mlp)

    computed = cards()
    image, video = (computed[t.teacher] for t in recipe.targets if isinstance(t, Distilled))
    features = {"twlv1_b": 768, "twlv1_l": 1024, "twlv1_h": 1152, "twlv1_g": 1536}[recipe.name]
    student = decoders = 0.0
    for visible, hidden in shown_and_hidden(tuple(recipe.masks_for(frames)), steps, side):
        student += 3 * encoder(visible, pixels)
        for blocks, numbers in ((2, pixels), (2, 2 * 4 * 9), (2, dim), (4, dim)):
            inside = visible * dim * width + hidden * width * numbers
            decoders += 3 * (inside + blocks * block(visible + hidden, width, 4 * width))
        decoders += 3 * visible * dim * features  # the image teacher's linear map
    teachers = max(frames // 2, 1) * image.gflops * 1e9 / image.frames
    # the video teacher is the student's twin, but for the patches of H
    still = encoder(256, 1176) if recipe.name == "twlv1_g" else encoder(196, 1536)
    teachers += video.gflops * 1e9 if frames > 1 else still
    parts = {"student": student, "decoders": decoders, "slow": encoder(steps * side**2, pixels), "teachers": teachers}
    return {part: 2 * macs / 1e9 for part, macs in parts.items()}


@pytest.mark.parametrize(("name", "column"), list(zip(twlv1.RECIPES, range(4), strict=True)))
def test_documented_costs_follow_the_closed_form(name: str, column: int, data: Path) -> None:
    rows = re.findall(r"\| ([^|]+)" + 4 * r" \| ([\d.]+)" + r"[^|]*\|", twlv1.build.__doc__ or "")
    documented = [float(row[1 + column]) for row in rows]
    recipe = twlv1.build(name, data=data)
    video, image = costs(recipe, 16), costs(recipe, 1)
    whole, still = sum(video.values()), sum(image.values())
    total = recipe.batch * recipe.steps * (0.75 * whole + 0.25 * still) / 1e9
    days = total * 1e18 / (0.45 * 989e12) / 86400
    computed = [video["student"], video["decoders"], video["slow"], video["teachers"], whole, still, total, days]
    assert documented == pytest.approx(computed, rel=0.03)
    assert f"{computed[-1]:.0f} days" in twlv1.RECIPES[name]


def test_a_dry_run_counts_a_giant_without_its_weights(data: Path) -> None:
    """On no memory; of two blocks and one target and mask, which saves time and has a closed form."""
    giant = twlv1.build("twlv1_g", data=data, batch=8)
    shape = replace(giant.shape, depth=2)
    recipe = replace(giant, shape=shape, targets=giant.targets[:1], masks=(Tube(0.9),), checkpointing=False)
    before = peak_bytes(torch.device("cpu"))
    cost = count_cost(recipe)
    assert peak_bytes(torch.device("cpu")) - before < 1e8
    assert cost.params == shape.params
    assert cost.bytes == 16 * cost.trainable_params > 16 * cost.params > 8e8
    visible, hidden, dim, width, pixels = 8 * 26, 8 * 230, 1408, 512, 6 * 14**2
    assert (cost.visible_tokens, cost.tokens) == ((visible,), visible + hidden)
    embed = visible * pixels * dim  # pixels need no gradient
    inside = 2 * block(visible, dim, 6144) + visible * dim * width + hidden * width * pixels
    inside += 2 * block(visible + hidden, width, 4 * width)
    assert cost.clip_gflops * 1e9 == pytest.approx(2 * (2 * embed + 3 * inside), rel=1e-9)


@pytest.mark.parametrize("name", ["siglip2/giant", "videomae/giant-v2-pt"])
def test_the_outline_of_a_teacher_needs_no_weights(name: str) -> None:
    outlined = outline(name)
    assert outlined.card == cards()[name]
    assert {p.device.type for p in outlined.parameters()} == {"meta"}  # type: ignore[attr-defined]


def test_extra_adds_the_training_videos_of_ssv2(data: Path) -> None:
    (data / "ssv2").mkdir(exist_ok=True)
    without, recipe = (twlv1.build("twlv1_l", data=data, extra=extra) for extra in ("", "ssv2"))
    names = [source.name for source, _ in recipe.data]
    assert names == [*(source.name for source, _ in without.data), "ssv2"]
    shares = dict(zip(names, (share for _, share in recipe.data), strict=True))
    assert math.isclose(shares["ssv2"] / shares["k710"], math.sqrt(168_913 / 658_000))
    assert math.isclose(sum(shares[name] for name in ("k710", "howto360k", "webvid10m", "ssv2")), 0.75)
    assert export.card(recipe).pretraining_datasets == export.card(without).pretraining_datasets | {"ssv2"}
    assert "SSv2" in recipe.trained
    assert "SSv2" not in without.trained
    alone = twlv1.build("twlv1_l", data=data, only="k710", extra=("ssv2",))
    assert [source.name for source, _ in alone.data] == ["k710", "ssv2"]
    with pytest.raises(ValueError, match=r"^twlv1_l: extra='ssv'; did you mean 'ssv2'"):
        twlv1.build("twlv1_l", data=data, extra="ssv")
    (data / "ssv2").rmdir()
    with pytest.raises(ValueError, match=r"does not contain ssv2; to train without them: only=k710,"):
        twlv1.build("twlv1_l", data=data, extra="ssv2")


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
