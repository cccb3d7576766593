"""Checks before the first step of a run: that recipe, teachers, batch and data fit what is in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.files import read_json
from vitascope.core.types import plain
from vitascope.pretrain.distributed import Parallel, Ranks
from vitascope.pretrain.recipe import Recipe

RECIPE = "recipe.json"


def refuse_other_recipe(recipe: Recipe, run: Path, ranks: Ranks) -> None:
    """Raise UserError if the run folder contains a run of another recipe."""
    path, problem = run / RECIPE, ""
    if ranks.first and path.exists():
        again = "name another folder with -o"
        stored, given = read_json(path, again), json.loads(json.dumps(plain(recipe)))
        if not isinstance(stored, dict):
            raise UserError(f"{path}: not a recipe; {again}")
        differing = [k for k in sorted(set(stored) | set(given)) if stored.get(k) != given.get(k)]
        differences = ", ".join(f"{k} was {stored.get(k)!r:.60}, is now {given.get(k)!r:.60}" for k in differing[:3])
        problem = (
            f"{run}: contains a run of another recipe ({differences}); choose another folder with -o"
            if differing
            else ""
        )
    if problem := ranks.gather(problem)[0]:
        raise UserError(problem)


def refuse_other_teachers(stored: Mapping[str, str], current: Mapping[str, str], run: Path) -> None:
    """Raise UserError if a teacher's weights differ from those at the start of the run."""
    for name, digest in stored.items():
        if current.get(name) != digest:
            raise UserError(
                f"{run}: the digest of teacher {name} was {digest}, is now {current.get(name, 'missing')}; restore its "
                "weights, or start a new run in another folder"
            )


def clips_per_process(recipe: Recipe, ranks: Ranks) -> int:
    """Number of clips of each step that one process computes."""
    if recipe.batch % (ranks.world * recipe.accumulate):
        raise UserError(
            f"recipe {recipe.name}: a batch of {recipe.batch} cannot be divided among {ranks.world} processes in "
            f"{recipe.accumulate} parts; change batch or accumulate"
        )
    return recipe.batch // ranks.world


def refuse_sharded_muon(recipe: Recipe, parallel: Parallel) -> None:
    """Raise UserError for an optimizer that a sharded model cannot have."""
    if recipe.optimizer == "muon" and parallel == "fsdp":
        raise UserError(
            f"recipe {recipe.name}: muon needs unsharded matrices; use --parallel ddp or set optimizer=adamw"
        )
