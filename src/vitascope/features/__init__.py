"""Embeddings of a dataset by an encoder through a view: extracted, stored, read live, imported and exported."""
