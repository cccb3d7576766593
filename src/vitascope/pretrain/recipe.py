"""All that decides a pretraining run, as plain data: saved beside the run, and the same recipe is the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vitascope.core.errors import UserError
from vitascope.core.types import RGB, digest
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.schedules import cosine
from vitascope.pretrain.data.base import ClipSource, ClipSpec
from vitascope.pretrain.masking import Mask, Tube
from vitascope.pretrain.targets.targets import Target

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained, on what, towards what, and how long."""

    name: str
    shape: VideoViTConfig
    frames: int = 16
    size: int = 224
    mean: RGB = IMAGENET[0]
    std: RGB = IMAGENET[1]
    data: tuple[tuple[ClipSource, float], ...]
    """Sources and their shares of the steps."""
    targets: tuple[Target, ...]
    masks: tuple[Mask, ...] = (Tube(0.9),)
    """Several are several looks at each batch."""
    image_masks: tuple[Mask, ...] = ()
    """Of single-frame clips; none: `masks`."""
    guide: str = ""
    """Encoder that weighs the tokens for masks that want a teacher's saliency (`Attended`)."""
    batch: int = 256
    """Clips of a step, over all processes."""
    accumulate: int = 1
    """Parts that a process cuts its share of a batch into."""
    steps: int
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Muon, for the matrices of the blocks, learns from fewer clips; it is not sharded (fsdp)."""
    lr: float = 6e-4
    muon_scale: float = 1.0
    """Muon's learning rate, in those of `lr`."""
    final_lr: float = 1e-6
    warmup: int = 0
    """Steps in which the learning rate rises linearly."""
    weight_decay: float = 0.05
    final_weight_decay: float | None = None
    """Where the weight decay goes along a cosine; None: it stays."""
    betas: tuple[float, float] = (0.9, 0.95)
    clip_grad_norm: float = 1.0
    """Largest norm of the gradient; 0: any."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of products, where there is hardware for it; weights and the optimizer are float32."""
    checkpointing: bool = False
    """Compute activations twice and keep them once."""
    compile: bool = False
    seed: int = 0
    license: str = "yours"
    """Of the exported weights."""
    trained: str = ""
    """What the exported card says of the data, in words; none: the sources' names."""

    def __post_init__(self) -> None:
        counts = {n: getattr(self, n) for n in ("batch", "accumulate", "steps", "frames", "size")}
        wrong = [f"{n} = {v}" for n, v in counts.items() if v < 1]
        wrong += [f"{n} = {getattr(self, n)}" for n in ("lr", "muon_scale") if not getattr(self, n) > 0]
        wrong += [
            f"{n} = {getattr(self, n)}" for n in ("warmup", "weight_decay", "clip_grad_norm") if getattr(self, n) < 0
        ]
        if wrong:
            raise UserError(
                f"recipe {self.name}: {', '.join(wrong)}: counts and lr are positive, the rest not negative"
            )
        if self.optimizer not in ("adamw", "muon"):
            raise UserError(f"recipe {self.name}: optimizer {self.optimizer!r}; there are adamw and muon")
        if not self.data or not self.targets or not self.masks:
            raise UserError(f"recipe {self.name}: data, targets and masks: at least one of each")
        shape = self.shape
        if (self.frames > 1 and self.frames % shape.tubelet) or self.size % shape.patch:
            raise UserError(
                f"recipe {self.name}: clips of {self.frames} frames of {self.size} pixels do not divide into tokens of "
                f"{shape.tubelet} frames of {shape.patch}; change frames, size or shape"
            )
        if self.guided != bool(self.guide):
            what = "a mask draws by a teacher's saliency" if self.guided else f"no mask uses the guide {self.guide}"
            raise UserError(f"recipe {self.name}: {what}; masks of the kind Attended and a guide go together")

    @property
    def guided(self) -> bool:
        """Whether a mask wants a teacher's saliency."""
        return any(mask.needs_saliency for mask in (*self.masks, *self.image_masks))

    @property
    def spec(self) -> ClipSpec:
        """What a clip is."""
        return ClipSpec(self.frames, self.size)

    @property
    def digest(self) -> str:
        """Sixteen hex digits of everything above: another recipe, another run."""
        return digest(self)

    def rate(self, step: int) -> float:
        """Learning rate of the step that is about to be made, counted from 0."""
        warm = min(self.warmup, self.steps - 1)
        return float(cosine(step + 1, self.steps, warm, self.lr, self.final_lr))

    def decay(self, step: int) -> float:
        """Weight decay of that step."""
        if self.final_weight_decay is None:
            return self.weight_decay
        return float(cosine(step + 1, self.steps, 0, self.weight_decay, self.final_weight_decay))

    def masks_of(self, frames: int) -> tuple[Mask, ...]:
        """For clips of so many frames."""
        return self.image_masks or self.masks if frames == 1 else self.masks
