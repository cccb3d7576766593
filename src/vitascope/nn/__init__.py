"""Neural network modules, independent of weights and model names."""
