"""Numbers of the report: rankings, comparisons and selections computed from results."""
