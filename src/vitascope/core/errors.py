"""Errors: what users can fix is a `UserError`; anything else that is raised is a fault of ours."""

from __future__ import annotations

import traceback


class UserError(ValueError):
    """Something that whoever called can fix: one line that names what, where, and the remedy.

    The command line prints it and exits with code 2; every other exception there is reported as a bug.
    """


class UnknownNameError(UserError):
    """A name (of an encoder, a probe, a dataset, an option ...) that stands for nothing."""


def one_line(error: Exception) -> str:
    """An error of code from outside in one line, with the place it came from."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    message = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {message} ({place.filename}:{place.lineno})"
