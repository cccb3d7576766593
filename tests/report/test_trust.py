"""What decides trust: protocols in words, what intervals resample, why results stand apart, cost and failures."""

from __future__ import annotations

import itertools
import json
import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import write_video
from vitascope import report
from vitascope.core.errors import UserError
from vitascope.core.types import Score, plain
from vitascope.evaluation.results import RESULTS, Result, read, read_predictions, write_predictions
from vitascope.probes.options import probe as probe_of
from vitascope.report.analysis import failures, incomparable, units
from vitascope.report.analysis import leaderboard as boards
from vitascope.report.analysis.protocol_words import PROBES, protocol_words
from vitascope.report.analysis.ranking import analyze, rank_all
from vitascope.report.charts import cost, loops
from vitascope.report.sections import data_cards
from vitascope.sampling.names import SAMPLERS

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_run.py"))
MOMENTS = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_moments.py"))
fake_run, NASTY = FAKE["fake_run"], FAKE["NASTY"]
SMALL = (("made", "knn", "motion", ("up", "down", "left")),)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = fake_run(tmp_path_factory.mktemp("runs") / "run")
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = fake_run(tmp_path_factory.mktemp("runs") / "small", tasks=SMALL, n=60, odd=False)
    return path


def words(name: str, **more: Any) -> str:
    one = result(settings={"probe": plain(probe_of(name))}, probe=name)
    return protocol_words(replace(one, **more))


def result(**more: Any) -> Result:
    base = {"encoder": "e", "dataset": "d", "probe": "knn", "version": 1, "scores": {"top-1": Score(50.0)}}
    return Result(**{**base, "settings": {}, "protocol": "p", "n": 4, "expected": 4, "seeds": (50.0,), **more})


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("knn", ["one clip of frames spread evenly", "at most 20 vote", "exp(cosine / 0.1)", "mean of the training"]),
        ("knn+k=7", ["its 7 nearest training vectors"]),
        ("linear", ["standardized clip vectors", "SGD (learning rate 0.1, weight decay 0, batches of 1,024)", "150"]),
        ("knn+ks=5,10", ["selected by leaving out one group of training examples after another"]),
        ("linear/lbfgs", ["L-BFGS (weight decay 0.01, at most 500 iterations)"]),
        ("attentive", ["reads all tokens", "AdamW (learning rate 0.001", "20 epochs", "grid of tokens"]),
        ("localize", ["ActionFormer's head", "clips of 0.5 s, one every 0.25 s", "AdamW"]),
        ("segment", ["ASFormer's head (8 layers a stage)", "Adam (learning rate 0.0005, weight decay 1e-5)"]),
        ("detect", ["A decoder of 6 layers with 32 queries", "around each moment that is tested"]),
        ("detect/roi", ["true boxes, which are given in testing too"]),
        ("linear+test=reversed", ["Of a training video", "of a test video it reads", "played backwards"]),
        ("linear+lrs=0.1,1", ["learning rate among 0.1, 1", "selected on a held-out tenth of the training examples"]),
    ],
)
def test_a_protocol_reads_as_sentences(name: str, told: list[str]) -> None:
    text = words(name)
    for part in told:
        assert part in text
    assert text.endswith(".")
    assert not re.search(r"None|\{|\}|\bTrue\b|\bFalse\b|  ", text)


def test_seeds_folds_and_limits_are_said() -> None:
    text = words("linear", folds=({"top-1": 1.0},) * 5, seeds=(1.0, 2.0, 3.0), limited=True, seed=4)
    assert "test examples of 5 folds are scored together" in text
    assert "mean over 3 seeds, from 4" in text
    assert "--limit" in text


def test_every_probe_and_sampler_has_words() -> None:
    from vitascope.report.analysis import sampling_words

    assert {kind.__name__ for kind in SAMPLERS.values()} <= sampling_words.SAMPLERS.keys()
    known = {type(probe_of(name)).__name__ for name in ("knn", "linear", "attentive", "localize", "segment", "detect")}
    assert known <= PROBES.keys()


def test_settings_of_unknown_heads_and_damaged_ones_are_text() -> None:
    strange = {"type": "New", "lr": 0.1, "train": {"sampler": {"type": "Fancy"}}, "test": {"sampler": {"type": NASTY}}}
    assert "lr 0.1" in protocol_words(result(settings={"probe": strange}))
    for odd in ({"probe": 3}, {"probe": {"type": "KNNProbe", "k": [], "ks": "x"}}, {"probe": {"type": "LinearProbe"}}):
        assert protocol_words(result(settings=odd))


