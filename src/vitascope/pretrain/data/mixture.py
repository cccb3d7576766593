"""Several sources by weight: every batch is of one source, and which is settled by its number alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vitascope.core.errors import UserError
from vitascope.pretrain.data.base import Clips, ClipSource, ClipSpec, Reader, State

SLACK = 1e-9
"""Of sums of weights, which are rounded."""


@dataclass(frozen=True)
class Mixture:
    """A source made of others. A weight is the share of batches, after all are divided by their sum.

    After any number of batches, each source has given its share of them to less than one batch.
    """

    parts: tuple[tuple[ClipSource, float], ...]
    name: str = "mixture"

    def __post_init__(self) -> None:
        if not self.parts:
            raise UserError(f"{self.name}: no sources; give at least one (source, weight)")
        for source, weight in self.parts:
            if not 0 < weight < float("inf"):
                raise UserError(f"{self.name}: the weight of {source.name} is a number above 0, not {weight!r}")
        names = [source.name for source, _ in self.parts]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"{self.name}: two sources are called {twice!r}; give one of them another name")

    @property
    def pretraining_datasets(self) -> tuple[str, ...]:
        """The data sets of all parts, each once."""
        return tuple(dict.fromkeys(name for source, _ in self.parts for name in source.pretraining_datasets))

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the batches, of each part."""
        total = sum(weight for _, weight in self.parts)
        return tuple(weight / total for _, weight in self.parts)

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> Mixed:
        """Open all parts, each with `workers` processes: those of a part whose turn it is not are soon idle."""
        readers: list[Reader] = []
        try:
            for source, _ in self.parts:
                readers.append(source.open(spec, seed=seed, rank=rank, world=world, workers=workers))
        except BaseException:
            _close(readers)
            raise
        return Mixed(self, readers)


class Mixed:
    """Reader of a mixture: every rank reads the same source at the same step."""

    def __init__(self, mixture: Mixture, readers: Sequence[Reader]) -> None:
        self.mixture = mixture
        self._names = [source.name for source, _ in mixture.parts]
        self._readers = list(readers)
        self._turn(0)

    def _turn(self, step: int) -> None:
        """Stand before batch number `step`."""
        self._step = step
        self._choices = choices(self.mixture.shares)
        for _ in range(step):
            next(self._choices)

    def read(self, n: int) -> Clips:
        """The next `n` clips, all of one source."""
        clips = self._readers[next(self._choices)].read(n)
        self._step += 1
        return clips

    @property
    def broken(self) -> dict[str, str]:
        """What could not be read, by source and id."""
        found = zip(self._names, self._readers, strict=True)
        return {f"{name}: {id}": why for name, reader in found for id, why in reader.broken.items()}

    @property
    def waited(self) -> float:
        """Seconds, all sources together: they are waited for one at a time."""
        return sum(reader.waited for reader in self._readers)

    def state(self) -> State:
        """The number of the batch and the states of the parts."""
        states = {name: reader.state() for name, reader in zip(self._names, self._readers, strict=True)}
        return {"step": self._step, "shares": list(self.mixture.shares), "parts": states}

    def restore(self, state: State) -> None:
        """Go on from `state`. ValueError where that is of other sources or weights."""
        parts = state.get("parts", {})
        if list(parts) != self._names or state["shares"] != list(self.mixture.shares):
            raise UserError(
                f"{self.mixture.name}: cannot go on from a state of {', '.join(parts) or 'no sources'} "
                f"by {state.get('shares')}; resume the same recipe"
            )
        for name, reader in zip(self._names, self._readers, strict=True):
            reader.restore(parts[name])
        self._turn(state["step"])

    def close(self) -> None:
        """Close all parts."""
        _close(self._readers)


def _close(readers: Sequence[Reader]) -> None:
    for reader in readers:
        reader.close()


def choices(shares: Sequence[float]) -> Iterator[int]:
    """Which part each batch comes from, endlessly: part i has had k `shares`[i] of the first k to less than one.

    Tijdeman's solution of the chairman assignment problem (Discrete Mathematics 32, 1980): of the parts that lag enough
    behind their share, the one that would first lag too much.
    """
    if len(shares) == 1:
        while True:
            yield 0
    least = 1 / (2 * len(shares) - 2)
    had = [0] * len(shares)
    step = 0
    while True:
        step += 1
        due = [step * share - count for share, count in zip(shares, had, strict=True)]
        lagging = [i for i, lag in enumerate(due) if lag >= least - SLACK]
        chosen = min(lagging, key=lambda i: (1 - least - due[i]) / shares[i])
        had[chosen] += 1
        yield chosen
