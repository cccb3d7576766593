"""Vitascope: what does a frozen video encoder see, appearance or motion, and can the number be trusted?"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Box": "types",
    "Card": "types",
    "Clip": "types",
    "Crop": "types",
    "Dataset": "types",
    "Example": "types",
    "Fold": "types",
    "Video": "types",
    "Result": "results",
    "read": "results",
    "parse": "sampling",
    "inspect": "video",
    "decode": "video",
    "Encoder": "encoder",
    "Tokens": "encoder",
    "load": "encoder",
    "framewise": "encoder",
    "NetworkEncoder": "encoder",
    "fingerprint": "encoder",
    "View": "probe",
    "Probe": "probe",
    "embed": "encode",
    "evaluate": "evaluation",
}
_NAMED = {"embed": "fill"}
_MODULES = ("report", "stats")
__all__ = ["__version__", *_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    """Public names come from their modules when first asked for, so that importing the package costs nothing."""
    if name in _MODULES:
        return import_module(f"vitascope.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'vitascope' has no attribute {name!r}")
    return getattr(import_module(f"vitascope.{_HOME[name]}"), _NAMED.get(name, name))


def __dir__() -> list[str]:
    return sorted(__all__)
