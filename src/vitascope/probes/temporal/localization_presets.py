"""Presets of temporal localization: the TWLV-I report, its repository, and the authors of ActionFormer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitascope.features.view import View
from vitascope.sampling.names import MultiClip

QUARTER = View(MultiClip(0.5, 0.25))
EIGHTH = View(MultiClip(0.5, 0.125))
THUMOS14_TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""tIoU thresholds of THUMOS14."""
ACTIVITYNET_TIOUS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""tIoU thresholds of ActivityNet."""

DATASET_SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "thumos14": {"train": EIGHTH, "test": EIGHTH, "min_steps": 0},
    "activitynet": {
        "fit": "resize",
        "length": 192,
        "windows": (7, 7, 7, 7, 7, -1),
        "epochs": 10,
        "min_steps": 0,
        "batch": 16,
        "lr": 1e-3,
        "normalizer": 200.0,
        "min_length": 0.001,
        "nms_sigma": 0.75,
        "max_segments": 100,
        "voting_iou_threshold": 0.9,
        "tiou_thresholds": ACTIVITYNET_TIOUS,
    },
}
REPOSITORY = {"drop_last": True, "ema_warm": False}
PRESETS_BY_DATASET: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "thumos14": {
        "": {},
        "paper": {**REPOSITORY, "lr": 1e-3, "warmup": 2},
        "published": {**REPOSITORY, "select": "best-on-test", "softmax": True},
        "original": {
            **REPOSITORY,
            "width": 512,
            "epochs": 30,
            "label_smoothing": 0.0,
            "regression_weight": 1.0,
            "margin": True,
            "voting": "score*iou",
        },
    },
    "activitynet": {
        "": {},
        "paper": {**REPOSITORY, "lr": 1e-4, "warmup": 2},
        "published": {**REPOSITORY, "select": "best-on-test", "softmax": True},
        "original": {**REPOSITORY, "positions": True, "voting": "score*iou"},
    },
}
"""Changes of each preset to `DATASET_SETTINGS`, which change the defaults. The learning rates of the two datasets are
swapped between the table of the report (preset `paper`) and its repository, which the other presets follow."""
