"""The command line as a user types it: what it makes, what it says, and what it says when something is wrong."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import vitascope
from vitascope.datasets.builders import motionlab
from vitascope.evaluation.evaluate import results
from vitascope.motionlab.suite import Size


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(videos: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The main job: two encoders, two probes, on somebody's own folder."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    models = ("-m", "pixels/thumbnail", "-m", "pixels/motion-energy")
    done = vitascope("evaluate", videos, *models, "-t", "knn", "-t", "linear", "-o", folder, "--store", cache)
    assert "next: vitascope report" in done.stdout
    return folder


def test_evaluate_records_one_result_each(run: Path, videos: Path) -> None:
    found = results.read(run)
    assert {(r.encoder, r.probe) for r in found} == {
        (e, p) for e in ("pixels/thumbnail", "pixels/motion-energy") for p in ("knn", "linear")
    }
    for r in found:
        assert r.dataset == videos.name
        assert (r.n, r.expected, r.missing) == (18, 18, {})
        assert r.headline.low is not None
        assert r.headline.low <= r.headline.value <= r.headline.high
        assert len(r.folds) == 5
        kept = results.read_predictions(run / r.predictions)
        assert len(kept["id"]) == 18
        assert np.isclose(np.mean(kept["outcome"]), r.headline.value)
        assert all(top[0] == t for top, t, o in zip(kept["top"], kept["truth"], kept["outcome"], strict=True) if o)


def test_asked_again_it_computes_nothing(run: Path, videos: Path, cache: Path) -> None:
    before = (run / results.RESULTS).read_bytes()
    done = vitascope("evaluate", videos, "-m", "pixels/thumbnail", "-t", "knn", "-o", run, "--store", cache, "--json")
    assert (run / results.RESULTS).read_bytes() == before
    assert json.loads(done.stdout)["probe"] == "knn"


def test_report_and_compare(run: Path) -> None:
    done = vitascope("report", run)
    for name in ("report.html", "report.md", "report.tex"):
        assert (run / name).stat().st_size > 500
        assert name in done.stdout
    done = vitascope("compare", run, "-m", "pixels/thumbnail", "-m", "pixels/motion-energy", "--json")
    assert {c["task"].split(":")[1] for c in json.loads(done.stdout)} == {"knn", "linear"}


def test_imported_embeddings_need_no_videos_and_no_encoder(
    run: Path, videos: Path, cache: Path, tmp_path: Path
) -> None:
    where = ("--store", cache)
    vitascope("export", videos, "-m", "pixels/thumbnail", "--to", "twelvelabs", "-o", tmp_path / "out", *where)
    vitascope("import", "twelvelabs", tmp_path / "out", "-o", tmp_path / "in", "-m", "lab/theirs", "--name", "theirs")
    assert "holds imported embeddings" in vitascope("embed", tmp_path / "in", "-m", "pixels/thumbnail", code=2).stderr
    done = vitascope("evaluate", tmp_path / "in", "-t", "linear", "-o", tmp_path / "run", "--json")
    result = json.loads(done.stdout)
    assert (result["encoder"], result["dataset"], result["n"]) == ("lab/theirs", "theirs", 18)


def test_embed_then_nothing_left_to_do(videos: Path, tmp_path: Path) -> None:
    one = vitascope("embed", videos, "-m", "pixels/thumbnail", "--view", "multiclip:0.5", "--store", tmp_path)
    two = vitascope("embed", videos, "-m", "pixels/thumbnail", "--view", "multiclip:0.5", "--store", tmp_path)
    assert "18 examples, 36 clips newly embedded" in one.stdout
    assert "0 examples, 0 clips newly embedded" in two.stdout
    assert "pixels/thumbnail on" in vitascope("ls", "store", "--store", tmp_path).stdout.replace("\n", "")


def test_plan(videos: Path) -> None:
    file = videos / "left" / "clip 0.mp4"
    assert "12 frames" in vitascope("plan", file, "--frames", 4).stdout
    done = json.loads(vitascope("plan", file, "--view", "reversed(uniform)", "--frames", 4, "--json").stdout)
    assert [c["frames"] for c in done["clips"]] == [[10, 7, 4, 1]]


def test_check() -> None:
    done = json.loads(vitascope("check", "pixels/thumbnail", "--json").stdout)
    assert {f["ok"] for f in done} == {True, None}


def test_check_of_a_data_set(videos: Path, tmp_path: Path) -> None:
    done = vitascope("check", videos, cwd=tmp_path, code=0)
    assert re.search(r"fold 1 of 5 +\d+ +\d+ +0 +0 +0 +0 +0", done.stdout)
    assert "18 files read" in done.stdout
    assert f"next: vitascope evaluate {videos} -m" in done.stdout
    assert f"reading {videos.name} · 18/18" in done.stderr
    written = tmp_path / f"{videos.name}-manifest.csv"
    assert len(written.read_text().splitlines()) == 19
    said = json.loads(vitascope("check", videos, "--json", "-q", cwd=tmp_path).stdout)
    assert (said["well"], said["files_read"], said["manifest"]) == (True, 0, written.name)
    assert sum(split["expected"] for split in said["splits"]) == 18


def test_check_of_a_data_set_with_troubles_exits_1(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(videos, root)
    (root / "left" / "clip 0.mp4").write_bytes(b"")
    arguments = ("check", root, "-o", tmp_path / "deep" / "m.csv", "-q")
    done = vitascope(*arguments, code=1)
    assert "unreadable: 1\n  left/clip 0.mp4: the file is empty (0 bytes)" in done.stdout
    assert "next: fix what the manifest lists" in done.stdout
    assert done.stderr == ""
    assert json.loads(vitascope(*arguments, "--json", code=1).stdout)["troubles"]["unreadable"]["count"] == 1
    shutil.copy(videos / "left" / "clip 0.mp4", root / "left" / "clip 0.mp4")
    assert "1 file read, " in vitascope(*arguments).stdout
    assert "limited: 4 of 18" in vitascope("check", root, "--limit", "4", "-q", cwd=tmp_path).stdout
    assert (tmp_path / "set-manifest-4.csv").is_file()


def test_check_of_a_data_set_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motionlab, "SIZES", {"tiny": Size(24, 24)})
    done = vitascope("check", "motionlab/still-tiny", tmp_path, "-q", cwd=tmp_path)
    assert "next: vitascope evaluate motionlab/still-tiny" in done.stdout
    assert len((tmp_path / "motionlab-still-tiny-manifest.csv").read_text().splitlines()) == 49


def test_a_folder_named_like_an_encoder_is_distinguished_from_it(videos: Path, tmp_path: Path) -> None:
    shutil.copytree(videos, tmp_path / "pixels" / "thumbnail")
    done = vitascope("check", "pixels/thumbnail", cwd=tmp_path, code=2)
    assert "is both an encoder and a folder here; use ./pixels/thumbnail for the folder" in done.stderr
    assert "18 files read" in vitascope("check", "./pixels/thumbnail", "-q", cwd=tmp_path).stdout


def test_check_fails_closed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom vitascope.encoders.base import framewise\nfrom vitascope.core.types import Card\n"
        "def build():\n"
        "    card = Card(name='m', digest='1', dim=3, frames=2, size=8, mean=(0.,) * 3, std=(1.,) * 3)\n"
        "    return framewise(lambda x: x.mean((2, 3)) + torch.rand(()), card)\n"
    )
    vitascope("check", "mine:build", cwd=tmp_path, code=1)


def test_the_python_of_the_readme(videos: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitascope.encoders import audit as check

    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (tmp_path / "videos").symlink_to(videos)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITASCOPE_CACHE", str(cache))
    names: dict[str, Any] = {
        "my_model": lambda clips: clips[..., :7, :7].movedim(1, -1).repeat(1, 1, 1, 1, 171)[..., :512]
    }
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, names)  # the project's own words
    assert {(r.encoder, r.probe) for r in results.read(tmp_path / "runs" / "mine")} == {
        (e, p) for e in ("vit/tiny-random", "pixels/thumbnail") for p in ("knn", "linear")
    }
    assert (tmp_path / "runs" / "mine" / "report.html").is_file()
    assert all(finding.ok is not False for finding in check.audit(names["Mine"]()))


def test_a_limited_result_says_so(videos: Path, cache: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", videos, "-m", "pixels/thumbnail", "-t", "knn", "-o", tmp_path, "--store", cache)
    done = vitascope(*arguments, "--limit", 12, "--json")
    result = json.loads(done.stdout)
    assert result["limited"]
    assert result["n"] <= 12


BAD = [
    (
        ("evaluate", "{videos}", "-m", "pixels/thumbnal", "-t", "knn"),
        "did you mean 'pixels/thumbnail'?; see",
    ),
    (("evaluate", "{videos}", "-m", "pixel/thumbnail", "-t", "knn"), "did you mean 'pixels/thumbnail'?"),
    (("evaluate", "{videos}", "-m", "pixels/thumbnail", "-t", "knnn"), "did you mean 'knn"),
    (("evaluate", "{videos}", "-m", "pixels/thumbnail", "-t", "kn"), "did you mean 'knn'?"),
    (("evaluate", "{videos}", "-m", "pixels/thumbnail", "-t", "linear/pblished"), "did you mean 'linear/published'?"),
    (("evaluate", "{videos}", "-m", "pixels/thumbnail"), "name at least one probe with -t"),
    (("evaluate", "{videos}", "-t", "knn"), "name at least one encoder with -m"),
    (("evaluate", "{tmp}/nothing", "-m", "pixels/thumbnail", "-t", "knn"), "no such folder"),
    (("evaluate", "{tmp}/emptyy", "-m", "pixels/thumbnail", "-t", "knn"), "did you mean 'empty'?"),
    (("evaluate", "motionlb/motion", "-m", "pixels/thumbnail", "-t", "knn"), "did you mean 'motionlab/motion'?"),
    (("evaluate", "{tmp}/junk.mp4", "-m", "pixels/thumbnail", "-t", "knn"), "not a folder"),
    (("evaluate", "{tmp}/empty", "-m", "pixels/thumbnail", "-t", "knn"), "no videos"),
    (("evaluate", "{tmp}/one", "-m", "pixels/thumbnail", "-t", "knn"), "only one class"),
    (("evaluate", "{tmp}/outside", "-m", "pixels/thumbnail", "-t", "knn"), "is outside"),
    (("evaluate", "{tmp}/unseen", "-m", "pixels/thumbnail", "-t", "knn"), "in test but not in training"),
    (("evaluate", "{tmp}/untrained", "-m", "pixels/thumbnail", "-t", "knn"), "no example is in split 'train'"),
    (("evaluate", "{tmp}/untested", "-m", "pixels/thumbnail", "-t", "linear"), "no example is in split 'val'"),
    (
        ("evaluate", "{tmp}/no-time", "-m", "pixels/thumbnail", "-t", "knn"),
        "csv:3: end 2 is not after start 2",
    ),
    (("evaluate", "motionlab/motoin", "-m", "pixels/thumbnail", "-t", "knn"), "did you mean 'motionlab/motion'?"),
    (("evaluate", "{videos}", "-m", "hf:{tmp}/weights", "-t", "knn"), "weights"),
    (("evaluate", "{videos}", "-m", "vit/tiny-random=x.pth", "-t", "knn"), "take no weights"),
    (("evaluate", "{videos}", "-m", "nowhere:build", "-t", "knn"), "nowhere"),
    (("check",), "name a dataset or an encoder"),
    (("check", "pixels/thumbnial"), "did you mean 'pixels/thumbnail'?"),
    (("check", "motionlab/moton"), "did you mean 'motionlab/motion'?"),
    (("check", "motionlb"), "no dataset, folder or encoder 'motionlb'; did you mean 'motionlab'?"),
    (("check", "{tmp}/vidoes"), "no such folder"),
    (("check", "{tmp}/junk.mp4"), "not a folder"),
    (("check", "{videos}", "{tmp}"), "only a list of paths needs the folder of its videos to be stated; leave out"),
    (("check", "motionlab/motion", "{tmp}/nowhere"), "no such folder; give the folder of motionlab/motion"),
    (("check", "pixels/thumbnail", "-o", "{tmp}/m.csv"), "is an encoder, and -o is for datasets"),
    (("check", "{videos}", "-o", "{tmp}/junk.mp4"), "name another file"),
    (("check", "{videos}", "-o", "{tmp}/junk.mp4/m.csv"), "is a file; give a folder"),
    (("check", "vit/tiny-random=x.pth", "{tmp}"), "is an encoder, and ROOT is for datasets"),
    (("check", "raising:build"), "importing raising failed: ZeroDivisionError: division by zero ("),
    (("check", "failing:build"), "build() failed: KeyError: 'weights' ("),
    (("evaluate", "{videos}", "-m", "pixels/thumbnail", "-t", "knn", "--device", "cuda:9"), "cuda:9"),
    (("embed", "{videos}", "-m", "pixels/thumbnail", "--view", "unifrom"), "did you mean 'uniform'?"),
    (("embed", "{videos}", "-m", "pixels/thumbnail", "--reduce", "clips"), "did you mean 'clip'?"),
    (("plan", "{tmp}/nothing.mp4"), "nothing.mp4"),
    (("plan", "{tmp}/junk.mp4"), "junk.mp4"),
    (("report", "{tmp}/nothing"), "no results.jsonl in it"),
    (("ls", "encoder"), "did you mean 'encoders'?"),
    (("import", "twelvelabs", "{tmp}/empty", "-o", "{tmp}/out"), "no <id>.json"),
    (("export", "{videos}", "-m", "pixels/thumbnail", "--to", "nyp", "-o", "{tmp}/out"), "did you mean 'npy'?"),
    (
        ("export", "{videos}", "-m", "pixels/thumbnail", "--to", "npy", "-o", "{tmp}/out"),
        "with view uniform; run `vitascope embed`",
    ),
]


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights").mkdir()
    (tmp_path / "junk.mp4").write_bytes(b"no video")
    (tmp_path / "raising.py").write_text("1 / 0\n")
    (tmp_path / "failing.py").write_text("def build():\n    return {}['weights']\n")
    (tmp_path / "one" / "jump").mkdir(parents=True)
    (tmp_path / "one" / "jump" / "a.mp4").write_bytes(b"")
    for name, line in (("outside", "../junk.mp4,a,train"), ("unseen", "a.mp4,new,test")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").write_bytes(b"")
        (tmp_path / name / "b.mp4").write_bytes(b"")
        (tmp_path / name / "manifest.csv").write_text(f"path,label,split\nb.mp4,b,train\n{line}\n")
    for name, lines in (
        ("untrained", "path,label,split\na.mp4,a,test\nb.mp4,b,test\n"),
        ("untested", "path,label,split\na.mp4,a,train\nb.mp4,b,train\n"),
        ("no-time", "path,label,start,end\na.mp4,a,0,2\nb.mp4,b,2,2\n"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.mp4").write_bytes(b"")
        (tmp_path / name / "b.mp4").write_bytes(b"")
        (tmp_path / name / "manifest.csv").write_text(lines)
    return tmp_path


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_gets_one_line_and_exit_code_2(
    arguments: tuple[str, ...], message: str, videos: Path, bad: Path
) -> None:
    before = sorted(p for p in bad.rglob("*") if "__pycache__" not in p.parts)
    filled = [a.format(videos=videos, tmp=bad) for a in arguments]
    if arguments[0] in ("evaluate", "embed", "export"):
        filled += ["--store", str(bad / "store")]
    done = vitascope(*filled, cwd=bad, code=2)
    assert message in done.stderr
    progress = "comparing the frames of"  # told unless another test has had the frames of these videos compared
    assert len([line for line in done.stderr.strip().splitlines() if not line.startswith(progress)]) == 1
    assert "Traceback" not in done.stderr
    assert sorted(p for p in bad.rglob("*") if "__pycache__" not in p.parts) == before


@pytest.mark.parametrize("probe", ["knn", "linear", "attentive"])
def test_an_encoder_that_gives_no_numbers_is_named(videos: Path, tmp_path: Path, probe: str) -> None:
    (tmp_path / "unwell.py").write_text(
        "import torch\nfrom vitascope.encoders.base import framewise\nfrom vitascope.core.types import Card\n"
        "def build():\n"
        "    card = Card(name='unwell', digest='1', dim=3, frames=2, size=8, mean=(0.,) * 3, std=(1.,) * 3)\n"
        "    return framewise(lambda x: x.mean((2, 3)) * torch.nan, card)\n"
    )
    arguments = ("evaluate", videos, "-m", "unwell:build", "-t", probe, "-q", "-o", tmp_path / "run")
    done = vitascope(*arguments, "--store", tmp_path / "store", cwd=tmp_path, code=2)
    assert "none of 18 videos could be embedded; first: down/clip 0.mp4: unwell returned NaN or infinity" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_class_without_test_videos_is_allowed(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(videos, root)
    sides = [(n, i, "test" if i > 3 and n != "down" else "train") for n in ("right", "down", "left") for i in range(6)]
    lines = [f"{name}/clip {i}.mp4,{name},{split}" for name, i, split in sides]
    (root / "manifest.csv").write_text("\n".join(["path,label,split", *lines]))
    probes = ("-t", "knn/sweep", "-t", "linear", "-o", tmp_path / "run")
    done = vitascope("evaluate", root, "-m", "pixels/motion-energy", *probes, "--store", tmp_path / "st", "--json")
    for said in map(json.loads, done.stdout.splitlines()):
        assert (said["n"], said["expected"]) == (4, 4)
        assert said["scores"]["top-1"]["value"] in (0, 25, 50, 75, 100)


def test_a_wrong_command_or_flag_is_named_in_one_line(tmp_path: Path) -> None:
    for arguments, said in (
        (("evalute",), "Did you mean 'evaluate'?; see `vitascope -h`"),
        (("evaluate", tmp_path, "--modell", "x"), "--model"),
        (("evaluate",), "see `vitascope ls datasets`"),
        (("embed", tmp_path), "--model"),
        (("plan", "x.mp4", "--frames", "0"), "--frames"),
        (("evaluate", tmp_path, "--timeout", "-1"), "--timeout"),
    ):
        done = vitascope(*arguments, code=2)
        assert said in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(("file", "folder"), [("w.pth.tar", "w-vitascope"), (".", "../inside-vitascope")])
def test_what_is_converted_lies_beside_the_file(
    file: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    monkeypatch.setattr("vitascope.encoders.convert.convert", lambda file, model, output: made.append(output))
    inside = tmp_path / "inside"
    inside.mkdir()
    vitascope("convert", file, "-m", "umt/large-s2", cwd=inside)
    assert [(inside / path).resolve() for path in made] == [(inside / folder).resolve()]


def test_version_and_help() -> None:
    import vitascope as package

    assert vitascope("--version").stdout.strip() == f"vitascope {package.__version__}"
    for command in ("evaluate", "embed", "export", "ls"):
        assert "~/.cache/vitascope" in vitascope(command, "-h").stdout
    assert "evaluate" in vitascope(code=2).stdout


def test_an_interrupted_command_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(kind: str) -> dict[str, str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("vitascope.core.registry.Registry.names", interrupted)
    assert "rerun the command to resume" in vitascope("ls", "encoders", code=130).stderr


def test_a_run_folder_that_cannot_be_is_refused_before_any_work(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for at in ("file", "file/below"):
        arguments = ("evaluate", videos, "-m", "pixels/thumbnail", "-t", "knn", "-o", tmp_path / at)
        done = vitascope(*arguments, "--store", tmp_path / "store", code=2)
        assert "is a file; give a folder" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_said_and_leaves_nothing_half_written(videos: Path, tmp_path: Path) -> None:
    code = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "import vitascope.cli.main, sys, vitascope.evaluation.evaluate\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "vitascope.cli.main.main()"
    )
    command = ["embed", videos, "-m", "pixels/motion-energy", "--workers", 1, "--store", tmp_path, "-q"]
    run = [sys.executable, "-c", code, *map(str, command)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    left = [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix not in (".lock", ".json")]
    assert left == []
    vitascope(*command)
