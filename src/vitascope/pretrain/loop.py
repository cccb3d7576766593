"""The training loop: one flat function, alone or as one of several processes, that can be killed at any step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from vitascope import files
from vitascope.encoder import NetworkEncoder
from vitascope.exported import WEIGHTS
from vitascope.nn.vit import VideoViT
from vitascope.pretrain import export, ranks, saving
from vitascope.pretrain.checkup import Checkup, Examiner
from vitascope.pretrain.display import Display
from vitascope.pretrain.mirrors import open_mirror
from vitascope.pretrain.objective import Objective, drawn
from vitascope.pretrain.ranks import Parallel, Ranks
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.recorder import Recorder
from vitascope.pretrain.stream.mixture import Mixture
from vitascope.pretrain.student import Student
from vitascope.runtime import device as device_called
from vitascope.runtime import generator
from vitascope.types import plain

RECIPE = "recipe.json"
BROKEN = "broken.json"
HUNGRY = 0.1
"""Share of the time spent waiting for data from which it is said aloud."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a recipe is run here; none of it changes what is learnt."""

    device: str = ""
    workers: int = 0
    """Decoding processes of each training process."""
    parallel: Parallel = "ddp"
    save_every: int = 1000
    check_every: int = 1000
    """Steps between check-ups, and one at the end; 0: none."""
    checkup: Checkup = field(default_factory=Checkup)
    log_every: int = 50
    mirrors: tuple[str, ...] = ()
    quiet: bool = False
    stop_at: int = 0
    """Stop after this step, with a checkpoint, as if killed; 0: at the end."""


def pretrain(recipe: Recipe, run: str | Path, setting: Setting | None = None) -> Path:
    """Train as the recipe says, in the folder `run`, from its last checkpoint where there is one; the encoder's file.

    Under `torchrun` every process calls it. ValueError for another recipe's run, for data or teachers that cannot be
    used, and where training diverges or collapses: the last good checkpoint is kept then. OSError for a full disk.
    """
    run, setting = Path(run), setting or Setting()
    device = ranks.local_device(device_called(setting.device))
    with ranks.joined(device) as here:
        return _pretrain(recipe, run, setting, device, here)


