"""Audit an encoder on synthetic clips: the properties every encoder must have, and its sensitivity to frame order."""

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
from vitascope.encoders.base import Encoder, ReportsLoading, Tokens, shape_problem

SLACK = {"float32": 1e-4, "bfloat16": 5e-2}
"""Largest allowed difference between a clip encoded alone and in a batch, in standard deviations of the vectors."""
TOKEN_FACTOR = 10
"""Factor on `SLACK` for tokens: a maximum over a thousand times as many values, none of them averaged."""
HALF_COSINE, HALF_ERROR = 0.999, 0.2
"""Limits for bfloat16: smallest cosine similarity to float32, and largest difference in standard deviations."""
RELATIVE_TOLERANCE = 1e-6
"""Relative difference below which two float32 values count as equal."""
LEAST_DISTANCE = 1e-5
"""Smallest cosine distance between the vectors of different clips; networks that see their input have 1e-3 and more."""
MOST_CONSTANT = 0.95
"""Largest share of the vector's dimensions that may be the same for all clips, of which most do not move."""
OCTAVES = (2, 4, 8, 16, 32)
"""Cells per side of the layers of texture in a clip, whose contrast falls with their number as in natural images."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding of an audit; `ok` is None for information that is not a check."""

    name: str
    ok: bool | None
    detail: str


