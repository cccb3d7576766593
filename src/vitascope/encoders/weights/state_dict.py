"""The tensors of an official file under a network's names: every one accounted for, or an error that names it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.encoders.spec import CheckpointLayout, Model, State
from vitascope.encoders.weights import diagnose
from vitascope.encoders.weights.layouts import Origin, found, misshapen, renamed, without_surplus

SHOWN = 6
"""Tensors named in one message."""


@dataclass(frozen=True)
class Fit:
    """What became of a file's tensors."""

    state: State
    layout: str
    container: str
    """Where in the file they were; empty for the file itself."""
    left_out: Mapping[str, int]
    """Known surplus: how many tensors by the first words of their names."""
    computed: tuple[str, ...]
    """Fixed tables that the file does not hold."""
    remark: str = ""
    """What the network took from the file beside its weights."""

    def told(self) -> str:
        """The coverage in a line."""
        words = [f"{self.layout} file: all of {len(self.state)} tensors"]
        words += [self.remark] if self.remark else []
        words += ["computed: " + ", ".join(self.computed)] if self.computed else []
        words += ["left out: " + ", ".join(f"{k} ({n})" for k, n in self.left_out.items())] if self.left_out else []
        return "; ".join(words)


def fitted(model: Model, network: Any, content: Any, name: str, where: str) -> Fit:
    """The tensors of a file under the network's names; ValueError where they are not exactly what it needs."""
    layout, state = opened(model.layouts, content, name, where)
    state, left_out = without_surplus(layout, state)
    state, origin = renamed(layout, state)
    remark: str = network.adopt(state) if hasattr(network, "adopt") else ""
    wanted: dict[str, Tensor] = network.state_dict()
    tables: dict[str, Tensor] = network.tables() if hasattr(network, "tables") else {}
    computed = tuple(sorted(tables.keys() - state.keys()))
    state = {**{key: tables[key] for key in computed}, **state}
    if wrong := problems(wanted, state, origin):
        why = diagnose.misfit(content, name, state, wanted)
        raise UserError(f"{where}: not {name} ({layout.name} file): {wrong}{why and f'; {why}'}")
    state = {key: tensor.reshape(wanted[key].shape).float().contiguous() for key, tensor in state.items()}
    return Fit(state, layout.name, layout.containers[0], left_out, computed, remark)


def opened(layouts: Iterable[CheckpointLayout], content: Any, name: str, where: str) -> tuple[CheckpointLayout, State]:
    """As `found`; ValueError where there is none, or one only to be refused."""
    hit = found(layouts, content)
    if hit is None:
        raise UserError(f"{where}: not a file of {name}: {diagnose.unopened(content, layouts, name)}")
    if hit[0].refused:
        raise UserError(f"{where}: not a file of {name}: {hit[0].refused}")
    return hit


def problems(wanted: Mapping[str, Tensor], state: State, origin: Origin) -> str:
    """The coverage, and what is missing, surplus or misshapen in `state`; empty where it fits."""
    bad = misshapen(wanted, state)
    wrong = [f"missing {key}{there(key, expected(key, origin))}" for key in wanted if key not in state]
    wrong += [f"surplus {key}{there(key, origin.get(key, ()))}" for key in state if key not in wanted]
    for key in [key for key in wanted if key in state and not state[key].is_floating_point()]:
        kind = str(state[key].dtype).removeprefix("torch.")
        wrong.append(f"{key} is {kind}, no weights but perhaps packed ones{there(key, origin.get(key, ()))}")
    for key in bad:
        shapes = f"{list(state[key].shape)}, not {list(wanted[key].shape)}"
        wrong.append(f"{key} is {shapes}{there(key, origin.get(key, ()))}")
    listed = "; ".join(wrong[:SHOWN]) + (f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")
    fit = len(wanted.keys() & state.keys()) - len(bad)
    return f"{fit} of {len(wanted)} tensors fit: {listed}" if wrong else ""


def there(key: str, raw: tuple[str, ...]) -> str:
    """What one of our names is called in the file, where that is not the same."""
    return "" if raw in ((), (key,)) else f" (in the file {', '.join(raw)})"


def expected(key: str, origin: Origin) -> tuple[str, ...]:
    """What a missing tensor would be called in the file: as that of another block, the number changed; else nothing.

    Of those joined in one, the ones that are missing.
    """
    number = re.search(r"\d+", key)
    pattern = re.compile(re.sub(r"\d+", lambda _: r"(\d+)", re.escape(key), count=1)) if number else None
    present = {raw for names in origin.values() for raw in names}
    for other, raws in origin.items():
        same = pattern.fullmatch(other) if pattern else None
        if number and same and same[1] != number[0]:
            alike = (re.sub(rf"(?<!\d){same[1]}(?!\d)", number[0], raw, count=1) for raw in raws)
            return tuple(raw for raw in alike if raw not in present)
    return ()
