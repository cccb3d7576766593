"""Two processes make the run that one makes: replicated or sharded, in parts, interrupted, and in another number."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pretraining import (
    POISONED,
    SHAPE,
    Blobs,
    everything,
    losses,
    poisoned_and_centered,
    recipe,
    same,
    state,
    together,
    train,
)
from vitascope.nn.attention import Block
from vitascope.pretrain.data.base import ClipSpec
from vitascope.pretrain.data.mixture import Mixture
from vitascope.pretrain.distributed import Ranks, wrap_fsdp, wrap_model
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.monitoring.probing import ProbingConfig
from vitascope.pretrain.optim import has_bfloat16

CLOSE, STEPS = 1e-5, 4


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, videos: Path) -> Path:
    """All runs of two processes, one pair for all; and their counterparts of one process."""
    root, saved = tmp_path_factory.mktemp("ranks"), {"save_every": STEPS}

    def job(
        name: str, made: str = "everything", changes: dict[str, Any] | None = None, **setting: Any
    ) -> dict[str, Any]:
        short = {"steps": STEPS} | (changes or {})
        return {"run": str(root / name), "recipe": made, "changes": short, "setting": saved | setting}

    checked = ProbingConfig(suites=(str(videos),), probes=("knn",), limit=6)
    jobs = [
        job("ddp", check_every=2, probing=checked, gradients_every=2),
        job("ddp-one-part", changes={"accumulate": 1}),
        job("fsdp", parallel="fsdp", gradients_every=2),
        job("fsdp-stopped", parallel="fsdp", stop_at=2),
        job("fsdp-stopped", parallel="fsdp"),
        job("shrunk", stop_at=2),
        job("fsdp-bfloat16", parallel="fsdp", changes={"precision": "bfloat16"}),
        job("ddp-centered", "poisoned_and_centered"),
        job("fsdp-centered", "poisoned_and_centered", parallel="fsdp"),
    ]
    together(jobs, root / "meeting")
    train(root / "one", everything(steps=STEPS), check_every=2, probing=checked, gradients_every=2, **saved)
    train(root / "one-centered", poisoned_and_centered(steps=STEPS), **saved)
    return root


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("ddp", "one"),
        ("ddp-one-part", "one"),
        ("fsdp", "one"),
        ("fsdp-stopped", "one"),
        ("ddp-centered", "one-centered"),
        ("fsdp-centered", "one-centered"),
    ],
)
def test_two_processes_give_the_loss_curve_of_one(name: str, alone: str, runs: Path) -> None:
    one, two = losses(runs / alone), losses(runs / name)
    sound = [step for step in range(1, STEPS + 1) if alone == "one" or step != POISONED]
    assert list(two) == list(one) == sound
    for step in one:
        assert two[step] == pytest.approx(one[step], abs=CLOSE, rel=0)


def test_two_processes_share_a_check_up(runs: Path) -> None:
    one, two = (recording.read(runs / run).probes for run in ("one", "ddp"))
    assert [line["step"] for line in one] == [line["step"] for line in two] == [2, 4]
    for line, other in zip(one, two, strict=True):
        assert line["scores"] == other["scores"]
        assert line["effective_rank"] == pytest.approx(other["effective_rank"], rel=1e-3)


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_measure_the_gradients_of_one(name: str, runs: Path) -> None:
    one, two = (recording.read(runs / run).gradients for run in ("one", name))
    assert [line["step"] for line in two] == [line["step"] for line in one] == [2, 4]
    for line, other in zip(one, two, strict=True):
        for group in ("norms", "cosines"):
            assert other[group] == pytest.approx(line[group], abs=1e-4, rel=1e-4)


def test_gathered_in_bfloat16_the_curve_is_near_that_of_one_process(runs: Path) -> None:
    one, two = losses(runs / "one"), losses(runs / "fsdp-bfloat16")
    for step in one:
        assert two[step] == pytest.approx(one[step], abs=0.05, rel=0.05)
    if has_bfloat16(torch.device("cpu")):
        assert two[STEPS] != pytest.approx(one[STEPS], abs=CLOSE, rel=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_parameters_are_gathered_in_the_precision_of_products(dtype: torch.dtype, tmp_path: Path) -> None:
    """Shards stay float32, and so do the gradients that are summed."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        block = Block(SHAPE.block)
        seen: list[torch.dtype] = []
        block.norm1.register_forward_pre_hook(lambda norm, _: seen.append(norm.weight.dtype))
        model = wrap_fsdp(torch.nn.Sequential(block), Ranks(), dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            model(torch.ones(1, 2, SHAPE.dim, dtype=dtype)).sum().backward()
        assert seen == [dtype]
        assert {p.dtype for p in model.parameters()} == {p.grad.dtype for p in model.parameters() if p.grad is not None}
        assert next(model.parameters()).dtype == torch.float32
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", ["ddp-centered", "fsdp-centered"])
def test_all_processes_skip_a_step_that_is_not_finite_in_one(name: str, runs: Path) -> None:
    one, two = (recording.read(runs / run) for run in ("one-centered", name))
    assert [line["step"] for line in two.skipped] == [line["step"] for line in one.skipped] == [POISONED]


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_two_processes_give_the_encoder_of_one(name: str, runs: Path) -> None:
    one, two = (load_file(runs / run / "model.safetensors") for run in ("one", name))
    assert list(one) == list(two)
    for key, tensor in one.items():
        torch.testing.assert_close(two[key].float(), tensor.float(), atol=2e-3, rtol=0)


def test_a_run_of_two_processes_resumes_in_one(runs: Path) -> None:
    train(runs / "shrunk", everything(steps=STEPS))
    one, other = losses(runs / "one"), losses(runs / "shrunk")
    for step in one:
        assert other[step] == pytest.approx(one[step], abs=CLOSE, rel=0)


@pytest.mark.slow
def test_three_processes_resume_bit_identical(tmp_path: Path) -> None:
    once, twice = ({"run": str(tmp_path / name), "recipe": "everything", "changes": {"batch": 12}} for name in "ab")
    together([once, {**twice, "setting": {"stop_at": 3}}, twice], tmp_path / "meeting", 3)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    assert same(state(tmp_path / "a", 6, tmp_path), state(tmp_path / "b", 6, tmp_path))


def test_what_cannot_be_divided_anew_goes_on_in_the_same_number() -> None:
    """Of a source that has no way of its own to do so."""
    spec = ClipSpec(2, 8)
    reader = Mixture(((Blobs(), 1.0),)).open(spec, seed=0)
    state = reader.state()
    other = json.loads(json.dumps(state).replace('"taken": 0', '"taken": 8'))
    assert reader.merged([state] * 4) == state
    with pytest.raises(ValueError) as error:
        reader.merged([state, other])
    assert str(error.value) == "blobs: 2 processes left it at different places; resume with 2 processes"


def test_batches_are_shared_evenly_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        train(tmp_path, recipe(batch=8, accumulate=3))
    assert "a batch of 8 cannot be divided among 1 processes in 3 parts" in str(error.value)


def test_one_process_has_nothing_to_shard(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        train(tmp_path, parallel="fsdp")
    assert "torchrun --nproc-per-node" in str(error.value)


def test_alone_a_model_is_itself_and_numbers_are_their_own_mean() -> None:
    model: Any = torch.nn.Linear(2, 2)
    alone = Ranks()
    assert wrap_model(model, alone, "ddp") is model
    assert alone.mean({"a": torch.tensor(2.0)}, {"b": torch.tensor([3.0])}).tolist() == [2.0, 3.0]
    assert alone.gather({"x": 1}) == [{"x": 1}]
