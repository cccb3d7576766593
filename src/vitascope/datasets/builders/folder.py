"""A user's own videos: a folder of class folders, or one with a list of paths and labels.

Untrimmed videos come with a JSON file in ActivityNet's format, or with `groundTruth/`, a label for every frame; people
in them with tables of boxes or COCO's JSON.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.files import read_json
from vitascope.core.media import kind_of, suffix
from vitascope.core.names import alike_notes, both, canonical
from vitascope.core.origins import content_origin, origin
from vitascope.core.text import nearest
from vitascope.core.truth import UNLABELED
from vitascope.core.types import Dataset, Example, digest
from vitascope.datasets import own_boxes
from vitascope.datasets.readers import activitynet_json, mstcn_labels
from vitascope.datasets.readers.annotation_files import PLACES
from vitascope.datasets.readers.class_folders import ClassFolders
from vitascope.datasets.readers.folder_lists import MANIFESTS, find_manifest, folder_list, labels_are_folders
from vitascope.datasets.readers.lerobot import is_lerobot, read_lerobot
from vitascope.datasets.readers.listing import VideoList, VideoRow, read_list
from vitascope.datasets.readers.packed import has_media, is_packed, packed_files, read_packed
from vitascope.datasets.readers.several_labels import with_label_sets
from vitascope.datasets.readers.shard_urls import list_shards
from vitascope.datasets.readers.tables import RECORDS, TEXT
from vitascope.datasets.readers.video_files import Footage, require_videos
from vitascope.datasets.recordings import with_recordings
from vitascope.datasets.splits import check_labels, make_folds

VARIANTS: dict[str, str] = {}
MANIFEST = MANIFESTS[0]
HEAD = 1000


def build(
    variant: str,
    root: Path | None = None,
    *,
    names: Iterable[str] = (),
    videos: Path | None = None,
    labeled: bool = True,
) -> Dataset[Any]:
    """The dataset in folder `root`, or of the list `root`. `names` of other datasets serve to correct a typo.

    Paths in a list are relative to its folder, or to the folder `videos`, and may not leave them. Raises `UserError` if
    the folder is empty, has a single class, or holds something that could be understood in two ways. Without `labeled`
    a single class will do, and videos in no class folder are of one.
    """
    root = _spelled(Path(variant if root is None else root))
    boxes = _boxes(root, videos)
    if boxes:
        return boxes
    temporal = temporal_dataset(root)
    if temporal and videos is None:
        return require_videos(temporal)
    packed = _packed(root, videos) if not temporal else []
    is_list = suffix(root.name) in TEXT | RECORDS and not root.is_dir() and root.exists() and not packed
    if not temporal and not root.is_dir() and not is_list and not packed:
        what = "not a folder" if root.exists() else f"no such folder{_nearest_name(root, names)}"
        wanted = (
            f"a folder of class folders, one with {MANIFEST}," if labeled else "a folder of videos, a list of them,"
        )
        raise UserError(f"{root}: {what}; give {wanted} or a dataset name")
    folder = root if root.is_dir() else packed_root(packed) if packed else root.parent
    roots = (folder,) if videos is None else (videos.expanduser(), folder)
    if packed or is_lerobot(root):
        unlabeled = "" if labeled else UNLABELED
        found = read_packed(folder, packed, unlabeled=unlabeled) if packed else read_lerobot(root)
        return _dataset(folder, with_label_sets(found, root), videos, labeled=labeled, place=root)
    listed = None if temporal else read_list(root, roots=roots) if is_list else folder_list(root, roots)
    if videos is not None and listed is None:
        raise UserError(f"{root}: only a list of paths needs the folder of its videos to be stated; leave out {videos}")
    no_labels = listed is None and not labels_are_folders(folder)
    if labeled and no_labels:
        raise UserError(f"{root}: README.md has drop_labels: true: folders are no labels; give a list with some")
    found = with_label_sets(listed, root) if listed else _class_folders(root)
    if not labeled and (no_labels or not found.rows):
        found = _without_labels(root)
    if not found.rows:
        raise UserError("; ".join([_no_videos(root), *found.notes]))
    return _dataset(folder, found, videos, labeled=labeled)


def _packed(root: Path, videos: Path | None) -> list[Path]:
    """The tar or Parquet files with videos that `root` is, contains or is a pattern of; empty if there are none."""
    if videos is not None:
        return []
    if root.is_dir():
        return [] if find_manifest(root) or is_lerobot(root) else packed_files(root)
    if root.exists():
        return [root] if is_packed(root.name) and has_media(root) else []
    if is_packed(root.name) and set("{*?[") & set(str(root)):
        return [Path(p) for p in list_shards((str(root),))]
    return []


def packed_root(files: Sequence[Path]) -> Path:
    """The folder of the videos that are packed into files."""
    return Path(os.path.commonpath([p.parent for p in files]))


def _boxes(root: Path, videos: Path | None) -> Dataset[Any] | None:
    """The dataset of a file of boxes, or of a folder with such files; None if there is none.

    `UserError` if the folder has another list of the videos, too.
    """
    folder, files = root, [root] if root.is_file() and own_boxes.is_boxes(root) else []
    if root.is_file():
        folder = root.parent.parent if root.parent.resolve().name.lower() in PLACES else root.parent
    elif root.is_dir():
        files = own_boxes.find_boxes(root)
    if not files:
        return None
    if root.is_dir() and (other := _other_list(root, files)):
        example = f"{root}/{files[0].relative_to(root)}"
        raise UserError(f"{root}: both {files[0].name} and {other} annotate the videos; give one file, as in {example}")
    where = folder if videos is None else videos.expanduser()
    return own_boxes.boxes_dataset(folder.resolve().name or "root", root, files, where)


def _other_list(root: Path, boxes: Sequence[Path]) -> str:
    """The name of an annotation file or folder in `root` besides those of boxes; empty if there is none."""
    manifest = find_manifest(root)
    if manifest and manifest not in boxes:
        return manifest.name
    if mstcn_labels.find_labels(root):
        return mstcn_labels.TRUTH
    actions = _action_lists(root)
    lists = None if actions or manifest else folder_list(root, (root,))
    return actions[0].name if actions else lists.layout if lists else ""


def _action_lists(root: Path) -> list[Path]:
    """The JSON files of actions in a folder."""
    return [p for p in sorted((*root.glob("*.json"), *root.glob("annotations/*.json"))) if _has_database(p)]


def temporal_dataset(root: Path) -> Dataset[Any] | None:
    """The dataset of a JSON file, or of a folder that contains temporal annotations; None if it has none.

    Videos may be missing. Temporal annotations beside a `manifest.csv` are ignored; give their file instead.
    """
    name = (root.parent if root.is_file() else root).resolve().name or "root"
    if root.is_file() and root.suffix.lower() == ".json":
        return activitynet_json.custom_dataset(name, root, Footage(root.parent))
    if not root.is_dir() or find_manifest(root):
        return None
    if mstcn_labels.find_labels(root):
        return mstcn_labels.custom_dataset(name, root)
    lists = _action_lists(root)
    if len(lists) > 1:
        raise UserError(f"{root}: both {lists[0].name} and {lists[1].name} list actions; give one of the files")
    return activitynet_json.custom_dataset(name, lists[0], Footage(root)) if lists else None


def _has_database(path: Path) -> bool:
    """True if a JSON file is in ActivityNet's format."""
    if not path.is_file():
        return False
    try:
        return "database" in read_json(path, "", dict[str, Any])
    except UserError:  # reading it tells why
        return b'"database"' in path.read_bytes()[:HEAD]


