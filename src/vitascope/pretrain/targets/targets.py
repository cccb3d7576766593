"""What masked tokens are asked for: pixels, gradients, features of a teacher, the student's own slow copy, labels."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vitascope.core.errors import UserError
from vitascope.core.types import Card
from vitascope.nn.configs.video_vit import Grid
from vitascope.pretrain import distributed
from vitascope.pretrain.model import Student
from vitascope.pretrain.targets.hog import hog
from vitascope.pretrain.targets.optical_flow import flow
from vitascope.pretrain.targets.teachers import Teacher, Time

Where: TypeAlias = Literal["hidden", "seen", "all"]
Distance: TypeAlias = Literal["mse", "smooth_l1", "cosine"]
EPS = 1e-6


class Shown(NamedTuple):
    """A batch as targets see it."""

    clips: Float[Tensor, "n 3 f y x"]
    """RGB from 0 to 1, every frame, nothing hidden."""
    blocks: Float[Tensor, "n l b"]
    """The student's normalized pixels, by token."""
    grid: Grid
    labels: Int[Tensor, "n"]


@runtime_checkable
class Teaching(Protocol):
    """A target at work: computes what is to be predicted; its modules, if any, are never trained by the optimizer."""

    @property
    def out(self) -> int:
        """Numbers a token."""
        ...

    @property
    def card(self) -> Card | None:
        """Of the teacher, if there is one."""
        ...

    def values(self, shown: Shown) -> Float[Tensor, "n l o"] | Int[Tensor, "n"]:
        """What every token is asked for, or one row an example."""
        ...

    def follow(self, student: Student, done: float) -> None:
        """After every step: `done` is the share of training that is over."""
        ...


@dataclass(frozen=True, kw_only=True)
class Target(ABC):
    """One term of the mixture: what is asked, of which tokens, through which decoder, and how far off it is."""

    name: str
    weight: float = 1.0
    on: Where = "hidden"
    depth: int = 2
    """Blocks of the decoder; 0 is a linear map of the visible tokens, which then are all that can be asked."""
    width: int = 384
    """Of the decoder."""
    distance: Distance = "mse"
    whole: ClassVar[bool] = False
    """Asked of the mean of the visible tokens, not of each."""

    def __post_init__(self) -> None:
        if self.weight <= 0 or self.depth < 0 or self.width % 16:
            raise UserError(
                f"target {self.name}: weight {self.weight}, depth {self.depth}, width {self.width}; the weight is "
                "positive, the depth not negative, the width a multiple of 16"
            )
        if not self.depth and self.on != "seen":
            raise UserError(f"target {self.name}: without a decoder (depth 0) only seen tokens are asked: on='seen'")

    @abstractmethod
    def bind(self, student: Student, device: torch.device) -> Teaching:
        """The target at work for this student."""

    def loss(self, predicted: Float[Tensor, "*s o"], wanted: Float[Tensor, "*s o"]) -> Float[Tensor, ""]:
        """Mean distance, in float32."""
        predicted, wanted = predicted.float(), wanted.float()
        if self.distance == "cosine":
            return 1 - F.cosine_similarity(predicted, wanted, dim=-1).mean()
        return (F.smooth_l1_loss if self.distance == "smooth_l1" else F.mse_loss)(predicted, wanted)


class Computed(NamedTuple):
    """Teaching that is a function of the batch alone."""

    out: int
    function: Callable[[Shown], Tensor]
    card: Card | None = None

    def values(self, shown: Shown) -> Float[Tensor, "n l o"] | Int[Tensor, "n"]:
        """What the function says."""
        return self.function(shown)

    def follow(self, student: Student, done: float) -> None:
        """Nothing: it does not learn."""


@dataclass(frozen=True, kw_only=True)
class Pixels(Target):
    """Pixels of each token, by default normalized channel by channel within it (VideoMAE, section 4; MAE)."""

    name: str = "pixels"
    normalized: bool = True

    def bind(self, student: Student, device: torch.device) -> Teaching:
        """Blocks of the student's own layout."""
        return Computed(3 * student.shape.tubelet * student.shape.patch**2, self._values)

    def _values(self, shown: Shown) -> Tensor:
        if not self.normalized:
            return shown.blocks
        rows = shown.blocks.unflatten(-1, (3, -1))
        count = rows.shape[-1]
        # by the unbiased variance, as the papers' pixels are; torch's layer norm is several times its var_mean's speed
        return F.layer_norm(rows, (count,), eps=EPS**2).mul_(((count - 1) / count) ** 0.5).flatten(-2)


