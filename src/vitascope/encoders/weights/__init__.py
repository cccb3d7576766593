"""Weight files: download, safe reading, strict loading into a network, and diagnosis of files that do not fit."""