def _pretrain(recipe: Recipe, run: Path, setting: Setting, device: torch.device, here: Ranks) -> Path:
    # ---- what is there
    _claim(recipe, run, here)
    share = _share(recipe, here)
    checkpoints = saving.found(run)

    # ---- model, optimiser, data
    seeded = generator(recipe.seed)
    student = Student(recipe.shape, seeded, checkpointing=recipe.checkpointing).to(device)
    objective = Objective(student, recipe.targets, export.card(recipe), seeded)
    if recipe.compile:
        student.compile()
    model = ranks.shared(objective, here, setting.parallel)
    optimiser = torch.optim.AdamW(_groups(objective), lr=recipe.lr, betas=recipe.betas, fused=True)
    source = Mixture(recipe.data)
    data = source.open(recipe.spec, seed=recipe.seed, rank=here.rank, world=here.world, workers=setting.workers)
    step, seen = 0, 0
    if checkpoints:
        told = saving.restore(checkpoints[-1], model, optimiser, here)
        step, seen = told["step"], told["seen"]
        if len(told["data"]) != here.world:
            raise ValueError(f"{run}: it was trained by {len(told['data'])} processes, not {here.world}; start as many")
        data.restore(told["data"][here.rank])
    last = min(setting.stop_at or recipe.steps, recipe.steps)
    examiner = Examiner(setting.checkup, recipe.spec) if setting.check_every and here.first else None

    with _recording(recipe, run, setting, here, resumed=step if checkpoints else None) as recorder:
        # ---- steps
        since, waited, made = time.perf_counter(), data.waited, 0
        while step < last:
            clips = data.read(share)
            pixels, labels = clips.pixels.to(device), clips.labels.to(device)
            grid = student.grid(pixels.shape[1], pixels.shape[2])
            rng = generator(_mixed(recipe.seed, step))
            rows = slice(here.rank, None, here.world)
            masks = drawn(recipe.masks_of(pixels.shape[1]), grid, rng, count=recipe.batch, rows=rows)
            lr, decay = recipe.rate(step), recipe.decay(step)
            for group in optimiser.param_groups:
                group["lr"], group["weight_decay"] = lr, decay if group["decays"] else 0.0

            sums: dict[str, Tensor] = {}
            parts = range(0, share, share // recipe.accumulate)
            for start in parts:
                part = slice(start, start + share // recipe.accumulate)
                cut = [type(m)(*(indices[part].to(device) for indices in m)) for m in masks]
                with _unsynced(model, start != parts[-1]), _precision(recipe, device):
                    losses = model(pixels[part], labels[part], cut)
                    loss = sum(t.weight * losses[t.name] for t in recipe.targets) / len(parts)
                    loss.backward()
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0) + value.detach() / len(parts)
            norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad or math.inf)
            means = here.mean(sums)
            total = sum(t.weight * means[t.name] for t in recipe.targets)
            if not math.isfinite(total):
                _stop(recorder, here, step, run, _not_finite(means))
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            step, seen, made = step + 1, seen + recipe.batch, made + recipe.batch
            objective.follow(step / recipe.steps)

            # ---- what is written down
            if step % setting.log_every == 0 or step == last:
                now = time.perf_counter()
                hungry = (data.waited - waited) / max(now - since, 1e-9)
                if recorder:
                    recorder.step(
                        step,
                        seen=seen,
                        losses=means,
                        loss=total,
                        lr=lr,
                        grad_norm=float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm),
                        clips_per_second=made / max(now - since, 1e-9),
                        waiting=min(hungry, 1.0),
                    )
                    _tell_broken(run, data.broken)
                since, waited, made = now, data.waited, 0
            if setting.check_every and (step % setting.check_every == 0 or step == recipe.steps):
                state = trunk_state(model)
                if recorder and examiner:
                    found = examiner(encoder_of(state, recipe, device))
                    recorder.probe(step, seen=seen, **found._asdict())
                since, waited, made = time.perf_counter(), data.waited, 0
            why = here.all(recorder.why if recorder else "")[0] if step % setting.log_every == 0 else ""
            if why:
                _stop(recorder, here, step, run, why)
            if step % setting.save_every == 0 or step == last:
                told = {"seen": seen, "data": here.all(data.state()), "recipe": recipe.digest}
                saving.save(run, step, model, optimiser, told, here)

        # ---- the encoder
        data.close()
        weights = trunk_state(model)
        out = run / WEIGHTS
        if here.first:
            origin = {"recipe": plain(recipe), "step": step, "seen": seen}
            export.write(weights, recipe, out, saw=_saw(objective), origin=origin)
        if recorder and step == recipe.steps:
            recorder.done(step)
    return out


def encoder_of(state: Mapping[str, Tensor], recipe: Recipe, device: torch.device) -> NetworkEncoder:
    """An encoder of the trunk's tensors."""
    network = VideoViT(recipe.shape)
    network.load_state_dict({**network.state_dict(), **state})
    card = export.card(recipe)
    return NetworkEncoder(card, network.to(device))


def trunk_state(model: nn.Module) -> dict[str, Tensor]:
    """The trunk's tensors, whole, on the CPU of the first process; all processes take part."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    prefix = "student.trunk."
    state = get_model_state_dict(model, options=options)
    return {k.partition(prefix)[2]: v for k, v in state.items() if k.startswith(prefix)}


def _claim(recipe: Recipe, run: Path, here: Ranks) -> None:
    """Write the recipe into the run's folder; ValueError where another one is there."""
    path = run / RECIPE
    data = json.loads(json.dumps(plain(recipe)))
    wrong = ""
    if here.first and path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        differs = [k for k in sorted(set(there) | set(data)) if there.get(k) != data.get(k)]
        told = ", ".join(f"{k} {there.get(k)!r:.60} there, {data.get(k)!r:.60} now" for k in differs[:3])
        wrong = f"{run}: a run of another recipe ({told}); name another folder with -o" if differs else ""
    elif here.first:
        files.write(path, json.dumps(data, indent=1).encode())
    if wrong := here.all(wrong)[0]:
        raise ValueError(wrong)


