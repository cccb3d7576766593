"""Errors: what users can fix is a `UserError`; anything else that is raised is a fault of ours."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Something that whoever called can fix: one line that names what, where, and the remedy.

    The command line prints it and exits with code 2; every other exception there is reported as a bug.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())  # what a library or a file says may be of several


class UnknownNameError(UserError):
    """A name (of an encoder, a probe, a dataset, an option ...) that stands for nothing."""


class MissingPackageError(UserError):
    """An optional package that is not installed; the message says how to install it."""


class StorageError(UserError, OSError):
    """A file that could not be written whole, most often for want of space; what was there before is kept."""


class RemoteError(OSError):
    """A server that does not answer, refuses, or breaks off: the next attempt may succeed, whatever the content is."""

    def __str__(self) -> str:
        return str(self.args[1]) if len(self.args) > 1 else super().__str__()


class DamagedFileError(UserError):
    """A file of the user that is not what it should be: cut short, altered, or made by something else."""


@contextmanager
def reading(path: object, remedy: str) -> Iterator[None]:
    """Turn whatever parsing the file `path` raises into a DamagedFileError that names it and ends with `remedy`.

    Keep the block to the parsing alone: a mistake of ours in it would pass for a damaged file.
    """
    try:
        yield
    except Exception as error:  # parsers of JSON, arrays, archives and tables share no base
        if isinstance(error, OSError) and of_system(error):
            raise
        raise _damaged(path, error, remedy) from error


def of_system(error: OSError) -> bool:
    """Whether the system refused (no such file, disk full ...); without number and kind it is code that raised."""
    return error.errno is not None or type(error) is not OSError


def _damaged(path: object, error: Exception, remedy: str) -> UserError:
    message = first_line(error)
    if isinstance(error, UserError) and message.startswith(str(path)):
        return error
    kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
    return DamagedFileError(f"{path}: cannot be read ({kind}{message.removeprefix(f'{path}: ')}); {remedy}")


def first_line(error: BaseException) -> str:
    """The first line of what an error says."""
    return next(iter(str(error).strip().splitlines()), "")


def one_line(error: BaseException) -> str:
    """An error of code from outside in one line, with the place it came from."""
    message = first_line(error)
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {message}{place}"
