"""A check of the `Encoder` contract, for the test suite of one's own encoder."""

from __future__ import annotations

from vitascope.encoders.audit import audit
from vitascope.encoders.base import Encoder


def check_encoder(encoder: Encoder, *, batch: int = 2) -> None:
    """Raise `AssertionError` with every failed check of `encoder`; see `vitascope.encoders.audit.audit`."""
    failures = [f"{f.name}: {f.detail}" for f in audit(encoder, batch=batch) if f.ok is False]
    assert not failures, f"{encoder.card.name}: {'; '.join(failures)}"
