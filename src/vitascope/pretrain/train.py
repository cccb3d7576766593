"""The training loop: one flat function, alone or as one of several processes, that can be killed at any step."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from vitascope.core import files
from vitascope.core.device import device as device_called
from vitascope.core.device import generator
from vitascope.core.errors import UserError
from vitascope.core.types import Card, plain
from vitascope.encoders.weights.native import WEIGHTS
from vitascope.pretrain import checkpoint, distributed, export, optim
from vitascope.pretrain.data.mixture import Mixture
from vitascope.pretrain.distributed import Parallel, Ranks
from vitascope.pretrain.model import Student
from vitascope.pretrain.monitoring.display import Display
from vitascope.pretrain.monitoring.log import RECORDER
from vitascope.pretrain.monitoring.log_writer import LogWriter
from vitascope.pretrain.monitoring.loggers import open_mirror
from vitascope.pretrain.monitoring.mean_losses import MeanLosses
from vitascope.pretrain.monitoring.probing import InLoopProbing, ProbingConfig
from vitascope.pretrain.objective import Objective, drawn
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.teachers import Guide

RECIPE = "recipe.json"
BROKEN = "broken.json"
"""What could not be read, and why."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a recipe is run here; none of it changes what is learned."""

    device: str = ""
    workers: int = 0
    """Decoding processes of each training process."""
    parallel: Parallel = "ddp"
    save_every: int = 1000
    check_every: int = 1000
    """Steps between check-ups, and one at the end; 0: none."""
    checkup: ProbingConfig = field(default_factory=ProbingConfig)
    log_every: int = 50
    mirrors: tuple[str, ...] = ()
    quiet: bool = False
    stop_at: int = 0
    """Stop after this step, with a checkpoint, as if killed; 0: at the end."""
    command: str = ""
    """What was typed, for the card."""

    def __post_init__(self) -> None:
        wrong = [n for n in ("save_every", "log_every") if getattr(self, n) < 1]
        wrong += [n for n in ("check_every", "workers", "stop_at") if getattr(self, n) < 0]
        if wrong:
            raise UserError(
                f"{wrong[0]} = {getattr(self, wrong[0])}: steps between two savings or lines are at least 1"
            )


def pretrain(recipe: Recipe, run: str | Path, setting: TrainConfig | None = None) -> Path:
    """Train as the recipe says, in the folder `run`, from its last checkpoint where there is one; the encoder's file.

    Under `torchrun` every process calls it. ValueError for another recipe's run, for data or teachers that cannot be
    used, and where training diverges or collapses: the last good checkpoint is kept then. OSError for a full disk.
    """
    run, setting = Path(run), setting or TrainConfig()
    device = distributed.local_device(device_called(setting.device))
    with distributed.joined(device) as here:
        return _pretrain(recipe, run, setting, device=device, here=here)


