"""A step whose loss or gradient is not finite changes nothing and is counted; two in a row stop the run."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pretraining import LEVEL_TWICE, POISONED, Poison, losses, poisoned, poisoned_muon, recipe, same, state, train
from vitascope.pretrain import checkpoint, optim
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.monitoring.step_history import StepHistory


@pytest.fixture(scope="module", params=[poisoned, poisoned_muon])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a checkpoint after every step."""
    folder = tmp_path_factory.mktemp(request.param.__name__)
    for step in (POISONED - 1, POISONED, 6):
        train(folder, request.param(), stop_at=step, save_every=6, log_every=2)
    return folder


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(run: Path, tmp_path: Path) -> None:
    log = recording.read(run)
    assert [(line["step"], line["why"]) for line in log.skipped] == [
        (POISONED, "the loss of poison is not finite; nor is the target of poison: check its teacher")
    ]
    assert [line.get("skipped") for line in log.steps] == [None, 1, 1], "no line of the one step alone"
    assert log.done
    assert all(torch.isfinite(tensor).all() for tensor in state(run, 6, tmp_path).values())


def test_stopped_right_before_or_after_it_resumes_bit_identical(run: Path, tmp_path: Path) -> None:
    made = poisoned_muon() if "muon" in run.name else poisoned()
    train(tmp_path / "once", made, save_every=POISONED, log_every=2)
    before = state(tmp_path / "once", POISONED, tmp_path)
    assert same(state(tmp_path / "once", 6, tmp_path), state(run, 6, tmp_path))
    metadata = checkpoint.read_metadata(checkpoint.list_checkpoints(tmp_path / "once")[0])
    assert metadata["skipped"] == {"skipped": 1, "in_a_row": 1}
    train(tmp_path / "short", made, stop_at=POISONED - 1)
    unchanged = state(tmp_path / "short", POISONED - 1, tmp_path)
    learned = [name for name in before if "slow" not in name]
    assert same({n: before[n] for n in learned}, {n: unchanged[n] for n in learned}), "weights and moments"


def test_the_mean_of_a_line_is_of_its_sound_steps(tmp_path: Path) -> None:
    train(tmp_path / "every", poisoned(), save_every=6)
    train(tmp_path / "all", poisoned(), save_every=6, log_every=6)
    alone, (line,) = losses(tmp_path / "every"), recording.read(tmp_path / "all").steps
    assert list(alone) == [1, 2, 4, 5, 6]
    assert line["losses"]["pixels"] == pytest.approx(sum(step["pixels"] for step in alone.values()) / 5)


@pytest.mark.parametrize("stop_at", [0, POISONED])
def test_two_in_a_row_stop_the_run_resumed_in_between_or_not(stop_at: int, tmp_path: Path) -> None:
    made = recipe(targets=(*recipe().targets, Poison(width=16, depth=1, level=LEVEL_TWICE)))
    if stop_at:
        train(tmp_path, made, stop_at=stop_at, save_every=2)
    with pytest.raises(ValueError) as error:
        train(tmp_path, made, save_every=2)
    assert "stopped at step 4: steps 3 and 4 could not be used: the loss of poison is not finite" in str(error.value)
    assert f"the checkpoint of step {stop_at or 2} is kept; see" in str(error.value)
    assert [line["step"] for line in recording.read(tmp_path).skipped] == [3, 4]


def test_between_lines_of_the_log_the_run_stops_before_it_saves(tmp_path: Path) -> None:
    made = recipe(targets=(*recipe().targets, Poison(width=16, depth=1, level=LEVEL_TWICE)))
    with pytest.raises(ValueError, match="stopped at step 6: steps 3 and 4 could not be used"):
        train(tmp_path, made, save_every=6, log_every=6)
    assert checkpoint.list_checkpoints(tmp_path) == []


def test_history_counts_what_was_skipped_by_hand() -> None:
    history, nan = StepHistory(["a", "b"], skipped=4, in_a_row=1), float("nan")
    for number, row in enumerate(([1.0, 2.0, nan, 0.0, 3.0], [1.0, nan, 0.0, 0.0, 3.0], [5.0, 4.0, 0.0, 0.0, 1.0]), 1):
        values = torch.tensor(row)
        assert bool(history.sound(values)) == (number != 2), "a target that no token needs does not matter"
        history.add(number, "videos" if number == 1 else "images", values)
    means, skipped = history.take()
    assert means is not None
    assert (means.losses, means.norm) == ({"a": 3.0, "b": 3.0}, 1.0)
    assert means.by_source == {"videos": {"a": 1.0, "b": 2.0}, "images": {"a": 5.0, "b": 4.0}}
    assert [step.problem for step in skipped] == ["the loss of b is not finite"]
    assert (history.skipped, history.in_a_row, history.why) == (5, 0, "")


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Muon, torch.optim.SGD])
def test_an_optimizer_that_skips_keeps_weights_and_state(kind: type[torch.optim.Optimizer]) -> None:
    """Whether it knows of skipping or not, at its first step too."""
    torch.manual_seed(0)
    weight, twin = (nn.Parameter(torch.full((4, 3), 2.0)) for _ in range(2))
    options = {"fused": True} if kind is torch.optim.AdamW else {}
    optimizers = [kind([p], lr=0.1, **options) for p in (weight, twin)]  # type: ignore[call-arg]
    for step in range(4):
        gradient = torch.randn(4, 3)
        for parameter, skip in ((weight, step in (0, 2)), (twin, False)):
            if parameter is weight or step not in (0, 2):
                parameter.grad = gradient * torch.nan if skip else gradient.clone()
                optim.step_optimizers([optimizers[parameter is twin]], skip=torch.tensor(skip))
    assert torch.equal(weight, twin)
    states = (optimizer.state[p].values() for optimizer, p in zip(optimizers, (weight, twin), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
