"""Reconstruction targets: pixels, gradients, optical flow, teacher features, the student's moving average, labels."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vitascope.core.errors import UserError
from vitascope.core.fields import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, Bounds, MultipleOf, check_fields
from vitascope.core.types import LATER, Card
from vitascope.nn.configs.video_vit import Grid
from vitascope.pretrain import distributed
from vitascope.pretrain.model import Student
from vitascope.pretrain.targets.hog import hog
from vitascope.pretrain.targets.optical_flow import flow
from vitascope.pretrain.targets.teachers import Teacher, Time

Where: TypeAlias = Literal["hidden", "seen", "all"]
Distance: TypeAlias = Literal["mse", "smooth_l1", "cosine"]
EPS = 1e-6


class TargetInputs(NamedTuple):
    """A batch of clips from which targets are computed."""

    clips: Float[Tensor, "n 3 f y x"]
    """Unmasked RGB frames with values from 0 to 1."""
    patches: Float[Tensor, "n l b"]
    """The student's normalized pixels, by token."""
    grid: Grid
    """Tokens along time, height and width."""
    labels: Int[Tensor, "n"]
    """Class indices, -1 if unlabeled."""
    keys: Sequence[bytes] = ()
    """Digests of the clips' pixels, where a teacher's features are cached."""


@runtime_checkable
class BoundTarget(Protocol):
    """Computes the values of a target for one student; its modules, if any, are not trained by the optimizer."""

    @property
    def out(self) -> int:
        """Number of values per token."""
        ...

    @property
    def card(self) -> Card | None:
        """Card of the teacher, if there is one."""
        ...

    def values(self, inputs: TargetInputs) -> Float[Tensor, "n l o"] | Int[Tensor, "n"]:
        """Compute the target of every token, or one label per clip."""
        ...

    def update(self, student: Student, progress: float) -> None:
        """Update after an optimizer step; `progress` is the share of training completed, 0 to 1."""
        ...


@dataclass(frozen=True, kw_only=True)
class Target(ABC):
    """A reconstruction target: one term of the loss, with its tokens, its decoder and its distance."""

    name: str
    """Name of the target in logs and in option paths."""
    weight: Annotated[float, POSITIVE] = 1.0
    """Weight of its loss in the total loss, at the first step."""
    final_weight: Annotated[float, NOT_NEGATIVE] | None = field(default=None, metadata=LATER)
    """Weight at the last step, reached along a cosine; none: constant."""
    on: Where = "hidden"
    """Tokens at which it is predicted: "hidden", "seen" (the visible ones) or "all"."""
    depth: Annotated[int, NOT_NEGATIVE] = 2
    """Transformer blocks of the decoder; 0: a linear map, which can only predict at visible tokens."""
    width: Annotated[int, MultipleOf(16)] = 384
    """Channels of the decoder."""
    distance: Distance = "mse"
    """Distance between prediction and target, averaged to give the loss."""
    per_clip: ClassVar[bool] = False
    """Whether it is predicted once per clip, from the mean of the visible tokens, rather than at every token."""

    def __post_init__(self) -> None:
        check_fields(self, f"target {self.name}")
        if not self.depth and self.on != "seen":
            raise UserError(f"target {self.name}: depth = 0 (no decoder) predicts only visible tokens; set on='seen'")

    @property
    def largest_weight(self) -> float:
        """The larger one of its first and last weight."""
        return max(self.weight, self.final_weight or 0.0)

    @abstractmethod
    def bind(self, student: Student, device: torch.device) -> BoundTarget:
        """Prepare the target for a student."""

    def check_labels(self, labels: Int[Tensor, "n"]) -> None:  # noqa: B027 - most targets use none
        """Raise UserError for labels, still on the CPU, that the target cannot use."""

    def loss(self, predicted: Float[Tensor, "*s o"], target: Float[Tensor, "*s o"]) -> Float[Tensor, ""]:
        """Mean distance between prediction and target, in float32."""
        predicted, target = predicted.float(), target.float()
        if self.distance == "cosine":
            return 1 - F.cosine_similarity(predicted, target, dim=-1).mean()
        return (F.smooth_l1_loss if self.distance == "smooth_l1" else F.mse_loss)(predicted, target)


