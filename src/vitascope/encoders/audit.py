"""The audit of an encoder: what it promises by being one, and what it sees of motion; no file needed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from vitascope.core.device import generator, peak_bytes
from vitascope.core.errors import UserError
from vitascope.core.types import Card
from vitascope.encoders.base import Encoder, Tokens, misshapen

SLACK = {"float32": 1e-4, "bfloat16": 5e-2}
"""Largest allowed difference between a clip alone and in a batch, in standard deviations of the vectors."""
MANY = 10
"""Times that for tokens: the largest of a thousand times as many numbers, none of them a mean."""
HALF_COSINE, HALF_ERROR = 0.999, 0.2
"""Allowed of bfloat16: smallest cosine to a float32 vector, and largest difference in standard deviations."""
SAME = 1e-6
"""Numbers closer than this share of their size are the same number to float32."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of an audit: `ok` None is information."""

    name: str
    ok: bool | None
    detail: str


def moving_clips(card: Card, count: int, seed: int = 0) -> Float[Tensor, "n 3 t y x"]:
    """Normalized clips of a bright patch that crosses a still, smooth texture at constant speed, drawn from `seed`."""
    if not card.size or not card.frames:
        raise UserError(f"{card.name}: vectors without a network; there is nothing to audit, evaluate them")
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
    """Check `encoder`, which is on `device`, with `batch` synthetic clips, two at least.

    What an encoder does not show is a finding that does not hold: a crash ends the audit with one.
    """
    found: list[Finding] = []
    try:
        with torch.no_grad():
            clips = moving_clips(encoder.card, max(batch, 2), seed).to(device)
            found.extend(_findings(encoder, clips))
    except Exception as error:  # whatever an encoder from outside raises is the finding
        first = (str(error).strip().splitlines() or [""])[0]
        found.append(Finding("runs", False, f"{type(error).__name__}: {first}"))
    return found


def _findings(encoder: Encoder, clips: Tensor) -> Iterator[Finding]:
    yield _loaded(encoder)
    tokens = encoder(clips)
    shapes = _shapes(encoder.card, tokens, len(clips))
    yield shapes
    if not shapes.ok:
        return
    begin = time.perf_counter()
    again = encoder(clips)
    float(again.clip.sum())  # reading a number waits for the device
    seconds = time.perf_counter() - begin
    yield _finite(tokens)
    yield _alive(tokens)
    yield _statistics(tokens)
    yield _norms(tokens)
    yield _deterministic(tokens, again)
    yield _batch_free(encoder, clips, tokens)
    yield _order("reversed", tokens, encoder(clips.flip(2)))
    shuffle = torch.randperm(clips.shape[2], generator=generator(0)).to(clips.device)
    yield _order("shuffled", tokens, encoder(clips[:, :, shuffle]))
    yield _half(encoder, clips, tokens)
    yield Finding("throughput", None, f"{len(clips) / seconds:.3g} clips/s, {len(clips)} at a time on {clips.device}")
    yield _memory(encoder, clips.device)


def _shapes(card: Card, tokens: Tokens, n: int) -> Finding:
    wrong = misshapen(tokens, card, n)
    if wrong:
        return Finding("shapes", False, wrong)
    grid, clip = (" x ".join(map(str, part.shape)) for part in tokens)
    return Finding("shapes", True, f"grid {grid}, clip {clip}")


def _finite(tokens: Tokens) -> Finding:
    bad = sum(int((~part.isfinite()).sum()) for part in tokens)
    return Finding("finite", bad == 0, f"{bad} of {sum(part.numel() for part in tokens)} numbers are NaN or infinite")


def _alive(tokens: Tokens) -> Finding:
    """Whether the output depends on the input: neither one output for all clips nor one number in all channels."""
    details, alive = [], True
    for name, part in (("vectors", tokens.clip), ("tokens", tokens.grid)):
        values = _exact(part).flatten(1)
        size = float(values.square().mean().sqrt())
        between = float((values - values.roll(1, 0)).abs().amax(1).min())
        spread = float(values.std())
        details.append(f"{name} by {between:.2g} at least (they vary by {spread:.2g})")
        alive = alive and between > SAME * size and spread > SAME * size
    return Finding("answers", alive, f"different clips differ: {', '.join(details)}")


def _statistics(tokens: Tokens) -> Finding:
    """What the vectors are like; dead channels are those that no clip and no token moves."""
    clip, every = _exact(tokens.clip), _exact(tokens.grid).flatten(0, -2)
    deviation = every.std(0)
    dead = float((deviation <= SAME * float(every.std())).double().mean())
    norm = float(clip.norm(dim=1).mean())
    detail = f"vectors: mean {float(clip.mean()):.3g}, std {float(clip.std()):.3g}, norm {norm:.3g}"
    return Finding("statistics", None, f"{detail}; {dead:.1%} of the token channels are dead")


