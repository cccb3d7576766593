"""Encoders: the `Encoder` protocol, the model families, and strict loading of their official weight files."""
