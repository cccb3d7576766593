"""Network configurations as plain numbers: no torch, so that a table of every encoder costs no start-up time."""
