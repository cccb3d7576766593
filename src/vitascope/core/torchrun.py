"""Whether `torchrun` started this process, known without importing torch."""

from __future__ import annotations

import os


def launched() -> bool:
    """Whether this process is one of those that a `torchrun` started."""
    return "TORCHELASTIC_RUN_ID" in os.environ
