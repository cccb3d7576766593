"""What the probes of classification share: softmax heads, nearest neighbors, model selection, presets."""
