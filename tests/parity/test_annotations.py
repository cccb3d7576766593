"""The real annotation files: read whole, with the authors' counts, classes and order; the videos are elsewhere."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from helpers import required
from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.datasets.readers import kinetics_lists
from vitascope.datasets.readers.annotation_files import ClassOrder, find_annotations, labels
from vitascope.datasets.readers.video_files import Footage, LabeledVideo
from vitascope.datasets.splits import classes_only_in_test

Unpack = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("unchecked")
required("annotations", "the real annotation files")


@cache
def annotated(family: str, variant: str, root: Path) -> Dataset[int]:
    return import_module(f"vitascope.datasets.builders.{family}").annotated(variant, root)


@pytest.fixture(scope="module", autouse=True)
def _forgotten() -> Iterator[None]:
    """Millions of objects, which every later full collection of garbage would walk."""
    yield
    annotated.cache_clear()


def own_lines(path: Path) -> list[str]:
    return [line.rstrip("\r\n") for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


FACTS = {
    # archive, classes, train, test as published
    "ssv2": ("ssv2", 174, 168_913, 24_777),
    "diving48": ("diving48", 48, 15_027, 1_970),
    "epic/verb": ("epic100", 97, 67_217, 9_668),
    "epic/noun": ("epic100", 300, 67_217, 9_668),
    "epic/action": ("epic100", 3_806, 67_217, 9_668),
    "jester": ("jester", 27, 118_562, 14_787),
    "ucf101": ("ucf101", 101, 9_537, 3_783),
    "ucf101/1": ("ucf101", 101, 9_537, 3_783),
    "ucf101/2": ("ucf101", 101, 9_586, 3_734),
    "ucf101/3": ("ucf101", 101, 9_624, 3_696),
    "hmdb51": ("hmdb51", 51, 3_570, 1_530),
    "hmdb51/1": ("hmdb51", 51, 3_570, 1_530),
    "hmdb51/2": ("hmdb51", 51, 3_570, 1_530),
    "hmdb51/3": ("hmdb51", 51, 3_570, 1_530),
}


@pytest.mark.parametrize("name", FACTS)
def test_counts_and_classes(name: str, unpacked: Unpack) -> None:
    archive, classes, train, test = FACTS[name]
    family, _, variant = name.partition("/")
    dataset = annotated(family, variant, unpacked(archive))
    (fold,) = dataset.folds
    assert (dataset.name, len(dataset.classes)) == (name, classes)
    assert (
        (len(fold.train), len(fold.test))
        == (train, test)
        == tuple(dataset.official_counts[s] for s in ("train", "test"))
    )
    assert len(dataset.examples) == len(dataset.missing_files) == train + test
    assert not set(fold.train) & set(fold.test)
    assert len({e.truth for e in dataset.examples}) == classes - (name == "diving48") - 7 * (name == "epic/noun")
    groups = {e.id: e.group for e in dataset.examples}
    assert not ({groups[i] for i in fold.train} & {groups[i] for i in fold.test}) - {None}
    if family in ("ucf101", "hmdb51", "diving48", "epic"):
        assert None not in groups.values(), "the official split divides no group"


def test_only_epic_tests_what_it_does_not_train(unpacked: Unpack) -> None:
    found = {}
    for name, (archive, *_) in FACTS.items():
        family, _, variant = name.partition("/")
        dataset = annotated(family, variant, unpacked(archive))
        found[name] = len(
            classes_only_in_test({e.id: e.truth for e in dataset.examples}, dataset.folds[0], dataset.classes)
        )
    # 4 nouns, and 238 pairs of the 1,352 that are tested: 3,806 pairs less the 3,568 that are trained
    assert {name: count for name, count in found.items() if count} == {"epic/noun": 4, "epic/action": 3_806 - 3_568}


# ---------------------------------------------------------------------------------------------------- orders of classes


def test_orders_of_classes(unpacked: Unpack) -> None:
    kinetics_files, mit, ssv2 = unpacked("kinetics"), unpacked("moments_in_time"), unpacked("ssv2")
    assert list(labels("k400")) == own_lines(kinetics_files / "i3d_label_map_400.txt")
    assert list(labels("k600")) == own_lines(kinetics_files / "i3d_label_map_600.txt")
    assert list(labels("k700")) == sorted(own_lines(kinetics_files / "label_map_k700.txt"))
    assert list(labels("ssv2")) == own_lines(ssv2 / "label_map.txt")
    assert list(labels("mit")) == own_lines(mit / "mmaction_mit_label_map.txt")
    assert list(labels("mit_305")) == own_lines(mit / "category_momentsv2.txt")
    assert set(labels("mit_305")) < set(labels("mit"))
    assert list(labels("diving48")) == own_lines(unpacked("diving48") / "label_map.txt")
    assert list(labels("jester")) == own_lines(unpacked("jester") / "label_map.txt")
    assert list(labels("hmdb51")) == own_lines(unpacked("hmdb51") / "label_map.txt")
    numbered = [f"{i} {name}" for i, name in enumerate(labels("ucf101"), 1)]
    assert numbered == own_lines(unpacked("ucf101") / "classInd.txt")


def test_imagenet_is_numbered_by_sorted_synset(unpacked: Unpack) -> None:
    root = unpacked("imagenet")
    synsets, names = zip(*(line.split(" ", 1) for line in labels("in1k")), strict=True)
    assert list(synsets) == sorted(synsets) == own_lines(root / "imagenet_synsets.txt")
    index = json.loads((root / "imagenet_class_index.json").read_text(encoding="utf-8"))
    assert [index[str(i)][0] for i in range(1000)] == list(synsets)
    assert list(names) == json.loads((root / "imagenet-simple-labels.json").read_text(encoding="utf-8"))
    from vitascope.datasets.builders.in1k import KNOWN

    real = json.loads((root / "imagenet_real_labels.json").read_text(encoding="utf-8"))
    for image, truth in KNOWN.items():  # what people saw in these images, in the order of sorted synsets
        assert truth in real[int(image[-8:]) - 1]


def test_ssv2_numbers_follow_the_authors_and_not_the_list_beside_them(unpacked: Unpack) -> None:
    """The authors print how many videos their largest classes have, test side included; ours must be most of each."""
    printed = {
        "Putting something on a surface": 4_081,
        "Moving something up": 3_750,
        "Covering something with something": 3_530,
        "Pushing something from left to right": 3_442,
        "Moving something down": 3_242,
        "Pushing something from right to left": 3_195,
        "Uncovering something": 3_004,
        "Taking one of many similar things on the table": 2_969,
        "Turning something upside down": 2_943,
        "Tearing something into two pieces": 2_849,
        "Putting something into something": 2_783,
    }
    root = unpacked("ssv2")
    dataset = annotated("ssv2", "", root)
    counts = Counter(dataset.classes[e.truth] for e in dataset.examples)
    assert all(0.75 * total < counts[name] <= total for name, total in printed.items())
    beside = [line.replace("[", "").replace("]", "") for line in own_lines(root / "category.txt")]
    assert sorted(beside) == list(labels("ssv2")) != beside
    wrong = Counter(beside[e.truth] for e in dataset.examples)
    assert sum(0.75 * total < wrong[name] <= total for name, total in printed.items()) == 3  # those both number alike
    else_ = json.loads((root / "something_else_labels.json").read_text(encoding="utf-8"))
    assert set(else_) == set(labels("ssv2"))
    assert sorted(else_, key=lambda name: int(else_[name])) != list(labels("ssv2"))


def test_diving48_folders_in_lists_are_other_labels(unpacked: Unpack) -> None:
    lines = [
        line for n in ("train", "val") for line in own_lines(unpacked("diving48") / f"diving48_{n}_list_videos.txt")
    ]
    other = [line for line in lines if line.split("/")[0] != line.split()[-1]]
    assert len(lines) == 16_997
    assert 0.05 < len(other) / len(lines) < 0.6, "the folders are the labels of version 1"


# ------------------------------------------------------------------------------------------------------------- Kinetics


@pytest.mark.parametrize(("size", "rows"), [(400, 19_906), (600, 30_000)])
def test_kinetics_tables(size: int, rows: int, unpacked: Unpack) -> None:
    order = ClassOrder(labels(f"k{size}"))
    path = kinetics_lists.find_list(find_annotations(unpacked("kinetics")), size, "test")
    assert path.name == f"kinetics-{size}_val.csv"
    entries = kinetics_lists.read_official(path, "test", order)
    assert len(entries) == len({e.id for e in entries}) == rows
    assert {e.truth for e in entries} == set(range(size))
    with path.open(encoding="utf-8", newline="") as file:
        known = [row["label"] for row in csv.DictReader(file)]
    assert [order.classes[e.truth] for e in entries] == known


def test_kinetics_lists_that_count_as_in_k710(unpacked: Unpack, tmp_path: Path) -> None:
    root = unpacked("kinetics")
    nothing = Footage(tmp_path)

    def read(size: int) -> list[LabeledVideo]:
        path = root / f"uniformer_k{size}_val.csv"
        return kinetics_lists.read_numbered(
            path, "test", ClassOrder(labels(f"k{size}")), nothing, find_annotations(tmp_path)
        )

    with pytest.raises(ValueError, match=r"uniformer_k400_val.csv: nothing names the classes of its numbers"):
        read(400)
    with pytest.raises(ValueError, match=r":1: val_videos/feeding_fish/.* has number 0, which is 'abseil"):
        read(600)
    own = tmp_path / "label_map.txt"
    own.write_text("\n".join(labels("k400")), encoding="utf-8")
    assert len(read(400)) == 19_787  # were the order ours
    own.write_text((root / "label_map_k710.txt").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"class 0 is 'riding a bike', but 'abseiling' in the official order"):
        read(400)


def test_kinetics_few_shot_lists_of_videoprism_count_as_we_do(unpacked: Unpack) -> None:
    """An independent numbering of the same classes."""
    for side in ("train", "test"):
        rows = json.loads((unpacked("kinetics") / f"k400_{side}_10shot.json").read_text(encoding="utf-8"))
        order = ClassOrder(labels("k400"))
        assert len(rows) == 4_000
        assert all(order.index(row["label"], "x") == row["label_idx"] for row in rows)


# ----------------------------------------------------------------------------------------------------------------- EPIC


def test_epic_detection_tables_are_the_official_ones(unpacked: Unpack) -> None:
    """Where both are at hand they name the same actions, within a frame or two of 1/30 s."""
    root = unpacked("epic100")
    dataset = annotated("epic", "verb", root)
    by_id = dataset.by_id()
    rows = [row for name in ("EPIC_100_validation", "EPIC_100_uda_source_train") for row in table(root / f"{name}.csv")]
    assert len(rows) == 9_668 + 16_115
    for row in rows:
        example = by_id[row["narration_id"]]
        span = [seconds(row[column]) for column in ("start_timestamp", "stop_timestamp")]
        assert example.truth == int(row["verb_class"])
        assert example.span == pytest.approx(span, abs=0.07)
    ends = {row["video_id"]: float(row["duration"]) for row in table(root / "EPIC_100_video_info.csv")}
    assert all(e.span is not None and e.span[1] < ends[str(e.group)] + 1 for e in dataset.examples)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def seconds(text: str) -> float:
    return sum(float(part) * unit for part, unit in zip(text.split(":"), (3600, 60, 1), strict=True))


def test_epic_pairs_are_products_of_their_parts(unpacked: Unpack) -> None:
    root = unpacked("epic100")
    pairs, verbs, nouns = (annotated("epic", variant, root) for variant in ("action", "verb", "noun"))
    assert {pairs.key} == {verbs.key, nouns.key}
    assert pairs.factor_classes == (verbs.classes, nouns.classes)
    of_verb, of_noun = pairs.factors
    assert list(zip(of_verb, of_noun, strict=True)) == sorted(set(zip(of_verb, of_noun, strict=True)))
    for pair, verb, noun in zip(pairs.examples, verbs.examples, nouns.examples, strict=True):
        assert (of_verb[pair.truth], of_noun[pair.truth]) == (verb.truth, noun.truth)
    assert all(
        name == f"{verbs.classes[v]} {nouns.classes[n]}"
        for name, v, n in zip(pairs.classes, *pairs.factors, strict=True)
    )


def test_charades_label_sets_are_the_classes_of_all_actions(unpacked: Unpack, tmp_path: Path) -> None:
    source = unpacked("charades_ego")
    assert [f"c{i:03} {name}" for i, name in enumerate(labels("charades"))] == own_lines(
        source / "Charades_v1_classes.txt"
    )
    with open(source / "CharadesEgo_v1_test_only1st.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for side, part in (("train", rows[::2]), ("test", rows[1::2])):
        with open(tmp_path / f"Charades_v1_{side}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(part)
    truth = {e.id: e.truth for e in annotated("charades", "", tmp_path).examples}
    expected = {r["id"]: {int(a[1:4]) for a in r["actions"].split(";") if a} for r in rows}
    assert {i: set(t) for i, t in truth.items()} == expected
    assert sum(len(t) for t in truth.values()) > 2 * len(truth)


def test_excerpts_of_ava(unpacked: Unpack, tmp_path: Path) -> None:
    source = unpacked("ava")
    copies = {
        "ava_sample.csv": "ava_train_v2.2.csv",
        "mmaction_eval_gt.csv": "ava_val_v2.2.csv",
        "ava_excluded_timestamps_sample.csv": "ava_train_excluded_timestamps_v2.2.csv",
        "ava_action_list_v2.1_for_activitynet_2018.pbtxt.txt": "ava_action_list_v2.1_for_activitynet_2018.pbtxt.txt",
    }
    for name, copy in copies.items():
        shutil.copy(source / name, tmp_path / copy)
    dataset = annotated("ava", "", tmp_path)
    train, test = (fold := dataset.folds[0]).train, fold.test
    assert (train, len(test)) == (("0f39OWEqJ24@0902",), 3)
    (actor,) = dataset.examples[0].truth.actors
    assert (actor.box, [dataset.classes[label] for label in actor.labels]) == (
        (0.031, 0.162, 0.670, 0.995),
        ["stand", "carry/hold (an object)", "talk to (e.g., self, a person, a group)"],
    )
    rows = [line.split(",") for line in own_lines(source / "mmaction_eval_gt.csv")]
    # action 2 is not evaluated
    assert {e.group: len(e.truth.labels) for e in dataset.examples[1:]} == Counter(r[0] for r in rows if r[6] != "2")


def test_data_of_ones_own_in_the_form_of_ava_is_not_ava(unpacked: Unpack, tmp_path: Path) -> None:
    source = unpacked("ava")
    for name in ("ava_train_v2.2.csv", "ava_val_v2.2.csv"):
        shutil.copy(source / f"custom_avaformat_{name}", tmp_path / name)
    with pytest.raises(UserError, match="keyframe 1 of 'IMG_0110' is none of AVA's"):
        annotated("ava", "", tmp_path)
    shutil.copy(source / "custom_avaformat_ava_action_list_v2.2.pbtxt", tmp_path / "ava_action_list_v2.2.pbtxt")
    with pytest.raises(UserError, match="class 1 is 'Incubation', but 'bend/bow"):
        annotated("ava", "", tmp_path)
