"""Results against published tables: planted differences are named, numbers matched, explained or open."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vitascope import report
from vitascope.cli.main import app
from vitascope.core.errors import UserError
from vitascope.core.types import Score, plain
from vitascope.evaluation.results import Result, append
from vitascope.probes import options
from vitascope.report.analysis import published, result_settings
from vitascope.report.analysis.published_comparison import compare_published, of_encoder, status, text

FAKE = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_published.py"))
K400 = FAKE["published_score"]("twlv1", "3", "vjepa/large", "k400", "top-1")
CLIP = FAKE["published_score"]("twlv1", "6", "vjepa/large", "k400", "top-1", "knn/paper-clip")
FAR = Score(60.0, 59.0, 61.0)
Change = Callable[[Result], Result]


def compared(tmp_path: Path, *results: Result, paper: str = "twlv1", **more: Any) -> Any:
    """The comparison of some results as a run."""
    for result in results:
        append(tmp_path, result)
    return compare_published([tmp_path], paper, **more)


def with_card(**values: Any) -> Change:
    return lambda r: replace(r, settings={**r.settings, "card": {**r.settings["card"], **values}})


def with_probe(name: str) -> Change:
    """The settings of another probe, as it is evaluated."""
    return lambda r: replace(r, probe=name, settings={**r.settings, "probe": plain(options.probe(name, "k400"))})


def with_field(side: str, **values: Any) -> Change:
    """A field of the probe, or of its view on a side, that is recorded only if it is not at its default."""

    def change(result: Result) -> Result:
        probe = dict(result.settings["probe"])
        probe |= {side: {**probe[side], **values}} if side else values
        return replace(result, settings={**result.settings, "probe": probe})

    return change


def with_classes(change: Callable[[list[str]], list[str]]) -> Change:
    return lambda r: replace(r, settings={**r.settings, "classes": change(list(r.settings["classes"]))})


PLANTED: Mapping[str, tuple[Any, Change, str]] = {
    "sampler": (K400, with_probe("linear/paper+test=uniform"), "sampler uniform, published views"),
    "views": (K400, with_probe("linear/paper+test=views:1x4/4"), "views 1x4, published 3x4"),
    "frame stride": (K400, with_probe("linear/paper+test=views:3x4/2"), "frame stride 2, published 4"),
    "clip length": (
        CLIP,
        with_probe("knn/paper-clip+train=multiclip:4+test=multiclip:4"),
        "clip length 4, published 2",
    ),
    "crop": (K400, with_probe("linear/paper+test=wholeframe(views:3x4/4)"), "crop whole frame, published short side"),
    "frames": (K400, with_card(frames=8), "frames 8, published 16"),
    "resolution": (K400, with_card(size=112), "resolution 112, published 224 (assumed)"),
    "label order": (K400, with_classes(lambda c: c[::-1]), "label order another, published usual (assumed)"),
    "classes": (
        K400,
        with_classes(lambda c: ["abseilin", *c[1:]]),
        "classes 400, 'abseilin'; did you mean 'abseiling'?",
    ),
    "k": (CLIP, with_probe("knn/paper-clip+k=20"), "k 20, published 200 (assumed)"),
    "tau": (CLIP, with_probe("knn/paper-clip+tau=0.07"), "tau 0.07, published 0.1 (assumed)"),
    "aggregator": (
        CLIP,
        with_field("test", agg={"type": "Dct", "terms": 5}),
        "clip vectors agg dct:5, published as encoded",
    ),
    "time code": (K400, with_field("", time="learned"), "time code learned, published none (assumed)"),
    "missing videos": (K400, lambda r: replace(r, n=r.n - 40), "missing videos 40, published 0"),
    "test examples": (K400, lambda r: replace(r, n=100, expected=100), "test examples 100, published 19,165"),
    "data": (K400, lambda r: replace(r, dataset="k400/other"), "data k400/other, published k400"),
    "checkpoint": (
        K400,
        lambda r: replace(r, encoder="vjepa/large+weights:mine"),
        "checkpoint vjepa/large with weights",
    ),
    "architecture": (K400, with_card(architecture="abcd"), "architecture changed (abcd), published official"),
    "pooling": (K400, with_card(pool="class token"), "pooling class token, published mean"),
    "precision": (K400, with_card(precision="bfloat16"), "precision bfloat16, published float32 (assumed)"),
    "resampling": (K400, with_card(filter="bicubic"), "resampling bicubic, published bilinear (assumed)"),
    "training share": (
        K400,
        lambda r: replace(r, dataset="k400@5%", variant={"train_fraction": "5%"}),
        "training share 5%, published all",
    ),
    "altered clips": (K400, with_probe("linear/paper+test=reversed"), "altered clips reversed, published none"),
    "selection": (
        K400,
        with_probe("linear/paper+lrs=0.1,0.3+select=best-on-test"),
        "selection best-on-test, published none (assumed)",
    ),
    "flip": (K400, with_probe("linear/paper-mit+test=views:3x4/4"), "training stride 1, published 4"),
    "optimizer": (K400, with_probe("linear/paper+optimizer=adamw"), "optimizer adamw, published sgd (assumed)"),
    "epochs": (K400, with_probe("linear/paper+epochs=50"), "epochs 50, published 150"),
    "seeds": (K400, lambda r: replace(r, seeds=(59.0, 60.0, 61.0)), "seeds 3, published 1 (assumed)"),
    "limit": (K400, lambda r: replace(r, limited=True), "examples some (--limit), published all"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_difference_is_named(name: str, tmp_path: Path) -> None:
    one, change, said = PLANTED[name]
    (cell,) = compared(tmp_path, change(FAKE["as_published"](one, FAR))).cells
    assert cell.status == "explained"
    assert str(cell.differs[0]).startswith(said), [str(d) for d in cell.differs]


def test_of_several_differences_the_most_important_comes_first(tmp_path: Path) -> None:
    result = with_card(precision="bfloat16", frames=8)(
        with_probe("linear/paper+epochs=50")(FAKE["as_published"](K400, FAR))
    )
    (cell,) = compared(tmp_path, result).cells
    assert [one.name for one in cell.differs] == ["frames", "epochs", "precision"]
    assert "frames 8, published 16; 2 more settings differ" in text(compare_published([tmp_path], "twlv1"))


COLUMNS = {
    f"{o.table} {o.family} {o.probe}": o
    for o in published.scores(published.find_paper("twlv1"))
    if o.model == "vjepa/large" and not o.of
}


@pytest.mark.parametrize("one", COLUMNS.values(), ids=COLUMNS.keys())
def test_the_probes_of_the_report_have_the_settings_that_it_states(one: Any) -> None:
    result = FAKE["as_published"](one)
    assert not result_settings.differences(result, one.stated, one.assumed, one.model, one.datasets)
    known = result_settings.settings_of(result)
    assert not [name for name in {**one.stated, **one.assumed} if known.get(name) is None]


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (Score(70.0, 69.0, 71.0), "matched"),
        (Score(70.0, 69.0, 70.766), "matched"),
        (Score(70.0, 69.0, 70.764), "open"),
        (Score(72.0, 70.776, 73.0), "open"),
        (Score(70.774), "matched"),
        (Score(70.7), "open"),
    ],
)
def test_matched_is_within_the_interval_and_half_a_digit(score: Score, expected: str) -> None:
    assert K400.text == "70.77"
    assert status(K400, score, []) == expected
    assert status(K400, score, [result_settings.Differing("k", "1", "2")]) == expected.replace("open", "explained")


def test_the_column_with_the_fewest_differences_counts(tmp_path: Path) -> None:
    for column, probe in (("39.95", "knn/paper"), ("47.62", "knn/clip"), ("46.00", "knn/video")):
        result = with_probe(probe)(FAKE["as_published"](CLIP, FAR))
        (cell,) = compared(tmp_path / column, result).cells
        assert cell.published == column
    external = FAKE["published_score"]("twlv1", "9", "vjepa/large", "thumos14", "mAP", "localize/external-paper")
    (cell,) = compared(tmp_path / "tal", FAKE["as_published"](external, Score(50.0, 48.0, 53.0))).cells
    assert (cell.published, cell.status) == ("52.11", "matched")


def test_another_checkpoint_of_the_same_size(tmp_path: Path) -> None:
    one = FAKE["published_score"]("twlv1", "6", "umt/large-s2", "k400", "top-1", "knn/paper")
    (cell,) = compared(tmp_path, replace(FAKE["as_published"](one, FAR), encoder="umt/large-s1")).cells
    assert (cell.published_encoder, str(cell.differs[0])) == (
        "UMTs2 ViT-L",
        "checkpoint umt/large-s1, published umt/large-s2",
    )
    every = published.scores(published.find_paper("twlv1"))
    assert not of_encoder("vjepa2/large", every)
    assert not of_encoder("tiny/twlv1", every)


def test_what_is_not_there_is_said_in_a_line(tmp_path: Path) -> None:
    own = replace(FAKE["as_published"](K400), dataset="mine", probe="linear")
    found = compared(tmp_path, FAKE["as_published"](K400), own)
    assert "mit (tables 3, 5)" in found.not_run
    assert "thumos14 (table 9)" in found.not_run
    assert found.not_published == ("vjepa/large on mine:linear",)
    lines = text(found).splitlines()
    assert lines[0] == "TWLV-I, arXiv 2408.11318v2: 1 cell: 1 matched, 0 explained, 0 open"
    assert lines[-2].startswith("not evaluated here: mit (tables 3, 5), ssv2 (tables 3, 5, 6)")
    assert lines[-1] == "without a published number: vjepa/large on mine:linear"


def test_nothing_to_compare_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"none of the results is in the tables of V-JEPA 2: .*; the run has k400:linear"
    ):
        compared(tmp_path, FAKE["as_published"](K400), paper="vjepa2")
    with pytest.raises(UserError, match="TWLV-I has no numbers of dinov2/large; on k400 it has those of umt/base-s1"):
        compared(tmp_path / "b", replace(FAKE["as_published"](K400), encoder="dinov2/large"))
    with pytest.raises(UserError, match="no results of encoder 'vjepa/larg'; did you mean 'vjepa/large'"):
        compared(tmp_path, models=["vjepa/larg"])


def test_a_doubtful_number_and_an_unrecorded_setting_are_said(tmp_path: Path) -> None:
    one = FAKE["published_score"]("twlv1", "3", "umt/base-s2", "diving48", "top-1")
    result = FAKE["as_published"](one, FAR)
    result = replace(result, settings={**result.settings, "probe": {"type": "LinearProbe", "lr": 0.02}})
    (cell,) = compared(tmp_path, result).cells
    assert "the values of SSv2 again" in text(compare_published([tmp_path], "twlv1"))
    assert "views" in cell.unknown
    assert cell.status == "open"


JUNK = (None, 3, 2.5, True, "text", [], [1, "a"], {}, {"type": 5}, {"sampler": {"inner": {"type": "Views"}}})


@pytest.mark.parametrize("place", ["probe", "card"])
def test_settings_of_a_foreign_file_never_stop_it(place: str) -> None:
    whole = FAKE["as_published"](K400)
    for name in (*whole.settings[place], "resize", "ks", "crop_ratio", "filter"):
        for junk in JUNK:
            odd = {**whole.settings, place: {**whole.settings[place], name: junk}}
            found = result_settings.differences(
                replace(whole, settings=odd), K400.stated, K400.assumed, K400.model, K400.datasets
            )
            assert all(str(one) for one in found)


def test_top_5_gets_the_interval_of_its_predictions(tmp_path: Path) -> None:
    fake = runpy.run_path(str(Path(__file__).parents[1] / "fixtures" / "fake_run.py"))
    tasks = (("k400", "linear/paper", "appearance", tuple(f"class {i}" for i in range(12))),)
    fake["fake_run"](tmp_path, skills={"vjepa/large": {"appearance": 0.5}}, tasks=tasks, odd=False)
    cells = {cell.score: cell for cell in compare_published([tmp_path], "twlv1").cells}
    five = cells["top-5"]
    assert five.low is not None
    assert five.low < five.value < five.high
    # 240 videos: the half-width of a binomial share at 95 %
    expected = 196 * (five.value / 100 * (1 - five.value / 100) / 240) ** 0.5
    assert five.high - five.low == pytest.approx(2 * expected, rel=0.35)


def test_on_the_command_line(tmp_path: Path) -> None:
    append(tmp_path, FAKE["as_published"](K400, FAR))
    run = CliRunner()
    shown = run.invoke(app, ["compare", str(tmp_path), "--published", "twlv1"])
    assert shown.exit_code == 0
    assert "published 70.77" in shown.output
    assert "open" in shown.output
    told = run.invoke(app, ["compare", str(tmp_path), "--published", "twlv1", "--json"])
    (cell,) = json.loads(told.stdout)["cells"]
    assert (cell["published_value"], cell["status"], cell["low"]) == (70.77, "open", 59.0)
    assert report.published_text(report.compare_published([tmp_path], "twlv1")) == shown.output.rstrip("\n")
    two = run.invoke(app, ["compare", str(tmp_path)])
    assert isinstance(two.exception, UserError)
    assert "or --published twlv1" in str(two.exception)
