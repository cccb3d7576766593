"""Pretraining: what is hidden, what is predicted, what is looked at, and the loop that learns from it."""
