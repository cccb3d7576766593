"""Tensors of a file under a network's names, as the layout of its authors says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vitascope.encoders.spec import CheckpointLayout, State

JOINED = {"attn.qkv": ("attn.q", "attn.k", "attn.v"), "mlp.w12": ("mlp.w1", "mlp.w2")}
"""What our networks keep as one matrix (and bias) and files may hold in parts."""


WRAPPERS = ("module", "trunk", "vision_encoder", "visual", "encoder", "params")
"""First words of names that say nothing by themselves."""


OUTSIDE = " (outside "
"""Marks names that do not begin with their layout's prefix."""


Origin = dict[str, tuple[str, ...]]
"""The names in the file that stand behind each of ours."""


def found(layouts: Iterable[CheckpointLayout], content: Any) -> tuple[CheckpointLayout, State] | None:
    """The first layout whose mark some tensor in a container bears, that container alone, and the tensors there."""
    for layout in layouts:
        for container in layout.containers:
            inner = content.get(container) if container else content
            state = {k: v for k, v in inner.items() if isinstance(v, Tensor)} if isinstance(inner, Mapping) else {}
            if any(re.match(layout.mark, key) for key in state):
                return replace(layout, containers=(container,)), state
    return None


def without_surplus(layout: CheckpointLayout, state: State) -> tuple[State, dict[str, int]]:
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


def renamed(layout: CheckpointLayout, state: State) -> tuple[State, Origin]:
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


def misshapen(wanted: Mapping[str, Tensor], state: State) -> list[str]:
    """Names of tensors of another shape than wanted, axes of length one apart."""
    return [key for key in wanted if key in state and squeezed(state[key]) != squeezed(wanted[key])]


def squeezed(tensor: Tensor) -> list[int]:
    """The shape without axes of length one."""
    return [n for n in tensor.shape if n != 1]
