"""Another decoder for an encoder's videos: a card of its own, since decoders round colors differently."""

from __future__ import annotations

import copy
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.pixel_transform import Decoder
from vitascope.encoders.base import Encoder
from vitascope.encoders.card_of import variant_of
from vitascope.encoders.precomputed import Release
from vitascope.features.extraction_options import ExtractionOptions
from vitascope.video import torchcodec_backend


def decoded_by(encoder: Encoder, decoder: Decoder, options: ExtractionOptions) -> Encoder:
    """Return an encoder whose videos `decoder` decodes; published vectors stay as they are.

    Raises UserError if this machine cannot run the decoder (on a cluster its nodes decode, so nothing is known), or if
    the card of the encoder cannot be set.
    """
    if decoder == "pyav" or isinstance(encoder, Release):
        return encoder
    if not options.on:
        torchcodec_backend.require(decoder)
    decoded: Any = copy.copy(encoder)
    try:
        decoded.card = variant_of(encoder.card, decoder=decoder)
    except AttributeError as error:  # frozen, or computed
        raise UserError(
            f"{encoder.card.name}: decoder {decoder} needs an encoder whose card can be set ({error})"
        ) from error
    return decoded  # type: ignore[no-any-return]
