"""The training loop: one flat function, in one or several processes, that can be killed and resumed at any step."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from vitascope.core import files
from vitascope.core.device import device as device_called
from vitascope.core.device import generator, peak_bytes, to_device
from vitascope.core.errors import UserError, reading
from vitascope.core.log import log
from vitascope.core.types import Card, plain
from vitascope.encoders.weights.native import WEIGHTS
from vitascope.pretrain import (
    cached_teachers,
    checkpoint,
    distributed,
    export,
    initial,
    optim,
    run_checks,
    target_gradients,
)
from vitascope.pretrain.checkpoint_writer import CheckpointWriter
from vitascope.pretrain.cost_estimate import count_flops
from vitascope.pretrain.data.held import Memory
from vitascope.pretrain.data.mixture import Mixture, MixtureReader
from vitascope.pretrain.distributed import Parallel, Ranks
from vitascope.pretrain.masking import Masked
from vitascope.pretrain.matrix_peak import matrix_peak
from vitascope.pretrain.model import Student
from vitascope.pretrain.monitoring.checkup import Checkups
from vitascope.pretrain.monitoring.display import Display
from vitascope.pretrain.monitoring.log import RECORDER
from vitascope.pretrain.monitoring.log_writer import LogWriter
from vitascope.pretrain.monitoring.loggers import open_mirror
from vitascope.pretrain.monitoring.probing import ProbingConfig
from vitascope.pretrain.monitoring.speed import Speedometer
from vitascope.pretrain.monitoring.step_history import StepHistory
from vitascope.pretrain.objective import Objective, draw_masks
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.run_checks import RECIPE
from vitascope.pretrain.run_lock import Launcher, exclusive_run
from vitascope.pretrain.targets.feature_cache import clip_keys
from vitascope.pretrain.targets.teachers import Guide

BROKEN = "broken.json"
"""File in the run folder that lists unreadable training files: {id: reason}."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a recipe is run on this machine; nothing here changes the weights that are learned."""

    device: str = ""
    """Torch device; empty: the best available."""
    workers: int = 0
    """Decoding processes per source and training process, and one for probing; 0: one thread, and none."""
    hold: float = 0.0
    """Gigabytes of the device's memory in which the training data are held, if they fit; 0: they are read as needed."""
    parallel: Parallel = "ddp"
    """Parallelism under `torchrun`: "ddp" replicates the model, "fsdp" shards it."""
    save_every: int = 1000
    """Steps between checkpoints."""
    background_saves: bool = True
    """Write checkpoints from a thread; needs memory for a copy of weights and optimizer state."""
    check_every: int = 1000
    """Steps between in-loop probings, with one more at the end; 0: none."""
    probing: ProbingConfig = field(default_factory=ProbingConfig)
    """Datasets and probes of in-loop probing."""
    gradients_every: int | None = None
    """Steps between measurements of each target's gradient; 0: none; None: at in-loop probings."""
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
        wrong += [n for n in ("check_every", "gradients_every", "workers", "stop_at") if (getattr(self, n) or 0) < 0]
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
        run_checks.refuse_other_recipe(recipe, run, ranks)
        with exclusive_run(run, ranks):
            return _pretrain(recipe, run, config, device=device, ranks=ranks)


