"""Report: from a run folder to one self-contained page, tables for papers, and paired comparisons; imports no torch."""

from __future__ import annotations

from vitascope.report.analysis.comparison import Comparison, compare, compare_text
from vitascope.report.analysis.data_warnings import warning_lines
from vitascope.report.board_page import write_board
from vitascope.report.charts.text_plot import sketch
from vitascope.report.export_tables import terminal
from vitascope.report.page import data_warnings, json_lines, overview, write

__all__ = [
    "Comparison",
    "compare",
    "compare_text",
    "data_warnings",
    "json_lines",
    "overview",
    "sketch",
    "terminal",
    "warning_lines",
    "write",
    "write_board",
]
