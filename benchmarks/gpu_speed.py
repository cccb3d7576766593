"""Speed on a GPU, and a real training. Parts of `gpu.py`, measured by the benchmarks of the same names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gpu_rows import Report, Row, Size, aimed, at_most
from vitascope.core.errors import UserError, first_line
from vitascope.core.pixel_transform import Decoder

ROOT = Path(__file__).resolve().parents[1]
WORKERS = max(1, (os.cpu_count() or 2) - 1)
ENCODER, STEP, DECODED, LEFT, LOOP = 0.55, 0.45, 0.90, 0.90, 2.0
"""Aims: shares of the peak of ViT-L and of a step, of the step left with decoding, of the slower half, times a loop."""


def encoders(device: torch.device, size: Size, report: Report) -> None:
    """ViT-B, L, H and g at 16 x 224 x 224 in bfloat16, eager and compiled; ViT-L first, which has an aim."""
    import encoders as benchmark
    from vitascope.nn.configs.video_vit import VideoViTConfig

    small = device.type != "cuda"
    for name in ("ViT-L", "ViT-B", "ViT-H", "ViT-g"):
        if small:  # the code, not the network
            benchmark.SHAPES[name] = VideoViTConfig(dim=32, depth=1, heads=2, mlp=64)
        modes = benchmark.MODES if name in ("ViT-L", "ViT-B") and not small else benchmark.MODES[:1]
        rates = benchmark.measure(name, torch.bfloat16, device, int(small), size.seconds, modes=modes)
        for mode, rate in rates.items():
            report(Row(f"{name} bfloat16 {mode}, batch {rate.batch}", rate.clips, "clips/s"))
        best, what = max(rate.share for rate in rates.values()), f"{name}: share of the peak"
        report(aimed(what, best, ENCODER) if name == "ViT-L" else Row(what, best, ""))


def knn(device: torch.device, size: Size, report: Report) -> None:
    """Exact nearest neighbors in float32."""
    import knn as benchmark

    queries, bank = size.queries, 10 * size.queries
    taken, rate, best = benchmark.share(queries, bank, size.dim, min(200, bank), str(device))
    report(Row(f"{queries:,} queries on {bank:,} x {size.dim}", taken, "s"))
    report(aimed("share of the float32 peak", rate / best, 0.7))


def attentive(device: torch.device, size: Size, report: Report) -> None:
    """A training step of one and of many attentive heads on 1568 tokens."""
    from attentive import BATCH, TARGET, TOKENS, Case, run

    name = str(device)
    one, many = (run(Case("folded", count, "", name, size.repeats))[0] for count in (1, size.heads))
    for count, seconds in ((1, one), (size.heads, many)):
        report(Row(f"step of {count} on {BATCH} clips of {TOKENS} tokens", 1e3 * seconds, "ms"))
    encoder = "vit/tiny-random" if device.type == "cpu" else "vit/base-random"
    behind = [run(Case("folded", count, encoder, name, size.repeats))[0] for count in (1, size.heads)]
    report(at_most(f"step of {size.heads} over that of one, behind {encoder}", behind[1] / behind[0], TARGET))


def steps(device: torch.device, size: Size, report: Report) -> None:
    """A pretraining step of ViT-L, as in `twlv1_l`, from memory and from files."""
    import pretrain as benchmark
    from vitascope.encoders.families.twlv import SHAPES
    from vitascope.pretrain.masking import Tube

    cuda = device.type == "cuda"
    batch = 64 if cuda else 2
    if not cuda:
        benchmark.FRAMES, benchmark.SIZE = 12, 56
    for number, compiled in ((0, False), (2, False), (-1, False), (0, True)) if cuda else ((0, False),):
        if number < 0:
            _from_files(device, size, batch, report)
            continue
        label, targets, rule = benchmark.CASES[number]
        share, clips, _ = benchmark.share(
            SHAPES["large"] if cuda else benchmark.TINY,
            targets,
            rule if cuda else Tube(0.75),
            batch=batch,
            dtype=torch.bfloat16,
            device=device,
            clock=benchmark.Clock(device, busy=False),
            repeats=size.repeats,
            compiled=compiled,
        )
        how = f"{label}, {'compiled' if compiled else 'eager'}"
        report(Row(f"{how}, batch {batch}", clips, "clips/s"))
        report(aimed(f"{how}: share of the peak", share, STEP))


def _from_files(device: torch.device, size: Size, batch: int, report: Report) -> None:
    import pretrain as benchmark
    from pipeline import rendered

    with tempfile.TemporaryDirectory() as temporary:
        rendered(Path(temporary), size.videos)
        memory, files = benchmark.decoding_rates(device, Path(temporary), batch, WORKERS, size.repeats)
    report(Row(f"step with clips decoded by {WORKERS} processes", files, "clips/s"))
    report(aimed("share of the speed from memory", files / memory, DECODED))


def pipeline(device: torch.device, size: Size, report: Report) -> None:
    """Embedding H.264 files by ViT-L with all cores: what limits it, and how a plain loop compares."""
    import pipeline as benchmark
    from vitascope.encoders.load import load
    from vitascope.features.extract import ExtractionOptions

    cuda = device.type == "cuda"
    encoder = load("vit/large-random" if cuda else "vit/tiny-random", device)
    if cuda:
        encoder.card = replace(encoder.card, precision="bfloat16")
    options = ExtractionOptions(device=str(device), workers=WORKERS if cuda else 1, batch=32 if cuda else 2, quiet=True)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        dataset = benchmark.rendered(root, size.videos)
        rates = benchmark.halves(encoder, dataset, root / "store", options)
        for name in rates._fields:
            report(Row(f"{name}, {options.processes} decoding processes", getattr(rates, name), "clips/s"))
        limit = "decoding" if rates.decode < rates.encode else "encoding"
        report(aimed(f"share of the slower half ({limit} limits)", rates.left, LEFT))
        few = replace(dataset, examples=dataset.examples[: max(2, size.videos // 8)])
        loop = benchmark.plain_loop(encoder, few, str(device))
        report(aimed("times a plain loop", rates.pipeline / loop, LOOP))
        _with_torchcodec(encoder, few, device, report)
        _decoded_elsewhere(encoder, dataset, root, options, report)
    if cuda:
        _compiled(encoder, options.batch, device, report)


def _compiled(encoder: Any, batch: int, device: torch.device, report: Report) -> None:
    """What `--compile faster` decides by."""
    from vitascope.encoders.compiled import CompiledEncoder
    from vitascope.features.compiling import measured_gain

    try:
        report(Row("compiled, times eager", measured_gain(CompiledEncoder(encoder, batch), str(device)), ""))
    except UserError as error:
        report(Row(f"compiled: not measured, {error}", 0.0, ""))


def _with_torchcodec(encoder: Any, dataset: Any, device: torch.device, report: Report) -> None:
    """A loop with TorchCodec, where it is installed."""
    import pipeline as benchmark

    try:
        report(Row("loop with TorchCodec", benchmark.torchcodec_loop(encoder, dataset, str(device)), "clips/s"))
    except (ImportError, RuntimeError, OSError) as error:
        report(Row(f"TorchCodec: not measured, {first_line(error)}", 0.0, ""))


def _decoded_elsewhere(encoder: Any, dataset: Any, root: Path, options: Any, report: Report) -> None:
    """The pipeline with `--decoder torchcodec` and, on a GPU, `nvdec`."""
    import pipeline as benchmark
    from vitascope.features.decoded_by import decoded_by

    decoders: list[Decoder] = ["torchcodec", "nvdec"]
    for decoder in decoders if torch.device(options.device).type == "cuda" else decoders[:1]:
        try:
            other = decoded_by(encoder, decoder, options)
            rates = benchmark.halves(other, dataset, root / decoder, options)
        except UserError as error:
            report(Row(f"--decoder {decoder}: not measured, {error}", 0.0, ""))
            continue
        report(Row(f"decode only, --decoder {decoder}", rates.decode, "clips/s"))
        report(Row(f"pipeline, --decoder {decoder}", rates.pipeline, "clips/s"))


def training(device: torch.device, size: Size, report: Report) -> None:
    """`motionlab_tiny_twlv1` from scratch, and its scores; goes on where an earlier call was stopped."""
    run = Path(os.environ.get("GPU_OUTPUT", "runs/gpu")) / "tiny-twlv1"
    small = device.type != "cuda"
    settings = ["--set", "steps=4", "--set", "clips=32"] if small else ["--hold", "8", "--workers", str(WORKERS)]
    began = time.perf_counter()
    _command(
        "pretrain", "motionlab_tiny_twlv1", "-o", str(run), "--device", str(device), "--check-every", "0", *settings
    )
    report(Row("training, this call", time.perf_counter() - began, "s"))
    for suite in ("motionlab/appearance", "motionlab/motion"):
        limit = ["--limit", "40"] if small else []
        arguments = ("evaluate", suite, "-m", str(run / "model.safetensors"), "-p", "linear", "-p", "knn", "--json")
        printed = _command(*arguments, "-o", str(run / "scores"), "--device", str(device), *limit)
        for result in map(json.loads, printed.splitlines()):
            score = next(iter(result["scores"].values()))
            report(Row(f"{suite}, {result['probe']}", score["value"], "%"))


def _command(*arguments: str) -> str:
    """Run the command line in a process of its own; return what it printed."""
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "vitascope", *arguments, "--quiet"],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout
