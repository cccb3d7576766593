"""Rendering of pages: templates with what every page needs, filters included."""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vitascope.core.text import escaped, number, tick
from vitascope.core.types import plain
from vitascope.report.charts import svg_png
from vitascope.report.charts.timelines import BACKGROUND

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("page.js", "view.js", "figures.js")


def render(template: str, name: str, values: Mapping[str, Any], scripts: Sequence[str] = ()) -> str:
    """Render a template with `values`, what every page needs, and more `scripts`; `name` is that of the page."""
    script = "".join((TEMPLATES / each).read_text(encoding="utf-8") for each in (*SCRIPTS, *scripts))
    return (
        _environment()
        .get_template(template)
        .render(
            run=escaped(name),
            css=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
            js=Markup(script),
            script_hash=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            **values,
        )
    )


@cache
def _environment() -> Environment:
    """The one environment: it keeps each compiled template."""
    loader = FileSystemLoader(TEMPLATES)
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # folding constants takes longer than it saves in a page rendered once
    )
    environment.filters.update(escaped=escaped, number=number, pretty=_pretty, breakable=_breakable, tick=tick)
    environment.filters.update(paint=_paint, pattern=lambda fill: Markup(svg_png.pattern(fill)))
    return environment


def _paint(fill: int) -> str:
    """CSS value of a fill; that of background classes follows the theme of the page."""
    return "var(--background)" if fill == BACKGROUND else svg_png.paint(fill)


def _pretty(value: Any) -> str:
    return json.dumps(plain(value), indent=2, ensure_ascii=False)


def _breakable(name: str) -> Markup:
    """Allow a line break after each slash; browsers do so after hyphens by themselves."""
    return Markup("/<wbr>").join(escaped(name).split("/"))
