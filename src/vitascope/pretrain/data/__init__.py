"""Pretraining data: sources of clips, mixtures of them, decoding and prefetching."""
