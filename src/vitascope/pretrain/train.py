"""The training loop: one flat function, in one or several processes, that can be killed and resumed at any step."""

from __future__ import annotations

import json
import math
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
from vitascope.core.errors import UserError, reading
from vitascope.core.files import read_json
from vitascope.core.log import log
from vitascope.core.types import Card, plain
from vitascope.encoders.weights.native import WEIGHTS
from vitascope.pretrain import cached_teachers, checkpoint, distributed, export, initial, optim
from vitascope.pretrain.data.mixture import Mixture
from vitascope.pretrain.distributed import Parallel, Ranks
from vitascope.pretrain.model import Student
from vitascope.pretrain.monitoring.display import Display
from vitascope.pretrain.monitoring.log import RECORDER
from vitascope.pretrain.monitoring.log_writer import LogWriter
from vitascope.pretrain.monitoring.loggers import open_mirror
from vitascope.pretrain.monitoring.mean_losses import MeanLosses
from vitascope.pretrain.monitoring.probing import InLoopProbing, ProbingConfig
from vitascope.pretrain.objective import Objective, draw_masks
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.run_lock import Launcher, exclusive_run
from vitascope.pretrain.targets.teachers import Guide

RECIPE = "recipe.json"
BROKEN = "broken.json"
"""File in the run folder that lists unreadable training files: {id: reason}."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a recipe is run on this machine; nothing here changes the weights that are learned."""

    device: str = ""
    """Torch device; empty: the best available."""
    workers: int = 0
    """Decoding processes per source and training process; 0: one thread."""
    parallel: Parallel = "ddp"
    """Parallelism under `torchrun`: "ddp" replicates the model, "fsdp" shards it."""
    save_every: int = 1000
    """Steps between checkpoints."""
    check_every: int = 1000
    """Steps between in-loop probings, with one more at the end; 0: none."""
    probing: ProbingConfig = field(default_factory=ProbingConfig)
    """Datasets and probes of in-loop probing."""
    log_every: int = 50
    """Steps between lines of the training log."""
    mirrors: tuple[str, ...] = ()
    """Additional loggers: "tensorboard", "wandb"."""
    quiet: bool = False
    """Do not display progress."""
    teacher_cache: float = 0.0
    """Gigabytes of teachers' features kept in the cache folder; 0: none. See `targets/feature_cache.py`."""
    stop_at: int = 0
    """Stop after this step with a checkpoint, to resume later; 0: train to the end."""
    command: str = ""
    """Command line, stored with the exported weights."""

    def __post_init__(self) -> None:
        wrong = [n for n in ("save_every", "log_every") if getattr(self, n) < 1]
        if not 0 <= self.teacher_cache < math.inf:
            raise UserError(f"teacher_cache = {self.teacher_cache}: gigabytes of disk, a number from 0 (no cache)")
        wrong += [n for n in ("check_every", "workers", "stop_at") if getattr(self, n) < 0]
        if wrong:
            raise UserError(
                f"{wrong[0]} = {getattr(self, wrong[0])}: steps between two savings or lines are at least 1"
            )


def pretrain(recipe: Recipe, run: str | Path, config: TrainConfig | None = None) -> Path:
    """Train a recipe in the folder `run`, resuming from its last checkpoint; returns the path of the exported encoder.

    Under `torchrun`, every process calls it. Raises UserError if the folder holds a run of another recipe, if data or
    teachers are unusable, and if training diverges or collapses (the last good checkpoint is kept); StorageError if a
    checkpoint or the log cannot be written.
    """
    run, config = Path(run), config or TrainConfig()
    device = distributed.local_device(device_called(config.device))
    with distributed.process_group(device) as ranks:
        _refuse_other_recipe(recipe, run, ranks)
        with exclusive_run(run, ranks):
            return _pretrain(recipe, run, config, device=device, ranks=ranks)