class FixedTarget(NamedTuple):
    """A target that is a fixed function of the batch."""

    out: int
    function: Callable[[TargetInputs], Tensor]
    card: Card | None = None
    teacher: Teacher | None = None

    def values(self, inputs: TargetInputs) -> Float[Tensor, "n l o"] | Int[Tensor, "n"]:
        """Apply the function."""
        return self.function(inputs)

    def update(self, student: Student, progress: float) -> None:
        """Do nothing: the function is fixed."""


@dataclass(frozen=True, kw_only=True)
class Pixels(Target):
    """Pixels of each token, by default normalized channel by channel within it (VideoMAE, section 4; MAE)."""

    name: str = "pixels"
    """Name of the target in logs and in option paths."""
    normalized: bool = True
    """Normalize pixels channel by channel within each token."""

    def bind(self, student: Student, device: torch.device) -> BoundTarget:
        """Prepare pixels in the student's own layout."""
        return FixedTarget(3 * student.shape.tubelet * student.shape.patch**2, self._values)

    def _values(self, inputs: TargetInputs) -> Tensor:
        if not self.normalized:
            return inputs.patches
        rows = inputs.patches.unflatten(-1, (3, -1))
        count = rows.shape[-1]
        # unbiased variance as in the papers; torch's layer norm is several times faster than var_mean
        return F.layer_norm(rows, (count,), eps=EPS**2).mul_(((count - 1) / count) ** 0.5).flatten(-2)


@dataclass(frozen=True, kw_only=True)
class Hog(Target):
    """Histograms of oriented gradients (MaskFeat, Wei et al. 2022, section 3.3), of frames or of their differences.

    Differences between successive frames, with signed gradients, contain the direction of motion.
    """

    name: str = "hog"
    differences: bool = False
    """Use differences between successive frames with signed gradients instead of frames."""
    bins: int = 9
    """Number of orientation bins."""
    cells: int = 2
    """Number of cells along each side of a token."""

    def bind(self, student: Student, device: torch.device) -> BoundTarget:
        """Prepare histograms of the cells of each token, concatenated over its frames."""
        shape = student.shape
        cell = _cell(self.name, shape.patch, self.cells)
        size = shape.tubelet * self.cells**2 * self.bins

        def values(inputs: TargetInputs) -> Tensor:
            frames = inputs.clips.mean(1)
            if self.differences:
                frames = frames.diff(dim=1) if frames.shape[1] > 1 else torch.zeros_like(frames)
                frames = torch.cat([frames, frames[:, -1:]], dim=1)[:, : inputs.clips.shape[2]]
            histograms = hog(frames, cell=cell, bins=self.bins, signed=self.differences)
            return _group_by_token(histograms, inputs.grid, shape.tubelet, self.cells)

        return FixedTarget(size, values)


@dataclass(frozen=True, kw_only=True)
class Flow(Target):
    """Optical flow from each frame to the next, which contains motion but not appearance.

    To weight slow and fast motion alike, a velocity v (pixels per frame) becomes sign(v) ln(1 + |v| / `soft`).
    """

    name: str = "flow"
    cells: int = 2
    """Number of cells along each side of a token."""
    blurs: tuple[float, ...] = (0.7, 1.5)
    """Standard deviations of the Gaussian blurs in pixels, one flow each; small ones resolve slow motion."""
    soft: Annotated[float, NOT_NEGATIVE] = 0.1
    """Speed in pixels per frame above which the target grows logarithmically; 0: linear."""
    steady: bool = False
    """Subtract the median over the cells of a frame, which removes camera motion."""

    def __post_init__(self) -> None:
        Target.__post_init__(self)
        if not self.blurs:
            raise UserError(f"target {self.name}: blurs = () must be at least one number of pixels")

    def bind(self, student: Student, device: torch.device) -> BoundTarget:
        """Prepare the flow of the cells of each token, concatenated over its frames; the last frame's is repeated."""
        shape = student.shape
        cell = _cell(self.name, shape.patch, self.cells)

        def values(inputs: TargetInputs) -> Tensor:
            count = inputs.clips.shape[2]
            if count == 1:
                return inputs.clips.new_zeros(*inputs.patches.shape[:2], size)
            gray = inputs.clips.mean(1)
            motion = torch.cat([flow(gray, cell=cell, blur=blur) for blur in self.blurs], dim=-1)
            if self.steady:
                motion = motion - motion.flatten(2, 3).median(dim=2).values[:, :, None, None]
            if self.soft:
                motion = motion.sign() * (motion.abs() / self.soft).log1p()
            return _group_by_token(torch.cat([motion, motion[:, -1:]], dim=1), inputs.grid, shape.tubelet, self.cells)

        size = shape.tubelet * self.cells**2 * 2 * len(self.blurs)
        return FixedTarget(size, values)