def _spelled(root: Path) -> Path:
    """The path as it is on disk, where its name may be in the other Unicode normal form."""
    if root.exists() or not root.parent.is_dir():
        return root
    return next((p for p in root.parent.iterdir() if canonical(p.name) == canonical(root.name)), root)


def _nearest_name(root: Path, names: Iterable[str]) -> str:
    """A hint at the dataset or the sibling folder with the most similar name."""
    siblings = [p.name for p in root.parent.iterdir() if p.is_dir()] if root.parent.is_dir() else []
    return nearest(root.name if siblings else str(root), [*siblings, *names])


def _class_folders(root: Path) -> VideoList:
    found = ClassFolders(root)
    found.read()
    notes = [*found.notes, *([f"ignored: {found.ignored}"] if found.ignored else [])]
    kinds = ", ".join(f"{len(paths)} {kind}" for kind, paths in found.kinds.items())
    return VideoList(tuple(found.rows), f"{found.layout}: {kinds}", tuple(notes))


def _without_labels(root: Path) -> VideoList:
    """All videos in a folder, as examples of one class."""
    paths = sorted(
        p.relative_to(root).as_posix() for p in root.rglob("*") if kind_of(p.name) == "video" and p.is_file()
    )
    rows = [VideoRow(path=path, file=str(root / path), label=UNLABELED) for path in paths]
    return VideoList(tuple(rows), f"videos without labels: {len(rows)}", ())


