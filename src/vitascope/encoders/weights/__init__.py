"""Weight files: download, safe reading, strict loading into a network, diagnosis of what does not fit."""
