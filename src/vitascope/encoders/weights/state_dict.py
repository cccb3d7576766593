"""Fit the tensors of an official file to a network, strictly: any missing or surplus tensor is an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.encoders.spec import CheckpointLayout, Model, State
from vitascope.encoders.weights import diagnose
from vitascope.encoders.weights.layouts import Origin, find_layout, rename_tensors, split_surplus, wrong_shapes
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

    def describe(self) -> str:
        """The coverage in one line."""
        words = [f"{self.layout} file: all of {len(self.state)} tensors"]
        words += [self.remark] if self.remark else []
        words += ["computed: " + ", ".join(self.computed)] if self.computed else []
        words += ["left out: " + ", ".join(f"{k} ({n})" for k, n in self.left_out.items())] if self.left_out else []
        return "; ".join(words)


def fit_state_dict(model: Model, network: Network, content: Any, name: str, where: str) -> Fit:
    """Fit the tensors of a file to `network`; `UserError` if they are not exactly those it needs."""
    layout, state = open_layout(model.layouts, content, name, where)
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
    return Fit(state, layout.name, layout.containers[0], left_out, computed, remark)


def open_layout(
    layouts: Iterable[CheckpointLayout], content: Any, name: str, where: str
) -> tuple[CheckpointLayout, State]:
    """The layout and tensors from `find_layout`; `UserError` if no layout matches or the file is rejected."""
    hit = find_layout(layouts, content)
    if hit is None:
        raise UserError(f"{where}: not a file of {name}: {diagnose.why_no_layout(content, layouts, name)}")
    if hit[0].refused:
        raise UserError(f"{where}: not a file of {name}: {hit[0].refused}")
    return hit


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
