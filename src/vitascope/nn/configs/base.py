"""The shapes of networks as plain numbers: no torch, so that a table of every encoder costs no start-up time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from vitascope.core.errors import UserError
from vitascope.core.text import nearest

TOOLS = {"torch", "transformers", "jax", "hf_dir"}
DESCRIPTIVE = TOOLS | {"model", "variant", "size", "seed", "name", "note", "mode", "pool", "ckpt_key", "scan"}
"""What a description of a small model may say beside its numbers, and does not change the network."""


@runtime_checkable
class NetworkConfig(Protocol):
    """The numbers of one network: frozen, with a count of what it costs."""

    @property
    def out(self) -> int:
        """Width of the summary vector."""
        ...

    @property
    def width(self) -> int:
        """Of the tokens."""
        ...

    @property
    def params(self) -> int:
        """Numbers in the weights."""
        ...

    @property
    def input(self) -> tuple[int, int]:
        """Frames and side in pixels of the clips the weights were made for."""
        ...

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds of one clip of `frames` frames of `size` x `size` pixels (papers call them FLOPs)."""
        ...

    def told(self, given: Mapping[str, Any]) -> NetworkConfig:
        """The same with other numbers, under the names that published configurations use; ValueError for others."""
        ...


A = TypeVar("A")


class UnknownNumberError(UserError):
    """A name, `key`, that no field of an architecture has."""

    def __init__(self, key: str, known: Iterable[str]) -> None:
        known = sorted(known)
        super().__init__(f"architecture has no {key!r}{nearest(key, known)}; there are {', '.join(known)}")
        self.key = key


def changed(arch: A, given: Mapping[str, Any], also: Iterable[str] = ()) -> A:
    """`arch` with the fields of `given`; passed over are descriptive words and those of `also`.

    Raises UnknownNumberError for others.
    """
    known = {f.name for f in fields(arch)}  # type: ignore[arg-type]
    passed = DESCRIPTIVE | set(also)
    for key in given:
        if key not in known and key not in passed:
            raise UnknownNumberError(key, known)
    new: Any = replace(arch, **{k: v for k, v in given.items() if k in known})  # type: ignore[type-var]
    return new  # type: ignore[no-any-return]


def start(text: str, meanings: Mapping[str, str], what: str) -> str:
    """The meaning of the key that `text` begins with; ValueError where none fits."""
    for word, meaning in meanings.items():
        if text.startswith(word):
            return meaning
    raise UserError(f"architecture: {what} {text!r} is none of {', '.join(meanings)}")
