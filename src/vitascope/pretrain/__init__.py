"""Pretraining: masked modeling with a mixture of reconstruction targets, on videos and images."""
