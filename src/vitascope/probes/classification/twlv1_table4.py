"""Table 4 of the TWLV-I report: training and test settings of linear and attentive probes on each dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vitascope.features.view import Reduce, View
from vitascope.sampling.names import Drawn, RandomClip, RandomCrop, Sampler, Uniform, Views


@dataclass(frozen=True)
class Table4Settings:
    """Settings of one probe on one dataset."""

    lr: float
    weight_decay: float
    epochs: int
    warmup: int
    batch: int
    flip: bool
    stride: int = 0
    """Frame stride within a clip; 0: images."""
    clips: int = 4
    """Clips per test video; with 3 spatial crops each, this is the n of 3 x n test views."""

    @property
    def training(self) -> dict[str, Any]:
        """The fields of a probe that the table sets."""
        return {name: getattr(self, name) for name in ("lr", "weight_decay", "epochs", "warmup", "batch")}

    def views(self, ratio: tuple[float, float], reduce: Reduce) -> dict[str, Any]:
        """Return the views: a random clip with a random resized crop (30 to 100 %) per epoch; 3 x n test views.

        Test vectors are stored; training clips and token grids are encoded live. An image has one view.
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
"""Range of aspect ratios (width / height) of a random resized crop."""
