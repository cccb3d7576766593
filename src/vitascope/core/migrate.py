"""Field names that files of earlier versions have, so that what was written then is still read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARD = {"saw": "pretraining_datasets", "licence": "license"}
DATASET = {"absent": "missing_files", "published": "official_counts"}
RESULT = {"seen": "in_pretraining_data"}
VARIANT = {"few": "train_fraction"}
TASK_TYPE = {"localisation": "localization"}
"""{name in version 1: name today}; of `TASK_TYPE` the values of the field `kind`."""


def current(data: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """`data` under today's field names."""
    return {names.get(key, key): value for key, value in data.items()}
