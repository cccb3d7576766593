"""Forecast: what an evaluation will decode, encode, store and train, and how long that takes on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from vitascope.core.types import Card, Dataset
from vitascope.datasets.splits import few
from vitascope.encoders.base import Encoder
from vitascope.encoders.load import load
from vitascope.evaluation.evaluate import asked_on, brought, open_probes, recorded, trained_together
from vitascope.evaluation.runner import EvaluationConfig, key_of_result, seeds_of
from vitascope.features.decode_job import DecodeJob, Pixel, look
from vitascope.features.extract import encode_clips, key_of
from vitascope.features.source import HALF, affordable, numbers
from vitascope.features.store import Store
from vitascope.features.view import View
from vitascope.probes.base import AnyProbe, WorkloadSize
from vitascope.sampling.augmentations import at_pass
from vitascope.sampling.names import clips_of

SAMPLED = 3
"""Videos decoded to see how long that takes."""
SQUARE = 1024
"""Side of the matrices multiplied to see how fast this machine does that."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing to be done for one encoder on one dataset."""

    what: str
    """`encode` or the name of a probe."""
    clips: int = 0
    """To decode and encode."""
    stored: int = 0
    """Bytes that will be added to the store."""
    seconds: float = 0.0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """What one encoder on one dataset will take."""

    encoder: str
    dataset: str
    recorded: tuple[str, ...] = ()
    """Probes that are not asked again."""
    steps: tuple[Step, ...] = field(default_factory=tuple)

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return sum(step.seconds for step in self.steps)


@dataclass(frozen=True)
class MeasuredSpeed:
    """What this machine was measured to do."""

    encode: float
    """Seconds a clip."""
    decode: float
    """Seconds a clip, over all decoding processes."""
    multiply: float
    """Multiply-adds a second."""

    @property
    def clip(self) -> float:
        """Seconds a clip: decoding and encoding overlap."""
        return max(self.encode, self.decode)


def forecast(
    dataset: Dataset[Any],
    encoders: Sequence[str | Encoder | Card],
    probes: Sequence[str | AnyProbe],
    *,
    setting: EvaluationConfig,
) -> list[CostEstimate]:
    """One for each encoder; measures for some seconds, stores and records nothing."""
    if dataset.cards:
        encoders = brought(dataset, encoders)
    asked = open_probes(dataset, probes, setting)
    known = recorded(setting.run, dataset)
    multiply = multiply_adds_a_second(setting.options.device)
    found = []
    for name in encoders:
        encoder = load(name, setting.options.device) if isinstance(name, str) else name
        card = _card(encoder)
        open_ = [
            (one, p)
            for one in asked_on(dataset, setting)
            for p in asked
            if setting.overwrite or key_of_result(one, card, p, setting) not in known
        ]
        there = [f"{one.name}:{p.name}" for one in asked_on(dataset, setting) for p in asked if (one, p) not in open_]
        steps = _steps(encoder, dataset, open_, setting, multiply)
        found.append(CostEstimate(encoder=card.name, dataset=dataset.name, recorded=tuple(there), steps=steps))
    return found


Question = tuple[Dataset[Any], AnyProbe]


def _steps(
    encoder: Encoder | Card,
    dataset: Dataset[Any],
    questions: Sequence[Question],
    setting: EvaluationConfig,
    multiply: float,
) -> tuple[Step, ...]:
    if isinstance(encoder, Card):  # its vectors are there
        return tuple(_trainings(encoder, questions, setting, MeasuredSpeed(0.0, 0.0, multiply), live=lambda _: False))
    if not questions:
        return ()
    views = list(dict.fromkeys(v for _, p in questions for v in (p.train, p.test)))
    kept = affordable(encoder, dataset, views, setting.grids, setting.options.device)
    disk = [v for v in views if v.stored or v in kept]
    pace = measure(encoder, dataset, views, setting, multiply)
    steps = [_encoding(encoder, dataset, disk, setting, pace)] if disk else []
    return (*steps, *_trainings(encoder, questions, setting, pace, live=lambda v: v not in disk))


def _trainings(
    encoder: Encoder | Card,
    questions: Sequence[Question],
    setting: EvaluationConfig,
    pace: MeasuredSpeed,
    *,
    live: Callable[[View], bool],
) -> Iterator[Step]:
    for one in dict.fromkeys(d.name for d, _ in questions):
        asked = [(d, p) for d, p in questions if d.name == one]
        for group in trained_together([p for _, p in asked]):
            for probe in group:
                yield _asking(encoder, (asked[0][0], probe), setting, pace, live=live, trains=probe is group[0])