def _pretrain(recipe: Recipe, run: Path, config: TrainConfig, *, device: torch.device, ranks: Ranks) -> Path:
    # ---- checks
    launcher = Launcher()
    if recipe.optimizer == "muon" and config.parallel == "fsdp":
        raise UserError(
            f"recipe {recipe.name}: muon needs unsharded matrices; use --parallel ddp or set optimizer=adamw"
        )
    batch_size = _per_process(recipe, ranks)
    rows = slice(ranks.rank, None, ranks.world)

    # ---- model, optimizer, data
    rng = generator(recipe.seed)
    student = Student(recipe.shape, rng, checkpointing=recipe.checkpointing)
    new = not checkpoint.list_checkpoints(run)
    start = initial.load_trunk(student.trunk, recipe.init) if recipe.init and new else None
    student = student.to(device)
    objective = Objective(student, recipe.targets, export.card(recipe), rng)
    teachers = cached_teachers.attach(objective, recipe, gigabytes=config.teacher_cache, device=device)
    guide = Guide(recipe.guide, device) if recipe.guide else None
    prober = InLoopProbing(config.probing, recipe.spec) if config.check_every and ranks.first else None
    if recipe.compile:
        student.compile()
    model = distributed.wrap_model(objective, ranks, config.parallel)
    optimizers = optim.build_optimizers(objective, recipe)
    source = Mixture(recipe.data)
    data = source.open(recipe.spec, seed=recipe.seed, rank=ranks.rank, world=ranks.world, workers=config.workers)
    resumed = checkpoint.resume(run, model, optimizers, ranks)
    if start and start.checkpoint:
        start = start._replace(new=checkpoint.adopt(start.checkpoint, model, optimizers, ranks))
    started = export.started_from(resumed.metadata) if resumed else start and start.origin
    teacher_cards = _teachers(objective, guide)
    metadata = export.checkpoint_metadata(recipe, teacher_cards, command=config.command, started=started)
    step, clips_consumed = 0, 0
    if resumed:
        with reading(run / checkpoint.FOLDER, "remove the last checkpoint to resume from the one before"):
            step, clips_consumed = resumed.metadata["step"], resumed.metadata["seen"]
            digests, position = resumed.metadata["origin"]["teachers"], resumed.metadata["data"]
        _refuse_other_teachers(digests, metadata["origin"]["teachers"], run)
        data.restore(_position(position, ranks, run))
    last_step = min(config.stop_at or recipe.steps, recipe.steps)

    opened = _open_log(recipe, run, config, ranks=ranks, resumed=resumed, start=start)
    with closing(data), closing(teachers), opened as log_writer:
        # ---- steps
        since, waited_before, clips_since, mean_losses = time.perf_counter(), data.seconds_waited, 0, MeanLosses()
        suspect = ranks.gather(log_writer.suspect if log_writer else False)[0]
        # the last checkpoint without signs of collapse: the one resumed from or, if that is suspect, the one before
        healthy = next((p for p in checkpoint.list_checkpoints(run) if suspect or checkpoint.step_of(p) == step), None)
        while step < last_step:
            launcher.check(run)
            probing_due = config.check_every and ((step + 1) % config.check_every == 0 or step + 1 == recipe.steps)
            clips = data.read(batch_size)
            pixels, labels = (part.to(device, non_blocking=True) for part in (clips.pixels, clips.labels))
            frames = pixels.shape[1]
            grid, mask_rules = student.grid(frames, pixels.shape[2]), recipe.masks_for(frames)
            saliency = (
                _saliency(guide, recipe, pixels, grid) if any(rule.needs_saliency for rule in mask_rules) else None
            )
            mask_rng = optim.mask_generator(recipe, step, device)
            masks = draw_masks(mask_rules, grid, mask_rng, count=recipe.batch, rows=rows, saliency=saliency)
            batch = optim.StepBatch(pixels, labels, masks)

            lr = optim.apply_schedule(optimizers, recipe, step)
            means = ranks.mean(optim.backward(model, recipe, batch, measure=bool(probing_due)))
            total = _total(recipe, means)
            norm = distributed.full_value(
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad_norm or math.inf)
            )
            if not (math.isfinite(total) and math.isfinite(norm)):
                optim.backward(model, recipe, batch, measure=True)
                _stop(
                    log_writer,
                    ranks,
                    step,
                    run=run,
                    why=_not_finite(means, ranks.gather(objective.similarity)),
                    healthy=healthy,
                )
            optim.step_optimizers(optimizers)
            step, clips_consumed, clips_since = step + 1, clips_consumed + recipe.batch, clips_since + recipe.batch
            objective.update_targets(step / recipe.steps)
            mean_losses.add(clips.source, means)

            # ---- logging, probing, checkpoints
            logging_due = step % config.log_every == 0 or step == last_step
            if logging_due:
                seconds = max(time.perf_counter() - since, 1e-9)
                losses, by_source = mean_losses.take()
                # one waiting process delays all, though the others would count the delay as computation
                seconds_waited = max(ranks.gather(data.seconds_waited - waited_before))
                broken = {id: reason for part in ranks.gather(data.broken) for id, reason in part.items()}
                if log_writer:
                    broken |= prober.unreadable if prober else {}
                    log_writer.step(
                        step,
                        clips_consumed=clips_consumed,
                        losses=losses,
                        loss=_total(recipe, losses),
                        by_source=by_source if len(recipe.data) > 1 else {},
                        broken=len(broken),
                        lr=lr,
                        grad_norm=norm,
                        clips_per_second=clips_since / seconds,
                        waiting=min(seconds_waited / seconds, 1.0),
                    )
                    _write_broken(run, broken)
                since, waited_before, clips_since = time.perf_counter(), data.seconds_waited, 0
            if probing_due:
                start, weights = time.perf_counter(), trunk_state(model)
                if log_writer and prober:
                    probing = prober(export.build_encoder(weights, recipe, device), device)
                    log_writer.probe(
                        step, clips_consumed=clips_consumed, similarity=objective.similarity, **probing._asdict()
                    )
                since += time.perf_counter() - start
            if logging_due or probing_due:
                why, suspect = ranks.gather((log_writer.why, log_writer.suspect) if log_writer else ("", False))[0]
                if why:
                    _stop(log_writer, ranks, step, run=run, why=why, healthy=healthy)
            if step % config.save_every == 0 or step == last_step:
                teachers.flush()
                state = {"seen": clips_consumed, "data": ranks.gather(data.state()), **metadata}
                saved = checkpoint.save(run, step, model, optimizers, metadata=state, ranks=ranks, healthy=healthy)
                healthy = healthy if suspect and healthy else saved

        # ---- the encoder
        weights, out = trunk_state(model), run / WEIGHTS
        if ranks.first:
            export.write(weights, metadata, out, step=step, clips_consumed=clips_consumed)
        if log_writer and step == recipe.steps:
            log_writer.done(step)
    return out


def trunk_state(model: nn.Module) -> dict[str, Tensor]:
    """Gather the trunk's full tensors on the CPU of rank 0; a collective of all processes."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state: dict[str, Any] = dict(get_model_state_dict(model, options=options))
    return {k.removeprefix(export.TRUNK): v for k, v in state.items() if k.startswith(export.TRUNK)}


def _refuse_other_recipe(recipe: Recipe, run: Path, ranks: Ranks) -> None:
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


def _refuse_other_teachers(stored: Mapping[str, str], current: Mapping[str, str], run: Path) -> None:
    """Raise UserError if a teacher's weights differ from those at the start of the run."""
    for name, digest in stored.items():
        if current.get(name) != digest:
            raise UserError(
                f"{run}: the digest of teacher {name} was {digest}, is now {current.get(name, 'missing')}; restore its "
                "weights, or start a new run in another folder"
            )


def _per_process(recipe: Recipe, ranks: Ranks) -> int:
    """Number of clips of each step that one process computes."""
    if recipe.batch % (ranks.world * recipe.accumulate):
        raise UserError(
            f"recipe {recipe.name}: a batch of {recipe.batch} cannot be divided among {ranks.world} processes in "
            f"{recipe.accumulate} parts; change batch or accumulate"
        )
    return recipe.batch // ranks.world


