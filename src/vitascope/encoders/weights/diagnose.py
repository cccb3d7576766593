"""Diagnose why a weight file does not fit a model, from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from torch import Tensor

from vitascope.encoders.catalog import ENCODERS, models
from vitascope.encoders.networks import empty
from vitascope.encoders.spec import CheckpointLayout, Model, State
from vitascope.encoders.weights.layouts import (
    MAX_DEPTH,
    OPTIMIZER,
    containers,
    find_layout,
    rename_tensors,
    split_surplus,
    wrong_shapes,
)
from vitascope.nn.configs.base import NetworkConfig

PREFIXES = {
    "module.": "the model was saved in its DataParallel wrapper; save model.module.state_dict()",
    "_orig_mod.": "the model was saved compiled; save model._orig_mod.state_dict()",
    "model.": "remove it",
    "encoder.": "remove it",
    "backbone.": "remove it",
    "trunk.": "remove it",
    "visual.": "remove it",
}
"""Prefixes that wrappers add to every tensor name, with the remedy."""
ALONE = {
    r"(fc_norm|norm|head|heads|fc|classifier|linear|projection)\.": "a fine-tuned head",
    r"(\w*decoder\w*|encoder_to_decoder|mask_token|predictor|norm)(\.|$)": "a decoder",
    r"(text\w*|transformer|token_embedding|positional_embedding|ln_final|logit_\w+|temp)(\.|$)": "a text tower",
}
"""Components that are sometimes released by themselves, by the start of all tensor names."""
WRAPPERS = re.compile(r"((module|model|backbone|encoder|_orig_mod)\.)+")
MAX_LISTED = 4
"""Maximum number of names in one message."""


def why_no_layout(content: Mapping[str, Any], layouts: Iterable[CheckpointLayout], name: str) -> str:
    """Why the file matches none of `layouts`, those of the model `name`."""
    layouts = [layout for layout in layouts if not layout.refused]
    states = dict(containers(content))
    reason = lone_component(states) or matching_models(content, name) or wrapped(states, layouts)
    if reason:
        return reason
    expected = [f"{layout.mark!r} in {', '.join(filter(None, layout.containers)) or 'it'}" for layout in layouts]
    return f"it contains {', '.join(list(content)[: 2 * MAX_LISTED])}; expected {' or '.join(expected)}"


def why_no_fit(content: Mapping[str, Any], name: str, state: State, wanted: Mapping[str, Tensor]) -> str:
    """Why the renamed tensors `state` are not those `wanted` by the model `name`; empty if the cause is unclear."""
    for prefix, remedy in PREFIXES.items():
        if any(key.startswith(prefix) for key in state) and not any(key.startswith(prefix) for key in wanted):
            return f"the tensor names have a prefix {prefix!r}: {remedy}"
    reason = lone_component(dict(containers(content)))
    if reason:
        return reason
    file, model = width_and_depth(state), width_and_depth(wanted)
    size = f"it seems to have dim {file[0]}, depth {file[1]}, but {name} has {model[0]}, {model[1]}" * (file != model)
    return "; ".join(filter(None, (size, matching_models(content, name))))


def lone_component(held: Mapping[str, State]) -> str:
    """Description of a file that contains only one component of a model, or only training state; empty otherwise."""
    names = [WRAPPERS.sub("", key, count=1) for state in held.values() for key in state]
    if not names:
        return "it contains no tensors"
    if any(
        re.search(r"(^|\.)pooler\.(query_tokens|cross_attention)", key) for key in names
    ) and not has_patch_embedding(names):
        return "it is an attentive probe, trained on a frozen encoder; the encoder is in another file"
    if all(OPTIMIZER.match(path) for path in held):
        return "it contains only optimizer states; the weights are in another file"
    for pattern, what in ALONE.items():
        if all(re.match(pattern, key) for key in names):
            return f"it is only {what}; the encoder is in another file"
    return ""


def has_patch_embedding(names: Iterable[str]) -> bool:
    """True if some tensor is a patch embedding, which every encoder has."""
    return any(re.search(r"patch_?embed|embeddings\.|conv1\.weight|patch_projection", name) for name in names)


def wrapped(held: Mapping[str, State], layouts: Iterable[CheckpointLayout]) -> str:
    """The prefix or the container under which the names expected by `layouts` are hidden; empty if there is none."""
    for layout in layouts:
        for path, state in held.items():
            if any(re.match(layout.mark, key) for key in state):
                usual = " or ".join(container or "the file itself" for container in layout.containers)
                return f"its tensors are under {path or 'no key'!r}, but in {layout.name} files under {usual}"
            for prefix, remedy in PREFIXES.items():
                if any(key.startswith(prefix) and re.match(layout.mark, key.removeprefix(prefix)) for key in state):
                    return f"the tensor names have a prefix {prefix!r}: {remedy}"
    return ""


def matching_models(content: Mapping[str, Any], name: str) -> str:
    """The published models that a file fits, else the families with its tensor names; empty if `name` is among them."""
    light, name = on_meta(content), name.partition("+")[0]
    fits: list[str] = []
    same_names: list[str] = []
    for family in ENCODERS.families():
        for model in models(family).values():
            names, shapes = compare_names(model, light)
            fits += [model.card.name] * shapes
            same_names += [model.card.name] * names
    if fits := [fit for fit in fits if fit != name]:
        return f"it fits {' and '.join(fits[:MAX_LISTED])}; use {fits[0]}=PATH"
    if name in same_names:
        return ""
    families = list(dict.fromkeys(other.partition("/")[0] for other in same_names))
    return f"its tensor names are those of {' and '.join(families[:MAX_LISTED])} in another size" if families else ""


def on_meta(content: Mapping[str, Any], deep: int = MAX_DEPTH) -> dict[str, Any]:
    """`content` with its tensors on the meta device, so that renaming and fusing cost nothing."""
    return {
        key: value.to("meta") if isinstance(value, Tensor) else on_meta(value, deep - 1)
        for key, value in content.items()
        if isinstance(value, Tensor) or (deep and isinstance(value, Mapping))
    }


def compare_names(model: Model, light: Mapping[str, Any]) -> tuple[bool, bool]:
    """True if a file has the tensor names of `model` at any depth, and true if the shapes match as well."""
    hit = find_layout(model.layouts, light)
    if hit is None or hit[0].refused:
        return False, False
    layout, state = hit
    try:
        state, _ = rename_tensors(layout, split_surplus(layout, state)[0])
    except Exception:  # a conversion may fail on other kinds of files
        return False, False
    wanted, tables = _tensors_of(model.shape)
    if wanted.keys() - state.keys():
        state = {**tables, **state}
    same = state.keys() == wanted.keys()
    return name_patterns(state) == name_patterns(wanted), same and not wrong_shapes(wanted, state)


@cache  # a file that fits nothing is compared with every model
def _tensors_of(shape: NetworkConfig) -> tuple[State, State]:
    """The tensors of a network on the meta device by name, and those that it computes itself."""
    network = empty(shape)
    return network.state_dict(), network.tables()


def name_patterns(state: Iterable[str]) -> set[str]:
    """Tensor names with block numbers replaced by `#`."""
    return {re.sub(r"\d+", "#", key) for key in state}


def width_and_depth(state: Mapping[str, Tensor]) -> tuple[int, int]:
    """Width (the most common length of a vector) and number of blocks; 0 if unknown."""
    lengths = Counter(len(tensor) for tensor in state.values() if tensor.ndim == 1)
    blocks = [int(number[1]) for key in state if (number := re.search(r"\.(\d{1,9})\.", key))]
    return lengths.most_common(1)[0][0] if lengths else 0, max(blocks, default=-1) + 1
