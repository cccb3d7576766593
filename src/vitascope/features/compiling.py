"""Whether an encoder runs compiled: where that was measured to be faster than eager, once for each kind of device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.encoders.audit import HALF_ERROR
from vitascope.encoders.base import Encoder
from vitascope.encoders.compiled import CompiledEncoder, compiled_function
from vitascope.features.blocks import BLOCK_EXAMPLES
from vitascope.features.cluster_pool import kind_on, run_once
from vitascope.features.encode import encode_clips
from vitascope.features.extract import batch_for
from vitascope.features.extraction_options import Compile, ExtractionOptions
from vitascope.features.measured import kind_of, measured_once
from vitascope.features.timing import encode_seconds, noise_clips

GAIN = 1.05
"""An encoder has to be so many times as fast compiled to be compiled."""
ROUNDS, SECONDS = 2, 5.0
"""Least that is measured: times that each way is run, and seconds."""
CLOSE = {"float32": 1e-3, "bfloat16": HALF_ERROR}
"""Largest difference between compiled and eager vectors, in standard deviations of the vectors, by precision."""


def as_compiled(encoder: Encoder, when: Compile, options: ExtractionOptions) -> Encoder:
    """Return an encoder, eager or compiled, to be run with `options`, and log what was found.

    One that cannot be compiled stays eager, with a warning.
    """
    if when == "off":
        return encoder
    name = encoder.card.name
    if not isinstance(encoder, nn.Module) or next(encoder.parameters(), None) is None:
        log.info("%s: no network with weights, not compiled", name)
        return encoder
    compiled = CompiledEncoder(encoder, min(batch_for(encoder, options), BLOCK_EXAMPLES))
    if when == "always":
        return compiled
    try:
        gain = _gain(compiled, options)
    except UserError as error:
        log.warning("%s: not compiled (%s); it runs eagerly", name, error)
        return encoder
    log.info("%s: compiled %.2f times as fast, %s", name, gain, "used" if gain >= GAIN else "not used")
    return compiled if gain >= GAIN else encoder


def _gain(compiled: CompiledEncoder, options: ExtractionOptions) -> float:
    """Return how many times as fast as eager an encoder is compiled, on this machine or a node of a cluster.

    UserError if it cannot be compiled there, or could be once and the compiler does not work any more.
    """
    kind, run = kind_of(torch.device(options.device)), partial(_here, options.device)
    if options.on:
        kind = kind_on(options.on, options.cluster_device) or kind
        run = partial(run_once, options.on, options.cluster_device)
    gain = measured_once(compiled.encoder.card, kind, "compiled", partial(run, measured_gain, compiled))
    if gain >= GAIN:
        run(check_compiler)
    return gain


def _here(device: str, act: Callable[..., float], *given: CompiledEncoder) -> float:
    return act(*given, device)


def check_compiler(device: str) -> float:
    """Return the seconds in which something small is compiled that never was; UserError if that fails."""
    began = time.perf_counter()
    try:
        compiled_function(lambda x: x.sin() + x)(torch.ones(1000 + time.time_ns() % 100_000, device=device))
    except Exception as error:
        raise UserError(_reason(error)) from error
    return time.perf_counter() - began


def _reason(error: BaseException) -> str:
    """What a compiler says, without the hints for developers that follow."""
    return str(error).partition("\n\n")[0]


def measured_gain(compiled: CompiledEncoder, device: str) -> float:
    """Measure how many times as fast as eager an encoder is compiled; UserError if it fails or is wrong."""
    plain = compiled.to(device).encoder
    pixels = noise_clips(compiled.card, compiled.size, device)
    expected = encode_clips(plain, pixels, device=device).clip
    try:
        vectors = encode_clips(compiled, pixels, device=device).clip
    except UserError as error:
        raise UserError(_reason(error.__cause__ or error)) from error
    difference = float((vectors - expected).abs().max() / expected.std())
    if not difference <= CLOSE[compiled.card.precision]:
        raise UserError(f"its vectors would differ by {difference:.2g} standard deviations")
    best = {plain: math.inf, compiled: math.inf}
    rounds, began = 0, time.perf_counter()
    while rounds < ROUNDS or time.perf_counter() - began < SECONDS:
        best = {encoder: min(before, encode_seconds(encoder, pixels, device)) for encoder, before in best.items()}
        rounds += 1
    return best[plain] / best[compiled]
