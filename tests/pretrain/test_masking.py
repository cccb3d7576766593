"""Masks against arithmetic by hand, unions of sets, exact probabilities and chi-square with fixed seeds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, chisquare
from torch import Tensor

from vitascope.nn.configs.video_vit import Grid
from vitascope.pretrain.masking import (
    Attended,
    Blocks,
    DualMask,
    Mask,
    Masked,
    Random,
    RunningCell,
    Steps,
    Tube,
    Whole,
)

STEADY = settings(deadline=None, max_examples=25)
MASKS: list[Mask] = [
    Whole(),
    Tube(0.75),
    Random(0.6),
    Steps(0.5),
    Attended(0.7),
    RunningCell(0.5),
    Blocks(3, 0.2),
    DualMask(Tube(0.75), 0.5),
    DualMask(Attended(0.7), 0.5),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(mask: Mask, n: int, grid: Grid, seed: int = 0) -> Masked:
    saliency = torch.rand(n, grid[0] * grid[1] * grid[2], generator=generator(77))
    return mask(n, grid, generator(seed), saliency=saliency if mask.needs_saliency else None)


def visibility(masked: Masked, grid: Grid) -> Tensor:
    """Whether the encoder sees a token, (n, t, h, w)."""
    chosen = torch.zeros(len(masked.keep), grid[0] * grid[1] * grid[2], dtype=torch.bool)
    return chosen.scatter_(1, masked.keep, True).unflatten(1, grid)


def evenness(counts: Tensor, n: int, share: float) -> float:
    """The p-value of `n` draws without replacement of a `share` of the places, each as likely as the other."""
    places = counts.numel()
    off = ((counts.double() - n * share) ** 2).sum() / (n * share * (1 - share)) * (places - 1) / places
    return float(chi2.sf(float(off), places - 1))


@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize("grid", [(4, 6, 6), (2, 5, 7), (1, 7, 6)], ids=str)
def test_token_numbers_ascend_and_never_meet(mask: Mask, grid: Grid) -> None:
    if grid[0] == 1 and mask == Steps(0.5):
        return
    masked = drawn(mask, 5, grid)
    for numbers in masked:
        assert numbers.dtype == torch.int64
        assert len(numbers) == 5
        assert (numbers.diff(dim=1) > 0).all()
        assert ((numbers >= 0) & (numbers < grid[0] * grid[1] * grid[2])).all()
    for keep, hide in zip(*masked, strict=True):
        assert not set(keep.tolist()) & set(hide.tolist())


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_the_generator_alone_decides(mask: Mask) -> None:
    one, same, other = (drawn(mask, 6, (4, 6, 6), seed) for seed in (3, 3, 4))
    assert torch.equal(one.keep, same.keep)
    assert torch.equal(one.hide, same.hide)
    assert isinstance(mask, Whole) or not (torch.equal(one.keep, other.keep) and torch.equal(one.hide, other.hide))
    assert isinstance(mask, Whole) or len({tuple(row) for row in one.keep.tolist()}) > 1  # each clip for itself


@STEADY
@given(ratio=st.floats(0.05, 0.95), steps=st.integers(1, 5), rows=st.integers(2, 7), columns=st.integers(2, 7))
def test_counts_are_the_nearest_whole_numbers(ratio: float, steps: int, rows: int, columns: int) -> None:
    places, grid = rows * columns, (steps, rows, columns)
    cases: list[tuple[Mask, int, int]] = [
        (Tube(ratio), places, steps),
        (Random(ratio), places * steps, 1),
        (Steps(ratio), steps, places),
        (Attended(ratio), places, steps),
        (RunningCell(ratio), places * steps, 1),
    ]
    for mask, of, each in cases:
        if isinstance(mask, Steps) and steps == 1:
            continue
        hidden = round(ratio * of)
        if 0 < hidden < of:
            masked = drawn(mask, 3, grid)
            assert masked.hide.shape == (3, hidden * each)
            assert masked.keep.shape == (3, (of - hidden) * each)
        else:
            with pytest.raises(ValueError, match=r"use a ratio of at (most|least)"):
                drawn(mask, 3, grid)


def test_whole_shows_everything() -> None:
    masked = Whole()(2, (2, 3, 4), generator())
    assert torch.equal(masked.keep, torch.arange(24).repeat(2, 1))
    assert masked.hide.shape == (2, 0)


def test_tubes_and_steps_run_along_their_axes() -> None:
    visible = visibility(drawn(Tube(0.75), 9, (4, 6, 5)), (4, 6, 5))
    assert (visible == visible[:, :1]).all()
    visible = visibility(drawn(Steps(0.5), 9, (4, 6, 5)), (4, 6, 5))
    assert (visible == visible[..., :1, :1]).all()
    visible = visibility(drawn(Random(0.75), 9, (4, 6, 5)), (4, 6, 5))
    assert not (visible == visible[:, :1]).all()


@pytest.mark.parametrize("ratio", [0.25, 0.75, 0.9])
def test_what_is_drawn_is_drawn_evenly(ratio: float) -> None:
    n, grid = 4000, (2, 5, 6)
    tubes = visibility(drawn(Tube(ratio), n, grid), grid)[:, 0].flatten(1)
    assert 1e-3 < evenness(tubes.sum(0), n, float(tubes[0].float().mean())) < 1 - 1e-3
    tokens = visibility(drawn(Random(ratio), n, grid), grid).flatten(1)
    assert 1e-3 < evenness(tokens.sum(0), n, float(tokens[0].float().mean())) < 1 - 1e-3
    level = visibility(Attended(ratio)(n, grid, generator(), saliency=torch.ones(n, 60)), grid)
    for step in range(2):  # equal weights: each step is a draw of its own
        visible = level[:, step].flatten(1)
        assert 1e-3 < evenness(visible.sum(0), n, float(visible[0].float().mean())) < 1 - 1e-3
    assert (level[:, 0] == level[:, 1]).flatten(1).all(1).float().mean() < 0.01


def test_steps_are_drawn_evenly() -> None:
    steps = visibility(drawn(Steps(0.4), 4000, (5, 2, 2)), (5, 2, 2))[..., 0, 0]
    assert 1e-3 < evenness(steps.sum(0), 4000, 0.6) < 1 - 1e-3


def test_the_test_of_evenness_notices_a_small_bias() -> None:
    biased = torch.full((30,), 1000)
    biased[:15] += 60
    biased[15:] -= 60
    assert evenness(biased, 4000, 0.25) < 1e-3


@pytest.mark.parametrize("grid", [(8, 6, 6), (6, 5, 7), (1, 7, 7), (16, 3, 3)], ids=str)
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.6, 0.9])
def test_a_running_cell_shows_every_place_and_step_alike(grid: Grid, ratio: float) -> None:
    n = 3000
    visible = visibility(drawn(RunningCell(ratio), n, grid), grid)
    for axes in ((1,), (2, 3)):  # how often each position is visible; how many tokens of each step are
        counts = visible.sum(axes).flatten(1)
        assert int((counts.amax(1) - counts.amin(1)).max()) <= 1
    share = visible[0].float().mean()
    spread = (visible.float().mean(0) - share) / (share * (1 - share) / n) ** 0.5
    assert float(spread.abs().max()) < 4.5  # over the clips, every token alike


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_running_cell_is_even_in_each_cell_and_runs(quarters: int) -> None:
    visible = visibility(drawn(RunningCell(1 - quarters / 4), 50, (4, 6, 8)), (4, 6, 8))
    cells = visible.unflatten(3, (4, 2)).unflatten(2, (3, 2)).permute(0, 1, 2, 4, 3, 5).flatten(4)  # n t y x 4
    assert (cells.sum(4) == quarters).all()
    assert (cells.sum(1) == quarters).all()
    clockwise = cells[..., [0, 1, 3, 2]]  # from step to step the pattern turns by as many places as it shows
    back = clockwise.roll(-quarters, dims=4)
    assert torch.equal(clockwise[:, 1:], back[:, :-1])


@pytest.mark.parametrize("inner", [Tube(0.75), Random(0.75), Blocks(3, 0.2), Steps(0.5)], ids=str)
def test_thinned_predicts_an_even_part_of_what_is_hidden(inner: Mask) -> None:
    grid, n = (8, 6, 6), 200
    all_hidden, thinned = drawn(inner, n, grid), drawn(DualMask(inner, 0.5), n, grid)
    assert torch.equal(thinned.keep, all_hidden.keep)
    assert thinned.hide.shape[1] == all_hidden.hide.shape[1] - round(all_hidden.hide.shape[1] / 2)
    for part, whole in zip(thinned.hide.tolist(), all_hidden.hide.tolist(), strict=True):
        assert set(part) < set(whole)
    if isinstance(inner, Tube):  # 27 hidden places of 8 steps: a random half would leave some place out, or in always
        counts = torch.zeros(n, 36).scatter_add_(1, thinned.hide % 36, torch.ones(thinned.hide.shape))
        counts = counts[counts > 0].view(n, 27)
        assert counts.min() >= 3
        assert counts.max() <= 5
        counts = torch.zeros(n, 8).scatter_add_(1, thinned.hide // 36, torch.ones(thinned.hide.shape))
        assert counts.min() >= 6  # and a step of 27 has about half
        assert counts.max() <= 21


def boxes(mask: Blocks, n: int, grid: Grid, rng: torch.Generator) -> list[list[tuple[range, range, range]]]:
    """The blocks that the same draws give, one at a time in plain numbers."""
    steps, rows, columns = grid
    aspect, top, left, start = (torch.rand(n, mask.count, generator=rng).tolist() for _ in range(4))
    area, blocks = max(1, round(mask.scale * rows * columns)), []
    for i in range(n):
        blocks.append([])
        for b in range(mask.count):
            ratio = mask.aspect[0] + (mask.aspect[1] - mask.aspect[0]) * aspect[i][b]
            h = min(max(round((area * ratio) ** 0.5), int(np.ceil(area / columns))), rows)
            w = max(1, round(area / h))
            d = max(1, round(mask.time * steps))
            y, x, t = (
                int(top[i][b] * (rows - h + 1)),
                int(left[i][b] * (columns - w + 1)),
                int(start[i][b] * (steps - d + 1)),
            )
            blocks[-1].append((range(t, t + d), range(y, y + h), range(x, x + w)))
    return blocks


@pytest.mark.parametrize("grid", [(8, 14, 14), (4, 6, 6), (3, 5, 9), (1, 8, 8)], ids=str)
@pytest.mark.parametrize(
    "mask",
    [Blocks(8, 0.15, least=0), Blocks(2, 0.5, least=0), Blocks(3, 0.2, (0.2, 5.0), time=0.5, least=0), Blocks(1, 0.7)],
    ids=str,
)
def test_blocks_hide_their_union(mask: Blocks, grid: Grid) -> None:
    n, tokens = 4, set(range(grid[0] * grid[1] * grid[2]))
    blocks = boxes(mask, n, grid, generator(5))
    unions = [
        {(t * grid[1] + y) * grid[2] + x for block in of_clip for t, y, x in itertools.product(*block)}
        for of_clip in blocks
    ]
    masked = mask(n, grid, generator(5))
    assert masked.hide.shape[1] == min(len(u) for u in unions)
    assert masked.keep.shape[1] == min(len(tokens - u) for u in unions)
    for union, keep, hide in zip(unions, masked.keep.tolist(), masked.hide.tolist(), strict=True):
        assert set(hide) <= union
        assert set(keep) <= tokens - union


@pytest.mark.parametrize("scale", [0.1, 0.15, 0.4, 0.7, 0.9])
def test_a_block_is_a_rectangle_of_the_scale_and_aspect(scale: float) -> None:
    heights = []
    for seed in range(60):
        hidden = ~visibility(Blocks(1, scale)(1, (2, 14, 14), generator(seed)), (2, 14, 14))[0]
        rows, columns = hidden[0].any(1).nonzero()[:, 0], hidden[0].any(0).nonzero()[:, 0]
        height, width = int(rows[-1] - rows[0] + 1), int(columns[-1] - columns[0] + 1)
        assert (hidden == hidden[:1]).all()
        assert int(hidden[0].sum()) == height * width
        assert abs(height * width - scale * 196) <= height / 2 + 1
        heights.append(height / width)
    assert 0.6 < min(heights) <= 0.95
    assert 1.05 <= max(heights) < 1.9


def test_block_positions_are_uniform() -> None:
    mask, n = Blocks(1, 4 / 36, (1.0, 1.0), time=0.5), 5000
    first = mask(n, (4, 6, 6), generator(1)).hide[:, 0]  # 3 starts in time x 5 x 5
    counts = np.bincount(first.numpy(), minlength=144).reshape(4, 6, 6)
    assert counts[:3, :5, :5].sum() == n
    assert chisquare(counts[:3, :5, :5].ravel()).pvalue > 1e-3


def test_cutting_to_the_smallest_is_even() -> None:
    # one clip hides one token, the others a fixed block of four, of which one is left: each as likely
    from vitascope.pretrain.masking import _cut

    chosen = torch.zeros(4001, 9, dtype=torch.bool)
    chosen[:, 2:6] = True
    chosen[0, 3:] = False
    left = _cut(chosen, generator())[1:]
    assert left.shape == (4000, 1)
    assert chisquare(np.bincount(left[:, 0], minlength=6)[2:6]).pvalue > 1e-3


def test_blocks_leave_something_to_see() -> None:
    grid = (2, 6, 6)
    bare = Blocks(2, 0.7, least=0)(200, grid, generator())
    ample = Blocks(2, 0.7, least=0.15)(200, grid, generator())
    assert bare.keep.shape[1] < 0.15 * 72 <= ample.keep.shape[1]
    with pytest.raises(ValueError, match="left too few visible tokens; use fewer or smaller blocks"):
        Blocks(40, 0.5)(2, grid, generator())


def pairs(weights: list[float]) -> dict[tuple[int, ...], float]:
    """Probability that two tokens are kept, drawn without replacement: the sum over both orders."""
    total = sum(weights)
    return {
        (a, b): sum(weights[i] / total * (weights[j] / (total - weights[i])) for i, j in ((a, b), (b, a)) if weights[i])
        for a, b in itertools.combinations(range(len(weights)), 2)
    }


def test_attended_draws_by_the_weights_of_each_step() -> None:
    n, weights = 20000, [[8.0, 4.0, 2.0, 1.0], [0.1, 0.1, 0.1, 0.7]]
    keep = Attended(0.5)(n, (2, 2, 2), generator(), saliency=torch.tensor(weights).view(1, 8).repeat(n, 1)).keep
    for step, given_ in enumerate(weights):
        two = keep[:, 2 * step : 2 * step + 2] - 4 * step
        expected = pairs(given_)
        blocks = [int((two == torch.tensor(pair)).all(1).sum()) for pair in expected]
        assert sum(blocks) == n
        assert chisquare(blocks, [n * p for p in expected.values()]).pvalue > 1e-3


def test_attended_takes_tokens_without_weight_last_and_evenly() -> None:
    n = 3000
    saliency = torch.zeros(n, 8)
    saliency[:, 2] = 1e-20  # the first step has one weight, the second none
    keep = Attended(0.5)(n, (2, 2, 2), generator(), saliency=saliency).keep
    first, second = keep[:, :2], keep[:, 2:] - 4
    assert (first == 2).any(1).all()
    assert chisquare(np.bincount(first[first != 2], minlength=4)[[0, 1, 3]]).pvalue > 1e-3
    assert evenness(torch.bincount(second.flatten(), minlength=4), n, 0.5) > 1e-3


def test_attended_hardly_ever_keeps_what_hardly_matters() -> None:
    saliency = torch.full((2000, 36), 1e-4, dtype=torch.float16)
    saliency[:, 10:16] = 1.0
    visible_tokens = visibility(Attended(5 / 6)(2000, (1, 6, 6), generator(), saliency=saliency), (1, 6, 6)).flatten(1)
    assert visible_tokens[:, 10:16].float().mean() > 0.99


@pytest.mark.parametrize("make", [Tube, Random, Steps, Attended, RunningCell, lambda r: DualMask(Tube(), r)])
@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 90, float("nan"), True])
def test_a_ratio_is_a_share(make: type[Tube], ratio: float) -> None:
    with pytest.raises(ValueError, match=r"ratio = .* must be .*above 0 and below 1"):
        make(ratio)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"count": 0}, "count = 0 must be at least 1"),
        ({"scale": 1.0}, "scale = 1.0 must be above 0 and below 1"),
        ({"aspect": (1.5, 0.75)}, "must have the smaller number first"),
        ({"aspect": (0.0, 0.75)}, "aspect = 0.0 must be positive"),
        ({"time": 1.1}, "time = 1.1 must be above 0 and at most 1"),
        ({"least": 1.0}, "least = 1.0 must be at least 0 and below 1"),
    ],
)
def test_blocks_refuse_what_is_no_block(fields: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError) as caught:
        Blocks(**fields)  # type: ignore[arg-type]
    assert why in str(caught.value)


def test_nothing_left_is_refused_with_the_nearest_that_works() -> None:
    for mask, grid, says in [
        (Tube(0.99), (4, 6, 6), "hiding 0.99 of 36 positions leaves none visible; use a ratio of at most 0.972"),
        (Random(0.001), (1, 6, 6), "hiding 0.001 of 36 tokens hides none; use a ratio of at least 0.0278"),
        (Steps(0.5), (1, 6, 6), "use another mask for images"),
        (DualMask(Whole(), 0.5), (1, 6, 6), "hides no tokens"),
        (DualMask(Tube(0.5), 0.9), (1, 1, 2), "hiding 0.9 of 1 hidden tokens leaves none"),
        (Tube(0.5), (0, 6, 6), "at least one clip and one token"),
    ]:
        with pytest.raises(ValueError) as caught:
            drawn(mask, 2, grid)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)
    # what the message advises works
    assert Tube(0.972)(1, (4, 6, 6), generator()).keep.shape == (1, 4)
    assert Random(0.0278)(1, (1, 6, 6), generator()).hide.shape == (1, 1)


def test_attended_wants_a_fitting_saliency() -> None:
    for saliency, says in [
        (None, "needs a teacher's weights"),
        (torch.ones(2, 35), "need saliency of shape (2, 36), not (2, 35)"),
    ]:
        with pytest.raises(ValueError) as caught:
            Attended(0.5)(2, (1, 6, 6), generator(), saliency=saliency)
        assert says in str(caught.value)
    assert DualMask(Attended()).needs_saliency
    assert not DualMask(Tube()).needs_saliency
