"""A run that starts from weights: of an encoder, of another run, at another resolution, by another schedule."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pretraining import SHAPE, Blobs, recipe, same, state, train
from vitascope.core.device import generator
from vitascope.core.types import digest, plain
from vitascope.encoders.load import load
from vitascope.encoders.weights.native_card import read_metadata
from vitascope.nn.positions import linear_bicubic, sincos3d_d4
from vitascope.nn.video_vit import random_vit
from vitascope.pretrain import export, initial
from vitascope.pretrain.initial import load_trunk
from vitascope.pretrain.monitoring import log as recording
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.targets import Hog, Latent, Pixels

FINER = replace(SHAPE, grid=(4, 4, 4))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps by a constant learning rate."""
    run = tmp_path_factory.mktemp("source") / "run"
    train(run, recipe(schedule="constant", steps=4, name="before"), save_every=4)
    return run


def lrs(made: Recipe) -> list[float]:
    return [made.lr_at(step) for step in range(made.steps)]


def test_schedules_by_hand() -> None:
    """Of V-JEPA 2: the step is counted before the value is read, so that the last is the final one."""
    given: dict[str, Any] = {"lr": 1.0, "final_lr": 0.0, "steps": 8}
    assert lrs(recipe(schedule="constant", warmup=2, **given)) == [0.5, *[1.0] * 7]
    assert lrs(recipe(schedule="cooldown", warmup=2, **given)) == [1 - k / 8 for k in range(1, 9)]
    assert lrs(recipe(schedule="wsd", warmup=2, decay_steps=4, **given)) == [0.5, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    assert lrs(recipe(schedule="wsd", warmup=2, **given)) == [0.5, *[1.0] * 6, 0.0]
    assert lrs(recipe(schedule="wsd", warmup=2, decay_steps=99, **given))[1:] == pytest.approx(
        [1 - k / 6 for k in range(7)]
    )


def test_a_recipe_without_the_new_fields_has_the_digest_it_had() -> None:
    data = plain(recipe())
    assert not {"schedule", "decay_steps", "init"} & data.keys()
    assert recipe().digest == digest(data) == recipe(schedule="cosine", init="").digest
    assert recipe(schedule="wsd").digest != recipe().digest
    with pytest.raises(ValueError, match="decay_steps = 5 is for schedule=wsd, not cosine"):
        recipe(decay_steps=5)


def test_the_optimizer_goes_on_where_it_was(source: Path, tmp_path: Path) -> None:
    out = train(tmp_path / "run", recipe(schedule="cooldown", steps=2, init=str(source)))
    first, then = state(source, 4, tmp_path), state(tmp_path / "run", 2, tmp_path)
    assert {float(then[name]) - float(first[name]) for name in then if name.endswith("/step")} == {2.0}
    assert read_metadata(out).origin["started_from"]["step"] == 4


def test_everything_is_taken_from_a_run_that_agrees(source: Path, tmp_path: Path) -> None:
    made = recipe(schedule="cooldown", steps=1, lr=1e-30, final_lr=1e-30, weight_decay=0.0, init=str(source))
    train(tmp_path / "run", made)
    before, after = state(source, 4, tmp_path), state(tmp_path / "run", 1, tmp_path)
    assert before.keys() == after.keys()
    weights = [name for name in before if name.startswith("/model/") and "/slow" not in name and "slow." not in name]
    assert weights
    assert same({n: before[n] for n in weights}, {n: after[n] for n in weights}), "the learning rate is nothing"
    start = recording.read(tmp_path / "run").start
    assert start["init"].startswith("before (")
    assert start["init"].endswith("after 4 steps, with decoders and optimizer state")


def test_new_targets_get_new_decoders_and_the_copy_of_the_student(source: Path, tmp_path: Path) -> None:
    narrow: dict[str, Any] = {"width": 16, "depth": 1}
    targets = (Pixels(**narrow), Hog(**narrow), Latent(name="slower", decay=(1.0, 1.0), **narrow))
    train(tmp_path / "run", recipe(targets=targets, steps=1, init=str(source)))
    assert "except decoders.hog, decoders.slower, slow.slower" in recording.read(tmp_path / "run").start["init"]
    before, after = state(source, 4, tmp_path), state(tmp_path / "run", 1, tmp_path)
    name = "student.trunk.blocks.0.mlp.fc1.weight"
    assert torch.equal(after[f"/model/slow.slower.{name}"], before[f"/model/{name}"])


def test_an_exported_file_starts_a_run_and_the_card_says_so(source: Path, tmp_path: Path) -> None:
    made = recipe(init=str(source / "model.safetensors"), data=((Blobs(pretraining_datasets=("more",)), 1.0),))
    train(tmp_path / "run", made, stop_at=2)
    (source / "model.safetensors").rename(tmp_path / "gone")
    try:
        out = train(tmp_path / "run", made)
    finally:
        (tmp_path / "gone").rename(source / "model.safetensors")
    card, theirs = load(str(out)).card, load(str(source)).card
    assert card.pretraining_datasets == {"more", "blobs"}
    assert card.trained.endswith(f"; started from before ({theirs.digest})")
    assert "encoder only" in recording.read(tmp_path / "run").start["init"]


def test_fixed_positions_are_computed_anew_and_stored_ones_interpolated() -> None:
    stored = replace(SHAPE, positions="stored")
    for kind in (SHAPE, stored):
        trunk, other = (random_vit(replace(kind, grid=grid), generator(3)) for grid in (SHAPE.grid, FINER.grid))
        source = trunk.state_dict()
        own = initial._Source(initial.Start(export.Origin("a", "b", 0, [])), kind, source)
        fitted = {**initial._fitted(own, other), **other.tables()}
        expected = sincos3d_d4(FINER.grid, 32).float()[None]
        if kind is stored:
            expected = linear_bicubic(source["pos_embed"], SHAPE.grid, FINER.grid)
        torch.testing.assert_close(fitted["pos_embed"], expected, atol=0, rtol=0)
        assert torch.equal(fitted["blocks.1.attn.qkv.weight"], source["blocks.1.attn.qkv.weight"])


def test_a_run_goes_on_at_a_higher_resolution_with_more_frames(source: Path, tmp_path: Path) -> None:
    made = recipe(shape=FINER, frames=8, size=32, init=str(source), steps=1, schedule="cooldown")
    encoder: Any = load(str(train(tmp_path / "run", made)))
    assert encoder(torch.zeros(1, 3, 8, 32, 32)).grid.shape == (1, 4, 4, 4, 32)
    assert (encoder.card.frames, encoder.card.size) == (8, 32)


def test_the_file_and_the_run_give_the_same_weights_to_half_precision(source: Path) -> None:
    by_run, by_file = (random_vit(SHAPE, generator(seed)) for seed in (1, 2))
    one, other = load_trunk(by_run, str(source)), load_trunk(by_file, str(source / "model.safetensors"))
    assert one.origin.digest == other.origin.digest
    halves = {name: tensor.half() for name, tensor in by_run.state_dict().items() if name != "pos_embed"}
    assert same(dict(sorted(halves.items())), load_file(source / "model.safetensors"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 4}, "another network: heads is 2, the recipe's 4; set --set shape.heads=2"),
        ({"depth": 3}, "another network: depth is 2, the recipe's 3"),
        ({"positions": "stored"}, "another network: positions is sincos3d_d4, the recipe's stored"),
    ],
)
def test_another_network_is_refused(changes: dict[str, Any], message: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        train(tmp_path / "run", recipe(shape=replace(SHAPE, **changes), init=str(source)))
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_only_a_video_transformer_is_a_start(tmp_path: Path) -> None:
    for init, message in (("tiny/stills", "only a video transformer"), (str(tmp_path), "no model.safetensors in it")):
        with pytest.raises(ValueError) as error:
            train(tmp_path / "run", recipe(init=init))
        assert message in str(error.value)
