"""What is printed cannot steer the terminal; JSON stays JSON."""

from __future__ import annotations

import io
import json
import sys

import pytest
import rich.table
from hypothesis import given
from hypothesis import strategies as st

from vitascope.cli.options import Console
from vitascope.core.terminal import harmless, plain_streams, raw

STEERING = "\x1b[31m\x1b]0;title\x07\x9b2J\u202e\u2066\x7f\x00\u200b\ud800"


def test_steering_characters_are_escapes() -> None:
    assert harmless(STEERING) == (r"\u001b[31m\u001b]0;title\u0007\u009b2J\u202e\u2066\u007f\u0000\u200b\ud800")
    assert harmless("swipe ← 日本語 é\u200d\xa0\n\ttwo") == "swipe ← 日本語 é\u200d\xa0\n\ttwo"


@given(st.text())
def test_json_stays_the_same_json(text: str) -> None:
    shown = harmless(json.dumps({text: [text]}, ensure_ascii=False))
    assert json.loads(shown) == {text: [text]}
    assert all(c.isprintable() or c in "\u200c\u200d\xa0\n\t" for c in harmless(text))


def test_print_and_the_logger_write_harmless_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = sys.stdout, sys.stderr
    with plain_streams():
        print("a", STEERING)
        print(STEERING, file=sys.stderr)
        print("\rhalf \r", end="", file=sys.stderr)
        sys.stdout.writelines([STEERING])
        print("\r\x1b[2K50 %", file=raw(sys.stderr))
        assert sys.stdout.isatty() is False
    assert (sys.stdout, sys.stderr) == streams
    done = capsys.readouterr()
    assert done.out == f"a {harmless(STEERING)}\n{harmless(STEERING)}"
    assert done.err == f"{harmless(STEERING)}\n\rhalf \\r\r\x1b[2K50 %\n"


def test_consoles_paint_but_what_they_show_does_not() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=200, highlight=False)
    console.print("[green]pass[/] \x1b[31mred\u202e")
    table = rich.table.Table("name", box=None)
    table.add_row("\x1b[31mred")
    console.print(table)
    assert "\x1b[32mpass\x1b[0m \\u001b[31mred\\u202e" in out.getvalue()
    assert "\x1b[31m" not in out.getvalue()
