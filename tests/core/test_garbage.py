"""The collector's threshold, within and after, however calls are nested or overlap."""

from __future__ import annotations

import gc

import pytest

from vitascope.core.garbage import OBJECTS, rarely_collected


def test_the_threshold_comes_back() -> None:
    before = gc.get_threshold()
    first, second = rarely_collected(), rarely_collected()
    first.__enter__()
    second.__enter__()
    assert gc.get_threshold() == (OBJECTS, *before[1:])
    first.__exit__(None, None, None)  # as in another thread
    assert gc.get_threshold()[0] == OBJECTS
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before


def test_after_an_error_too() -> None:
    before = gc.get_threshold()
    with pytest.raises(ValueError, match="within"), rarely_collected():
        raise ValueError("within")
    assert gc.get_threshold() == before