@dataclass(frozen=True, kw_only=True)
class Hog(Target):
    """Histograms of oriented gradients (MaskFeat, Wei et al. 2022, section 3.3), of frames or of their differences.

    Differences are those between successive frames, gradients signed: which way something went shows in them.
    """

    name: str = "hog"
    differences: bool = False
    bins: int = 9
    cells: int = 2
    """Cells a side of each token."""

    def bind(self, student: Student, device: torch.device) -> Teaching:
        """Cells of every frame of a token, side by side."""
        shape = student.shape
        cell = _cell(self.name, shape.patch, self.cells)
        size = shape.tubelet * self.cells**2 * self.bins

        def values(shown: Shown) -> Tensor:
            frames = shown.clips.mean(1)
            if self.differences:
                frames = frames.diff(dim=1) if frames.shape[1] > 1 else torch.zeros_like(frames)
                frames = torch.cat([frames, frames[:, -1:]], dim=1)[:, : shown.clips.shape[2]]
            found = hog(frames, cell=cell, bins=self.bins, signed=self.differences)
            return _by_token(found, shown.grid, shape.tubelet, self.cells)

        return Computed(size, values)


@dataclass(frozen=True, kw_only=True)
class Flow(Target):
    """Optical flow of every frame to the next: how things move, and nothing of what they are.

    Slow things count as fast ones do: of a speed v, pixels a frame, the target is sign(v) ln(1 + |v| / `soft`).
    """

    name: str = "flow"
    cells: int = 2
    """Cells a side of each token."""
    blurs: tuple[float, ...] = (0.7, 1.5)
    """Pixels of the Gaussians that frames are smoothed by: a flow for each, the finer ones for what is slow."""
    soft: float = 0.1
    """Pixels a frame from which on the target grows slowly; 0: it is v itself."""
    steady: bool = False
    """Less the median over the cells of the frame: what the camera does is taken off."""

    def __post_init__(self) -> None:
        Target.__post_init__(self)
        if self.soft < 0 or not self.blurs:
            raise UserError(f"target {self.name}: soft {self.soft}, blurs {self.blurs}; 0 or more, and at least one")

    def bind(self, student: Student, device: torch.device) -> Teaching:
        """Cells of every frame of a token, side by side; the last frame moves on as the one before it does."""
        shape = student.shape
        cell = _cell(self.name, shape.patch, self.cells)

        def values(shown: Shown) -> Tensor:
            count = shown.clips.shape[2]
            if count == 1:
                return shown.clips.new_zeros(*shown.blocks.shape[:2], size)
            gray = shown.clips.mean(1)
            found = torch.cat([flow(gray, cell=cell, blur=blur) for blur in self.blurs], dim=-1)
            if self.steady:
                found = found - found.flatten(2, 3).median(dim=2).values[:, :, None, None]
            if self.soft:
                found = found.sign() * (found.abs() / self.soft).log1p()
            return _by_token(torch.cat([found, found[:, -1:]], dim=1), shown.grid, shape.tubelet, self.cells)

        size = shape.tubelet * self.cells**2 * 2 * len(self.blurs)
        return Computed(size, values)


def _cell(name: str, patch: int, cells: int) -> int:
    """Pixels of a cell."""
    if patch % cells:
        raise UserError(f"target {name}: {cells} cells do not divide tokens of {patch} pixels")
    return patch // cells


def _by_token(found: Float[Tensor, "n f y x d"], grid: Grid, tubelet: int, cells: int) -> Float[Tensor, "n l o"]:
    """What cells of frames hold, those of a token side by side; a picture is held for the frames of one."""
    if found.shape[1] == 1:
        found = found.expand(-1, tubelet, -1, -1, -1)
    t, h, w = grid
    cut = found.reshape(len(found), t, tubelet, h, cells, w, cells, -1)
    return cut.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(len(found), t * h * w, -1)


@dataclass(frozen=True, kw_only=True)
class Distilled(Target):
    """Features of a frozen teacher, any encoder, at every token (UMT; MVD), each normalized over its numbers.

    The teacher sees all of the clip, as its card wants it, nothing hidden. A grid of another size than the student's is
    averaged or interpolated to it; where its time steps divide into the student's, those within one stand side by side
    (`stack`) or are averaged.
    """

    teacher: str
    """Name of the encoder, as `vitascope evaluate -m` takes it."""
    layers: tuple[int, ...] = ()
    """Blocks of a transformer whose output is wanted, side by side; none: the encoder's own grid."""
    time: Time = "stack"
    every: int = 1
    """The teacher sees one frame of so many, the middle one: with 3 the frames 1, 4, 7 and 10 of 12."""
    normalized: bool = True
    """By a layer norm without weights, token by token and step by step."""

    def __post_init__(self) -> None:
        Target.__post_init__(self)
        if self.every < 1:
            raise UserError(f"target {self.name}: every {self.every}: one frame of at least one")

    def bind(self, student: Student, device: torch.device) -> Teaching:
        """The teacher, loaded and tried on a clip of the student's frames."""
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
            )
        except ValueError as error:
            raise UserError(f"target {self.name}: {error}") from error
        return Computed(teacher.out, lambda shown: teacher(shown.clips, shown.grid), teacher.card)


