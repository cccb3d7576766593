"""An imitation of Ray in one process: what the package calls of it, with actors that die when the test says so."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from types import SimpleNamespace
from typing import Any


class RayError(Exception):
    """Base of all errors."""


class ActorDiedError(RayError):
    """An actor is gone."""


class RayTaskError(RayError):
    """What a task raised."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class FakeRay:
    """The module; `fate(kind, method, number)` says before each call of an actor whether the actor dies in it."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError, ActorDiedError=ActorDiedError)

    def __init__(self, fate: Callable[[str, str, int], bool], nodes: Sequence[dict[str, float]]) -> None:
        self.fate, self.given = fate, nodes
        self.calls = itertools.count()
        self.actors: list[Handle] = []
        self.head = ""
        """Where the head node answers."""

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(gcs_address=self.head)

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": node} for node in self.given]

    def put(self, value: Any) -> Reference:
        return Reference(value=pickle.loads(pickle.dumps(value)))

    def get(self, reference: Reference) -> Any:
        if reference.error:
            raise reference.error
        return reference.value

    def wait(self, references: list[Any], num_returns: int = 1, timeout: float = 0) -> tuple[list[Any], list[Any]]:
        return [copy(one) for one in references[:num_returns]], references[num_returns:]  # equal, as for a client

    def kill(self, handle: Handle) -> None:
        handle.die()

    def remote(self, kind: Callable[..., Any]) -> Any:
        def start(*given: Any) -> Handle:
            self.actors.append(Handle(self, kind(*map(self._value, given)), kind.__name__))
            return self.actors[-1]

        begin = start if isinstance(kind, type) else partial(self._run, kind)
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=begin))

    def _run(self, task: Callable[..., Any], *given: Any) -> Reference:
        try:
            return Reference(pickle.loads(pickle.dumps(task(*map(self._value, given)))))
        except Exception as error:
            return Reference(error=RayTaskError(error))

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0, "accelerator_type:H200": 1.0}

    def _value(self, given: Any) -> Any:
        return given.value if isinstance(given, Reference) else given


class Reference:
    """A result."""

    numbers = itertools.count()

    def __init__(self, value: Any = None, error: Exception | None = None) -> None:
        self.value, self.error, self.number = value, error, next(self.numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and other.number == self.number

    def __hash__(self) -> int:
        return self.number


class Handle:
    """An actor."""

    def __init__(self, ray: FakeRay, actor: Any, kind: str) -> None:
        self.ray, self.actor, self.kind, self.dead = ray, actor, kind, False

    def __getattr__(self, method: str) -> Any:
        return SimpleNamespace(remote=lambda *given: self._call(method, *given))

    def die(self) -> None:
        """End with the processes that the actor began, as they do with theirs."""
        self.dead = True
        if pool := getattr(self.actor, "pool", None):
            pool.close()

    def _call(self, method: str, *given: Any) -> Reference:
        dies = self.ray.fate(self.kind, method, next(self.ray.calls)) and not self.dead
        if self.dead:
            return Reference(error=ActorDiedError(f"{self.kind} is dead"))
        try:
            value = getattr(self.actor, method)(*map(self.ray._value, given))
        except Exception as error:
            return Reference(error=RayTaskError(error))
        if dies:  # after its work, of which nothing arrives
            self.die()
            return Reference(error=ActorDiedError(f"{self.kind} died"))
        return Reference(value)
