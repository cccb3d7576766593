"""What masked tokens are asked for: pixels, gradients, features of a teacher, the student's own slow copy, labels."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, cast, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from vitascope.architectures.video import Grid
from vitascope.encoder import Encoder, Tokens, load
from vitascope.nn.positions import linear_bicubic
from vitascope.pretrain.hog import hog
from vitascope.pretrain.student import Student
from vitascope.types import Card

Where: TypeAlias = Literal["hidden", "seen", "all"]
Distance: TypeAlias = Literal["mse", "smooth_l1", "cosine"]
EPS = 1e-6


class Shown(NamedTuple):
    """A batch as targets see it."""

    clips: Float[Tensor, "n 3 f y x"]
    """RGB from 0 to 1, every frame, nothing hidden."""
    blocks: Float[Tensor, "n l b"]
    """The student's normalised pixels, by token."""
    grid: Grid
    labels: Int[Tensor, "n"]


@runtime_checkable
class Teaching(Protocol):
    """A target at work: computes what is to be predicted; its modules, if any, are never trained by the optimiser."""

    out: int
    """Numbers a token."""

    def values(self, shown: Shown) -> Float[Tensor, "n l o"]:
        """What every token is asked for, or one row an example."""
        ...

    def follow(self, student: Student, done: float) -> None:
        """After every step: `done` is the share of training that is over."""
        ...


@dataclass(frozen=True, kw_only=True)
class Target:
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
            raise ValueError(
                f"target {self.name}: weight {self.weight}, depth {self.depth}, width {self.width}; the weight is "
                "positive, the depth not negative, the width a multiple of 16"
            )
        if not self.depth and self.on != "seen":
            raise ValueError(f"target {self.name}: without a decoder (depth 0) only seen tokens are asked: on='seen'")

    def bind(self, student: Student, device: torch.device) -> Teaching:
        """The target at work for this student."""
        ...

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

    def values(self, shown: Shown) -> Float[Tensor, "n l o"]:
        """What the function says."""
        return self.function(shown)

    def follow(self, student: Student, done: float) -> None:
        """Nothing: it does not learn."""


@dataclass(frozen=True, kw_only=True)
class Pixels(Target):
    """Pixels of each token, by default normalised channel by channel within it (VideoMAE, section 4; MAE)."""

    name: str = "pixels"
    normalised: bool = True

    def bind(self, student: Student, device: torch.device) -> Teaching:
        """Blocks of the student's own layout."""
        return Computed(3 * student.shape.tubelet * student.shape.patch**2, self._values)

    def _values(self, shown: Shown) -> Tensor:
        if not self.normalised:
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
        if shape.patch % self.cells:
            raise ValueError(f"target {self.name}: {self.cells} cells do not divide tokens of {shape.patch} pixels")
        cell = shape.patch // self.cells
        size = shape.tubelet * self.cells**2 * self.bins

        def values(shown: Shown) -> Tensor:
            frames = shown.clips.mean(1)
            if self.differences:
                frames = frames.diff(dim=1) if frames.shape[1] > 1 else torch.zeros_like(frames)
                frames = torch.cat([frames, frames[:, -1:]], dim=1)[:, : shown.clips.shape[2]]
            found = hog(frames, cell=cell, bins=self.bins, signed=self.differences)
            if found.shape[1] == 1:
                found = found.expand(-1, shape.tubelet, -1, -1, -1)
            t, h, w = shown.grid
            cut = found.reshape(len(found), t, shape.tubelet, h, self.cells, w, self.cells, self.bins)
            return cut.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(len(found), t * h * w, size)

        return Computed(size, values)


@dataclass(frozen=True, kw_only=True)
class Distilled(Target):
    """Features of a frozen teacher, any encoder, at every token (UMT; MVD), each normalised over its numbers.

    The teacher sees all of the clip, as its card wants it. A grid of another size than the student's is averaged or
    interpolated to it in space; its time steps within one of the student's stand side by side (`stack`) or are averaged.
    """

    teacher: str
    """Name of the encoder, as `vitascope evaluate -m` takes it."""
    layers: tuple[int, ...] = ()
    """Blocks of a transformer whose output is wanted, side by side; none: the encoder's own grid."""
    time: Literal["stack", "mean"] = "stack"
    normalised: bool = True

    def bind(self, student: Student, device: torch.device) -> Teaching:
        """The teacher, loaded and frozen."""
        return Teacher(self, load(self.teacher, device), student, device)


