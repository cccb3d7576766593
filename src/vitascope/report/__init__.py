"""Report: from a run folder to one self-contained page, tables for papers, and paired comparisons; imports no torch."""

from __future__ import annotations

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
