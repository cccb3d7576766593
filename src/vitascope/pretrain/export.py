"""From a training run to an encoder: weights, and a card that says what they are and what they saw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vitascope import exported
from vitascope.pretrain.recipe import Recipe
from vitascope.types import Card


def card(recipe: Recipe, *, saw: Iterable[str] = (), step: int | None = None) -> Card:
    """The card of a recipe's encoder, without the digest of its weights.

    `saw` adds data sets that its teachers met. Before the last step the name says how far it was trained.
    """
    shape = recipe.shape
    frames = shape.grid[0] * shape.tubelet
    done = "" if step is None or step >= recipe.steps else f"-step{step}"
    sources = ", ".join(source.name for source, _ in recipe.data)
    return Card(
        name=f"{recipe.name}{done}",
        digest="",
        dim=shape.out,
        frames=max(frames, recipe.frames),
        size=recipe.size,
        mean=recipe.mean,
        std=recipe.std,
        resize="shorter",
        pool="mean of the tokens after the final norm",
        saw=frozenset(name for source, _ in recipe.data for name in source.saw) | recipe.saved | frozenset(saw),
        trained=recipe.trained or sources,
        sampling="as it was pretrained",
        licence="yours",
        params=shape.params,
        gflops=round(shape.macs(frames, recipe.size) * (recipe.frames if frames == 1 else 1) / 1e9, 3),
    )


def write(
    state: Mapping[str, Tensor], recipe: Recipe, path: Path, *, saw: Iterable[str] = (), origin: Mapping[str, Any]
) -> Card:
    """Write the trunk's tensors as an encoder that `vitascope evaluate -m PATH` takes; its card."""
    step = origin.get("step")
    given = replace(card(recipe, saw=saw, step=step))
    learnt = {name: tensor for name, tensor in state.items() if name != "pos_embed" or _stored(recipe)}
    return exported.write(path, learnt, given, recipe.shape, origin)


def _stored(recipe: Recipe) -> bool:
    return recipe.shape.positions == "stored"
