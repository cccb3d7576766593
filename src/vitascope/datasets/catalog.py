"""What datasets there are, by name."""

from vitascope.core.registry import Registry

DATASETS = Registry("datasets", "vitascope.datasets.builders")
