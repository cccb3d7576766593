"""Train and evaluate every recipe with every seed, as far as that is not done yet, and collect the outcomes."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitascope.core import files, option_text
from vitascope.core.errors import UserError
from vitascope.core.files import read_json
from vitascope.core.option_text import pairs
from vitascope.core.progress import ProgressLine, TrainingProgress
from vitascope.core.text import counted
from vitascope.core.types import digest, plain
from vitascope.encoders.weights.native import WEIGHTS
from vitascope.evaluation import results
from vitascope.evaluation.results import Result
from vitascope.evaluation.sweep import records
from vitascope.evaluation.sweep.processes import Chain, run_chains
from vitascope.evaluation.sweep.records import Sweep, SweepRun
from vitascope.pretrain import find_recipe
from vitascope.pretrain.cost_estimate import training_tflops
from vitascope.pretrain.monitoring import log as training_log
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.run_checks import RECIPE

LONGEST_NAME = 120
"""Characters of a folder name, beside a digest."""
VITASCOPE = (sys.executable, "-m", "vitascope")
SCORES, OUTPUT, EVALUATED = "scores", "output.txt", "evaluated.json"
"""Within the folder of a run: its evaluation, what its processes wrote, and which evaluations have ended."""


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """What is trained, evaluated and where."""

    output: Path
    """Folder with a folder per recipe and seed."""
    seeds: tuple[int, ...] = (0, 1, 2)
    data: tuple[str, ...] = ("motionlab/appearance", "motionlab/motion")
    """Datasets on which every encoder is evaluated."""
    tasks: tuple[str, ...] = ("attentive", "linear", "knn")
    """Probes, of which each example is right or wrong."""
    fields: tuple[str, ...] = ()
    """Changes of all recipes, `field=value`."""
    jobs: int = 1
    """Runs at a time."""
    options: tuple[str, ...] = ()
    """Further arguments of `vitascope pretrain`."""
    quiet: bool = False

    def __post_init__(self) -> None:
        if not self.seeds or not self.data or not self.tasks or self.jobs < 1:
            raise UserError("a sweep needs at least one seed, one dataset, one probe and one process")


@dataclass(frozen=True)
class _Planned:
    """One run of a sweep."""

    name: str
    seed: int
    recipe: Recipe
    folder: Path

    @property
    def label(self) -> str:
        """Name of the run in messages."""
        return f"{self.name} seed {self.seed}"

    @property
    def key(self) -> tuple[str, int, str]:
        """Recipe and seed, by name and by what determines the weights."""
        return self.name, self.seed, digest(_learned(plain(self.recipe)))

    @property
    def trained(self) -> bool:
        """Whether the folder holds the finished encoder of this recipe."""
        if not (self.folder / WEIGHTS).is_file() or self.log_step != self.recipe.steps:
            return False
        stored = read_json(self.folder / RECIPE, "remove the folder to train again", dict[str, Any])
        return _learned(stored) == _learned(json.loads(json.dumps(plain(self.recipe))))

    @property
    def log_step(self) -> int:
        """Last step logged."""
        path = self.folder / training_log.RECORDER
        return training_log.read(self.folder).step if path.is_file() else 0

    @property
    def evaluated(self) -> tuple[str, ...]:
        """Evaluations that have ended, as `_evaluations` names them."""
        path = self.folder / EVALUATED
        return read_json(path, "remove it to evaluate again", tuple[str, ...]) if path.is_file() else ()

    @property
    def found(self) -> list[Result]:
        """Results recorded so far."""
        scores = self.folder / SCORES
        return results.read(scores) if (scores / results.RESULTS).is_file() else []


def sweep(recipes: Sequence[str], config: SweepConfig, *, train: bool = True) -> Sweep:
    """Train and evaluate what is missing, write `sweep.json` and return the sweep of these recipes and seeds.

    Without `train` nothing is started, and what is finished is collected. Seeds come before recipes: all recipes have
    a run before any has two. A run that `sweep.json` has, of the same recipe and with every evaluation, is finished
    even if its folder is gone; runs of others stay in the file. Raises UserError before any work for an unknown
    recipe or field, and, after all other runs, if one failed.
    """
    planned = [_plan(name, seed, config) for seed in config.seeds for name in dict.fromkeys(recipes)]
    if not planned:
        raise UserError("a sweep needs at least one recipe; see `vitascope ls recipes`")
    file = config.output / records.FILE
    recorded = records.read(file) if file.is_file() else Sweep(runs=(), examples={})
    kept = {run.key: old for run in planned if (old := _recorded(run, recorded, config))}
    failed = _run([run for run in planned if run.key not in kept and _commands(run, config)], config) if train else {}
    found = _collect(planned, recorded, kept)
    if found.runs:
        replaced = {(run.recipe, run.seed) for run in found.runs}
        left = tuple(old for old in recorded.runs if (old.recipe, old.seed) not in replaced)
        records.write(Sweep(runs=found.runs + left, examples=found.examples), file)
    if failed:
        name, why = next(iter(failed.items()))
        others = f" (and {counted(len(failed) - 1, 'other run')})" if len(failed) > 1 else ""
        raise UserError(f"{name} failed{others}: {why}; mend it and run again, what is finished is kept")
    if not found.runs:
        raise UserError(f"{config.output}: no run of these recipes is finished")
    return found


def _plan(name: str, seed: int, config: SweepConfig) -> _Planned:
    fields = pairs(config.fields, "--set")
    if "seed" in {**fields, **dict(option_text.parse(name, path=False).options)}:
        raise UserError(f"{name}: a sweep sets the seeds; say which by --seed and --seeds")
    recipe = find_recipe.find(name, {**fields, "seed": str(seed)})
    if not isinstance(recipe, Recipe):
        raise UserError(f"{name} trains an image teacher; a sweep compares video encoders")
    return _Planned(name, seed, recipe, config.output / _folder_name(name) / f"seed-{seed}")


def _folder_name(name: str) -> str:
    """A folder name of its own for a recipe, readable as far as its options allow."""
    recipe, *options = name.split("+", 1)
    safe = "+".join([recipe.replace(":", "-"), *options])
    if len(safe) <= LONGEST_NAME and not re.search("[:/]", safe):
        return safe
    return f"{re.sub('[:/]', '-', safe[:LONGEST_NAME])}-{digest(name)}"


def _recorded(run: _Planned, recorded: Sweep, config: SweepConfig) -> SweepRun | None:
    """The record of a run whose folder is gone, if it is of the same recipe and has every evaluation."""
    if run.folder.exists():
        return None
    same = (old for old in recorded.runs if (old.recipe, old.seed, old.digest) == run.key)
    return next((old for old in same if set(_evaluations(config)) <= set(old.evaluated)), None)


def _learned(recipe: dict[str, Any]) -> dict[str, Any]:
    """What determines the weights: all of a recipe but what is only said of them."""
    return {name: value for name, value in recipe.items() if name not in ("license", "trained")}


def _commands(run: _Planned, config: SweepConfig) -> tuple[tuple[str, ...], ...]:
    """What is left to do for a run."""
    trained = run.trained
    if trained and set(_evaluations(config)) <= set(run.evaluated):
        return ()
    evaluate = ("evaluate", *config.data, "-m", str(run.folder / WEIGHTS), *_repeated("-t", config.tasks))
    commands = [(*evaluate, "-o", str(run.folder / SCORES), "-q")]
    if not trained:
        fields = ("--seed", str(run.seed), *_repeated("--set", config.fields))
        commands.insert(0, ("pretrain", run.name, *fields, "-o", str(run.folder), "-q", *config.options))
    return tuple((*VITASCOPE, *command) for command in commands)


def _evaluations(config: SweepConfig) -> list[str]:
    """Every dataset with every probe, as they were given."""
    return [f"{data}:{task}" for data in config.data for task in config.tasks]


def _repeated(option: str, values: Sequence[str]) -> list[str]:
    return [text for value in values for text in (option, value)]


def _run(planned: Sequence[_Planned], config: SweepConfig) -> dict[str, str]:
    """Run what is left, showing steps; returns {run: reason} of what failed."""
    by_name = {run.label: run for run in planned}
    chains = [Chain(run.label, _commands(run, config), run.folder / OUTPUT) for run in planned]
    steps = {run.label: run.log_step for run in planned}
    progress = TrainingProgress("sweep", sum(run.recipe.steps for run in planned))
    with ProgressLine(progress, quiet=config.quiet) as line:
        line.resume_at(sum(steps.values()))

        def tick(running: Sequence[str]) -> None:
            steps.update({name: by_name[name].log_step for name in running})
            progress.done = sum(steps.values())
            progress.label = f"sweep: {', '.join(running)}"
            line.tick()

        def succeeded(name: str) -> None:
            ended = dict.fromkeys((*by_name[name].evaluated, *_evaluations(config)))
            files.write(by_name[name].folder / EVALUATED, json.dumps(list(ended)).encode())

        return run_chains(chains, config.jobs, tick, succeeded)


def _collect(planned: Sequence[_Planned], recorded: Sweep, kept: Mapping[tuple[str, int, str], SweepRun]) -> Sweep:
    """The outcomes of all finished runs, those of `kept` without a look at their folder."""
    runs: list[SweepRun] = []
    examples = dict(recorded.examples)
    tflops: dict[str, float] = {}
    for run in planned:
        if run.key in kept:
            runs.append(kept[run.key])
            continue
        if not run.trained or not (found := run.found):
            continue
        outcomes, examples = records.outcomes_of(found, run.folder / SCORES, examples)
        if run.name not in tflops:
            tflops[run.name] = float(f"{training_tflops(run.recipe):.4g}")
        runs.append(
            SweepRun(
                recipe=run.name,
                seed=run.seed,
                steps=run.recipe.steps,
                clips=run.recipe.steps * run.recipe.batch,
                tflops=tflops[run.name],
                without=records.left_out(plain(run.recipe)),
                digest=run.key[-1],
                evaluated=run.evaluated,
                outcomes=outcomes,
            )
        )
    return Sweep(runs=tuple(runs), examples=examples)
