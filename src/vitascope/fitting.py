"""The tensors of an official file under a network's names: every one accounted for, or an error that names it."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from vitascope.architectures import Architecture
from vitascope.blueprint import Layout, Model, State

SHOWN = 6
"""Tensors named in one message."""
JOINED = {"attn.qkv": ("attn.q", "attn.k", "attn.v"), "mlp.w12": ("mlp.w1", "mlp.w2")}
"""What our networks keep as one matrix (and bias) and files may hold in parts."""
WRAPPERS = ("module", "trunk", "vision_encoder", "visual", "encoder", "params")
"""First words of names that say nothing by themselves."""
OUTSIDE = " (outside "
"""Marks names that do not begin with their layout's prefix."""
Origin = dict[str, tuple[str, ...]]
"""The names in the file that stand behind each of ours."""


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


def empty(shape: Architecture) -> Any:
    """The network of `shape` without memory for its weights."""
    module, _, name = shape.network.partition(":")
    with torch.device("meta"):
        network: nn.Module = getattr(importlib.import_module(module), name)(shape)
    return network.eval().requires_grad_(False)


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
        from vitascope import diagnosis

        why = diagnosis.misfit(content, name, state, wanted)
        raise ValueError(f"{where}: not {name} ({layout.name} file): {wrong}{why and f'; {why}'}")
    state = {key: tensor.reshape(wanted[key].shape).float().contiguous() for key, tensor in state.items()}
    return Fit(state, layout.name, layout.containers[0], left_out, computed, remark)


def opened(layouts: Iterable[Layout], content: Any, name: str, where: str) -> tuple[Layout, State]:
    """As `found`; ValueError where there is none, or one only to be refused."""
    hit = found(layouts, content)
    if hit is None:
        from vitascope import diagnosis

        raise ValueError(f"{where}: not a file of {name}: {diagnosis.unopened(content, layouts, name)}")
    if hit[0].refused:
        raise ValueError(f"{where}: not a file of {name}: {hit[0].refused}")
    return hit


def found(layouts: Iterable[Layout], content: Any) -> tuple[Layout, State] | None:
    """The first layout whose mark some tensor in a container bears, that container alone, and the tensors there."""
    for layout in layouts:
        for container in layout.containers:
            inner = content.get(container) if container else content
            state = {k: v for k, v in inner.items() if isinstance(v, Tensor)} if isinstance(inner, Mapping) else {}
            if any(re.match(layout.mark, key) for key in state):
                return replace(layout, containers=(container,)), state
    return None


def without_surplus(layout: Layout, state: State) -> tuple[State, dict[str, int]]:
    """The tensors with the prefix cut, and the known surplus counted by the start of its names."""
    known = re.compile("|".join(f"(?:{word})" for word in layout.surplus) or r"(?!)")
    kept: State = {}
    left: Counter[str] = Counter()
    for key, tensor in state.items():
        if known.match(key):
            left[part(key)] += 1
        else:
            inside = key.startswith(layout.prefix)
            kept[key.removeprefix(layout.prefix) if inside else f"{key}{OUTSIDE}{layout.prefix})"] = tensor
    return kept, dict(left)


def part(key: str) -> str:
    """The part of a model that a tensor belongs to, for a summary: `decoder` of `decoder.blocks.0.norm1.weight`."""
    words = re.split(r"[./]", re.sub(r"\.(weight|bias)$", "", key))
    return ".".join(words[: 2 if words[0] in WRAPPERS else 1])


def renamed(layout: Layout, state: State) -> tuple[State, Origin]:
    """The tensors under our names, parts joined, transposed where the file says so; and what they are called there."""
    named: State = {}
    origin: Origin = {}
    for raw, tensor in state.items():
        key = raw
        for pattern, replacement in layout.renames:
            key = re.sub(pattern, replacement, key)
        key = f"{key} (twice)" if key in named else key
        named[key], origin[key] = tensor, (raw if OUTSIDE in raw else f"{layout.prefix}{raw}",)
    if layout.convert:
        named = layout.convert(named)
    named = fused(named, origin)
    return {key: tensor.T if key in layout.transposed else tensor for key, tensor in named.items()}, origin


def fused(state: State, origin: Origin) -> State:
    """`JOINED` parts, and `attn.q_bias` with `attn.v_bias`, as one tensor; parts that do not fit stay as they are."""
    out = dict(state)
    for key in state:
        for whole, words in JOINED.items():
            base, found, kind = key.rpartition(f"{words[0]}.")
            parts = [f"{base}{word}.{kind}" for word in words]
            if found and len({state[part].shape if part in state else None for part in parts}) == 1:
                out[f"{base}{whole}.{kind}"] = torch.cat([out.pop(part) for part in parts])
                join(origin, parts, f"{base}{whole}.{kind}")
        base, _, last = key.rpartition("attn.")
        if last == "q_bias" and f"{base}attn.v_bias" in state:
            q, v = out.pop(key), out.pop(f"{base}attn.v_bias")
            out[f"{base}attn.qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
            join(origin, [key, f"{base}attn.v_bias"], f"{base}attn.qkv.bias")
    return out


def join(origin: Origin, parts: Iterable[str], whole: str) -> None:
    """Note that `whole` is made of `parts`."""
    origin[whole] = tuple(raw for part in parts for raw in origin.get(part, (part,)))


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


def misshapen(wanted: Mapping[str, Tensor], state: State) -> list[str]:
    """Names of tensors of another shape than wanted, axes of length one apart."""
    return [key for key in wanted if key in state and squeezed(state[key]) != squeezed(wanted[key])]


def squeezed(tensor: Tensor) -> list[int]:
    """The shape without axes of length one."""
    return [n for n in tensor.shape if n != 1]
