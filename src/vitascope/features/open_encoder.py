"""An encoder as a command runs it: by its name, on a device, with the decoder and the compiler that were asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from vitascope.core.pixel_transform import Decoder
from vitascope.core.types import Card
from vitascope.features.extraction_options import Compile, ExtractionOptions

if TYPE_CHECKING:
    from vitascope.encoders.base import Encoder

Stored = TypeVar("Stored", bound=Card)


def open_encoder(
    encoder: str | Encoder | Stored, options: ExtractionOptions, *, decoder: Decoder = "pyav", compile: Compile = "off"
) -> Encoder | Stored:
    """Return an encoder ready to be run with `options`; a card, which stands for stored vectors, stays as it is.

    UserError for a name that is none, and for a decoder that cannot be run here.
    """
    if isinstance(encoder, str):
        from vitascope.encoders.load import load

        encoder = load(encoder, options.device)
    if (compile, decoder) == ("off", "pyav") or isinstance(encoder, Card):
        return encoder
    from vitascope.features.compiling import as_compiled
    from vitascope.features.decoded_by import decoded_by

    return as_compiled(decoded_by(encoder, decoder, options), compile, options)