def grouped(run: Path, to: Path, group: str) -> Path:
    """A copy of a run in which all test examples have the group that `group` formats from their number."""
    to.mkdir()
    lines = []
    for one in read(run):
        columns = read_predictions(run / one.predictions)
        columns["group"] = [group.format(i) for i in range(len(columns["id"]))]
        write_predictions(to / one.predictions, columns)
        lines.append(one.to_json())
    (to / RESULTS).write_text("\n".join(lines) + "\n")
    return to


@pytest.mark.parametrize("with_groups", [False, True])
def test_groups_are_named_only_where_there_are_any(small: Path, tmp_path: Path, with_groups: bool) -> None:
    run = grouped(small, tmp_path / "run", "{0}" if not with_groups else "same")
    written = report.write(run, formats=["html", "md", "tex"])
    for path in written.values():
        page = re.sub(r"<(script|style).*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert ("group" in re.sub("<[^>]*>", "", page)) is with_groups, path.name
    assert "bootstrap intervals over" in written["html"].read_text(encoding="utf-8")


def test_which_datasets_have_groups_is_said(run: Path) -> None:
    board = boards.build(boards.load_results([run]))
    rankings = rank_all(board, [analyze(c) for c in board.plain()])
    assert "whole groups of test examples" in units.interval_definition(board, rankings)
    told = replace(board.main()[0].first, data={"groups": {"grouped": 0}, "examples": 3}, n=3)
    column = replace(board.main()[0], cells={0: told})
    assert units.units(column, None) == (False, True)
    assert units.units(replace(column, cells={0: replace(told, data={})}), None) == (None, False)


PLANTED = {
    "number of neighbors k": {"probe": {"k": 5}},
    "temperature of the votes": {"probe": {"tau": 0.5}},
    "clips of a test video": {"probe": {"test": {"sampler": {"type": "MultiClip", "seconds": 2.0, "stride": None}}}},
    "content of the data set (examples, labels or splits)": {"dataset": {"digest": "ffffffff"}},
    "number of examples": {"dataset": {"examples": 9}},
    "list of classes": {"classes": ["a"]},
    "version of decoding and resizing": {"pipeline": 2},
    "options of the encoder": {"options": "frames:8"},
}


@pytest.mark.parametrize("what", [*PLANTED, "version of the head", "seeds", "examples used", "unknown"])
def test_every_planted_difference_is_named(what: str) -> None:
    view = {"sampler": {"type": "Uniform", "rule": "centers"}, "reduce": "clip"}
    probe = {"type": "KNNProbe", "k": 20, "tau": 0.1, "train": view, "test": view}
    settings: dict[str, Any] = {"probe": probe, "dataset": {"digest": "0", "examples": 8}, "classes": [], "pipeline": 1}
    main = result(settings=settings)
    facts: dict[str, Any] = {"version of the head": {"version": 2}, "seeds": {"seeds": (1.0, 2.0)}}
    facts["examples used"] = {"limited": True}
    changed = {**settings}
    for key, value in PLANTED.get(what, {}).items():
        changed[key] = {**settings[key], **value} if isinstance(value, dict) else value
    other = replace(main, encoder="f", protocol="q", settings=changed, **facts.get(what, {}))
    board = boards.build([main, replace(main, encoder="g"), other])
    (apart,) = incomparable.separated(board)
    assert (apart.here, apart.there) == ("f", "e, g")
    assert [reason.what for reason in apart.reasons] == [incomparable.UNKNOWN if what == "unknown" else what]


def test_the_page_says_why_and_which_videos_differ(run: Path) -> None:
    page = report.write(run, formats=["html"])["html"].read_text(encoding="utf-8")
    box = page[page.index("Why not comparable") :]
    assert "examples used: <b><bdi>a part (--limit)</bdi></b> <i>there</i> <b><bdi>all</bdi></b>" in box
    assert "number of neighbors k: <b><bdi>10</bdi></b> <i>there</i> <b><bdi>20</bdi></b>" in box
    fewer = replace(read(run)[0], encoder="other", n=7)
    board = boards.build([read(run)[0], fewer])
    assert "other on 7" in incomparable.unequal_videos(board)[0].text
    assert not incomparable.unequal_videos(boards.build([fewer]))


def test_probes_that_differ_in_options_are_told_apart_where_no_column_has_both_encoders() -> None:
    made = [
        result(encoder=e, probe=name, protocol=name, settings={"probe": {"type": "KNNProbe", "k": k}})
        for e, name, k in (("a", "knn", 20), ("b", "knn", 20), ("b", "knn+k=5", 5), ("c", "knn+k=5", 5))
    ]
    (apart,) = incomparable.with_other_options(boards.build(made))
    assert (apart.task, apart.here, apart.there) == ("d:knn+k=5", "c", "a")
    assert apart.reasons == (("number of neighbors k", "5", "20"),)
    assert not incomparable.with_other_options(boards.build(made[:3])), "b has both"


def test_the_front_is_that_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = {row: (float(c), float(s)) for row, (c, s) in enumerate(rng.integers(0, 5, (8, 2)).tolist())}
        beaten = {
            a
            for a, b in itertools.permutations(values, 2)
            if values[b][0] <= values[a][0] and values[b][1] >= values[a][1] and values[a] != values[b]
        }
        assert cost.front(values) == values.keys() - beaten


@pytest.mark.parametrize("values", [[1.0], [3.0, 3.0], [0.2, 7.0], [1.0, 1e9], [5e-7, 6e-7]])
def test_a_logarithmic_axis_holds_its_values_and_few_ticks(values: list[float]) -> None:
    axis = cost.log_axis(values, str)
    assert all(0 < axis.at(v) < 100 for v in values)
    assert 1 <= len(axis.ticks) <= 5
    assert all(0 <= axis.at(v) <= 100 for v, _ in axis.ticks)


def test_costs_are_those_recorded(tmp_path: Path) -> None:
    made = [
        replace(
            one,
            cost={"clips": 2.0, "bytes": 100.0 * (i + 1), "gflops": 10.0 * (i + 1), "encoded": 60},
            seconds={"encode": 3.0 * (i + 1)},
        )
        for i, one in enumerate(boards.load_results([fake_run(tmp_path / "run", tasks=SMALL, n=60, odd=False)]))
    ]
    assert [cost.gflops_a_video(one) for one in made] == [20.0, 40.0, 60.0]
    assert [cost.clips_per_second(one) for one in made] == pytest.approx([20, 10, 20 / 3])
    board = boards.build(made)
    charts = cost.charts(board, rank_all(board, [analyze(c) for c in board.plain()]))
    assert [one.name for one in charts] == ["gflops", "speed", "bytes"], "the numbers of parameters are not known"
    for one in charts:
        places = [point.x for point in one.charts[0].points]
        assert places == sorted(places, reverse=not one.less_is_better)
    assert len(cost.lines(board)) == 3


def told(run: Path, tmp_path: Path, video: str) -> Path:
    """A copy of a run whose predictions tell files: one that is there, one that is not, and none."""
    to = tmp_path / "told"
    to.mkdir()
    for one in read(run):
        columns = read_predictions(run / one.predictions)
        n = len(columns["id"])
        columns["path"] = [(video, str(tmp_path / f"gone {NASTY}.mp4"))[i % 2] for i in range(n)]
        columns |= {"frame_rate": [0.0] * n, "from": [float("nan")] * n, "to": [float("nan")] * n}
        write_predictions(to / one.predictions, columns)
    (to / RESULTS).write_bytes((run / RESULTS).read_bytes())
    return to


def test_what_one_encoder_alone_gets_wrong_or_right_is_that_of_brute_force(run: Path) -> None:
    board = boards.build(boards.load_results([run]))
    for task, column in zip(failures.failures(board), board.main(), strict=True):
        columns = {row: read_predictions(Path(r.predictions)) for row, r in column.cells.items()}
        right = {row: {i for i, o in zip(c["id"], c["outcome"], strict=True) if o >= 50} for row, c in columns.items()}
        common = set.intersection(*(set(c["id"]) for c in columns.values()))
        expected = {}
        for row in columns:
            others = [right[other] for other in columns if other != row]
            expected[row, False] = {i for i in common if i not in right[row] and all(i in other for other in others)}
            expected[row, True] = {i for i in common if i in right[row] and not any(i in other for other in others)}
        assert task.common == len(common)
        assert {(a.row.index, a.right): a.total for a in task.alone} == {k: len(v) for k, v in expected.items() if v}
        for alone in task.alone:
            assert {e.id for e in alone.examples} <= expected[alone.row.index, alone.right]
            assert all((e.truth == e.predicted) is alone.right for e in alone.examples)


def test_of_two_encoders_only_what_each_gets_wrong(small: Path) -> None:
    board = boards.build(boards.load_results([small])[:2])
    (task,) = failures.failures(board)
    assert [alone.right for alone in task.alone] == [False, False]


def test_the_gallery_shows_loops_reasons_and_labels_and_can_be_left_out(small: Path, tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), np.uint8)
    path = told(small, tmp_path, str(write_video(tmp_path / "v.mp4", frames)))
    page = report.write(path, formats=["html"])["html"].read_text(encoding="utf-8")
    section = page[page.index('<section id="failures"') :]
    section = section[: section.index("</section>")]
    assert section.count("data:image/webp;base64,") >= 3
    assert "no such file" in section
    assert NASTY not in section
    assert all(alt.startswith("video of ") for alt in re.findall(r'<img [^>]*alt="([^"]*)"', section))
    assert "prefers-reduced-motion: reduce" in page
    without = report.write(path, formats=["html"], gallery=False)["html"].read_text(encoding="utf-8")
    assert 'id="failures"' not in without
    assert "image/webp" not in without


