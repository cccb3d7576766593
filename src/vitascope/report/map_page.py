"""Stub."""

from pathlib import Path

from vitascope.evaluation.maps.files import MapRecord


def write(folder: Path) -> Path:
    """x."""
    return folder


def terminal(record: MapRecord) -> str:
    """x."""
    return str(record)
