"""A table of accuracies with 95 % bootstrap intervals of the predictions in a run folder, as Markdown."""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

DRAWS = 10_000
folder = Path(sys.argv[1])
for line in (folder / "results.jsonl").read_text().splitlines():
    result = json.loads(line)
    right = pq.read_table(folder / result["predictions"], columns=["outcome"])["outcome"].to_numpy().astype(float)
    rng = np.random.default_rng(0)
    means = [right[rng.integers(len(right), size=len(right))].mean() for _ in range(DRAWS)]
    low, high = np.percentile(means, [2.5, 97.5])
    print(f"| {result['encoder']} | {result['probe']} | {100 * right.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}] |")