def _cell(name: str, patch: int, cells: int) -> int:
    """Side of a cell in pixels."""
    if patch % cells:
        raise UserError(f"target {name}: {cells} cells do not divide tokens of {patch} pixels")
    return patch // cells


def _group_by_token(
    cell_values: Float[Tensor, "n f y x d"], grid: Grid, tubelet: int, per_side: int
) -> Float[Tensor, "n l o"]:
    """Concatenate the values of the cells of each token; an image is repeated for the frames of a tubelet."""
    if cell_values.shape[1] == 1:
        cell_values = cell_values.expand(-1, tubelet, -1, -1, -1)
    t, h, w = grid
    split = cell_values.reshape(len(cell_values), t, tubelet, h, per_side, w, per_side, -1)
    return split.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(len(cell_values), t * h * w, -1)


@dataclass(frozen=True, kw_only=True)
class Distilled(Target):
    """Features of a frozen teacher, which can be any encoder, at every token (UMT; MVD).

    The teacher processes the unmasked clip, preprocessed as its card specifies. Its token grid is averaged or
    interpolated to the student's. If it has a multiple of the student's time steps, those within one of the student's
    are concatenated (`stack`) or averaged.
    """

    teacher: str
    """Name or file of the teacher, as for `vitascope evaluate -m`."""
    layers: tuple[int, ...] = ()
    """Indices of the transformer blocks whose outputs are concatenated; empty: the encoder's final tokens."""
    time: Time = "stack"
    """How the teacher's time steps within one of the student's are combined: "stack" (concatenated) or "mean"."""
    every: Annotated[int, AT_LEAST_ONE] = 1
    """Temporal subsampling: the teacher gets the middle one of every `every` frames; 3: frames 1, 4, 7 and 10 of 12."""
    normalized: bool = True
    """Layer-normalize the features of each token and time step, without affine parameters."""
    size: Annotated[int, NOT_NEGATIVE] = field(default=0, metadata=LATER)
    """Side in pixels of the frames that the teacher gets; 0: as its card says. Fewer cost less."""

    def bind(self, student: Student, device: torch.device) -> BoundTarget:
        """Load the teacher and try it on a clip of the student's frames."""
        try:
            teacher = Teacher(
                self.teacher,
                device,
                frames=student.shape.input[0],
                grid=student.shape.grid,
                layers=self.layers,
                time=self.time,
                every=self.every,
                normalized=self.normalized,
                size=self.size,
            )
        except UserError as error:
            raise UserError(f"target {self.name}: {error}") from error

        def values(inputs: TargetInputs) -> Tensor:
            return teacher(inputs.clips, inputs.grid, inputs.keys)

        return FixedTarget(teacher.out, values, teacher.card, teacher)


@dataclass(frozen=True, kw_only=True)
class Latent(Target):
    """Features of the unmasked clip by an exponential moving average of the student (V-JEPA, section 3)."""

    name: str = "latent"
    distance: Distance = "smooth_l1"
    decay: tuple[float, float] = (0.998, 1.0)
    """Decay of the moving average at the first and at the last step, linear in between."""
    last: int = 0
    """Number of last blocks whose normalized outputs are averaged (data2vec, Baevski et al. 2022); 0: final tokens."""
    centered: bool = False
    """Subtract the means over clips and over positions: a small student would otherwise only learn to predict position,
    lighting and color."""

    def bind(self, student: Student, device: torch.device) -> BoundTarget:
        """Copy the student."""
        if not 0 <= self.last <= student.shape.depth:
            raise UserError(
                f"target {self.name}: last = {self.last} must be from 0 to {student.shape.depth}, the number of blocks"
            )
        return EmaTeacher(student, self.decay, last=self.last, centered=self.centered)