def _share(recipe: Recipe, here: Ranks) -> int:
    """Clips of a step that this process computes."""
    if recipe.batch % (here.world * recipe.accumulate):
        raise ValueError(
            f"recipe {recipe.name}: a batch of {recipe.batch} cannot be shared evenly by {here.world} processes in "
            f"{recipe.accumulate} parts; change batch or accumulate"
        )
    return recipe.batch // here.world


def _groups(objective: Objective) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and mask tokens do not."""
    learnt = {n: p for n, p in objective.named_parameters() if p.requires_grad}
    decays = [p for n, p in learnt.items() if p.ndim > 1 and not n.endswith(".mask")]
    spared = [p for n, p in learnt.items() if p.ndim <= 1 or n.endswith(".mask")]
    return [{"params": decays, "decays": True}, {"params": spared, "decays": False}]


def _mixed(seed: int, step: int) -> int:
    """One seed of two numbers, far apart for neighbours."""
    return (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 1) % 2**63


@contextmanager
def _recording(
    recipe: Recipe, run: Path, setting: Setting, here: Ranks, *, resumed: int | None
) -> Iterator[Recorder | None]:
    """The flight recorder, in the first process."""
    if not here.first:
        yield None
        return
    display = None if setting.quiet else Display(recipe.name)
    with Recorder(run, display=display, mirrors=[open_mirror(m, run) for m in setting.mirrors]) as recorder:
        if (run / "recorder.jsonl").stat().st_size:
            recorder.resumed(resumed or 0)
        else:
            recorder.start(plain(recipe), params=recipe.shape.params, total=recipe.steps)
        yield recorder


def _unsynced(model: nn.Module, more: bool) -> Any:
    """Without sharing gradients yet, where more parts of the batch follow."""
    return model.no_sync() if more and hasattr(model, "no_sync") else nullcontext()


def _precision(recipe: Recipe, device: torch.device) -> Any:
    """Products in bfloat16 where the hardware has them."""
    fast = recipe.precision == "bfloat16" and (
        torch.cuda.is_bf16_supported() if device.type == "cuda" else device.type == "cpu" and _cpu_has_bfloat16()
    )
    return torch.autocast(device.type, torch.bfloat16) if fast else nullcontext()


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; emulated, it is slower than float32."""
    return bool(torch.cpu.get_capabilities().get("avx512_bf16") or torch.cpu.get_capabilities().get("amx_bf16"))


def _not_finite(means: Mapping[str, float]) -> str:
    wrong = [name for name, value in means.items() if not math.isfinite(value)]
    return f"the loss of {', '.join(wrong) or 'the sum'} is not finite"


def _stop(recorder: Recorder | None, here: Ranks, step: int, run: Path, why: str) -> None:
    """End the run with the evidence; the last good checkpoint stays."""
    if recorder:
        recorder.alarm(step, why)
    kept = saving.found(run)
    last = f"the checkpoint of step {saving.step_of(kept[-1])} is kept" if kept else "no checkpoint was written yet"
    raise ValueError(f"{run}: stopped at step {step}: {why}; {last}; see `vitascope report {run}`")


def _tell_broken(run: Path, broken: Mapping[str, str]) -> None:
    if broken:
        files.write(run / BROKEN, json.dumps(dict(broken), indent=1, ensure_ascii=False).encode())


def _saw(objective: Objective) -> Sequence[str]:
    """The data sets that the teachers met."""
    cards = [t.card for t in objective.teaching.values() if hasattr(t, "card")]
    return sorted({name for card in cards for name in card.saw})
