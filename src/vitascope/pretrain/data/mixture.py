"""Mixtures of sources: every batch comes from one source, chosen by the batch number alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from vitascope.core.errors import UserError
from vitascope.pretrain.data.base import Clips, ClipSource, ClipSpec, Reader, State
from vitascope.pretrain.data.held import Memory, hold

SLACK = 1e-9
"""Tolerance for rounding errors in sums of weights."""


@dataclass(frozen=True)
class Mixture:
    """A source made of others; normalized to sum 1, the weights are the sources' shares of the batches.

    After any number of batches, each source is within one batch of its share.
    """

    parts: tuple[tuple[ClipSource, float], ...]
    name: str = "mixture"

    def __post_init__(self) -> None:
        if not self.parts:
            raise UserError(f"{self.name}: no sources; it needs at least one (source, weight)")
        for source, weight in self.parts:
            if not 0 < weight < float("inf"):
                raise UserError(f"{self.name}: the weight of {source.name} must be a number above 0, not {weight!r}")
        names = [source.name for source, _ in self.parts]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UserError(f"{self.name}: two sources are named {twice!r}; rename one of them")

    @property
    def pretraining_datasets(self) -> tuple[str, ...]:
        """Names of the datasets of all parts, without repeats."""
        return tuple(dict.fromkeys(name for source, _ in self.parts for name in source.pretraining_datasets))

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the batches of each part, summing to 1."""
        total = sum(weight for _, weight in self.parts)
        return tuple(weight / total for _, weight in self.parts)

    def open(self, spec: ClipSpec, *, seed: int, rank: int = 0, world: int = 1, workers: int = 0) -> MixtureReader:
        """Open all parts with `workers` processes each; workers of parts that are not being read soon idle."""
        return self._opened(partial(_open, spec=spec, seed=seed, rank=rank, world=world, workers=workers))

    def hold(self, spec: ClipSpec, memory: Memory, *, seed: int, rank: int = 0, world: int = 1) -> MixtureReader:
        """Read all parts into memory. Raises UserError if they do not fit, or one cannot be held."""
        return self._opened(partial(hold, spec=spec, memory=memory, seed=seed, rank=rank, world=world))

    def _opened(self, read: Callable[[ClipSource], Reader]) -> MixtureReader:
        readers: list[Reader] = []
        try:
            for source, _ in self.parts:
                readers.append(read(source))
        except BaseException:
            _close(readers)
            raise
        return MixtureReader(self, readers)


def _open(source: ClipSource, spec: ClipSpec, **share: int) -> Reader:
    return source.open(spec, **share)


class MixtureReader:
    """Reader of a mixture; at each step all ranks read the same source."""

    def __init__(self, mixture: Mixture, readers: Sequence[Reader]) -> None:
        self.mixture = mixture
        self._names = [source.name for source, _ in mixture.parts]
        self._readers = list(readers)
        self._seek(0)

    def _seek(self, step: int) -> None:
        """Go to just before batch number `step`."""
        self._step = step
        self._choices = interleave(self.mixture.shares)
        for _ in range(step):
            next(self._choices)

    def read(self, n: int) -> Clips:
        """Return the next `n` clips, all from one source."""
        clips = self._readers[next(self._choices)].read(n)
        self._step += 1
        return clips

    @property
    def broken(self) -> dict[str, str]:
        """Unreadable files: {"source: id": reason}."""
        pairs = zip(self._names, self._readers, strict=True)
        return {f"{name}: {id}": cause for name, reader in pairs for id, cause in reader.broken.items()}

    @property
    def seconds_waited(self) -> float:
        """Total seconds waited for clips, summed over the sources."""
        return sum(reader.seconds_waited for reader in self._readers)

    def state(self) -> State:
        """Batch number, shares and the states of the parts."""
        states = {name: reader.state() for name, reader in zip(self._names, self._readers, strict=True)}
        return {"step": self._step, "shares": list(self.mixture.shares), "parts": states}

    def restore(self, state: State) -> None:
        """Continue from `state`. Raises UserError if it belongs to other sources or weights."""
        parts = state.get("parts", {})
        if list(parts) != self._names or state["shares"] != list(self.mixture.shares):
            raise UserError(
                f"{self.mixture.name}: cannot resume from a state of {', '.join(parts) or 'no sources'} "
                f"with shares {state.get('shares')}; resume with the same recipe"
            )
        for name, reader in zip(self._names, self._readers, strict=True):
            reader.restore(parts[name])
        self._seek(state["step"])

    def merged(self, states: Sequence[State]) -> State:
        """The state for this process that goes on from those of another number of processes, part by part."""
        parts = {
            name: reader.merged([state["parts"][name] for state in states])
            for name, reader in zip(self._names, self._readers, strict=True)
        }
        return {**states[0], "parts": parts}

    def close(self) -> None:
        """Close the readers of all parts."""
        _close(self._readers)


def _close(readers: Sequence[Reader]) -> None:
    for reader in readers:
        reader.close()


def interleave(shares: Sequence[float]) -> Iterator[int]:
    """Yield the part that each batch comes from, endlessly; part i gets k * shares[i] of the first k, within one.

    Tijdeman's solution of the chairman assignment problem (Discrete Mathematics 32, 1980): among the parts that lag far
    enough behind their share, choose the one that would first lag too far.
    """
    if len(shares) == 1:
        while True:
            yield 0
    min_lag = 1 / (2 * len(shares) - 2)
    counts = [0] * len(shares)
    step = 0
    while True:
        step += 1
        due = [step * share - count for share, count in zip(shares, counts, strict=True)]
        lagging = [i for i, lag in enumerate(due) if lag >= min_lag - SLACK]
        chosen = min(lagging, key=lambda i: (1 - min_lag - due[i]) / shares[i])
        counts[chosen] += 1
        yield chosen
