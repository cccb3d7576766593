"""kNN with FAISS, exact (`pip install faiss-cpu`): FOLDER as for `knn_numpy.py`; prints the top-1 in percent."""

import sys
from importlib import import_module
from typing import Any

import numpy as np

faiss: Any = import_module("faiss")
K, TAU = 20, 0.1
folder = sys.argv[1]
faiss.omp_set_num_threads(1)
train, test = (np.load(f"{folder}/{side}.npy").astype(np.float32) for side in ("train", "test"))
labels, truth = (np.load(f"{folder}/{side}_labels.npy") for side in ("train", "test"))
center = train.mean(axis=0)
train -= center
test -= center
faiss.normalize_L2(train)
faiss.normalize_L2(test)
index = faiss.IndexFlatIP(train.shape[1])
index.add(train)
cosines, nearest = index.search(test, K)
votes = np.zeros((len(test), labels.max() + 1))
np.add.at(votes, (np.arange(len(votes))[:, None], labels[nearest]), np.exp(cosines / TAU))
print(100 * (votes.argmax(axis=1) == truth).mean())