def _pretrain(recipe: Recipe, run: Path, setting: TrainConfig, *, device: torch.device, here: Ranks) -> Path:
    # ---- what is there
    _refuse_another(recipe, run, here)
    if recipe.optimizer == "muon" and setting.parallel == "fsdp":
        raise UserError(f"recipe {recipe.name}: muon needs whole matrices; share by ddp, or set optimizer:adamw")
    share = _share(recipe, here)
    rows = slice(here.rank, None, here.world)

    # ---- model, optimizer, data
    seeded = generator(recipe.seed)
    student = Student(recipe.shape, seeded, checkpointing=recipe.checkpointing).to(device)
    objective = Objective(student, recipe.targets, export.card(recipe), seeded)
    guide = Guide(recipe.guide, device) if recipe.guide else None
    examiner = InLoopProbing(setting.checkup, recipe.spec) if setting.check_every and here.first else None
    about = export.told(recipe, _teachers(objective, guide), command=setting.command)
    if recipe.compile:
        student.compile()
    model = distributed.shared(objective, here, setting.parallel)
    optimizers = optim.optimizers_of(objective, recipe)
    source = Mixture(recipe.data)
    data = source.open(recipe.spec, seed=recipe.seed, rank=here.rank, world=here.world, workers=setting.workers)
    taken = checkpoint.resume(run, model, optimizers, here)
    step, seen = (taken.told["step"], taken.told["seen"]) if taken else (0, 0)
    if taken:
        _refuse_other_teachers(taken.told["origin"]["teachers"], about["origin"]["teachers"], run)
        data.restore(_position(taken.told["data"], here, run))
    last = min(setting.stop_at or recipe.steps, recipe.steps)

    with closing(data), _recording(recipe, run, setting, here=here, taken=taken) as recorder:
        # ---- steps
        since, waited, made, tally = time.perf_counter(), data.waited, 0, MeanLosses()
        doubt = here.all(recorder.doubt if recorder else False)[0]
        # the last checkpoint that nothing speaks against: the one taken up, or if that is in doubt the one before
        sound = next((p for p in checkpoint.found(run) if doubt or checkpoint.step_of(p) == step), None)
        while step < last:
            next_is_checked = setting.check_every and (
                (step + 1) % setting.check_every == 0 or step + 1 == recipe.steps
            )
            clips = data.read(share)
            pixels, labels = (part.to(device, non_blocking=True) for part in (clips.pixels, clips.labels))
            frames = pixels.shape[1]
            grid, rules = student.grid(frames, pixels.shape[2]), recipe.masks_of(frames)
            saliency = _saliency(guide, recipe, pixels, grid) if any(rule.needs_saliency for rule in rules) else None
            rng = optim.mask_draws(recipe, step, device)
            masks = drawn(rules, grid, rng, count=recipe.batch, rows=rows, saliency=saliency)
            batch = optim.StepBatch(pixels, labels, masks)

            rate = optim.schedule(optimizers, recipe, step)
            means = here.mean(optim.backward(model, recipe, batch, measure=bool(next_is_checked)))
            total = _total(recipe, means)
            norm = distributed.whole(nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad_norm or math.inf))
            if not (math.isfinite(total) and math.isfinite(norm)):
                optim.backward(model, recipe, batch, measure=True)
                _stop(recorder, here, step, run=run, why=_not_finite(means, here.all(objective.likeness)), sound=sound)
            optim.advance(optimizers)
            step, seen, made = step + 1, seen + recipe.batch, made + recipe.batch
            objective.follow(step / recipe.steps)
            tally.add(clips.source, means)

            # ---- what is written down
            noted = step % setting.log_every == 0 or step == last
            if noted:
                took = max(time.perf_counter() - since, 1e-9)
                shown, by_source = tally.take()
                # one that waits makes all wait, though the others would call it arithmetic
                starved = max(here.all(data.waited - waited))
                broken = {name: why for found in here.all(data.broken) for name, why in found.items()}
                if recorder:
                    broken |= examiner.listed if examiner else {}
                    recorder.step(
                        step,
                        seen=seen,
                        losses=shown,
                        loss=_total(recipe, shown),
                        by_source=by_source if len(recipe.data) > 1 else {},
                        broken=len(broken),
                        lr=rate,
                        grad_norm=norm,
                        clips_per_second=made / took,
                        waiting=min(starved / took, 1.0),
                    )
                    _tell_broken(run, broken)
                since, waited, made = time.perf_counter(), data.waited, 0
            if next_is_checked:
                began, state = time.perf_counter(), trunk_state(model)
                if recorder and examiner:
                    found = examiner(export.encoder(state, recipe, device), device)
                    recorder.probe(step, seen=seen, similarity=objective.likeness, **found._asdict())
                since += time.perf_counter() - began
            if noted or next_is_checked:
                why, doubt = here.all((recorder.why, recorder.doubt) if recorder else ("", False))[0]
                if why:
                    _stop(recorder, here, step, run=run, why=why, sound=sound)
            if step % setting.save_every == 0 or step == last:
                told = {"seen": seen, "data": here.all(data.state()), **about}
                kept = checkpoint.save(run, step, model, optimizers, told=told, ranks=here, sound=sound)
                sound = sound if doubt and sound else kept

        # ---- the encoder
        weights, out = trunk_state(model), run / WEIGHTS
        if here.first:
            export.write(weights, about, out, step=step, seen=seen)
        if recorder and step == recipe.steps:
            recorder.done(step)
    return out


def trunk_state(model: nn.Module) -> dict[str, Tensor]:
    """The trunk's tensors, whole, on the CPU of the first process; all processes take part."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state: dict[str, Any] = dict(get_model_state_dict(model, options=options))
    return {k.removeprefix(export.TRUNK): v for k, v in state.items() if k.startswith(export.TRUNK)}


def _refuse_another(recipe: Recipe, run: Path, here: Ranks) -> None:
    """ValueError where the run's folder holds another recipe."""
    path, wrong = run / RECIPE, ""
    if here.first and path.exists():
        there, data = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(plain(recipe)))
        differs = [k for k in sorted(set(there) | set(data)) if there.get(k) != data.get(k)]
        told = ", ".join(f"{k} {there.get(k)!r:.60} there, {data.get(k)!r:.60} now" for k in differs[:3])
        wrong = f"{run}: a run of another recipe ({told}); name another folder with -o" if differs else ""
    if wrong := here.all(wrong)[0]:
        raise UserError(wrong)


