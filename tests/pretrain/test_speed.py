"""Speed, share of the matrix peak, memory, and the gradients of single targets, in log, display and report."""

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from pretraining import SHAPE, everything, losses, recipe, train
from vitascope.core.device import generator
from vitascope.nn.configs.block import BlockConfig
from vitascope.pretrain import cost_estimate, export, matrix_peak, target_gradients
from vitascope.pretrain.model import Student
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.monitoring.display import Display
from vitascope.pretrain.monitoring.loggers import scalars
from vitascope.pretrain.monitoring.speed import Speedometer
from vitascope.pretrain.objective import Objective
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.targets import Pixels
from vitascope.report.analysis import training_runs
from vitascope.report.sections import pretraining


def objective_of(made: Recipe) -> Objective:
    rng = generator(0)
    return Objective(Student(made.shape, rng), made.targets, export.card(made), rng)


def test_speed_by_hand() -> None:
    now, waited = [100.0], [5.0]
    speed = Speedometer(lambda: waited[0], clock=lambda: now[0])
    for _ in range(4):
        speed.step(8, 3e9)
        now[0] += 2.0
    waited[0] += 2.0
    with speed.paused():
        now[0] += 50.0
    assert speed.seconds_waited == 2.0
    assert speed.take(4.0, 6e9) == (4.0, 0.5, 0.5, 0.25)
    speed.step(8, 3e9)
    now[0] += 1.0
    assert speed.take(0.0, 0.0) == (8.0, 1.0, 0.0, None), "no peak, no share of it"


def test_operations_are_those_of_the_formula() -> None:
    """Three times the forward pass, but the pixels need no gradient; what checkpointing repeats does not count."""
    made = recipe(targets=(Pixels(width=16, depth=1, on="all"),), checkpointing=True)
    seen, tokens = 8, 18
    embed, out = seen * 3 * 2 * 64 * 32, 3 * 2 * 64
    decoder = BlockConfig(dim=16, heads=1, mlp=64).macs(tokens)
    macs = 3 * (embed + 2 * SHAPE.block.macs(seen)) - embed + 3 * (seen * 32 * 16 + decoder + tokens * 16 * out)
    objective = objective_of(made)
    assert cost_estimate.count_flops(objective, objective, made, 4) == 2 * macs
    assert objective.student.checkpointing
    assert all(p.grad is None for p in objective.parameters())


def test_known_cards_and_measured_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    for name, rate in (
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA L4", 121),
        ("NVIDIA A10", 125),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _, name=name: f"NVIDIA {name}")
        assert matrix_peak.matrix_peak(cuda, torch.bfloat16) == rate * 1e12
    monkeypatch.setattr(matrix_peak, "_seconds", lambda *_: 0.5)
    matrix_peak._measured.cache_clear()
    assert matrix_peak.matrix_peak(torch.device("cpu"), torch.float32) == 2 * 1024**3 / 0.5
    matrix_peak._measured.cache_clear()


def test_gradients_of_the_targets_add_up_to_that_of_their_sum() -> None:
    made = replace(everything(), image_masks=())
    objective = objective_of(made)
    grid = objective.student.grid(4, made.size)
    batch = cost_estimate._noise_batch(made, 4, grid, torch.device("cpu"), None, frames=4)
    norms, cosines = target_gradients.measure(objective, objective, made, batch, made.target_weights_at(0))
    assert list(cosines) == [f"{a}, {b}" for a, b in combinations(norms, 2)]
    squares = sum(norm**2 for norm in norms.values())
    squares += sum(2 * cosines[f"{a}, {b}"] * norms[a] * norms[b] for a, b in combinations(norms, 2))
    trunk = list(objective.student.trunk.parameters())
    values = objective(batch.pixels, batch.labels, batch.masks)
    whole = torch.autograd.grad(sum(t.weight * values[t.name] for t in made.targets), trunk)  # type: ignore[arg-type]
    assert squares == pytest.approx(float(sum(g.square().sum() for g in whole)), rel=1e-4)
    (alone,) = (
        torch.autograd.grad(objective(batch.pixels, batch.labels, batch.masks)["latent"], trunk, allow_unused=True),
    )
    assert norms["latent"] == pytest.approx(float(sum(g.square().sum() for g in alone)) ** 0.5, rel=1e-4)


def test_they_are_logged_and_change_nothing(tmp_path: Path) -> None:
    train(tmp_path / "measured", gradients_every=2, save_every=6)
    train(tmp_path / "plain", save_every=6)
    assert losses(tmp_path / "measured") == losses(tmp_path / "plain")
    log = recording.read(tmp_path / "measured")
    assert [line["step"] for line in log.gradients] == [2, 4, 6]
    assert not recording.read(tmp_path / "plain").gradients
    for line in log.steps:
        assert line["mfu"] > 0
        assert line["memory"] > 1e7
        assert line["clips_per_second"] == pytest.approx(8 * line["steps_per_second"])
    shown = Display("run")
    assert "MFU" in shown.text(log.steps[-1])
    assert "cosine of pixels, latent" in shown.text(log.gradients[-1])
    assert "gradients/cosines/pixels, latent" in scalars(log.gradients[-1])
    section: Any = pretraining.pretraining([log])
    plots = {gallery.title: [plot.title for plot in gallery.plots] for gallery in section.galleries}
    assert plots["Gradients of the targets"][0] == "norm of pixels"
    assert "MFU, %" in plots["Optimization and speed"]
    assert training_runs.group_by_recipe([log])
