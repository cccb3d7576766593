"""Data sets, one file each: a function from a root folder to a `Dataset`."""
