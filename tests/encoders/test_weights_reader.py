"""Weight files of every kind are read alike; hostile ones are refused by name and nothing of them runs."""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import pathlib
import pickle
import struct
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from vitascope.core.device import generator
from vitascope.encoders.weights import reader as checkpoint
from vitascope.encoders.weights.reader import read

STATE = {
    "patch.weight": torch.arange(6.0).reshape(2, 3),
    "half": torch.ones(3, dtype=torch.float16),
    "brain": torch.full((2, 2), 0.5, dtype=torch.bfloat16),
    "count": torch.tensor(7),
}


def same(found: Any, state: dict[str, torch.Tensor] = STATE) -> None:
    assert set(found) == set(state)
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def refused(path: Path, *said: str) -> str:
    with pytest.raises(ValueError) as error:
        read(path)
    message = str(error.value)
    assert message.startswith(str(path)), message
    assert "\n" not in message
    for word in said:
        assert word in message, message
    return message


def zipped(path: Path) -> None:
    torch.save(STATE, path)


def legacy(path: Path) -> None:
    torch.save(STATE, path, _use_new_zipfile_serialization=False)


def safe(path: Path) -> None:
    save_file(STATE, path)


WRITERS: dict[str, Callable[[Path], None]] = {"zip": zipped, "legacy": legacy, "safetensors": safe}


@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".pt", ".pyth", ".bin", ".torch", ".safetensors", ".npz", ""])
@pytest.mark.parametrize("kind", WRITERS)
def test_recognized_by_content_not_by_suffix(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    WRITERS[kind](path)
    found = read(path)
    same(found.content)
    assert (found.files, found.native, dict(found.config)) == ((path,), "", {})


def test_torch_zips_and_safetensors_are_mapped_not_copied(tmp_path: Path) -> None:
    big = {"w": torch.zeros(1 << 24)}
    torch.save(big, tmp_path / "big.pth")
    save_file(big, tmp_path / "big.safetensors")
    for name in ("big.pth", "big.safetensors"):
        before = resident()
        content = read(tmp_path / name).content
        assert resident() - before < 32 << 20
        assert content["w"].shape == (1 << 24,)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_packed_torch_zip_is_unpacked_not_taken_for_numbers(tmp_path: Path) -> None:
    zipped(tmp_path / "plain.pth")
    with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(tmp_path / "packed.pth", "w") as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)
    same(read(tmp_path / "packed.pth").content)


@pytest.mark.parametrize("name", ["w.npy", "archive/data.pkl"])
def test_what_unpacks_to_far_more_than_weights_do_is_refused_before_it_does(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "bomb", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, bytes(1 << 24))
    refused(tmp_path / "bomb", "its 0.0 GB are compressed far more than weights can be")


def test_npz_keeps_types_and_refuses_objects(tmp_path: Path) -> None:
    path = tmp_path / "flax.npz"
    brain = np.frombuffer(STATE["brain"].view(torch.int16).numpy().tobytes(), dtype="V2").reshape(2, 2)
    np.savez(path, brain=brain, half=np.ones(3, np.float16), count=np.array(7), text=np.array(["a"]))
    np.savez(tmp_path / "big.npz", **{"a/b": np.arange(3, dtype=">f4")})
    same(read(path).content, {k: STATE[k] for k in ("brain", "half", "count")})
    same(read(tmp_path / "big.npz").content, {"a/b": torch.arange(3.0)})
    np.savez(tmp_path / "bad.npz", ok=np.ones(2), evil=np.array([Evil()], dtype=object))
    refused(tmp_path / "bad.npz", "array evil", "pickled Python objects")


