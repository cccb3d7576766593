"""Pickles of plain values and arrays, read without running anything."""

from __future__ import annotations

import builtins
import collections
import os
import pickle
import resource
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitascope.core import plain_pickle
from vitascope.core.errors import DamagedFileError, UserError

CONTENT = {
    np.str_("video"): {"numf": 3, "boxes": np.arange(12, dtype=np.int16).reshape(3, 4), "w": np.float64(0.5)},
    "names": [np.array(["a", "bc"]), (1, "two", None, True), ({"deep": np.zeros((2, 0), ">f4")},)],
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "ordered": collections.OrderedDict(a=1),
    "default": collections.defaultdict(list, b=[b"raw"]),
    "set": {1, 2},
}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    return bool(a == b)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_and_arrays_come_back(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(CONTENT, protocol))
    content = plain_pickle.read(path, "boxes")
    assert _same(CONTENT, content)
    assert type(next(iter(content))) is str
    assert type(content["columns"]) is np.ndarray


def test_text_and_arrays_of_python_2_come_back(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(
        b"(dp0\nS'a'\ncnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n"
        b"(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00@'\ntbs."
    )
    assert plain_pickle.read(path, "boxes")["a"].tolist() == [1.0, 2.0]


class _Runs:
    def __init__(self, call: Any, *given: Any) -> None:
        self.made = (call, given)

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize(
    "content",
    [
        _Runs(os.system, "touch ran"),
        _Runs(builtins.eval, "1"),
        _Runs(np.load, "a.npy"),
        {"a": Path("x")},
        np.array([{}], object),
        np.zeros(2, "f4,f4"),
        np.zeros(2, "M8[s]"),
        _Runs(np.ndarray, (3,)),
        np.dtype("f4"),
    ],
)
def test_whatever_is_no_plain_value_is_refused(tmp_path: Path, content: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps([content]))
    with pytest.raises(UserError, match=f"^{path}: ") as found:
        plain_pickle.read(path, "boxes")
    assert "\n" not in str(found.value)
    assert not (tmp_path / "ran").exists()


def test_what_one_pickle_sets_does_not_outlive_it(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"cnumpy\ndtype\n(N(S'order'\nI5\ndtb.")  # sets an attribute of the function
    with pytest.raises(UserError):
        plain_pickle.read(path, "boxes")
    path.write_bytes(pickle.dumps(np.ones(2)))
    assert plain_pickle.read(path, "boxes").tolist() == [1, 1]


def test_every_cut_and_every_damaged_byte_is_one_clear_line(tmp_path: Path) -> None:
    whole = pickle.dumps({"a": np.arange(3), "b": [1, "x"]})
    path = tmp_path / "a.pkl"
    for at in range(len(whole)):
        for data in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            path.write_bytes(data)
            try:
                plain_pickle.read(path, "boxes")
            except UserError as error:
                line = str(error)
                assert line.startswith(str(path))
                assert "\n" not in line


def test_a_file_that_is_none_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_text("video,time\n")
    with pytest.raises(DamagedFileError, match="no pickle of boxes, or damaged"):
        plain_pickle.read(path, "boxes")


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
TYPE = b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR"


@pytest.mark.parametrize(
    "data",
    [
        b"]r\xff\xff\xff\xff.",  # a place for four billion objects
        b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".",  # a terabyte of bytes
        ARRAY + b"(I1\n(L1099511627776L\nt" + TYPE + b"I00\nL1099511627776L\ntb.",
        b"(S'" + b"a" * 5000 + b"'\np0\n" + b"c_codecs\nencode\n(g0\ntR" * 5000 + b"t.",  # 5000 times as text
    ],
)
def test_a_small_file_takes_little_room(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DamagedFileError) if len(data) > 8 else nullcontext():
        plain_pickle.read(path, "boxes")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
