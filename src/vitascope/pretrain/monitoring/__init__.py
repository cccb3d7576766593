"""What is watched during pretraining: the training log, probing, feature rank, divergence, loggers."""
