"""Shaped neural blocks; no weights, no names of models."""
