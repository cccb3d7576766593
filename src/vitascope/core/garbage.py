"""Python's collector of garbage, where many objects are made that stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

OBJECTS = 50_000
"""New objects after which cycles among them are looked for, instead of Python's 700."""
_lock = Lock()
_before: list[tuple[int, int, int]] = []
"""Thresholds at each entry that has not been left; those of the first one are set again by the last to leave."""


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Look for cycles rarely within: else it takes half of the time that a dataset of 100,000 examples is read in.

    Not where batches are computed: cycles that hold tensors are few objects and much memory.
    """
    with _lock:
        _before.append(gc.get_threshold())
        gc.set_threshold(OBJECTS, *_before[0][1:])
    try:
        yield
    finally:
        with _lock:
            first = _before[0]
            _before.pop()
            if not _before:
                gc.set_threshold(*first)
