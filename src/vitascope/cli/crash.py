"""Reports of bugs: what is no mistake of the user gets a file with the traceback and all that a maintainer asks for."""

from __future__ import annotations

import os
import platform
import shlex
import sys
import time
import traceback
from pathlib import Path

from vitascope.core.errors import one_line
from vitascope.core.files import cache
from vitascope.core.version import __version__

BUG = 70
"""The exit code where the fault is ours (EX_SOFTWARE of sysexits.h)."""
VARIABLE = "VITASCOPE_TRACEBACK"
"""Environment variable that shows tracebacks, as `--traceback` does."""
PACKAGES = ("torch", "numpy")
"""Whose versions are reported, beside ours and Python's."""


def report(error: BaseException, run: Path | None, *, show: bool) -> int:
    """Say on stderr that `error` is a bug and where its traceback is; the exit code.

    The traceback goes to a file in the folder `run`, else in the cache, else to stderr; with `show` there as well.
    """
    text = described(error)
    path = written(text, [folder for folder in (run, cache()) if folder])
    where = f"the traceback is in {path}" if path else "no file could be written, the traceback follows"
    print(f"error: this is a bug in vitascope: {one_line(error)}; {where}; please report it", file=sys.stderr)
    if show or path is None or os.environ.get(VARIABLE, "0") not in ("", "0"):
        print(text, file=sys.stderr, end="")
    return BUG


def described(error: BaseException) -> str:
    """The traceback under the command line, the versions and the platform."""
    installed = [f"{name} {version(name)}" for name in PACKAGES]
    return "\n".join(
        [
            f"command: {shlex.join(['vitascope', *sys.argv[1:]])}",
            f"versions: vitascope {__version__}, Python {platform.python_version()}, {', '.join(installed)}",
            f"platform: {platform.platform()}",
            "",
            "".join(traceback.format_exception(error)),
        ]
    )


def version(package: str) -> str:
    """The version of an installed package, without importing it."""
    from importlib import metadata  # takes longer than the rest of a start, and is needed after a crash alone

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def written(text: str, folders: list[Path]) -> Path | None:
    """The file with `text` in the first of `folders` that takes one; None where none does."""
    for folder in folders:
        path = folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return path.resolve()
    return None
