"""Encoders: the protocol, the model families, and the loading of their official weight files."""