def _norms(tokens: Tokens) -> Finding:
    """Tokens far longer than the others are registers by accident: they say more of the whole than of their place."""
    norms = _exact(tokens.grid).flatten(0, -2).norm(dim=1)
    middle, largest = float(norms.median()), float(norms.max())
    ratio = f", {largest / middle:.2g} times" if middle else ""
    return Finding("token norms", None, f"median {middle:.3g}, largest {largest:.3g}{ratio}")


def _deterministic(first: Tokens, second: Tokens) -> Finding:
    apart = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
    return Finding("deterministic", apart == 0, f"two calls differ by {apart:.3g} at most")


def _batch_free(encoder: Encoder, clips: Tensor, together: Tokens) -> Finding:
    alone = [encoder(clip[None]) for clip in clips]
    limit = SLACK[encoder.card.precision]
    clip = _furthest(torch.cat([one.clip for one in alone]), together.clip)
    grid = _furthest(torch.cat([one.grid for one in alone]), together.grid)
    detail = f"alone and in a batch of {len(clips)}: {clip:.2g} std apart, limit {limit:g}; tokens {grid:.2g}"
    return Finding("batch size", clip <= limit and grid <= MANY * limit, detail)


def _furthest(ours: Tensor, known: Tensor) -> float:
    """Largest difference in standard deviations of `known`."""
    return float((ours - known).abs().max()) / (float(known.float().std()) or 1.0)


def _loaded(encoder: Encoder) -> Finding:
    told: str = getattr(encoder, "loaded", "")
    silent = "the encoder does not say how its weights came in; give it `loaded`, a line that does"
    return Finding("weights", bool(told), told or silent)


def _half(encoder: Encoder, clips: Tensor, tokens: Tokens) -> Finding:
    """How far bfloat16 moves the output: a promise of encoders whose card asks for it, else information."""
    promised = encoder.card.precision == "bfloat16"
    try:
        with torch.autocast(clips.device.type, torch.bfloat16):
            half = encoder(clips)
    except Exception as error:  # not every layer has a kernel for it on every device
        first = (str(error).strip().splitlines() or [""])[0]
        return Finding("bfloat16", False if promised else None, f"does not run on {clips.device}: {first}")
    cosines, errors = [], []
    for whole, other in zip(tokens, half, strict=True):
        whole, other = _exact(whole).flatten(0, -2), _exact(other).flatten(0, -2)
        alike = F.cosine_similarity(whole, other).where((whole != other).any(1), 1.0)  # of two zero vectors too
        cosines.append(alike.min())
        errors.append((whole - other).abs().max() / (float(whole.std()) or 1.0))
    cosine, worst = float(torch.stack(cosines).min()), float(torch.stack(errors).max())  # a NaN stays one
    within = cosine >= HALF_COSINE and worst <= HALF_ERROR
    advice = "" if within or promised else ": keep precision:float32"
    verdict = f"{'within' if within else 'over'} the limits {HALF_COSINE:g} and {HALF_ERROR:g}{advice}"
    detail = f"against float32: cosine {cosine:.4f} at least, {worst:.2g} std apart at most; {verdict}"
    return Finding("bfloat16", within if promised else None, detail)


def _memory(encoder: Encoder, device: torch.device) -> Finding:
    """Weights, and the most held at once, weights and activations together."""
    weights = [*encoder.parameters(), *encoder.buffers()] if isinstance(encoder, nn.Module) else []
    own = sum(tensor.numel() * tensor.element_size() for tensor in weights) / 2**20
    peak, holder = peak_bytes(device) / 2**20, "the device" if device.type == "cuda" else "the process"
    return Finding("peak memory", None, f"{peak:.0f} MiB held by {holder}, {own:.0f} MiB of it weights")


def _order(name: str, tokens: Tokens, other: Tokens) -> Finding:
    """How far the vector moves when the frames come in another order: information, 0 for a bag of frames."""
    clip = _exact(tokens.clip)
    distance, others = _apart(clip, _exact(other.clip)), _apart(clip, clip.roll(1, 0))
    detail = f"cosine distance {distance:.2g} to the same clips {name}; {others:.2g} between different clips"
    return Finding(name, None, detail)


def _apart(a: Float[Tensor, "n c"], b: Float[Tensor, "n c"]) -> float:
    """Mean cosine distance; what is left of equal vectors summed in another order is 0."""
    distance = float((1 - F.cosine_similarity(a, b)).mean())
    return distance if distance > 1e-9 else 0.0


def _exact(tensor: Tensor) -> Tensor:
    """In double precision, which not every device has."""
    return tensor.detach().cpu().double()
