"""The controlled comparison: one student, equal FLOPs, and nothing of what is held out in the stream."""

import numpy as np
import pytest

from vitascope.core.errors import UserError
from vitascope.motionlab import draw
from vitascope.motionlab.motion import Path
from vitascope.motionlab.scene import APPEARANCES, MOTIONS
from vitascope.pretrain import find_recipe
from vitascope.pretrain.cost_estimate import training_tflops
from vitascope.pretrain.data import motionlab_render, other_stills
from vitascope.pretrain.data.base import ClipSpec
from vitascope.pretrain.data.motionlab import MotionLab, apply_symmetry, epoch_order
from vitascope.pretrain.data.other_stills import LOOKS, OtherStills, draw_still
from vitascope.pretrain.image_teacher import ImageTeacherRecipe
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.recipes import motionlab_controlled, motionlab_tiny
from vitascope.pretrain.recipes.motionlab_controlled import BUDGET, HELD_OUT_LOOKS, HELD_OUT_MOTIONS, RECIPES

NAMES = [name for name in RECIPES if not name.endswith("stills")]
DIAGONALS = ("up-left", "down-right", "up-right", "down-left")


def made(name: str, **asked: str) -> Recipe:
    recipe = find_recipe.find(name, asked)
    assert isinstance(recipe, Recipe)
    return recipe


def test_recipes_differ_in_targets_and_steps_alone() -> None:
    recipes = [made(name) for name in NAMES]
    assert len({r.targets for r in recipes}) == len(recipes)
    for field in ("shape", "frames", "size", "data", "masks", "batch", "optimizer", "lr", "muon_scale", "seed"):
        assert len({str(getattr(r, field)) for r in recipes}) == 1, field
    targets = {target for r in recipes for target in r.targets}
    assert len(targets) == 6, "every objective is the same wherever it occurs"
    assert {(t.on, t.depth, t.width) for t in targets} == {("all", 1, 96)}
    assert all(r.warmup == r.steps // 4 for r in recipes)
    assert motionlab_controlled.SHAPE == motionlab_tiny.SHAPE


def test_a_mixture_comes_with_all_its_pairs_and_parts() -> None:
    known = {frozenset(name.removeprefix("motionlab_controlled_").split("_")) for name in NAMES}
    for mixture in (parts for parts in known if len(parts) > 2):
        assert {mixture - {part} for part in mixture} | {frozenset({part}) for part in mixture} <= known


@pytest.mark.parametrize("name", ["flow", "image_flow_hog", "latent"])
def test_every_training_costs_the_budget(name: str) -> None:
    recipe = made(f"motionlab_controlled_{name}")
    step = training_tflops(recipe) / recipe.steps
    assert BUDGET - 1.5 * step < recipe.steps * step < BUDGET + 0.1


def test_cards_say_who_saw_labels() -> None:
    for name in NAMES:
        assert ("labels of looks" in made(name).trained) == ("image" in name)


def test_the_stream_shows_nothing_that_is_left_out() -> None:
    source = MotionLab(clips=60, seed=2, without=("disc-stripes", *DIAGONALS), quiet=True)
    shown = motionlab_render.shown(source.seed, source.clips, source.without)
    scenes = [motionlab_render.draw_scene(source.seed, i)[0] for i in range(source.clips)]
    kept = [
        i for i, s in enumerate(scenes) if s.motion not in DIAGONALS and (s.shape, s.texture) != ("disc", "stripes")
    ]
    assert shown.tolist() == kept
    assert 0 < len(kept) < 60
    spec = ClipSpec(frames=2, size=14)
    reader, everything = source.open(spec, seed=1), MotionLab(clips=60, seed=2, quiet=True).open(spec, seed=1)
    read, stored = reader.read(len(kept)).pixels.numpy(), everything.read(60).pixels.numpy()
    order, symmetries = epoch_order(1, 0, 60)
    clips = {int(i): clip for i, clip, symmetry in zip(order, stored, symmetries, strict=True) if symmetry == 0}
    order, symmetries = epoch_order(1, 0, len(kept))
    same = [(kept[p], s, clip) for p, s, clip in zip(order, symmetries.tolist(), read, strict=True) if kept[p] in clips]
    assert same
    for index, symmetry, clip in same:
        assert np.array_equal(clip, apply_symmetry(clips[index], symmetry))
    reader.close()
    everything.close()


def test_all_that_is_held_out_is_a_whole_family_and_leaves_every_part_to_be_seen() -> None:
    seen = [look for look in APPEARANCES if look not in HELD_OUT_LOOKS]
    for place in (0, 1):
        assert {look.split("-")[place] for look in seen} == {look.split("-")[place] for look in APPEARANCES}
    MotionLab(without=(*HELD_OUT_LOOKS, *HELD_OUT_MOTIONS))
    assert set(HELD_OUT_MOTIONS) < set(MOTIONS)


@pytest.mark.parametrize(
    ("without", "message"),
    [
        (("disc-stripe",), "did you mean 'disc-stripes'"),
        (("up-left",), "leave out up-left, down-right, up-right, down-left together"),
        (("grow",), "leave out grow, shrink together"),
        (APPEARANCES, "all appearances or all motions are left out"),
    ],
)
def test_what_cannot_be_left_out_is_refused(without: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        MotionLab(without=without)


def test_the_other_stills_share_no_shape_and_no_texture_with_the_suites() -> None:
    ours, theirs = ({part for look in looks for part in look.split("-")} for looks in (APPEARANCES, LOOKS))
    assert not ours & theirs
    assert len(LOOKS) == len(APPEARANCES)
    source = OtherStills(clips=12, seed=3)
    reader = source.open(ClipSpec(1, 28), seed=5)
    read = reader.read(12)
    reader.close()
    order, symmetries = epoch_order(5, 0, 12)
    for picture, label, index, symmetry in zip(
        read.pixels.numpy(), read.labels.tolist(), order.tolist(), symmetries.tolist(), strict=True
    ):
        scene, drawn = draw_still(3, index)
        assert label == drawn
        assert LOOKS[label] == f"{scene.shape}-{scene.texture}"
        assert np.array_equal(
            picture, apply_symmetry(other_stills.downscale(other_stills.render(scene, 1), 28), symmetry)
        )


@pytest.mark.parametrize("texture", other_stills.TEXTURES)
def test_textures_have_both_colors_and_sharp_edges(texture: str) -> None:
    frames = np.zeros((1, 112, 112, 3), np.float32)
    still = Path(*(np.array([value]) for value in (0.5, 0.5, 0.0, 0.4)))
    black_and_white = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    draw.stamp(frames, still, "hexagon", lambda u, v, pixel: draw.paint(texture, black_and_white, u, v, pixel))
    inside = frames[0, 26:86, 26:86, 0]
    shares = [(inside < 0.1).mean(), (inside > 0.35).mean()]
    assert min(shares) > 0.15
    assert sum(shares) > 0.7


def test_the_teacher_that_never_saw_the_looks_says_what_it_saw() -> None:
    recipe = find_recipe.find("motionlab_controlled_stills", {})
    assert isinstance(recipe, ImageTeacherRecipe)
    assert "24 looks that are not MotionLab's" in recipe.card.trained
    assert recipe.card.pretraining_datasets == {"motionlab-other-stills"}
    mixture = made("motionlab_controlled_image_flow", teacher="t.safetensors")
    assert getattr(mixture.targets[0], "teacher", "") == "t.safetensors"
