"""Samplers: choose the time stamps and crops of clips from a `Video`, without torch or decoding."""
