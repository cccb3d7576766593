"""Pretraining: masked modelling with a mixture of reconstruction targets, on videos and images."""