def _no_videos(root: Path) -> str:
    """The message for a folder without examples."""
    if not root.is_dir():
        return f"{root}: no videos; expected lines of path and label"
    files = [p.name for p in sorted(root.iterdir()) if p.is_file()]
    place = " in class folders" if any(map(kind_of, files)) else ""
    lists = [name for name in files if suffix(name) in TEXT | RECORDS]
    hint = f"; if {lists[0]} lists them, give it in place of the folder" if lists else ""
    return f"{root}: no videos{place}; expected {root}/<class>/<video> or {root}/{MANIFEST}{hint}"


def _dataset(
    root: Path, found: VideoList, videos: Path | None, *, labeled: bool, place: Path | None = None
) -> Dataset[Any]:
    """The dataset of the rows of a list; `place`: what was given, if it is not the folder `root`."""
    rows = found.rows
    classes = tuple(sorted({label for r in rows for label in (r.labels if r.labels is not None else (r.label,))}))
    if len(classes) < 2 and labeled:
        only = f"only one class, {classes[0]!r}" if classes else "no example has a label"
        raise UserError(f"{root}: {only}; at least two classes are required")
    number = {label: i for i, label in enumerate(classes)}
    _unique(rows, root)
    missing = {r.name: r.missing for r in rows if r.missing}
    if len(missing) == len(rows):
        raise UserError(f"{root}: none of the {len(rows)} listed videos exists; the first is {rows[0].path}")
    listed = tuple(_example(row, number) for row in rows)
    examples = listed if found.grouped else with_recordings(listed, Path(origin(str(root))))
    alike = alike_notes(classes, "labels")
    folds = make_folds(examples, [r.split for r in rows], classes, where=str(root))
    try:
        check_labels(listed, folds, classes, where=str(root))
    except UserError as error:  # a label in other capitals is the likely cause
        raise UserError("; ".join([str(error), *alike])) from None
    name = root.resolve().name or "root"
    where = str((place or root).resolve()) if videos is None else f"{root.resolve()}={videos.resolve()}"
    return Dataset(
        name=name,
        key=f"{name}-{digest(where)[:8]}",
        examples=examples,
        classes=classes,
        folds=folds,
        missing_files=missing,
        root=str(root if videos is None else videos),
        layout=found.layout,
        notes=(
            *found.notes,
            *alike,
            *alike_notes(dict.fromkeys(r.group for r in rows if r.group), "groups"),
        ),
    )


def _example(row: VideoRow, number: Mapping[str, int]) -> Example[Any]:
    truth, path = _truth(row, number), content_origin(row.file)
    return Example(id=row.name, path=path, truth=truth, span=row.span, group=row.group, fps=row.fps)


def _truth(row: VideoRow, number: Mapping[str, int]) -> int | tuple[int, ...]:
    return number[row.label] if row.labels is None else tuple(sorted(number[label] for label in row.labels))


def _unique(rows: Sequence[VideoRow], root: Path) -> None:
    """Raise `UserError` for two rows of one name, or a name that no table can hold."""
    listed: dict[str, VideoRow] = {}
    for row in rows:
        if row.name != row.name.encode(errors="replace").decode():
            raise UserError(f"{root}: the file name {row.name!r} is not UTF-8; rename the file")
        other = listed.setdefault(row.name, row)
        if other is not row and other.path != row.path and not row.id:
            raise UserError(f"{root}: {both(other.path, row.path)} are one name in two spellings; rename one file")
        if other is not row:
            raise UserError(f"{root}: {row.name!r} is listed twice; add an `id` column or remove one of the rows")
