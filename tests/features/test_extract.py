"""Encoding: every clip once, in batches that do not depend on who makes them, whatever happens on the way."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import processes
from helpers import blob, vitascope, write_video
from vitascope.core.types import Card, Dataset
from vitascope.datasets.builders.folder import build
from vitascope.encoders.base import Tokens
from vitascope.features import blocks as blocking
from vitascope.features import extract
from vitascope.features.extract import ExtractionOptions, embed, encode_clips, store_key
from vitascope.features.store import Store
from vitascope.features.view import View
from vitascope.motionlab.write import write_picture
from vitascope.sampling.names import MultiClip, Reversed, Uniform, Views
from vitascope.video import decode, inspect

OPTIONS = ExtractionOptions(workers=1, batch=4, quiet=True)
CARD = Card(name="lab/mean", digest="1", dim=24, frames=4, size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))


class Mean:
    """Each frame's mean color, in order, twice over: an encoder whose output anybody can compute."""

    card = CARD

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        self.batches.append(len(clips))
        frames = clips.mean((3, 4)).transpose(1, 2)
        return Tokens(frames[:, :, None, None].expand(-1, -1, 2, 2, -1), frames.flatten(1).repeat(1, 2))


def by_hand(path: str, view: View) -> np.ndarray:
    video = inspect(path)
    clips = view.sampler(video, CARD.frames)
    out = np.zeros((len(clips), 24), np.float32)
    for i, pixels in decode(video, clips, CARD.size, CARD.resize):
        values = (pixels / 255.0 - np.array(CARD.mean)) / np.array(CARD.std)
        out[i] = np.tile(values.mean((1, 2)).ravel(), 2)
    return out


def tree(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.suffix != ".lock"
    }


VIEWS = [View(Uniform()), View(MultiClip(0.4, 0.2)), View(Reversed(Uniform())), View(Views(3, 2, 1))]


def test_every_view_holds_what_decoding_by_hand_gives(videos: Path, tmp_path: Path) -> None:
    dataset = build(str(videos))
    encoder = Mean()
    filled = embed(encoder, dataset, VIEWS, root=tmp_path, options=replace(OPTIONS, workers=2))
    assert (filled.encoded, filled.failures) == (18, {})
    for view in VIEWS:
        seen = dataset.examples[::2]
        stored = Store(tmp_path, store_key(dataset, CARD, view)).read([e.id for e in seen])
        for i, e in enumerate(seen):
            got = stored.values[stored.offsets[i] : stored.offsets[i + 1]]
            assert np.allclose(got, by_hand(e.path, view), atol=2e-3)
    assert set(encoder.batches[:-1]) == {4}
    again = Mean()
    assert embed(again, dataset, VIEWS, root=tmp_path, options=OPTIONS).encoded == 0
    assert again.batches == []


def test_reductions(videos: Path, tmp_path: Path) -> None:
    dataset = build(str(videos))
    views = [View(Uniform(), reduce) for reduce in ("clip", "time", "grid")]
    embed(Mean(), dataset, views, root=tmp_path, options=OPTIONS)
    clip, time_, grid = (
        Store(tmp_path, store_key(dataset, CARD, v)).read([dataset.examples[0].id]).values for v in views
    )
    assert (clip.shape, time_.shape, grid.shape) == ((1, 24), (1, 4, 3), (1, 4, 2, 2, 3))
    assert np.array_equal(time_.reshape(1, 12), clip[:, :12])
    assert np.array_equal(grid.mean((2, 3), np.float32), time_.astype(np.float32))


def test_a_larger_dataset_costs_only_what_is_new(videos: Path, tmp_path: Path) -> None:
    dataset = build(str(videos))
    few = replace(dataset, examples=dataset.examples[:7])
    assert embed(Mean(), few, VIEWS[:1], root=tmp_path, options=OPTIONS).encoded == 7
    assert embed(Mean(), dataset, VIEWS[:1], root=tmp_path, options=OPTIONS).encoded == 11
    assert embed(Mean(), dataset, VIEWS[:2], root=tmp_path, options=OPTIONS).encoded == 18


