"""Whether encoders run compiled: measured once and said, never where it fails or is wrong, and stored apart."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from encoders.test_compiled import Small
from features.test_cluster import NODES, Direct, imitate
from features.test_extract import OPTIONS, VIEWS, Mean, tree
from helpers import vitascope
from vitascope.core.errors import UserError
from vitascope.datasets.builders.folder import build
from vitascope.encoders import compiled as compiled_encoder
from vitascope.encoders.base import Encoder, Tokens
from vitascope.encoders.compiled import CompiledEncoder
from vitascope.evaluation.evaluate import evaluate
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features import compiling, extract
from vitascope.features.compiling import as_compiled
from vitascope.features.extract import ExtractionOptions, embed
from vitascope.features.source import values_per_clip
from vitascope.features.timing import encode_seconds, noise_clips


class Clock:
    """Seconds that batches are said to take, eager and compiled; counts how often they are asked for."""

    def __init__(self, gain: float) -> None:
        self.gain, self.asked = gain, 0

    def __call__(self, encoder: Encoder, pixels: Tensor, device: str) -> float:
        self.asked += 1
        return 1.0 if isinstance(encoder, CompiledEncoder) else self.gain


@pytest.fixture(autouse=True)
def _quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of one's own, and a compiler that takes no time."""
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled_encoder, "BACKEND", "eager")
    monkeypatch.setattr(compiling, "SECONDS", 0.0)


