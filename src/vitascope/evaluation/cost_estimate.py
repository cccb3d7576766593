"""Cost estimate: what an evaluation will decode, encode, store and train, and how long that takes on this machine."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from vitascope.core.types import Card, Dataset
from vitascope.datasets.splits import low_shot
from vitascope.encoders.base import Encoder
from vitascope.evaluation.evaluate import (
    group_by_training,
    low_shot_datasets,
    open_probes,
    parts_of,
    precomputed_encoders,
    prepare,
    recorded_results,
)
from vitascope.evaluation.layers import with_layers
from vitascope.evaluation.runner import EvaluationConfig, result_key, seeds_of
from vitascope.features.decode_job import ClipIndex, DecodeJob, decode_example
from vitascope.features.encode import encode_clips
from vitascope.features.extract import batch_for, store_key
from vitascope.features.open_encoder import open_encoder
from vitascope.features.source import BYTES_PER_VALUE, values_per_clip, views_within_budget
from vitascope.features.store import Store
from vitascope.features.view import View
from vitascope.probes.base import AnyProbe, WorkloadSize
from vitascope.sampling.augmentations import at_epoch
from vitascope.sampling.names import clips_of
from vitascope.video import UNREADABLE

SAMPLED_VIDEOS = 3
"""Videos decoded to measure the speed."""
MATRIX_SIZE = 1024
"""Size of the square matrices multiplied to measure the speed."""


@dataclass(frozen=True, kw_only=True)
class CostStep:
    """One step of the work for one encoder on one dataset."""

    what: str
    """`encode`, or `dataset:probe`."""
    clips: int = 0
    """Clips to decode and encode."""
    stored: int = 0
    """Bytes to be added to the store."""
    seconds: float = 0.0
    """Estimated time."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """Estimated cost of one encoder on one dataset."""

    encoder: str
    dataset: str
    recorded: tuple[str, ...] = ()
    """Tasks with recorded results, which are not run again."""
    steps: tuple[CostStep, ...] = field(default_factory=tuple)

    @property
    def seconds(self) -> float:
        """Estimated time of all steps."""
        return sum(step.seconds for step in self.steps)


@dataclass(frozen=True)
class MeasuredSpeed:
    """Measured speed of this machine."""

    encode: float
    """Seconds per clip."""
    decode: float
    """Seconds per clip, with all decoding processes."""
    multiply: float
    """Multiply-adds per second."""

    @property
    def clip(self) -> float:
        """Seconds per clip, as decoding and encoding overlap."""
        return max(self.encode, self.decode)


def estimate_costs(
    dataset: Dataset[Any],
    encoders: Sequence[str | Encoder | Card],
    probes: Sequence[str | AnyProbe],
    *,
    config: EvaluationConfig,
) -> list[CostEstimate]:
    """Return an estimate for each encoder; takes some seconds of measurement, stores and records nothing."""
    if dataset.cards:
        encoders = precomputed_encoders(dataset, encoders)
    dataset = prepare(dataset, config)
    opened = open_probes(dataset, probes, config)
    recorded = recorded_results(config.run, dataset)
    multiply = multiply_adds_a_second(config.options.device)
    estimates = []
    for name in encoders:
        encoder = open_encoder(name, config.options, decoder=config.decoder, compile=config.compile)
        card, each = _card(encoder), with_layers(opened, encoder)
        every = [
            (part, p)
            for variant in low_shot_datasets(dataset, config)
            for part, of_part in parts_of(variant, each)
            for p in of_part
        ]
        new = [config.overwrite or result_key(part, card, p, config) not in recorded for part, p in every]
        tasks = [task for task, is_new in zip(every, new, strict=True) if is_new]
        done = [f"{part.name}:{p.name}" for (part, p), is_new in zip(every, new, strict=True) if not is_new]
        used = {e.id for part, _ in tasks for e in part.examples}
        encoded = replace(dataset, examples=tuple(e for e in dataset.examples if e.id in used))
        steps = _steps(encoder, encoded, tasks, config, multiply)
        estimates.append(CostEstimate(encoder=card.name, dataset=dataset.name, recorded=tuple(done), steps=steps))
    return estimates


ProbeTask = tuple[Dataset[Any], AnyProbe]


def _steps(
    encoder: Encoder | Card,
    dataset: Dataset[Any],
    tasks: Sequence[ProbeTask],
    config: EvaluationConfig,
    multiply: float,
) -> tuple[CostStep, ...]:
    if isinstance(encoder, Card):  # its vectors are stored
        return tuple(_probe_steps(encoder, tasks, config, MeasuredSpeed(0.0, 0.0, multiply), live=lambda _: False))
    if not tasks:
        return ()
    views = _views([p for _, p in tasks])
    grid_views = views_within_budget(encoder, dataset, views, config.grid_cache_bytes, config.options.device)
    stored_views = [v for v in views if v.stored or v in grid_views]
    speed = measure_speed(encoder, dataset, views, config, multiply)
    parts = parts_of(dataset, list(dict.fromkeys(p for _, p in tasks)))
    steps = [
        _encoding_step(encoder, part, stored, config, speed)
        for part, probes in parts
        if (stored := list(dict.fromkeys(v.clips for v in _views(probes) if v in stored_views)))
    ]
    return (*steps, *_probe_steps(encoder, tasks, config, speed, live=lambda v: v not in stored_views))


def _views(probes: Sequence[AnyProbe]) -> list[View]:
    """The views of the probes, each once."""
    return list(dict.fromkeys(v for p in probes for v in (p.train, p.test)))


def _probe_steps(
    encoder: Encoder | Card,
    tasks: Sequence[ProbeTask],
    config: EvaluationConfig,
    speed: MeasuredSpeed,
    *,
    live: Callable[[View], bool],
) -> Iterator[CostStep]:
    for part in {id(d): d for d, _ in tasks}.values():
        variant_tasks = [(d, p) for d, p in tasks if d is part]
        for group in group_by_training([p for _, p in variant_tasks]):
            for probe in group:
                yield _probe_step(encoder, (part, probe), config, speed, live=live, trains=probe is group[0])


def _encoding_step(
    encoder: Encoder, dataset: Dataset[Any], views: Sequence[View], config: EvaluationConfig, speed: MeasuredSpeed
) -> CostStep:
    """Return the step of encoding what the store lacks."""
    available = [e.id for e in dataset.examples if e.id not in dataset.missing_files]
    stored, to_encode = 0, defaultdict[Any, set[str]](set)
    clips_per_example = {v.sampler: clips_of(v.sampler, encoder.card.frames, dataset.mean_duration) for v in views}
    for view in views:
        status = Store(config.store, store_key(dataset, encoder.card, view)).status()
        missing = {i for i in available if i not in status}
        values = values_per_clip(encoder, view.reduce, config.options.device)
        stored += len(missing) * clips_per_example[view.sampler] * values * BYTES_PER_VALUE
        to_encode[view.sampler] |= missing  # views that differ in their reduction share the clips
    clips = sum(len(ids) * clips_per_example[sampler] for sampler, ids in to_encode.items())
    return CostStep(what="encode", clips=clips, stored=stored, seconds=clips * speed.clip, note=f"{len(views)} views")


def _probe_step(
    encoder: Encoder | Card,
    task: ProbeTask,
    config: EvaluationConfig,
    speed: MeasuredSpeed,
    *,
    live: Callable[[View], bool],
    trains: bool,
) -> CostStep:
    """Return the step of one probe: training, test and live encoding; without `trains`, it shares another training."""
    dataset, probe = task
    frames, runs = _frames(_card(encoder)), len(seeds_of(probe, dataset, config))
    clips, work = 0, 0.0
    for full_fold in dataset.folds:
        fold = low_shot(dataset, full_fold, config.seed) if dataset.train_fraction else full_fold
        load = _workload(encoder, dataset, probe, (len(fold.train), len(fold.test)))
        if trains:
            clips_per_video = clips_of(at_epoch(probe.train.sampler, 0), frames, dataset.mean_duration)
            clips += probe.passes(load.train) * load.train * clips_per_video if live(probe.train) else 0
            work += probe.multiply_adds(load)
        clips += load.test * clips_of(probe.test.sampler, frames, dataset.mean_duration) if live(probe.test) else 0
    seconds = runs * (clips * speed.clip + work / speed.multiply)
    live_note = "encoded anew in every pass" if live(probe.train) else ""
    note = live_note if trains else "shares the training above"
    return CostStep(what=f"{dataset.name}:{probe.name}", clips=runs * clips, seconds=seconds, note=note)


def _card(encoder: Encoder | Card) -> Card:
    return encoder if isinstance(encoder, Card) else encoder.card


def _frames(card: Card) -> int:
    """Return the frames per clip; imported vectors do not state them, and their number does not depend on them."""
    return max(card.frames, 1)


def _workload(encoder: Encoder | Card, dataset: Dataset[Any], probe: AnyProbe, count: tuple[int, int]) -> WorkloadSize:
    card, tokens = _card(encoder), 1
    if probe.train.reduce != "clip" and not isinstance(encoder, Card):
        tokens = values_per_clip(encoder, probe.train.reduce) // card.dim
    return WorkloadSize(
        train=count[0],
        test=count[1],
        train_clips=clips_of(probe.train.sampler, _frames(card), dataset.mean_duration),
        test_clips=clips_of(probe.test.sampler, _frames(card), dataset.mean_duration),
        tokens=tokens,
        dim=card.dim,
        classes=len(dataset.classes),
    )


def measure_speed(
    encoder: Encoder, dataset: Dataset[Any], views: Sequence[View], config: EvaluationConfig, multiply: float
) -> MeasuredSpeed:
    """Measure the speed by decoding a few videos and encoding a batch."""
    card, options = encoder.card, config.options
    available = [e for e in dataset.examples if e.id not in dataset.missing_files]
    samplers = tuple(dict.fromkeys(v.sampler for v in views))
    decoded, started = 0, time.perf_counter()
    for e in available[:: max(1, len(available) // SAMPLED_VIDEOS)][:SAMPLED_VIDEOS]:
        try:
            messages = decode_example(DecodeJob("", e.id, e.path, e.span, e.fps, samplers, card))
            decoded += sum(isinstance(message, ClipIndex) for message, _ in messages)
        except UNREADABLE:
            continue  # a broken video costs next to nothing
    decode = (time.perf_counter() - started) / max(decoded, 1) / options.processes
    batch = batch_for(encoder, options)
    blank = torch.zeros(batch, card.frames, card.size, card.size, 3, dtype=torch.uint8)
    times = []
    for _ in range(2):  # the first run includes initialization
        started = time.perf_counter()
        encode_clips(encoder, blank, device=options.device).clip.sum().item()
        times.append(time.perf_counter() - started)
    return MeasuredSpeed(encode=min(times) / batch, decode=decode, multiply=multiply)


def multiply_adds_a_second(device: str) -> float:
    """Measure the multiply-adds per second of `device` in single precision."""
    a = torch.ones(MATRIX_SIZE, MATRIX_SIZE, device=device)
    (a @ a).sum().item()
    started = time.perf_counter()
    (a @ a @ a).sum().item()
    return 2 * MATRIX_SIZE**3 / (time.perf_counter() - started)
