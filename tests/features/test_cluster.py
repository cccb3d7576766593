"""Embedding on a cluster: the store of one machine, bit by bit, whatever dies; on an imitation of Ray, and on Ray."""

from __future__ import annotations

import random
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fake_ray import FakeRay
from features.test_extract import OPTIONS, Mean, tree
from features.test_extract import VIEWS as ALL
from helpers import vitascope
from vitascope.core import cluster
from vitascope.core.cluster import Resources
from vitascope.core.errors import UserError
from vitascope.core.types import Card, Dataset
from vitascope.core.worker_pool import Failed, Group
from vitascope.datasets.builders.folder import build
from vitascope.encoders.base import Tokens
from vitascope.features import blocks as blocking
from vitascope.features import cluster_actors, cluster_pool, extract
from vitascope.features.batching import refuse_mixed
from vitascope.features.cluster_pool import ClusterJob, pool_sizes
from vitascope.features.decode_job import DecodeJob, decode_example
from vitascope.features.encode import encode_views
from vitascope.features.extract import ExtractionOptions, embed
from vitascope.features.store import Store
from vitascope.features.view import View

VIEWS = ALL[:2]
NODES = [{"CPU": 2.0}, {"CPU": 2.0}]
ON = replace(OPTIONS, on="ray")


class Direct:
    """Decoding without processes, which take long to begin as often as actors die here."""

    def __init__(self, card: Card, options: ExtractionOptions, workers: int) -> None:
        assert workers > 0

    def run(self, jobs: Iterable[Group[DecodeJob]]) -> Iterator[tuple[DecodeJob, Any, Any]]:
        for job in (job for group in jobs for job in group):
            try:
                yield from ((job, *message) for message in decode_example(job))
            except Exception as error:
                yield job, Failed(str(error)), None

    def close(self) -> None:
        """End nothing."""


def imitate(
    monkeypatch: pytest.MonkeyPatch, fate: Callable[[str, str, int], bool], nodes: list[dict[str, float]] = NODES
) -> FakeRay:
    ray = FakeRay(fate, nodes)
    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    monkeypatch.setattr(cluster_pool, "RESIZE", 0.0)
    return ray


