"""The header of a safetensors file, checked before anybody parses it."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from vitascope.core.errors import UserError
from vitascope.core.files import check_safetensors_header


def test_whole_files_pass(tmp_path: Path) -> None:
    tensors = {"a": np.zeros((3, 4), np.float32), "b": np.zeros(0, np.int8), "c": np.ones(5, np.float16)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"format": "np"})
    check_safetensors_header(tmp_path / "a.safetensors")
    save_file({}, tmp_path / "a.safetensors")
    check_safetensors_header(tmp_path / "a.safetensors")


def header(entries: object) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
WRONG = {
    "empty": b"",
    "two bytes": b"ab",
    "length beyond the file": struct.pack("<Q", 2**63) + b"{}",
    "length of all there is to come": struct.pack("<Q", 3) + b"{}",
    "no header": struct.pack("<Q", 0),
    "no JSON": struct.pack("<Q", 4) + b"abcd",
    "nested for ever": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "a list": header([1, 2]),
    "entries that are none": header({"a": 3}),
    "offsets that are none": header({"a": ENTRY | {"data_offsets": [0, "x"]}}) + bytes(4),
    "data cut short": header({"a": ENTRY}) + bytes(3),
    "data too long": header({"a": ENTRY}) + bytes(5),
    "a hole": header({"a": ENTRY, "b": ENTRY | {"data_offsets": [8, 12]}}) + bytes(12),
    "overlapping tensors": header({"a": ENTRY, "b": ENTRY | {"data_offsets": [2, 6]}}) + bytes(6),
}


@pytest.mark.parametrize("what", WRONG)
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(WRONG[what])
    with pytest.raises(UserError, match=str(path)) as caught:
        check_safetensors_header(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(UserError, match="no regular file"):
            check_safetensors_header(path)
