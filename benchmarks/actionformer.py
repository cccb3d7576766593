"""Training and inference of ActionFormer on THUMOS14's lengths, and the choice of segments, against the published form.

    python benchmarks/actionformer.py [--repeat 3] [--device cuda] [--only full]

Rows, in float32 on 1024 numbers a clip, 20 classes, 15 actions a video:

- training: ten steps on twenty videos, two a step, as long as those at every twentieth of THUMOS14's 200 training
  videos. A step is the crop, the batch, targets, forward, backward, clipping, AdamW and the average of the weights.
- inference: twenty videos as long as those at every twentieth of the 212 test videos. The batch, the network, decoding
  and suppression, with the weights that the ten steps above give.
- full: both on videos of 2,304 points, which nobody pads: what is left of the difference then.

The published form is `plain/actionformer.py`. In its favor, both sides decode and suppress with the library, as the
public code does that in C++. Both start from the same weights; losses and scores are compared. Counted is processor
time, on one thread unless --threads says otherwise (with --device cuda: time by the clock). Every number is from a
process of its own, the sides in turns; memory is what it takes beyond inputs and parameters.
"""

from __future__ import annotations

import argparse
import copy
import gc
import multiprocessing as mp
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from plain import actionformer as published
from vitascope.core.device import device as chosen
from vitascope.core.device import generator, peak_bytes
from vitascope.probes.temporal.actionformer import ActionFormer, Pyramid, random_actionformer, split_weight_decay
from vitascope.probes.temporal.localization_data import PointGrid, VideoSequence, pad_batch, random_crop
from vitascope.probes.temporal.nms import Proposals, nms
from vitascope.probes.temporal.point_targets import decode_proposals, training_losses
from vitascope.probes.training.resume import update_average

DIM, CLASSES, MOST, SEGMENTS, WINDOWS = 1024, 20, 2304, 15, (19,) * 6
RATE, DECAY, CLIP, KEPT = 1e-4, 0.05, 1.0, 0.999
CANDIDATES, ASKED = 6000, 200
TRAINING_LENGTHS = [160, 258, 350, 491, 601, 738, 855, 961, 1050, 1113, 1275, 1361, 1494, 1575, 1762, 1897]
TRAINING_LENGTHS += [2372, 3067, 4378, 7185]
TEST_LENGTHS = [221, 325, 446, 570, 686, 801, 916, 971, 1104, 1222, 1358, 1444, 1545, 1671, 1777, 1885]
TEST_LENGTHS += [2116, 2806, 4307, 7193]
"""Clips of 0.5 s every 0.125 s, at the 2.5th, 7.5th ... percentile of THUMOS14's validation and test videos."""
ROWS = {"THUMOS14": (TRAINING_LENGTHS, TEST_LENGTHS), "full": ([MOST] * 8, [MOST] * 4)}
TARGETS = {"training": 2.5, "inference": 3.0}


class Case(NamedTuple):
    """What is measured."""

    way: str
    row: str
    device: str
    threads: int


class Measured(NamedTuple):
    """Seconds and bytes of all steps and of all videos of inference; what came out."""

    seconds: dict[str, float]
    memory: float
    losses: list[float]
    scores: list[float]


def our_loss(model: ActionFormer, sights: list[VideoSequence], normalizer: float, draw: torch.Generator) -> Any:
    """The loss by the library."""
    seen = pad_batch(sights, windows=WINDOWS, limit=MOST)
    values, mask, actions = seen
    loss = training_losses(model, values, mask, actions, generator=draw, normalizer=normalizer, label_smoothing=0.1)
    return loss.classes + 2 * loss.offsets, loss.normalizer


def our_pyramid(model: ActionFormer, sight: VideoSequence) -> Pyramid:
    """What the network of the library gives for one video."""
    seen = pad_batch([sight], windows=WINDOWS, limit=MOST)
    found: Pyramid = model(seen.values, seen.mask)
    return found


def selected(pyramid: Pyramid) -> Proposals:
    """The segments of one video."""
    found = decode_proposals(pyramid, 0, min_score=0.001, candidates=2000, min_length=0.05)
    return nms(found, kind="soft", by=0.5, min_score=0.001, max_segments=ASKED, by_class=True)


def stepper(way: str, model: ActionFormer) -> Callable[[list[VideoSequence]], float]:
    """A training step."""
    weights, others = split_weight_decay(model)
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    ours = way == "ours"
    optimizer = torch.optim.AdamW(groups, lr=RATE, weight_decay=DECAY, fused=ours or None)
    average, draw, state = copy.deepcopy(model), generator(3), [100.0]
    crops = generator(4)

    def step(whole: list[VideoSequence]) -> float:
        sights = [random_crop(video, crops, limit=MOST, min_crop=0.9, margin=False) for video in whole]
        loss, state[0] = (our_loss if ours else published.published_loss)(model, sights, state[0], draw)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        if ours:
            update_average(average, model, KEPT)
        else:
            with torch.no_grad():
                for mean, p in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
                    mean.copy_(KEPT * mean + (1 - KEPT) * p)
        return float(loss.detach())

    return step


def videos(lengths: Sequence[int], where: torch.device) -> list[VideoSequence]:
    """Clip vectors and actions of some seconds, drawn."""
    draw, found = generator(0), []
    for length in lengths:
        start = torch.rand(SEGMENTS, generator=draw) * max(length - 100, 60)
        last = torch.exp(torch.rand(SEGMENTS, generator=draw) * 4 + 1)
        segments = torch.stack([start, start + last], 1).to(where)
        labels = torch.randint(CLASSES, (SEGMENTS,), generator=draw).to(where)
        values = torch.randn(length, DIM, generator=draw).to(where)
        found.append(VideoSequence(values, segments, labels, PointGrid(0.25, 0.125), length / 8))
    return found