class Evil:
    """Creates a file when it is unpickled by an ordinary unpickler."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


class Evals:
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("open('pwned', 'w')",)


class Gets:
    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, ("text", "upper")


class Applies:
    """Hides the call behind a harmless looking one."""

    def __reduce__(self) -> tuple[Any, ...]:
        return map, (os.system, ["touch pwned"])


HOSTILE: dict[str, tuple[Any, str]] = {
    "system": (Evil(), "posix.system"),
    "eval": (Evals(), "builtins.eval"),
    "getattr": (Gets(), "builtins.getattr"),
    "map": (Applies(), "builtins.map"),
}


def as_zip(value: Any, path: Path) -> None:
    torch.save({"model": STATE, "args": value}, path)


def as_legacy(value: Any, path: Path) -> None:
    torch.save({"model": STATE, "args": value}, path, _use_new_zipfile_serialization=False)


def as_zip_of_protocol_4(value: Any, path: Path) -> None:
    torch.save({"model": STATE, "args": value}, path, pickle_protocol=4)


def as_legacy_of_protocol_4(value: Any, path: Path) -> None:
    torch.save([value], path, pickle_protocol=4, _use_new_zipfile_serialization=False)


def as_pickle(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(["posix", value, value]))


def as_text_pickle(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(value, protocol=0))


def as_old_pickle(value: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps({"a": value}, protocol=2))


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "write",
    [
        as_zip,
        as_legacy,
        as_zip_of_protocol_4,
        as_legacy_of_protocol_4,
        as_pickle,
        as_old_pickle,
        as_text_pickle,
    ],
)
def test_hostile_pickles_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Any, Path], None], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    value, asked = HOSTILE[name]
    path = tmp_path / "evil.pth"
    write(value, path)
    refused(path, asked, "refused: its pickle would run", "state_dict()")
    assert [p.name for p in tmp_path.iterdir()] == ["evil.pth"]


def test_a_pickle_cannot_make_a_stand_in_do_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`__setstate__` and the constructor of an allowed name are the stand-in's; what it is given is refused or lost."""
    monkeypatch.chdir(tmp_path)

    class Bomb(argparse.Namespace):
        def __reduce__(self) -> tuple[Any, ...]:
            return argparse.Namespace, (), {"x": 1, "__setstate__": "y", "__class__": "z"}

    torch.save({"a": Bomb(), "b": STATE}, tmp_path / "bomb.pth")
    found = read(tmp_path / "bomb.pth").content
    assert found["a"] is None
    same(found["b"])

    class Carrier:
        def __reduce__(self) -> tuple[Any, ...]:
            return argparse.Namespace, (), Evil()

    torch.save({"a": Carrier()}, tmp_path / "carrier.pth")
    refused(tmp_path / "carrier.pth", "posix.system")
    assert not (tmp_path / "pwned").exists()


def test_attributes_of_dictionaries_do_not_hide_their_methods(tmp_path: Path) -> None:
    state = collections.OrderedDict(STATE)

    class Saved(dict[str, Any]):
        """Sets attributes of the dictionary that it is read as."""

        def __reduce__(self) -> tuple[Any, ...]:
            return collections.OrderedDict, (), {"items": 1, "keys": 2, "_metadata": {}}, None, iter(state.items())

    torch.save({"model": Saved()}, tmp_path / "a.pth")
    same(read(tmp_path / "a.pth").content["model"])


def test_repeated_and_circular_containers_are_read_once(tmp_path: Path) -> None:
    level: list[Any] = [torch.ones(1)]
    for _ in range(60):
        level = [level, level]
    circle: dict[str, Any] = {"level": level, "tuple": (1, "a")}
    circle["self"] = circle
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"in": deep}
    path = tmp_path / "circle.pth"
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        torch.save({**circle, "deep": deep}, path)
    finally:
        sys.setrecursionlimit(limit)
    found = read(path).content
    assert found["tuple"] == {"0": 1, "1": "a"}
    assert found["self"]["self"] is found["self"]


