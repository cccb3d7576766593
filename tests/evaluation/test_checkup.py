"""The check-up without labels: measures against closed forms and brute force, alterations, advice, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import blob, vitascope, write_video
from vitascope.cli.checkup import _print as printed
from vitascope.core.errors import UserError
from vitascope.core.types import Clip, Score, Video
from vitascope.datasets.builders import motionlab
from vitascope.evaluation.checkup import Checkup, EncoderCheckup, advise, recommended
from vitascope.evaluation.checkup.measures import cka, close_pairs, jackknife, shared_neighbors, shift
from vitascope.evaluation.checkup.report import Agreement
from vitascope.evaluation.checkup.videos import unlabeled
from vitascope.motionlab.suite import Size
from vitascope.report import checkup_page
from vitascope.video import decode, inspect
from vitascope.video.alterations import ALTERATIONS, excerpt, write_excerpts


def noise(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


# ------------------------------------------------------------------------------------------------------------- measures


def test_shift_is_0_for_equal_vectors_and_about_100_for_those_of_other_videos() -> None:
    vectors = noise(60, 32)
    assert shift(vectors, vectors, None, rng=rng()) == Score(0.0)
    other = shift(vectors, vectors[np.r_[1:60, 0]], None, rng=rng())
    assert other.low is not None
    assert other.high is not None
    assert other.low < 100 < other.high


def test_shift_against_brute_force() -> None:
    original, altered = noise(9, 5), noise(9, 5) + 0.2 * noise(9, 5, seed=1)
    center = original.mean(0, dtype=np.float64)
    ours, theirs = ([(v - center) / np.linalg.norm(v - center) for v in vs] for vs in (original, altered))
    typical = np.mean([np.linalg.norm(a - b) for a, b in combinations(ours, 2)])
    expected = 100 * np.mean([np.linalg.norm(a - b) for a, b in zip(ours, theirs, strict=True)]) / typical
    assert shift(original, altered, None, rng=rng()).value == pytest.approx(expected, rel=1e-6)


def test_shift_of_a_collapsed_encoder_is_undefined() -> None:
    same = np.ones((5, 3), np.float32)
    assert np.isnan(shift(same, same, None, rng=rng()).value)


def plain_hsic(one: np.ndarray, other: np.ndarray) -> float:
    """Song et al., equation 4: the mean over all quadruples of different videos, by brute force."""
    n = len(one)
    total, count = 0.0, 0
    for i in range(n):
        for j in (j for j in range(n) if j != i):
            for q in (q for q in range(n) if q not in (i, j)):
                for r in (r for r in range(n) if r not in (i, j, q)):
                    total += one[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q])
                    count += 1
    return total / count


def test_cka_against_all_quadruples() -> None:
    one, other = noise(7, 3), noise(7, 4, seed=1)
    first, second = one @ one.T, other @ other.T
    expected = plain_hsic(first, second) / np.sqrt(plain_hsic(first, first) * plain_hsic(second, second))
    assert cka(one, other) == pytest.approx(expected, rel=1e-4)


def test_cka_is_1_up_to_rotation_and_scale_and_0_for_noise() -> None:
    vectors = noise(50, 20)
    turned = 3 * vectors @ np.linalg.qr(noise(20, 20, seed=2))[0] + 5
    assert cka(vectors, turned) == pytest.approx(1, abs=1e-5)
    # the biased estimate is .9 here
    assert abs(np.mean([cka(noise(30, 200, seed=2 * i), noise(30, 200, seed=2 * i + 1)) for i in range(20)])) < 0.05
    assert np.isnan(cka(vectors[:3], turned[:3]))


def test_jackknife_of_a_mean_is_the_t_interval() -> None:
    values = noise(12, 1)[:, 0].astype(float) / 10
    found = jackknife(lambda kept: float(values[kept].mean()), None, 12)
    half = 2.200985 * values.std(ddof=1) / np.sqrt(12)
    assert found == pytest.approx((100 * values.mean(), *(100 * (values.mean() + s * half) for s in (-1, 1))), rel=1e-5)


def test_groups_are_left_out_as_a_whole() -> None:
    seen: list[int] = []
    jackknife(lambda kept: float(seen.append(int(kept.sum())) or kept.mean()), ["a"] * 4 + ["b"] * 2 + [None], 7)
    assert sorted(seen[1:]) == [3, 5, 6]


def test_neighbors_in_common() -> None:
    vectors = noise(40, 8)
    assert shared_neighbors(vectors, 2 * vectors, None, rng=rng()).value == 100
    chance = np.mean(
        [shared_neighbors(noise(41, 8, s), noise(41, 8, s + 100), None, rng=rng()).value for s in range(20)]
    )
    assert chance == pytest.approx(100 * 10 / 40, abs=3)


@given(st.integers(0, 50))
def test_close_pairs_against_brute_force(seed: int) -> None:
    vectors = noise(8, 2, seed)
    moved = vectors - vectors.mean(0)
    unit = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    distances = {(a, b): np.linalg.norm(unit[a] - unit[b]) for a, b in combinations(range(8), 2)}
    limit = 0.3 * np.mean(list(distances.values()))
    expected = sorted((p for p, d in distances.items() if d < limit), key=lambda p: distances[p])
    assert close_pairs(vectors, 0.3) == expected


# ---------------------------------------------------------------------------------------------------------- alterations


def scene(seed: int, frames: int, motion: float = 1.0) -> np.ndarray:
    """Smooth color over which a bright patch moves."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :64] / 10
    ground = np.stack(
        [np.sin(x * draw.uniform(0.3, 1) + y * draw.uniform(0.3, 1) + draw.uniform(0, 6)) for _ in "rgb"], 2
    )
    pictures = np.repeat(np.uint8(120 + 60 * ground)[None], frames, 0)
    for i, picture in enumerate(pictures):
        left = int(motion * i * 40 / frames)
        picture[20:30, 6 + left : 16 + left] = 250
    return pictures