def clock(gain: float, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(gain)
    monkeypatch.setattr(compiling, "encode_seconds", clock)
    return clock


def broken(graph: Any, inputs: list[Any]) -> Callable[..., Any]:
    raise RuntimeError("no C++ compiler\n\nread this and that")


def wrong(graph: Any, inputs: list[Any]) -> Callable[..., Any]:
    return lambda *given: [out + 0.01 for out in graph(*given)]


@pytest.mark.parametrize(("gain", "line"), [(1.31, "1.31 times as fast, used"), (1.04, "1.04 times as fast, not used")])
def test_it_is_measured_once_for_a_card_and_said_every_time(
    gain: float, line: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="vitascope")
    measured = clock(gain, monkeypatch)
    for _ in range(2):
        encoder = as_compiled(Small(), "faster", OPTIONS)
        assert isinstance(encoder, CompiledEncoder) == (gain >= compiling.GAIN)
        assert caplog.messages == [f"lab/small0: compiled {line}"]
        caplog.clear()
    assert measured.asked == 2 * compiling.ROUNDS
    as_compiled(Small(1), "faster", OPTIONS)
    assert measured.asked == 4 * compiling.ROUNDS


def test_a_compiler_that_works_no_more_is_no_reason_to_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock(2.0, monkeypatch)
    assert isinstance(as_compiled(Small(), "faster", OPTIONS), CompiledEncoder)
    monkeypatch.setattr(compiled_encoder, "BACKEND", broken)
    assert isinstance(as_compiled(Small(), "faster", OPTIONS), Small)
    assert any("no C++ compiler); it runs eagerly" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (broken, r"backend='broken' raised: RuntimeError: no C\+\+ compiler"),
        (wrong, r"its vectors would differ by [\d.]+ standard deviations"),
    ],
)
def test_what_cannot_be_compiled_runs_eagerly_with_the_same_vectors(
    backend: Any,
    reason: str,
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    measured = clock(2.0, monkeypatch)
    monkeypatch.setattr(compiled_encoder, "BACKEND", backend)
    encoder = as_compiled(Small(), "faster", OPTIONS)
    (warning,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert re.fullmatch(rf"lab/small0: not compiled \({reason}\); it runs eagerly", warning)
    assert not measured.asked
    dataset = build(str(videos))
    embed(encoder, dataset, VIEWS[:2], root=tmp_path / "one", options=OPTIONS)
    embed(Small(), dataset, VIEWS[:2], root=tmp_path / "two", options=OPTIONS)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    monkeypatch.setattr(compiled_encoder, "BACKEND", "eager")  # once a compiler is there, it is measured
    assert isinstance(as_compiled(Small(), "faster", OPTIONS), CompiledEncoder)


def test_what_is_no_network_is_never_compiled(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="vitascope")
    encoder = Mean()
    assert as_compiled(encoder, "always", OPTIONS) is encoder
    assert caplog.messages == ["lab/mean: no network with weights, not compiled"]
    small = Small()
    assert as_compiled(small, "off", OPTIONS) is small
    assert len(caplog.messages) == 1


def test_a_store_begun_eagerly_is_not_continued_compiled(videos: Path, tmp_path: Path) -> None:
    dataset = build(str(videos))
    few = replace(dataset, examples=dataset.examples[:7])
    compiled = as_compiled(Small(), "always", OPTIONS)
    assert embed(Small(), few, VIEWS[:1], root=tmp_path, options=OPTIONS).encoded == 7
    assert embed(compiled, dataset, VIEWS[:1], root=tmp_path, options=OPTIONS).encoded == 18
    assert embed(Small(), dataset, VIEWS[:1], root=tmp_path, options=OPTIONS).encoded == 11
    assert len(list(tmp_path.glob("*/*/*/index.parquet"))) == 2


def test_a_cpu_is_timed_by_what_it_does_for_this_process() -> None:
    class Waiting(Small):
        def forward(self, clips: Tensor) -> Tokens:
            time.sleep(0.5)
            return super().forward(clips)

    encoder = Waiting()
    assert 0 < encode_seconds(encoder, noise_clips(encoder.card, 2, "cpu"), "cpu") < 0.4


def test_shapes_are_found_without_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled_encoder, "BACKEND", broken)
    assert values_per_clip(CompiledEncoder(Small(), 8), "grid") == 4 * 16 * 16 * 5


def test_the_batch_of_a_gpu_is_that_for_which_it_is_compiled() -> None:
    options = ExtractionOptions(device="cuda", batch=0)
    assert extract.batch_for(CompiledEncoder(Small(), 32), options) == 32


def test_a_cluster_measures_on_a_node_and_stores_the_same(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured, ray = clock(1.5, monkeypatch), imitate(monkeypatch, lambda *_: False)
    monkeypatch.setattr(extract, "decoders", Direct)
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    dataset, on = build(str(videos)), replace(OPTIONS, on="ray")
    for _ in range(2):
        encoder = as_compiled(Small(), "faster", on)
    assert (measured.asked, threads) == (2 * compiling.ROUNDS, [torch.get_num_threads()] * 3)
    embed(encoder, dataset, VIEWS[:1], root=tmp_path / "on", options=on)
    embed(as_compiled(Small(), "always", OPTIONS), dataset, VIEWS[:1], root=tmp_path / "one", options=OPTIONS)
    assert tree(tmp_path / "on") == tree(tmp_path / "one")
    ray.given = [*NODES, {"CPU": 4.0, "GPU": 1.0}]
    monkeypatch.setattr(compiling, "measured_gain", lambda compiled, device: {"cuda": 3.0}[device])
    monkeypatch.setattr(compiling, "check_compiler", lambda device: {"cuda": 0.1}[device])
    assert isinstance(as_compiled(Small(2), "faster", on), CompiledEncoder)


def test_what_fails_on_a_node_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    imitate(monkeypatch, lambda *_: False)
    for error in (UserError("no C++ compiler"), RuntimeError("gone")):

        def fails(compiled: Encoder, device: str, error: Exception = error) -> float:
            raise error

        monkeypatch.setattr(compiling, "measured_gain", fails)
        assert isinstance(as_compiled(Small(), "faster", replace(OPTIONS, on="ray")), Small)
    assert [m for m in caplog.messages if "eagerly" in m] == [
        "lab/small0: not compiled (no C++ compiler); it runs eagerly",
        "lab/small0: not compiled (--on ray: gone); it runs eagerly",
    ]


def test_results_of_compiled_encoders_are_rows_of_their_own(videos: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(run=tmp_path / "run", store=tmp_path / "store", options=OPTIONS, compile="always")
    (compiled,) = evaluate(str(videos), [Small()], ["knn"], config=config)
    (eager,) = evaluate(str(videos), [Small()], ["knn"], config=replace(config, compile="off"))
    assert (eager.encoder, compiled.encoder) == ("lab/small0", "lab/small0+compiled")
    assert eager.protocol == compiled.protocol, "they can be compared"
    assert eager.key != compiled.key


def test_the_commands_take_it(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock(0.98, monkeypatch)
    common = (videos, "-m", "encoders.test_compiled:Small", "--workers", 1, "--batch", 4, "--store", tmp_path / "store")
    done = vitascope("embed", *common, "--compile", "faster")
    assert "lab/small0: compiled 0.98 times as fast, not used" in done.stderr
    assert "lab/small0: 18 examples" in done.stdout
    done = vitascope("evaluate", *common, "-t", "knn", "-o", tmp_path / "run", "--compile", "always", "--dry-run")
    assert "lab/small0+com" in done.stdout  # the table may be narrow
    assert "did you mean 'faster'" in vitascope("embed", *common, "--compile", "fast", code=2).stderr
    layers = vitascope("embed", *common, "--compile", "always", "--layers", "all", code=2)
    assert "leave out --compile" in layers.stderr


@pytest.mark.slow
def test_torch_compiles_shipped_networks_to_equal_vectors() -> None:
    """In a process of its own, where types are not checked while torch traces."""
    code = """
import torch
from vitascope.encoders.compiled import CompiledEncoder
from vitascope.encoders.load import load
for name in ("tiny/video", "tiny/image", "vit/tiny-random"):
    encoder = load(name)
    card = encoder.card
    clips = torch.rand(3, 3, card.frames, card.size, card.size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        given, expected = CompiledEncoder(encoder, 2)(clips), encoder(clips)
    print(*(float((a - b).abs().max() / b.std()) for a, b in zip(given, expected)))
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    differences = [float(word) for word in done.stdout.split()]
    assert len(differences) == 6
    assert max(differences) < 1e-5