def _pretrain(recipe: Recipe, run: Path, config: TrainConfig, *, device: torch.device, ranks: Ranks) -> Path:
    # ---- checks
    launcher = Launcher()
    run_checks.refuse_sharded_muon(recipe, config.parallel)
    batch_size = run_checks.clips_per_process(recipe, ranks)
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
    checkups = (
        Checkups(config.probing, recipe, run, device=device, ranks=ranks, workers=config.workers)
        if config.check_every
        else None
    )
    if recipe.compile:
        student.compile()
    dtype = optim.compute_precision(recipe, device)
    model = distributed.wrap_model(objective, ranks, config.parallel, dtype=dtype)
    optimizers = optim.build_optimizers(objective, recipe)
    data = _open_data(recipe, config, ranks, device)
    resumed = checkpoint.resume(run, model, optimizers, ranks)
    if start and start.checkpoint:
        start = start._replace(new=checkpoint.adopt(start.checkpoint, model, optimizers, ranks))
    started = export.started_from(resumed.metadata) if resumed else start and start.origin
    teacher_cards = _teachers(objective, guide)
    metadata = export.checkpoint_metadata(recipe, teacher_cards, command=config.command, started=started)
    step, clips_consumed, history = 0, 0, StepHistory(objective.targets)
    if resumed:
        with reading(run / checkpoint.FOLDER, "remove the last checkpoint to resume from the one before"):
            step, clips_consumed = resumed.metadata["step"], resumed.metadata["seen"]
            history = StepHistory(objective.targets, **resumed.metadata.get("skipped", {}))
            digests, position = resumed.metadata["origin"]["teachers"], resumed.metadata["data"]
        run_checks.refuse_other_teachers(digests, metadata["origin"]["teachers"], run)
        data.restore(position[ranks.rank] if len(position) == ranks.world else data.merged(position))
    last_step = min(config.stop_at or recipe.steps, recipe.steps)

    saver = CheckpointWriter(run, ranks, background=config.background_saves)
    opened = _open_log(recipe, run, config, ranks=ranks, resumed=resumed, start=start)
    checking = closing(checkups) if checkups else nullcontext()
    with closing(saver), closing(data), closing(teachers), checking, opened as log_writer:
        # ---- steps
        speed, flops = Speedometer(lambda: data.seconds_waited), dict[int, float]()
        peak = matrix_peak(device, dtype) if log_writer and step < last_step else 0.0
        suspect = ranks.gather(log_writer.suspect if log_writer else False)[0]
        # the last checkpoint without signs of collapse: the one resumed from or, if that is suspect, the one before
        healthy = next((p for p in checkpoint.list_checkpoints(run) if suspect or checkpoint.step_of(p) == step), None)
        while step < last_step:
            launcher.check(run)
            probing_due = config.check_every and ((step + 1) % config.check_every == 0 or step + 1 == recipe.steps)
            gradients_every = config.check_every if config.gradients_every is None else config.gradients_every
            clips = data.read(batch_size)
            for target in recipe.targets:
                target.check_labels(clips.labels)
            keys = clip_keys(clips.pixels) if objective.keyed else ()  # before they are on the device
            pixels, labels = (to_device(part, device) for part in (clips.pixels, clips.labels))
            frames = pixels.shape[1]
            grid, mask_rules = student.grid(frames, pixels.shape[2]), recipe.masks_for(frames)
            saliency = _saliency(guide, recipe, pixels, grid) if any(r.needs_saliency for r in mask_rules) else None
            mask_rng = optim.mask_generator(recipe, step, device)
            masks = draw_masks(mask_rules, grid, mask_rng, count=recipe.batch, rows=rows, saliency=saliency)
            masks = [Masked(*(to_device(part, device) for part in mask)) for mask in masks]
            batch = optim.StepBatch(pixels, labels, masks, keys)
            target_weights = recipe.target_weights_at(step)

            if frames not in flops:
                with speed.paused():
                    flops[frames] = count_flops(model, objective, recipe, frames)
            if gradients_every and (step + 1) % gradients_every == 0:
                history.read()
                with speed.paused():
                    gradients = target_gradients.measure(model, objective, recipe, batch, target_weights)
                    if log_writer:
                        log_writer.gradients(step + 1, clips_consumed=clips_consumed, **gradients._asdict())
            lr = optim.apply_schedule(optimizers, recipe, step)
            losses = optim.backward(model, recipe, batch, target_weights, measure=bool(probing_due))
            norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad_norm or math.inf)
            values = torch.cat([ranks.mean(losses, objective.take_target_means()), distributed.full_value(norm)])
            optim.step_optimizers(optimizers, skip=~history.sound(values))
            step, clips_consumed = step + 1, clips_consumed + recipe.batch
            speed.step(recipe.batch, recipe.batch * flops[frames])
            objective.update_targets(step / recipe.steps)
            history.add(step, clips.source, values)

            # ---- logging, probing, checkpoints
            logging_due = step % config.log_every == 0 or step == last_step
            saving_due = step % config.save_every == 0 or step == last_step
            if logging_due or probing_due or saving_due:
                history.read()
                if guide:
                    guide.check()
            if logging_due or history.why:
                means, skipped = history.take()
                rates = speed.take(max(ranks.gather(speed.seconds_waited)), ranks.world * peak)
                broken = {id: reason for part in ranks.gather(data.broken) for id, reason in part.items()}
                if log_writer:
                    log_writer.skipped(skipped)
                if log_writer and means:
                    broken |= checkups.unreadable if checkups else {}
                    log_writer.step(
                        step,
                        clips_consumed=clips_consumed,
                        losses=means.losses,
                        loss=sum(t.largest_weight * means.losses[t.name] for t in recipe.targets),
                        by_source=means.by_source if len(recipe.data) > 1 else {},
                        broken=len(broken),
                        skipped=history.skipped,
                        lr=lr,
                        grad_norm=means.norm,
                        memory=peak_bytes(device),
                        **rates._asdict(),
                    )
                    _write_broken(run, broken)
            if history.why:
                _stop(log_writer, saver, step, why=history.why, healthy=healthy)
            if probing_due:
                with speed.paused():
                    weights = trunk_state(model)
                    probing = checkups(step, weights) if checkups else None
                    if log_writer and probing:
                        log_writer.probe(
                            step, clips_consumed=clips_consumed, similarity=objective.similarity, **probing._asdict()
                        )
            if logging_due or probing_due:
                why, suspect = ranks.gather((log_writer.why, log_writer.suspect) if log_writer else ("", False))[0]
                saver.check()
                if why:
                    _stop(log_writer, saver, step, why=why, healthy=healthy)
            if saving_due:
                teachers.flush()
                counts = {"skipped": history.skipped, "in_a_row": history.in_a_row}
                state = {"seen": clips_consumed, "data": ranks.gather(data.state()), "skipped": counts, **metadata}
                saved = saver.save(step, model, optimizers, metadata=state, healthy=healthy)
                healthy = healthy if suspect and healthy else saved

        # ---- the encoder
        saver.wait()
        weights, out = trunk_state(model), run / WEIGHTS
        if ranks.first:
            export.write(weights, metadata, out, step=step, clips_consumed=clips_consumed)
        if log_writer and step == recipe.steps:
            log_writer.done(step)
    return out


def _open_data(recipe: Recipe, config: TrainConfig, ranks: Ranks, device: torch.device) -> MixtureReader:
    """Open this process's share of the data, in memory or as they are read."""
    source, share = Mixture(recipe.data), {"seed": recipe.seed, "rank": ranks.rank, "world": ranks.world}
    if config.hold:
        return source.hold(recipe.spec, Memory(device, config.hold), **share)
    return source.open(recipe.spec, **share, workers=config.workers)


def trunk_state(model: nn.Module) -> dict[str, Tensor]:
    """Gather the trunk's full tensors on the CPU of rank 0; a collective of all processes."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state: dict[str, Any] = dict(get_model_state_dict(model, options=options))
    return {k.removeprefix(export.TRUNK): v for k, v in state.items() if k.startswith(export.TRUNK)}


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


def _stop(
    log_writer: LogWriter | None, saver: CheckpointWriter, step: int, *, why: str, healthy: Path | None
) -> NoReturn:
    """Stop the run: log the reason and raise UserError; the last good checkpoint is kept."""
    if log_writer:
        log_writer.alarm(step, why)
    saver.wait()
    run = saver.run
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
