"""The logger `vitascope`: warnings and progress notes of the library, and how the command line shows them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from vitascope.core.terminal import harmless

log = logging.getLogger("vitascope")
log.addHandler(logging.NullHandler())  # whoever imports the package decides what is shown


class _CurrentStderr(logging.Handler):
    """Prints the bare message to whatever `sys.stderr` is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        print(harmless(self.format(record)), file=sys.stderr, flush=True)  # live displays of rich take streams over


@contextmanager
def on_stderr() -> Iterator[None]:
    """Within it messages from INFO on go to stderr, and to nowhere else; `log.setLevel` shows more or fewer."""
    handler, level, propagate = _CurrentStderr(), log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate
