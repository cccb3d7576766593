"""kNN with torch, as in the scripts of DINO: FOLDER as for `knn_numpy.py`; prints the top-1 in percent."""

import sys

import numpy as np
import torch

K, TAU, AT_ONCE = 20, 0.1, 256
folder = sys.argv[1]
train, test = (torch.from_numpy(np.load(f"{folder}/{side}.npy")).float() for side in ("train", "test"))
labels, truth = (torch.from_numpy(np.load(f"{folder}/{side}_labels.npy")) for side in ("train", "test"))
center = train.mean(dim=0)
train = torch.nn.functional.normalize(train - center, dim=1)
test = torch.nn.functional.normalize(test - center, dim=1)
classes = int(labels.max()) + 1
right = 0
for queries, own in zip(test.split(AT_ONCE), truth.split(AT_ONCE), strict=True):
    cosines, nearest = (queries @ train.T).topk(K, dim=1)
    votes = torch.zeros(len(queries), classes).scatter_add_(1, labels[nearest], (cosines / TAU).exp())
    right += int((votes.argmax(dim=1) == own).sum())
print(100 * right / len(test))
