"""A small image teacher: a convolutional network trained on labeled stills, as image-text models are on captions."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitascope.core.device import generator
from vitascope.core.types import Card, plain
from vitascope.encoders.preprocess import to_tensor
from vitascope.encoders.weights import native
from vitascope.nn.configs.convnet import ConvNetConfig
from vitascope.nn.convnet import ConvNet
from vitascope.nn.schedules import cosine
from vitascope.pretrain import export
from vitascope.pretrain.data.base import ClipSpec
from vitascope.pretrain.data.motionlab import MotionLab
from vitascope.pretrain.recipe import IMAGENET

TOLD = 100
"""Steps between lines."""


@dataclass(frozen=True, kw_only=True)
class ImageTeacherRecipe:
    """What is trained on which labeled pictures, and how long."""

    name: str
    shape: ConvNetConfig = field(default_factory=ConvNetConfig)
    data: MotionLab
    classes: int
    frames: int = 12
    """Of the clips that its card says it takes, one by one."""
    batch: int = 128
    steps: int
    lr: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    """Share of every label that is spread over all classes."""
    seed: int = 0

    @property
    def card(self) -> Card:
        """Without the digest of its weights."""
        shape = self.shape
        return Card(
            name=self.name,
            digest="",
            dim=shape.out,
            frames=self.frames,
            size=shape.size,
            mean=IMAGENET[0],
            std=IMAGENET[1],
            pool="maximum over the grid, mean over the frames",
            pretraining_datasets=frozenset(self.data.pretraining_datasets),
            trained=f"{self.data.clips} labeled stills of MotionLab's stream {self.data.seed}",
            sampling="frame by frame",
            license="Apache-2.0",
            params=shape.params,
            gflops=round(shape.macs(self.frames, shape.size) / 1e9, 3),
        )


def train(recipe: ImageTeacherRecipe, run: str | Path, *, quiet: bool = False, command: str = "") -> Path:
    """Train in one go, on the CPU, and write the encoder into the folder `run`; its file.

    Minutes for the recipes here; killed, it starts again. The same recipe gives the same weights on the same machine.
    """
    out = Path(run) / native.WEIGHTS
    network, head = _start(recipe)
    learned = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(learned, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    data = recipe.data.open(ClipSpec(1, recipe.shape.size), seed=recipe.seed)
    right = 0.0
    for step in range(1, recipe.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = cosine(step, recipe.steps, recipe.warmup, recipe.lr)
        clips = data.read(recipe.batch)
        pictures = to_tensor(clips.pixels, recipe.card)[:, :, 0].contiguous(memory_format=torch.channels_last)
        logits = head(network(pictures)[1])
        loss = F.cross_entropy(logits, clips.labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        right += (logits.argmax(1) == clips.labels).float().mean().item() / TOLD
        if step % TOLD == 0:
            if not quiet:
                print(f"{recipe.name}: step {step} of {recipe.steps}, {right:.1%} of new stills right", file=sys.stderr)
            right = 0.0
    data.close()
    native.write(out, _kept(network), recipe.card, recipe.shape, _origin(recipe, command))
    return out


def _origin(recipe: ImageTeacherRecipe, command: str) -> dict[str, Any]:
    return {"recipe": plain(recipe), "command": command, "code": export.code()}


def _start(recipe: ImageTeacherRecipe) -> tuple[ConvNet, nn.Linear]:
    """Network and classifier from the recipe's seed, as torch starts such layers; the classifier's bias is 0."""
    rng = generator(recipe.seed)
    network, head = (
        ConvNet(recipe.shape).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        nn.Linear(recipe.shape.out, recipe.classes),
    )
    for module in (*network.modules(), head):
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_uniform_(module.weight, a=5**0.5, generator=rng)
    nn.init.zeros_(cast(Tensor, head.bias))
    return network, head


def _kept(network: ConvNet) -> dict[str, Tensor]:
    """Its tensors, but the counts of batches that batch norms keep for themselves."""
    return {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