def test_a_replaced_file_is_embedded_again(tmp_path: Path) -> None:
    for number, name in enumerate(("a/1", "a/2", "b/1", "b/2")):
        write_video(tmp_path / "v" / f"{name}.mp4", blob(0.0, number))
    dataset = build(str(tmp_path / "v"))
    embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS)
    write_video(tmp_path / "v" / "a" / "1.mp4", blob(2.0, 6, frames=20))
    assert embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS).encoded == 1
    store = Store(tmp_path / "s", store_key(dataset, CARD, VIEWS[0]))
    assert np.allclose(store.read(["a/1.mp4"]).values, by_hand(dataset.examples[0].path, VIEWS[0]), atol=2e-3)
    for e in dataset.examples:
        os.unlink(e.path)
    assert embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS).encoded == 0


def four(folder: Path) -> Dataset[int]:
    """Four videos of noise that cannot be compressed: files of some length, all of one size where padded."""
    for number, name in enumerate(("a/1", "a/2", "b/1", "b/2")):
        write_video(folder / f"{name}.mp4", blob(0.0, number))
    return build(str(folder))


def padded(path: Path, size: int, ns: int = 1_600_000_000_000_000_000) -> None:
    """Grow an mp4 to `size` bytes by an empty box, and set its modification time (nanoseconds)."""
    data = path.read_bytes()
    path.write_bytes(data + (size - len(data)).to_bytes(4, "big") + b"free" + bytes(size - len(data) - 8))
    os.utime(path, ns=(ns, ns))


def test_a_file_of_the_same_size_and_time_as_the_old_one_is_embedded_again(tmp_path: Path) -> None:
    dataset = four(tmp_path / "v")
    path = Path(dataset.examples[0].path)
    padded(path, 60_000)
    assert embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS).encoded == 4
    write_video(path, blob(2.0, 6, frames=20))
    padded(path, 60_000)
    assert embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS).encoded == 1
    store = Store(tmp_path / "s", store_key(dataset, CARD, VIEWS[0]))
    assert np.allclose(store.read(["a/1.mp4"]).values, by_hand(str(path), VIEWS[0]), atol=2e-3)


def test_a_restored_copy_is_not_embedded_again(tmp_path: Path) -> None:
    dataset = four(tmp_path / "v")
    embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS)
    shutil.copytree(tmp_path / "v", tmp_path / "backup")
    shutil.rmtree(tmp_path / "v")
    shutil.copytree(tmp_path / "backup", tmp_path / "v", copy_function=shutil.copyfile)
    assert embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS).encoded == 0


def test_frames_overwritten_in_place_are_embedded_again(tmp_path: Path) -> None:
    for number, name in enumerate(("a/1", "a/2", "b/1", "b/2")):
        (tmp_path / "v" / name).mkdir(parents=True)
        for i, frame in enumerate(blob(0.0, number, frames=6)):
            write_picture(tmp_path / "v" / name / f"{i:03d}.png", frame)
    dataset = build(str(tmp_path / "v"))
    assert embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS).encoded == 4
    for i, frame in enumerate(blob(2.0, 7, frames=6)):
        path = tmp_path / "v" / "b" / "2" / f"{i:03d}.png"
        data = io.BytesIO()
        Image.fromarray(frame).save(data, "png")
        with open(path, "r+b") as file:
            file.truncate(0)
            file.write(data.getvalue())
    assert embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS).encoded == 1
    store = Store(tmp_path / "s", store_key(dataset, CARD, VIEWS[0]))
    assert np.allclose(store.read(["b/2"]).values, by_hand(str(tmp_path / "v" / "b" / "2"), VIEWS[0]), atol=2e-3)


UNLUCKY = """
import errno, os, shutil, signal, sys
from pathlib import Path
from vitascope.core.file_identity import FileIdentity
from vitascope.features.decode_job import ClipHeader, decode_example

def decode(job):
    flag = Path(__file__).with_name("times")
    left = int(flag.read_text())
    for message, pixels in decode_example(job):
        if job.example == "a/2.mp4" and left and isinstance(message, WHEN):
            flag.write_text(str(left - 1))
            WHAT
            left -= 1
        yield message, pixels
"""


def unlucky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, when: str, times: int) -> None:
    """Let something befall the decoding of `a/2.mp4`, as many times, when it has sent a message of that type."""
    (tmp_path / "unlucky.py").write_text(UNLUCKY.replace("WHAT", what).replace("WHEN", when))
    (tmp_path / "times").write_text(str(times))
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("unlucky", None)
    monkeypatch.setattr(extract, "decode_example", importlib.import_module("unlucky").decode)


