"""Format numbers, intervals, percentages and durations as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitascope.core.types import Score

MAX_NAME, MAX_NAMES = 200, 10_000
"""Length and number of the names that are searched for a similar one."""


def number(value: float) -> str:
    """`value` with one decimal and a typographic minus sign."""
    return f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−")


def signed(value: float) -> str:
    """`number(value)` with an explicit plus sign."""
    text = number(value)
    return text if text.startswith("−") or text == "0.0" else f"+{text}"


def tick(value: float) -> str:
    """The label of an axis tick."""
    return f"{value:g}".replace("-", "−")


def interval(score: Score) -> str:
    """The interval of a score, `[61.9, 65.2]`; empty if it has none."""
    return "" if score.low is None or score.high is None else f"[{number(score.low)}, {number(score.high)}]"


def with_interval(score: Score) -> str:
    """The value of a score and its interval, if any."""
    return f"{number(score.value)} {interval(score)}".strip()


def number_range(bounds: tuple[float, float]) -> str:
    """A range of values, `low–high`."""
    return "–".join(map(number, bounds))


def percent(score: Score) -> str:
    """The value of a score in percent, without its interval."""
    return f"{number(score.value)}\N{NO-BREAK SPACE}%"


def margin(difference: Score) -> str:
    """A signed difference and its interval, if any."""
    if difference.low is None or difference.high is None:
        return signed(difference.value)
    return f"{signed(difference.value)} [{signed(difference.low)}, {signed(difference.high)}]"


def p_value(p: float) -> str:
    """A p-value to three decimals, `p < 0.001` below that."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def escaped(name: str) -> str:
    """`name` on one line, with control characters and lone surrogates as escape sequences."""
    allowed = "\u200c\u200d\N{NO-BREAK SPACE}"
    return "".join(c if c.isprintable() or c in allowed else c.encode("unicode_escape").decode() for c in name)


def format_duration(seconds: float) -> str:
    """A duration in seconds, minutes or hours to about three digits."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def rough_duration(seconds: float) -> str:
    """A duration in the largest unit of which it has at least two, for estimates."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "< 1 s"


def file_size(size: int) -> str:
    """A number of bytes with a decimal prefix."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if value >= 10 or units[0] == "B" else f"{value:.1f} {units[0]}"


def compact(value: float) -> str:
    """A number of any size to three digits, with k, M or G from 10,000 on."""
    for minimum, size, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= minimum:
            return f"{tick(float(f'{value / size:.3g}'))}\N{NO-BREAK SPACE}{unit}"
    return tick(float(f"{value:.3g}"))


def share(part: float) -> str:
    """A fraction below 1 in percent, at most 99.9 %: never rounded up to 100 %."""
    return f"{number(min(100 * part, 99.9))} %"


def counted(count: int, one: str, many: str = "") -> str:
    """A number and its noun, such as `1 row` or `12 rows`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def whole_number(text: str) -> int | None:
    """The whole number written in `text`, of at most 18 digits; None for other text."""
    text = text.strip()
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdecimal() and len(digits) <= 18 else None


def clipped(text: str, length: int) -> str:
    """`text` with its middle left out if it is longer than `length`."""
    return text if len(text) <= length else f"{text[: length - 105]} ... {text[-100:]}"


def nearest(word: str, candidates: Iterable[str]) -> str:
    """The end of an error message: `; did you mean 'X'?` if one of `candidates` is close to `word`, else empty."""
    import difflib

    if len(word) > MAX_NAME:  # no name; comparing long texts takes minutes
        return ""
    names = [name for name in islice(candidates, MAX_NAMES) if len(name) <= MAX_NAME]
    close: Sequence[str] = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
