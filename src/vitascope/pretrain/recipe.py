"""Pretraining recipes: plain data that fully determines a run and is saved with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, TypeAlias

from vitascope.core.errors import UserError
from vitascope.core.fields import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, check_fields
from vitascope.core.types import LATER, RGB, digest
from vitascope.nn.configs.video_vit import VideoViTConfig
from vitascope.nn.schedules import cosine, trapezoid
from vitascope.pretrain.data.base import ClipSource, ClipSpec
from vitascope.pretrain.masking import Mask, Tube
from vitascope.pretrain.targets.targets import Target

Schedule: TypeAlias = Literal["cosine", "constant", "wsd", "cooldown"]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Network, data, reconstruction targets, masks and schedule of a pretraining run."""

    name: str
    """Name of the recipe and of the encoder that it trains."""
    shape: VideoViTConfig
    """Configuration of the encoder."""
    frames: Annotated[int, AT_LEAST_ONE] = 16
    """Frames per clip."""
    size: Annotated[int, AT_LEAST_ONE] = 224
    """Side of the square frames, in pixels."""
    mean: RGB = IMAGENET[0]
    """Mean of each RGB channel, subtracted from pixels in 0 to 1."""
    std: RGB = IMAGENET[1]
    """Standard deviation of each RGB channel, by which pixels are divided."""
    data: tuple[tuple[ClipSource, float], ...]
    """Sources of clips with their weights; normalized, these are their shares of the steps."""
    targets: tuple[Target, ...]
    """Reconstruction targets; the loss is the weighted sum of theirs."""
    masks: tuple[Mask, ...] = (Tube(0.9),)
    """Masks of the clips; with several, every batch is encoded once per mask."""
    image_masks: tuple[Mask, ...] = ()
    """Masks of images (single-frame clips); empty: same as `masks`."""
    guide: str = ""
    """Name of the encoder that provides saliency to masks that need it (`Attended`)."""
    batch: Annotated[int, AT_LEAST_ONE] = 256
    """Clips per step, summed over all processes."""
    accumulate: Annotated[int, AT_LEAST_ONE] = 1
    """Gradient accumulation: parts into which each process splits its share of a batch."""
    steps: Annotated[int, AT_LEAST_ONE]
    """Number of optimizer steps."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """AdamW, or Muon for the matrices of the blocks, which needs fewer clips but does not work with fsdp."""
    lr: Annotated[float, POSITIVE] = 6e-4
    """Peak learning rate."""
    muon_scale: Annotated[float, POSITIVE] = 1.0
    """Learning rate of Muon as a multiple of `lr`."""
    final_lr: float = 1e-6
    """Learning rate at the last step, reached by the decay of the schedule."""
    warmup: Annotated[int, NOT_NEGATIVE] = 0
    """Number of steps of linear learning rate warmup."""
    schedule: Schedule = field(default="cosine", metadata=LATER)
    """Learning rate after warmup: "cosine" decay, "constant", "wsd" (constant, then linear decay), or "cooldown"
    (linear decay from the first step without warmup, to continue a constant run)."""
    decay_steps: Annotated[int, NOT_NEGATIVE] = field(default=0, metadata=LATER)
    """Steps of the linear decay at the end of "wsd"; 0: a tenth of all steps."""
    init: str = field(default="", metadata=LATER)
    """Weights to start from: an encoder that `-m` takes, or the folder of a run, whose last checkpoint also provides
    decoders, slow copies and optimizer state where they agree; empty: random weights."""
    weight_decay: Annotated[float, NOT_NEGATIVE] = 0.05
    """Weight decay at the first step."""
    final_weight_decay: float | None = None
    """Weight decay at the last step, reached along a cosine; none: constant."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay rates of AdamW's first and second moment estimates."""
    clip_grad_norm: Annotated[float, NOT_NEGATIVE] = 1.0
    """Maximum gradient norm; larger gradients are scaled down; 0: no clipping."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Autocast precision, if the hardware supports it; weights and optimizer state are float32."""
    checkpointing: bool = False
    """Activation checkpointing: recompute activations in the backward pass to save memory."""
    compile: bool = False
    """Compile the encoder with torch.compile."""
    seed: int = 0
    """Random seed of weights, masks and the order of clips."""
    license: str = "yours"
    """License of the exported weights."""
    trained: str = ""
    """Description of the training data in the exported card; empty: names of the sources."""

    def __post_init__(self) -> None:
        check_fields(self, f"recipe {self.name}")
        if not self.data or not self.targets or not self.masks:
            raise UserError(f"recipe {self.name}: there must be at least one source, one target and one mask")
        shape = self.shape
        if (self.frames > 1 and self.frames % shape.tubelet) or self.size % shape.patch:
            raise UserError(
                f"recipe {self.name}: clips of {self.frames} frames of {self.size} pixels do not divide into tokens of "
                f"{shape.tubelet} frames of {shape.patch}; change frames, size or shape"
            )
        if self.decay_steps and self.schedule != "wsd":
            raise UserError(
                f"recipe {self.name}: decay_steps = {self.decay_steps} is for schedule=wsd, not {self.schedule}; set "
                "schedule=wsd, or leave decay_steps out"
            )
        if self.guided != bool(self.guide):
            what = "a mask needs a teacher's saliency" if self.guided else f"no mask uses the guide {self.guide}"
            raise UserError(f"recipe {self.name}: {what}; set guide if and only if an Attended mask is used")

    @property
    def guided(self) -> bool:
        """Whether any mask needs a teacher's saliency."""
        return any(mask.needs_saliency for mask in (*self.masks, *self.image_masks))

    @property
    def spec(self) -> ClipSpec:
        """Number and size of the frames of a clip."""
        return ClipSpec(self.frames, self.size)

    @property
    def digest(self) -> str:
        """Digest of all fields, 16 hex digits."""
        return digest(self)

    def lr_at(self, step: int) -> float:
        """Learning rate of step number `step`, counted from 0."""
        warm = min(self.warmup, self.steps - 1) if self.schedule != "cooldown" else 0
        if self.schedule == "cosine":
            return float(cosine(step + 1, self.steps, warm, self.lr, self.final_lr))
        return trapezoid(step + 1, self.steps, warm, self._decay(warm), (self.lr, self.final_lr))

    def _decay(self, warm: int) -> int:
        """Number of steps of linear decay at the end."""
        most = self.steps - warm
        wanted = self.decay_steps or max(round(self.steps / 10), 1)
        return {"constant": 0, "wsd": min(wanted, most), "cooldown": most}[self.schedule]

    def target_weights_at(self, step: int) -> dict[str, float]:
        """Weight of each target's loss in step number `step`, counted from 0."""
        return {
            t.name: t.weight if t.final_weight is None else cosine(step + 1, self.steps, 0, t.weight, t.final_weight)
            for t in self.targets
        }

    def weight_decay_at(self, step: int) -> float:
        """Weight decay of step number `step`, counted from 0."""
        if self.final_weight_decay is None:
            return self.weight_decay
        return float(cosine(step + 1, self.steps, 0, self.weight_decay, self.final_weight_decay))

    def masks_for(self, frames: int) -> tuple[Mask, ...]:
        """Masks for clips of `frames` frames."""
        return self.image_masks or self.masks if frames == 1 else self.masks
