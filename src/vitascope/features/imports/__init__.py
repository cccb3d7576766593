"""Readers of embeddings and features that were computed elsewhere."""