def _refuse_other_teachers(there: Mapping[str, str], now: Mapping[str, str], run: Path) -> None:
    """ValueError where a teacher has other weights than those that the run began with."""
    for name, digest in there.items():
        if now.get(name) != digest:
            raise UserError(
                f"{run}: its teacher {name} had the digest {digest}, and now {now.get(name, 'is not there')}; put its "
                "weights back, or begin anew in another folder"
            )


def _share(recipe: Recipe, here: Ranks) -> int:
    """Clips of a step that this process computes."""
    if recipe.batch % (here.world * recipe.accumulate):
        raise UserError(
            f"recipe {recipe.name}: a batch of {recipe.batch} cannot be shared evenly by {here.world} processes in "
            f"{recipe.accumulate} parts; change batch or accumulate"
        )
    return recipe.batch // here.world


def _position(states: list[dict[str, Any]], here: Ranks, run: Path) -> dict[str, Any]:
    """Where this process goes on reading: where it was, or, if there are more or fewer now, where all of them were.

    ValueError where processes stood at places of their own, as those do that have met broken files.
    """
    if len(states) == here.world:
        return states[here.rank]
    if any(state != states[0] for state in states):
        raise UserError(f"{run}: {len(states)} processes trained it, and each read its own part; start {len(states)}")
    return states[0]


def _saliency(guide: Guide | None, recipe: Recipe, pixels: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """The guide's weights of all tokens here, in the parts that training takes."""
    assert guide, "a recipe with such masks has a guide"
    with optim.precision(recipe, pixels.device):
        return torch.cat([guide(part, grid) for part in pixels.split(len(pixels) // recipe.accumulate)])


def _teachers(objective: Objective, guide: Guide | None) -> list[Card]:
    """The cards of all encoders that have a say."""
    cards = [*(teaching.card for teaching in objective.teaching.values()), guide and guide.card]
    return [card for card in cards if card]


@contextmanager
def _recording(
    recipe: Recipe, run: Path, setting: TrainConfig, *, here: Ranks, taken: checkpoint.LoadedCheckpoint | None
) -> Iterator[LogWriter | None]:
    """The flight recorder, in the first process."""
    if not here.first:
        yield None
        return
    files.write(run / RECIPE, json.dumps(plain(recipe), indent=1).encode())
    for line in taken.damaged if taken else ():
        print(f"warning: {line}; going on from the one before", file=sys.stderr)
    display = None if setting.quiet else Display(recipe.name, total=recipe.steps)
    before = (run / RECORDER).is_file() and (run / RECORDER).stat().st_size
    with LogWriter(run, display=display, mirrors=[open_mirror(m, run) for m in setting.mirrors]) as recorder:
        if before:
            recorder.resumed(taken.told["step"] if taken else 0)
        else:
            recorder.start(plain(recipe), params=recipe.shape.params, total=recipe.steps)
        yield recorder


def _not_finite(means: Mapping[str, float], likeness: list[dict[str, float]]) -> str:
    """What has gone wrong in a step whose loss or gradient is no number."""
    wrong = [name for name, value in means.items() if not math.isfinite(value)]
    taught = [name for name in means if any(math.isnan(of.get(name, 0.0)) for of in likeness)]
    said = f"the loss of {', '.join(wrong)} is not finite" if wrong else "the gradient is not finite, every loss is"
    return f"{said}: what {', '.join(taught)} is to be like is not, look at its teacher" if taught else said


def _total(recipe: Recipe, losses: Mapping[str, float]) -> float:
    """The weighted sum, which is minimized."""
    return sum(t.weight * losses[t.name] for t in recipe.targets)


def _stop(recorder: LogWriter | None, here: Ranks, step: int, *, run: Path, why: str, sound: Path | None) -> NoReturn:
    """End the run with the evidence; the last good checkpoint stays."""
    if recorder:
        recorder.alarm(step, why)
    last = f"the checkpoint of step {checkpoint.step_of(sound)} is kept" if sound else "no checkpoint was written yet"
    if sound and (later := [str(checkpoint.step_of(p)) for p in checkpoint.found(run) if p > sound]):
        last += f"; to go on from it, remove the later ones (step {', '.join(later)})"
    raise UserError(f"{run}: stopped at step {step}: {why}; {last}; see `vitascope report {run}`")


def _tell_broken(run: Path, broken: Mapping[str, str]) -> None:
    """List, beside the recording, what all processes could not read."""
    if broken:
        files.write(run / BROKEN, json.dumps(broken, indent=1, ensure_ascii=False).encode())