def test_excerpts_show_what_they_say(tmp_path: Path) -> None:
    video = inspect(write_video(tmp_path / "one.mp4", scene(0, 90), fps=15))
    span = excerpt(video)
    assert span == pytest.approx((1.0, 5.0), abs=0.1)
    files = {name: tmp_path / f"{name}.mp4" for name in ALTERATIONS}
    write_excerpts(video, span, files)
    found = {name: inspect(file) for name, file in files.items()}
    sizes = {name: (v.width, v.height) for name, v in found.items()}
    assert sizes == {"re-encoded": (64, 48), "cropped": (58, 44), "letterboxed": (64, 64)}
    assert all(v.duration == pytest.approx(span[1] - span[0], abs=0.1) for v in found.values())
    for moment in (0.0, 2.0, 3.9):
        before = picture(video, span[0] + moment, 48)
        again, boxed = picture(found["re-encoded"], moment, 48), picture(found["letterboxed"], moment, 64)
        assert np.abs(again - before).mean() < 12
        assert boxed[:7].max() < 24
        assert boxed[-7:].max() < 24
        assert boxed[12:-12].mean() == pytest.approx(before.mean(), abs=6)


def picture(video: Video, time: float, size: int) -> np.ndarray:
    """The whole frame displayed at a time, as a square."""
    ((_, pixels),) = decode(video, [Clip((time,), (0, video.duration))], size, "square")
    return pixels[0].astype(float)


# --------------------------------------------------------------------------------------------------------------- advice


def of(name: str, *, back: float, moved: float, rank: float = 30.0, hour: float = 60.0) -> EncoderCheckup:
    reversal = Score(back, max(back - 2, 0), back + 2)
    return EncoderCheckup(
        encoder=name, dim=100, rank=rank, hour_seconds=hour, hour_bytes=1000, clip_seconds=hour / 1800,
        order={"reversed": reversal, "shuffled": reversal, "slowed": reversal},
        stability={n: Score(moved, moved - 1, moved + 1) for n in ALTERATIONS},
    )  # fmt: skip


def found(*encoders: EncoderCheckup, cka: float = 50.0) -> Checkup:
    return Checkup(
        data="mine", videos=50, found=50, recordings=50, altered=48, seconds=2.0, neighbors=10, most_rank=49,
        encoders=encoders,
        agreements=[
            Agreement(encoders=(a.encoder, b.encoder), cka=Score(cka, cka - 1, cka + 1), neighbors=Score(40.0))
            for a, b in combinations(encoders, 2)
        ],
    )  # fmt: skip


def test_an_encoder_that_sees_order_and_holds_still_is_recommended() -> None:
    lines = advise(found(of("blind", back=0, moved=5), of("shaky", back=30, moved=40), of("good", back=30, moved=20)))
    assert lines[0].startswith("Begin with good: played backwards, a video moves by 30.0 [28.0, 32.0] %")
    assert any(line.startswith("For what moves, and in which direction, not blind:") for line in lines)
    assert any("blind moves least, by 5.0 [4.0, 6.0] %; shaky most" in line for line in lines)
    assert lines[-1].endswith("vitascope evaluate mine -m blind -m shaky -m good -t knn")


def test_where_none_sees_order_the_stillest_is_recommended() -> None:
    lines = advise(found(of("a", back=0, moved=30), of("b", back=1, moved=10)))
    assert lines[0].startswith("Begin with b: none of these encoders sees the order of frames")


