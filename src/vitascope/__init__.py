"""Vitascope: what does a frozen video encoder see, appearance or motion, and can the number be trusted?"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vitascope.core.version import __version__

_HOME = {
    "Box": "core.types",
    "Card": "core.types",
    "Clip": "core.types",
    "Crop": "core.types",
    "Dataset": "core.types",
    "Example": "core.types",
    "Fold": "core.types",
    "Video": "core.types",
    "UserError": "core.errors",
    "Result": "evaluation.results",
    "read": "evaluation.results",
    "parse": "sampling.names",
    "inspect": "video",
    "decode": "video",
    "Encoder": "encoders.base",
    "Tokens": "encoders.base",
    "load": "encoders.load",
    "framewise": "encoders.base",
    "NetworkEncoder": "encoders.base",
    "fingerprint": "encoders.base",
    "View": "features.view",
    "Probe": "probes.base",
    "embed": "features.extract",
    "evaluate": "evaluation.evaluate",
}
"""Public names by the module that defines them."""
_MODULES = {"report": "report", "stats": "metrics.stats"}
__all__ = ["__version__", *_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package costs nothing."""
    if name in _MODULES:
        return import_module(f"vitascope.{_MODULES[name]}")
    if name not in _HOME:
        raise AttributeError(f"module 'vitascope' has no attribute {name!r}")
    return getattr(import_module(f"vitascope.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