class Teacher:
    """A frozen encoder that says what each of the student's tokens should hold."""

    def __init__(self, target: Distilled, encoder: Encoder, student: Student, device: torch.device) -> None:
        self.target, self.encoder, self.card = target, encoder, encoder.card
        self.tubelet = student.shape.tubelet
        self.caught: dict[int, Tensor] = {}
        if target.layers:
            self._listen()
        probe = torch.zeros(1, 3, student.shape.grid[0] * self.tubelet, 4, 4, device=device)
        self.out = self._grid(probe, student.shape.grid).shape[-1]

    def _listen(self) -> None:
        blocks = next((m.blocks for m in cast(nn.Module, self.encoder).modules() if hasattr(m, "blocks")), None)
        if blocks is None or not all(-len(blocks) <= i < len(blocks) for i in self.target.layers):
            count = "no" if blocks is None else len(blocks)
            raise ValueError(f"teacher {self.card.name} has {count} blocks; layers {self.target.layers} were asked")
        for i in self.target.layers:
            blocks[i].register_forward_hook(lambda _m, _in, out, i=i: self.caught.__setitem__(i, out))

    def __call__(self, clips: Float[Tensor, "n 3 f y x"]) -> Tokens:
        """The teacher's tokens of clips in 0 to 1."""
        n, _, f, _, _ = clips.shape
        card = self.card
        if clips.shape[-1] != card.size:
            flat = clips.transpose(1, 2).flatten(0, 1)
            flat = F.interpolate(flat, size=(card.size, card.size), mode="bilinear", antialias=True)
            clips = flat.unflatten(0, (n, f)).transpose(1, 2)
        return self.encoder(normalised(clips, card))

    def _grid(self, clips: Tensor, grid: Grid) -> Float[Tensor, "n l o"]:
        tokens = self(clips).grid
        if self.target.layers:
            many = tokens.shape[1] * tokens.shape[2] * tokens.shape[3]
            rows = [self.caught[i].reshape(len(tokens), -1, tokens.shape[-1])[:, -many:] for i in self.target.layers]
            layers = [self._fitted(r.reshape(tokens.shape), grid) for r in rows]
            return torch.cat(layers, dim=-1)
        return self._fitted(tokens, grid)

    def _fitted(self, tokens: Float[Tensor, "n t h w d"], grid: Grid) -> Float[Tensor, "n l o"]:
        n, t, h, w, d = tokens.shape
        if (h, w) != grid[1:]:
            planes = tokens.flatten(0, 1).permute(0, 3, 1, 2)
            planes = F.adaptive_avg_pool2d(planes, grid[1:]) if h >= grid[1] else F.interpolate(planes, size=grid[1:])
            tokens = planes.permute(0, 2, 3, 1).reshape(n, t, *grid[1:], d)
        if t % grid[0]:
            rows = linear_bicubic(tokens.permute(0, 1, 2, 3, 4).reshape(n, -1, d), (t, *grid[1:]), grid)
            tokens, t = rows.reshape(n, *grid, d), grid[0]
        steps = tokens.reshape(n, grid[0], t // grid[0], *grid[1:], d)
        if self.target.normalised:
            steps = F.layer_norm(steps, (d,))
        if self.target.time == "mean":
            return steps.mean(2).reshape(n, -1, d)
        return steps.permute(0, 1, 3, 4, 2, 5).reshape(n, grid[0] * grid[1] * grid[2], -1)

    def values(self, shown: Shown) -> Float[Tensor, "n l o"]:
        """Features of the whole clip."""
        rows = self._grid(shown.clips, shown.grid)
        return rows if rows.shape[-1] == self.out else rows.repeat(1, 1, self.out // rows.shape[-1])

    def follow(self, student: Student, done: float) -> None:
        """Nothing: it is frozen."""


@dataclass(frozen=True, kw_only=True)
class Latent(Target):
    """What a slow copy of the student, an exponential moving average, says of the whole clip (V-JEPA, section 3)."""

    name: str = "latent"
    distance: Distance = "smooth_l1"
    decay: tuple[float, float] = (0.998, 1.0)
    """Of the average, from the first step to the last, linearly."""

    def bind(self, student: Student, device: torch.device) -> Teaching:
        """The copy."""
        return Slow(student, self.decay)


class Slow(nn.Module):
    """The moving average of a student."""

    def __init__(self, student: Student, decay: tuple[float, float]) -> None:
        super().__init__()
        self.out, self.decay = student.shape.dim, decay
        self.student = copy.deepcopy(student).requires_grad_(False)

    def values(self, shown: Shown) -> Float[Tensor, "n l o"]:
        """Its tokens with nothing hidden, each normalised over its numbers."""
        n, count, _ = shown.blocks.shape
        every = torch.arange(count, device=shown.blocks.device).expand(n, -1)
        return F.layer_norm(self.student(shown.blocks, every, shown.grid).float(), (self.out,))

    @torch.no_grad()
    def follow(self, student: Student, done: float) -> None:
        """One step of the average."""
        first, last = self.decay
        ours, theirs = list(self.student.parameters()), [p.detach() for p in student.parameters()]
        torch._foreach_lerp_(ours, theirs, 1 - (first + (last - first) * min(done, 1.0)))


@dataclass(frozen=True, kw_only=True)
class Labels(Target):
    """The label of the clip, from the mean of the visible tokens: how a small teacher is trained, not a video model."""

    name: str = "labels"
    classes: int
    on: Where = "seen"
    depth: int = 0
    whole: ClassVar[bool] = True

    def bind(self, student: Student, device: torch.device) -> Teaching:
        """The stream's labels."""
        return Computed(self.classes, lambda shown: shown.labels)

    def loss(self, predicted: Float[Tensor, "n o"], wanted: Int[Tensor, "n"]) -> Float[Tensor, ""]:
        """Cross-entropy."""
        if wanted.min() < 0 or wanted.max() >= self.classes:
            raise ValueError(
                f"target {self.name}: labels from {wanted.min()} to {wanted.max()}, {self.classes} classes"
            )
        return F.cross_entropy(predicted.float(), wanted)


def normalised(clips: Float[Tensor, "n 3 f y x"], card: Card) -> Float[Tensor, "n 3 f y x"]:
    """From 0 to 1 to what a card's encoder was trained with."""
    mean, std = (clips.new_tensor(v).view(1, 3, 1, 1, 1) for v in (card.mean, card.std))
    return (clips - mean) / std
