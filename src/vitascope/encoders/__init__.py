"""Encoders, one file a family: `family/variant` names a module here and the argument of its `build`."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def variants() -> dict[str, dict[str, str]]:
    """{family: {variant: what it is}} of every file here, read from its `VARIANTS` without running it: no torch."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return {file.stem: _declared(file) for file in files}


def _declared(file: Path) -> dict[str, str]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "VARIANTS" and node.value:
            return dict(ast.literal_eval(node.value))
    return {}
