"""Teachers at work: their features on the student's grid, against loops; what guides weigh; what is refused."""

import dataclasses
import itertools
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import pretraining
from pretraining import Blobs, recipe
from vitascope.core.device import generator
from vitascope.encoders.base import Tokens
from vitascope.encoders.load import load
from vitascope.pretrain.masking import Attended
from vitascope.pretrain.model import Student
from vitascope.pretrain.targets.targets import Distilled, TargetInputs
from vitascope.pretrain.targets.teachers import (
    Guide,
    Teacher,
    preprocess,
    resize_grid,
    resize_matrix,
    subsample_frames,
    summary_saliency,
)

CPU = torch.device("cpu")
GRID = (2, 3, 3)


def clips(count: int = 2, frames: int = 4, size: int = 24) -> torch.Tensor:
    return torch.rand(count, 3, frames, size, size, generator=generator(1))


def encoded(name: str, inputs: torch.Tensor) -> Tokens:
    encoder = load(name)
    return encoder(preprocess(inputs, encoder.card))


def overlap(old: int, new: int) -> torch.Tensor:
    """Shares of old cells in new ones in whole fractions."""
    rows = []
    for i in range(new):
        low, high = Fraction(i * old, new), Fraction((i + 1) * old, new)
        part = [max(min(high, Fraction(j + 1)) - max(low, Fraction(j)), Fraction(0)) for j in range(old)]
        rows.append([float(p / (high - low)) for p in part])
    return torch.tensor(rows)


