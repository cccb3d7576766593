"""Table 4 of the TWLV-I report: how linear and attentive probes are trained and tested on each data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitascope.features.view import Reduce, View
from vitascope.sampling.names import Drawn, RandomClip, RandomCrop, Sampler, Uniform, Views


@dataclass(frozen=True)
class Table4Settings:
    """What the table says of one data set for one of the two probes."""

    lr: float
    weight_decay: float
    epochs: int
    warmup: int
    batch: int
    flip: bool
    stride: int = 0
    """Frames between two of a clip; 0: a picture."""
    clips: int = 4
    """Of m x n test views the n."""

    @property
    def training(self) -> dict[str, Any]:
        """The fields of a probe."""
        return {name: getattr(self, name) for name in ("lr", "weight_decay", "epochs", "warmup", "batch")}

    def views(self, ratio: tuple[float, float], reduce: Reduce) -> dict[str, Any]:
        """Training: a random clip through a random resized crop of 30 to 100 %, anew at every epoch. Test: 3 x n views.

        Vectors of the test are stored; training clips, and grids, are encoded as they are read. A picture has one view.
        """
        one: Sampler = RandomClip(self.stride) if self.stride else Uniform()
        test: Sampler = Views(3, self.clips, self.stride) if self.stride else Uniform()
        drawn = Drawn(RandomCrop(one, (0.3, 1.0), ratio, self.flip), 0)
        return {"train": View(drawn, reduce, stored=False), "test": View(test, reduce, stored=reduce == "clip")}


LINEAR: Mapping[str, Table4Settings] = {
    "k400": Table4Settings(0.1, 0.0, 150, 10, 1024, True, 4),
    "mit": Table4Settings(0.1, 0.0, 50, 10, 1024, False, 1),
    "ssv2": Table4Settings(0.075, 0.0, 50, 10, 1024, False, 1, 1),
    "diving48": Table4Settings(0.02, 0.0, 300, 10, 1024, False, 4),
    "epic": Table4Settings(0.1, 0.0, 150, 10, 1024, True, 1),
    "in1k": Table4Settings(0.1, 0.0, 90, 0, 4096, True),
}
ATTENTIVE: Mapping[str, Table4Settings] = {
    "k400": Table4Settings(0.001, 1e-5, 20, 0, 256, True, 4),
    "mit": Table4Settings(0.001, 1e-5, 20, 0, 256, False, 1),
    "ssv2": Table4Settings(0.001, 1e-5, 20, 0, 256, False, 1, 1),
    "diving48": Table4Settings(0.001, 1e-5, 50, 0, 256, False, 4),
    "epic": Table4Settings(0.001, 1e-5, 50, 0, 256, True, 1),
    "in1k": Table4Settings(0.001, 0.001, 20, 0, 512, True),
}
ASPECT = {"linear": (0.75, 1.33), "attentive": (0.5, 2.0)}
"""Ratios of width to height that a random resized crop may have."""
