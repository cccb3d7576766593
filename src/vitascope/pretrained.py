"""From a published model and its official file to an Encoder: every tensor accounted for, or an error that names it."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor, nn

from vitascope import catalogue, checkpoint, published
from vitascope.architectures import Architecture
from vitascope.blueprint import Layout, Model, State
from vitascope.checkpoint import Checkpoint
from vitascope.encoder import Encoder, FrameWise, NetworkEncoder, fingerprint
from vitascope.types import Card, nearest

SHOWN = 6
"""Tensors named in one message."""
JOINED = {"attn.qkv": ("attn.q", "attn.k", "attn.v"), "mlp.w12": ("mlp.w1", "mlp.w2")}
"""What our networks keep as one matrix (and bias) and files may hold in parts."""


NATIVE = Layout(name=checkpoint.FORMAT, mark="", containers=("",))
"""Of converted files: our names as they are."""
SUMMARIES = {
    "mean": "mean of the tokens (asked for; not the model's own)",
    "cls": "class token (asked for; not the model's own)",
}


class Summary(nn.Module):
    """A network of which another vector is taken than its own."""

    def __init__(self, network: Any, what: str) -> None:
        super().__init__()
        self.network, self.what = network, what

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """The network's grid, and the mean of its tokens or its class token."""
        if self.what == "mean":
            grid, _ = self.network(clips)
            return grid, grid.flatten(1, -2).mean(1)
        parts = self.network.parts(clips)
        h, w = (side // self.network.shape.patch for side in clips.shape[-2:])
        sides = (h, w) if clips.ndim == 4 else (-1, h, w)
        return parts["tokens"].unflatten(1, sides), parts["cls"]

    def parts(self, clips: Tensor) -> dict[str, Tensor]:
        """As the network, with this vector as `pooled`."""
        parts: dict[str, Tensor] = self.network.parts(clips)
        return {**parts, "pooled": parts["tokens"].mean(1) if self.what == "mean" else parts["cls"]}


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

    def told(self) -> str:
        """The coverage in a line."""
        words = [f"{self.layout} file: all of {len(self.state)} tensors"]
        words += ["computed: " + ", ".join(self.computed)] if self.computed else []
        words += ["left out: " + ", ".join(f"{k} ({n})" for k, n in self.left_out.items())] if self.left_out else []
        return "; ".join(words)


def load(name: str, path: str, architecture: Mapping[str, Any]) -> Encoder:
    """The encoder `family/variant[+OPTION..]` with the weights at `path`; without one, with those from its source."""
    model = configured(name)
    if not model.layouts:
        return released(model, path)
    if path:
        return build(model, path, architecture)
    from vitascope import hub

    return build(model, hub.fetch(model.source, name=model.card.name, licence=model.card.licence), architecture)


def released(model: Model, path: str) -> Encoder:
    """The published vectors below `path`, as an encoder without weights."""
    if not Path(path).is_dir() or not path:
        where = f"no folder {path}" if path else "no folder given"
        raise ValueError(
            f"{model.card.name}: {where}; get the embeddings from {model.source.page} and say {model.card.name}=FOLDER"
        )
    return published.release(model.described(), Path(path))


def configured(name: str) -> Model:
    """The model called `family/variant[+OPTION..]`; ValueError naming the nearest where there is none.

    An option is the name of a preset (`native`) or `key:value`: `frames`, `size`, `precision`, or a switch of the
    network such as `pool`. Whatever differs from the model's own setting goes into the name.
    """
    name, *asked = name.split("+")
    family, _, variant = name.partition("/")
    if variant not in (models := catalogue.models(family)):
        raise catalogue.unknown("encoders", name)
    model = models[variant]
    options: dict[str, Any] = {}
    for option in asked:
        key, _, value = option.partition(":")
        options |= {key: value} if value else preset(model, key)
    return with_options(model, options)


def preset(model: Model, word: str) -> Mapping[str, Any]:
    """The options that a word stands for; ValueError for another word."""
    known = {"paper": {}, **model.presets}
    if word not in known:
        raise ValueError(f"{model.card.name}+{word}: no preset {word!r}{nearest(word, known)}; {usage(model)}")
    return known[word]


def with_options(model: Model, options: Mapping[str, Any]) -> Model:
    """`model` as the options say, named after those that change anything."""
    choices = switches(model)
    card: dict[str, Any] = {}
    shape: dict[str, Any] = {}
    for key, value in sorted(options.items()):
        if key in ("frames", "size"):
            card[key] = counted(model, key, str(value))
        elif key == "precision" or key in choices:
            allowed = ("float32", "bfloat16") if key == "precision" else choices[key]
            if value not in allowed:
                raise ValueError(f"{model.card.name}+{key}:{value}: {key} is one of {', '.join(allowed)}")
            (card if key == "precision" else shape)[key] = value
        else:
            raise ValueError(f"{model.card.name}+{key}:{value}: no option {key!r}; {usage(model)}")
    summary = shape.pop("pool", "")
    kept = {k: v for k, v in card.items() if v != getattr(model.card, k)} | ({"pool": summary} if summary else {})
    kept |= {k: v for k, v in shape.items() if v != getattr(model.shape, k)}
    text = "+".join(f"{key}:{kept[key]}" for key in sorted(kept))
    card |= {"name": "+".join(filter(None, (model.card.name, text))), "options": text}
    card |= {"pool": SUMMARIES[summary]} if summary else {}
    new: Any = replace(model.shape, **shape) if shape else model.shape  # type: ignore[type-var]
    return replace(model, shape=new, card=replace(model.card, **card), summary=summary)


def counted(model: Model, key: str, text: str) -> int:
    """A number of frames or pixels that the network's blocks divide; ValueError for others."""
    unit = getattr(model.shape, "tubelet" if key == "frames" else "patch", 1)
    if not text.isdecimal() or not int(text) or int(text) % (unit if unit else 1):
        raise ValueError(f"{model.card.name}+{key}:{text}: {key} is a multiple of {unit}")
    return int(text)


def switches(model: Model) -> dict[str, tuple[str, ...]]:
    """What can be chosen without other weights, between which words."""
    words = get_type_hints(type(model.shape))
    found = {key: get_args(words[key]) for key in ("act", "features") if get_args(words.get(key))}
    return {"pool": ("mean", "cls") if getattr(model.shape, "cls", False) else ("mean",), **found}


def usage(model: Model) -> str:
    """The options there are, in a line."""
    choices = [f"{key}:{'|'.join(values)}" for key, values in switches(model).items()]
    presets = ["paper", *model.presets]
    return f"there are {', '.join([*presets, 'frames:N', 'size:PIXELS', 'precision:bfloat16', *choices])}"


def build(model: Model, path: str | Path, architecture: Mapping[str, Any] | None = None) -> Encoder:
    """The encoder of `model` with the weights of the official file, or folder, at `path`.

    `architecture` replaces numbers of the published shape. ValueError names each tensor that is missing, surplus or
    misshapen.
    """
    file = checkpoint.read(path)
    card, network, fit = loaded(model, file, {**stated(model, file), **(architecture or {})}, str(path))
    network.load_state_dict(fit.state, strict=True, assign=True)
    summarised = Summary(network, model.summary) if model.summary else network
    return NetworkEncoder(card, FrameWise(summarised) if model.framewise else summarised, loaded=fit.told())


def stated(model: Model, file: Checkpoint) -> Mapping[str, Any]:
    """The numbers of the shape that a file brings along: a converted one its own, a folder those of its config."""
    if file.native or not file.config:
        return file.config
    return model.from_config(file.config) if model.from_config else {}


def loaded(model: Model, file: Checkpoint, architecture: Mapping[str, Any], where: str) -> tuple[Card, Any, Fit]:
    """The card with the digest of the weights, the network still without them, and the weights under its names."""
    card, shape = reshaped(model, architecture)
    name = model.card.name.partition("+")[0]
    if file.native and file.native != name:
        raise ValueError(f"{where}: converted as {file.native}, not {name}; say {file.native}={where}")
    if file.native:
        model = replace(model, layouts=(NATIVE,))
    network = empty(shape)
    fit = fitted(model, network, file.content, card.name, where)
    return replace(card, digest=fingerprint(fit.state)), network, fit


def reshaped(model: Model, architecture: Mapping[str, Any]) -> tuple[Card, Architecture]:
    """Card and shape with the numbers of `architecture` in place of the published ones."""
    if not architecture:
        return model.described(), model.shape
    shape = model.shape.told(architecture)
    if shape == model.shape and "frames" not in architecture:  # a config.json that says what is known
        return model.described(), shape
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
    if wrong := problems(wanted, state):
        from vitascope import diagnosis

        why = diagnosis.misfit(content, name, state, wanted)
        raise ValueError(f"{where}: not {name} ({layout.name} file): {wrong}{why and f'; {why}'}")
    state = {key: tensor.reshape(wanted[key].shape).float().contiguous() for key, tensor in state.items()}
    return Fit(state, layout.name, layout.containers[0], left_out, computed)


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
            kept[key.removeprefix(layout.prefix) if inside else f"{key} (outside {layout.prefix})"] = tensor
    return kept, dict(left)


def part(key: str) -> str:
    """The part of a model that a tensor belongs to, for a summary: `decoder` of `decoder.blocks.0.norm1.weight`."""
    words = re.sub(r"\.(weight|bias)$", "", key).split(".")
    return ".".join(words[: 2 if words[0] in ("module", "trunk", "vision_encoder", "visual", "encoder") else 1])


def renamed(layout: Layout, state: State) -> State:
    """The tensors under our names: separate queries, keys and values in one, transposed where the file says so."""
    named: State = {}
    for key, tensor in state.items():
        for pattern, replacement in layout.renames:
            key = re.sub(pattern, replacement, key)
        named[f"{key} (twice)" if key in named else key] = tensor
    if layout.convert:
        named = layout.convert(named)
    named = fused(named)
    return {key: tensor.T if key in layout.transposed else tensor for key, tensor in named.items()}


def fused(state: State) -> State:
    """`JOINED` parts, and `attn.q_bias` with `attn.v_bias`, as one tensor; parts that do not fit stay as they are."""
    out = dict(state)
    for key in state:
        for whole, words in JOINED.items():
            base, found, kind = key.rpartition(f"{words[0]}.")
            parts = [f"{base}{word}.{kind}" for word in words]
            if found and len({state[part].shape if part in state else None for part in parts}) == 1:
                out[f"{base}{whole}.{kind}"] = torch.cat([out.pop(part) for part in parts])
        base, _, last = key.rpartition("attn.")
        if last == "q_bias" and f"{base}attn.v_bias" in state:
            q, v = out.pop(key), out.pop(f"{base}attn.v_bias")
            out[f"{base}attn.qkv.bias"] = torch.cat([q, torch.zeros_like(q), v])
    return out


def problems(wanted: Mapping[str, Tensor], state: State) -> str:
    """The coverage, and what is missing, surplus or misshapen in `state`; empty where it fits."""
    bad = misshapen(wanted, state)
    wrong = [f"missing {key}" for key in wanted if key not in state]
    wrong += [f"surplus {key}" for key in state if key not in wanted]
    wrong += [f"{key} is {list(state[key].shape)}, not {list(wanted[key].shape)}" for key in bad]
    listed = "; ".join(wrong[:SHOWN]) + (f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")
    fit = len(wanted.keys() & state.keys()) - len(bad)
    return f"{fit} of {len(wanted)} tensors fit: {listed}" if wrong else ""


def misshapen(wanted: Mapping[str, Tensor], state: State) -> list[str]:
    """Names of tensors of another shape than wanted, axes of length one apart."""
    return [key for key in wanted if key in state and squeezed(state[key]) != squeezed(wanted[key])]


def squeezed(tensor: Tensor) -> list[int]:
    """The shape without axes of length one."""
    return [n for n in tensor.shape if n != 1]
