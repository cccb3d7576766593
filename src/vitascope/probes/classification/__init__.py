"""Shared by classification probes: softmax heads, nearest neighbors, model selection, presets."""
