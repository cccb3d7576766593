"""Readers, one file per annotation format, each shared by the datasets that use the format."""