@dataclass(frozen=True, kw_only=True)
class Latent(Target):
    """What a slow copy of the student, an exponential moving average, says of the whole clip (V-JEPA, section 3)."""

    name: str = "latent"
    distance: Distance = "smooth_l1"
    decay: tuple[float, float] = (0.998, 1.0)
    """Of the average, from the first step to the last, linearly."""
    last: int = 0
    """The mean over so many last blocks, each normalized (data2vec, Baevski et al. 2022); 0: the tokens alone."""
    centered: bool = False
    """Less what is the same at a place in all clips and at all places of a clip: positions, light and colors are
    easily predicted, and a small student learns them and nothing else."""

    def bind(self, student: Student, device: torch.device) -> Teaching:
        """The copy."""
        if not 0 <= self.last <= student.shape.depth:
            raise UserError(f"target {self.name}: the last {self.last} of {student.shape.depth} blocks; fewer, or 0")
        return Slow(student, self.decay, last=self.last, centered=self.centered)


class Slow(nn.Module):
    """The moving average of a student."""

    def __init__(self, student: Student, decay: tuple[float, float], *, last: int = 0, centered: bool = False) -> None:
        super().__init__()
        self.out, self.decay, self.last, self.centered = student.shape.dim, decay, last, centered
        self.card: Card | None = None
        self.student = copy.deepcopy(student).requires_grad_(False)

    def values(self, shown: Shown) -> Float[Tensor, "n l o"]:
        """Its tokens with nothing hidden, each normalized over its numbers, or centered and of variance 1 altogether."""
        n, count, _ = shown.blocks.shape
        every = torch.arange(count, device=shown.blocks.device).expand(n, -1)
        tokens = self.student(shown.blocks, every, shown.grid, last=self.last).float()
        return centered(tokens) if self.centered else F.layer_norm(tokens, (self.out,))

    @torch.no_grad()
    def follow(self, student: Student, done: float) -> None:
        """One step of the average."""
        first, last = self.decay
        ours, theirs = ([_local(p) for p in one.parameters()] for one in (self.student, student))
        torch._foreach_lerp_(ours, theirs, 1 - (first + (last - first) * min(done, 1.0)))


def centered(tokens: Float[Tensor, "n l o"]) -> Float[Tensor, "n l o"]:
    """Less the mean of each place over the clips and of each clip over its places, each number scaled to variance 1.

    The clips are those that are computed together, by all processes, as many by each: a batch, or a part of one.
    ValueError where that is a single one, of which nothing would be left.
    """
    if len(tokens) * distributed.count() < 2:
        raise UserError("a centered target is what tells clips apart, and there is one; give larger batches or parts")
    tokens = tokens - distributed.mean_of(tokens.mean(0, keepdim=True))
    tokens = tokens - tokens.mean(1, keepdim=True)
    return tokens * distributed.mean_of(tokens.square().mean((0, 1), keepdim=True)).clamp_min(EPS).rsqrt()


def _local(parameter: Tensor) -> Tensor:
    """The part of a parameter that this process holds: where it is sharded, copies are sharded alike."""
    return parameter.to_local().detach() if isinstance(parameter, DTensor) else parameter.detach()


@dataclass(frozen=True, kw_only=True)
class Labels(Target):
    """The label of the clip, from the mean of the visible tokens: how a small teacher is trained, not a video model."""

    name: str = "labels"
    classes: int
    on: Where = "seen"
    depth: int = 0
    whole: ClassVar[bool] = True

    def __post_init__(self) -> None:
        Target.__post_init__(self)
        if self.depth or self.on != "seen" or self.classes < 2:
            raise UserError(
                f"target {self.name}: {self.classes} classes, depth {self.depth}, on {self.on!r}; labels have at least "
                "two classes, and are asked of the mean of the seen tokens (depth 0, on 'seen')"
            )

    def bind(self, student: Student, device: torch.device) -> Teaching:
        """The stream's labels."""
        return Computed(self.classes, lambda shown: shown.labels)

    def loss(self, predicted: Float[Tensor, "n o"], wanted: Int[Tensor, "n"]) -> Float[Tensor, ""]:
        """Cross-entropy."""
        if wanted.min() < 0 or wanted.max() >= self.classes:
            raise UserError(
                f"target {self.name}: labels from {wanted.min()} to {wanted.max()}, {self.classes} classes; give "
                "sources with labels, and the right number of classes"
            )
        return F.cross_entropy(predicted.float(), wanted)
