"""Why a weight file is not the one that was asked for, as far as the names and shapes of its tensors tell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from vitascope.encoders.catalog import ENCODERS, models
from vitascope.encoders.networks import empty
from vitascope.encoders.spec import CheckpointLayout, Model, State
from vitascope.encoders.weights.layouts import found, misshapen, renamed, without_surplus

PREFIXES = {
    "module.": "the model was saved in its DataParallel wrapper: save model.module.state_dict()",
    "_orig_mod.": "the model was saved compiled: save model._orig_mod.state_dict()",
    "model.": "take it off",
    "encoder.": "take it off",
    "backbone.": "take it off",
    "trunk.": "take it off",
    "visual.": "take it off",
}
"""What wrappers put before every name, and what to do."""
ALONE = {
    r"(fc_norm|norm|head|heads|fc|classifier|linear|projection)\.": "a fine-tuned head",
    r"(\w*decoder\w*|encoder_to_decoder|mask_token|predictor|norm)(\.|$)": "a decoder",
    r"(text\w*|transformer|token_embedding|positional_embedding|ln_final|logit_\w+|temp)(\.|$)": "a text tower",
}
"""Parts that are sometimes published by themselves, by the start of every name."""
WRAPPERS = re.compile(r"((module|model|backbone|encoder|_orig_mod)\.)+")
DEEP = 3
"""How many dictionaries inside each other are looked into."""
LISTED = 4
"""Names in one message."""


def unopened(content: Mapping[str, Any], layouts: Iterable[CheckpointLayout], name: str) -> str:
    """Why nothing in a file bears the mark of one of `layouts`, those of the model called `name`."""
    layouts = [layout for layout in layouts if not layout.refused]
    held = dict(containers(content))
    found = part(held) or other(content, name) or wrapped(held, layouts)
    if found:
        return found
    asked = [f"{layout.mark!r} in {', '.join(filter(None, layout.containers)) or 'it'}" for layout in layouts]
    return f"it holds {', '.join(list(content)[: 2 * LISTED])}; wanted {' or '.join(asked)}"


def misfit(content: Mapping[str, Any], name: str, state: State, wanted: Mapping[str, Tensor]) -> str:
    """Why tensors, renamed as ours, are not those `wanted` by the model called `name`; empty where nothing suggests
    itself."""
    for prefix, remedy in PREFIXES.items():
        if any(key.startswith(prefix) for key in state) and not any(key.startswith(prefix) for key in wanted):
            return f"the names carry a prefix {prefix!r}: {remedy}"
    found = part(dict(containers(content)))
    if found:
        return found
    here, there = size(state), size(wanted)
    looks = f"it looks like dim {here[0]}, depth {here[1]}, where {name} has {there[0]}, {there[1]}" * (here != there)
    return "; ".join(filter(None, (looks, other(content, name))))


def containers(content: Mapping[str, Any], path: str = "", deep: int = DEEP) -> Iterator[tuple[str, State]]:
    """Every dictionary of a file that has tensors, by the dotted path to it."""
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if state:
        yield path, state
    for key, value in content.items():
        if deep and isinstance(value, Mapping):
            yield from containers(value, f"{path}.{key}".lstrip("."), deep - 1)


def part(held: Mapping[str, State]) -> str:
    """The part of a model, or of its training, that is all a file holds; empty where it is none."""
    names = [WRAPPERS.sub("", key, count=1) for state in held.values() for key in state]
    if not names:
        return "it holds no tensors"
    if any(re.search(r"(^|\.)pooler\.(query_tokens|cross_attention)", key) for key in names) and not embeds(names):
        return "it is an attentive probe, trained on a frozen encoder; the encoder is another file"
    if all(re.match(r"opt(im|imizer)?\w*(\.|$)", path) for path in held):
        return "it holds only optimizer states; the weights are another file"
    for pattern, what in ALONE.items():
        if all(re.match(pattern, key) for key in names):
            return f"it is {what} alone; the encoder is another file"
    return ""


def embeds(names: Iterable[str]) -> bool:
    """Whether something cuts the input into patches, as every encoder does."""
    return any(re.search(r"patch_?embed|embeddings\.|conv1\.weight|patch_projection", name) for name in names)


def wrapped(held: Mapping[str, State], layouts: Iterable[CheckpointLayout]) -> str:
    """The prefix or the place that hides the names which `layouts` expect; empty where that is not it."""
    for layout in layouts:
        for path, state in held.items():
            if any(re.match(layout.mark, key) for key in state):
                usual = " or ".join(container or "the file itself" for container in layout.containers)
                return f"its tensors are under {path or 'no key'!r}, where {layout.name} files have them under {usual}"
            for prefix, remedy in PREFIXES.items():
                if any(key.startswith(prefix) and re.match(layout.mark, key.removeprefix(prefix)) for key in state):
                    return f"the names carry a prefix {prefix!r}: {remedy}"
    return ""


def other(content: Mapping[str, Any], name: str) -> str:
    """The published models that a file fits, else the families whose names it has; empty where `name` has them too."""
    light, name = weightless(content), name.partition("+")[0]
    fits: list[str] = []
    alike: list[str] = []
    for family in ENCODERS.families():
        for model in models(family).values():
            names, shapes = compared(model, light)
            fits += [model.card.name] * shapes
            alike += [model.card.name] * names
    if fits := [known for known in fits if known != name]:
        return f"it fits {' and '.join(fits[:LISTED])}: say {fits[0]}=PATH"
    if name in alike:
        return ""
    families = list(dict.fromkeys(known.partition("/")[0] for known in alike))
    return f"its names are those of {' and '.join(families[:LISTED])}, of other sizes" if families else ""


def weightless(content: Mapping[str, Any], deep: int = DEEP) -> dict[str, Any]:
    """The same names and shapes without the numbers, so that renaming and joining cost nothing."""
    return {
        key: value.to("meta") if isinstance(value, Tensor) else weightless(value, deep - 1)
        for key, value in content.items()
        if isinstance(value, Tensor) or (deep and isinstance(value, Mapping))
    }


def compared(model: Model, light: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether a file has the names of `model` (of whatever depth), and whether its shapes too."""
    hit = found(model.layouts, light)
    if hit is None or hit[0].refused:
        return False, False
    layout, state = hit
    try:
        state, _ = renamed(layout, without_surplus(layout, state)[0])
    except Exception:  # a conversion was made for files of its own kind
        return False, False
    network = empty(model.shape)
    wanted: dict[str, Tensor] = network.state_dict()
    if wanted.keys() - state.keys() and hasattr(network, "tables"):
        state = {**network.tables(), **state}
    same = state.keys() == wanted.keys()
    return kinds(state) == kinds(wanted), same and not misshapen(wanted, state)


def kinds(state: Iterable[str]) -> set[str]:
    """Names without the numbers of blocks."""
    return {re.sub(r"\d+", "#", key) for key in state}


def size(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Width, the commonest length of a vector, and the number of blocks; 0 where there are none."""
    lengths = Counter(len(tensor) for tensor in state.values() if tensor.ndim == 1)
    blocks = [int(found[1]) for key in state if (found := re.search(r"\.(\d+)\.", key))]
    return lengths.most_common(1)[0][0] if lengths else 0, max(blocks, default=-1) + 1