def measured(case: Case, answers: Any) -> None:
    """Run in a fresh process: after a step and a video that are not counted, all steps, then all videos."""
    if case.threads:
        torch.set_num_threads(case.threads)
    where = chosen(case.device)
    clock = time.process_time if where.type == "cpu" else time.perf_counter
    train, test = (videos(lengths, where) for lengths in ROWS[case.row])
    order = [train[i] for i in torch.randperm(len(train), generator=generator(5)).tolist()]
    model = random_actionformer(generator(1), ActionFormer(DIM, CLASSES)).to(where)
    step, seconds = stepper(case.way, model), {}
    gc.collect()
    before = peak_bytes(where)
    losses = [step(order[:2])]
    start = clock()
    losses += [step(order[i : i + 2]) for i in range(0, len(order), 2)]
    seconds["training"] = clock() - start
    memory = peak_bytes(where) - before
    pyramid = our_pyramid if case.way == "ours" else published.predicted
    with torch.inference_mode():
        selected(pyramid(model, test[0]))
        start = clock()
        scores = [float(selected(pyramid(model, video)).scores.sum()) for video in test]
        seconds["inference"] = clock() - start
    answers.put(Measured(seconds, memory, losses, scores))


def run(case: Case) -> Measured:
    """`measured` in a new process."""
    context = mp.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=measured, args=(case, answers))
    process.start()
    answer: Measured = answers.get()
    process.join()
    return answer


def one_class_after_another(found: Proposals) -> tuple[np.ndarray, np.ndarray]:
    """Soft suppression as published: a loop over candidates for each class, then the best of all."""
    segments, scores = [], []
    for label in np.unique(found.labels):
        own = found.labels == label
        s, p = found.segments[own].copy(), found.scores[own].copy()
        taken = 0
        while len(p) and taken < ASKED:
            best = int(p.argmax())
            segments.append(s[best])
            scores.append(p[best])
            taken += 1
            rest = np.arange(len(p)) != best
            shared = (np.minimum(s[best, 1], s[rest, 1]) - np.maximum(s[best, 0], s[rest, 0])).clip(min=0)
            either = (s[best, 1] - s[best, 0] + 1e-6) + (s[rest, 1] - s[rest, 0] + 1e-6) - shared
            s, p = s[rest], p[rest] * np.exp(-((shared / either) ** 2) / 0.5)
            s, p = s[p >= 0.001], p[p >= 0.001]
    order = np.argsort(-np.array(scores), kind="stable")[:ASKED]
    return np.array(segments)[order], np.array(scores)[order]


def suppression() -> tuple[float, float]:
    """Seconds a video, both ways; they must agree."""
    rng = np.random.default_rng(0)
    middle, half = rng.uniform(0, MOST, CANDIDATES), np.exp(rng.uniform(0, 4, CANDIDATES))
    segments = np.stack([middle - half, middle + half], 1)
    found = Proposals(segments, rng.uniform(0.001, 1, CANDIDATES) ** 3, rng.integers(0, CLASSES, CANDIDATES))
    times = []
    said = []
    for way in (
        lambda: nms(found, kind="soft", by=0.5, min_score=0.001, max_segments=ASKED, by_class=True),
        lambda: one_class_after_another(found),
    ):
        start = time.perf_counter()
        said.append(way())
        times.append(time.perf_counter() - start)
    np.testing.assert_allclose(said[0][0], said[1][0])
    return times[0], times[1]


def compared(row: str, device: str, threads: int, repeat: int) -> None:
    """Print a row: both sides in turns, the ratio of each turn."""
    turns = [{way: run(Case(way, row, device, threads)) for way in ("ours", "published")} for _ in range(repeat)]
    for turn in turns:
        for name in ("losses", "scores"):
            a, b = (np.array(getattr(turn[way], name)) for way in ("ours", "published"))
            np.testing.assert_allclose(a, b, rtol=2e-3, err_msg=f"the two ways differ in their {name}")
    for what, lengths in zip(TARGETS, ROWS[row], strict=True):
        ours, theirs = (np.array([turn[way].seconds[what] for turn in turns]) for way in ("ours", "published"))
        each = len(lengths) / (2 if what == "training" else 1)
        ratios = np.sort(theirs / ours)
        print(
            f"{row} {what}: {1e3 * ours.min() / each:.0f} ms against {1e3 * theirs.min() / each:.0f} a "
            f"{'step' if what == 'training' else 'video'}, {np.median(ratios):.2f} times faster ({ratios[0]:.2f} to "
            f"{ratios[-1]:.2f}, aim {TARGETS[what]})"
        )
    ours, theirs = (np.median([turn[way].memory for turn in turns]) for way in ("ours", "published"))
    print(f"{row} memory of training: {ours / 1e6:.0f} MB against {theirs / 1e6:.0f}, {theirs / ours:.2f} times less")


def main() -> None:
    """Print times, memory and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=ROWS, help="one of the rows")
    parser.add_argument("--device", default="", help="cpu, cuda; the best there is without it")
    parser.add_argument("--repeat", type=int, default=3, help="turns of both sides")
    parser.add_argument("--threads", type=int, default=1, help="threads; 0: as many as torch takes")
    args = parser.parse_args()
    print(f"{args.threads or torch.get_num_threads()} threads, load {os.getloadavg()[0]:.2f}")
    for row in [args.only] if args.only else ROWS:
        compared(row, args.device, args.threads, args.repeat)
    ours, theirs = suppression()
    print(f"suppression of {CANDIDATES}: {1e3 * ours:.1f} ms against {1e3 * theirs:.1f} ms, {theirs / ours:.1f} times")


if __name__ == "__main__":
    main()
