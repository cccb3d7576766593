"""Data of pretraining: sources of clips, their mixture, decoding and prefetching."""
