"""ImageNet-1k: photographs of 1,000 classes, numbered by sorted synset; images are in folders by synset."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from vitascope.core.errors import UserError
from vitascope.core.media import is_clutter, kind_of
from vitascope.core.types import Dataset, Example, Fold
from vitascope.datasets.readers.annotation_files import (
    AnnotationFiles,
    ClassOrder,
    dataset_folder,
    find_annotations,
    labels,
    numbered_lines,
    read_table,
)
from vitascope.datasets.readers.video_files import store_key

VARIANTS: dict[str, str] = {"": "ImageNet-1k (ILSVRC2012): 1,000 classes of images, appearance"}
OFFICIAL_COUNTS = {"train": 1_281_167, "test": 50_000}
PARENTS = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "images", "ILSVRC2012", "imagenet")
FOLDERS = {"train": ("train", "ILSVRC2012_img_train"), "val": ("val", "validation", "ILSVRC2012_img_val")}
KIT = "ILSVRC2012_validation_ground_truth.txt"
KNOWN = {"ILSVRC2012_val_00000002": 970, "ILSVRC2012_val_00000003": 230, "ILSVRC2012_val_00000004": 809}
"""Class indices of three images, which distinguish the order of sorted synsets from that of the development kit."""


def build(variant: str, root: Path | None = None) -> Dataset[int]:
    """ImageNet-1k in folder `root`, trained on train and tested on val. `UserError` if its files are missing."""
    root = dataset_folder("in1k", variant, VARIANTS, root)
    synsets, classes = zip(*(line.split(" ", 1) for line in labels("in1k")), strict=True)
    number = {synset: i for i, synset in enumerate(synsets)}
    train = list(_by_synset(_folder(root, "train"), number))
    val, missing = _validation(root, _folder(root, "val"), number)
    for side, examples in (("train", train), ("val", val)):
        if not examples:
            raise UserError(f"{_folder(root, side)}: no images; expected folders by synset, e.g. {synsets[0]}/")
    ids = tuple(e.id for e in train), tuple(e.id for e in val)
    if len({*ids[0], *ids[1]}) < len(ids[0]) + len(ids[1]):
        repeated, _ = Counter((*ids[0], *ids[1])).most_common(1)[0]
        raise UserError(f"{root}: two images are named {repeated!r}; remove one")
    return Dataset(
        name="in1k",
        key=store_key("in1k", root),
        examples=(*train, *val),
        classes=classes,
        folds=(Fold(name="train/val", train=ids[0], test=ids[1]),),
        axis="appearance",
        missing_files=missing,
        root=str(root),
        official_counts=OFFICIAL_COUNTS,
    )


def _folder(root: Path, side: str) -> str:
    candidates = [root / parent / name for parent in PARENTS for name in FOLDERS[side]]
    path = next((path for path in candidates if path.is_dir()), None)
    if path is None:
        raise UserError(f"{root}: no folder of {side} images; expected {candidates[0]} with a folder for each synset")
    return str(path)


def _by_synset(top: str, number: Mapping[str, int]) -> Iterator[Example[int]]:
    """The images in folders by synset, in order of name. Reads directories only: there are over a million files."""
    for synset in sorted(_folders(top)):
        if synset not in number:
            raise UserError(f"{top}/{synset}: not one of the 1,000 synsets of ILSVRC2012")
        for name in sorted(_images(f"{top}/{synset}")):
            front = os.path.splitext(name)[0]
            yield Example(id=front, path=f"{top}/{synset}/{name}", truth=number[synset])


def _folders(top: str) -> list[str]:
    with os.scandir(top) as entries:
        return [e.name for e in entries if not is_clutter(e.name) and e.is_dir()]


def _images(top: str) -> list[str]:
    with os.scandir(top) as entries:
        return [e.name for e in entries if kind_of(e.name) == "image" and not is_clutter(e.name)]


def _validation(root: Path, top: str, number: Mapping[str, int]) -> tuple[list[Example[int]], dict[str, str]]:
    """The validation images, in folders by synset or in one folder with a list of labels; and those missing."""
    if _folders(top):
        return list(_by_synset(top, number)), {}
    place = find_annotations(
        root, "ILSVRC", "ImageSets/CLS-LOC", "ILSVRC/ImageSets/CLS-LOC", "ILSVRC2012_devkit_t12/data"
    )
    truths = _validation_labels(place, number)
    files = {os.path.splitext(name)[0]: name for name in _images(top)}
    examples = [Example(id=i, path=f"{top}/{files.get(i, f'{i}.JPEG')}", truth=truth) for i, truth in truths.items()]
    return examples, {i: f"no {i} in {top}" for i in truths if i not in files}


def _validation_labels(place: AnnotationFiles, number: Mapping[str, int]) -> dict[str, int]:
    """The class index of each validation image, from the table of synsets or a list of indices by sorted synset."""
    if (path := place.find("LOC_val_solution.csv")) is not None:
        return {
            row["ImageId"]: _synset(row, where, number)
            for where, row in read_table(path, "ImageId", "PredictionString")
        }
    path = place.find("val.txt", "val_map.txt")
    if path is None:
        if (kit := place.find(KIT)) is not None:
            raise UserError(
                f"{kit}: classes are in the order of the development kit; add val.txt (image, index by sorted synset) "
                "or LOC_val_solution.csv, or sort the images into folders by synset"
            )
        path = place.require(
            "list of the val images, which are not in folders by synset", "val.txt", "LOC_val_solution.csv"
        )
    listed = numbered_lines(path, ClassOrder(tuple(number)))
    truths = {os.path.splitext(os.path.basename(file))[0]: truth for _, file, truth in listed}
    for image, truth in KNOWN.items():
        if truths.get(image, truth) != truth:
            raise UserError(
                f"{path}: {image} is class {truths[image]}, but {truth} by sorted synset; use a list in that order"
            )
    return truths


def _synset(row: Mapping[str, str], where: str, number: Mapping[str, int]) -> int:
    synset = row["PredictionString"].partition(" ")[0]
    if synset not in number:
        raise UserError(f"{where}: {synset!r} is not one of the 1,000 synsets of ILSVRC2012")
    return number[synset]