@pytest.fixture
def dataset(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset[int]:
    monkeypatch.setattr(blocking, "BLOCK_EXAMPLES", 4)
    monkeypatch.setattr(extract, "decoders", Direct)
    (tmp_path / "v").symlink_to(videos)
    dataset: Dataset[int] = build(str(videos))
    broken = replace(dataset.examples[5], id="broken", path=str(tmp_path / "none.mp4"))
    return replace(dataset, examples=(*dataset.examples[:6], broken, *dataset.examples[6:]))


def test_whatever_dies_the_store_is_that_of_one_machine(
    dataset: Dataset[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(Mean(), dataset, VIEWS, root=tmp_path / "one", options=OPTIONS)
    deaths = {"DecodingActor": 0, "EncodingActor": 0}
    written: list[str] = []
    add = Store.add
    monkeypatch.setattr(Store, "add", lambda self, block, e: (written.append(block), add(self, block, e)))
    for seed in range(4):
        rng = random.Random(seed)

        def fate(kind: str, method: str, number: int, rng: random.Random = rng, share: float = seed * 0.06) -> bool:
            dies = rng.random() < share
            deaths[kind] += dies
            return dies

        imitate(monkeypatch, fate)
        written.clear()
        summary = embed(Mean(), dataset, VIEWS, root=tmp_path / f"on{seed}", options=ON)
        assert (summary.encoded, list(summary.failures)) == (19, ["broken"])
        assert len(written) == len(VIEWS) * len(set(written)) == len(VIEWS) * 5
        assert tree(tmp_path / f"on{seed}") == tree(tmp_path / "one")
    assert min(deaths.values()) > 2


def test_a_driver_that_ends_loses_only_the_blocks_on_their_way(
    dataset: Dataset[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(Mean(), dataset, VIEWS, root=tmp_path / "one", options=OPTIONS)
    imitate(monkeypatch, lambda *_: False)
    add, count = Store.add, iter(range(99))

    def ends(self: Store, block: str, embedded: Any) -> None:
        if next(count) == 4:
            raise KeyboardInterrupt
        add(self, block, embedded)

    monkeypatch.setattr(Store, "add", ends)
    with pytest.raises(KeyboardInterrupt):
        embed(Mean(), dataset, VIEWS, root=tmp_path / "on", options=ON)
    monkeypatch.setattr(Store, "add", add)
    assert embed(Mean(), dataset, VIEWS, root=tmp_path / "on", options=ON).encoded == 11  # of 19, two blocks are there
    assert tree(tmp_path / "on") == tree(tmp_path / "one")


def test_a_head_node_that_is_gone_is_one_line_and_a_later_run_finishes(
    dataset: Dataset[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed(Mean(), dataset, VIEWS, root=tmp_path / "one", options=OPTIONS)
    ray = imitate(monkeypatch, lambda *_: False)
    monkeypatch.setattr("vitascope.core.cluster.WAITS", (0.0, 0.0))
    add, count = Store.add, iter(range(99))
    with socket.create_server(("127.0.0.1", 0)) as head:
        ray.head = f"127.0.0.1:{head.getsockname()[1]}"

        def gone(self: Store, block: str, embedded: Any) -> None:
            add(self, block, embedded)
            if next(count) == 4:
                head.close()

        monkeypatch.setattr(Store, "add", gone)
        with pytest.raises(UserError, match=rf"--on ray: the head node .* at {ray.head} \(.*what was stored stays"):
            embed(Mean(), dataset, VIEWS, root=tmp_path / "on", options=ON)
    assert not all(handle.dead for handle in ray.actors), "nobody is told to end what cannot be reached"
    ray.head = ""
    monkeypatch.setattr(ray, "wait", lambda *_, **__: (_ for _ in ()).throw(ConnectionError("broken")))
    with pytest.raises(UserError, match=r"does not answer any more, ConnectionError: broken; what was stored stays"):
        embed(Mean(), dataset, VIEWS, root=tmp_path / "on", options=ON)
    monkeypatch.setattr(Store, "add", add)
    imitate(monkeypatch, lambda *_: False)
    assert 0 < embed(Mean(), dataset, VIEWS, root=tmp_path / "on", options=ON).encoded < 19
    assert tree(tmp_path / "on") == tree(tmp_path / "one")


class Wrong(Mean):
    """An encoder whose output has another shape than its card says."""

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        return super().__call__(clips)._replace(clip=clips.mean((1, 2, 3, 4))[:, None])


def test_what_is_wrong_with_the_work_is_raised_once(
    dataset: Dataset[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = imitate(monkeypatch, lambda *_: False)
    with pytest.raises(UserError, match="lab/mean returned"):
        embed(Wrong(), dataset, VIEWS, root=tmp_path / "on", options=ON)
    assert all(actor.dead for actor in ray.actors)
    imitate(monkeypatch, lambda kind, method, number: method == "decode")
    with pytest.raises(UserError, match=r"the block that begins with .* was lost 20 times .*: DecodingActor died"):
        embed(Mean(), dataset, VIEWS, root=tmp_path / "on", options=ON)
    imitate(monkeypatch, lambda kind, method, number: kind == "EncodingActor" and method == "ready")
    with pytest.raises(UserError, match="an actor that was to begin was lost 20 times"):
        embed(Mean(), dataset, VIEWS, root=tmp_path / "on", options=ON)


def test_a_node_without_the_videos_or_of_another_version_is_refused(
    dataset: Dataset[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitate(monkeypatch, lambda *_: False)
    monkeypatch.setattr(cluster_actors, "sees", lambda path: False)
    with pytest.raises(UserError, match=r"not there on node .*; give all nodes the videos at the same path"):
        embed(Mean(), dataset, VIEWS, root=tmp_path / "on", options=ON)
    assert not list((tmp_path / "on").rglob("*.parquet"))
    monkeypatch.setattr(cluster_actors.EncodingActor, "ready", lambda self, threads, folder: "9")
    with pytest.raises(UserError, match=r"has vitascope 9, this machine .*; install one version"):
        embed(Mean(), dataset, VIEWS, root=tmp_path / "on", options=ON)


JOB = ClusterJob(
    on="ray",
    encoder=Mean(),
    views=[View(VIEWS[0].sampler)],
    decoders=lambda workers: pytest.fail("nothing runs"),
    encode=encode_views,
    check=refuse_mixed,
    batch=8,
    blocks=99,
)


@pytest.mark.parametrize(
    ("have", "job", "threads", "sizes"),
    [
        (Resources(4, 0, 2), {}, 1, (2, {"num_cpus": 1}, 2, 1)),
        (Resources(1, 0, 1), {}, 1, (1, {"num_cpus": 0.5}, 1, 1)),  # both have to fit
        (Resources(0, 0, 0), {}, 8, (1, {"num_cpus": 0.5}, 1, 1)),  # a cluster that starts nodes when asked
        (Resources(64, 8, 32), {}, 4, (8, {"num_cpus": 1, "num_gpus": 1}, 56, 1)),
        (Resources(64, 8, 32), {"workers": 10}, 4, (8, {"num_cpus": 1, "num_gpus": 1}, 10, 1)),
        (Resources(64, 8, 32), {"device": "cpu"}, 4, (8, {"num_cpus": 4}, 32, 1)),
        (Resources(16, 1, 16), {"blocks": 2}, 4, (1, {"num_cpus": 1, "num_gpus": 1}, 2, 7)),  # few blocks: more each
        (Resources(2, 0, 2), {}, 2, (1, {"num_cpus": 1}, 1, 1)),
    ],
)
def test_pools_divide_what_the_cluster_has(
    have: Resources, job: dict[str, Any], threads: int, sizes: tuple[int, dict[str, float], int, int]
) -> None:
    found = pool_sizes(have, replace(JOB, **job), threads)
    assert (found.encoders, found.encoder, found.decoders, found.processes) == sizes
    reserved = found.encoders * found.encoder["num_cpus"] + found.decoders * found.decoder["num_cpus"]
    assert reserved <= max(have.cpus, 1)


def test_places_that_are_none_and_a_missing_package_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for on in ("slurm", "ray:", "ray://", "Ray"):
        with pytest.raises(UserError, match="no such place; write ray"):
            cluster.check_name(on)
    monkeypatch.setitem(sys.modules, "ray", None)
    done = vitascope("embed", "nowhere", "-m", "pixels/thumbnail", "--on", "ray", code=2)
    assert done.stderr == "error: --on ray needs the package ray: pip install 'vitascope[ray]'\n"
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    for on, value in (("ray", address), (f"ray://{address}", "")):
        monkeypatch.setenv("RAY_ADDRESS", value)
        with pytest.raises(UserError, match=f"nothing answers at .*{address} "):
            cluster.connect(on)
    with pytest.raises(UserError, match="has no GPU"):
        pool_sizes(Resources(4, 0, 2), replace(JOB, device="cuda"), 1)


def test_what_ray_says_becomes_one_line() -> None:
    raised = "The actor died.\n\x1b[36mray::X.__init__()\x1b[39m (pid=1)\nModuleNotFoundError: No module named 'x'"
    assert cluster.summary(ValueError(raised)) == "ModuleNotFoundError: No module named 'x'"
    assert cluster.summary(ValueError("The node died:\n it was lost.")) == "The node died:  it was lost."
