"""The audit of an encoder: what it promises by being one, and what it sees of motion; no file needed."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vitascope.encoder import Encoder, Tokens, misshapen
from vitascope.runtime import generator, peak_bytes
from vitascope.types import Card

SLACK = {"float32": 1e-4, "bfloat16": 5e-2}
"""Largest allowed difference between a clip alone and in a batch, in standard deviations of the vectors."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of an audit: `ok` None is information."""

    name: str
    ok: bool | None
    detail: str


def moving_clips(card: Card, count: int, seed: int = 0) -> Float[Tensor, "n 3 t y x"]:
    """Normalised clips of a bright patch that crosses a still, smooth texture at constant speed, drawn from `seed`."""
    rng = generator(seed)
    size = card.size
    coarse = torch.rand(count, 3, 8, 8, generator=rng)
    ground = F.interpolate(coarse, size=(size, size), mode="bilinear", align_corners=False) * 0.7
    clips = ground[:, :, None].repeat(1, 1, card.frames, 1, 1)
    side = max(size // 5, 1)
    places = torch.rand(count, 2, 2, generator=rng)
    places[:, 0, 0] *= 0.3  # from the left third to the right, so that no reversal is a clip of its own
    places[:, 1, 0] = 0.7 + 0.3 * places[:, 1, 0]
    for n in range(count):
        for t in range(card.frames):
            share = t / max(card.frames - 1, 1)
            x, y = ((places[n, 0] * (1 - share) + places[n, 1] * share) * (size - side)).long().tolist()
            clips[n, :, t, y : y + side, x : x + side] = 1.0
    mean, std = (torch.tensor(values).view(1, 3, 1, 1, 1) for values in (card.mean, card.std))
    return (clips - mean) / std


def audit(encoder: Encoder, *, device: torch.device | str = "cpu", batch: int = 4, seed: int = 0) -> list[Finding]:
    """Check `encoder`, which is on `device`, with `batch` synthetic clips; a crash is a finding that does not hold."""
    clips = moving_clips(encoder.card, batch, seed).to(device)
    try:
        with torch.no_grad():
            return _findings(encoder, clips)
    except Exception as error:  # whatever an encoder from outside raises is the finding
        first = (str(error).strip().splitlines() or [""])[0]
        return [Finding("runs", False, f"{type(error).__name__}: {first}")]


def _findings(encoder: Encoder, clips: Tensor) -> list[Finding]:
    tokens = encoder(clips)
    shapes = _shapes(encoder.card, tokens, len(clips))
    if not shapes.ok:
        return [shapes]
    begin = time.perf_counter()
    again = encoder(clips)
    float(again.clip.sum())  # reading a number waits for the device
    seconds = time.perf_counter() - begin
    shuffled = clips[:, :, torch.randperm(clips.shape[2], generator=generator(0)).to(clips.device)]
    memory = peak_bytes(clips.device) / 2**20
    return [
        shapes,
        _finite(tokens),
        _deterministic(tokens, again),
        _batch_free(encoder, clips, tokens),
        _loaded(encoder),
        _order("reversed", tokens, encoder(clips.flip(2))),
        _order("shuffled", tokens, encoder(shuffled)),
        Finding("throughput", None, f"{len(clips) / seconds:.3g} clips/s, {len(clips)} at a time on {clips.device}"),
        Finding("peak memory", None, f"{memory:.0f} MiB"),
    ]


def _shapes(card: Card, tokens: Tokens, n: int) -> Finding:
    wrong = misshapen(tokens, card, n)
    if wrong:
        return Finding("shapes", False, wrong)
    grid, clip = (" x ".join(map(str, part.shape)) for part in tokens)
    return Finding("shapes", True, f"grid {grid}, clip {clip}")


def _finite(tokens: Tokens) -> Finding:
    bad = sum(int((~part.isfinite()).sum()) for part in tokens)
    return Finding("finite", bad == 0, f"{bad} of {sum(part.numel() for part in tokens)} numbers are NaN or infinite")


def _deterministic(first: Tokens, second: Tokens) -> Finding:
    apart = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
    return Finding("deterministic", apart == 0, f"two calls differ by {apart:.3g} at most")


def _batch_free(encoder: Encoder, clips: Tensor, together: Tokens) -> Finding:
    alone = torch.cat([encoder(clip[None]).clip for clip in clips])
    scale = float(together.clip.float().std()) or 1.0
    apart = float((alone - together.clip).abs().max()) / scale
    limit = SLACK[encoder.card.precision]
    return Finding(
        "batch size", apart <= limit, f"alone and in a batch of {len(clips)}: {apart:.2g} std apart, limit {limit:g}"
    )


def _loaded(encoder: Encoder) -> Finding:
    told: str = getattr(encoder, "loaded", "")
    return Finding("weights", True if told else None, told or "the encoder does not say how its weights came in")


def _order(name: str, tokens: Tokens, other: Tokens) -> Finding:
    """How far the vector moves when the frames come in another order: information, 0 for a bag of frames."""
    clip = tokens.clip.double()
    distance, others = _apart(clip, other.clip.double()), _apart(clip, clip.roll(1, 0))
    detail = f"cosine distance {distance:.2g} to the same clips {name}; {others:.2g} between different clips"
    return Finding(name, None, detail)


def _apart(a: Float[Tensor, "n c"], b: Float[Tensor, "n c"]) -> float:
    """Mean cosine distance; what is left of equal vectors summed in another order is 0."""
    distance = float((1 - F.cosine_similarity(a, b)).mean())
    return distance if distance > 1e-9 else 0.0