KILLED = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(
    ("what", "when"),
    [
        (KILLED, "ClipHeader"),
        ("raise MemoryError('no memory')", "ClipHeader"),
        ("raise OSError(errno.EMFILE, 'Too many open files')", "FileIdentity"),
    ],
)
def test_what_befell_the_machine_once_is_tried_again_in_the_same_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, when: str
) -> None:
    dataset = four(tmp_path / "v")
    embed(Mean(), dataset, VIEWS[:2], root=tmp_path / "undisturbed", options=OPTIONS)
    unlucky(tmp_path, monkeypatch, what, when, 1)
    encoder = Mean()
    filled = embed(encoder, dataset, VIEWS[:2], root=tmp_path / "s", options=OPTIONS)
    assert (filled.encoded, filled.failures) == (4, {})
    assert tree(tmp_path / "s") == tree(tmp_path / "undisturbed")


def test_what_befalls_the_machine_again_and_again_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = four(tmp_path / "v")
    unlucky(tmp_path, monkeypatch, KILLED, "ClipHeader", 3)
    filled = embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS)
    assert filled.failures == {"a/2.mp4": "the decoding process died: SIGKILL; tried 3 times, the last time alone"}
    again = embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS)
    assert (again.encoded, again.failures) == (1, {})


def test_the_vector_of_a_replaced_file_is_not_believed_though_the_new_one_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = four(tmp_path / "v")
    embed(Mean(), dataset, VIEWS[:2], root=tmp_path / "s", options=OPTIONS)
    write_video(Path(dataset.examples[1].path), blob(2.0, 6, frames=20))
    unlucky(tmp_path, monkeypatch, KILLED, "ClipHeader", 3)
    assert set(embed(Mean(), dataset, VIEWS[:2], root=tmp_path / "s", options=OPTIONS).failures) == {"a/2.mp4"}
    for view in VIEWS[:2]:
        store = Store(tmp_path / "s", store_key(dataset, CARD, view))
        assert store.read(["a/2.mp4"]).offsets.tolist() == [0, 0]


def test_a_failure_leaves_the_vectors_of_another_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = four(tmp_path / "v")
    embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS)
    unlucky(tmp_path, monkeypatch, KILLED, "ClipHeader", 3)
    assert set(embed(Mean(), dataset, VIEWS[:2], root=tmp_path / "s", options=OPTIONS).failures) == {"a/2.mp4"}
    counts = [Store(tmp_path / "s", store_key(dataset, CARD, v)).read(["a/2.mp4"]).offsets[-1] for v in VIEWS[:2]]
    assert counts == [1, 0]


def test_a_video_that_crashes_its_decoder_alone_too_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = four(tmp_path / "v")
    unlucky(tmp_path, monkeypatch, "os.kill(os.getpid(), signal.SIGSEGV)", "ClipHeader", 3)
    said = {"a/2.mp4": "the decoding process died: SIGSEGV; tried 3 times, the last time alone"}
    assert embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS).failures == said
    again = embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS)
    assert (again.encoded, again.failures) == (0, said)


@pytest.mark.parametrize(("when", "times"), [("ClipHeader", 1), ("FileIdentity", 3)])
def test_a_file_that_changes_while_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, times: int
) -> None:
    dataset = four(tmp_path / "v")
    path = tmp_path / "v" / "a" / "2.mp4"
    write_video(tmp_path / "new.mp4", blob(2.5, 9, frames=24))
    # as a copy that grows: other content with each attempt
    grow = "open(job.path, 'ab').write(b'\\0\\0\\0\\x08free')"
    unlucky(
        tmp_path,
        monkeypatch,
        f"shutil.copy({str(tmp_path / 'new.mp4')!r}, job.path); " * (times == 1) + grow,
        when,
        times,
    )
    filled = embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS)
    store = Store(tmp_path / "s", store_key(dataset, CARD, VIEWS[0]))
    if times == 3:
        assert filled.failures == {"a/2.mp4": "changed while it was read"}
        assert store.read(["a/2.mp4"]).offsets.tolist() == [0, 0]
        filled = embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS)
    assert filled.failures == {}
    assert np.allclose(store.read(["a/2.mp4"]).values, by_hand(str(path), VIEWS[0]), atol=2e-3)
    assert embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS).encoded == 0


