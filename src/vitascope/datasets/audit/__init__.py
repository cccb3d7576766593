"""Audit of a dataset on disk: missing, unreadable, too short and duplicated files, and leaks between splits."""