def module(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    for value in members.values():
        value.__module__ = name
    made = types.ModuleType(name)
    made.__dict__.update(members)
    monkeypatch.setitem(sys.modules, name, made)


def test_what_official_trainers_store_is_inert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of their trainers, under the names of packages that need not be there when they are read."""

    class CfgNode(dict[str, Any]):
        pass

    class EasyDict(dict[str, Any]):
        pass

    class DictConfig:
        pass

    for name in ("yacs.config", "utils.easydict", "omegaconf.dictconfig"):
        for part in (name.split(".")[0], name):
            module(monkeypatch, part)
    module(monkeypatch, "yacs.config", CfgNode=CfgNode)
    module(monkeypatch, "utils.easydict", EasyDict=EasyDict)
    module(monkeypatch, "omegaconf.dictconfig", DictConfig=DictConfig)
    CfgNode.__qualname__, EasyDict.__qualname__, DictConfig.__qualname__ = "CfgNode", "EasyDict", "DictConfig"
    cfg, easy, omega = CfgNode(lr=1), EasyDict(lr=2), DictConfig()
    cfg.__dict__["__immutable__"] = True
    easy.__dict__["lr"] = 2
    omega.__dict__["_content"] = {"a": 1}
    counts = collections.defaultdict(list)
    counts["a"].append(1)
    extra = {
        "args": argparse.Namespace(lr=0.1, window=(8, 14), device=torch.device("cpu"), out=pathlib.Path("a")),
        "best": np.float64(76.1),
        "array": np.arange(3),
        "config": cfg,
        "easy": easy,
        "omega": omega,
        "counts": counts,
        "settings": types.SimpleNamespace(a=1),
        "epoch": 3,
    }
    for path, kind in ((tmp_path / "zip.pth", True), (tmp_path / "old.pth", False)):
        torch.save({"model": STATE, **extra}, path, _use_new_zipfile_serialization=kind)
        monkeypatch.setitem(sys.modules, "yacs.config", None)
        found = read(path).content
        same(found["model"])
        assert found["args"] is None
        assert found["config"] == {"lr": 1}
        assert found["counts"] == {"a": {"0": 1}}
        assert found["epoch"] == 3
        module(monkeypatch, "yacs.config", CfgNode=CfgNode)


def test_the_allow_list_does_not_outlive_the_reading(tmp_path: Path) -> None:
    before = set(torch.serialization.get_safe_globals())
    torch.save({"a": argparse.Namespace()}, tmp_path / "a.pth")
    read(tmp_path / "a.pth")
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "a.pth", weights_only=True)


def test_whole_models_are_refused_by_their_class(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pth")
    refused(tmp_path / "whole.pth", "torch.nn.modules.linear.Linear", "state_dict()")


def test_programs_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as file:
        for name in ("constants.pkl", "data.pkl", "code/__torch__.py", "version"):
            file.writestr(f"script/{name}", b"")
    refused(tmp_path / "script.pt", "TorchScript archive", "torch.jit.load")


def test_a_plain_pickle_and_another_protocol_are_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps({"a": 1}, protocol=2))
    refused(tmp_path / "plain.pkl", "torch.save the state_dict()")
    torch.save({"a": torch.ones(2)}, tmp_path / "four.pth", pickle_protocol=4)
    refused(tmp_path / "four.pth", "torch.save the state_dict()")


@pytest.mark.parametrize("kind", [*WRITERS, "npz"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_cut_off_files_are_said_to_be(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "weights.pth"
    state = {f"w{i}": torch.randn(64, 64) for i in range(8)}
    if kind == "npz":
        np.savez(tmp_path / "w.npz", **{k: v.numpy() for k, v in state.items()})
        (tmp_path / "w.npz").rename(path)
    elif kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    refused(path, "incomplete", "download it again")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty; download it again"),
        (b"<!DOCTYPE html><html><head><title>Quota exceeded", "a web page, not weights"),
        (b'\n <?xml version="1.0"?><Error><Code>AccessDenied</Code>', "a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "git lfs pull"),
        (b"\x1f\x8b\x08\x00abc", "gzip"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"\x93NUMPY\x01\x00", "a single unnamed array"),
        (b"hello, these are notes about weights", "unknown kind of weight file"),
        (b"{", "unknown kind of weight file"),
        (b"\x00" * 600, "unknown kind of weight file"),
        (struct.pack("<Q", 1 << 40) + b"{" + b" " * 50, "incomplete"),
        (struct.pack("<Q", 4) + b"{xx}" + b" " * 50, "incomplete or damaged"),
    ],
)
def test_files_that_are_no_weights_are_told_what_they_are(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "w.pth").write_bytes(data)
    refused(tmp_path / "w.pth", said)


def test_a_damaged_text_in_a_pickle_is_no_warning(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"\x80\x02S'\\\xbe'\n.")
    refused(tmp_path / "w.pth")


def test_other_zips_tars_and_bare_tensors(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("model.pth", b"x")
    refused(tmp_path / "a.zip", "a zip file without weights (model.pth)")
    torch.save(torch.ones(2), tmp_path / "one.pth")
    refused(tmp_path / "one.pth", "contains one Tensor, not named tensors")
    torch.save({"w": torch.ones(2, 2).to_sparse()}, tmp_path / "sparse.pth")
    refused(tmp_path / "sparse.pth", "tensor w is sparse")
    torch.save({"w": torch.ones(2, device="meta")}, tmp_path / "meta.pth")
    refused(tmp_path / "meta.pth", "tensor w is without values")
    refused(tmp_path / "ones.pth", "no such file or folder; did you mean 'one.pth'?")
    refused(tmp_path / "nowhere" / "a.pth", "no such file or folder")


def shards(folder: Path, suffix: str) -> Path:
    """Two shards and their index, as transformers writes them."""
    stem = {"safetensors": "model", "bin": "pytorch_model"}[suffix]
    names = list(STATE)
    parts = {f"{stem}-0000{i + 1}-of-00002.{suffix}": names[i::2] for i in range(2)}
    for file, part in parts.items():
        state = {name: STATE[name] for name in part}
        if suffix == "bin":
            torch.save(state, folder / file)
        else:
            save_file(state, folder / file)
    index = folder / f"{stem}.{suffix}.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, part in parts.items() for name in part}}))
    return index


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_one_file(tmp_path: Path, suffix: str) -> None:
    index = shards(tmp_path, suffix)
    (tmp_path / "config.json").write_text('{"hidden_size": 8}')
    same(read(index).content)
    whole = read(tmp_path)
    same(whole.content)
    assert whole.config == {"hidden_size": 8}
    assert len(whole.files) == 2
    whole.files[1].unlink()
    refused(index, f"shard {whole.files[1].name} is not beside it")


def test_shards_lie_beside_their_index_and_hold_what_it_lists(tmp_path: Path) -> None:
    index = shards(tmp_path, "safetensors")
    listed = json.loads(index.read_text())["weight_map"]
    for bad in ("../other.safetensors", "/etc/passwd", index.name):
        index.write_text(json.dumps({"weight_map": {**listed, "half": bad}}))
        refused(index, f"shard {bad} is not beside it")
    index.write_text(json.dumps({"weight_map": {**listed, "more": listed["half"]}}))
    refused(index, "1 tensors are in no shard, e.g. more")
    index.write_text(json.dumps({"metadata": {}}))
    refused(index, "no 'weight_map'; name the weight file itself")
    index.write_text("[")
    refused(index, "invalid JSON")


def test_a_folder_is_its_best_known_file(tmp_path: Path) -> None:
    refused(tmp_path, "no weights in it")
    torch.save({"a": torch.ones(1)}, tmp_path / "vitl16.pth.tar")
    (tmp_path / "README.md").write_text("words")
    assert read(tmp_path).files == (tmp_path / "vitl16.pth.tar",)
    torch.save({"a": torch.ones(1)}, tmp_path / "vith16.pth.tar")
    refused(tmp_path, "2 weight files (vith16.pth.tar, vitl16.pth.tar); name the one to load")
    for name in reversed(checkpoint.NAMES):
        if not name.endswith(".index.json"):
            torch.save({"a": torch.ones(1)}, tmp_path / name)
            assert read(tmp_path).files == (tmp_path / name,)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"config\.json: expected an object, not \[1\]"):
        read(tmp_path)


def test_converted_files_say_so(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(STATE, path, metadata={"vitascope": '{"model": "umt/base-s1", "architecture": {"depth": 2}}'})
    found = read(tmp_path)
    assert (found.native, found.config) == ("umt/base-s1", {"depth": 2})
    same(found.content)
    (tmp_path / "config.json").write_text('{"depth": 9}')
    assert read(tmp_path).config == {"depth": 2}
    for bad in ("{", "1", "{}", '{"model": "a/b", "architecture": 1}'):
        save_file(STATE, path, metadata={"vitascope": bad})
        refused(path, "not written by `vitascope convert`; convert it again")


def test_names_cannot_garble_a_message(tmp_path: Path) -> None:
    torch.save({"a\nb\x1b[31m": torch.ones(1).to_sparse()}, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "tensor a?b?[31m is sparse")
    save_file({"a\nb": torch.ones(1)}, tmp_path / "b.safetensors")
    assert list(read(tmp_path / "b.safetensors").content) == ["a?b"]
    np.savez(tmp_path / "c.npz", **{"a\nb": np.array([None])})
    refused(tmp_path / "c.npz", "array a?b contains pickled")


def test_tensors_reach_no_further_than_their_storage(tmp_path: Path) -> None:
    """A file that claims a larger tensor than it holds is damaged, not a view of other memory."""
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(4)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith("data.pkl"):
                data = data.replace(b"K\x04\x85", b"K\x7f\x85")
            new.writestr(info.filename, data)
    refused(tmp_path / "w.pth", "incomplete or damaged")


@pytest.mark.parametrize("kind", [*WRITERS, "npz"])
def test_damage_is_a_line_whatever_it_hits(tmp_path: Path, kind: str) -> None:
    state = {f"blocks.{i}": torch.randn(4, 5, generator=generator(i)) for i in range(3)}
    path, other = tmp_path / "w.npz", tmp_path / "damaged"
    if kind == "npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    elif kind == "safetensors":
        save_file(state, path)
    else:
        args = argparse.Namespace(lr=1, best=np.float64(3))
        torch.save({"model": state, "args": args}, path, _use_new_zipfile_serialization=kind == "zip")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    fine = 0
    for _ in range(200):
        data = bytearray(whole)
        for place in rng.integers(0, len(data) - 100, 3):
            if rng.random() < 0.7:
                data[place] = rng.integers(0, 256)
            else:
                del data[place : place + 30]
        other.write_bytes(data)
        try:
            read(other)
            fine += 1
        except ValueError as error:
            assert str(error).startswith(f"{other}: ")
            assert str(error).isprintable()
    assert fine < 150


def test_a_class_name_of_absurd_length_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    plain = b"ccollections\nOrderedDict\n"
    torch.save(collections.OrderedDict(a=torch.zeros(2)), path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    assert plain in data
    path.write_bytes(data.replace(plain, b"ccollections\n" + b"must be " * 9000 + b"\n", 1))
    with pytest.raises(ValueError, match="a class name of over 1000 letters"):
        read(path)
