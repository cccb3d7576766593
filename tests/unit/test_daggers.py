"""The daggers of the report's tables follow from what our cards say that each model met in pretraining.

A dagger: the model's pretraining held the benchmark's training set. The report marks Kinetics-400 for every video model
trained on Kinetics, SSv2 for V-JEPA, MiT and SSv2 for InternVideo2, ActivityNet for InternVideo2.
"""

from __future__ import annotations

import pytest

from vitascope import catalogue

VIDEO = ("umt/base-s2", "umt/large-s2", "vjepa/large", "vjepa/huge", "internvideo2/1b-s2")
OWN = ("twlv/base-published", "twlv/large-published")
MASKED = ("videomae/large-pt", "mvd/large-pt", "hiera/large-mae", "omnimae/large")
OTHERS = (*MASKED, "videoprism/base", "videoprism/large")
SEEN = {
    "k400": {*VIDEO, *OWN, "videomae/large-pt", "mvd/large-pt", "hiera/large-mae"},
    "ssv2": {"vjepa/large", "vjepa/huge", "internvideo2/1b-s2", "omnimae/large"},
    "mit": {"internvideo2/1b-s2"},
    "diving48": set(),
    "epic": set(),
    "activitynet": {"internvideo2/1b-s2"},
}
TABLES = {
    "table 3, linear and attentive probing": ((*VIDEO, *OWN, "dfn/h14"), ("k400", "mit", "ssv2", "diving48", "epic")),
    "table 5, V-JEPA's attentive probing": ((*VIDEO, *OWN, *OTHERS), ("k400", "ssv2")),
    "table 6, nearest neighbours": ((*VIDEO, *OWN, "dfn/h14"), ("k400", "ssv2")),
    "table 10, ActivityNet": ((*VIDEO, *OWN, "dfn/h14"), ("activitynet",)),
}


@pytest.mark.parametrize("table", TABLES)
def test_the_daggers_of_the_report(table: str) -> None:
    models, datasets = TABLES[table]
    cards = catalogue.cards()
    found = {(model, data) for model in models for data in datasets if data in cards[model].saw}
    assert found == {(model, data) for model in models for data in datasets if model in SEEN[data]}


def test_what_is_seen_is_told_in_words_too() -> None:
    words = {"k400": ("K400", "K710", "Kinetics"), "ssv2": ("SSv2",), "mit": ("MiT",), "activitynet": ("ActivityNet",)}
    for name, card in catalogue.cards().items():
        for data, said in words.items():
            named = any(word in card.trained for word in said)
            assert (data in card.saw) <= named, f"{name} saw {data}, its card tells {card.trained!r}"
