"""Start of pyarrow in a command's process, without pandas."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec


class _Refuse:
    """Finder for which there is no pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError("not needed", name=name)
        return None


def skip_pandas() -> None:
    """Have pyarrow start as where pandas is not installed; for processes of ours, which make no data frames.

    The first array that pyarrow makes imports pandas, only to see whether a value is one of its own: 0.3 s and 40 MB.
    Conversions to data frames still work. No effect where pandas is imported already.
    """
    import pyarrow

    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _Refuse)
    try:
        pyarrow.array([0])
    finally:
        sys.meta_path.remove(_Refuse)