@given(st.integers(1, 20), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_a_line_of_cells_shrinks_by_area_and_grows_by_straight_lines(old: int, new: int) -> None:
    weights = resize_matrix(old, new)
    torch.testing.assert_close(weights.sum(1), torch.ones(new))
    if new <= old:
        torch.testing.assert_close(weights, overlap(old, new))
    else:
        line = torch.randn(old, generator=generator(old))
        expected = F.interpolate(line[None, None], size=new, mode="linear", align_corners=False)[0, 0]
        torch.testing.assert_close(weights @ line, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("grid", [(2, 3, 3), (4, 6, 2), (3, 5, 7), (1, 1, 1)])
def test_grids_are_fitted_axis_by_axis(grid: Any) -> None:
    tokens = torch.randn(2, 4, 6, 5, 3, generator=generator(0))
    expected = torch.einsum(
        "ai,bj,ck,nijkd->nabcd", *(resize_matrix(o, n) for o, n in zip((4, 6, 5), grid, strict=True)), tokens
    )
    torch.testing.assert_close(resize_grid(tokens, grid), expected, atol=1e-5, rtol=1e-4)


def test_clips_are_prepared_as_the_card_says() -> None:
    card = pretraining.card(size=12)
    inputs = clips()
    features = preprocess(inputs, card)
    smaller = F.interpolate(inputs[1].transpose(0, 1), size=(12, 12), mode="bilinear", antialias=True)
    torch.testing.assert_close(features[1], (smaller.transpose(0, 1) - 0.5) / 0.2)
    torch.testing.assert_close(preprocess(inputs, pretraining.card()), (inputs - 0.5) / 0.2)


@pytest.mark.parametrize(
    ("frames", "every", "indices"), [(12, 3, [1, 4, 7, 10]), (4, 2, [1, 3]), (4, 1, [0, 1, 2, 3]), (1, 3, [0])]
)
def test_subsampling_keeps_the_middle_frame(frames: int, every: int, indices: list[int]) -> None:
    inputs = clips(frames=frames)
    assert torch.equal(subsample_frames(inputs, every), inputs[:, :, indices])


@pytest.mark.parametrize("time", ["stack", "mean"])
def test_a_finer_grid_is_averaged_and_steps_stand_side_by_side(time: Any) -> None:
    """A teacher of single frames (4 steps of 6 x 6) for a student of 2 x 3 x 3."""
    inputs = clips()
    tokens = torch.randn(2, 4, 6, 6, 5, generator=generator(7))
    teacher = Teacher.__new__(Teacher)
    teacher.time, teacher.normalized, teacher.steps = time, False, 2
    features = teacher._layer_on_grid(tokens, GRID)
    for n, t, y, x in itertools.product(range(2), range(2), range(3), range(3)):
        steps = [tokens[n, 2 * t + s, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((0, 1)) for s in range(2)]
        expected = torch.cat(steps) if time == "stack" else (steps[0] + steps[1]) / 2
        torch.testing.assert_close(features[n, (t * 3 + y) * 3 + x], expected, atol=1e-5, rtol=1e-4)
    assert inputs.shape[0] == 2


def test_features_are_the_encoders_own_normalized_token_by_token() -> None:
    inputs, name = clips(), "pretraining:teacher"
    teacher = Teacher(name, CPU, frames=4, grid=GRID)
    coarse = F.avg_pool2d(encoded(name, inputs).grid.flatten(0, 1).permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    expected = (coarse - coarse.mean(-1, keepdim=True)) / (coarse.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    assert teacher.out == 48
    torch.testing.assert_close(teacher(inputs, GRID), expected.reshape(2, 18, 48), atol=1e-4, rtol=0)


def test_steps_that_do_not_divide_are_brought_to_the_students() -> None:
    """Twelve frames: six steps of the teacher, four of the student."""
    teacher = Teacher("pretraining:teacher", CPU, frames=12, grid=(4, 3, 3), normalized=False)
    assert (teacher.steps, teacher.out) == (1, 48)
    inputs = clips(frames=12)
    grid = encoded("pretraining:teacher", inputs).grid
    expected = (
        torch.einsum("ai,nihwd->nahwd", overlap(6, 4), grid).unflatten(2, (3, 2)).unflatten(4, (3, 2)).mean((3, 5))
    )
    torch.testing.assert_close(teacher(inputs, (4, 3, 3)), expected.reshape(2, 36, 48), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["pretraining:teacher", "pretraining:teacher_with_class_token"])
def test_layers_are_what_the_blocks_give_side_by_side(name: str) -> None:
    inputs = clips()
    teacher = Teacher(name, CPU, frames=4, grid=GRID, layers=(0, -1), normalized=False)
    encoder: Any = load(name)
    x, own = encoder.network.trunk(preprocess(inputs, encoder.card))
    cls = int(encoder.network.shape.cls)
    last = resize_grid(x[:, cls:].unflatten(1, own), GRID).reshape(2, 18, -1)
    features = teacher(inputs, GRID)
    assert features.shape == (2, 18, 2 * encoder.card.dim)
    torch.testing.assert_close(features[..., encoder.card.dim :], last, atol=1e-5, rtol=1e-4)
    assert (features[..., : encoder.card.dim] - last).abs().max() > 1e-3


@pytest.mark.parametrize("layers", [(), (0, 2)])
def test_pictures_stand_for_all_steps_of_a_token(layers: tuple[int, ...]) -> None:
    """Frame-wise features of a still are those of a video of it standing still, first token of time."""
    name = "vit/tiny-random" if layers else "pixels/thumbnail"
    teacher = Teacher(name, CPU, frames=4, grid=GRID, layers=layers)
    still = clips(frames=1)
    features = teacher(still, (1, 3, 3))
    assert features.shape == (2, 9, teacher.out)
    if not layers:
        video = teacher(still.expand(-1, -1, 4, -1, -1), GRID)
        torch.testing.assert_close(features, video[:, :9], atol=1e-5, rtol=1e-4)


def test_a_target_hands_its_fields_to_the_teacher() -> None:
    student = Student(pretraining.SHAPE, generator(0))
    target = Distilled(name="t", teacher="pretraining:teacher", layers=(1,), every=2, normalized=False, width=16)
    teaching = target.bind(student, CPU)
    inputs = clips()
    stub = Teacher("pretraining:teacher", CPU, frames=4, grid=GRID, layers=(1,), every=2, normalized=False)
    values = teaching.values(TargetInputs(inputs, torch.zeros(2, 18, 1), GRID, torch.zeros(2, dtype=torch.long)))
    assert torch.equal(values, stub(inputs, GRID))
    assert teaching.card is not None
    assert teaching.card.pretraining_datasets == {"films"}


def test_a_teacher_of_smaller_frames_gets_them() -> None:
    inputs = clips()
    encoder = load("pretraining:teacher_of_squares")
    smaller = dataclasses.replace(encoder.card, size=16)
    teacher = Teacher("pretraining:teacher_of_squares", CPU, frames=4, grid=(4, 2, 2), normalized=False, size=16)
    tokens = encoder(preprocess(inputs, smaller)).grid
    assert tokens.shape[1:4] == (4, 2, 2)
    torch.testing.assert_close(teacher(inputs, (4, 2, 2)), tokens.flatten(1, 3), atol=1e-6, rtol=1e-5)
    assert teacher.identity["preprocessing"][0] == 16


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"teacher": "vit/tiny-randon"}, "did you mean 'vit/tiny-random'"),
        ({"teacher": "pretraining:teacher", "layers": (3,)}, "has 3 blocks; layers = (3,) are not among them"),
        ({"teacher": "pixels/thumbnail", "layers": (0,)}, "has no blocks"),
        ({"teacher": "pretraining:teacher", "every": 3}, "every = 3 must divide the 4 frames"),
        ({"teacher": "pretraining:teacher", "every": 0}, "every = 0"),
    ],
    ids=str,
)
def test_unusable_teachers_raise_in_one_line(given_: dict[str, Any], message: str) -> None:
    student = Student(pretraining.SHAPE, generator(0))
    with pytest.raises(ValueError) as error:
        Distilled(name="image", **given_).bind(student, CPU)
    assert str(error.value).startswith("target image: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_frames_that_a_teacher_cannot_cut_are_refused() -> None:
    with pytest.raises(ValueError) as error:
        Teacher("pretraining:teacher", CPU, frames=6, grid=(3, 3, 3), every=2)
    assert "clips of 3 frames, 24 x 24 pixels and 3 channels do not divide into 2 x 4 x 4 blocks" in str(error.value)


def test_a_class_tokens_attention_is_that_of_its_last_block() -> None:
    """Softmax by loops over heads, from the block's own weights."""
    pixels = Blobs().open(recipe().spec, seed=0).read(3).pixels
    features = Guide("pretraining:teacher_with_class_token", CPU)(pixels, GRID)
    encoder: Any = load("pretraining:teacher_with_class_token")
    network, inputs = encoder.network, preprocess(pixels.movedim(-1, 1).float() / 255, encoder.card)
    x = network.patch_embed(inputs)
    x = torch.cat([network.cls_token.expand(3, -1, -1), x], 1) + network.positions(GRID)
    x = network.blocks[0](x)
    attention = network.blocks[1].attn
    qkv = attention.qkv(network.blocks[1].norm1(x))
    heads = []
    for head in range(2):
        q, k = (qkv[..., part * 32 + head * 16 : part * 32 + head * 16 + 16] for part in (0, 1))
        heads.append(((q[:, 0, None] * k).sum(-1) / 4).softmax(-1))
    torch.testing.assert_close(features, torch.stack(heads).mean(0)[:, 1:], atol=1e-6, rtol=1e-4)


def test_a_guide_that_is_not_finite_is_said_when_it_is_checked() -> None:
    pixels = Blobs().open(recipe().spec, seed=0).read(2).pixels
    guide = Guide("pretraining:teacher", CPU)
    guide(pixels, GRID)
    guide.check()
    guide.encoder = pretraining.teacher_of_nothing()
    keep = Attended(0.5)(2, GRID, generator(0), saliency=guide(pixels, GRID)).keep
    assert len(set(keep[0].tolist())) == keep.shape[1], "a mask all the same"
    with pytest.raises(ValueError, match="guide made-up: saliency must be finite and not negative"):
        guide.check()


def test_without_a_class_token_places_near_the_summary_weigh_more() -> None:
    grid = torch.randn(2, 3, 2, 2, 5, generator=generator(0))
    clip = torch.randn(2, 5, generator=generator(1))
    features = summary_saliency(Tokens(grid, clip))
    for n, t in itertools.product(range(2), range(3)):
        near = torch.stack([F.cosine_similarity(grid[n, t, y, x], clip[n], dim=0) for y in range(2) for x in range(2)])
        torch.testing.assert_close(features[n, t].flatten(), (10 * near).softmax(0))
    lengths = summary_saliency(Tokens(grid, torch.randn(2, 7)))
    torch.testing.assert_close(lengths, grid.norm(dim=-1))


def test_training_sees_what_the_guide_attends_to(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """All the weight on one corner: with two of three by three kept, it is always among them, for parts as for all."""

    def corner(guide: Guide, pixels: torch.Tensor, grid: tuple[int, int, int]) -> torch.Tensor:
        weights = torch.full((len(pixels), grid[0], 9), 1e-9)
        weights[..., 8] = 1.0
        return weights.flatten(1)

    monkeypatch.setattr(Guide, "__call__", corner)
    indices = []
    forward = Student.forward

    def stub(student: Student, blocks: torch.Tensor, keep: torch.Tensor, grid: Any) -> torch.Tensor:
        indices.append(keep)
        return forward(student, blocks, keep, grid)

    monkeypatch.setattr(Student, "forward", stub)
    made = recipe(masks=(Attended(7 / 9),), guide="pretraining:teacher", accumulate=2, steps=2)
    pretraining.train(tmp_path, recipe(**{**vars(made), "targets": made.targets[:1]}))
    _counting, *trained = indices  # operations are counted before the first step, without the guide
    assert len(trained) == 4
    assert all(({8, 17} <= set(row)) for keep in trained for row in keep.tolist())
