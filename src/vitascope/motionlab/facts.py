"""What is known of a suite before any video is rendered: classes, how they are related, and what no skill gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from vitascope.core.class_structure import ClassStructure
from vitascope.metrics.class_parts import ORDER_FREE, order_free


def facts(classes: Sequence[str], structure: ClassStructure, truth: Sequence[int] = ()) -> dict[str, Any]:
    """The facts for a reader, as plain data; with the `truth` of its test clips chance and order-free, percent."""
    related = {
        "classes": list(classes),
        "pairs": [f"{classes[first]} / {classes[second]}" for first, second in structure.pairs],
        "families": [f"{name} ({len(members)})" for name, members in structure.families.items()],
    }
    bound = order_free(truth, structure, len(classes))
    if bound is None:
        return related
    chance = 100 * max(Counter(truth).values()) / len(truth)
    levels = {"chance": round(chance, 1), "order_free": round(bound, 1)}
    return {**related, "test": len(truth), **levels, "order_free_means": ORDER_FREE}
