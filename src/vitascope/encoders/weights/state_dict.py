"""Fit the tensors of an official file to a network, strictly: any missing or surplus tensor is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.core.text import nearest
from vitascope.encoders.spec import CheckpointLayout, Model, State
from vitascope.encoders.weights import diagnose
from vitascope.encoders.weights.layouts import (
    Origin,
    find_layout,
    networks_in,
    rename_tensors,
    split_surplus,
    unused_tensors,
    wrong_shapes,
)
from vitascope.nn.network import Network

MAX_LISTED = 6
"""Maximum number of tensors named in one message."""


@dataclass(frozen=True)
class Fit:
    """The tensors of a file fitted to a network, and the coverage."""

    state: State
    layout: str
    container: str
    """Key of the container in the file; empty for the file itself."""
    left_out: Mapping[str, int]
    """Number of known surplus tensors by component."""
    computed: tuple[str, ...]
    """Fixed tables that were computed because the file lacks them."""
    remark: str = ""
    """Settings that the network adopted from the file."""
    unused: Mapping[str, int] = field(default_factory=dict)
    """Number of tensors outside the container, by dictionary."""
    copies: tuple[str, ...] = ()
    """Other containers that hold the same network with other numbers."""
    usual: bool = True
    """The container is the one where files of this kind have the weights."""

    def describe(self) -> str:
        """The coverage in one line."""
        words = [f"{self.layout} file: all of {len(self.state)} tensors"]
        words += [f"taken from {self.container!r}"] if self.copies or not self.usual else []
        words += [self.remark] if self.remark else []
        words += ["computed: " + ", ".join(self.computed)] if self.computed else []
        words += ["left out: " + ", ".join(f"{k} ({n})" for k, n in self.left_out.items())] if self.left_out else []
        words += ["not used: " + ", ".join(map(self._unused_part, self.unused))] if self.unused else []
        return "; ".join(words)

    def _unused_part(self, part: str) -> str:
        choice = f", another copy of the network: +weights={part}" if part in self.copies else ""
        return f"{part} ({self.unused[part]}{choice})"


def fit_state_dict(model: Model, network: Network, content: Any, name: str, where: str) -> Fit:
    """Fit the tensors of a file to `network`; `UserError` if they are not exactly those it needs."""
    layout, state = open_layout(model, content, name, where)
    state, left_out = split_surplus(layout, state)
    state, origin = rename_tensors(layout, state)
    remark = network.adopt(state)
    wanted: dict[str, Tensor] = network.state_dict()
    tables = network.tables()
    computed = tuple(sorted(tables.keys() - state.keys()))
    state = {**{key: tables[key] for key in computed}, **state}
    if wrong := problems(wanted, state, origin):
        why = diagnose.why_no_fit(content, name, state, wanted)
        raise UserError(f"{where}: not {name} ({layout.name} file): {wrong}{why and f'; {why}'}")
    state = {key: tensor.reshape(wanted[key].shape).float().contiguous() for key, tensor in state.items()}
    container = layout.containers[0]
    unused = unused_tensors(content, container)
    copies = tuple(path for path in networks_in([layout], content) if path in unused)
    usual = any(container in one.containers for one in model.layouts)
    return Fit(state, layout.name, container, left_out, computed, remark, unused, copies, usual)


def open_layout(model: Model, content: Any, name: str, where: str) -> tuple[CheckpointLayout, State]:
    """The layout and tensors from `find_layout`; `UserError` if no layout matches or the file is rejected.

    Weights under a key that no layout has are taken from there if the file holds the network only once.
    """
    chosen = chosen_container(model, content, where) if model.weights else ""
    hit = find_layout(model.layouts, content, chosen)
    if hit is None and not chosen:
        hit = find_layout(model.layouts, content, sole_network(model, content, where))
    if hit is None:
        raise UserError(f"{where}: not a file of {name}: {diagnose.why_no_layout(content, model.layouts, name)}")
    if hit[0].refused:
        raise UserError(f"{where}: not a file of {name}: {hit[0].refused}")
    return hit


def chosen_container(model: Model, content: Any, where: str) -> str:
    """The container called `model.weights`, or for `ema` the only averaged copy; `UserError` lists what there is."""
    held = networks_in(model.layouts, content)
    averaged = [path for path in held if re.search(r"(^|[._])ema($|[._])", path)]
    if model.weights in held:
        return model.weights
    if model.weights == "ema" and len(averaged) == 1:
        return averaged[0]
    there = f"it holds the network under {listed_networks(held)}" if held else "it holds the network under no key"
    raise UserError(f"{where}: weights={model.weights} is not in the file{nearest(model.weights, held)}; {there}")


def sole_network(model: Model, content: Any, where: str) -> str:
    """The only key of a file that holds the network of `model`; empty if there is none, `UserError` for several."""
    held = {path: count for path, count in networks_in(model.layouts, content).items() if path}
    if len(held) > 1:
        first, name = next(iter(held)), model.card.name
        raise UserError(
            f"{where}: holds the network {len(held)} times, under {listed_networks(held)}; "
            f"choose one, for example {name}+weights={first}={where}"
        )
    return next(iter(held), "")


def listed_networks(held: Mapping[str, int]) -> str:
    """Keys with their numbers of tensors, in words."""
    return ", ".join(f"{path or 'no key'} ({count} tensors)" for path, count in held.items())


def problems(wanted: Mapping[str, Tensor], state: State, origin: Origin) -> str:
    """The missing, surplus and misshapen tensors of `state`, with the coverage; empty if all fit."""
    bad = wrong_shapes(wanted, state)
    wrong = [f"missing {key}{name_in_file(key, expected_names(key, origin))}" for key in wanted if key not in state]
    wrong += [f"surplus {key}{name_in_file(key, origin.get(key, ()))}" for key in state if key not in wanted]
    for key in [key for key in wanted if key in state and not state[key].is_floating_point()]:
        kind = str(state[key].dtype).removeprefix("torch.")
        wrong.append(
            f"{key} is {kind}, not floating point (quantized weights?){name_in_file(key, origin.get(key, ()))}"
        )
    for key in bad:
        shapes = f"{list(state[key].shape)}, not {list(wanted[key].shape)}"
        wrong.append(f"{key} is {shapes}{name_in_file(key, origin.get(key, ()))}")
    listed = "; ".join(wrong[:MAX_LISTED]) + (
        f"; and {len(wrong) - MAX_LISTED} more" if len(wrong) > MAX_LISTED else ""
    )
    fit = len(wanted.keys() & state.keys()) - len(bad)
    return f"{fit} of {len(wanted)} tensors fit: {listed}" if wrong else ""


def name_in_file(key: str, raw: tuple[str, ...]) -> str:
    """The name of a tensor in the file, in parentheses, if it differs from ours."""
    return "" if raw in ((), (key,)) else f" (in the file {', '.join(raw)})"


def expected_names(key: str, origin: Origin) -> tuple[str, ...]:
    """The names a missing tensor would have in the file, inferred from the same tensor of another block.

    Of a fused tensor, only the missing parts; empty if there is no such block.
    """
    number = re.search(r"\d+", key)
    pattern = re.compile(re.sub(r"\d+", lambda _: r"(\d+)", re.escape(key), count=1)) if number else None
    present = {raw for names in origin.values() for raw in names}
    for other, raws in origin.items():
        same = pattern.fullmatch(other) if pattern else None
        if number and same and same[1] != number[0]:
            candidates = (re.sub(rf"(?<!\d){same[1]}(?!\d)", number[0], raw, count=1) for raw in raws)
            return tuple(raw for raw in candidates if raw not in present)
    return ()