def test_a_file_broken_when_it_was_read_and_replaced_since_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = four(tmp_path / "v")
    path = tmp_path / "v" / "a" / "2.mp4"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "whole.mp4").write_bytes(whole)
    unlucky(tmp_path, monkeypatch, f"shutil.copy({str(tmp_path / 'whole.mp4')!r}, job.path)", "FileIdentity", 1)
    filled = embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS)
    assert (filled.encoded, filled.failures) == (4, {})


def spans(folder: Path, start: float, end: float) -> Dataset[int]:
    """The four videos of `folder`, each under an id that says nothing of its span."""
    rows = [f"{n},{n[0]}/{n[1]}.mp4,{n[0]},{start},{end}" for n in ("a1", "a2", "b1", "b2")]
    (folder / "manifest.csv").write_text("\n".join(["id,path,label,start,end", *rows]))
    return build(str(folder))


def test_another_span_under_the_same_id_is_embedded_again(tmp_path: Path) -> None:
    for number, name in enumerate(("a/1", "a/2", "b/1", "b/2")):
        write_video(tmp_path / "v" / f"{name}.mp4", blob(0.0, number))
    for start, end, encoded in ((0.0, 0.4, 4), (0.0, 0.4, 0), (0.5, 1.0, 4)):
        dataset = spans(tmp_path / "v", start, end)
        assert embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS).encoded == encoded
        assert Store(tmp_path / "s", store_key(dataset, CARD, VIEWS[0])).read(["a1"]).spans.tolist() == [[start, end]]


def test_spans_of_one_large_file_share_a_block(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = build(str(videos)).examples[0]
    many = [replace(one, id=str(i), span=(float(i), i + 1.0)) for i in range(9)]
    monkeypatch.setattr(blocking, "BLOCK_BYTES", os.path.getsize(one.path) + 1)
    assert [len(b) for _, b in blocking.blocks(many)] == [9]


WRONG = {
    "no tokens": lambda clips: clips.mean((2, 3, 4)),
    "rows": lambda clips: Tokens(clips.new_zeros(1, 4, 1, 1, 3), clips.new_zeros(1, 24)),
    "dim": lambda clips: Tokens(clips.new_zeros(len(clips), 4, 1, 1, 3), clips.new_zeros(len(clips), 7)),
    "axes": lambda clips: Tokens(clips.new_zeros(len(clips), 4, 1, 1, 3), clips.new_zeros(len(clips), 2, 12)),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_encoder_whose_output_contradicts_its_card_is_named(videos: Path, tmp_path: Path, what: str) -> None:
    class Wrong(Mean):
        def __call__(self, clips: torch.Tensor, /) -> Tokens:
            return WRONG[what](clips)

    with pytest.raises(ValueError, match=r"lab/mean returned .* expected"):
        embed(Wrong(), build(str(videos)), VIEWS[:1], root=tmp_path, options=OPTIONS)


def test_only_broken_videos_is_an_error_even_if_others_are_missing(tmp_path: Path) -> None:
    rows = [f"{n[0]}/{n[1]}.mp4,{n[0]}" for n in ("a1", "a2", "b1", "b2")]
    (tmp_path / "a").mkdir()
    (tmp_path / "manifest.csv").write_text("\n".join(["path,label", *rows]))
    (tmp_path / "a" / "1.mp4").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"none of 1 videos could be embedded; first: a/1\.mp4"):
        embed(Mean(), build(str(tmp_path)), VIEWS[:1], root=tmp_path / "s", options=OPTIONS)


def broken(videos: Path, tmp_path: Path) -> Dataset[int]:
    root = tmp_path / "videos"
    for path in videos.rglob("*.mp4"):
        (root / path.relative_to(videos)).parent.mkdir(parents=True, exist_ok=True)
        os.link(path, root / path.relative_to(videos))
    (root / "right" / "clip 0.mp4").unlink()
    (root / "right" / "clip 0.mp4").write_bytes(b"not a video at all")
    (root / "down" / "zzz.mp4").write_bytes(b"")
    return build(str(root))


def test_broken_videos_are_named_and_never_replaced(videos: Path, tmp_path: Path) -> None:
    dataset = broken(videos, tmp_path)
    filled = embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS)
    assert set(filled.failures) == {"right/clip 0.mp4", "down/zzz.mp4"}
    assert all("\n" not in why and why for why in filled.failures.values())
    store = Store(tmp_path / "s", store_key(dataset, CARD, VIEWS[0]))
    assert store.read(["right/clip 0.mp4", "right/clip 1.mp4"]).offsets.tolist() == [0, 0, 1]
    again = embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS)
    assert (again.encoded, again.failures) == (0, filled.failures)
    once_more = embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=replace(OPTIONS, retry_failed=True))
    assert (once_more.encoded, once_more.failures) == (2, filled.failures)


