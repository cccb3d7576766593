"""Segmentation scores against the official evaluation as loops, maximum matching and hand-made cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from vitascope.metrics import segmental

LEVELS = (0.1, 0.25, 0.5)


@st.composite
def timelines(draw, shorter=False):
    """Videos of a few runs of few labels: label 0 is background, ties and runs of one frame are the rule."""
    runs = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=1, max_size=5)
    videos = []
    for _ in range(draw(st.integers(1, 4))):
        predicted, true = ([label for label, n in draw(runs) for _ in range(n)] for _ in range(2))
        frames = min(len(predicted), len(true))
        videos.append((np.array(predicted[: None if shorter else frames]), np.array(true[:frames])))
    return [p for p, _ in videos], [y for _, y in videos]


def spans(labels, background, published):
    """(label, start, end) of every run that counts."""
    runs, start = [], 0
    for t in range(1, len(labels) + 1):
        if t == len(labels) or labels[t] != labels[start]:
            runs.append((int(labels[start]), start, t - 1 if published and t == len(labels) else t))
            start = t
    return [s for s in runs if s[0] not in background]


def levenshtein(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(levenshtein(a[1:], b) + 1, levenshtein(a, b[1:]) + 1, levenshtein(a[1:], b[1:]) + (a[0] != b[0]))


def iou(p, y):
    shared = min(p[2], y[2]) - max(p[1], y[1])
    return shared / (max(p[2], y[2]) - min(p[1], y[1])) if shared > 0 and p[0] == y[0] else 0.0


def published_hits(predicted, true, level):
    """Each predicted segment is compared only to its best match."""
    hit = [False] * len(true)
    right = 0
    for p in predicted:
        overlap = [iou(p, y) for y in true]
        best = overlap.index(max(overlap))
        if overlap[best] >= level and not hit[best]:
            hit[best] = True
            right += 1
    return right


def most_hits(predicted, true, level):
    """The size of a maximum matching."""
    allowed = np.array([[iou(p, y) >= level for y in true] for p in predicted], float).reshape(
        len(predicted), len(true)
    )
    return int(allowed[linear_sum_assignment(-allowed)].sum())


def compare(predictions, truth, background, style):
    """Check `segmental.counts` against loops."""
    got = segmental.counts(predictions, truth, style=style, background=background)
    hits = published_hits if style == "published" else most_hits
    for v, (p, y) in enumerate(zip(predictions, truth, strict=True)):
        predicted, true = (spans(side.tolist(), background, style == "published") for side in (p, y))
        right = [hits(predicted, true, level) if true else 0 for level in LEVELS]
        assert got.right[v].tolist() == right
        assert got.false[v].tolist() == [len(predicted) - r for r in right]
        assert got.missed[v].tolist() == [len(true) - r for r in right]
        assert (got.correct[v], got.frames[v]) == (sum(a == b for a, b in zip(p, y, strict=False)), len(y))
        words = [[s[0] for s in side] for side in (predicted, true)]
        longer = max(map(len, words))
        expected = 100 * (1 - levenshtein(*words) / longer) if longer else np.nan if style == "published" else 100.0
        assert got.edit[v] == pytest.approx(expected, nan_ok=True)


@settings(deadline=None, max_examples=200)
@given(timelines(), st.sampled_from([(), (0,), (0, 1)]))
def test_sound_is_the_best_matching(videos, background):
    compare(*videos, background, "sound")


@settings(deadline=None, max_examples=200)
@given(timelines(shorter=True), st.sampled_from([(), (0,)]))
def test_published_is_the_official_loop(videos, background):
    predictions, truth = videos
    for p, y in zip(predictions, truth, strict=True):
        if spans(p.tolist(), background, True) and not spans(y.tolist(), background, True):
            with pytest.raises(ValueError, match="is all background"):
                segmental.counts(predictions, truth, style="published", background=background)
            return
    compare(predictions, truth, background, "published")


@settings(deadline=None)
@given(timelines(), st.sampled_from([(), (0,)]))
def test_sound_is_symmetric(videos, background):
    predictions, truth = videos
    forward = segmental.scores(segmental.counts(predictions, truth, background=background))
    back = segmental.scores(segmental.counts(truth, predictions, background=background))
    assert forward == pytest.approx(back)
    assert all(0 <= value <= 100 for value in forward.values())


@settings(deadline=None)
@given(timelines(), st.sampled_from([(), (0,)]))
def test_the_truth_itself_is_perfect(videos, background):
    _, truth = videos
    assert set(segmental.scores(segmental.counts(truth, truth, background=background)).values()) == {100.0}


def test_the_last_run():
    """In style `published` a last run of one frame is empty and matches nothing."""
    truth = [np.array([1, 2])]
    published = segmental.scores(segmental.counts(truth, truth, style="published"))
    assert published == {"accuracy": 100, "edit": 100, "F1@10": 50, "F1@25": 50, "F1@50": 50, "mF1": 50}


def test_a_second_choice():
    p = np.array([1] * 7 + [0] * 1 + [1] * 4)
    y = np.array([1] * 2 + [0] * 1 + [1] * 9)
    # 0 to 7 shares 2 of 7 frames with 0 to 2 and 4 of 12 with 3 to 12, which 8 to 12 wants, too
    published, sound = (segmental.counts([p], [y], style=s, background=[0]) for s in ("published", "sound"))
    assert published.right.tolist() == [[1, 1, 0]]
    assert sound.right.tolist() == [[2, 2, 0]]


def test_missing_predictions():
    truth = [np.array([1, 1, 2]), np.array([1, 2, 2])]
    sound = segmental.scores(segmental.counts([truth[0], None], truth))
    assert sound["accuracy"] == sound["edit"] == 50
    assert sound["F1@50"] == pytest.approx(200 * 2 / (2 * 2 + 2))
    published = segmental.scores(segmental.counts([truth[1], None], truth[::-1], style="published"))
    assert (published["accuracy"], published["edit"], published["F1@50"]) == (100, 50, 100)


def test_nothing_to_find():
    empty = [np.zeros(4, np.int64)]
    sound = segmental.scores(segmental.counts(empty, empty, background=[0]))
    assert set(sound.values()) == {100.0}
    published = segmental.scores(segmental.counts(empty, empty, style="published", background=[0]))
    assert published["F1@50"] == 0
    assert np.isnan(published["edit"])
    invented = segmental.scores(segmental.counts([np.array([0, 1, 1, 0])], empty, background=[0]))
    assert invented == {"accuracy": 50, "edit": 0, "F1@10": 0, "F1@25": 0, "F1@50": 0, "mF1": 0}


def videos(seed, n=24):
    rng = np.random.default_rng(seed)
    truth = [np.repeat(rng.integers(4, size=12), rng.integers(5, 40, size=12)) for _ in range(n)]
    return [np.where(rng.random(len(y)) < 0.02, rng.integers(4, size=len(y)), np.roll(y, 4)) for y in truth], truth


def test_resampling_is_scoring_copies():
    predictions, truth = videos(0)
    rng, splits = np.random.default_rng(1), np.arange(24) % 3
    weights = rng.multinomial(24, np.full(24, 1 / 24), size=5)
    got = segmental.pooled(segmental.counts(predictions, truth), weights, splits=splits)
    for row, times in zip(got, weights, strict=True):
        which = np.repeat(np.arange(24), times)
        copies = segmental.counts([predictions[i] for i in which], [truth[i] for i in which])
        assert row.tolist() == pytest.approx(list(segmental.scores(copies, splits[which]).values()))


def test_a_split_of_which_nothing_was_drawn_is_left_out():
    each = segmental.counts(*videos(0, 2))
    both = segmental.pooled(each, np.array([[1, 0], [1, 1]]), splits=np.array([0, 1]))
    alone = segmental.pooled(each, np.array([[1, 0]]))
    assert both[0].tolist() == alone[0].tolist()
    assert np.isfinite(both).all()


def test_intervals_over_videos():
    each = segmental.counts(*videos(0))
    values = segmental.scores(each)
    intervals = segmental.bootstrap(each, rng=np.random.default_rng(0))
    assert {name: score.value for name, score in intervals.items()} == values
    assert all(score.low < score.value < score.high for score in intervals.values())
    whole = segmental.bootstrap(each, groups=["one"] * 24, rng=np.random.default_rng(0))
    assert whole["mF1"] == (values["mF1"], None, None)


def test_blocks_change_nothing(monkeypatch):
    predictions, truth = videos(0)
    whole = segmental.counts(predictions, truth)
    monkeypatch.setattr(segmental, "BLOCK", 1)
    assert segmental.counts(predictions, truth).edit.tolist() == whole.edit.tolist()


@pytest.mark.parametrize(
    ("predictions", "truth", "options", "message"),
    [
        ([[1]], [[1], [1]], {}, "1 predictions for 2 videos"),
        ([[1, 1]], [[1]], {}, "video 0: 2 predicted labels for 1 frames"),
        ([[1]], [[1, 1]], {"style": "published"}, "video 0: 1 predicted labels for 2 frames"),
        ([[]], [[]], {}, "video 0 has no labeled frames"),
        ([[1]], [[1]], {"overlaps": (10, 25)}, r"such as 0\.1"),
        ([[1]], [[1]], {"overlaps": ()}, "overlaps"),
        ([], [], {}, "no videos"),
    ],
)
def test_bad_input_is_named(predictions, truth, options, message):
    sides = [[np.array(row, np.int64) for row in side] for side in (predictions, truth)]
    with pytest.raises(ValueError, match=message):
        segmental.counts(*sides, **options)
