"""Four recipes on a folder of clips that differ in their targets alone."""

from pathlib import Path

import pytest

from vitascope.pretrain import find_recipe
from vitascope.pretrain.data.folder import VideoFolder
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.recipes.real_tiny import RECIPES
from vitascope.sampling.augmentations import find_drawn


def made(name: str, **asked: str) -> Recipe:
    recipe = find_recipe.find(name, asked)
    assert isinstance(recipe, Recipe)
    return recipe


def folders(recipe: Recipe) -> list[VideoFolder]:
    sources = [source for source, _ in recipe.data]
    assert all(isinstance(source, VideoFolder) for source in sources)
    return sources  # type: ignore[return-value]


def test_objectives_differ_in_their_targets_alone(tmp_path: Path) -> None:
    recipes = {name: made(name, data=str(tmp_path)) for name in RECIPES}
    mixture = recipes.pop("real_tiny_mixture")
    assert [r.targets for r in recipes.values()] == [(target,) for target in mixture.targets]
    for field in (
        "shape",
        "frames",
        "size",
        "data",
        "masks",
        "batch",
        "steps",
        "optimizer",
        "lr",
        "warmup",
        "init",
        "seed",
    ):
        assert all(getattr(r, field) == getattr(mixture, field) for r in recipes.values()), field
    assert 1e6 < mixture.shape.params < 6e6


def test_subfolders_with_manifests_are_sources_of_equal_shares(tmp_path: Path) -> None:
    for name in ("b", "a", "without"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        (tmp_path / name / "manifest.csv").write_text("path\nv.mp4\n")
    recipe = made("real_tiny_flow", data=str(tmp_path))
    assert [(source.name, share) for source, share in recipe.data] == [("a", 1.0), ("b", 1.0)]
    (tmp_path / "manifest.csv").write_text("path\na/v.mp4\n")
    (whole,) = folders(made("real_tiny_flow", data=str(tmp_path)))
    assert whole.path == str(tmp_path)


def test_draws_are_fixed_or_endless(tmp_path: Path) -> None:
    (fixed,) = folders(made("real_tiny_flow", data=str(tmp_path), draws="3"))
    (endless,) = folders(made("real_tiny_flow", data=str(tmp_path), draws="0"))
    drawn = find_drawn(fixed.sampler)
    assert drawn is not None
    assert drawn.count == 3
    assert endless.sampler == drawn.inner


def test_a_folder_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs data"):
        made("real_tiny_mixture")
    with pytest.raises(ValueError, match=r"data = .*nowhere: no such folder"):
        made("real_tiny_mixture", data=str(tmp_path / "nowhere"))
