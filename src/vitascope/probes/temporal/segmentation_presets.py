"""How segmenters are trained and tested: by the report's tables, by its repository, by ASFormer's authors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitascope.probes.temporal.twlv1_table7 import windows


def _seen(family: str) -> dict[str, Any]:
    view = windows(family).view
    return {"train": view, "test": view}


SOUND: Mapping[str, Mapping[str, Any]] = {
    "50salads": {**_seen("50salads"), "frame_stride": 2},
    "gtea": {**_seen("gtea"), "background": (10,)},
    "breakfast": {**_seen("breakfast"), "attention_span": "full", "lr": 1e-4},
}
"""What is particular to a data set. Every second frame of 50Salads is 15 a second; class 10 of GTEA is `background`."""
PUBLIC = {"align": "stretch", "style": "published", "attention_span": "block"}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "paper": {**PUBLIC, "weight_decay": 1e-4},
    "published": {**PUBLIC, "order": "once"},
    "original": {**PUBLIC, "layers": 10, "width": 64},
}
PARTICULAR: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("paper", "breakfast"): {"attention_span": "full"},
    ("published", "breakfast"): {"attention_span": "full"},
    ("original", "gtea"): {"channel_dropout": 0.5},
}


def settings(preset: str, family: str) -> dict[str, Any]:
    """How a preset differs from the fields' defaults, on that data set."""
    return {**SOUND.get(family, {}), **PRESETS[preset], **PARTICULAR.get((preset, family), {})}
