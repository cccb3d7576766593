"""Report: from a run folder to one self-contained page, tables for papers, and paired comparisons; imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitascope.report.analysis.comparison import Comparison, compare, compare_text
    from vitascope.report.analysis.data_warnings import warning_lines
    from vitascope.report.analysis.published import find_paper
    from vitascope.report.analysis.published_comparison import PublishedComparison, compare_published
    from vitascope.report.analysis.published_comparison import text as published_text
    from vitascope.report.board_page import write_board
    from vitascope.report.charts.text_plot import sketch
    from vitascope.report.export_tables import terminal
    from vitascope.report.page import data_warnings, json_lines, overview, write
    from vitascope.report.published_page import write as write_published

_HOME = {
    "Comparison": ("analysis.comparison", "Comparison"),
    "PublishedComparison": ("analysis.published_comparison", "PublishedComparison"),
    "compare": ("analysis.comparison", "compare"),
    "compare_published": ("analysis.published_comparison", "compare_published"),
    "compare_text": ("analysis.comparison", "compare_text"),
    "data_warnings": ("page", "data_warnings"),
    "find_paper": ("analysis.published", "find_paper"),
    "json_lines": ("page", "json_lines"),
    "overview": ("page", "overview"),
    "published_text": ("analysis.published_comparison", "text"),
    "sketch": ("charts.text_plot", "sketch"),
    "terminal": ("export_tables", "terminal"),
    "warning_lines": ("analysis.data_warnings", "warning_lines"),
    "write": ("page", "write"),
    "write_board": ("board_page", "write_board"),
    "write_published": ("published_page", "write"),
}
"""Public names by the module that defines them and their name there."""
__all__ = [
    "Comparison",
    "PublishedComparison",
    "compare",
    "compare_published",
    "compare_text",
    "data_warnings",
    "find_paper",
    "json_lines",
    "overview",
    "published_text",
    "sketch",
    "terminal",
    "warning_lines",
    "write",
    "write_board",
    "write_published",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: a table in the terminal needs nothing of the page."""
    if name not in _HOME:
        raise AttributeError(f"module 'vitascope.report' has no attribute {name!r}")
    module, of_module = _HOME[name]
    return getattr(import_module(f"vitascope.report.{module}"), of_module)