def _position(states: list[dict[str, Any]], ranks: Ranks, run: Path) -> dict[str, Any]:
    """Return this process's reader state; with another number of processes, the state that all had in common.

    Raises UserError if their states differ, as they do once a process has met unreadable files.
    """
    if len(states) == ranks.world:
        return states[ranks.rank]
    if any(state != states[0] for state in states):
        raise UserError(
            f"{run}: it was trained by {len(states)} processes at different positions in the data; "
            f"resume with {len(states)} processes"
        )
    return states[0]


def _saliency(guide: Guide | None, recipe: Recipe, pixels: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Compute the guide's saliency of all tokens of this process, in the parts used for gradient accumulation."""
    assert guide, "recipes whose masks need saliency have a guide"
    with optim.autocast(recipe, pixels.device):
        return torch.cat([guide(part, grid) for part in pixels.split(len(pixels) // recipe.accumulate)])


def _teachers(objective: Objective, guide: Guide | None) -> list[Card]:
    """Collect the cards of all teachers and of the guide."""
    cards = [*(target.card for target in objective.bound.values()), guide and guide.card]
    return [card for card in cards if card]


@contextmanager
def _open_log(
    recipe: Recipe,
    run: Path,
    config: TrainConfig,
    *,
    ranks: Ranks,
    resumed: checkpoint.LoadedCheckpoint | None,
    start: initial.Start | None,
) -> Iterator[LogWriter | None]:
    """Open the training log in rank 0; yields None in other processes."""
    if not ranks.first:
        yield None
        return
    files.write(run / RECIPE, json.dumps(plain(recipe), indent=1).encode())
    for line in resumed.damaged if resumed else ():
        log.warning("warning: %s; resuming from the previous one", line)
    display = None if config.quiet else Display(recipe.name, total=recipe.steps)
    existing = (run / RECORDER).is_file() and (run / RECORDER).stat().st_size
    with LogWriter(run, display=display, mirrors=[open_mirror(m, run) for m in config.mirrors]) as log_writer:
        if existing:
            log_writer.resumed(resumed.metadata["step"] if resumed else 0)
        else:
            init = str(start) if start else ""
            log_writer.start(plain(recipe), params=recipe.shape.params, total=recipe.steps, init=init)
        yield log_writer


def _not_finite(means: Mapping[str, float], similarity: list[dict[str, float]]) -> str:
    """Describe which loss, gradient or target of a step is not finite."""
    losses = [name for name, value in means.items() if not math.isfinite(value)]
    targets = [name for name in means if any(math.isnan(part.get(name, 0.0)) for part in similarity)]
    text = (
        f"the loss of {', '.join(losses)} is not finite"
        if losses
        else "the gradient is not finite, although every loss is"
    )
    return f"{text}; nor is the target of {', '.join(targets)}: check its teacher" if targets else text


def _total(recipe: Recipe, losses: Mapping[str, float]) -> float:
    """Weighted sum of the losses, which is minimized."""
    return sum(t.weight * losses[t.name] for t in recipe.targets)


def _stop(
    log_writer: LogWriter | None, ranks: Ranks, step: int, *, run: Path, why: str, healthy: Path | None
) -> NoReturn:
    """Stop the run: log the reason and raise UserError; the last good checkpoint is kept."""
    if log_writer:
        log_writer.alarm(step, why)
    last = (
        f"the checkpoint of step {checkpoint.step_of(healthy)} is kept" if healthy else "no checkpoint was written yet"
    )
    if healthy and (later := [str(checkpoint.step_of(p)) for p in checkpoint.list_checkpoints(run) if p > healthy]):
        last += f"; to resume from it, remove the later ones (step {', '.join(later)})"
    raise UserError(f"{run}: stopped at step {step}: {why}; {last}; see `vitascope report {run}`")


def _write_broken(run: Path, broken: Mapping[str, str]) -> None:
    """Write the list of files that any process could not read."""
    if broken:
        files.write(run / BROKEN, json.dumps(broken, indent=1, ensure_ascii=False).encode())
