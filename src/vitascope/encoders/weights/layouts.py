"""Map the tensors of a weight file to the names of our networks, following its layout."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vitascope.encoders.spec import CheckpointLayout, State

JOINED = {"attn.qkv": ("attn.q", "attn.k", "attn.v"), "mlp.w12": ("mlp.w1", "mlp.w2")}
"""Matrices (and biases) that our networks fuse and files may store in parts."""
WRAPPERS = ("module", "trunk", "vision_encoder", "visual", "encoder", "params")
"""Wrapper names, which do not identify a component by themselves."""
OUTSIDE = " (outside "
"""Marks tensors whose names do not start with the prefix of their layout."""
OPTIMIZER = re.compile(r"opt(im|imizer)?\w*(\.|$)")
"""Containers of training state, by the start of their path."""
MAX_DEPTH = 3
"""Number of nested dictionaries that are searched for weights."""
LAYER_SCALE = (r"\.gamma_([12])$", r".ls\1.gamma")
"""Name of the layer scale in the code bases of BEiT, VideoMAE and timm, and ours."""
COUNTER = ".num_batches_tracked"
"""Name of what torch's batch norms count while they are trained."""
Origin = dict[str, tuple[str, ...]]
"""The original names in the file of each tensor, by our name."""


def find_layout(
    layouts: Iterable[CheckpointLayout], content: Any, container: str = ""
) -> tuple[CheckpointLayout, State] | None:
    """The first layout whose mark matches a tensor name, restricted to the matching container, and its tensors.

    A `container`, the dotted path of a dictionary in the file, replaces those of the layouts.
    """
    for layout in layouts:
        for path in (container,) if container else layout.containers:
            state = tensors_at(content, path)
            if any(re.match(layout.mark, key) for key in state):
                return replace(layout, containers=(path,)), state
    return None


def tensors_at(content: Any, path: str) -> State:
    """The tensors directly in the dictionary at a dotted path; none if there is no such dictionary."""
    for key in path.split(".") if path and path not in content else filter(None, [path]):
        content = content.get(key) if isinstance(content, Mapping) else None
    return {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}


def containers(content: Mapping[str, Any], path: str = "", deep: int = MAX_DEPTH) -> Iterator[tuple[str, State]]:
    """Every dictionary in a file that contains tensors, with the dotted path to it."""
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if state:
        yield path, state
    for key, value in content.items():
        if deep and isinstance(value, Mapping):
            yield from containers(value, f"{path}.{key}".lstrip("."), deep - 1)


def networks_in(layouts: Iterable[CheckpointLayout], content: Mapping[str, Any]) -> dict[str, int]:
    """Paths of the dictionaries that hold the network of `layouts`, training state excepted, and how many tensors."""
    marks = [layout.mark for layout in layouts if not layout.refused]
    return {
        path: len(state)
        for path, state in containers(content)
        if not OPTIMIZER.match(path) and any(re.match(mark, key) for mark in marks for key in state)
    }


def unused_tensors(content: Mapping[str, Any], container: str) -> dict[str, int]:
    """Number of tensors of a file outside the dictionary at `container`, by the path of the dictionary.

    Training state and lists count as one.
    """
    counts: Counter[str] = Counter()
    for path, state in containers(content, deep=99):
        if path != container:
            part = path.partition(".")[0]
            counts[(path if part == container.partition(".")[0] else part) or "top level"] += len(state)
    return dict(counts)


def split_surplus(layout: CheckpointLayout, state: State) -> tuple[State, dict[str, int]]:
    """The needed tensors without their prefix, and the number of surplus tensors by component."""
    surplus = re.compile("|".join(f"(?:{word})" for word in layout.surplus) or r"(?!)")
    needed: State = {}
    dropped: Counter[str] = Counter()
    for key, tensor in state.items():
        if surplus.match(key):
            dropped[component(key)] += 1
        else:
            inside = key.startswith(layout.prefix)
            needed[key.removeprefix(layout.prefix) if inside else f"{key}{OUTSIDE}{layout.prefix})"] = tensor
    return needed, dict(dropped)


def component(key: str) -> str:
    """The component of a model that a tensor belongs to: `decoder` for `decoder.blocks.0.norm1.weight`."""
    if key.endswith(COUNTER):
        return "counters of training batches"
    words = re.split(r"[./]", re.sub(r"\.(weight|bias)$", "", key))
    return ".".join(words[: 2 if words[0] in WRAPPERS else 1])


def rename_tensors(layout: CheckpointLayout, state: State) -> tuple[State, Origin]:
    """The tensors under our names, fused and transposed as the layout requires, and their original names."""
    named: State = {}
    origin: Origin = {}
    for raw, tensor in state.items():
        key = raw
        for pattern, replacement in (*layout.renames, LAYER_SCALE):
            key = re.sub(pattern, replacement, key)
        key = f"{key} (twice)" if key in named else key
        named[key], origin[key] = tensor, (raw if OUTSIDE in raw else f"{layout.prefix}{raw}",)
    if layout.convert:
        named = layout.convert(named)
    named = fuse_parts(named, origin)
    return {key: tensor.T if key in layout.transposed else tensor for key, tensor in named.items()}, origin


def fuse_parts(state: State, origin: Origin) -> State:
    """Fuse `JOINED` parts, and `attn.q_bias` with `attn.v_bias`; parts of unequal shapes are left separate."""
    out = dict(state)
    for key in state:
        for whole, words in JOINED.items():
            base, separator, kind = key.rpartition(f"{words[0]}.")
            parts = [f"{base}{word}.{kind}" for word in words]
            if separator and len({state[part].shape if part in state else None for part in parts}) == 1:
                out[f"{base}{whole}.{kind}"] = torch.cat([out.pop(part) for part in parts])
                record_origin(origin, parts, f"{base}{whole}.{kind}")
        base, _, last = key.rpartition("attn.")
        if last == "q_bias" and f"{base}attn.v_bias" in state:
            q, v = out.pop(key), out.pop(f"{base}attn.v_bias")
            out[f"{base}attn.qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
            record_origin(origin, [key, f"{base}attn.v_bias"], f"{base}attn.qkv.bias")
    return out


def record_origin(origin: Origin, parts: Iterable[str], whole: str) -> None:
    """Record that `whole` is fused from `parts`."""
    origin[whole] = tuple(raw for part in parts for raw in origin.get(part, (part,)))


def wrong_shapes(wanted: Mapping[str, Tensor], state: State) -> list[str]:
    """Names of the tensors whose shape differs from the expected one, ignoring axes of length one."""
    return [key for key in wanted if key in state and squeezed(state[key]) != squeezed(wanted[key])]


def squeezed(tensor: Tensor) -> list[int]:
    """The shape without axes of length one."""
    return [n for n in tensor.shape if n != 1]
