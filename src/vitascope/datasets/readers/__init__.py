"""One file per annotation format, shared by the datasets that are distributed in it."""
