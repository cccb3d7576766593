"""Errors: what users can fix, and how an exception reads in one line."""

from __future__ import annotations

import traceback


def one_line(error: Exception) -> str:
    """An error of code from outside in one line, with the place it came from."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    message = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {message} ({place.filename}:{place.lineno})"
