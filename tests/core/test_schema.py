"""JSON of files: what is well-formed, what is of a type, and the one line for all else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from vitascope.core.errors import DamagedFileError, UserError
from vitascope.core.files import read_json
from vitascope.core.schema import conform, parse
from vitascope.core.types import Card, Score


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "Expecting value, line 1"),
        (b"[1,\n2", "Expecting ',' delimiter, line 2"),
        (b"[" * 100_000, "more than 64 brackets in brackets"),
        (b"[" * 65 + b"]" * 65, "more than 64 brackets in brackets"),
        (b'{"a": "\\ud800"}', "a lone surrogate, which is no letter"),
        (b"\xff\xfe", "not UTF-8: invalid start byte at byte 0"),
        (b"9" * 5000, f"{'9' * 40} is beyond 64 bits"),
        (b'{"a": 9223372036854775808}', "9223372036854775808 is beyond 64 bits"),
        (b'{"a": 1, "a": 2}', "key 'a' twice in one object"),
        (b"[NaN]", "NaN is not a finite number"),
        (b"[-Infinity]", "-Infinity is not a finite number"),
        (b"[1e999]", "1e999 is not a finite number"),
    ],
    ids=range(12),
)
def test_json_that_is_none_is_one_line(text: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(DamagedFileError) as caught:
        read_json(path, "make it again")
    assert str(caught.value) == f"{path}: invalid JSON ({why}); make it again"


def test_json_that_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"name": "\U0001f600", "n": -(2**63) + 1}).encode())
    assert read_json(path, "make it again") == {"name": "\U0001f600", "n": -(2**63) + 1}
    assert parse("[" * 64 + "]" * 64)
    assert [parse(text) for text in ("3", "-2.5e3", '"[[["', "null", "true")] == [3, -2500.0, "[[[", None, True]


def test_a_key_twice_among_very_many_is_found_at_once() -> None:
    text = "{" + ", ".join(f'"{i}": {i}' for i in range(50_000)) + ', "7": 1}'
    with pytest.raises(DamagedFileError, match="key '7' twice in one object"):
        parse(text)


@dataclass(frozen=True)
class Sized:
    """Any dataclass."""

    name: str
    width: int = 3
    parts: tuple[int, ...] = ()


FITTING: list[tuple[Any, Any, Any]] = [
    (1, int, 1),
    (1, float, 1.0),
    (None, float | None, None),
    ("x", Literal["x", "y"], "x"),
    ([1.0, 2], tuple[float, float], (1.0, 2.0)),
    (["a"], frozenset[str], frozenset({"a"})),
    ({"a": 1}, dict[str, int], {"a": 1}),
    ({"value": 1, "low": None, "high": 2.0}, Score, Score(1.0, None, 2.0)),
    ({"name": "a", "parts": [1, 2], "type": "Sized"}, Sized, Sized("a", 3, (1, 2))),
    ([[]], Any, [[]]),
]


@pytest.mark.parametrize(("value", "kind", "made"), FITTING)
def test_data_of_a_type_become_it(value: Any, kind: Any, made: Any) -> None:
    assert conform(value, kind) == made


@pytest.mark.parametrize(
    ("value", "kind", "line"),
    [
        (True, int, "expected a whole number, not true"),
        (True, float, "expected a number, not true"),
        (1.5, int, "expected a whole number, not 1.5"),
        ("1", int, 'expected a whole number, not "1"'),
        (1, str, "expected text, not 1"),
        (["x"], Literal["x", "y"], "expected one of 'x' or 'y', not [\"x\"]"),
        ([1.0], tuple[float, float], "item 1 is missing"),
        ([1, 2, 3], tuple[float, float], "expected 2 items, not [1, 2, 3]"),
        ({"a b": {"c": [1, "2"]}}, dict[str, dict[str, list[int]]], '["a b"].c[1]: expected a whole number, not "2"'),
        ({"a": []}, dict[str, str | int], "a: expected text or a whole number, not []"),
        ([], dict[str, int], "expected an object, not []"),
        ({}, Sized, "no 'name'"),
        ({"name": "a", "parts": [1, None]}, Sized, "parts[1]: expected a whole number, not null"),
        ("x" * 99, int, f'expected a whole number, not "{"x" * 39}...'),
    ],
    ids=range(14),
)
def test_data_of_another_type_are_one_line(value: Any, kind: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        conform(value, kind, "a.json", "make it again")
    assert str(caught.value) == f"a.json: {line}; make it again"


CARD = {"name": "a", "digest": "0", "dim": 3, "frames": 1, "size": 8, "mean": [0, 0, 0], "std": [1, 1, 1]}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"mean": [0, 0]}, "mean: item 2 is missing"),
        ({"dim": "3"}, 'dim: expected a whole number, not "3"'),
        ({"resize": "no"}, "resize: expected one of 'shorter' or 'square', not \"no\""),
        ({"mood": 1}, "unknown card field 'mood': the file was written by a newer version"),
    ],
)
def test_a_card_is_held_to_its_fields(change: dict[str, Any], line: str) -> None:
    assert Card.from_data({**CARD, "type": "Card"}).mean == (0.0, 0.0, 0.0)
    with pytest.raises(UserError) as caught:
        Card.from_data({**CARD, **change})
    assert str(caught.value) == line
