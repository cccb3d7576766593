"""A run that is killed at any step and resumed is bit-identical to an uninterrupted one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pretraining import Blobs, everything, losses, program, recipe, same, state, train
from vitascope.pretrain import checkpoint
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.recipe import Recipe


def test_a_run_killed_three_times_is_bit_identical(tmp_path: Path) -> None:
    once, often = tmp_path / "once", tmp_path / "often"
    train(once, everything())
    job = {"run": str(often), "recipe": "everything"}
    program({**job, "kill_at": 2}, killed=True)
    assert checkpoint.list_checkpoints(often) == []
    program({**job, "kill_at": 4}, killed=True)
    assert [checkpoint.step_of(p) for p in checkpoint.list_checkpoints(often)] == [2]
    program({**job, "kill_in_save": 2}, killed=True)
    assert [checkpoint.step_of(p) for p in checkpoint.list_checkpoints(often)] == [2, 4]
    assert list((often / checkpoint.FOLDER).glob(".step-*")), "it was killed in the middle of the third checkpoint"
    train(often, everything())
    assert not list((often / checkpoint.FOLDER).glob(".step-*"))
    assert losses(often) == losses(once)
    assert same(state(often, 6, tmp_path), state(once, 6, tmp_path))
    assert (often / "model.safetensors").read_bytes() == (once / "model.safetensors").read_bytes()
    assert recording.read(often).done


def everything_by_muon() -> Recipe:
    return everything(optimizer="muon")


@pytest.mark.parametrize(("at", "made"), [(1, everything), (3, recipe), (5, everything), (4, everything_by_muon)])
def test_a_run_stopped_at_any_step_resumes_bit_identical(at: int, made: Callable[[], Recipe], tmp_path: Path) -> None:
    train(tmp_path / "once", made())
    train(tmp_path / "twice", made(), stop_at=at)
    assert max(losses(tmp_path / "twice")) == at
    assert not recording.read(tmp_path / "twice").done
    train(tmp_path / "twice", made())
    assert losses(tmp_path / "twice") == losses(tmp_path / "once")
    assert same(state(tmp_path / "twice", 6, tmp_path), state(tmp_path / "once", 6, tmp_path))


def test_seed_and_data_change_a_run(tmp_path: Path) -> None:
    train(tmp_path / "a")
    train(tmp_path / "b", recipe(seed=1))
    train(tmp_path / "c", recipe(data=((Blobs(name="stills", still=True), 1.0),)))
    finals = [losses(tmp_path / name)[6]["pixels"] for name in "abc"]
    assert len(set(finals)) == 3


def test_only_the_last_two_checkpoints_stay(tmp_path: Path) -> None:
    train(tmp_path, save_every=1)
    assert [checkpoint.step_of(p) for p in checkpoint.list_checkpoints(tmp_path)] == [5, 6]


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    out = train(tmp_path)
    before = out.read_bytes(), losses(tmp_path)
    assert train(tmp_path) == out
    assert (out.read_bytes(), losses(tmp_path)) == before
    assert recording.read(tmp_path).done
