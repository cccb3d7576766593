"""Pretraining of a video encoder: what it sees, what it predicts, from which data, and the loop that trains it."""
