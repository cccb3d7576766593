"""The thread that makes batches ahead: what is consumed counts, and errors come out where they are read."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vitascope.pretrain.data import prefetch as ahead_module
from vitascope.pretrain.data.prefetch import ClipItem, PrefetchReader


class Numbers:
    """Clips that are numbers; those divisible by `bad` cannot be read, and from `end` on there is an error."""

    def __init__(self, bad: int = 10**9, end: int = 10**9) -> None:
        self.bad, self.end = bad, end
        self.made: list[int] = []
        self.closed = threading.Semaphore(0)

    def items(self, state: dict, broken: dict) -> Generator[ClipItem, None, None]:
        try:
            i = state["at"]
            while i < self.end:
                self.made.append(i)
                good = i % self.bad != 0
                pixels = np.full((1, 1, 1, 3), i, np.uint8) if good else None
                yield ClipItem(str(i), {"at": i + 1}, pixels, i, "" if good else "odd")
                i += 1
            raise OSError("the disk is gone")
        finally:
            self.closed.release()


def reader(numbers: Numbers) -> PrefetchReader:
    return PrefetchReader("numbers", numbers.items, {"at": 1}, data="all")


def test_state_is_what_was_given_out_and_no_more_than_two_batches_are_made_ahead() -> None:
    numbers = Numbers()
    ahead = reader(numbers)
    assert ahead.state()["position"] == {"at": 1}
    for k in range(5):
        assert ahead.read(4).labels.tolist() == list(range(4 * k + 1, 4 * k + 5))
        assert ahead.state()["position"] == {"at": 4 * k + 5}
    ahead.close()
    assert numbers.closed.acquire(timeout=10)
    assert len(numbers.made) <= 4 * (5 + 2)
    assert numbers.made == list(range(1, len(numbers.made) + 1))


def test_another_batch_size_begins_behind_what_was_given_out() -> None:
    ahead = reader(Numbers(bad=3))
    assert ahead.read(3).labels.tolist() == [1, 2, 4]
    assert ahead.read(2).labels.tolist() == [5, 7]
    assert ahead.broken == {"3": "odd", "6": "odd"}
    assert ahead.state() == {
        "source": "numbers",
        "data": "all",
        "position": {"at": 8},
        "broken": {"3": "odd", "6": "odd"},
    }
    ahead.close()


def test_errors_of_the_thread_are_raised_behind_the_batches_before_them() -> None:
    numbers = Numbers(end=6)
    ahead = reader(numbers)
    assert ahead.read(2).labels.tolist() == [1, 2]
    assert ahead.read(2).labels.tolist() == [3, 4]
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            ahead.read(2)
        assert ahead.state()["position"] == {"at": 5}
    numbers.end = 100
    assert ahead.read(2).labels.tolist() == [5, 6]
    ahead.close()
    for _ in range(3):
        assert numbers.closed.acquire(timeout=10), "each of the three threads has closed its items"


def test_waiting_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(ahead_module, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    ahead = reader(Numbers())
    for k in range(3):
        assert ahead.seconds_waited == k, "a second from before to after each batch"
        ahead.read(2)
    ahead.close()


@pytest.mark.parametrize("name", ["clip_decoder", "motionlab_render"])
def test_workers_start_without_torch(name: str) -> None:
    code = f"import vitascope.pretrain.data.{name}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("on_gpu", [False, True])
def test_batches_are_pinned_when_training_on_a_gpu(monkeypatch: pytest.MonkeyPatch, on_gpu: bool) -> None:
    asked: list[bool] = []

    def empty(*args: Any, pin_memory: bool, **more: Any) -> torch.Tensor:
        asked.append(pin_memory)
        return torch.zeros(*args, **more)

    clips = [np.full((2, 3, 4, 3), i, np.uint8) for i in range(3)]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: on_gpu)
    monkeypatch.setattr(torch, "empty", empty)
    assert ahead_module.stack_clips(clips).tolist() == np.stack(clips).tolist()
    assert asked == [on_gpu]