class EmaTeacher(nn.Module):
    """Exponential moving average of a student."""

    def __init__(self, student: Student, decay: tuple[float, float], *, last: int = 0, centered: bool = False) -> None:
        super().__init__()
        self.out, self.decay, self.last, self.centered = student.shape.dim, decay, last, centered
        self.card: Card | None = None
        self.student = copy.deepcopy(student).requires_grad_(False)

    def values(self, inputs: TargetInputs) -> Float[Tensor, "n l o"]:
        """Compute tokens of the unmasked clips, layer-normalized, or centered and scaled to unit variance."""
        n, count, _ = inputs.patches.shape
        all_tokens = torch.arange(count, device=inputs.patches.device).expand(n, -1)
        tokens = self.student(inputs.patches, all_tokens, inputs.grid, last_blocks=self.last).float()
        return center_tokens(tokens) if self.centered else F.layer_norm(tokens, (self.out,))

    @torch.no_grad()
    def update(self, student: Student, progress: float) -> None:
        """Update the average after an optimizer step."""
        first, last = self.decay
        averages, weights = ([_local(p) for p in network.parameters()] for network in (self.student, student))
        torch._foreach_lerp_(averages, weights, 1 - (first + (last - first) * min(progress, 1.0)))


def center_tokens(tokens: Float[Tensor, "n l o"]) -> Float[Tensor, "n l o"]:
    """Subtract the means over clips and over positions, and scale every channel to unit variance.

    Means are over the clips processed together by all processes, equally many in each: a batch, or a part of one.
    Raises UserError for a single clip, which would become zero.
    """
    if len(tokens) * distributed.world_size() < 2:
        raise UserError(
            "centered targets need at least two clips at a time; use a larger batch or fewer parts (accumulate)"
        )
    tokens = tokens - distributed.all_reduce_mean(tokens.mean(0, keepdim=True))
    tokens = tokens - tokens.mean(1, keepdim=True)
    return tokens * distributed.all_reduce_mean(tokens.square().mean((0, 1), keepdim=True)).clamp_min(EPS).rsqrt()


def _local(parameter: Tensor) -> Tensor:
    """The local shard of a parameter; a model and its copy are sharded alike."""
    return parameter.to_local().detach() if isinstance(parameter, DTensor) else parameter.detach()


@dataclass(frozen=True, kw_only=True)
class Labels(Target):
    """Class label of the clip, predicted from the mean of the visible tokens; for small supervised teachers."""

    name: str = "labels"
    classes: Annotated[int, Bounds(2)]
    """Number of classes."""
    on: Where = "seen"
    depth: Annotated[int, NOT_NEGATIVE] = 0
    per_clip: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Target.__post_init__(self)
        if self.depth or self.on != "seen":
            raise UserError(
                f"target {self.name}: depth = {self.depth} and on = {self.on!r} must be 0 and 'seen': labels are "
                "predicted from the mean of the visible tokens"
            )

    def bind(self, student: Student, device: torch.device) -> BoundTarget:
        """Prepare the labels of the data."""
        return FixedTarget(self.classes, lambda inputs: inputs.labels)

    def check_labels(self, labels: Int[Tensor, "n"]) -> None:
        """Raise UserError for labels that are no classes, or absent."""
        low, high = min(labels.tolist()), max(labels.tolist())
        if low < 0 or high >= self.classes:
            raise UserError(
                f"target {self.name}: labels from {low} to {high} do not fit {self.classes} classes; use labeled "
                "sources and the right number of classes"
            )

    def loss(self, predicted: Float[Tensor, "n o"], target: Int[Tensor, "n"]) -> Float[Tensor, ""]:
        """Cross-entropy loss."""
        return F.cross_entropy(predicted.float(), target)
