"""Check-ups beside the training: the numbers of one process, whoever makes them, and a failure that ends nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pretraining import SHAPE, recipe, train
from vitascope.core.device import generator
from vitascope.nn.video_vit import random_vit
from vitascope.pretrain import export
from vitascope.pretrain.distributed import Ranks
from vitascope.pretrain.monitoring import checkup, probing
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.monitoring.checkup import Checkups
from vitascope.pretrain.monitoring.probing import InLoopProbing, ProbingConfig

CPU = torch.device("cpu")


@pytest.fixture
def config(videos: Path) -> ProbingConfig:
    return ProbingConfig(suites=(str(videos),), probes=("knn",), limit=7)


def weights() -> dict[str, torch.Tensor]:
    network = random_vit(SHAPE, generator(1))
    return {name: value for name, value in network.state_dict().items() if name not in network.tables()}


def test_a_worker_process_gives_the_numbers_of_this_one(config: ProbingConfig, tmp_path: Path) -> None:
    made = recipe()
    here, beside = (Checkups(config, made, tmp_path, device=CPU, ranks=Ranks(), workers=n) for n in (0, 1))
    expected = here(3, weights())
    assert expected
    assert beside(3, weights()) == expected
    assert list(tmp_path.iterdir()) == []
    beside.close()


def test_shares_of_several_processes_are_the_vectors_of_one(
    config: ProbingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = export.build_encoder(weights(), recipe(), CPU)
    alone = InLoopProbing(config, recipe().spec)
    expected = alone.embed(encoder, CPU, batch=5)
    shares = [InLoopProbing(config, recipe().spec) for _ in range(3)]
    parts = [prober.embed(encoder, CPU, rank=rank, world=3, batch=5) for rank, prober in enumerate(shares)]
    assert min(len(part) for part in parts) > 0
    together = {i: vector for part in parts for i, vector in part.items()}
    assert together.keys() == expected.keys()
    assert all(torch.equal(together[i], expected[i]) for i in expected)
    monkeypatch.setattr(probing, "MEASURED_CLIPS", 6)
    assert shares[0].evaluate(encoder, CPU, together) == alone.evaluate(encoder, CPU, expected)


def test_a_check_up_that_fails_is_said_and_the_run_goes_on(
    config: ProbingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room for 7 clips")

    monkeypatch.setattr(InLoopProbing, "__call__", fail)
    train(tmp_path, check_every=4, probing=config)
    log = recording.read(tmp_path)
    assert (log.done, log.probes) == (True, ())
    said = [record.getMessage() for record in caplog.records if record.name == "vitascope"]
    assert len(said) == 2
    assert said[0].startswith("the check-up at step 4 failed: MemoryError: no room for 7 clips")
    assert said[0].endswith("; the training goes on")


def test_a_worker_that_fails_is_said(
    config: ProbingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its work is done here; weights that do not fit, and a disk that is full."""
    checkups = Checkups(config, recipe(), tmp_path, device=CPU, ranks=Ranks(), workers=1)
    monkeypatch.setattr(checkups, "_pool", Here())
    assert checkups(1, {name: value[:1] for name, value in weights().items()}) is None
    monkeypatch.setattr(checkup, "save_file", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    assert checkups(2, weights()) is None
    said = [record.getMessage() for record in caplog.records if record.name == "vitascope"]
    assert ["loading state_dict" in said[0], "No space left" in said[1]] == [True, True]
    assert [text.startswith(f"the check-up at step {n} failed: ") for n, text in enumerate(said, 1)] == [True, True]
    assert not list(tmp_path.glob("*"))


class Here:
    """A pool whose work is done in this process."""

    def run(self, jobs: list[checkup.Job]) -> Iterator[tuple[checkup.Job, Any, None]]:
        for job in jobs:
            yield from ((job, message, array) for message, array in checkup.work(job))
