"""From a published model and its official file to an Encoder: every tensor accounted for, or an error that names it."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitascope import checkpoint
from vitascope.architectures import Architecture
from vitascope.blueprint import Layout, Model, State
from vitascope.encoder import Encoder, FrameWise, NetworkEncoder, fingerprint
from vitascope.types import Card

SHOWN = 6
"""Tensors named in one message."""
FUSED = re.compile(r"(.*\.)(?:q|k|v|q_bias|v_bias)(?:\.(?:weight|bias))?")


@dataclass(frozen=True)
class Fit:
    """What became of a file's tensors."""

    state: State
    layout: str
    left_out: Mapping[str, int]
    """Known surplus: how many tensors by the first words of their names."""
    computed: tuple[str, ...]
    """Fixed tables that the file does not hold."""

    def told(self) -> str:
        """The coverage in a line."""
        words = [f"{self.layout} file: all of {len(self.state)} tensors"]
        words += ["computed: " + ", ".join(self.computed)] if self.computed else []
        words += ["left out: " + ", ".join(f"{k} ({n})" for k, n in self.left_out.items())] if self.left_out else []
        return "; ".join(words)


def build(model: Model, path: str | Path, architecture: Mapping[str, Any] | None = None) -> Encoder:
    """The encoder of `model` with the weights of the official file, or folder, at `path`.

    `architecture` replaces numbers of the published shape. ValueError names each tensor that is missing, surplus or
    misshapen.
    """
    file = checkpoint.read(path)
    config = model.from_config(file.config) if model.from_config and file.config else {}
    card, shape = reshaped(model, {**config, **(architecture or {})})
    network = empty(shape)
    fit = fitted(model, network, file.content, card.name, str(path))
    network.load_state_dict(fit.state, strict=True, assign=True)
    card = replace(card, digest=fingerprint(fit.state))
    return NetworkEncoder(card, FrameWise(network) if model.framewise else network, loaded=fit.told())


def reshaped(model: Model, architecture: Mapping[str, Any]) -> tuple[Card, Architecture]:
    """Card and shape with the numbers of `architecture` in place of the published ones."""
    if not architecture:
        return model.described(), model.shape
    shape = model.shape.told(architecture)
    frames, size = shape.input
    card = replace(model.card, frames=architecture.get("frames", model.card.frames if model.framewise else frames))
    changed = replace(model, shape=shape, card=replace(card, size=size))
    return changed.described(), shape


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
    state = renamed(layout, state)
    wanted: dict[str, Tensor] = network.state_dict()
    tables: dict[str, Tensor] = network.tables() if hasattr(network, "tables") else {}
    computed = tuple(sorted(tables.keys() - state.keys()))
    state = {**{key: tables[key] for key in computed}, **state}
    reject(wanted, state, f"{where}: not {name} ({layout.name} file)", cause(state, wanted))
    state = {key: tensor.reshape(wanted[key].shape).float().contiguous() for key, tensor in state.items()}
    return Fit(state, layout.name, left_out, computed)


def opened(layouts: Iterable[Layout], content: Any, name: str, where: str) -> tuple[Layout, State]:
    """The first layout whose mark some tensor of its container bears, and the tensors there."""
    for layout in layouts:
        for container in layout.containers:
            inner = content.get(container) if container else content
            state = {k: v for k, v in inner.items() if isinstance(v, Tensor)} if isinstance(inner, Mapping) else {}
            if any(re.match(layout.mark, key) for key in state):
                return layout, state
    raise ValueError(f"{where}: not a file of {name}: {unopened(layouts, content)}")


def unopened(layouts: Iterable[Layout], content: Any) -> str:
    """Why no layout fits, as far as the names tell."""
    inner = {k: v for k, v in content.items() if isinstance(v, Mapping)}
    asked = " or ".join(f"{layout.mark!r} in {', '.join(filter(None, layout.containers)) or 'it'}" for layout in layouts)
    return f"it holds {', '.join(list(inner or content)[:8])}; wanted {asked}"


def without_surplus(layout: Layout, state: State) -> tuple[State, dict[str, int]]:
    """The tensors with the prefix cut, and the known surplus counted by the start of its names."""
    known = re.compile("|".join(f"(?:{word})" for word in layout.surplus) or r"(?!)")
    kept: State = {}
    left: Counter[str] = Counter()
    for key, tensor in state.items():
        if known.match(key):
            left[re.sub(r"\.\d+(\..*)?$", "", ".".join(key.split(".")[:3]))] += 1
        else:
            kept[key.removeprefix(layout.prefix) if key.startswith(layout.prefix) else key] = tensor
    return kept, dict(left)


def renamed(layout: Layout, state: State) -> State:
    """The tensors under our names: separate queries, keys and values in one, transposed where the file says so."""
    named: State = {}
    for key, tensor in state.items():
        for pattern, replacement in layout.renames:
            key = re.sub(pattern, replacement, key)
        named[key] = tensor
    if layout.convert:
        named = layout.convert(named)
    named = fused(named)
    return {key: tensor.T if key in layout.transposed else tensor for key, tensor in named.items()}


def fused(state: State) -> State:
    """`attn.q`, `attn.k`, `attn.v` (weight and bias), and `attn.q_bias` with `attn.v_bias`, as one `attn.qkv`."""
    out = dict(state)
    for key in state:
        base, _, last = key.rpartition("attn.")
        if last in ("q.weight", "q.bias"):
            parts = [f"{base}attn.{part}.{last[2:]}" for part in "qkv"]
            if all(part in state for part in parts):
                out[f"{base}attn.qkv.{last[2:]}"] = torch.cat([out.pop(part) for part in parts])
        elif last == "q_bias" and f"{base}attn.v_bias" in state:
            q, v = out.pop(key), out.pop(f"{base}attn.v_bias")
            out[f"{base}attn.qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
    return out


def reject(wanted: Mapping[str, Tensor], state: State, what: str, why: str) -> None:
    """ValueError naming what is missing, surplus or misshapen in `state`; nothing where it fits."""
    wrong = [f"missing {key}" for key in wanted if key not in state]
    wrong += [f"surplus {key}" for key in state if key not in wanted]
    same = [key for key in wanted if key in state]
    bad = [key for key in same if squeezed(state[key]) != squeezed(wanted[key])]
    wrong += [f"{key} is {list(state[key].shape)}, not {list(wanted[key].shape)}" for key in bad]
    if wrong:
        listed = "; ".join(wrong[:SHOWN]) + (f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")
        coverage = f"{len(same) - len(bad)} of {len(wanted)} tensors fit"
        raise ValueError(f"{what}: {coverage}: {listed}{why and f'; {why}'}")


def squeezed(tensor: Tensor) -> list[int]:
    """The shape without axes of length one."""
    return [n for n in tensor.shape if n != 1]


def cause(state: State, wanted: Mapping[str, Tensor]) -> str:
    """What most likely went wrong where names do not fit; empty where nothing suggests itself."""
    for prefix in ("module.", "model.", "encoder.", "backbone."):
        if any(key.startswith(prefix) for key in state) and not any(key.startswith(prefix) for key in wanted):
            return f"the names carry a prefix {prefix!r}"
    return ""
