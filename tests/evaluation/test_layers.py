"""Layers in an evaluation: one encoding pass for all, the encoder's own vector as headline, names and digests."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from vitascope import report
from vitascope.core.types import digest, plain
from vitascope.datasets.builders.folder import build as folder
from vitascope.encoders.base import Encoder
from vitascope.encoders.load import load
from vitascope.evaluation.evaluate import evaluate
from vitascope.evaluation.layers import with_layers
from vitascope.evaluation.runner import EvaluationConfig
from vitascope.features.encode import encode_clips, encode_views
from vitascope.features.extract import ExtractionOptions
from vitascope.features.layers import resolved
from vitascope.features.view import View
from vitascope.probes.options import probe
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis.layers import layer_tasks
from vitascope.sampling.names import Uniform

OPTIONS = ExtractionOptions(workers=1, batch=4, quiet=True)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """A network of four blocks."""
    made = load("vit/tiny-random")
    made.network.blocks = made.network.blocks[:4]
    return made


def test_all_layers_are_encoded_once_and_evaluated_beside_the_own_vector(videos, tmp_path: Path, encoder) -> None:
    whole = folder("", videos)
    dataset = replace(whole, folds=whole.folds[:1])
    passes: list[int] = []
    handle = encoder.register_forward_hook(lambda module, given, output: passes.append(len(given[0])))
    config = EvaluationConfig(run=tmp_path / "run", store=tmp_path / "store", options=OPTIONS)
    try:
        results = evaluate(dataset, [encoder], ["knn+k=3+layers=all"], config=config)
    finally:
        handle.remove()
    depth = len(encoder.network.blocks)
    assert sum(passes) == len(dataset.examples)
    assert [r.probe for r in results] == ["knn+k=3", *(f"knn+k=3+layer={n}/{depth}" for n in range(1, depth + 1))]
    assert [r.variant for r in results[:2]] == [{}, {"layer": f"1/{depth}", "of": f"{dataset.name}:knn+k=3"}]
    (again,) = evaluate(dataset, [encoder], ["knn+k=3"], config=config)
    assert again.protocol == results[0].protocol
    board = boards.build(boards.load_results([tmp_path / "run"]))
    assert [c.task for c in board.main()] == [f"{dataset.name}:knn+k=3"]
    (task,) = layer_tasks(board)
    assert task.own is board.main()[0]
    assert task.scores[0] == {n: r.headline for n, r in enumerate(results[1:], 1)}
    assert {n: gap.gap.value for n, gap in task.gaps[0].items()} == pytest.approx(
        {n: r.headline.value - results[0].headline.value for n, r in enumerate(results[1:], 1)}
    )
    page = report.write(tmp_path / "run", formats=["html"])["html"].read_text(encoding="utf-8")
    assert '<h2 id="layers-title">Layer by layer</h2>' in page
    assert page.count(f"block 1 of {depth}") == 2
    console = Console(file=io.StringIO(), width=200)
    console.print(report.terminal([*results], tmp_path / "run"))
    assert f"{depth}/{depth}" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_view_of_a_layer_reads_the_blocks_of_the_same_pass(encoder) -> None:
    pixels = torch.randint(256, (2, encoder.card.frames, encoder.card.size, encoder.card.size, 3), dtype=torch.uint8)
    depth = len(encoder.network.blocks)
    own, last = View(Uniform()), View(Uniform(), layer=f"{depth}/{depth}")
    encoded = encode_views(encoder, pixels, [own, last])
    tokens = encode_clips(encoder, pixels)
    assert torch.equal(encoded[own], tokens.clip)
    normed = encoder.network.norm(encoder.network.trunk(pixels_of(encoder, pixels))[0])
    assert torch.allclose(normed.mean(1), tokens.grid.mean((1, 2, 3)), atol=1e-5)
    trunk = encoder.network.trunk(pixels_of(encoder, pixels))[0].mean(1)
    torch.testing.assert_close(encoded[last], trunk)


def pixels_of(encoder: Encoder, pixels: torch.Tensor) -> torch.Tensor:
    from vitascope.encoders.preprocess import to_tensor

    return to_tensor(pixels, encoder.card)


def test_layers_by_number_and_last() -> None:
    assert resolved("3,6,last", 12, "x") == ["3/12", "6/12", "12/12"]
    assert resolved("last,12", 12, "x") == ["12/12"]
    assert len(resolved("all", 12, "x")) == 12
    for text, message in (
        ("0", "x has 12 blocks, 1 to 12"),
        ("13", "x has 12 blocks, 1 to 12"),
        ("lst", "did you mean 'last'"),
        (",", "name layers by number from 1, last or all"),
    ):
        with pytest.raises(ValueError, match=message):
            resolved(text, 12, "x")


def test_names_and_digests(encoder) -> None:
    asked, bare = probe("linear+layers=last+lr=0.3+test=reversed"), probe("linear+lr=0.3")
    own, last = with_layers([asked], encoder)
    depth = len(encoder.network.blocks)
    assert own.name == "linear+lr=0.3+test:reversed"
    assert last.name == f"linear+layer={depth}/{depth}+lr=0.3+test:reversed"
    assert digest(plain(own)) == digest(plain(probe("linear+lr=0.3+test=reversed")))
    assert "layer" not in plain(bare.test)
    assert [p.name for p in with_layers([bare, probe("linear+layers=1+lr=0.3")], encoder)] == [
        "linear+lr=0.3",
        f"linear+layer=1/{depth}+lr=0.3",
    ]
    assert with_layers([bare], encoder) == [bare]


def test_what_has_no_layers_is_refused_before_any_work(videos, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a layer is one stored vector per clip, but this probe reads tokens"):
        probe("attentive+layers=all")
    with pytest.raises(ValueError, match="but this probe encodes its clips anew; add draws=8"):
        probe("linear/paper+layers=all")
    assert probe("linear/paper+draws=8+layers=all").train.layer == "all"
    with pytest.raises(ValueError, match="layers are evaluated by recognition, not by segmentation"):
        probe("segment+layers=all")
    with pytest.raises(ValueError, match="read from the same layers; set layers="):
        probe("linear+train.layer=3")
    config = EvaluationConfig(run=tmp_path / "run", store=tmp_path / "store", options=OPTIONS)
    with pytest.raises(ValueError, match="pixels/thumbnail: has no blocks to probe"):
        evaluate(folder("", videos), ["vit/tiny-random", "pixels/thumbnail"], ["knn+layers=all"], config=config)
    assert not (tmp_path / "store").exists()