def test_older_results_say_that_they_do_not_tell_their_files(small: Path) -> None:
    page = report.write(small, formats=["html"])["html"].read_text(encoding="utf-8")
    assert "do not tell the files of their videos" in page
    assert "image/webp" not in page


def test_loops_are_bounded_and_of_the_part_of_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    from PIL import Image

    levels = np.repeat(np.arange(20) * 12, 48 * 96 * 3).reshape(20, 48, 96, 3).astype(np.uint8)
    path = str(write_video(tmp_path / "v.mp4", levels))
    part = failures.Part(path, 0.0, 1.0, 2.0)
    loop = loops.loops([part])[part]
    strip = np.asarray(Image.open(io.BytesIO(loop.webp)).convert("L"), float)
    assert strip.shape == (loop.height, loop.width * loops.FRAMES) == (64, 128 * loops.FRAMES)
    seen = strip.reshape(64, loops.FRAMES, 128).mean((0, 2))
    assert np.all(np.diff(seen) >= -2)
    assert 110 <= seen[0] <= seen[-1] <= 240, "of the second second"
    monkeypatch.setattr(loops, "MAX_BYTES", len(loop.webp) + 1)
    more = [part, part._replace(start=0.0), part._replace(end=1.5)]
    made = loops.loops(more)
    assert [bool(made[p].webp) for p in more] == [True, False, False]
    assert made[more[1]].reason
    assert loops.loops([part, part])[part].reason, "which would be there twice"


