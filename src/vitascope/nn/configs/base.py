"""The interface of network configs, and how values from configuration files override their fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

from vitascope.core.errors import UserError
from vitascope.core.text import nearest

TOOLS = {"torch", "transformers", "jax", "hf_dir"}
DESCRIPTIVE = TOOLS | {"model", "variant", "size", "seed", "name", "note", "mode", "pool", "ckpt_key", "scan"}
"""Keys of a configuration file that describe a model without changing the network."""


@runtime_checkable
class NetworkConfig(Protocol):
    """Config of a network: a frozen dataclass with its size and cost."""

    def __hash__(self) -> int: ...

    @property
    def out(self) -> int:
        """Width of the pooled vector."""
        ...

    @property
    def width(self) -> int:
        """Width of the tokens."""
        ...

    @property
    def params(self) -> int:
        """Number of parameters."""
        ...

    @property
    def input(self) -> tuple[int, int]:
        """Number of frames and side in pixels of the clips that the weights were trained for."""
        ...

    def macs(self, frames: int, size: int) -> int:
        """Multiply-adds for one clip of `frames` frames of `size` x `size` pixels (what papers report as FLOPs)."""
        ...

    def updated(self, values: Mapping[str, Any]) -> NetworkConfig:
        """This config with `values`, under our names or those of published configs; UserError for unknown names."""
        ...


A = TypeVar("A")


class UnknownNumberError(UserError):
    """An unknown field, `key`, of a network config."""

    def __init__(self, key: str, names: Iterable[str]) -> None:
        names = sorted(names)
        super().__init__(f"unknown architecture option {key!r}{nearest(key, names)}; available: {', '.join(names)}")
        self.key = key


def replace_fields(config: A, values: Mapping[str, Any], ignored: Iterable[str] = ()) -> A:
    """`config` with its fields replaced by `values`; `DESCRIPTIVE` and `ignored` keys have no effect.

    Raises UnknownNumberError for other keys.
    """
    names = {f.name for f in fields(config)}  # type: ignore[arg-type]
    allowed = names | DESCRIPTIVE | set(ignored)
    for key in values:
        if key not in allowed:
            raise UnknownNumberError(key, names)
    new: Any = replace(config, **{k: v for k, v in values.items() if k in names})  # type: ignore[type-var]
    return new  # type: ignore[no-any-return]


def match_prefix(text: str, choices: Mapping[str, str], name: str) -> str:
    """The value of the key in `choices` that `text` starts with; raises UserError if there is none."""
    for prefix, value in choices.items():
        if text.startswith(prefix):
            return value
    raise UserError(f"architecture: {name} is one of {', '.join(choices)}, not {text!r}")
