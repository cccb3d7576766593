"""What can befall a file, drawn by a seed: bits, cuts, splices, and in JSON and text values of another kind or size."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ODD: list[Any] = [
    *(None, True, False, [], {}, "", "\u0000", "x" * 100_000, "\u202egnp.exe", "\x1b[31mred", "ü", [[]], {"a": 1}),
    *(0, -1, 1e308, -1e-308, 0.5, 2**31, 2**63, 2**70, -(2**63), 10**30, float("nan"), float("inf")),
    *("NaN", "-1", "1e999", "../../x", "/etc/passwd", "1", ["x"], [1, 2, 3]),
]
"""Values in place of another."""
WORDS = [b"\x00", b"\xff", b",", b";", b"\t", b"\n", b"\r", b'"', b"'", b"{", b"}", b"[", b"]", b"-1", b"nan", b"1e999"]
WORDS += [b"9" * 5000, b"\xef\xbb\xbf", b"\x1b[31m", "\u202e".encode(), b"\\ud800", b"A" * 70_000, b" " * 1000]


def mutate_bytes(data: bytes, draw: random.Random) -> bytes:
    """Flip bits, cut, delete, double, overwrite or fill a part, or put another thing in."""
    kind = draw.choice(("flip", "cut", "delete", "double", "zeros", "ones", "insert", "swap", "head", "empty"))
    first, second = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    second = min(second, first + draw.choice((1, 8, 64, 4096)))
    if kind == "flip":
        made = bytearray(data)
        for _ in range(draw.choice((1, 1, 8, 64))):
            made[draw.randrange(len(made))] ^= 1 << draw.randrange(8)
        return bytes(made)
    if kind == "head":  # where most formats say what is in them
        made = bytearray(data)
        for _ in range(draw.choice((1, 4))):
            made[draw.randrange(min(len(made), 256))] = draw.randrange(256)
        return bytes(made)
    new = {
        "cut": data[:first],
        "delete": data[:first] + data[second:],
        "double": data[:second] + data[first:],
        "zeros": data[:first] + bytes(second - first) + data[second:],
        "ones": data[:first] + b"\xff" * (second - first) + data[second:],
        "insert": data[:first] + draw.choice(WORDS) + data[first:],
        "swap": data[second:] + data[:second],
        "empty": b"",
    }
    return new[kind]


def mutate_json(data: bytes, draw: random.Random) -> bytes:
    """Put another value or another key somewhere, take something out, nest, repeat a key, or damage the text."""
    kind = draw.choice(("value", "value", "value", "value", "key", "delete", "nest", "repeat", "bytes", "bytes"))
    if kind == "bytes":
        return mutate_bytes(data, draw)
    content = json.loads(data)
    if kind == "nest":
        deep = draw.choice((3, 100, 900, 100_000))
        return (
            data.replace(b":", b": " + b"[" * deep + b"1" + b"]" * deep + b",", 1)
            if draw.random() < 0.3
            else (
                _replaced(content, draw, lambda _: f"@{deep}@")
                .encode()
                .replace(f'"@{deep}@"'.encode(), b"[" * deep + b"]" * deep)
            )
        )
    if kind == "repeat":
        return data.replace(b"{", b'{"name": 1, "name": 2, ', 1)
    if kind == "value":
        return _replaced(content, draw, lambda _: draw.choice(ODD)).encode(errors="surrogatepass")
    return _changed_keys(content, draw, delete=kind == "delete").encode(errors="surrogatepass")


def mutate_lines(data: bytes, draw: random.Random) -> bytes:
    """Mutate one line of JSON among several, or the whole."""
    lines = data.split(b"\n")
    filled = [i for i, line in enumerate(lines) if line.strip()]
    if draw.random() < 0.3 or not filled:
        return mutate_bytes(data, draw)
    i = draw.choice(filled)
    lines[i] = mutate_json(lines[i], draw)
    return b"\n".join(lines)


def mutate_text(data: bytes, draw: random.Random) -> bytes:
    """Put another word in place of a cell, drop or double a line, or damage the text."""
    kind = draw.choice(("cell", "cell", "cell", "drop", "double", "separator", "bytes"))
    lines = data.split(b"\n")
    i = draw.randrange(len(lines))
    if kind == "cell":
        for separator in (b",", b";", b" "):
            if separator in lines[i]:
                cells = lines[i].split(separator)
                odd = draw.choice(ODD)
                word = odd if isinstance(odd, str) else json.dumps(odd)
                cells[draw.randrange(len(cells))] = draw.choice((word.encode(errors="surrogatepass"), *WORDS))
                lines[i] = separator.join(cells)
                break
    elif kind == "drop":
        del lines[i]
    elif kind == "double":
        lines.insert(i, lines[i])
    elif kind == "separator":
        return data.replace(*draw.choice(((b",", b";"), (b",", b"\t"), (b" ", b"  "), (b"\n", b"\r"), (b"\n", b""))))
    else:
        return mutate_bytes(data, draw)
    return b"\n".join(lines)


def mutate_table(data: bytes, draw: random.Random) -> bytes:
    """Change values of a column of a Parquet file, its type, its name or its length; or damage the bytes."""
    kind = draw.choice(("value", "value", "value", "value", "column", "drop", "rename", "rows", "bytes"))
    if kind == "bytes":
        return mutate_bytes(data, draw)
    columns = pq.read_table(io.BytesIO(data)).to_pydict()
    name = draw.choice(list(columns))
    odd = draw.choice([-1, 0, 2**40, -(2**63), float("nan"), float("inf"), 1e300, 0.5, "", "x", None, "\x1b[31m"])
    if kind == "rows":
        columns = {key: values[:0] for key, values in columns.items()}
    elif kind == "drop":
        del columns[name]
    elif kind == "rename":
        columns[draw.choice(("", "ID", "outcome ", "top"))] = columns.pop(name)
    elif kind == "column":
        columns[name] = [odd for _ in columns[name]]
    else:
        row = draw.randrange(len(columns[name]))
        value = columns[name][row]
        columns[name][row] = draw.choice(([odd], [], [*value, odd], value[:-1])) if isinstance(value, list) else odd
    sink = io.BytesIO()
    try:
        pq.write_table(pa.table(columns), sink)
    except (pa.ArrowException, TypeError, OverflowError):  # two types in one column
        return mutate_bytes(data, draw)
    return sink.getvalue()


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every value inside: what holds it, and its key or position."""
    found, todo = [], [content]
    while todo:
        inner = todo.pop()
        pairs = list(inner.items()) if isinstance(inner, dict) else list(enumerate(inner))
        found += [(inner, key) for key, _ in pairs]
        todo += [value for _, value in pairs if isinstance(value, (dict, list))]
    return found


def _replaced(content: Any, draw: random.Random, new: Callable[[Any], Any]) -> str:
    places = _places(content) if isinstance(content, (dict, list)) else []
    if not places or draw.random() < 0.05:
        return json.dumps(new(content))
    holder, key = draw.choice(places)
    holder[key] = new(holder[key])
    return json.dumps(content)


def _changed_keys(content: Any, draw: random.Random, *, delete: bool) -> str:
    places = _places(content) if isinstance(content, (dict, list)) else []
    if not places:
        return json.dumps(draw.choice(ODD))
    holder, key = draw.choice(places)
    value = holder.pop(key)
    if not delete and isinstance(holder, dict):
        holder[draw.choice(("", "x", str(key).upper(), f"{key} ", "\x1b[31m", "\u202e"))] = value
    elif not delete:
        holder.append(value)
    return json.dumps(content)


MUTATORS = {
    "bytes": mutate_bytes,
    "json": mutate_json,
    "lines": mutate_lines,
    "text": mutate_text,
    "table": mutate_table,
}