def test_data_cards_have_what_results_tell(run: Path) -> None:
    board = boards.build(boards.load_results([run]))
    plain_cards = data_cards.cards(board)
    assert [card.name for card in plain_cards] == [c.first.dataset for c in board.main()]
    assert dict(plain_cards[-1].facts)["missing or unreadable"] == "2"
    data = {
        "examples": 100,
        "tested": 40,
        "lengths": {"of": "clips", "count": 40, "quartiles": [1.0, 2.0, 3.0, 4.0, 90.0], "histogram": [39, 1]},
        "classes": [50, 50],
        "tested_classes": [30, 10],
        "groups": {"count": 7, "grouped": 90, "largest": 20, "files": 100},
        "folds": [{"name": "f", "train": 60, "test": 40}] * 2,
        "fold_count": 2,
        "notes": [NASTY],
    }
    column = board.main()[0]
    first = replace(column.first, data=data, folds=({"top-1": 40.0}, {"top-1": 60.0}))
    card = data_cards.cards(boards.build([first]))[0]
    facts = dict(card.facts)
    assert facts["groups"] == "7 (up to 20 examples, 10 examples in none)"
    assert facts["folds"] == "2 (train/test 60/40, 60/40)"
    assert card.charts[0].text.startswith("1 s to 1 min 30 s, median 3 s")
    assert card.folds[0].strips[0].text == "40.0 to 60.0"
    assert "standard deviation 14.1" in card.folds[0].strips[0].tip
    assert card.sound
    assert json.dumps(card.notes).count("script") == 2


@pytest.mark.parametrize("column", ["from", "path"])
def test_predictions_whose_files_are_none_are_refused(small: Path, tmp_path: Path, column: str) -> None:
    path = told(small, tmp_path, "v.mp4")
    first = path / read(path)[0].predictions
    columns = read_predictions(first)
    columns[column] = [{"from": "x", "path": 3}[column]] * len(columns["id"])
    write_predictions(first, columns)
    with pytest.raises(UserError, match=column):
        report.write(path, formats=["html"])


def test_temporal_tasks_have_cards_and_no_gallery(tmp_path: Path) -> None:
    run = MOMENTS["fake_moments"](tmp_path / "run", videos=4, seconds=20.0)
    page = report.write(run, formats=["html"])["html"].read_text(encoding="utf-8")
    assert 'id="data"' in page
    assert 'id="failures"' not in page
