"""Digests of the shipped protocols stay what they are, so that moving or renaming code cannot change them by accident.

A digest is of type names, field names and values; stored vectors and recorded results are found by it. When one has to
change, count up the version that it belongs to (a probe's `version`, `PIPELINE`) and write the table anew:

    python tests/architecture/test_digests.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vitascope.core.types import Clip, Dataset, Example, Fold, digest, plain
from vitascope.encoders.catalog import cards
from vitascope.encoders.weights.native_card import shipped_cards
from vitascope.features.store import Key
from vitascope.features.view import View
from vitascope.pretrain import find_recipe
from vitascope.probes.catalog import PROBES
from vitascope.sampling.names import parse

TABLE = Path(__file__).parents[1] / "fixtures" / "digests.json"
SAMPLERS = (
    "uniform",
    "uniform:ends",
    "multiclip:2",
    "views:3x4/4",
    "vjepa",
    "around:2/4",
    "reversed(uniform)",
    "shuffled(uniform)",
    "frozen(uniform)",
    "slowed(uniform)",
    "randomclip",
    "drawn(randomclip,8)",
)
DATASET: Dataset[int] = Dataset(
    name="set",
    examples=(
        Example(id="a", path="a.mp4", truth=0, group="g"),
        Example(id="b", path="b.mp4", truth=1, span=(0.5, 2.0)),
    ),
    classes=("x", "y"),
    folds=(Fold(name="0", train=("a",), test=("b",)),),
)


def digests() -> Mapping[str, Mapping[str, str]]:
    """Every digest of what is shipped, by kind and name."""
    known = {**cards(), **shipped_cards()}
    keys = {
        name: Key(dataset="set", card=card, sampler=parse("uniform"), reduce="clip", pipeline=1)
        for name, card in shipped_cards().items()
    }
    return {
        "probes": {name: digest(plain(PROBES.build(name))) for name in PROBES.names()},
        "samplers": {text: digest(plain(parse(text))) for text in SAMPLERS},
        "views": {text: digest(plain(View(parse(text), "grid", stored=False))) for text in SAMPLERS},
        "cards": {name: digest(card.behavior) for name, card in known.items()},
        "stores": {name: key.folder.name for name, key in keys.items()},
        "recipes": {name: recipe_digest(name) for name in find_recipe.names()},
        "data": {"dataset": DATASET.digest, "clip": digest(plain(Clip((0.0, 0.5), (0.0, 1.0))))},
    }


def recipe_digest(name: str) -> str:
    """The digest of a recipe without its sources, which hold the paths of files."""
    with TemporaryDirectory() as folder:
        for part in ("k710", "howto360k", "webvid10m", "coco", "sbu", "vg", "cc3m", "cc12m"):
            (Path(folder) / part).mkdir()
        recipe = find_recipe.find(name, {"data": folder} if name.startswith(("twlv1", "real_tiny")) else {})
    return digest({**plain(recipe), "data": []})


def test_digests_are_those_of_the_table() -> None:
    expected: dict[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    found = digests()
    assert found.keys() == expected.keys()
    for kind, table in found.items():
        assert {n: d for n, d in expected[kind].items() if table.get(n) != d} == {}, f"{kind}: changed or gone"
        assert not table.keys() - expected[kind].keys(), f"{kind}: new ones; add them to the table"


if __name__ == "__main__":
    TABLE.write_text(json.dumps(digests(), indent=1) + "\n", encoding="utf-8")