def test_collapsed_encoders_are_advised_against() -> None:
    checkup = found(of("flat", back=50, moved=1, rank=1.2), of("fine", back=20, moved=20))
    assert advise(checkup)[:2] == [
        "Begin with fine, the only one here without a defect.",
        "Not flat: its vectors span 1.2 dimensions of the 49 that they could.",
    ]
    nothing = found(of("flat", back=50, moved=1, rank=float("nan")))
    assert recommended(nothing) is None
    assert advise(nothing)[0] == "None of these encoders: their vectors have collapsed."


def test_of_encoders_that_agree_the_cheaper_is_named() -> None:
    lines = advise(found(of("dear", back=20, moved=20, hour=100), of("cheap", back=20, moved=21, hour=25), cka=95))
    assert any("take cheap, which takes 25.0\N{NO-BREAK SPACE}% of the time" in line for line in lines)
    assert any(line.startswith("Cheapest is cheap: 25 s") for line in lines)


def test_few_recordings_are_said() -> None:
    lines = advise(replace(found(of("a", back=20, moved=20)), recordings=9))
    assert "9 recordings are few for any of this." in lines[-1]


def test_hostile_names_do_nothing_on_the_page() -> None:
    hostile = "<img src=x onerror=alert(1)>\x1b[31m"
    page = checkup_page.html(replace(found(of(hostile, back=20, moved=20)), failures={hostile: hostile}, data=hostile))
    assert "<img src=x" not in page
    assert "\x1b" not in page


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    unread = {"\x1b[31m.mp4": "no frame can be decoded"}
    printed(replace(found(of("a", back=20, moved=20)), failures=unread, found=51), None, as_json=False)
    out = capsys.readouterr().out
    assert out.startswith("mine: 50 of 51 videos of 50 recordings, 2.0 s on average; no labels were read\n")
    assert "1 video could not be read: \\x1b[31m.mp4 (no frame can be decoded)\n- Begin with a" in out


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight videos, another encoding of one of them, and a file that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    for i in range(8):
        write_video(folder / f"v{i}.mp4", scene(i, 24), fps=12)
    write_video(folder / "again.mkv", scene(0, 24), fps=12)
    (folder / "broken.mp4").write_bytes(b"no video" * 200)
    return folder


def test_the_command(videos: Path, tmp_path: Path) -> None:
    models = ["-m", "pixels/thumbnail", "-m", "pixels/motion-energy", "--store", tmp_path / "store"]
    page = tmp_path / "page.html"
    told = json.loads(vitascope("checkup", videos, *models, "--workers", "1", "-q", "--json", "-o", page).stdout)
    assert (told["videos"], told["found"], told["recordings"]) == (9, 10, 8)
    assert list(told["failures"]) == ["broken.mp4"]
    assert [sorted(pair) for pair in told["copies"].items()] == [["again.mkv", "v0.mp4"]]
    thumbnail, energy = told["encoders"]
    assert thumbnail["order"]["reversed"] == [0.0, None, None]
    assert energy["order"]["shuffled"][0] > 5
    assert set(energy["stability"]) == set(ALTERATIONS)
    assert told["advice"][0].startswith("Begin with pixels/motion-energy: played backwards")
    assert "Order and speed" in page.read_text()


def test_videos_of_a_dataset_or_a_list_without_classes(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(motionlab, "SIZES", {"tiny": Size(6, 2)})
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path))
    data = unlabeled("motionlab/motion-tiny")
    assert (data.name, len(data.examples)) == ("motionlab/motion-tiny", 8)
    assert all(Path(example.path).suffix == ".mp4" for example in data.examples)
    (tmp_path / "list.csv").write_text("path,label\n" + "".join(f"v{i}.mp4,clip\n" for i in range(8)))
    assert len(unlabeled(f"{tmp_path / 'list.csv'}={videos}").examples) == 8


def test_bad_input(videos: Path, tmp_path: Path) -> None:
    assert "missing option '-m'" in vitascope("checkup", videos, code=2).stderr
    refused = vitascope("checkup", videos, "-m", "pixels/thumbnail", "-o", tmp_path, code=2).stderr
    assert "give the name of a page that ends with .html" in refused
    with pytest.raises(
        UserError, match="nowhere: no such folder; give a folder of videos, a list of them, or a dataset"
    ):
        unlabeled("nowhere")
    write_video(tmp_path / "only.mp4", blob(0, 0))
    with pytest.raises(UserError, match="1 videos; a check-up needs 8 or more"):
        unlabeled(str(tmp_path))
