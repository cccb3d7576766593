"""How localizers are trained and tested: by the report's tables, by its repository, by ActionFormer's authors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vitascope.features.view import View
from vitascope.sampling.names import MultiClip

QUARTER = View(MultiClip(0.5, 0.25))
EIGHTH = View(MultiClip(0.5, 0.125))
TENTHS = (0.3, 0.4, 0.5, 0.6, 0.7)
"""Overlaps at which THUMOS14 is scored."""
TWENTIETHS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""Those of ActivityNet."""

SOUND: Mapping[str, Mapping[str, Any]] = {
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
        "tiou_thresholds": TWENTIETHS,
    },
}
REPOSITORY = {"drop_last": True, "ema_warm": False}
COLUMNS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
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
"""How each preset differs from `SOUND`, which differs from the fields' defaults. The paper's table has the learning
rates of the two data sets the other way about than its repository, from which ours are."""
