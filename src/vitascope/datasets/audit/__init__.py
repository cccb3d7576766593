"""What of a dataset is on disk: missing, unreadable, too short and duplicated files, and leaks between splits."""
