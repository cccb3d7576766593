"""Features of a fixed teacher on disk: a clip that it has seen, pixel for pixel, is not shown to it again.

A clip's key is the digest of its pixels as the student gets them, so that file, frames, crop, flip and size are all
part of it. A folder belongs to one teacher (digest of its weights), its settings and the precision it computes in.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vitascope.core import files
from vitascope.core.device import to_device
from vitascope.core.errors import DamagedFileError
from vitascope.core.files import atomic_file, check_safetensors_header
from vitascope.core.leftovers import remove_leftovers
from vitascope.core.locks import writer_lock
from vitascope.core.log import log

FOLDER = "teacher-features"
"""Folder of all teachers' features in the cache."""
VERSION = 1
"""Increment when the preprocessing of teachers changes: features cached before are computed again."""
IDENTITY = "teacher.json"
KEY_BYTES = 16
KEYS = "keys"
"""Name of the tensor of keys in a segment."""
SEGMENT_BYTES = 1 << 26
"""Bytes of features after which they are written; what is not yet written is lost if the process is killed."""
SEGMENT_SECONDS = 60.0
"""Seconds after which new features are written although there are few."""
SUFFIX = ".safetensors"
Features: TypeAlias = list[Tensor]
"""One tensor per layer of the teacher, clips first."""


def clip_keys(pixels: UInt8[Tensor, "n f y x 3"]) -> list[bytes]:
    """Digests of the clips' pixels and shape, 16 bytes each."""
    shape = str(tuple(pixels.shape[1:])).encode()
    clips = pixels.cpu().contiguous().numpy()
    return [hashlib.blake2b(clip, digest_size=KEY_BYTES, key=shape).digest() for clip in clips]


class _Place(NamedTuple):
    """Where the features of a clip are: a segment on disk and the row in it."""

    segment: str
    row: int


