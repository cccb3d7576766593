"""Charades: label sets of whole videos from the authors' tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitascope.datasets.builders.charades import annotated, build
from vitascope.datasets.label_sets import is_multilabel
from vitascope.datasets.readers.annotation_files import labels

HEAD = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"


def table(*rows: tuple[str, str, str]) -> str:
    return "\n".join([HEAD, *(f'{i},{s},Bedroom,7,7,Yes,"A, b.",bed,,{a},30.1' for i, s, a in rows)]) + "\n"


def charades(root: Path, actions: str = "c156 0.00 4.10;c000 1.00 2.00;c156 7.00 9.00") -> Path:
    (root / "annotations").mkdir()
    (root / "annotations" / "Charades_v1_train.csv").write_text(table(("AAAA1", "P1", actions), ("AAAA2", "P2", "")))
    (root / "annotations" / "Charades_v1_test.csv").write_text(table(("BBBB1", "P3", "c092 11.90 21.20")))
    for name in ("AAAA1", "BBBB1"):
        (root / f"{name}.mp4").write_bytes(b"x")
    return root


def test_label_sets(tmp_path: Path) -> None:
    dataset = build("", charades(tmp_path))
    assert is_multilabel(dataset)
    assert [e.truth for e in dataset.examples] == [(0, 156), (), (92,)]
    assert [e.group for e in dataset.examples] == ["P1", "P2", "P3"]
    assert dataset.missing_files.keys() == {"AAAA2"}
    assert dataset.classes[92] == "Watching/Looking outside of a window"


@pytest.mark.parametrize("actions", ["c157 0.0 1.0", "c01 0.0 1.0", "c001 0.0"])
def test_what_is_no_action(tmp_path: Path, actions: str) -> None:
    with pytest.raises(ValueError, match=r"Charades_v1_train.csv:2: (action|label)"):
        annotated("", charades(tmp_path, actions))


def test_other_classes_are_refused(tmp_path: Path) -> None:
    root = charades(tmp_path)
    own = [f"c{i:03} {name}" for i, name in enumerate(labels("charades"))]
    (root / "Charades_v1_classes.txt").write_text("\n".join(own))
    annotated("", root)
    (root / "Charades_v1_classes.txt").write_text("\n".join([*own[:5], "c005 Swimming", *own[6:]]))
    with pytest.raises(ValueError, match="class 5 is 'Swimming'"):
        annotated("", root)
