"""Field names of earlier file formats, so that old files can still be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = {"saw": "pretraining_datasets", "licence": "license"}
DATASET = {"absent": "missing_files", "published": "official_counts"}
RESULT = {"seen": "in_pretraining_data"}
VARIANT = {"few": "train_fraction"}
TASK_TYPE = {"localisation": "localization"}
"""Version 1 values of the field `kind`; the dicts above map version 1 field names to current ones."""


def current(data: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """`data` with current field names."""
    return {names.get(key, key): value for key, value in data.items()}
