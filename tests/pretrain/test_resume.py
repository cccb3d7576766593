"""A run that is killed at any step and resumed is bit-identical to an uninterrupted one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pretraining import Blobs, everything, killed, losses, recipe, same, state, train
from vitascope.pretrain import checkpoint
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.recipe import Recipe


def everything_by_muon() -> Recipe:
    return everything(optimizer="muon")


class Undisturbed:
    """Runs that nothing interrupts, each made when first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, made: Callable[[], Recipe]) -> Path:
        if not (run := self.root / made.__name__).exists():
            train(run, made(), save_every=6)
        return run


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(tmp_path_factory.mktemp("undisturbed"))


def test_a_run_killed_twice_is_bit_identical(undisturbed: Undisturbed, tmp_path: Path) -> None:
    once, often = undisturbed(everything), tmp_path / "often"
    job = {"run": str(often), "recipe": "everything"}
    killed({**job, "setting": {"background_saves": False}}, step=2)
    assert checkpoint.list_checkpoints(often) == []
    killed({**job, "kill_in_save": 2})
    assert [checkpoint.step_of(p) for p in checkpoint.list_checkpoints(often)] == [2]
    assert list((often / checkpoint.FOLDER).glob(".step-*")), "it was killed in the middle of the second checkpoint"
    train(often, everything())
    assert not list((often / checkpoint.FOLDER).glob(".step-*"))
    assert losses(often) == losses(once)
    assert same(state(often, 6, tmp_path), state(once, 6, tmp_path))
    assert (often / "model.safetensors").read_bytes() == (once / "model.safetensors").read_bytes()
    assert recording.read(often).done


@pytest.mark.parametrize(("at", "made"), [(1, everything), (3, recipe), (5, everything), (4, everything_by_muon)])
def test_a_run_stopped_at_any_step_resumes_bit_identical(
    at: int, made: Callable[[], Recipe], undisturbed: Undisturbed, tmp_path: Path
) -> None:
    once, twice = undisturbed(made), tmp_path / "twice"
    train(twice, made(), stop_at=at, save_every=6)
    assert max(losses(twice)) == at
    assert not recording.read(twice).done
    train(twice, made(), save_every=6)
    assert losses(twice) == losses(once)
    assert same(state(twice, 6, tmp_path), state(once, 6, tmp_path))


def test_seed_and_data_change_a_run(tmp_path: Path) -> None:
    train(tmp_path / "a", stop_at=2)
    train(tmp_path / "b", recipe(seed=1), stop_at=2)
    train(tmp_path / "c", recipe(data=((Blobs(name="stills", still=True), 1.0),)), stop_at=2)
    finals = [losses(tmp_path / name)[2]["pixels"] for name in "abc"]
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
