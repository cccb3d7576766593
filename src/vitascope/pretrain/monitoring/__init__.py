"""Monitoring of pretraining: training log, in-loop probing, feature rank, divergence, loggers."""
