"""JSON from files, held to declared types: what is wrong is one line that says where, what is there and what belongs.

`parse` takes text that is well-formed beyond doubt, `conform` the content that is of a type: any of Python's own, a
dataclass, a named tuple. Objects become dataclasses, arrays tuples; nothing is converted from one type to another.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from vitascope.core.errors import DamagedFileError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MAX_DEPTH = 64
"""Brackets within brackets; what people write has fewer than ten."""
TOO_DEEP = f"more than {MAX_DEPTH} brackets in brackets"
MAX_WHOLE = (1 << 63) - 1
HIDDEN = {code: 0x100000 + code for code in range(0xD800, 0xE000)}
"""Letters for private use in place of lone surrogates, which pydantic's parser refuses."""
SHOWN_AGAIN = {private: code for code, private in HIDDEN.items()}
SHOWN = 40
"""Letters of a wrong value that are shown."""
LIST, OBJECT, WHOLE, NUMBER = "a list", "an object", "a whole number", "a number"
OBJECT_OF_ANYTHING = dict[str, Any]
"""Of this type is every object of JSON, so that a large one need not be gone through."""
WORDS = {
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), LIST),
    **dict.fromkeys(("dict_type", "mapping_type", "dataclass_type", "model_type", "arguments_type"), OBJECT),
    **dict.fromkeys(("int_type", "int_from_float", "int_parsing", "int_parsing_size"), WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), NUMBER),
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "none_required": "null",
}
"""What must be there, by pydantic's types of errors."""


def parse(
    text: bytes | str, where: str = "", remedy: str = "", *, finite: bool = True, surrogates: bool = False
) -> Any:
    """Return the content of JSON text from the place `where`; DamagedFileError, with the remedy, for what is none.

    Refused is also what parsers read differently or nobody can use: a key twice in one object, NaN and Infinity, whole
    numbers beyond 64 bits, lone surrogates, and more than `MAX_DEPTH` brackets in brackets. Without `finite`, NaN and
    Infinity are numbers, as in what a training writes of itself. With `surrogates`, lone ones are letters, as in names
    of files that are not UTF-8.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        content = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_finite if finite else float,
        )
        if "\\u" in text and not surrogates:
            json.dumps(content, ensure_ascii=False).encode()
        _check_depth(content)
        return content
    except json.JSONDecodeError as error:
        why = f"{error.msg}, line {error.lineno}"
    except UnicodeDecodeError as error:
        why = f"not UTF-8: {error.reason} at byte {error.start}"
    except UnicodeEncodeError:
        why = "a lone surrogate, which is no letter"
    except RecursionError:
        why = TOO_DEEP
    except ValueError as error:
        why = str(error)
    raise _damaged(where, f"invalid JSON ({why})", remedy)


def _damaged(where: str, line: str, remedy: str) -> DamagedFileError:
    return DamagedFileError("; ".join(filter(None, (": ".join(filter(None, (where, line))), remedy))))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"key {twice!r:.{SHOWN}} twice in one object")
    return made


def _whole(text: str) -> int:
    value = int(text) if len(text) <= SHOWN else MAX_WHOLE + 1
    if abs(value) > MAX_WHOLE:
        raise ValueError(f"{text[:SHOWN]} is beyond 64 bits")
    return value


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:SHOWN]} is not a finite number")
    return value


def _check_depth(content: Any) -> None:
    level, depth = [content] if isinstance(content, (dict, list)) else [], 0
    while level:
        if (depth := depth + 1) > MAX_DEPTH:
            raise ValueError(TOO_DEEP)
        inner = (part for of in level for part in (of.values() if isinstance(of, dict) else of))
        level = [part for part in inner if isinstance(part, (dict, list))]


def conform(content: Any, schema: Any, where: str = "", remedy: str = "") -> Any:
    """Return `content`, plain data, as a `schema`; DamagedFileError `where: place: expected X, not Y; remedy`.

    The fields of an object that a dataclass does not declare are left out.
    """
    if schema == OBJECT_OF_ANYTHING and isinstance(content, dict):
        return content
    from pydantic import ValidationError

    try:
        text = json.dumps(content)
        hidden = "\\ud" in text and _has_lone_surrogates(content)
        made = _adapter(schema).validate_json(json.dumps(_mapped(content, HIDDEN)) if hidden else text, strict=True)
        return _mapped(made, SHOWN_AGAIN) if hidden else made
    except ValidationError as error:
        line = _first_line(error.errors(include_url=False), content)
    except RecursionError:
        line = TOO_DEEP
    raise _damaged(where, line, remedy)


def _has_lone_surrogates(content: Any) -> bool:
    try:
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _mapped(value: Any, letters: Mapping[int, int]) -> Any:
    """Plain data, or what `conform` makes of it, with letters exchanged in all text."""
    if isinstance(value, str):
        return value.translate(letters)
    if isinstance(value, dict):
        return {_mapped(key, letters): _mapped(part, letters) for key, part in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = [_mapped(part, letters) for part in value]
        return value._make(parts) if hasattr(value, "_make") else type(value)(parts)
    if is_dataclass(value):
        changed = copy(value)
        for f in fields(value):
            object.__setattr__(changed, f.name, _mapped(getattr(value, f.name), letters))
        return changed
    return value


@cache
def _adapter(schema: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(schema)


def _first_line(errors: Sequence[Any], content: Any) -> str:
    """The first error in words: its place, what must be there and what is."""
    path, value = _place(errors[0]["loc"], content)
    kind, place = errors[0]["type"], _path(path)
    if kind.startswith("missing"):
        last = errors[0]["loc"][-1]
        return ": ".join(filter(None, (place, f"item {last} is missing" if isinstance(last, int) else f"no {last!r}")))
    same = (error for error in errors if _place(error["loc"], content)[0] == path)
    wanted = " or ".join(dict.fromkeys(map(_wanted, same)))
    if kind == "value_error":
        return ": ".join(filter(None, (place, str(errors[0]["ctx"]["error"]))))
    return ": ".join(filter(None, (place, f"expected {wanted}, not {_shown(value)}")))


def _place(loc: Iterable[int | str], content: Any) -> tuple[tuple[int | str, ...], Any]:
    """The steps of a location that the content has, and what is there; pydantic also names members of unions."""
    steps: list[int | str] = []
    for step in loc:
        inside = isinstance(content, dict) and step in content
        if inside or (isinstance(content, list) and isinstance(step, int) and step < len(content)):
            steps, content = [*steps, step], content[step]
    return tuple(steps), content


def _path(steps: Iterable[int | str]) -> str:
    """A place in the file: `folds[0].name`, `per_class["a b"].value`."""
    text = ""
    for step in steps:
        if isinstance(step, str) and step.isidentifier():
            text += f".{step}" if text else step
        else:
            text += f"[{step if isinstance(step, int) else json.dumps(step, ensure_ascii=False)}]"
    return text


def _wanted(error: Any) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "literal_error":
        return f"one of {context['expected']}"
    if kind in ("too_long", "too_short"):
        return f"{context.get('max_length', context.get('min_length'))} items"
    return WORDS.get(kind) or str(error["msg"]).removeprefix("Input should be ")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
