"""Training of probe heads: stacked optimizers and resumption."""
