"""Vectors of a table as one Parquet file: FOLDER as for `knn_numpy.py`, and the file to write."""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

folder, out = sys.argv[1:]
vectors = np.concatenate([np.load(f"{folder}/{side}.npy") for side in ("train", "test")])
labels = np.concatenate([np.load(f"{folder}/{side}_labels.npy") for side in ("train", "test")])
flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
pq.write_table(pa.table({"label": labels, "vector": flat}), out, compression="zstd")