class FeatureCache:
    """Features of one teacher: those in its folder, which several processes may share, and those not yet written."""

    def __init__(self, root: Path, identity: Mapping[str, Any], *, limit: int) -> None:
        """Open the folder of `identity` below `root`; all folders of `root` together hold at most `limit` bytes."""
        text = json.dumps({"version": VERSION, **identity}, indent=1, sort_keys=True)
        name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        self.root, self.folder, self.limit = root, root / name, limit
        self.hits, self.misses, self.full = 0, 0, False
        self._places: dict[bytes, _Place] = {}
        self._segments: dict[str, Any] = {}
        self._damaged: set[str] = set()
        self._pending: dict[bytes, Features] = {}
        self._pending_bytes, self._written = 0, time.monotonic()
        self._listed = -1
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.folder)
        if not (self.folder / IDENTITY).exists():
            files.write(self.folder / IDENTITY, text.encode())
        self._find_segments()

    def features(self, keys: Sequence[bytes], compute: Callable[[list[int]], Features]) -> Features:
        """Features of the clips `keys`; `compute(rows)` is called for the rows of those that are nowhere, if any."""
        if not all(self._known(key) for key in keys):
            self._find_segments()
        first = {key: row for row, key in reversed(list(enumerate(keys))) if not self._known(key)}
        missing = sorted(first.values())
        computed = compute(missing) if missing else []
        rows = {keys[row]: [layer[i] for layer in computed] for i, row in enumerate(missing)}
        found = [rows[key] if key in rows else self._read(key) for key in keys]
        self.hits, self.misses = self.hits + len(keys) - len(missing), self.misses + len(missing)
        # what was not yet written is where it was computed, what is read from disk is not
        device = next((layers[0].device for layers in found if layers[0].device.type != "cpu"), torch.device("cpu"))
        stacked = [torch.stack([to_device(layer, device) for layer in layers]) for layers in zip(*found, strict=True)]
        self._keep(rows)
        return stacked

    def flush(self) -> None:
        """Write what is not yet written, unless another process has written it or there is no more room."""
        self._written = time.monotonic()
        if self._pending:
            with writer_lock(self.root / ".lock", self.root):
                self._find_segments()
                self._write({key: value for key, value in self._pending.items() if key not in self._places})
            self._pending, self._pending_bytes = {}, 0
            self._find_segments()

    def _known(self, key: bytes) -> bool:
        return key in self._places or key in self._pending

    def _read(self, key: bytes) -> Features:
        if key in self._pending:
            return self._pending[key]
        place = self._places[key]
        segment = self._segments[place.segment]
        names = sorted(name for name in segment.keys() if name != KEYS)  # noqa: SIM118 - no mapping
        return [segment.get_slice(name)[place.row : place.row + 1][0] for name in names]

    def _keep(self, rows: Mapping[bytes, Features]) -> None:
        """Hold new features, where they are, until there are enough to write: only then the host waits for them."""
        if self.full:
            return
        for key, layers in rows.items():
            self._pending[key] = [layer.detach().clone() for layer in layers]
            self._pending_bytes += sum(layer.nbytes for layer in layers)
        if self._pending_bytes >= SEGMENT_BYTES or time.monotonic() - self._written > SEGMENT_SECONDS:
            self.flush()

    def _write(self, rows: Mapping[bytes, Features]) -> None:
        """Write one segment for all clips whose features have the same shapes; the caller holds the lock."""
        groups: dict[str, dict[bytes, Features]] = {}
        for key, layers in rows.items():
            groups.setdefault(str([(layer.shape, layer.dtype) for layer in layers]), {})[key] = layers
        for group in groups.values():
            needed = sum(layer.nbytes for layers in group.values() for layer in layers) + len(group) * KEY_BYTES
            if _bytes_below(self.root) + needed > self.limit:
                self._refuse_more()
                return
            path = self.folder / f"{hashlib.blake2b(b''.join(group), digest_size=8).hexdigest()}{SUFFIX}"
            keys = np.frombuffer(b"".join(group), np.uint8).reshape(-1, KEY_BYTES)
            by_layer = list(zip(*group.values(), strict=True))
            stacked = {f"layer{i:03d}": torch.stack(layer).cpu() for i, layer in enumerate(by_layer)}
            with atomic_file(path) as aside:
                save_file({KEYS: torch.from_numpy(keys.copy()), **stacked}, aside)

    def _refuse_more(self) -> None:
        self.full = True
        log.warning(
            "%s: the features of teachers fill the %.3g GB allowed; those of other clips are computed at every step; "
            "allow more with --teacher-cache, or remove folders of teachers no longer used",
            self.root,
            self.limit / 1e9,
        )

    def _find_segments(self) -> None:
        """Open the segments written since the last look, by any process."""
        changed = self.folder.stat().st_mtime_ns
        if changed == self._listed:
            return
        self._listed = changed
        names = sorted(name for name in os.listdir(self.folder) if name.endswith(SUFFIX) and not name.startswith("."))
        for name in names:
            if name not in self._segments and name not in self._damaged:
                self._open(name)

    def _open(self, name: str) -> None:
        """Open a segment; a damaged one is reported once and not used."""
        path = self.folder / name
        try:
            segment, keys = read_segment(path)
        except (DamagedFileError, OSError) as error:
            self._damaged.add(name)
            log.warning("%s: cannot be read, its features are computed again (%s)", path, error)
            return
        self._segments[name] = segment
        for row, key in enumerate(keys):
            self._places.setdefault(key, _Place(name, row))


def read_segment(path: Path) -> tuple[Any, list[bytes]]:
    """Map a segment and read its keys; DamagedFileError if its tensors are not features of as many clips."""
    check_safetensors_header(path, "remove it")
    try:
        segment: Any = safe_open(path, framework="pt")
        keys = segment.get_tensor(KEYS)
    except SafetensorError as error:
        raise DamagedFileError(f"{path}: not features of clips ({error}); remove it") from error
    counts = {segment.get_slice(name).get_shape()[:1] == [len(keys)] for name in segment.keys()}  # noqa: SIM118
    if keys.dtype != torch.uint8 or keys.shape[1:] != (KEY_BYTES,) or counts != {True}:
        raise DamagedFileError(f"{path}: not features of clips; remove it")
    return segment, [key.tobytes() for key in keys.numpy()]


def _bytes_below(root: Path) -> int:
    """Bytes of all segments below `root`."""
    return sum(path.stat().st_size for path in root.glob(f"*/*{SUFFIX}"))