def _encoding(
    encoder: Encoder, dataset: Dataset[Any], views: Sequence[View], setting: EvaluationConfig, pace: MeasuredSpeed
) -> Step:
    """What is not in the store yet."""
    here = [e.id for e in dataset.examples if e.id not in dataset.missing_files]
    clips = stored = 0
    for view in views:
        known = Store(setting.store, key_of(dataset, encoder.card, view)).status()
        lacking = sum(i not in known for i in here)
        each = clips_of(view.sampler, encoder.card.frames, dataset.mean_duration)
        clips += lacking * each
        stored += lacking * each * numbers(encoder, view.reduce, setting.options.device) * HALF
    return Step(what="encode", clips=clips, stored=stored, seconds=clips * pace.clip, note=f"{len(views)} views")


def _asking(
    encoder: Encoder | Card,
    question: Question,
    setting: EvaluationConfig,
    pace: MeasuredSpeed,
    *,
    live: Callable[[View], bool],
    trains: bool,
) -> Step:
    """One probe: its own arithmetic, and whatever it has to encode anew; without `trains` another's training serves."""
    dataset, probe = question
    frames, times = _frames(_card(encoder)), len(seeds_of(probe, dataset, setting))
    passes = getattr(probe, "passes", lambda train: 1)
    cost = getattr(probe, "multiply_adds", lambda load: 0.0)
    clips, work = 0, 0.0
    for whole in dataset.folds:
        fold = few(dataset, whole, setting.seed) if dataset.train_fraction else whole
        load = _load(encoder, dataset, probe, (len(fold.train), len(fold.test)))
        if trains:
            a_pass = clips_of(at_pass(probe.train.sampler, 0), frames, dataset.mean_duration)
            clips += passes(load.train) * load.train * a_pass if live(probe.train) else 0
            work += cost(load)
        clips += load.test * clips_of(probe.test.sampler, frames, dataset.mean_duration) if live(probe.test) else 0
    seconds = times * (clips * pace.clip + work / pace.multiply)
    anew = "encoded anew at every pass" if live(probe.train) else ""
    note = anew if trains else "trained already, for the one above"
    return Step(what=f"{dataset.name}:{probe.name}", clips=times * clips, seconds=seconds, note=note)


def _card(encoder: Encoder | Card) -> Card:
    return encoder if isinstance(encoder, Card) else encoder.card


def _frames(card: Card) -> int:
    """Of a clip; published vectors do not say, and their count does not depend on it."""
    return max(card.frames, 1)


def _load(encoder: Encoder | Card, dataset: Dataset[Any], probe: AnyProbe, count: tuple[int, int]) -> WorkloadSize:
    card, tokens = _card(encoder), 1
    if probe.train.reduce != "clip" and not isinstance(encoder, Card):
        tokens = numbers(encoder, probe.train.reduce) // card.dim
    return WorkloadSize(
        train=count[0],
        test=count[1],
        train_clips=clips_of(probe.train.sampler, _frames(card), dataset.mean_duration),
        test_clips=clips_of(probe.test.sampler, _frames(card), dataset.mean_duration),
        tokens=tokens,
        dim=card.dim,
        classes=len(dataset.classes),
    )


def measure(
    encoder: Encoder, dataset: Dataset[Any], views: Sequence[View], setting: EvaluationConfig, multiply: float
) -> MeasuredSpeed:
    """Decode a few videos and encode a batch, here and now."""
    card, options = encoder.card, setting.options
    here = [e for e in dataset.examples if e.id not in dataset.missing_files]
    samplers = tuple(dict.fromkeys(v.sampler for v in views))
    decoded, started = 0, time.perf_counter()
    for e in here[:: max(1, len(here) // SAMPLED)][:SAMPLED]:
        try:
            said = look(DecodeJob("", e.id, e.path, e.span, e.fps, samplers, card))
            decoded += sum(isinstance(message, Pixel) for message, _ in said)
        except (ValueError, OSError):
            continue  # a broken one costs nothing to speak of
    decode = (time.perf_counter() - started) / max(decoded, 1) / options.processes
    blank = torch.zeros(options.batch, card.frames, card.size, card.size, 3, dtype=torch.uint8)
    times = []
    for _ in range(2):  # the first pays for starting up
        started = time.perf_counter()
        encode_clips(encoder, blank, device=options.device).clip.sum().item()
        times.append(time.perf_counter() - started)
    return MeasuredSpeed(encode=min(times) / options.batch, decode=decode, multiply=multiply)


def multiply_adds_a_second(device: str) -> float:
    """How fast `device` multiplies matrices in single precision."""
    a = torch.ones(SQUARE, SQUARE, device=device)
    (a @ a).sum().item()
    started = time.perf_counter()
    (a @ a @ a).sum().item()
    return 2 * SQUARE**3 / (time.perf_counter() - started)
