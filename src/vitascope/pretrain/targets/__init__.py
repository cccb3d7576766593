"""Reconstruction targets of pretraining and the teachers that compute them."""
