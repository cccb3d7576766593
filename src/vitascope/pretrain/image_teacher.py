"""Train a small image teacher: a convolutional network on labeled stills, in the role of an image-text model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitascope.core.device import generator
from vitascope.core.log import log
from vitascope.core.types import Card, plain
from vitascope.encoders.preprocess import to_tensor
from vitascope.encoders.weights import native
from vitascope.nn.configs.convnet import ConvNetConfig
from vitascope.nn.convnet import ConvNet
from vitascope.nn.schedules import cosine
from vitascope.pretrain import export
from vitascope.pretrain.data.base import ClipSpec
from vitascope.pretrain.data.motionlab import MotionLab
from vitascope.pretrain.data.other_stills import OtherStills
from vitascope.pretrain.recipe import IMAGENET

LOG_EVERY = 100
"""Steps between progress messages."""


@dataclass(frozen=True, kw_only=True)
class ImageTeacherRecipe:
    """Network, labeled images and schedule of an image teacher."""

    name: str
    shape: ConvNetConfig = field(default_factory=ConvNetConfig)
    data: MotionLab | OtherStills
    classes: int
    frames: int = 12
    """Frames per clip in its card; the network encodes them one by one."""
    batch: int = 128
    steps: int
    lr: float = 2e-3
    warmup: int = 100
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    """Label smoothing: share of each label spread over all classes."""
    seed: int = 0

    @property
    def _source(self) -> str:
        other = isinstance(self.data, OtherStills)
        return "24 looks that are not MotionLab's, stream" if other else "MotionLab's stream"

    @property
    def card(self) -> Card:
        """Card of the trained encoder, without the digest of its weights."""
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
            trained=f"{self.data.clips} labeled stills of {self._source} {self.data.seed}",
            sampling="frame by frame",
            license="Apache-2.0",
            params=shape.params,
            gflops=round(shape.macs(self.frames, shape.size) / 1e9, 3),
        )


def train(recipe: ImageTeacherRecipe, run: str | Path, *, quiet: bool = False, command: str = "") -> Path:
    """Train on the CPU and write the encoder into the folder `run`; returns the path of its file.

    Takes minutes for the built-in recipes and cannot be resumed. Deterministic on a given machine.
    """
    out = Path(run) / native.WEIGHTS
    network, head = _build_networks(recipe)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    data = recipe.data.open(ClipSpec(1, recipe.shape.size), seed=recipe.seed)
    accuracy = 0.0
    for step in range(1, recipe.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = cosine(step, recipe.steps, recipe.warmup, recipe.lr)
        clips = data.read(recipe.batch)
        images = to_tensor(clips.pixels, recipe.card)[:, :, 0].contiguous(memory_format=torch.channels_last)
        logits = head(network(images)[1])
        loss = F.cross_entropy(logits, clips.labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        accuracy += (logits.argmax(1) == clips.labels).float().mean().item() / LOG_EVERY
        if step % LOG_EVERY == 0:
            if not quiet:
                log.info(
                    "%s: step %d of %d, accuracy on new stills %.1f%%", recipe.name, step, recipe.steps, 100 * accuracy
                )
            accuracy = 0.0
    data.close()
    native.write(out, _weights(network), recipe.card, recipe.shape, _origin(recipe, command))
    return out


def _origin(recipe: ImageTeacherRecipe, command: str) -> dict[str, Any]:
    return {"recipe": plain(recipe), "command": command, "code": export.code_version()}


def _build_networks(recipe: ImageTeacherRecipe) -> tuple[ConvNet, nn.Linear]:
    """Build network and classifier with torch's default initialization from the recipe's seed; zero bias."""
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


def _weights(network: ConvNet) -> dict[str, Tensor]:
    """Tensors of the network without the batch counters of its batch norms."""
    return {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
