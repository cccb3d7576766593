"""Numbers, intervals, shares and durations as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vitascope.core.types import Score


def number(value: float) -> str:
    """One decimal and a true minus sign."""
    return f"{value:.1f}".replace("-0.0", "0.0").replace("-", "−")


def signed(value: float) -> str:
    """As `number`, with its sign."""
    text = number(value)
    return text if text.startswith("−") or text == "0.0" else f"+{text}"


def tick(value: float) -> str:
    """A round number at an axis."""
    return f"{value:g}".replace("-", "−")


def interval(score: Score) -> str:
    """`[61.9, 65.2]`, or nothing where no interval was drawn."""
    return "" if score.low is None or score.high is None else f"[{number(score.low)}, {number(score.high)}]"


def valued(score: Score) -> str:
    """Value and interval."""
    return f"{number(score.value)} {interval(score)}".strip()


def span(bounds: tuple[float, float]) -> str:
    """From the lowest to the highest."""
    return "–".join(map(number, bounds))


def percent(score: Score) -> str:
    """The value alone, for a sentence."""
    return f"{number(score.value)}\N{NO-BREAK SPACE}%"


def margin(found: Score) -> str:
    """A difference and its interval, signed."""
    if found.low is None or found.high is None:
        return signed(found.value)
    return f"{signed(found.value)} [{signed(found.low)}, {signed(found.high)}]"


def p_value(p: float) -> str:
    """A p-value as people read it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def shown(name: str) -> str:
    """A name on one visible line: control characters and lone surrogates written out."""
    kept = "\u200c\u200d\N{NO-BREAK SPACE}"
    return "".join(c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in name)


def lasted(seconds: float) -> str:
    """A duration to three digits or so."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def share(part: float) -> str:
    """A share that is not the whole, in percent, and never rounded up to it."""
    return f"{number(min(100 * part, 99.9))} %"


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` when a known word is close, else an empty string: the tail of an error message."""
    import difflib

    close: Sequence[str] = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
