"""The registry of datasets."""

from vitascope.core.registry import Registry

DATASETS = Registry("datasets", "vitascope.datasets.builders")
