"""Probes of frozen features: their interface, their options, and the methods."""
