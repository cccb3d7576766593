"""Evaluation of encoders on datasets by probes: running, scoring, results, benchmarks and cost estimates."""