def test_a_damaged_video_is_used_as_far_as_it_goes_with_a_note(videos: Path, tmp_path: Path) -> None:
    root = tmp_path / "videos"
    for number, name in enumerate(("a/1", "a/2", "b/1", "b/2")):
        write_video(root / f"{name}.ts", blob(0.0, number, frames=40))
    whole = (root / "a" / "1.ts").read_bytes()
    (root / "a" / "1.ts").write_bytes(whole[: len(whole) // 3] + bytes(2000) + whole[len(whole) // 3 + 2000 :])
    dataset = build(str(root))
    for _ in range(2):
        filled = embed(Mean(), dataset, VIEWS[:1], root=tmp_path / "s", options=OPTIONS)
        assert set(filled.notes) == {"a/1.ts"}
        assert filled.failures == {}


def test_nothing_but_broken_videos_is_an_error(tmp_path: Path) -> None:
    for name in ("a/1", "a/2", "b/1", "b/2"):
        (tmp_path / "v" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "v" / f"{name}.mp4").write_bytes(b"junk")
    with pytest.raises(ValueError, match="none of 4 videos could be embedded"):
        embed(Mean(), build(str(tmp_path / "v")), VIEWS[:1], root=tmp_path / "s", options=OPTIONS)


class Poisoned(Mean):
    """NaN for bright clips."""

    def __call__(self, clips: torch.Tensor, /) -> Tokens:
        grid, clip = super().__call__(clips)
        clip = clip.clone()
        clip[clip.mean(1) > clip.mean()] = float("nan")
        return Tokens(grid, clip)


def test_an_encoder_that_returns_nan_is_reported(videos: Path, tmp_path: Path) -> None:
    filled = embed(Poisoned(), build(str(videos)), VIEWS[:1], root=tmp_path, options=OPTIONS)
    assert filled.failures
    assert set(filled.failures.values()) == {"lab/mean returned NaN or infinity"}


class Raising(Mean):
    """A model that fails on its input."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def __call__(self, clips: torch.Tensor) -> Tokens:
        raise self.error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("mat1 and mat2\nsecond line"),
            r"RuntimeError: mat1 and mat2 \(.*test_extract.py:\d+\); see",
        ),
        (torch.OutOfMemoryError("CUDA"), "clips does not fit into the memory of cpu; give a smaller --batch"),
    ],
)
def test_an_error_in_a_model_is_reported_in_one_line(error: Exception, said: str, videos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        embed(Raising(error), build(str(videos)), VIEWS[:1], root=tmp_path, options=OPTIONS)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("many")
    for c in range(2):
        for i in range(15):
            write_video(root / f"class {c}" / f"{i:02d}.mp4", blob(c * 3.0 + i / 9, i))
    return root


BLOCKS = {"vitascope.features.blocks.BLOCK_EXAMPLES": 3}
"""Ten parts of the thirty videos, each a batch of two and one of one."""


def command(many: Path, store: Path) -> list[object]:
    return ["embed", "--quiet", "-m", "pixels/thumbnail", "--batch", 2, many, "--store", store]


def begin(many: Path, store: Path, *, out: str = "out", killed_at: int = 0) -> ForkServerProcess:
    """Embed in a process of its own; `killed_at`: the rename before which it is killed, from 1."""
    job = (processes.command, store.with_suffix(f".{out}"), BLOCKS, *command(many, store))
    return processes.start(processes.dying, "os.replace", killed_at, *job)


def finish(many: Path, store: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocking, "BLOCK_EXAMPLES", 3)
        vitascope(*command(many, store))


@pytest.fixture(scope="module")
def undisturbed(many: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    store = tmp_path_factory.mktemp("undisturbed")
    finish(many, store)
    return tree(store)


# the key is renamed first, then vectors and index of each of ten parts, then what they are merged into
@pytest.mark.parametrize("rename", [1, 3, 10, 22, 23])
def test_a_killed_run_resumes_and_equals_an_undisturbed_one(
    many: Path, undisturbed: dict[str, str], tmp_path: Path, rename: int
) -> None:
    assert processes.ended(begin(many, tmp_path / "s", killed_at=rename)) == processes.KILLED
    assert tree(tmp_path / "s") != undisturbed
    finish(many, tmp_path / "s")
    assert tree(tmp_path / "s") == undisturbed


def test_two_processes_share_the_work(many: Path, undisturbed: dict[str, str], tmp_path: Path) -> None:
    pair = [begin(many, tmp_path / "s", out=out) for out in ("one", "other")]
    assert [processes.ended(process) for process in pair] == [0, 0]
    said = [(tmp_path / f"s.{out}").read_text() for out in ("one", "other")]
    assert sum(int(text.split()[1]) for text in said) == 30
    assert tree(tmp_path / "s") == undisturbed


def test_one_of_two_killed_leaves_its_work_to_the_other(
    many: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    one = begin(many, tmp_path / "s", killed_at=5)
    while one.is_alive() and not list(tmp_path.glob("s/*/*/*/parts/*.parquet")):
        time.sleep(0.002)
    other = begin(many, tmp_path / "s", out="other")
    assert processes.ended(one) == processes.KILLED
    assert processes.ended(other) == 0
    assert tree(tmp_path / "s") == undisturbed


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="sees in /proc that a process is suspended")
def test_the_work_of_a_suspended_process_is_done_by_another_and_its_own_later_changes_nothing(
    many: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    job = (processes.command, tmp_path / "s.one", BLOCKS, *command(many, tmp_path / "s"))
    one = processes.start(processes.signaled, signal.SIGSTOP, "vitascope.features.store.Store.add", 3, *job)
    assert one.pid
    while not suspended(one.pid):
        time.sleep(0.002)
    impatient = BLOCKS | {"vitascope.features.claims.STOPPED": 0.1}
    other = processes.start(processes.command, tmp_path / "s.other", impatient, *command(many, tmp_path / "s"))
    assert processes.ended(other) == 0
    assert tree(tmp_path / "s") == undisturbed
    os.kill(one.pid, signal.SIGCONT)
    assert processes.ended(one) == 0
    assert tree(tmp_path / "s") == undisturbed


def suspended(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_blocks_cover_the_examples_in_order(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = build(str(videos))
    monkeypatch.setattr(blocking, "BLOCK_EXAMPLES", 4)
    cut = list(blocking.blocks(dataset.examples))
    assert [len(b) for _, b in cut] == [4, 4, 4, 4, 2]
    assert [e for _, b in cut for e in b] == list(dataset.examples)
    assert len({name for name, _ in cut}) == 5
    monkeypatch.setattr(blocking, "BLOCK_BYTES", 1)
    assert [len(b) for _, b in blocking.blocks(dataset.examples)] == [1] * 18


def test_normalization_follows_the_card() -> None:
    pixels = (
        torch.arange(2 * 4 * 16 * 16 * 3, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(2, 4, 16, 16, 3)
    )
    seen: list[torch.Tensor] = []

    class Spy(Mean):
        def __call__(self, clips: torch.Tensor, /) -> Tokens:
            seen.append(clips)
            return super().__call__(clips)

    encode_clips(Spy(), pixels)
    expected = (pixels.double() / 255 - torch.tensor(CARD.mean)) / torch.tensor(CARD.std)
    assert torch.allclose(seen[0].double(), expected.permute(0, 4, 1, 2, 3), atol=1e-5)


def test_images_beside_videos_share_vectors_but_not_token_grids(tmp_path: Path) -> None:
    class Average(Mean):
        card = replace(CARD, dim=3, image="single")

        def __call__(self, clips: torch.Tensor, /) -> Tokens:
            grid = clips.mean((3, 4)).transpose(1, 2)[:, :, None, None]
            return Tokens(grid, grid.mean((1, 2, 3)))

    lines = ["path,label"]
    for number, label in enumerate("ab"):
        (tmp_path / label).mkdir()
        write_video(tmp_path / label / "moving.mp4", blob(0.0, number))
        write_picture(tmp_path / label / "still.png", blob(0.0, number)[0])
        lines += [f"{label}/moving.mp4,{label}", f"{label}/still.png,{label}"]
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    dataset = build(str(tmp_path))
    assert embed(Average(), dataset, [View(Uniform())], root=tmp_path / "s", options=OPTIONS).encoded == 4
    with pytest.raises(ValueError, match="mixes images and videos") as error:
        embed(Average(), dataset, [View(Uniform(), "time")], root=tmp_path / "s", options=OPTIONS)
    assert "\n" not in str(error.value)
