"""Datasets by name or from a folder: builders, readers of annotation formats, and the audit of what is on disk."""
