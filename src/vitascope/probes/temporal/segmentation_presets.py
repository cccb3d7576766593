"""Presets of temporal segmentation: the TWLV-I report, its repository, and the authors of ASFormer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitascope.probes.temporal.twlv1_table7 import windows


def _views(family: str) -> dict[str, Any]:
    view = windows(family).view
    return {"train": view, "test": view}


DATASET_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "50salads": {**_views("50salads"), "frame_stride": 2},
    "gtea": {**_views("gtea"), "background": (10,)},
    "breakfast": {**_views("breakfast"), "attention_span": "full", "lr": 1e-4},
}
"""Settings by dataset. 50Salads is sampled to every second frame, i.e. 15 fps; class 10 of GTEA is background."""
PUBLIC_CODE = {"align": "stretch", "style": "published", "attention_span": "block"}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "": {},
    "paper": {**PUBLIC_CODE, "weight_decay": 1e-4},
    "published": {**PUBLIC_CODE, "order": "once"},
    "original": {**PUBLIC_CODE, "layers": 10, "width": 64},
}
PRESET_OVERRIDES: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("paper", "breakfast"): {"attention_span": "full"},
    ("published", "breakfast"): {"attention_span": "full"},
    ("original", "gtea"): {"channel_dropout": 0.5},
}


def settings(preset: str, family: str) -> dict[str, Any]:
    """Return the fields that a preset changes from their defaults, on the dataset `family`."""
    return {**DATASET_SETTINGS.get(family, {}), **PRESETS[preset], **PRESET_OVERRIDES.get((preset, family), {})}
