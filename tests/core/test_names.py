"""The rule for the identity of names: what is one, what is two, what is found and what is refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitascope.core.names import NameIndex, alike_notes, both, canonical, folded, loose, split_of

FORMS = ("NFC", "NFD")
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@given(TEXT, st.sampled_from(FORMS))
def test_a_name_is_itself_in_either_form_and_with_space_around(name: str, form: str) -> None:
    assert canonical(f" {unicodedata.normalize(form, name)}\t") == canonical(name)
    assert canonical(canonical(name)) == canonical(name)
    assert folded(canonical(name)) == folded(name)


@given(st.lists(TEXT, min_size=1, max_size=6))
def test_nothing_is_lost_or_merged(names: list[str]) -> None:
    index = NameIndex(names)
    assert [index.find(name) for name in names] == names, "exact names are always found, whatever is beside them"
    assert not index.by_case
    distinct = {canonical(name) for name in names}
    notes = alike_notes(sorted(distinct), "labels")
    assert bool(notes) == (len({folded(name) for name in distinct}) < len(distinct))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("temp+", "temp-"),
        ("Open", "open"),
        ("\u0915\u093f", "\u0915\u093e"),  # two vowel signs
        ("\u0e01\u0e34", "\u0e01\u0e35"),
        ("caf\u00e9", "cafe"),
        ("\ufb01n", "fin"),
        ("x\u00b2", "x2"),
        ("a_b", "a b"),
        ("don't", "dont"),
    ],
)
def test_labels_that_are_two(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)
    assert NameIndex([one, other]).find(one) == one
    assert NameIndex([other, one]).find(one) == one


def test_what_is_found_and_how() -> None:
    index = NameIndex(["caf\u00e9.mp4", "Clip01.MP4", "\ufb01n"])
    assert index.find("cafe\u0301.mp4") == "caf\u00e9.mp4"
    assert not index.by_case, "the same text in another normal form needs no note"
    assert index.find("clip01.mp4") == "Clip01.MP4"
    assert index.find("fin") == "\ufb01n"
    assert index.by_case == {"clip01.mp4": "Clip01.MP4", "fin": "\ufb01n"}
    assert index.find("clip02.mp4") is None


def test_what_fits_two_is_refused_with_both() -> None:
    index = NameIndex(["CLIP.mp4", "clip.MP4"])
    with pytest.raises(ValueError, match=r"^here: 'Clip\.mp4' fits both 'CLIP\.mp4' and 'clip\.MP4'; rename one"):
        index.find("Clip.mp4", "here")
    assert both("caf\u00e9", "cafe\u0301") == r"'caf\xe9' and 'cafe\u0301'"


def test_loose_spelling_keeps_what_is_part_of_a_letter() -> None:
    assert loose("Beta_(not gamma)") == loose("beta not gamma") == "beta not gamma"
    assert loose("don't") == loose("dont")
    assert loose("\u0915\u093f") != loose("\u0915\u093e")
    assert loose("cafe\u0301") == loose("caf\u00e9") != loose("cafe")


@pytest.mark.parametrize(
    ("word", "split"),
    [("Train", "train"), ("VALIDATION", "val"), ("eval", "val"), ("dev ", "val"), ("testing", "test"), ("tram", "")],
)
def test_words_for_splits(word: str, split: str) -> None:
    assert split_of(word) == split
