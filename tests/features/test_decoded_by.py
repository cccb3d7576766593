"""Other decoders: vectors of a card of their own, close to PyAV's, on a GPU where it can; what is missing is said."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from encoders.test_compiled import Small
from helpers import blob, vitascope, write_video
from vitascope.core.errors import MissingPackageError, UserError
from vitascope.core.pixel_transform import Decoder, PixelTransform
from vitascope.core.types import Card, Clip
from vitascope.datasets.builders.folder import build
from vitascope.encoders.base import Tokens
from vitascope.encoders.card_of import as_typed, variant_of
from vitascope.encoders.load import load
from vitascope.features.decoded_by import decoded_by
from vitascope.features.extract import ExtractionOptions, store_key
from vitascope.features.store import Store
from vitascope.features.view import View
from vitascope.sampling.samplers import Uniform
from vitascope.video import decode, inspect, torchcodec_backend

STAND_IN = '''
from types import SimpleNamespace
from typing import Any
import av, torch

class VideoDecoder:
    """Frames of a whole file, as TorchCodec gives them."""
    def __init__(self, path, *, stream_index, dimension_order, num_ffmpeg_threads, device):
        assert dimension_order == "NHWC" and device == "cpu"
        with av.open(path) as file:
            self.frames = [f.to_ndarray(format="rgb24") for f in file.decode(file.streams[stream_index])]
        self.metadata = SimpleNamespace(num_frames=len(self.frames), begin_stream_seconds_from_content=5.0)
    def get_frame_at(self, i):
        return SimpleNamespace(data=torch.from_numpy(self.frames[i]), pts_seconds=5.0 + i / 10)
'''
OPTIONS = ExtractionOptions(workers=1, quiet=True)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for i in range(3):
        write_video(tmp_path / "videos" / f"{i}.mp4", blob(i, i))
    return tmp_path / "videos"


def stored(cache: Path, videos: Path, decoder: Decoder) -> np.ndarray:
    """Vectors of the cheapest encoder as a decoder gave them."""
    encoder = load("pixels/thumbnail")
    card = encoder.card if decoder == "pyav" else decoded_by(encoder, decoder, ExtractionOptions(on="ray")).card
    dataset = build(str(videos), labeled=False)
    store = Store(cache, store_key(dataset, card, View(Uniform())))
    return np.asarray(store.read([e.id for e in dataset.examples]).values, np.float32)


def stand_in(tmp_path: Path) -> dict[str, str]:
    """Environment of a command that finds a TorchCodec and has a cache of its own."""
    (tmp_path / "other" / "torchcodec").mkdir(parents=True)
    (tmp_path / "other" / "torchcodec" / "__init__.py").touch()
    (tmp_path / "other" / "torchcodec" / "decoders.py").write_text(STAND_IN)
    paths = os.pathsep.join([str(tmp_path / "other"), *sys.path])
    return {**os.environ, "PYTHONPATH": paths, "VITASCOPE_CACHE": str(tmp_path / "cache")}


def run(environment: dict[str, str], *words: object) -> str:
    command = [sys.executable, "-m", "vitascope", *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_vectors_of_another_decoder_are_stored_apart_and_close(tmp_path: Path, videos: Path) -> None:
    environment = stand_in(tmp_path)
    for decoder in ("torchcodec", "pyav"):
        words = ("embed", videos, "-m", "pixels/thumbnail", "--workers", 1, "--decoder", decoder)
        assert "3 examples, 3 clips newly embedded" in run(environment, *words)
    theirs, ours = (stored(tmp_path / "cache", videos, decoder) for decoder in ("torchcodec", "pyav"))
    assert theirs.shape == ours.shape
    assert np.abs(theirs - ours).max() < 0.05
    assert len({*map(bytes, ours)}) == 3


def test_map_checkup_and_export_take_the_vectors_of_another_decoder(tmp_path: Path, videos: Path) -> None:
    for i in range(3, 9):
        write_video(videos / f"{i}.mp4", blob(i, i))
    environment, how = stand_in(tmp_path), ("-m", "pixels/thumbnail", "--decoder", "torchcodec")
    run(environment, "map", videos, *how, "--method", "pca", "--workers", 1, "-q", "-o", tmp_path / "map")
    assert '"pixels/thumbnail+torchcodec"' in (tmp_path / "map" / "map.json").read_text()
    looked = json.loads(run(environment, "checkup", videos, *how, "--workers", 1, "-q", "--json"))
    assert [e["encoder"] for e in looked["encoders"]] == ["pixels/thumbnail+torchcodec"]
    assert f"vitascope evaluate {videos} -m pixels/thumbnail --decoder torchcodec -t knn" in looked["advice"][-1]
    run(environment, "export", videos, *how, "--to", "npy", "-o", tmp_path / "vectors")
    written = np.stack([np.load(tmp_path / "vectors" / f"{i}.mp4.npy")[0] for i in range(9)])
    assert (written == stored(tmp_path / "cache", videos, "torchcodec")).all()
    assert set(pq.read_table(tmp_path / "vectors" / "index.parquet")["label"].to_pylist()) == {""}


def test_export_finds_what_embed_stored_of_an_encoder_without_weights(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITASCOPE_CACHE", str(tmp_path / "cache"))
    how = ("-m", "pixels/thumbnail", "--compile", "always")
    vitascope("embed", videos, *how, "--workers", 1, "-q")
    assert "3 examples written" in vitascope("export", videos, *how, "--to", "npy", "-o", tmp_path / "vectors").stdout
    wrong = vitascope(
        "export", videos, "-m", "tiny/pixels", "--compile", "always", "--to", "npy", "-o", tmp_path / "x", code=2
    )
    assert "no stored vectors by tiny/pixels+compiled" in wrong.stderr


def test_a_variant_is_named_and_typed_again() -> None:
    card = Small().card
    for given, options in (
        ({}, ()),
        ({"decoder": "nvdec"}, ("--decoder nvdec",)),
        ({"compiled": True}, ("--compile always",)),
        ({"decoder": "torchcodec", "compiled": True}, ("--compile always", "--decoder torchcodec")),
    ):
        assert as_typed(variant_of(card, **given).name) == (card.name, options)


def test_the_encoder_given_keeps_its_card_and_its_weights() -> None:
    encoder = Small()
    other = decoded_by(encoder, "nvdec", ExtractionOptions(on="ray"))
    assert (encoder.card.decoder, encoder.card.name) == ("pyav", "lab/small0")
    assert (other.card.decoder, other.card.name) == ("nvdec", "lab/small0+nvdec")
    assert isinstance(other, nn.Module)
    assert other.weight is encoder.weight
    assert other.card.pixels.decoder == "nvdec"
    assert decoded_by(encoder, "pyav", OPTIONS) is encoder


def test_a_card_that_cannot_be_set_is_named() -> None:
    class Fixed:
        @property
        def card(self) -> Card:
            return Small().card

        def __call__(self, clips: torch.Tensor) -> Tokens:
            return Small()(clips)

    with pytest.raises(UserError, match="lab/small0: decoder nvdec needs an encoder whose card can be set"):
        decoded_by(Fixed(), "nvdec", ExtractionOptions(on="ray"))


class Imitation:
    """TorchCodec on a machine with two GPUs, which notes on which device it was to decode, and may fail."""

    def __init__(self, path: Path, **failing: Any) -> None:
        with av.open(str(path)) as file:
            self.frames = [f.to_ndarray(format="rgb24") for f in file.decode(video=0)]
        self.failing, self.devices, self.given = failing, list[str](), list[int]()

    def VideoDecoder(self, path: str, *, device: str, **settings: object) -> SimpleNamespace:  # noqa: N802
        self.devices.append(device)
        metadata = SimpleNamespace(
            num_frames=self.failing.get("frames", len(self.frames)), begin_stream_seconds_from_content=0.0
        )
        return SimpleNamespace(
            metadata=metadata, get_frame_at=self._frame, cpu_fallback=self.failing.get("falls_back", False)
        )

    def _frame(self, i: int) -> SimpleNamespace:
        if i >= self.failing.get("end", len(self.frames)):
            raise RuntimeError(
                self.failing.get("why", "decode, /build/src/Decoder.cpp:14, Could not push packet, in: here")
            )
        self.given.append(i)
        late = self.failing.get("late", 0.0)
        return SimpleNamespace(data=torch.from_numpy(self.frames[i]), pts_seconds=i / 10 + late)


@pytest.mark.parametrize("falls_back", [False, True])
def test_a_gpu_decodes_and_what_it_could_not_is_noted(
    videos: Path, monkeypatch: pytest.MonkeyPatch, falls_back: bool
) -> None:
    path = videos / "0.mp4"
    package = Imitation(path, falls_back=falls_back)
    monkeypatch.setattr(torchcodec_backend, "import_module", lambda name: package)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    torchcodec_backend.require("nvdec")
    clips, notes = [Clip((0.0, 0.5), (0.0, 1.0))], list[str]()
    how = PixelTransform(decoder="nvdec")
    ((_, pixels),) = decode(inspect(path), clips, 32, how, warnings=notes)
    ((_, expected),) = decode(inspect(path), clips, 32)
    assert np.abs(pixels.astype(float) - expected).mean() < 1.5
    assert package.devices == [f"cuda:{os.getpid() % 2}"]
    assert notes == ["decoded by the processor: the GPU does not decode this video"] * falls_back


def test_what_is_missing_is_said_before_any_work(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str) -> None:
        raise ModuleNotFoundError("No module named 'torchcodec'")

    with monkeypatch.context() as patched:
        patched.setattr(torchcodec_backend, "import_module", lacking)
        with pytest.raises(MissingPackageError, match=r"decoder torchcodec: No module named 'torchcodec'; pip install"):
            decoded_by(Small(), "torchcodec", OPTIONS)
    monkeypatch.setattr(torchcodec_backend, "import_module", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="nvdec needs an NVIDIA GPU"):
        decoded_by(Small(), "nvdec", OPTIONS)
    wrong = vitascope("embed", videos, "-m", "pixels/thumbnail", "--decoder", "nvdc", code=2)
    assert re.search("--decoder 'nvdc'; did you mean 'nvdec'", wrong.stderr)


@pytest.mark.parametrize(
    ("failing", "note", "given"),
    [
        ({"frames": 11}, "decoded by PyAV: TorchCodec finds 11 frames instead of 12", []),
        ({"late": 0.1}, "decoded by PyAV: TorchCodec gives the frame at 0.100 s for that at 0.000 s", [0]),
        ({"end": 4}, "decoded by PyAV from where TorchCodec ends: TorchCodec: Could not push packet, in: here", [0, 3]),
    ],
)
def test_what_torchcodec_does_not_decode_pyav_does(
    videos: Path, monkeypatch: pytest.MonkeyPatch, failing: dict[str, Any], note: str, given: list[int]
) -> None:
    """The very frames of PyAV from there on, and a note, not a video without a vector."""
    path = videos / "1.mp4"
    package = Imitation(path, **failing)
    monkeypatch.setattr(torchcodec_backend, "import_module", lambda name: package)
    clips, notes = [Clip((0.0, 0.3, 0.7, 1.1), (0.0, 1.2))], list[str]()
    ((_, pixels),) = decode(inspect(path), clips, 32, PixelTransform(decoder="torchcodec"), warnings=notes)
    ((_, expected),) = decode(inspect(path), clips, 32)
    assert (package.given, notes) == (given, [note])
    by_pyav = slice(2 if "end" in failing else 0, None)
    assert np.array_equal(pixels[by_pyav], expected[by_pyav])
    assert np.abs(pixels.astype(float) - expected).mean() < 1.5


def test_what_ails_a_gpu_is_no_fault_of_the_video(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is decoded otherwise and kept under the name of the GPU."""
    package = Imitation(videos / "1.mp4", end=0, why="CUDA out of memory. Tried to allocate 2 GiB")
    monkeypatch.setattr(torchcodec_backend, "import_module", lambda name: package)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    video, clips = inspect(videos / "1.mp4"), [Clip((0.0,), (0.0, 1.2))]
    with pytest.raises(MemoryError, match="CUDA out of memory"):
        list(decode(video, clips, 32, PixelTransform(decoder="nvdec")))
    assert len(list(decode(video, clips, 32, PixelTransform(decoder="torchcodec")))) == 1