def moving_clips(card: Card, count: int, seed: int = 0) -> Float[Tensor, "n 3 t y x"]:
    """Random normalized clips of a bright patch moving at constant speed over a static texture, coarse and fine."""
    if not card.size or not card.frames:
        raise UserError(f"{card.name}: released embeddings without a network cannot be audited")
    rng = generator(seed)
    size = card.size
    layers = [
        F.interpolate(torch.rand(count, 3, n, n, generator=rng), size=(size, size), mode="bilinear") / n
        for n in OCTAVES
    ]
    ground = torch.stack(layers).sum(0) * (0.7 / sum(1 / n for n in OCTAVES))
    clips = ground[:, :, None].repeat(1, 1, card.frames, 1, 1)
    side = max(size // 5, 1)
    places = torch.rand(count, 2, 2, generator=rng)
    places[:, 0, 0] *= 0.3  # from the left to the right third, so that a reversed clip differs from all others
    places[:, 1, 0] = 0.7 + 0.3 * places[:, 1, 0]
    for n in range(count):
        for t in range(card.frames):
            share = t / max(card.frames - 1, 1)
            x, y = ((places[n, 0] * (1 - share) + places[n, 1] * share) * (size - side)).long().tolist()
            clips[n, :, t, y : y + side, x : x + side] = 1.0
    mean, std = (torch.tensor(values).view(1, 3, 1, 1, 1) for values in (card.mean, card.std))
    return (clips - mean) / std


def audit(encoder: Encoder, *, device: torch.device | str = "cpu", batch: int = 4, seed: int = 0) -> list[Finding]:
    """Check `encoder`, which is on `device`, with `batch` synthetic clips, at least two.

    An exception raised by the encoder ends the audit and becomes a failed finding.
    """
    findings: list[Finding] = []
    try:
        with torch.no_grad():
            clips = moving_clips(encoder.card, max(batch, 2), seed).to(device)
            findings.extend(_findings(encoder, clips))
    except Exception as error:  # any exception of a foreign encoder is a finding
        first = (str(error).strip().splitlines() or [""])[0]
        findings.append(Finding("runs", False, f"{type(error).__name__}: {first}"))
    return findings


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
    yield _input_dependence(tokens)
    yield _different_clips(tokens)
    yield _constant_dimensions(tokens)
    yield _statistics(tokens)
    yield _norms(tokens)
    yield _deterministic(tokens, again)
    yield _batch_invariance(encoder, clips, tokens)
    yield _order("reversed", tokens, encoder(clips.flip(2)))
    shuffle = torch.randperm(clips.shape[2], generator=generator(0)).to(clips.device)
    yield _order("shuffled", tokens, encoder(clips[:, :, shuffle]))
    yield _bfloat16(encoder, clips, tokens)
    yield Finding("throughput", None, f"{len(clips) / seconds:.3g} clips/s, {len(clips)} at a time on {clips.device}")
    yield _memory(encoder, clips.device)


def _shapes(card: Card, tokens: Tokens, n: int) -> Finding:
    wrong = shape_problem(tokens, card, n)
    if wrong:
        return Finding("shapes", False, wrong)
    grid, clip = (" x ".join(map(str, part.shape)) for part in tokens)
    return Finding("shapes", True, f"grid {grid}, clip {clip}")


def _finite(tokens: Tokens) -> Finding:
    bad = sum(int((~part.isfinite()).sum()) for part in tokens)
    return Finding("finite", bad == 0, f"{bad} of {sum(part.numel() for part in tokens)} values are NaN or infinite")


def _input_dependence(tokens: Tokens) -> Finding:
    """Check that the output depends on the input: it is neither the same for all clips nor constant over channels."""
    details, dependent = [], True
    for name, part in (("vectors", tokens.clip), ("tokens", tokens.grid)):
        values = _double(part).flatten(1)
        size = float(values.square().mean().sqrt())
        between = float((values - values.roll(1, 0)).abs().amax(1).min())
        spread = float(values.std())
        details.append(f"{name} by at least {between:.2g} (std {spread:.2g})")
        dependent = dependent and between > RELATIVE_TOLERANCE * size and spread > RELATIVE_TOLERANCE * size
    return Finding("input dependence", dependent, f"different clips differ: {', '.join(details)}")


def _different_clips(tokens: Tokens) -> Finding:
    """Check that different clips have vectors that cosines tell apart, which a wrong scale of the input prevents."""
    clip = _double(tokens.clip)
    similarity = F.cosine_similarity(clip[:, None], clip[None], dim=-1)
    others = ~torch.eye(len(clip), dtype=torch.bool)
    distance = 1 - float(similarity[others].mean())
    seen = distance >= LEAST_DISTANCE  # false for NaN
    remedy = "" if seen else "; are mean, std and size of the card those of the network?"
    detail = f"cosine distance {distance:.2g} between different clips (at least {LEAST_DISTANCE:g}){remedy}"
    return Finding("different clips", seen, detail)


def _constant_dimensions(tokens: Tokens) -> Finding:
    """Check that most dimensions of the vector differ between clips."""
    clip = _double(tokens.clip)
    constant = float((clip.std(0) <= RELATIVE_TOLERANCE * float(clip.std())).double().mean())
    detail = f"{constant:.1%} of {clip.shape[1]} dimensions of the vector are the same for all clips"
    return Finding("dimensions", constant <= MOST_CONSTANT, f"{detail} (at most {MOST_CONSTANT:.0%})")


def _statistics(tokens: Tokens) -> Finding:
    """Statistics of the vectors; a channel is dead if it is constant over all clips and tokens."""
    clip, every = _double(tokens.clip), _double(tokens.grid).flatten(0, -2)
    deviation = every.std(0)
    dead = float((deviation <= RELATIVE_TOLERANCE * float(every.std())).double().mean())
    norm = float(clip.norm(dim=1).mean())
    detail = f"vectors: mean {float(clip.mean()):.3g}, std {float(clip.std()):.3g}, norm {norm:.3g}"
    return Finding("statistics", None, f"{detail}; {dead:.1%} of the token channels are dead")


def _norms(tokens: Tokens) -> Finding:
    """Norms of the tokens; outliers act as registers and carry global rather than local information."""
    norms = _double(tokens.grid).flatten(0, -2).norm(dim=1)
    middle, largest = float(norms.median()), float(norms.max())
    ratio = f", {largest / middle:.2g} times" if middle else ""
    return Finding("token norms", None, f"median {middle:.3g}, maximum {largest:.3g}{ratio}")


def _deterministic(first: Tokens, second: Tokens) -> Finding:
    difference = max(float((a - b).abs().max()) for a, b in zip(first, second, strict=True))
    return Finding("deterministic", difference == 0, f"two calls differ by at most {difference:.3g}")


def _batch_invariance(encoder: Encoder, clips: Tensor, together: Tokens) -> Finding:
    alone = [encoder(clip[None]) for clip in clips]
    limit = SLACK[encoder.card.precision]
    clip = _max_difference(torch.cat([one.clip for one in alone]), together.clip)
    grid = _max_difference(torch.cat([one.grid for one in alone]), together.grid)
    detail = f"alone and in a batch of {len(clips)}, vectors differ by {clip:.2g} std (limit {limit:g}), "
    detail += f"tokens by {grid:.2g}"
    return Finding("batch size", clip <= limit and grid <= TOKEN_FACTOR * limit, detail)


def _max_difference(values: Tensor, reference: Tensor) -> float:
    """Largest absolute difference in standard deviations of `reference`."""
    return float((values - reference).abs().max()) / (float(reference.float().std()) or 1.0)


def _loaded(encoder: Encoder) -> Finding:
    description = encoder.loaded if isinstance(encoder, ReportsLoading) else ""
    missing = "the encoder does not describe how its weights were loaded; set its attribute `loaded` to one line"
    return Finding("weights", bool(description), description or missing)


def _bfloat16(encoder: Encoder, clips: Tensor, tokens: Tokens) -> Finding:
    """Compare bfloat16 with float32: a check if the card's precision is bfloat16, otherwise information."""
    promised = encoder.card.precision == "bfloat16"
    try:
        with torch.autocast(clips.device.type, torch.bfloat16):
            half = encoder(clips)
    except Exception as error:  # not every layer has a kernel for it on every device
        first = (str(error).strip().splitlines() or [""])[0]
        return Finding("bfloat16", False if promised else None, f"does not run on {clips.device}: {first}")
    cosines, errors = [], []
    for whole, other in zip(tokens, half, strict=True):
        whole, other = _double(whole).flatten(0, -2), _double(other).flatten(0, -2)
        similarity = F.cosine_similarity(whole, other).where((whole != other).any(1), 1.0)  # 1 for two zero vectors
        cosines.append(similarity.min())
        errors.append((whole - other).abs().max() / (float(whole.std()) or 1.0))
    cosine, worst = float(torch.stack(cosines).min()), float(torch.stack(errors).max())  # keeps NaN
    within = cosine >= HALF_COSINE and worst <= HALF_ERROR
    advice = "" if within or promised else "; keep precision=float32"
    result = f"{'within' if within else 'outside'} the limits {HALF_COSINE:g} and {HALF_ERROR:g}{advice}"
    detail = f"against float32: cosine at least {cosine:.4f}, difference at most {worst:.2g} std; {result}"
    return Finding("bfloat16", within if promised else None, detail)


def _memory(encoder: Encoder, device: torch.device) -> Finding:
    """Memory of the weights, and peak memory of weights and activations."""
    weights = [*encoder.parameters(), *encoder.buffers()] if isinstance(encoder, nn.Module) else []
    own = sum(tensor.numel() * tensor.element_size() for tensor in weights) / 2**20
    peak, holder = peak_bytes(device) / 2**20, "the device" if device.type == "cuda" else "the process"
    return Finding("peak memory", None, f"{peak:.0f} MiB of {holder}, including {own:.0f} MiB of weights")


def _order(name: str, tokens: Tokens, other: Tokens) -> Finding:
    """Change of the vector when the frames are reordered: information, 0 for an encoder blind to frame order."""
    clip = _double(tokens.clip)
    distance, others = _cosine_distance(clip, _double(other.clip)), _cosine_distance(clip, clip.roll(1, 0))
    detail = f"cosine distance {distance:.2g} to the same clips {name}; {others:.2g} between different clips"
    return Finding(name, None, detail)


def _cosine_distance(a: Float[Tensor, "n c"], b: Float[Tensor, "n c"]) -> float:
    """Mean cosine distance; rounding errors between equal vectors count as 0."""
    distance = float((1 - F.cosine_similarity(a, b)).mean())
    return distance if distance > 1e-9 else 0.0


def _double(tensor: Tensor) -> Tensor:
    """`tensor` in double precision on the CPU, since not every device supports it."""
    return tensor.detach().cpu().double()
