"""What readers share: a position that is saved, restored, and made anew from those of another number of processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

from vitascope.core.errors import UserError
from vitascope.pretrain.data.base import Clips, State

Merge: TypeAlias = Callable[[Sequence[State]], State]
"""Makes one process's position from those of all of another number of processes."""


class ResumableReader(ABC):
    """A `Reader` whose state is the position in its sequence, and what was found broken up to there."""

    def __init__(self, name: str, start: State, *, data: str, former: str = "", merge: Merge | None = None) -> None:
        """`former` is the digest of the same data in states of an earlier version."""
        self.name = name
        self.data = data
        """Digest of the data that the sequence is made of."""
        self.broken: dict[str, str] = {}
        self.seconds_waited = 0.0
        self._position, self._former, self._merge = start, former, merge

    @abstractmethod
    def read(self, n: int) -> Clips:
        """Return the next `n` clips."""

    @abstractmethod
    def close(self) -> None:
        """Discard what was prepared."""

    def state(self) -> State:
        """Position after the last clip returned, and the clips found broken up to there."""
        return {"source": self.name, "data": self.data, "position": self._position, "broken": dict(self.broken)}

    def restore(self, state: State) -> None:
        """Continue from `state`. Raises UserError if it belongs to another source or its files have changed."""
        self._check(state)
        self.close()
        self._position, self.broken = state["position"], dict(state["broken"])

    def merged(self, states: Sequence[State]) -> State:
        """The state for this process that goes on from those of another number of processes.

        Raises UserError if they belong to another source, or if they differ and the source cannot be divided anew.
        """
        for state in states:
            self._check(state)
        if self._merge is None and any(state != states[0] for state in states):
            raise UserError(
                f"{self.name}: {len(states)} processes left it at different places; resume with {len(states)} processes"
            )
        position = self._merge([state["position"] for state in states]) if self._merge else states[0]["position"]
        broken = {id: cause for state in states for id, cause in state["broken"].items()}
        return {**states[0], "position": position, "broken": broken}

    def _check(self, state: State) -> None:
        if state.get("source") != self.name:
            raise UserError(
                f"{self.name}: cannot resume from a state of {state.get('source')!r}; resume with the same recipe"
            )
        if state["data"] not in (self.data, self._former):
            raise UserError(
                f"{self.name}: its data have changed since the state was saved; restore them, or start a new run"
            )
