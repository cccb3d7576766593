"""Linear probing with torch, settings of our default: FOLDER as for `knn_numpy.py`; prints the top-1 in percent."""

import math
import sys

import numpy as np
import torch

EPOCHS, WARMUP, BATCH, RATE, LEAST = 150, 10, 1024, 0.1, 300
folder = sys.argv[1]
train, test = (torch.from_numpy(np.load(f"{folder}/{side}.npy")).float() for side in ("train", "test"))
labels, truth = (torch.from_numpy(np.load(f"{folder}/{side}_labels.npy")) for side in ("train", "test"))
mean, spread = train.mean(dim=0), train.std(dim=0)
train, test = (train - mean) / spread, (test - mean) / spread
each = -(-len(train) // BATCH)
epochs = max(EPOCHS, -(-LEAST // each))
steps, warm = epochs * each, round(WARMUP * epochs / EPOCHS) * each
torch.manual_seed(0)
layer = torch.nn.Linear(train.shape[1], int(labels.max()) + 1)
optimizer = torch.optim.SGD(layer.parameters(), lr=RATE, momentum=0.9)
schedule = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda s: (s + 1) / warm if s < warm else 0.5 * (1 + math.cos(math.pi * (s - warm) / (steps - warm)))
)
for _ in range(epochs):
    for chosen in torch.randperm(len(train)).split(BATCH):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(layer(train[chosen]), labels[chosen]).backward()
        optimizer.step()
        schedule.step()
with torch.no_grad():
    print(100 * float((layer(test).argmax(dim=1) == truth).float().mean()))
