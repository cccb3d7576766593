"""The daggers that the TWLV-I report prints follow from what our cards say that each model met in pretraining.

Its rule: a dagger where the pretraining held the data set of the column. Tables 3, 5, 6 and 10 are below as printed, a
sign for each cell: a dagger, a number without one, or no number. `OURS` is where our cards mark more, and why.
"""

from __future__ import annotations

import pytest

from vitascope.encoders.catalog import cards

MODELS = {
    "UMTs1 ViT-B": "umt/base-s1",
    "UMTs2 ViT-B": "umt/base-s2",
    "TWLV-I ViT-B": "twlv/base-published",
    "OmniMAE* ViT-L": "omnimae/large",
    "VideoMAE* ViT-L": "videomae/large-pt",
    "Hiera* Hiera-L": "hiera/large-mae",
    "MVD* ViT-L": "mvd/large-pt",
    "UMTs1 ViT-L": "umt/large-s1",
    "UMTs2 ViT-L": "umt/large-s2",
    "V-JEPA ViT-L": "vjepa/large",
    "TWLV-I ViT-L": "twlv/large-published",
    "DFN ViT-H": "dfn/h14",
    "V-JEPA ViT-H": "vjepa/huge",
    "InternVideo2 ViT-g": "internvideo2/1b-s2",  # table 6 does not say which stage
    "InternVideo2s1 ViT-g": "internvideo2/1b-s1",
    "InternVideo2s2 ViT-g": "internvideo2/1b-s2",
    "VideoPrism ViT-g": "videoprism/giant",
    "TWLV-I (+SSv2) ViT-L": "twlv/large-ssv2-published",
}
RECOGNITION = "k400 k400 mit mit ssv2 ssv2 diving48 diving48 epic epic mean in1k in1k"
COLUMNS = {
    "table 3": RECOGNITION,
    "table 5": RECOGNITION,
    "table 6": "k400 k400 k400 ssv2 ssv2 ssv2",
    "table 10": " ".join(["activitynet"] * 8),
}
PRINTED = {
    "table 3": {
        "UMTs1 ViT-B": ".............",
        "UMTs2 ViT-B": ".............",
        "TWLV-I ViT-B": ".............",
        "UMTs1 ViT-L": ".............",
        "UMTs2 ViT-L": ".............",
        "V-JEPA ViT-L": "....††.......",
        "TWLV-I ViT-L": ".............",
        "DFN ViT-H": ".............",
        "V-JEPA ViT-H": "....††.......",
        "InternVideo2s1 ViT-g": "..††††.......",
        "InternVideo2s2 ViT-g": "..††††.......",
        "TWLV-I (+SSv2) ViT-L": "....††.......",
    },
    "table 5": {
        "UMTs1 ViT-B": ".............",
        "UMTs2 ViT-B": ".............",
        "TWLV-I ViT-B": ".............",
        "OmniMAE* ViT-L": ".---.------.-",
        "VideoMAE* ViT-L": ".---.------.-",
        "Hiera* Hiera-L": ".---.------.-",
        "MVD* ViT-L": ".---.------.-",
        "UMTs1 ViT-L": ".............",
        "UMTs2 ViT-L": ".............",
        "V-JEPA ViT-L": "....††.......",
        "TWLV-I ViT-L": ".............",
        "DFN ViT-H": ".............",
        "V-JEPA ViT-H": "....††.......",
        "InternVideo2s1 ViT-g": "..††††.......",
        "InternVideo2s2 ViT-g": "..††††.......",
        "VideoPrism ViT-g": ".-.-.-.------",
        "TWLV-I (+SSv2) ViT-L": "....††.......",
    },
    "table 6": {
        "UMTs2 ViT-B": "......",
        "TWLV-I ViT-B": "......",
        "UMTs2 ViT-L": "......",
        "V-JEPA ViT-L": "...†††",
        "TWLV-I ViT-L": "......",
        "DFN ViT-H": "......",
        "V-JEPA ViT-H": "...†††",
        "InternVideo2 ViT-g": "......",
        "TWLV-I (+SSv2) ViT-L": "......",
    },
    "table 10": {
        "UMTs2 ViT-B": "........",
        "TWLV-I ViT-B": "........",
        "UMTs2 ViT-L": "........",
        "V-JEPA ViT-L": "........",
        "TWLV-I ViT-L": "........",
        "DFN ViT-H": "........",
        "V-JEPA ViT-H": "........",
        "InternVideo2s2 ViT-g": "††††††††",
    },
}
NOT_KINETICS = {"DFN ViT-H", "OmniMAE* ViT-L", "VideoPrism ViT-g"}
"""Images; SSv2 and ImageNet-1k, for all that the caption says; not told."""
OURS: dict[tuple[str, str], set[str]] = {
    # Captions: "all the pretraining dataset of video models includes Kinetics-400". So none of its cells is marked.
    **{
        (table, row): {"k400"}
        for table in ("table 3", "table 5", "table 6")
        for row in PRINTED[table]
        if row not in NOT_KINETICS
    },
    # Starred rows, whose numbers are V-JEPA's, have no daggers; OmniMAE was pretrained on SSv2 and ImageNet-1k.
    ("table 5", "OmniMAE* ViT-L"): {"ssv2", "in1k"},
    # Marked on SSv2 in tables 3 and 5, not in table 6.
    ("table 6", "InternVideo2 ViT-g"): {"k400", "ssv2"},
    ("table 6", "TWLV-I (+SSv2) ViT-L"): {"k400", "ssv2"},
}


@pytest.mark.parametrize(("table", "row"), [(table, row) for table, rows in PRINTED.items() for row in rows])
def test_the_daggers_of_the_report(table: str, row: str) -> None:
    saw, ours = cards()[MODELS[row]].pretraining_datasets, OURS.get((table, row), set())
    cells = list(zip(COLUMNS[table].split(), PRINTED[table][row], strict=True))
    assert ours <= {data for data, cell in cells if cell == "."}, "an exception that the report needs no more"
    expected = "".join("†" if cell == "." and data in ours else cell for data, cell in cells)
    assert "".join("-" if cell == "-" else "†" if data in saw else "." for data, cell in cells) == expected


def test_what_is_seen_is_told_in_words_too() -> None:
    words = {"k400": ("K400", "K710", "Kinetics"), "ssv2": ("SSv2",), "mit": ("MiT",), "activitynet": ("ActivityNet",)}
    for name, card in cards().items():
        for data, said in words.items():
            named = any(word in card.trained for word in said)
            assert (data in card.pretraining_datasets) <= named, f"{name} saw {data}, its card tells {card.trained!r}"
