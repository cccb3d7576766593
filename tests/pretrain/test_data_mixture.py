"""Mixtures: exact shares at every step, one source a batch, states of all parts."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.pretrain.data.base import Clips, ClipSource, ClipSpec
from vitascope.pretrain.data.mixture import Mixture, interleave
from vitascope.pretrain.data.motionlab import MotionLab

SPEC = ClipSpec(frames=2, size=14)
VIDEO = MotionLab(clips=6, seed=1, quiet=True)
STILL = MotionLab(clips=4, seed=1, kind="still", quiet=True)


class Counting:
    """A reader whose clips are numbers."""

    def __init__(self, name: str, rank: int) -> None:
        self.name, self.rank, self.given = name, rank, 0
        self.broken = {"x.mp4": "torn"} if name == "b" else {}
        self.seconds_waited = 0.5
        self.closed = False

    def read(self, n: int) -> Clips:
        start, self.given = self.given, self.given + n
        pixels = torch.arange(start, self.given, dtype=torch.uint8)[:, None, None, None, None].expand(n, 1, 1, 1, 3)
        return Clips(pixels, torch.full((n,), self.rank), self.name)

    def state(self) -> dict:
        return {"given": self.given}

    def restore(self, state: dict) -> None:
        self.given = state["given"]

    def merged(self, states: Sequence[dict]) -> dict:
        return states[0]

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class Numbers:
    name: str
    pretraining_datasets: tuple[str, ...] = ("numbers",)

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> Counting:
        return Counting(self.name, rank)


def mixture(**weights: float) -> Mixture:
    return Mixture(tuple((Numbers(name), weight) for name, weight in weights.items()))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.integers(1, 50), st.floats(0.01, 20)), min_size=1, max_size=7))
def test_every_beginning_has_its_shares_to_less_than_a_batch(weights: list[float]) -> None:
    shares = np.array(weights) / sum(weights)
    had = np.zeros(len(weights))
    for step, chosen in enumerate(itertools.islice(interleave(shares.tolist()), 400), 1):
        had[chosen] += 1
        assert np.abs(had - step * shares).max() < 1


def test_batches_are_of_one_source_each_in_turn() -> None:
    reader = mixture(a=3, b=1).open(SPEC, seed=0, rank=1, world=2)
    seen = [reader.read(2) for _ in range(8)]
    names = [clips.source for clips in seen]
    assert sorted(names) == ["a"] * 6 + ["b"] * 2
    assert sorted(names[:4]) == sorted(names[4:]) == ["a", "a", "a", "b"]
    for name in "ab":
        numbers = np.concatenate([c.pixels[:, 0, 0, 0, 0] for c in seen if c.source == name])
        assert numbers.tolist() == list(range(len(numbers)))
    assert all(clips.labels.tolist() == [1, 1] for clips in seen)
    assert reader.broken == {"b: x.mp4": "torn"}
    assert reader.seconds_waited == 1.0
    assert mixture(a=1, b=1).pretraining_datasets == ("numbers",)


def test_restored_mixture_gives_what_an_undisturbed_one_gives() -> None:
    source = Mixture(((VIDEO, 2.0), (STILL, 1.0)))
    assert isinstance(source, ClipSource)
    undisturbed = source.open(SPEC, seed=3)
    whole = [undisturbed.read(2) for _ in range(10)]
    undisturbed.close()
    assert {clips.pixels.shape[1] for clips in whole} == {1, 2}
    for stop in (0, 1, 4, 7):
        first = source.open(SPEC, seed=3)
        for _ in range(stop):
            first.read(2)
        state = json.loads(json.dumps(first.state()))
        first.close()
        again = source.open(SPEC, seed=3)
        again.restore(state)
        for expected in whole[stop:]:
            clips = again.read(2)
            assert clips.source == expected.source
            assert torch.equal(clips.pixels, expected.pixels)
            assert torch.equal(clips.labels, expected.labels)
        again.close()


def test_states_of_other_mixtures_are_refused() -> None:
    state = mixture(a=1, b=1).open(SPEC, seed=0).state()
    for other in (mixture(a=1, c=1), mixture(a=2, b=1), mixture(b=1, a=1), mixture(a=1)):
        with pytest.raises(ValueError, match=r"a state of a, b with shares \[0\.5, 0\.5\]"):
            other.open(SPEC, seed=0).restore(state)
    with pytest.raises(ValueError, match="no sources with shares None"):
        mixture(a=1).open(SPEC, seed=0).restore({"position": {}})


def test_closes_what_was_opened_when_a_part_cannot_be() -> None:
    opened: list[Counting] = []

    @dataclass(frozen=True)
    class Noted(Numbers):
        def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> Counting:
            if self.name == "bad":
                raise ValueError("no such folder")
            opened.append(Counting(self.name, rank))
            return opened[-1]

    with pytest.raises(ValueError, match="no such folder"):
        Mixture(((Noted("good"), 1.0), (Noted("bad"), 1.0))).open(SPEC, seed=0)
    assert [reader.closed for reader in opened] == [True]


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((), "no sources"),
        (((VIDEO, 0.0),), "the weight of motionlab must be a number above 0, not 0.0"),
        (((VIDEO, float("nan")),), "not nan"),
        (((VIDEO, 1.0), (VIDEO, 1.0)), "two sources are named 'motionlab'"),
    ],
)
def test_bad_mixtures(parts: tuple, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Mixture(parts)
