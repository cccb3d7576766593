"""Examples on their way into the store: those whose clips are being encoded, and those that are complete or failed."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vitascope.core.file_identity import FileIdentity
from vitascope.features.decode_job import ClipHeader, ClipIndex, DecodeJob
from vitascope.features.freshness import source_digest
from vitascope.features.store import EmbeddedExample
from vitascope.features.view import View


class PendingExample(NamedTuple):
    """An example whose clips are being decoded, and its vectors by view, filled in as batches are encoded.

    One array per view, not one per clip: small arrays between the large ones of every batch would fragment the heap,
    and a process that embeds a long video would grow by gigabytes.
    """

    header: ClipHeader
    vectors: dict[View, npt.NDArray[np.float32]]

    def add(self, view: View, index: ClipIndex, vector: npt.NDArray[np.float32]) -> None:
        """Store the vector of one clip."""
        if view not in self.vectors:
            self.vectors[view] = np.empty((len(self.header.spans[index.sampler]), *vector.shape), np.float32)
        self.vectors[view][index.clip] = vector


class FinishedExample(NamedTuple):
    """An example that is decoded completely, or has failed."""

    job: DecodeJob
    file: FileIdentity
    """Identity of the file when it was read; without stamp and digest for a failure not to be believed later."""
    status: str
    note: str = ""

    def failed(self, status: str) -> EmbeddedExample:
        """Return the record of an example without vectors."""
        return self._with_source(EmbeddedExample(self.job.example, None, status=status))

    def embedded(self, pending: PendingExample, view: View, encoder: str) -> EmbeddedExample:
        """Return the record of an example with its vectors through a view, unless the encoder gave no numbers."""
        which, vectors = self.job.samplers.index(view.sampler), pending.vectors[view]
        if not np.isfinite(vectors).all():
            return self.failed(f"{encoder} returned NaN or infinity")
        header = pending.header
        spans, times = header.spans[which], header.times[which]
        return self._with_source(EmbeddedExample(self.job.example, vectors, spans, times, note=self.note))

    def _with_source(self, record: EmbeddedExample) -> EmbeddedExample:
        source = source_digest(self.job, self.file.size)
        return replace(record, source=source, stamp=self.file.stamp, content=self.file.content)
