"""Mean patch tokens after every block of an encoder, from the same forward pass as its own output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.errors import UserError
from vitascope.core.types import Card
from vitascope.encoders.base import Encoder
from vitascope.nn.block_layout import BlockLayout, HasBlocks


def block_layout(encoder: Encoder | Card) -> BlockLayout:
    """The blocks of an encoder; UserError for one without any, for a compiled one, and for imported embeddings."""
    if isinstance(encoder, Card):
        raise UserError(f"{encoder.name}: imported embeddings hold no layers; evaluate the encoder on the videos")
    if encoder.card.compiled:
        raise UserError(f"{encoder.card.name}: layers are read between blocks, which run as one; leave out --compile")
    modules = encoder.modules() if isinstance(encoder, nn.Module) else ()
    found = next((module for module in modules if isinstance(module, HasBlocks)), None)
    layout = found.block_layout() if found is not None else BlockLayout(())
    if not layout.blocks:
        raise UserError(
            f"{encoder.card.name}: has no blocks to probe; layers are those of transformers and convolutional networks "
            "(a network of one's own names them by a method `block_layout`)"
        )
    return layout


@contextmanager
def block_means(encoder: Encoder, layers: Sequence[int], clips: int) -> Iterator[Mapping[int, Float[Tensor, "n d"]]]:
    """Record the mean patch tokens of `clips` clips after each of `layers` (from 1) while the encoder runs inside."""
    means: dict[int, Tensor] = {}
    layout = block_layout(encoder) if layers else BlockLayout(())

    def recorder(layer: int) -> Any:
        def record(module: nn.Module, given: Any, output: Any) -> None:
            means[layer] = layout.mean(output, clips)

        return record

    handles = [layout.blocks[layer - 1].register_forward_hook(recorder(layer)) for layer in layers]
    try:
        yield means
    finally:
        for handle in handles:
            handle.remove()
