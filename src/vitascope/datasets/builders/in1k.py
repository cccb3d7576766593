"""ImageNet-1k: 1,000 kinds of things in photographs, numbered by sorted synset; images stand in folders by synset."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset, Example, Fold
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    folder,
    labels,
    listed,
    shelf,
    table,
)
from vitascope.datasets.readers.video_files import key

VARIANTS: dict[str, str] = {"": "ImageNet-1k (ILSVRC2012): 1,000 classes of images, appearance"}
PUBLISHED = {"train": 1_281_167, "test": 50_000}
PARENTS = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "images", "ILSVRC2012", "imagenet")
FOLDERS = {"train": ("train", "ILSVRC2012_img_train"), "val": ("val", "validation", "ILSVRC2012_img_val")}
IMAGES = (".jpeg", ".jpg", ".png")
KIT = "ILSVRC2012_validation_ground_truth.txt"
KNOWN = {"ILSVRC2012_val_00000002": 970, "ILSVRC2012_val_00000003": 230, "ILSVRC2012_val_00000004": 809}
"""Three images whose numbers tell the order of sorted synsets from that of the development kit."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """ImageNet-1k in folder `root`, trained on train and tested on val. ValueError where there is none."""
    root = folder("in1k", variant, VARIANTS, root)
    synsets, classes = zip(*(line.split(" ", 1) for line in labels("in1k")), strict=True)
    number = {synset: i for i, synset in enumerate(synsets)}
    trained = list(_by_synset(_folder(root, "train"), number))
    tested, absent = _tested(root, _folder(root, "val"), number)
    for side, found in (("train", trained), ("val", tested)):
        if not found:
            raise UserError(
                f"{root}: no image in {_folder(root, side)}; expected folders by synset, like {synsets[0]}/"
            )
    ids = tuple(e.id for e in trained), tuple(e.id for e in tested)
    if len({*ids[0], *ids[1]}) < len(ids[0]) + len(ids[1]):
        twice, _ = Counter((*ids[0], *ids[1])).most_common(1)[0]
        raise UserError(f"{root}: image {twice!r} is there twice; remove one")
    return Dataset(
        name="in1k",
        key=key("in1k", root),
        examples=(*trained, *tested),
        classes=classes,
        folds=(Fold(name="train/val", train=ids[0], test=ids[1]),),
        axis="appearance",
        missing_files=absent,
        root=str(root),
        official_counts=PUBLISHED,
    )


def _folder(root: Path, side: str) -> str:
    tried = [root / parent / name for parent in PARENTS for name in FOLDERS[side]]
    found = next((path for path in tried if path.is_dir()), None)
    if found is None:
        raise UserError(f"{root}: no folder of the {side} images; expected {tried[0]}, with a folder for each synset")
    return str(found)


def _by_synset(top: str, number: Mapping[str, int]) -> Iterator[Example[int]]:
    """Images of folders by synset, in order of names. Millions: nothing is asked of the disk but the names."""
    for synset in sorted(_folders(top)):
        if synset not in number:
            raise UserError(f"{top}/{synset}: none of the 1,000 synsets of ILSVRC2012")
        for name in sorted(_images(f"{top}/{synset}")):
            front = os.path.splitext(name)[0]
            yield Example(id=front, path=f"{top}/{synset}/{name}", truth=number[synset])


def _folders(top: str) -> list[str]:
    with os.scandir(top) as entries:
        return [e.name for e in entries if not e.name.startswith(".") and e.is_dir()]


def _images(top: str) -> list[str]:
    with os.scandir(top) as entries:
        return [e.name for e in entries if e.name.lower().endswith(IMAGES) and not e.name.startswith(".")]


def _tested(root: Path, top: str, number: Mapping[str, int]) -> tuple[list[Example[int]], dict[str, str]]:
    """Images of folders by synset; or all in one folder, with the list of what they are. And which are not there."""
    if _folders(top):
        return list(_by_synset(top, number)), {}
    place = shelf(root, "ILSVRC", "ImageSets/CLS-LOC", "ILSVRC/ImageSets/CLS-LOC", "ILSVRC2012_devkit_t12/data")
    truths = _listed(place, number)
    there = {os.path.splitext(name)[0]: name for name in _images(top)}
    tested = [Example(id=i, path=f"{top}/{there.get(i, f'{i}.JPEG')}", truth=truth) for i, truth in truths.items()]
    return tested, {i: f"no {i} in {top}" for i in truths if i not in there}


def _listed(place: AnnotationFiles, number: Mapping[str, int]) -> dict[str, int]:
    """What each image of the validation side is, by the table of synsets or a list of numbers by sorted synset."""
    if (path := place.find("LOC_val_solution.csv")) is not None:
        return {
            row["ImageId"]: _synset(row, where, number) for where, row in table(path, "ImageId", "PredictionString")
        }
    path = place.find("val.txt", "val_map.txt")
    if path is None:
        if (kit := place.find(KIT)) is not None:
            raise UserError(
                f"{kit}: counts classes as the development kit does; give val.txt (image, number by sorted synset), "
                "LOC_val_solution.csv, or sort the images into folders by synset"
            )
        path = place.need(
            "list of the val images, which are not in folders by synset", "val.txt", "LOC_val_solution.csv"
        )
    found = {
        os.path.splitext(os.path.basename(file))[0]: truth for _, file, truth in listed(path, ClassOrder(tuple(number)))
    }
    for image, truth in KNOWN.items():
        if found.get(image, truth) != truth:
            raise UserError(
                f"{path}: {image} is {found[image]} there and {truth} by sorted synset; it counts otherwise"
            )
    return found


def _synset(row: Mapping[str, str], where: str, number: Mapping[str, int]) -> int:
    synset = row["PredictionString"].partition(" ")[0]
    if synset not in number:
        raise UserError(f"{where}: {synset!r} is none of the 1,000 synsets of ILSVRC2012")
    return number[synset]
