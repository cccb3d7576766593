"""Frozen teachers: encoders whose features are targets, or whose attention selects visible tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vitascope.core.device import to_device
from vitascope.core.errors import UserError
from vitascope.core.types import Card
from vitascope.encoders.base import Encoder, Tokens, call
from vitascope.encoders.load import load, outline
from vitascope.nn.attention import Attention, Rope
from vitascope.nn.configs.video_vit import Grid
from vitascope.pretrain.constants import constant
from vitascope.pretrain.targets.feature_cache import FeatureCache

Time: TypeAlias = Literal["stack", "mean"]
SHARPNESS = 10.0
"""Inverse temperature of the softmax over cosines that replaces attention in networks without a class token."""


def resize_matrix(old: int, new: int) -> Float[Tensor, "{new} {old}"]:
    """Matrix that resizes a line of `old` cells to `new` cells; its rows sum to 1.

    Downsampling averages by area; upsampling interpolates linearly between cell centers and extends the outermost.
    """
    old_cells, new_cells = torch.arange(old, dtype=torch.float64), torch.arange(new, dtype=torch.float64)[:, None]
    if new <= old:
        ratio = old / new
        covered = torch.minimum((new_cells + 1) * ratio, old_cells + 1) - torch.maximum(new_cells * ratio, old_cells)
        return (covered.clamp(min=0) / ratio).float()
    center = ((new_cells + 0.5) * old / new - 0.5).clamp(0, old - 1)
    return (1 - (center - old_cells).abs()).clamp(min=0).float()


def resize_grid(tokens: Float[Tensor, "n t h w d"], grid: Grid) -> Float[Tensor, "n T H W d"]:
    """Resize a grid of tokens, axis by axis; see `resize_matrix`."""
    for dim, (old, new) in enumerate(zip(tokens.shape[1:4], grid, strict=True), 1):
        if old != new:
            weights = constant(tokens, resize_matrix, old, new)
            tokens = torch.tensordot(weights, tokens, dims=([1], [dim])).movedim(0, dim)
    return tokens


def preprocess(clips: Float[Tensor, "n 3 f y x"], card: Card, size: int = 0) -> Float[Tensor, "n 3 f s s"]:
    """Resize to `size` pixels (0: the encoder's own) and normalize clips, values 0 to 1, for the encoder of `card`."""
    n, _, f, y, _ = clips.shape
    size = size or card.size
    if y != size:
        flat = clips.transpose(1, 2).flatten(0, 1)
        flat = F.interpolate(flat, size=(size, size), mode="bilinear", antialias=True)
        clips = flat.unflatten(0, (n, f)).transpose(1, 2)
    mean, std = (constant(clips, torch.tensor, v).view(1, 3, 1, 1, 1) for v in (card.mean, card.std))
    return (clips - mean).div_(std)


def subsample_frames(clips: Float[Tensor, "n 3 f y x"], every: int) -> Float[Tensor, "n 3 g y x"]:
    """Keep the middle one of every `every` frames; images are unchanged. Raises UserError if indivisible."""
    frames = clips.shape[2]
    if every == 1 or frames == 1:
        return clips
    if frames % every:
        raise UserError(f"every = {every} must divide the {frames} frames of a clip; change every or frames")
    return clips[:, :, every // 2 :: every]


def _loaded(name: str, device: torch.device) -> Encoder:
    """The encoder `name`; on the meta device without its weights."""
    return outline(name) if device.type == "meta" else load(name, device)


class Teacher:
    """A frozen encoder that provides features on the student's token grid.

    Each token has `out` values: the features of all `layers` and, with `time="stack"`, of all its time steps within one
    of the student's.
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
        size: int = 0,
    ) -> None:
        """Load an encoder and try it on a clip of `frames`; `grid` is the student's. Raises UserError if it fails."""
        self.encoder = _loaded(name, device)
        self.card = self.encoder.card
        self.layers, self.time, self.every, self.normalized = tuple(layers), time, every, normalized
        self.size = size or self.card.size
        self.outputs: dict[int, Tensor] = {}
        self.cache: FeatureCache | None = None
        """Features on disk, where the clips' keys are given."""
        self._convolves_time = not transformer_blocks(self.encoder) and _convolves_time(self.encoder)
        if layers:
            self._register_hooks()
        with torch.no_grad():
            tokens = self._features(torch.zeros(1, 3, frames, 8, 8, device=device))
            steps = tokens[0].shape[1]
            self.steps = 1 if steps % grid[0] else steps // grid[0]
            """Teacher time steps per time step of the student."""
            self.out: int = self._on_grid(tokens, grid).shape[-1]

    def __call__(
        self, clips: Float[Tensor, "n 3 f y x"], grid: Grid, keys: Sequence[bytes] = ()
    ) -> Float[Tensor, "n l {self.out}"]:
        """Compute features at every token of `grid` from clips with values 0 to 1; images are repeated in time.

        With the `keys` of the clips, those in the cache are read instead of computed.
        """
        if self.cache is None or not keys:
            return self._on_grid(self._features(clips), grid)
        features = self.cache.features(keys, lambda rows: self._features(clips[rows]))
        return self._on_grid([to_device(layer, clips.device) for layer in features], grid)

    @property
    def identity(self) -> dict[str, Any]:
        """What its features depend on besides the clips."""
        card = self.card
        return {
            "teacher": card.name,
            "digest": card.digest,
            "preprocessing": [self.size, card.mean, card.std],
            "layers": self.layers,
            "every": self.every,
        }

    def _features(self, clips: Tensor) -> list[Float[Tensor, "n t h w d"]]:
        """Compute the encoder's tokens, or the outputs of the selected layers."""
        frames = subsample_frames(clips, self.every)
        tokens: Tokens = call(self.encoder, self._memory_format(preprocess(frames, self.card, self.size)))
        return [self._layer(i, tokens.grid) for i in self.layers] if self.layers else [tokens.grid]

    def _memory_format(self, clips: Float[Tensor, "n 3 f s s"]) -> Float[Tensor, "n 3 f s s"]:
        """Channels last for convolutions over time, which are two to three times faster so in bfloat16 on a CPU."""
        return clips.contiguous(memory_format=torch.channels_last_3d) if self._convolves_time else clips

    def _on_grid(self, features: Sequence[Float[Tensor, "n t h w d"]], grid: Grid) -> Float[Tensor, "n l o"]:
        return torch.cat([self._layer_on_grid(tokens, grid) for tokens in features], dim=-1)

    def _layer_on_grid(self, tokens: Float[Tensor, "n t h w d"], grid: Grid) -> Float[Tensor, "n l o"]:
        """Resize one layer to the student's grid; concatenate or average the time steps within one of the student's."""
        t, h, w = grid
        steps = resize_grid(tokens, (t * self.steps, h, w)).unflatten(1, (t, self.steps))
        if self.normalized:
            steps = F.layer_norm(steps, steps.shape[-1:])
        rows: Tensor = steps.mean(2) if self.time == "mean" else steps.permute(0, 1, 3, 4, 2, 5).flatten(4)
        return rows.flatten(1, 3)

    def _register_hooks(self) -> None:
        """Record the outputs of the selected blocks."""
        blocks = transformer_blocks(self.encoder)
        if not all(-len(blocks) <= i < len(blocks) for i in self.layers):
            count = len(blocks) or "no"
            raise UserError(f"teacher {self.card.name} has {count} blocks; layers = {self.layers} are not among them")
        for i in self.layers:
            blocks[i].register_forward_hook(lambda _block, _given, out, i=i: self.outputs.update({i: out}))

    def _layer(self, i: int, tokens: Float[Tensor, "n t h w d"]) -> Float[Tensor, "n t h w e"]:
        """Output of block `i` at the positions of `tokens`; other rows, such as a class token, precede them."""
        rows: Any = self.outputs[i]
        positions = tokens.shape[:4].numel()
        is_sequence = isinstance(rows, Tensor) and rows.ndim == 3 and not positions % len(rows)
        if not is_sequence or rows.shape[1] < positions // len(rows):
            raise UserError(
                f"teacher {self.card.name}: the output of block {i} does not match its token grid; leave layers empty"
            )
        values: Tensor = rows[:, -(positions // len(rows)) :]
        return values.reshape(*tokens.shape[:4], -1)


class Guide:
    """A frozen encoder that computes the saliency of each token, for masks that keep salient tokens (UMT).

    With a class token, saliency is its attention in the last block, averaged over the heads. Otherwise it is a softmax
    over the positions of each step of `SHARPNESS` times the cosine between token and summary vector or, if their widths
    differ, the norm of the tokens.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        """Load the encoder. Raises UserError for an unknown name."""
        self.encoder = _loaded(name, device)
        self.card = self.encoder.card
        self._sound = torch.ones((), dtype=torch.bool, device=device)
        self._attention_inputs: list[Any] = []
        self._attention = self._register_hooks()

    @torch.no_grad()
    def __call__(self, pixels: UInt8[Tensor, "n f y x 3"], grid: Grid) -> Float[Tensor, "n l"]:
        """Compute a non-negative weight for every token of `grid`, resized from the encoder's own grid."""
        clips = preprocess(pixels.movedim(-1, 1).float() / 255, self.card)
        self._attention_inputs.clear()
        tokens: Tokens = call(self.encoder, clips)
        weights = self._class_attention(tokens.grid) if self._attention else summary_saliency(tokens)
        saliency = resize_grid(weights.float()[..., None], grid).flatten(1)
        self._sound &= ((saliency >= 0) & saliency.isfinite()).all()
        return saliency

    def check(self) -> None:
        """Raise UserError if a weight was negative or not finite so far; waits for the device."""
        if not bool(self._sound):
            raise UserError(f"guide {self.card.name}: saliency must be finite and not negative; check its weights")

    def _register_hooks(self) -> Attention | None:
        """Record the inputs of the last attention layer of a network with a class token; None for other networks."""
        blocks = transformer_blocks(self.encoder)
        last = getattr(blocks[-1], "attn", None) if blocks else None
        if not isinstance(last, Attention) or not _has_class_token(self.encoder):
            return None
        last.register_forward_pre_hook(lambda _attention, given: self._attention_inputs.append(given))
        return last

    def _class_attention(self, tokens: Float[Tensor, "n t h w d"]) -> Float[Tensor, "n t h w"]:
        """Attention of the class token to each position."""
        (inputs,) = self._attention_inputs
        weights = class_attention(cast(Attention, self._attention), *inputs)
        positions = tokens.shape[:4].numel() // len(weights)
        return weights[:, -positions:].reshape(tokens.shape[:4])


def class_attention(attention: Attention, x: Float[Tensor, "n l d"], rope: Rope | None = None) -> Float[Tensor, "n l"]:
    """Attention of the first token to all tokens, averaged over the heads."""
    q, k, _ = attention.qkv(x).chunk(3, dim=-1)
    q, k = (y.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for y in (attention.q_norm(q), attention.k_norm(k)))
    if rope is not None:
        q, k = rope.rotate(q), rope.rotate(k)
    weights: Tensor = (q[:, :, :1] @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    return weights[:, :, 0].mean(1)


def summary_saliency(tokens: Tokens) -> Float[Tensor, "n t h w"]:
    """Saliency from the similarity of each token to the summary vector or, if their widths differ, from its norm."""
    grid, clip = tokens.grid.float(), tokens.clip.float()
    if grid.shape[-1] != clip.shape[-1]:
        return grid.square().sum(-1).sqrt()
    similarity = F.cosine_similarity(grid, clip[:, None, None, None], dim=-1)
    weights: Tensor = (SHARPNESS * similarity).flatten(2).softmax(-1)
    return weights.reshape(similarity.shape)


def transformer_blocks(encoder: Encoder) -> Sequence[nn.Module]:
    """List the blocks of a transformer in order; empty for other networks."""
    modules = encoder.modules() if isinstance(encoder, nn.Module) else ()
    blocks = next((m.blocks for m in modules if isinstance(getattr(m, "blocks", None), nn.ModuleList)), None)
    return list(cast(nn.ModuleList, blocks)) if blocks is not None else []


def _convolves_time(encoder: Encoder) -> bool:
    modules = encoder.modules() if isinstance(encoder, nn.Module) else ()
    return any(isinstance(module, nn.Conv3d) for module in modules)


def _has_class_token(encoder: Encoder) -> bool:
    return any(bool(getattr(getattr(m, "shape", None), "cls", False)) for m in cast(nn.Module, encoder).modules())
