"""Encoding: pixels of clips to tokens, to what views read of them, and to vectors on the host."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from jaxtyping import UInt8
from torch import Tensor

from vitascope.core.errors import UserError
from vitascope.encoders.base import Encoder, Tokens, call, shape_problem
from vitascope.encoders.layers import block_means
from vitascope.encoders.preprocess import to_tensor
from vitascope.features.layers import layer_number
from vitascope.features.view import Reduce, View


def encode_clips(encoder: Encoder, pixels: UInt8[Tensor, "n t y x 3"], *, device: str = "cpu") -> Tokens:
    """Normalize clips and run the encoder without autograd, at the precision its card states.

    Raises UserError if the output does not have the shape that the card states.
    """
    half = encoder.card.precision == "bfloat16"
    with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16) if half else nullcontext():
        tokens: Tokens = call(encoder, to_tensor(pixels.to(device), encoder.card))
    wrong = shape_problem(tokens, encoder.card, len(pixels))
    if wrong:
        raise UserError(f"{encoder.card.name} returned {wrong}; run `vitascope check`")
    return tokens


def reduce_tokens(tokens: Tokens, reduce: Reduce) -> Tensor:
    """Reduce tokens as a view asks; see `features.view.Reduce`."""
    if reduce == "clip":
        return tokens.clip
    return tokens.grid.mean((2, 3)) if reduce == "time" else tokens.grid


def encode_views(
    encoder: Encoder, pixels: UInt8[Tensor, "n t y x 3"], views: Sequence[View], *, device: str = "cpu"
) -> dict[View, Tensor]:
    """Encode clips once, and return what each of `views` reads of them: outputs of the encoder, or of its blocks."""
    layers = {view: layer_number(view.layer) for view in views if view.layer}
    with block_means(encoder, sorted(set(layers.values())), len(pixels)) as means:
        tokens = encode_clips(encoder, pixels, device=device)
    return {v: means[layers[v]] if v in layers else reduce_tokens(tokens, v.reduce) for v in views}


def encode_batch(
    encoder: Encoder, views: Sequence[View], device: str, pixels: UInt8[Tensor, "n t y x 3"]
) -> dict[View, Tensor]:
    """Begin to encode a batch; on a GPU, the vectors are on the host when it has done what it was given."""
    encoded = encode_views(encoder, pixels, views, device=device)
    return {view: values.float().to("cpu", non_blocking=True) for view, values in encoded.items()}
