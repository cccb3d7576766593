"""Correctness on a device against the CPU: encoders, probes and pretraining. Parts of `gpu.py`.

Float32 is compared with TF32 off, where two devices differ by the order of their sums alone. In bfloat16 a number keeps
8 bits, so outputs differ by percents of their standard deviation, and what counts is that none differs by much more.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpu_rows import Report, Row, Size, at_most

ROOT = Path(__file__).resolve().parents[1]
FLOAT32, BFLOAT16 = 1e-4, 0.15
"""Largest difference of an encoder's output from the CPU's, in standard deviations of that output."""
BFLOAT16_MEAN = 0.03
"""Root mean square of that difference in bfloat16."""
AGREEMENT = {"knn/clip": 0.99, "linear": 0.97, "attentive": 0.9}
"""Least share of test examples that get the class that they get on the CPU."""
SCORE = 3.0
"""Largest difference of a temporal score from the CPU's, points: trainings part ways after many steps."""
RESUMED, SHARED = 1e-3, 0.05
"""Distance of weights over the way that training moved them: of a resumed run, and of one by two processes."""


def encoders(device: torch.device, size: Size, report: Report) -> None:
    """Every encoder with known outputs, in float32 and bfloat16, against its own outputs on the CPU in float32."""
    sys.path.insert(0, str(ROOT / "tests"))
    rebuild: Any = vars(import_module("official_files"))["rebuild"]
    worst: dict[str, tuple[float, str]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        rebuild(ROOT / "tests" / "fixtures" / "official_encoders", Path(temporary))
        count = 0
        for name, differences in _compared(Path(temporary), device, size.goldens):
            count += 1
            for kind, value in differences.items():
                worst[kind] = max(worst.get(kind, (0.0, name)), (value, name))
    report(Row("encoders compared", count, "files"))
    for kind, limit in (("float32", FLOAT32), ("bfloat16", BFLOAT16), ("bfloat16, mean", BFLOAT16_MEAN)):
        value, name = worst[kind]
        report(at_most(f"{kind}: largest difference ({name})", value, limit, "standard deviations"))


def _compared(folder: Path, device: torch.device, most: int) -> Iterator[tuple[str, dict[str, float]]]:
    from vitascope.encoders import golden

    for number, case in enumerate(golden.index(folder)[: most or None]):
        arrays = golden.read_arrays(folder, case["io"], ())
        inputs = [golden.clips(array) for name, array in arrays.items() if golden.is_input(name, array)]
        for file in (case[key] for key in ("checkpoint", "hf") if case.get(key)):
            _, encoder, _ = golden.open_case(folder, case, file)
            assert isinstance(encoder, nn.Module)
            expected = [golden.outputs_of(encoder, clips) for clips in inputs]
            encoder.to(device)
            found = {"float32": 0.0, "bfloat16": 0.0, "bfloat16, mean": 0.0}
            for clips, outputs in zip(inputs, expected, strict=True):
                for half in (False, True):
                    with torch.autocast(device.type, torch.bfloat16, enabled=half):
                        again = golden.outputs_of(encoder, clips.to(device))
                    most_off, mean_off = _distance(outputs, again)
                    kind = "bfloat16" if half else "float32"
                    found[kind] = max(found[kind], most_off)
                    if half:
                        found["bfloat16, mean"] = max(found["bfloat16, mean"], mean_off)
            yield f"{golden.case_name(case, number)}/{Path(file).suffix[1:]}", found


def _distance(expected: Mapping[str, Sequence[Tensor]], found: Mapping[str, Sequence[Tensor]]) -> tuple[float, float]:
    """Largest and root-mean-square difference over all floating-point outputs, in standard deviations; inf for NaN."""
    most, mean = 0.0, 0.0
    for name, outputs in expected.items():
        for one, other in zip(outputs, found[name], strict=True):
            if not one.is_floating_point() or one.numel() < 2:
                continue
            off = (one.double() - other.double().cpu()) / one.double().std().clamp_min(1e-12)
            if not off.isfinite().all():
                return float("inf"), float("inf")
            most, mean = max(most, float(off.abs().max())), max(mean, float(off.square().mean().sqrt()))
    return most, mean


def probes(device: torch.device, size: Size, report: Report) -> None:
    """Every kind of probe, trained and tested on a device and on the CPU with the same vectors."""
    from vitascope.probes import options
    from vitascope.probes.methods.localize import LocalizationProbe
    from vitascope.probes.methods.segment import SegmentationProbe

    epochs = size.epochs
    probe: Any
    for text in ("knn/clip", "linear", f"attentive+epochs={epochs}"):
        name = text.partition("+")[0]
        probe = options.probe(text)
        sides = [_classified(n, seed, tokens=name == "attentive") for seed, n in enumerate((120, 90))]
        tables = [
            np.asarray(probe.predict(*(_on(s, where) for s in sides), seed=0), np.float32) for where in ("cpu", device)
        ]
        same, least = float((tables[0].argmax(1) == tables[1].argmax(1)).mean()), AGREEMENT[name]
        report(Row(f"{name}: same class as on the CPU", same, "share", f"at least {least}", same >= least))
    tiny_localize = LocalizationProbe(
        width=16, heads=2, windows=(9, 9, 9, 9), epochs=epochs, warmup=1, min_steps=0, lr=3e-3, ema=0.98, length=96
    )
    tiny_segment = SegmentationProbe(layers=3, width=32, epochs=epochs, lr=3e-3, channel_dropout=0.0)
    kinds: tuple[tuple[str, Any, str], ...]
    kinds = (("localize", tiny_localize, "segments"), ("segment", tiny_segment, "timeline"))
    for name, probe, kind in kinds:
        train, test = (_untrimmed(n, seed, kind) for seed, n in enumerate((8, 6)))
        scores = []
        for where in ("cpu", device):
            predictions = probe.predict(_on(train, where), _on(test, where), seed=0)
            scores.append(next(iter(probe.score(predictions, [e.truth for e in test.examples]).values())))
        what = f"{name}: difference of the score from the CPU's {scores[0]:.1f}"
        report(at_most(what, abs(scores[0] - scores[1]), SCORE, "points"))


def _on(features: Any, device: Any) -> Any:
    return replace(features, values=features.values.to(device))


def _classified(count: int, seed: int, *, tokens: bool) -> Any:
    """Vectors, or grids of tokens, of three classes under noise."""
    from vitascope.core.types import Example
    from vitascope.features.base import StoredFeatures

    draw = torch.Generator().manual_seed(seed)
    truth = torch.arange(count) % 3
    values = torch.randn(count, *((2, 2, 2) if tokens else ()), 16, generator=draw)
    values[..., :3] += 3 * torch.eye(3)[truth].reshape(count, *([1] * (values.ndim - 2)), 3)
    examples = [Example(id=f"{seed}-{i}", path="", truth=int(t)) for i, t in enumerate(truth)]
    return StoredFeatures(examples, ["a", "b", "c"], values, torch.arange(count + 1))


def _untrimmed(count: int, seed: int, kind: str) -> Any:
    """Videos of 12 to 18 seconds, four vectors a second, in which three actions follow each other in some order."""
    from vitascope.core.types import Example, Segment, Timeline
    from vitascope.features.base import ClipSpans, StoredFeatures

    draw, stride, fps = np.random.default_rng(seed), 0.25, 10.0
    examples, values, spans = [], [], []
    for number in range(count):
        duration = int(draw.integers(12, 18))
        order, third = draw.permutation(3), duration / 3
        starts = np.arange(int((duration - 0.5) / stride) + 1) * stride
        at = np.minimum(((starts + 0.25) / third).astype(int), 2)
        values.append(np.eye(5)[order[at]] + 0.3 * draw.standard_normal((len(starts), 5)))
        spans.append(starts[:, None] + [0.0, 0.5])
        frames = order[np.minimum((np.arange(int(duration * fps)) / fps / third).astype(int), 2)]
        pieces = tuple(Segment(i * third, (i + 1) * third, int(label)) for i, label in enumerate(order))
        truth: Any = pieces if kind == "segments" else Timeline.of(frames.tolist(), fps)
        examples.append(Example(id=f"{seed}-{number}", path="", truth=truth, duration=float(duration)))
    first = torch.tensor([0, *(len(x) for x in values)]).cumsum(0)
    table = ClipSpans(np.concatenate(spans), first)
    return StoredFeatures(examples, ["a", "b", "c"], torch.tensor(np.concatenate(values)).float(), first, table)


def pretraining(device: torch.device, size: Size, report: Report) -> None:
    """Steps of pretraining: killed and resumed against undisturbed, and two processes (DDP) against one."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        whole = _weights(_trained(root / "whole", str(device), size))
        _trained(root / "killed", str(device), size, kill_at=size.steps * 3 // 5)
        resumed = _weights(_trained(root / "killed", str(device), size))
        equal = all(torch.equal(whole[name], resumed[name]) for name in whole)
        way = _moved(whole, _weights(_trained(root / "begun", str(device), replace(size, steps=1))))
        report(at_most("killed and resumed: distance from undisturbed", _moved(whole, resumed) / way, RESUMED))
        report(Row("killed and resumed: same bits", float(equal), "", "1 on a CPU", equal or device.type != "cpu"))
        two = _weights(_trained(root / "two", str(device), size, world=2))
        report(at_most("two processes (DDP): distance from one", _moved(whole, two) / way, SHARED))


def _weights(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return {name: value.double() for name, value in load_file(file).items() if value.is_floating_point()}


def _moved(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    return float(sum((one[name] - other[name]).square().sum() for name in one) ** 0.5)


def _trained(run: Path, device: str, size: Size, *, kill_at: int = 0, world: int = 1) -> Path:
    """Train in new processes, and return the file of the encoder; with `kill_at` they die before that step."""
    context = multiprocessing.get_context("spawn")
    place = f"file://{run.parent}/{run.name}-rendezvous"
    started = [
        context.Process(
            target=_train, args=(run, device, size), kwargs={"kill_at": kill_at, "rank": (rank, world, place)}
        )
        for rank in range(world)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join()
    wanted = -signal.SIGKILL if kill_at else 0
    if any(process.exitcode != wanted for process in started):
        raise RuntimeError(f"training ended with {[process.exitcode for process in started]} instead of {wanted}")
    return run / "model.safetensors"


def _train(run: Path, device: str, size: Size, *, kill_at: int, rank: tuple[int, int, str]) -> None:
    """Train in this process, which is one of `rank[1]`; two on one GPU talk through gloo, as nccl wants one each."""
    from vitascope.pretrain import train
    from vitascope.pretrain.recipes import motionlab_tiny

    place, world, file = rank
    if world > 1:
        os.environ |= {"WORLD_SIZE": str(world), "RANK": str(place), "LOCAL_RANK": "0"}
        torch.distributed.init_process_group("gloo", init_method=file, rank=place, world_size=world)
    recipe = motionlab_tiny.build("motionlab_tiny_pixels", steps=size.steps, clips=16 * size.batch)
    recipe = replace(recipe, batch=size.batch, optimizer="adamw", precision="float32", warmup=0)  # type: ignore[arg-type]
    drawn, calls = vars(train)["draw_masks"], 0

    def counted(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return drawn(*args, **more)

    vars(train)["draw_masks"] = counted
    where = "cuda:0" if device == "cuda" and world > 1 else device
    config = train.TrainConfig(device=where, save_every=max(1, size.steps // 4), check_every=0, quiet=True)
    train.pretrain(recipe, run, config)  # type: ignore[arg-type]
    if world > 1:
        torch.distributed.destroy_process_group()
