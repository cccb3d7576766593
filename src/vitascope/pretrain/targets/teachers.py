"""Teachers: frozen encoders that say what tokens should hold, or which of them are worth looking at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.core.types import Card
from vitascope.encoders.base import Encoder, Tokens, call
from vitascope.encoders.load import load
from vitascope.nn.attention import Attention, Rope
from vitascope.nn.configs.video_vit import Grid

Time: TypeAlias = Literal["stack", "mean"]
SHARPNESS = 10.0
"""Of the softmax over cosines that stands in for the attention of a network without a class token."""


def axis(old: int, new: int) -> Float[Tensor, "{new} {old}"]:
    """How a line of `old` cells becomes one of `new`: each row sums to 1.

    Fewer cells are means over what they cover, parts of cells by their length; more are interpolated linearly between
    the centers, the outermost held beyond theirs.
    """
    there, here = torch.arange(old, dtype=torch.float64), torch.arange(new, dtype=torch.float64)[:, None]
    if new <= old:
        wide = old / new
        covered = torch.minimum((here + 1) * wide, there + 1) - torch.maximum(here * wide, there)
        return (covered.clamp(min=0) / wide).float()
    place = ((here + 0.5) * old / new - 0.5).clamp(0, old - 1)
    return (1 - (place - there).abs()).clamp(min=0).float()


def fitted(tokens: Float[Tensor, "n t h w d"], grid: Grid) -> Float[Tensor, "n T H W d"]:
    """Tokens brought to another grid, axis by axis; see `axis`."""
    for dim, (old, new) in enumerate(zip(tokens.shape[1:4], grid, strict=True), 1):
        if old != new:
            weights = axis(old, new).to(tokens)
            tokens = torch.tensordot(weights, tokens, dims=([1], [dim])).movedim(0, dim)
    return tokens


def prepared(clips: Float[Tensor, "n 3 f y x"], card: Card) -> Float[Tensor, "n 3 f s s"]:
    """Clips from 0 to 1 as the encoder of `card` takes them: its size, its normalization."""
    n, _, f, y, _ = clips.shape
    if y != card.size:
        flat = clips.transpose(1, 2).flatten(0, 1)
        flat = F.interpolate(flat, size=(card.size, card.size), mode="bilinear", antialias=True)
        clips = flat.unflatten(0, (n, f)).transpose(1, 2)
    mean, std = (clips.new_tensor(v).view(1, 3, 1, 1, 1) for v in (card.mean, card.std))
    return (clips - mean).div_(std)


def thinned(clips: Float[Tensor, "n 3 f y x"], every: int) -> Float[Tensor, "n 3 g y x"]:
    """The middle frame of every `every`; a picture is one frame in any case. ValueError where they do not divide."""
    frames = clips.shape[2]
    if every == 1 or frames == 1:
        return clips
    if frames % every:
        raise UserError(f"every {every} frames of {frames}: it divides the frames of a clip; change every, or frames")
    return clips[:, :, every // 2 :: every]


class Teacher:
    """A frozen encoder at work for a student: features on the student's grid.

    `out` numbers a token: those of all `layers`, of all its time steps within one of the student's, side by side.
    """

    def __init__(
        self,
        name: str,
        device: torch.device,
        *,
        frames: int,
        grid: Grid,
        layers: Sequence[int] = (),
        time: Time = "stack",
        every: int = 1,
        normalized: bool = True,
    ) -> None:
        """Load it, and try it on a clip of `frames`, which a student cuts into `grid`. ValueError where it cannot."""
        self.encoder: Encoder = load(name, device)
        self.card = self.encoder.card
        self.layers, self.time, self.every, self.normalized = tuple(layers), time, every, normalized
        self.caught: dict[int, Tensor] = {}
        if layers:
            self._listen()
        with torch.no_grad():
            tokens = self._features(torch.zeros(1, 3, frames, 8, 8, device=device))
            steps = tokens[0].shape[1]
            self.steps = 1 if steps % grid[0] else steps // grid[0]
            """Of its own, to one of the student's."""
            self.out: int = self._placed(tokens, grid).shape[-1]

    def __call__(self, clips: Float[Tensor, "n 3 f y x"], grid: Grid) -> Float[Tensor, "n l {self.out}"]:
        """What clips from 0 to 1 give at every token of `grid`; a picture stands for all the steps of one."""
        return self._placed(self._features(clips), grid)

    def _features(self, clips: Tensor) -> list[Float[Tensor, "n t h w d"]]:
        """The encoder's grid, or the layers asked for."""
        tokens: Tokens = call(self.encoder, prepared(thinned(clips, self.every), self.card))
        return [self._layer(i, tokens.grid) for i in self.layers] if self.layers else [tokens.grid]

    def _placed(self, features: Sequence[Float[Tensor, "n t h w d"]], grid: Grid) -> Float[Tensor, "n l o"]:
        return torch.cat([self._spread(tokens, grid) for tokens in features], dim=-1)

    def _spread(self, tokens: Float[Tensor, "n t h w d"], grid: Grid) -> Float[Tensor, "n l o"]:
        """One layer on the student's grid, its steps within one of the student's side by side, or their mean."""
        t, h, w = grid
        steps = fitted(tokens, (t * self.steps, h, w)).unflatten(1, (t, self.steps))
        if self.normalized:
            steps = F.layer_norm(steps, steps.shape[-1:])
        rows: Tensor = steps.mean(2) if self.time == "mean" else steps.permute(0, 1, 3, 4, 2, 5).flatten(4)
        return rows.flatten(1, 3)

    def _listen(self) -> None:
        """Keep what the blocks asked for give."""
        blocks = blocks_of(self.encoder)
        if not all(-len(blocks) <= i < len(blocks) for i in self.layers):
            count = len(blocks) or "no"
            raise UserError(f"teacher {self.card.name} has {count} blocks; layers {self.layers} were asked")
        for i in self.layers:
            blocks[i].register_forward_hook(lambda _block, _given, out, i=i: self.caught.update({i: out}))

    def _layer(self, i: int, tokens: Float[Tensor, "n t h w d"]) -> Float[Tensor, "n t h w e"]:
        """What block `i` gave at the places of `tokens`; rows of no place, such as a class token, come first."""
        rows: Any = self.caught[i]
        places = tokens.shape[:4].numel()
        here = isinstance(rows, Tensor) and rows.ndim == 3 and not places % len(rows)
        if not here or rows.shape[1] < places // len(rows):
            raise UserError(f"teacher {self.card.name}: what block {i} gives does not lie on its grid; ask no layers")
        held: Tensor = rows[:, -(places // len(rows)) :]
        return held.reshape(*tokens.shape[:4], -1)


class Guide:
    """A frozen encoder that weighs the places of a clip, for masks that keep what is worth looking at (UMT).

    The weights are the class token's attention in the last block, the mean over its heads, where the network has a
    class token. Else they are a softmax over each step's places of the cosine between token and summary vector, where
    those are of one width, times `SHARPNESS`; else the lengths of the tokens.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        """Load it; ValueError where there is none such."""
        self.encoder: Encoder = load(name, device)
        self.card = self.encoder.card
        self._given: list[Any] = []
        self._attention = self._listen()

    @torch.no_grad()
    def __call__(self, pixels: UInt8[Tensor, "n f y x 3"], grid: Grid) -> Float[Tensor, "n l"]:
        """A weight from 0 for every token of `grid`, brought from the encoder's own grid as `fitted` does."""
        clips = prepared(pixels.movedim(-1, 1).float() / 255, self.card)
        self._given.clear()
        tokens: Tokens = call(self.encoder, clips)
        weights = self._attended(tokens.grid) if self._attention else alike(tokens)
        return fitted(weights.float()[..., None], grid).flatten(1)

    def _listen(self) -> Attention | None:
        """Keep what goes into the last attention of a network with a class token."""
        blocks = blocks_of(self.encoder)
        last = getattr(blocks[-1], "attn", None) if blocks else None
        if not isinstance(last, Attention) or not _has_class_token(self.encoder):
            return None
        last.register_forward_pre_hook(lambda _attention, given: self._given.append(given))
        return last

    def _attended(self, tokens: Float[Tensor, "n t h w d"]) -> Float[Tensor, "n t h w"]:
        """What the class token looks at."""
        (given,) = self._given
        weights = class_attention(cast(Attention, self._attention), *given)
        places = tokens.shape[:4].numel() // len(weights)
        return weights[:, -places:].reshape(tokens.shape[:4])


def class_attention(attention: Attention, x: Float[Tensor, "n l d"], rope: Rope | None = None) -> Float[Tensor, "n l"]:
    """How the first token's attention is shared among all of them, the mean over the heads."""
    q, k, _ = attention.qkv(x).chunk(3, dim=-1)
    q, k = (y.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for y in (attention.q_norm(q), attention.k_norm(k)))
    if rope is not None:
        q, k = rope.turn(q), rope.turn(k)
    weights: Tensor = (q[:, :, :1] @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    return weights[:, :, 0].mean(1)


def alike(tokens: Tokens) -> Float[Tensor, "n t h w"]:
    """How near each token of a step is to the summary vector, or, where they cannot be compared, how long it is."""
    grid, clip = tokens.grid.float(), tokens.clip.float()
    if grid.shape[-1] != clip.shape[-1]:
        return grid.square().sum(-1).sqrt()
    near = F.cosine_similarity(grid, clip[:, None, None, None], dim=-1)
    shares: Tensor = (SHARPNESS * near).flatten(2).softmax(-1)
    return shares.reshape(near.shape)


def blocks_of(encoder: Encoder) -> Sequence[nn.Module]:
    """The blocks of a transformer, in order; none where it is no such network."""
    modules = encoder.modules() if isinstance(encoder, nn.Module) else ()
    found = next((m.blocks for m in modules if isinstance(getattr(m, "blocks", None), nn.ModuleList)), None)
    return list(cast(nn.ModuleList, found)) if found is not None else []


def _has_class_token(encoder: Encoder) -> bool:
    return any(bool(getattr(getattr(m, "shape", None), "cls", False)) for m in cast(nn.Module, encoder).modules())
