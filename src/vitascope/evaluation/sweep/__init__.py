"""Several recipes and seeds of pretraining, trained and evaluated in parallel processes, and compared in one table."""

from vitascope.evaluation.sweep.records import Sweep, read
from vitascope.evaluation.sweep.run import SweepConfig, sweep
from vitascope.evaluation.sweep.tables import Table, tables

__all__ = ["Sweep", "SweepConfig", "Table", "read", "sweep", "tables"]
