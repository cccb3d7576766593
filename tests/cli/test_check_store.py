"""The command `check` on stores: what it prints, and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from endurance import stores
from vitascope.cli.main import app
from vitascope.core.errors import UserError


def check(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["check", *map(str, arguments)])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_a_rotten_store_is_named_repaired_and_then_whole(tmp_path: Path) -> None:
    store = stores.build(tmp_path)
    store.seal()
    assert check(tmp_path) == (0, f"lab/net on set: 60 examples hold\n    {store.folder}\n")
    (path,) = store.folder.glob("vectors-*")
    data = path.read_bytes()
    path.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
    code, said = check(tmp_path)
    assert code == 1
    assert f"    damaged: {path}: rows 0 to" in said
    assert said.endswith(
        f"next: vitascope check {tmp_path} --repair drops what does not hold; the next run embeds it again\n"
    )
    code, said = check(store.folder, "--repair")
    assert code == 0
    assert said.endswith("next: rerun `vitascope embed` or `vitascope evaluate`: what was dropped is embedded again\n")
    assert check(tmp_path, "--repair")[0] == check(tmp_path)[0] == 0


def test_json_and_several_stores(tmp_path: Path) -> None:
    first = stores.build(tmp_path)
    (first.folder.parent / "other" / "locks").mkdir(parents=True)
    (first.folder.parent / "other" / "key.json").write_text("no JSON")
    code, said = check(tmp_path, "--json")
    assert code == 1
    good, bad = sorted(json.loads(said), key=lambda r: len(r["problems"]))
    assert (good["examples"], good["problems"]) == (60, [])
    assert "invalid JSON" in bad["problems"][0]


def test_repair_is_for_stores(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no stored embeddings there; --repair is for stores"):
        check(tmp_path, "--repair")
