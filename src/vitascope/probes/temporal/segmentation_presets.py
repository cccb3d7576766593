"""How segmenters are trained and tested: by the report's tables, by its repository, by ASFormer's authors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitascope.probes.temporal.twlv1_table7 import windows


def _seen(family: str) -> dict[str, Any]:
    view = windows(family).view
    return {"train": view, "test": view}


SOUND: Mapping[str, Mapping[str, Any]] = {
    "50salads": {**_seen("50salads"), "every": 2},
    "gtea": {**_seen("gtea"), "background": (10,)},
    "breakfast": {**_seen("breakfast"), "reach": "full", "lr": 1e-4},
}
"""What is particular to a data set. Every second frame of 50Salads is 15 a second; class 10 of GTEA is `background`."""
PUBLIC = {"align": "stretch", "style": "published", "reach": "block"}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "paper": {**PUBLIC, "weight_decay": 1e-4},
    "published": {**PUBLIC, "order": "once"},
    "original": {**PUBLIC, "layers": 10, "width": 64},
}
PARTICULAR: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("paper", "breakfast"): {"reach": "full"},
    ("published", "breakfast"): {"reach": "full"},
    ("original", "gtea"): {"mask": 0.5},
}


def settings(preset: str, family: str) -> dict[str, Any]:
    """How a preset differs from the fields' defaults, on that data set."""
    return {**SOUND.get(family, {}), **PRESETS[preset], **PARTICULAR.get((preset, family), {})}
