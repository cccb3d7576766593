"""Neighbors that an index of FAISS proposes: all of them with Flat, to the bit, and no wrong ones with others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import vitascope
from vitascope.core.errors import MissingPackageError, UserError
from vitascope.probes.classification import indexed_neighbors
from vitascope.probes.classification.indexed_neighbors import VectorIndex
from vitascope.probes.classification.nearest_neighbors import Apart, mean_vector, neighbors
from vitascope.probes.options import probe

pytest.importorskip("faiss", reason="the extra `faiss` is not installed")


def drawn(seed: int, rows: int = 600, dim: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """A bank in half precision with ties and a zero vector, and queries some of which are in it."""
    rng = np.random.default_rng(seed)
    bank = (rng.normal(size=(rows, dim)) + 1).astype(np.float16)
    bank[rows // 2 : rows // 2 + 40] = bank[:40]
    bank[7] = 0
    return bank, np.concatenate([bank[5:30], rng.normal(size=(30, dim)).astype(np.float16)])


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["Flat", "IVF8,Flat:nprobe=8"]),
)
def test_an_index_that_sees_all_finds_what_looking_at_all_finds(
    seed: int, k: int, centered: bool, apart: bool, how: str
) -> None:
    bank, queries = drawn(seed)
    shift = mean_vector(bank) if centered else None
    rng = np.random.default_rng(seed)
    units = Apart(rng.integers(0, 9, len(queries)), rng.integers(0, 9, len(bank))) if apart else None
    exact = neighbors(queries, bank, k, shift=shift, apart=units)
    found = neighbors(queries, bank, k, shift=shift, apart=units, index=VectorIndex(bank, how, shift=shift))
    assert np.array_equal(found.similarities, exact.similarities)
    assert np.array_equal(found.indices, exact.indices)


@pytest.mark.parametrize("how", ["IVF16,Flat", "HNSW8", "IVF16,Flat:nprobe=2"])
def test_what_an_index_misses_is_all_that_differs(how: str) -> None:
    bank, queries = drawn(3, rows=3000)
    exact = neighbors(queries, bank, 10)
    found, again = (neighbors(queries, bank, 10, index=VectorIndex(bank, how)) for _ in range(2))
    assert np.array_equal(found.indices, again.indices), "an index is built alike every time"
    assert (found.similarities <= exact.similarities).all()
    lengths = [np.maximum(np.linalg.norm(v.astype(float), axis=1, keepdims=True), 1e-12) for v in (bank, queries)]
    unit, rows = bank / lengths[0], queries / lengths[1]
    cosines = np.einsum("qd,qkd->qk", rows, unit[found.indices])
    assert np.abs(found.similarities - cosines)[np.isfinite(found.similarities)].max() < 1e-3
    shared = np.mean([len({*a} & {*b}) for a, b in zip(found.indices, exact.indices, strict=True)])
    assert shared > 3


def test_a_vector_without_neighbors_has_none() -> None:
    """All proposals are of its own unit: infinitely far, without a vote."""
    bank = np.eye(4, dtype=np.float32)
    apart = Apart(np.zeros(1, np.int64), np.zeros(4, np.int64))
    found = neighbors(bank[:1], bank, 3, apart=apart, index=VectorIndex(bank, "Flat"))
    assert np.array_equal(found.similarities, np.full((1, 3), -np.inf))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("nonsense", "index=nonsense: FAISS: could not parse index string nonsense; see"),
        ("Flat:nprobe=3", "index=Flat:nprobe=3: FAISS: .*could not set parameter nprobe"),
        ("IVF900,Flat", "index=IVF900,Flat: FAISS: .*900"),
    ],
)
def test_what_faiss_refuses_is_one_line(how: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as refused:
        VectorIndex(drawn(0)[0], how)
    assert "\n" not in str(refused.value)


def test_an_index_that_faiss_does_not_know_is_refused_before_any_work() -> None:
    with pytest.raises(UserError, match="index=nonsense: FAISS: could not parse"):
        probe("knn+index=nonsense")
    with pytest.raises(UserError, match="could not set parameter nprobe"):
        probe("knn+index=HNSW32:nprobe=3")
    assert probe("knn+index=OPQ64_256,IVF4096,PQ64:nprobe=32").index == "OPQ64_256,IVF4096,PQ64:nprobe=32"


def test_an_index_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    tasks = ["knn", "knn+index=Flat", "knn/sweep", "knn/sweep+index=IVF4,Flat:nprobe=4"]
    asked = [word for task in tasks for word in ("-t", task)]
    command = ("evaluate", "motionlab/motion-tiny", "-m", "pixels/thumbnail", *asked, "-o", tmp_path / "run", "-q")

    lines = vitascope(*command, "--json").stdout.splitlines()
    scores = {result["probe"]: result["scores"] for result in map(json.loads, lines)}
    assert scores["knn"] == scores["knn+index=Flat"]
    assert scores["knn/sweep"] == scores["knn/sweep+index=IVF4,Flat:nprobe=4"]


def test_what_does_not_go_together_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="an index is for vectors; similarity=dtw compares sets of clips"):
        probe("knn/clip+similarity=dtw+index=Flat")

    def absent(name: str) -> Any:
        return None

    monkeypatch.setattr(indexed_neighbors, "find_spec", absent)
    with pytest.raises(MissingPackageError, match=r"index=Flat needs FAISS: pip install 'vitascope\[faiss\]'"):
        probe("knn+index=Flat")
