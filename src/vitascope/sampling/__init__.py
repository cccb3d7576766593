"""Sampling: from a `Video` to clips of timestamps, with neither torch nor decoding."""
