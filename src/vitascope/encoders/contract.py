"""The contract of an encoder, as a check that anyone can run on their own."""

from __future__ import annotations

from vitascope.encoders.audit import audit
from vitascope.encoders.base import Encoder


def check_encoder(encoder: Encoder, *, batch: int = 2) -> None:
    """AssertionError naming every promise of `Encoder` that `encoder` breaks; see `vitascope.encoders.audit.audit`."""
    broken = [f"{found.name}: {found.detail}" for found in audit(encoder, batch=batch) if found.ok is False]
    assert not broken, f"{encoder.card.name}: {'; '.join(broken)}"
