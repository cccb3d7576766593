"""kNN with numpy: FOLDER has train.npy, test.npy, train_labels.npy and test_labels.npy; prints the top-1 in percent."""

import sys

import numpy as np

K, TAU, AT_ONCE = 20, 0.1, 256
folder = sys.argv[1]
train, test = (np.load(f"{folder}/{side}.npy").astype(np.float32) for side in ("train", "test"))
labels, truth = (np.load(f"{folder}/{side}_labels.npy") for side in ("train", "test"))
center = train.mean(axis=0)
train, test = train - center, test - center
train /= np.linalg.norm(train, axis=1, keepdims=True)
test /= np.linalg.norm(test, axis=1, keepdims=True)
right = 0
for start in range(0, len(test), AT_ONCE):
    cosines = test[start : start + AT_ONCE] @ train.T
    nearest = np.argpartition(cosines, -K, axis=1)[:, -K:]
    weights = np.exp(np.take_along_axis(cosines, nearest, axis=1) / TAU)
    votes = np.zeros((len(cosines), labels.max() + 1))
    np.add.at(votes, (np.arange(len(votes))[:, None], labels[nearest]), weights)
    right += int((votes.argmax(axis=1) == truth[start : start + AT_ONCE]).sum())
print(100 * right / len(test))
