"""What a step minimizes, target by target, against arithmetic by hand; how its parts add up; what a recipe refuses."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pretraining import SHAPE, Blobs, everything, recipe
from vitascope.core.device import generator
from vitascope.pretrain import export, optim, target_gradients
from vitascope.pretrain.masking import Attended, DualMask, Masked, RunningCell, Steps, Tube, Whole
from vitascope.pretrain.model import Student, gather_tokens
from vitascope.pretrain.objective import Objective, draw_masks, target_similarity
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.hog import hog
from vitascope.pretrain.targets.optical_flow import flow
from vitascope.pretrain.targets.targets import Flow, Hog, Labels, Latent, Pixels, TargetInputs

GRID = (2, 3, 3)
CPU = torch.device("cpu")


def objective(made: Recipe) -> Objective:
    seeded = generator(made.seed)
    student = Student(made.shape, seeded)
    return Objective(student, made.targets, export.card(made), seeded)


def batch(made: Recipe, source: Blobs = Blobs(), seed: int = 3) -> optim.StepBatch:  # noqa: B008 - frozen
    clips = source.open(made.spec, seed=0).read(made.batch)
    frames = clips.pixels.shape[1]
    grid = (max(frames // 2, 1), 3, 3)
    masks = draw_masks(made.masks_for(frames), grid, generator(seed), count=made.batch, rows=slice(None))
    return optim.StepBatch(clips.pixels, clips.labels, masks)


def backward(model: Objective, made: Recipe, given: optim.StepBatch) -> dict[str, torch.Tensor]:
    return optim.backward(model, made, given, made.target_weights_at(0))


def gradients(model: Objective) -> dict[str, torch.Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("still", [False, True])
def test_a_batch_in_parts_has_the_losses_and_gradients_of_one(still: bool) -> None:
    results = []
    for parts in (1, 2, 4):
        made = everything(accumulate=parts)
        model = objective(made)
        losses = backward(model, made, batch(made, Blobs(still=still)))
        results.append((losses, gradients(model)))
    for losses, grads in results[1:]:
        assert losses.keys() == results[0][0].keys()
        assert grads.keys() == results[0][1].keys()
        for name, value in losses.items():
            torch.testing.assert_close(value, results[0][0][name], atol=1e-6, rtol=1e-5)
        for name, value in grads.items():
            torch.testing.assert_close(value, results[0][1][name], atol=1e-6, rtol=1e-4)


def test_losses_are_named_unweighted_and_summed_by_weight() -> None:
    made = recipe()
    model, given = objective(made), batch(made)
    losses = backward(model, made, given)
    assert list(losses) == ["pixels", "hog differences", "latent"]
    other = recipe(targets=tuple(t if t.name == "pixels" else _weighted(t, 1e-9) for t in made.targets))
    alone = objective(other)
    assert backward(alone, other, given) == losses
    one = recipe(targets=made.targets[:1])
    single = objective(one)
    single.student.load_state_dict(model.student.state_dict())
    single.decoders["pixels"].load_state_dict(model.decoders["pixels"].state_dict())
    backward(single, one, given)
    for name, grad in gradients(single).items():
        torch.testing.assert_close(gradients(alone)[name], grad, atol=1e-6, rtol=1e-3)


def _weighted(target: Any, weight: float) -> Any:
    return type(target)(**{**vars(target), "weight": weight})


def test_several_masks_are_the_mean_over_the_looks() -> None:
    made = recipe()
    model, given = objective(made), batch(made)
    other = Tube(0.4)(8, GRID, generator(9))
    both = model(given.pixels, given.labels, [given.masks[0], other])
    each = [model(given.pixels, given.labels, [mask]) for mask in (given.masks[0], other)]
    for name, value in both.items():
        torch.testing.assert_close(value, (each[0][name] + each[1][name]) / 2)


def test_pixels_are_normalized_channel_by_channel_within_each_token() -> None:
    made = recipe(targets=(Pixels(width=16, depth=1, on="all"),))
    model, given = objective(made), batch(made)
    inputs = model.prepare(given.pixels, given.labels)
    values = model.bound["pixels"].values(inputs)
    raw = given.pixels.double().permute(0, 4, 1, 2, 3) / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1, 1) for v in (made.mean, made.std))
    block = ((raw - mean) / std)[5, 1, 2:4, 8:16, 16:24].flatten()
    expected = (block - block.mean()) / block.std()
    results = values[5, (1 * 3 + 1) * 3 + 2].unflatten(0, (3, -1))[1]
    torch.testing.assert_close(results.double(), expected, atol=1e-4, rtol=0)
    keep, hide = given.masks[0]
    at = torch.cat([keep, hide], 1)
    predicted = model.decoders["pixels"](model.student(inputs.patches, keep, GRID), keep, hide, GRID)
    loss = model(given.pixels, given.labels, given.masks)["pixels"]
    torch.testing.assert_close(loss, (predicted - gather_tokens(values, at)).square().mean())


@pytest.mark.parametrize("differences", [False, True])
def test_hog_of_a_token_is_that_of_its_cells_frame_by_frame(differences: bool) -> None:
    target = Hog(differences=differences, bins=5, cells=2, width=16, depth=1)
    made = recipe(targets=(target,))
    model, given = objective(made), batch(made)
    inputs = model.prepare(given.pixels, given.labels)
    values = model.bound["hog"].values(inputs)
    assert values.shape == (8, 18, 2 * 4 * 5)
    gray = inputs.clips.mean(1)
    if differences:
        gray = torch.stack([gray[:, min(t + 1, 3)] - gray[:, min(t, 2)] for t in range(4)], 1)
    cells = hog(gray, cell=4, bins=5, signed=differences)
    expected = [cells[6, 2 + f, 2 * 1 + a, 2 * 2 + b] for f in range(2) for a in range(2) for b in range(2)]
    torch.testing.assert_close(values[6, (1 * 3 + 1) * 3 + 2], torch.cat(expected))


def test_hog_of_pictures_repeats_and_differences_of_one_are_nothing() -> None:
    made = recipe(targets=(Hog(width=16, depth=1), Hog(name="moves", differences=True, width=16, depth=1)))
    model, given = objective(made), batch(made, Blobs(still=True))
    inputs = model.prepare(given.pixels, given.labels)
    values = model.bound["hog"].values(inputs)
    assert values.shape == (8, 9, 2 * 4 * 9)
    assert torch.equal(*values.chunk(2, dim=-1))
    assert values.any()
    assert not model.bound["moves"].values(inputs).any()


@pytest.mark.parametrize("steady", [False, True])
def test_flow_of_a_token_is_that_of_its_cells_frame_by_frame(steady: bool) -> None:
    made = recipe(targets=(Flow(blurs=(1.0, 2.0), soft=0.5, steady=steady, width=16, depth=1),))
    model, given = objective(made), batch(made)
    inputs = model.prepare(given.pixels, given.labels)
    values = model.bound["flow"].values(inputs)
    assert values.shape == (8, 18, 2 * 4 * 4)
    cells = torch.cat([flow(inputs.clips.mean(1), cell=4, blur=blur) for blur in (1.0, 2.0)], -1)
    if steady:
        cells = cells - cells.flatten(2, 3).median(2).values[:, :, None, None]
    held = torch.cat([cells, cells[:, -1:]], 1)[6]
    expected = torch.cat([held[2 + f, 2 * 1 + a, 2 * 2 + b] for f in range(2) for a in range(2) for b in range(2)])
    torch.testing.assert_close(values[6, (1 * 3 + 1) * 3 + 2], expected.sign() * torch.log(1 + 2 * expected.abs()))
    plain = objective(recipe(targets=(Flow(blurs=(1.0, 2.0), soft=0, steady=steady, width=16, depth=1),)))
    torch.testing.assert_close(plain.bound["flow"].values(inputs)[6, (1 * 3 + 1) * 3 + 2], expected)


def test_pictures_do_not_flow() -> None:
    made = recipe(targets=(Flow(width=16, depth=1),))
    model, given = objective(made), batch(made, Blobs(still=True))
    values = model.bound["flow"].values(model.prepare(given.pixels, given.labels))
    assert values.shape == (8, 9, 2 * 4 * 4)
    assert not values.any()


def test_the_slow_copy_says_the_mean_of_its_last_blocks_centered() -> None:
    made = recipe(targets=(Latent(width=16, depth=1, last=2, centered=True),))
    model, given = objective(made), batch(made)
    inputs = model.prepare(given.pixels, given.labels)
    caught: list[torch.Tensor] = []
    for block in model.student.trunk.blocks[-2:]:
        block.register_forward_hook(lambda _block, _given, out: caught.append(out.detach().double()))
    model.student(inputs.patches, Whole()(8, GRID, generator(0)).keep, GRID)
    mean = (
        sum((x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() for x in caught)
        / 2
    )
    apart = mean - mean.mean(0) - mean.mean(1, keepdim=True) + mean.mean((0, 1))
    expected = (apart / apart.std((0, 1), unbiased=False)).float()
    torch.testing.assert_close(model.bound["latent"].values(inputs), expected, atol=1e-4, rtol=1e-3)


def test_centered_targets_need_two_clips() -> None:
    made = recipe(targets=(Latent(width=16, depth=1, centered=True),), accumulate=8)
    with pytest.raises(ValueError, match="use a larger batch or fewer parts"):
        backward(objective(made), made, batch(made))


def test_last_blocks_are_limited_by_depth() -> None:
    with pytest.raises(ValueError, match="last = 9 must be from 0 to 2"):
        objective(recipe(targets=(Latent(width=16, depth=1, last=9),)))


def test_latent_targets_come_from_a_moving_average_of_the_student() -> None:
    made = recipe(targets=(Latent(width=16, depth=1, decay=(0.5, 0.9)),))
    model, given = objective(made), batch(made)
    inputs = model.prepare(given.pixels, given.labels)
    whole = Whole()(8, GRID, generator(0)).keep
    predicted = F.layer_norm(model.student(inputs.patches, whole, GRID), (32,))
    torch.testing.assert_close(model.bound["latent"].values(inputs), predicted.detach())
    slow: Any = model.slow["latent"]
    average = {n: p.clone() for n, p in slow.student.named_parameters()}
    for step in range(1, 4):
        with torch.no_grad():
            for p in model.student.parameters():
                p.add_(torch.randn(p.shape, generator=generator(step)))
        progress = step / 3
        model.update_targets(progress)
        keep = 0.5 + 0.4 * progress
        average = {n: keep * average[n] + (1 - keep) * p for n, p in model.student.named_parameters()}
        for name, value in slow.student.named_parameters():
            torch.testing.assert_close(value, average[name])
    assert not any(p.requires_grad for p in slow.parameters())
    learned = {
        id(p)
        for optimizer in optim.build_optimizers(model, made)
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert not learned & {id(p) for p in slow.parameters()}
    assert learned == {id(p) for p in (*model.student.parameters(), *model.decoders.parameters())}


def test_labels_are_predicted_from_the_mean_of_the_visible_tokens() -> None:
    made = recipe(targets=(Labels(classes=3, weight=2.0),), masks=(Whole(),))
    model, given = objective(made), batch(made, Blobs(classes=3))
    inputs = model.prepare(given.pixels, given.labels)
    tokens = model.student(inputs.patches, given.masks[0].keep, GRID)
    head: Any = model.decoders["labels"]
    logits = head.outward(head.norm(tokens.mean(1)))
    loss = model(given.pixels, given.labels, given.masks)["labels"]
    torch.testing.assert_close(loss, F.cross_entropy(logits, given.labels))
    with pytest.raises(ValueError) as error:
        made.targets[0].check_labels(torch.tensor([0, 2]) - 1)
    assert "labels from -1 to 1 do not fit 3 classes" in str(error.value)


@pytest.mark.parametrize("distance", ["mse", "smooth_l1", "cosine"])
def test_distances(distance: Any) -> None:
    a, b = (torch.randn(2, 5, 7, generator=generator(seed)) * 2 for seed in (0, 1))
    expected = {
        "mse": ((a - b) ** 2).mean(),
        "smooth_l1": torch.where((a - b).abs() < 1, (a - b) ** 2 / 2, (a - b).abs() - 0.5).mean(),
        "cosine": 1 - ((a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))).mean(),
    }[distance]
    torch.testing.assert_close(Pixels(distance=distance).loss(a, b), expected)


def test_predicting_hidden_tokens_needs_a_mask_that_hides_some() -> None:
    made = recipe(masks=(Whole(),))
    with pytest.raises(ValueError) as error:
        backward(objective(made), made, batch(made))
    assert "target pixels predicts hidden tokens, but the mask hides none" in str(error.value)


def test_masks_of_a_rank_are_its_rows_of_all() -> None:
    masks = (Tube(0.6), RunningCell(0.5))
    whole = draw_masks(masks, GRID, generator(4), count=8, rows=slice(None))
    for rank in range(2):
        for mask, part in zip(
            whole, draw_masks(masks, GRID, generator(4), count=8, rows=slice(rank, None, 2)), strict=True
        ):
            assert torch.equal(part.keep, mask.keep[rank::2])
            assert torch.equal(part.hide, mask.hide[rank::2])


@pytest.mark.parametrize("mask", [Attended(0.5), DualMask(Attended(0.5), 0.5)], ids=str)
def test_guided_masks_of_a_rank_are_its_rows_of_all(mask: Any) -> None:
    weights = torch.rand(8, 18, generator=generator(5)) ** 4
    whole = draw_masks((mask,), GRID, generator(4), count=8, rows=slice(None), saliency=weights)[0]
    part = draw_masks((mask,), GRID, generator(4), count=8, rows=slice(1, None, 2), saliency=weights[1::2])[0]
    assert isinstance(part, Masked)
    assert torch.equal(part.keep, whole.keep[1::2])
    assert torch.equal(part.hide, whole.hide[1::2])


def test_likeness_is_a_mean_cosine_and_says_what_is_no_number() -> None:
    values = torch.randn(4, 3, 5, generator=generator(0))
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    expected = sum(F.cosine_similarity(values[i], values[j], dim=-1).mean() for i, j in pairs) / len(pairs)
    assert target_similarity(values) == pytest.approx(float(expected), abs=1e-6)
    assert target_similarity(values[:1]) == 0.0
    assert target_similarity(values / 0) != target_similarity(values / 0)


def test_matrices_decay_and_the_rest_does_not() -> None:
    made = recipe(final_weight_decay=0.5, weight_decay=0.1, final_lr=1e-4)
    model = objective(made)
    (optimizer,) = optimizers = optim.build_optimizers(model, made)
    before = copy.deepcopy({n: p for n, p in model.named_parameters() if p.requires_grad})
    for step in range(6):
        rate = optim.apply_schedule(optimizers, made, step)
    assert rate == pytest.approx(1e-4)
    assert [g["weight_decay"] for g in optimizer.param_groups] == pytest.approx([0.5, 0.0])
    for p in before:
        model.get_parameter(p).grad = torch.zeros_like(model.get_parameter(p))
    optimizer.step()
    for name, old in before.items():
        matrix = old.ndim > 1 and not name.endswith(".mask")
        expected = old * (1 - 1e-4 * 0.5) if matrix else old
        torch.testing.assert_close(model.get_parameter(name), expected, atol=1e-8, rtol=0)


def test_weights_of_targets_go_along_a_cosine_and_scale_their_gradients() -> None:
    fading = (Pixels(weight=2.0, final_weight=0.5), Hog(weight=0.3))
    made = recipe(steps=9, targets=fading, precision="float32")
    weights = [made.target_weights_at(step) for step in range(9)]
    assert [w["hog"] for w in weights] == [0.3] * 9
    expected = [0.5 + 1.5 * (1 + math.cos(math.pi * n / 9)) / 2 for n in range(1, 10)]
    assert [w["pixels"] for w in weights] == pytest.approx(expected)

    model, masked = objective(made), batch(made)
    separate = target_gradients.measure(model, model, made, masked, dict.fromkeys(weights[4], 1.0))
    weighted = target_gradients.measure(model, model, made, masked, weights[4])
    for name, weight in weights[4].items():
        assert weighted.norms[name] == pytest.approx(weight * separate.norms[name], rel=1e-5)
    optim.backward(model, made, masked, weights[4])
    total = math.hypot(*(float(p.grad.norm()) for p in model.student.trunk.parameters() if p.grad is not None))
    (cosine,) = weighted.cosines.values()
    one, other = weighted.norms.values()
    assert total == pytest.approx(math.sqrt(one**2 + other**2 + 2 * cosine * one * other), rel=1e-5)


def test_schedules_rise_linearly_and_fall_along_a_cosine() -> None:
    made = recipe(steps=10, warmup=4, lr=1.0, final_lr=0.2)
    rates = [made.lr_at(step) for step in range(10)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[6] == pytest.approx(0.6)
    assert rates[9] == pytest.approx(0.2)


def test_seeds_of_steps_and_runs_do_not_meet() -> None:
    runs = [recipe(seed=seed) for seed in range(20)]
    seeds = {optim.mask_generator(run, step, CPU).initial_seed() for run in runs for step in range(100)}
    assert len(seeds) == 2000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 0}, "batch = 0"),
        ({"lr": 0.0}, "lr = 0.0"),
        ({"data": ()}, "at least one source, one target and one mask"),
        ({"frames": 5}, "clips of 5 frames of 24 pixels do not divide into tokens of 2 frames of 8"),
        ({"size": 20}, "of 20 pixels do not divide"),
        ({"masks": (Attended(0.5),)}, "a mask needs a teacher's saliency"),
        ({"guide": "vit/tiny-random"}, "no mask uses the guide vit/tiny-random"),
        ({"targets": (Pixels(), Pixels())}, "with distinct names"),
        ({"targets": (Hog(cells=3),)}, "3 cells do not divide tokens of 8 pixels"),
        ({"targets": (Flow(cells=3),)}, "3 cells do not divide tokens of 8 pixels"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_invalid_recipes_raise_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        objective(recipe(**changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Pixels(weight=0),
        lambda: Pixels(width=20),
        lambda: Pixels(depth=0),
        lambda: Flow(soft=-1),
        lambda: Flow(blurs=()),
        lambda: Labels(classes=1),
        lambda: Labels(classes=3, depth=1),
    ],
)
def test_invalid_targets_raise(wrong: Any) -> None:
    with pytest.raises(ValueError) as error:
        wrong()
    assert str(error.value).startswith("target ")


def test_images_need_a_suitable_mask() -> None:
    made = recipe(masks=(Steps(0.5),))
    with pytest.raises(ValueError) as error:
        batch(made, Blobs(still=True))
    assert "use another mask for images" in str(error.value)
    assert batch(recipe(masks=(Steps(0.5),), image_masks=(Tube(0.6),)), Blobs(still=True)).masks[0].keep.shape == (8, 4)


def test_what_is_shown_is_what_was_given() -> None:
    made = recipe()
    model, given = objective(made), batch(made)
    inputs = model.prepare(given.pixels, given.labels)
    assert isinstance(inputs, TargetInputs)
    assert inputs.grid == GRID
    torch.testing.assert_close(inputs.clips[2, 1, 3, 4, 5], given.pixels[2, 3, 4, 5, 1] / 255)
    assert SHAPE.grid == GRID


def test_muon_steps_along_orthogonal_matrices_of_the_blocks_alone() -> None:
    made = recipe(optimizer="muon", weight_decay=0.0, lr=0.1, warmup=0)
    model = objective(made)
    optimizers = optim.build_optimizers(model, made)
    rate = optim.apply_schedule(optimizers, made, 0)
    before = copy.deepcopy({n: p for n, p in model.named_parameters() if p.requires_grad})
    for name in before:
        p = model.get_parameter(name)
        p.grad = torch.randn(p.shape, generator=generator(len(name)))
    optim.step_optimizers(optimizers)
    muon_params = [n for n, p in before.items() if p.ndim == 2 and ".blocks." in n]
    assert len(muon_params) == sum(
        p is not None and p.ndim == 2 for m in optimizers[1:] for p in m.param_groups[0]["params"]
    )
    for name, old in before.items():
        step = (old - model.get_parameter(name)).detach()
        assert model.get_parameter(name).grad is None
        if name in muon_params:
            spread = torch.linalg.svdvals(step) / (rate * 0.2 * max(step.shape) ** 0.5)
            assert 0.6 < spread.min() <= spread.max() < 1.3, name
        else:
            torch.testing.assert_close(step.abs(), torch.full_like(step, rate), rtol=1e-3, atol=1e-5)
