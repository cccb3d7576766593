"""Five objectives of one size and one length, and their teachers."""

import json
import subprocess
from pathlib import Path

import pytest

from vitascope.core.types import plain
from vitascope.encoders.weights.native_card import SHIPPED, read_metadata
from vitascope.pretrain import find_recipe
from vitascope.pretrain.image_teacher import ImageTeacherRecipe
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.recipes.motionlab_tiny import RECIPES

ROOT = Path(__file__).parents[2]

OBJECTIVES = [name for name in RECIPES if not name.endswith("stills")]


def made(name: str, **asked: str) -> Recipe:
    recipe = find_recipe.find(name, asked)
    assert isinstance(recipe, Recipe)
    return recipe


def test_objectives_differ_in_their_targets_alone() -> None:
    recipes = [made(name) for name in OBJECTIVES]
    assert len({r.targets for r in recipes}) == len(recipes) == 5
    alike = ("shape", "frames", "size", "data", "masks", "batch", "steps", "optimizer", "lr", "muon_scale", "warmup")
    for field in alike:
        assert len({getattr(r, field) for r in recipes}) == 1, field
    assert 0.5e6 < recipes[0].shape.params < 2.5e6, "half precision of it fits into 5 MB"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_cards_say_who_saw_labels(name: str) -> None:
    taught = any(getattr(target, "teacher", "") == "tiny/stills" for target in made(name).targets)
    assert ("labels of looks" in made(name).trained) == taught == name.endswith(("image", "twlv1"))


def test_steps_and_seed_can_be_set() -> None:
    assert (
        made("motionlab_tiny_latent", steps="40", seed="3").steps,
        made("motionlab_tiny_latent", seed="3").seed,
    ) == (40, 3)
    stills = find_recipe.find("motionlab_tiny_stills", {"steps": "7"})
    assert isinstance(stills, ImageTeacherRecipe)
    assert stills.steps == 7


def test_the_teacher_can_be_replaced() -> None:
    for name, teacher in (("image", "tiny/stills"), ("twlv1", "tiny/stills"), ("video", "tiny/pixels")):
        assert getattr(made(f"motionlab_tiny_{name}").targets[0], "teacher", "") == teacher
        other = made(f"motionlab_tiny_{name}", teacher="t.safetensors")
        assert getattr(other.targets[0], "teacher", "") == "t.safetensors"


@pytest.mark.parametrize("objective", ["twlv1", "image", "video", "pixels", "latent"])
def test_the_recipes_are_those_of_the_shipped_encoders(objective: str) -> None:
    origin = read_metadata(SHIPPED / f"tiny-{objective}.safetensors").origin
    make = ["make", "-n", "reproduce-tiny", f"OBJECTIVE={objective}"]
    typed = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    seed = int(typed.partition("--seed ")[2].split()[0])
    recipe = made(f"motionlab_tiny_{objective}", seed=str(seed))
    assert origin["recipe"] == json.loads(json.dumps(plain(recipe)))
    assert f"--seed {seed} " in origin["command"]
