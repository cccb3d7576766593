"""Report: from a run folder to one self-contained page, tables for papers, and paired comparisons; imports no torch."""

from __future__ import annotations

from vitascope.report.comparison import Comparison, compare, compare_text
from vitascope.report.page import lines, overview, write
from vitascope.report.sketch import sketch
from vitascope.report.tables import terminal

__all__ = ["Comparison", "compare", "compare_text", "lines", "overview", "sketch", "terminal", "write"]
