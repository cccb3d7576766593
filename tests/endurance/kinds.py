"""Every kind of file that is read: how a small valid one is made, and what reads it.

`make` writes the file, and all that belongs to it, into an empty folder and returns the file to be damaged; `read`
takes that file. `same` compares what is read with what was, for kinds whose damage is known to be found.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from fixtures.fake_run import fake_run
from fixtures.fake_training import fake_training
from helpers import FIXTURES, blob, write_video
from prototypes import annotated
from vitascope import report as reporting
from vitascope.core.arrays import read_arrays
from vitascope.core.content import local_copy
from vitascope.core.types import Card, Dataset, Example, Fold, Score, Segment, Timeline
from vitascope.datasets import precomputed
from vitascope.datasets.audit import file_journal
from vitascope.datasets.audit.file_probe import FileReport
from vitascope.datasets.open import open_annotations, open_dataset
from vitascope.datasets.readers import listing, tar_reader
from vitascope.datasets.readers.annotation_files import ClassOrder
from vitascope.datasets.readers.box_tables import read_boxes, read_frames
from vitascope.datasets.readers.coco_json import read_coco
from vitascope.datasets.readers.label_map import read_label_map
from vitascope.datasets.readers.packed import read_packed
from vitascope.datasets.readers.temporal_predictions import read_detections
from vitascope.encoders import golden, preprocessor_files
from vitascope.encoders import precomputed as released
from vitascope.encoders.weights import native, native_card
from vitascope.encoders.weights import reader as weights
from vitascope.evaluation import results
from vitascope.evaluation.scored_files.classes import read_class_scores
from vitascope.features.blocks import Shard, shard_records
from vitascope.features.imports.npy_folder import open_folder
from vitascope.metrics import prediction_columns
from vitascope.metrics.boxes import Boxes
from vitascope.metrics.frame_ap import HEADLINE
from vitascope.motionlab import making
from vitascope.pretrain import checkpoint
from vitascope.pretrain.monitoring import log as training_log
from vitascope.pretrain.targets.feature_cache import FeatureCache, clip_keys, read_segment
from vitascope.probes.temporal.external_scores import class_scores
from vitascope.report.analysis import leaderboard, ranking
from vitascope.report.charts import keyframe_selection, timeline_selection, track_selection


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    form: str
    """How it is damaged: `bytes`, `json`, `lines` of JSON, or `text`."""
    make: Callable[[Path], Path]
    read: Callable[[Path], Any]
    same: Callable[[Any, Any], bool] | None = None
    heavy: bool = False
    """Reading takes about a second: not in the short test."""


CARD = Card(
    name="lab/net", digest="00", dim=4, frames=0, size=0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), pool="as published"
)
TENSORS = {"a.weight": torch.arange(12.0).reshape(3, 4), "b.bias": torch.ones(5, dtype=torch.float16)}
TRUTHS: dict[str, Any] = {
    "recognition": (0, 1, 0, 1),
    "localization": ((Segment(0.0, 1.5, 0),), (Segment(1.0, 2.0, 1),), (), (Segment(0.0, 1.0, 0),)),
    "segmentation": tuple(Timeline(((0, 5), (1, 3 + i)), 10.0) for i in range(4)),
}


def write(path: Path, content: str | bytes | object) -> Path:
    """Write text, bytes, or anything else as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def dataset_of(kind: str) -> Callable[[Path], Path]:
    """A dataset.json of a task type."""

    def make(root: Path) -> Path:
        examples = tuple(Example(id=f"v{i}", path="", truth=t, duration=2.5) for i, t in enumerate(TRUTHS[kind]))
        folds = (Fold(name="a", train=("v0", "v1"), test=("v2", "v3")),)
        dataset: Dataset[Any] = Dataset(
            name="mine", examples=examples, classes=("run", "jump"), folds=folds, cards=(CARD,), kind=kind
        )  # type: ignore[arg-type]
        precomputed.write(root / "dataset.json", dataset)
        return root / "dataset.json"

    return make


def journal(root: Path) -> Path:
    """A journal of probed files."""
    reports = [FileReport(bytes=10, digest="00", kind="file", frames=3, seen=(1,), warnings=("x",)) for _ in range(3)]
    lines = [{"key": str(i), **{f: getattr(r, f) for f in r.__dataclass_fields__}} for i, r in enumerate(reports)]
    return write(root / "m.files.jsonl", "".join(json.dumps(entry) + "\n" for entry in lines))


def shard_record(root: Path) -> Path:
    """The record of a shard in its store."""
    examples = [Example(id=f"v{i}", path="", truth=0) for i in range(4)]
    Shard(1, 2).record(root, examples, examples[:2])
    return root / "shards" / "1-of-2.json"


def run_of(root: Path) -> Path:
    """Results of a made-up evaluation."""
    return fake_run(root, n=24) / results.RESULTS


def predictions(root: Path) -> Path:
    """Predictions of recognition and of localization in one table."""
    columns = {
        "id": ["a", "b"],
        "fold": [0, 1],
        "truth": [1, 0],
        "outcome": [100.0, 0.0],
        "top": [[1, 0], [0, 1]],
        "starts": [[0.0], []],
        "labels": [[1], []],
    }
    results.write_predictions(root / "p.parquet", columns)
    return root / "p.parquet"


def analyzed(kind: str, columns: dict[str, list[Any]]) -> Kind:
    """Predictions of a task type, read by all that the report makes of them."""

    def make(root: Path) -> Path:
        results.write_predictions(root / "p.parquet", columns)
        return root / "p.parquet"

    def read(path: Path) -> Any:
        settings = {"classes": ["run", "jump"], "probe": PROBE, "card": {"name": "x"}}
        metric = {"recognition": "top-1", "localization": "mAP", "segmentation": "mF1", "detection": HEADLINE}[kind]
        one = results.Result(
            encoder="x",
            dataset="d",
            probe="p",
            version=1,
            scores={metric: Score(50.0)},
            kind=kind,  # type: ignore[arg-type]
            settings=settings,
            protocol="0",
            n=2,
            expected=2,
            predictions=str(path),
        )
        return ranking.load_evidence(one), pictured(one)

    return Kind("table", make, read)


def pictured(one: results.Result) -> Any:
    """What the report draws of a result."""
    if one.kind == "detection":
        boxed = keyframe_selection.load(leaderboard.build([one]))
        return keyframe_selection.task_keyframes(boxed), track_selection.task_tracks(boxed)
    return None if one.kind == "recognition" else timeline_selection._encoder_videos("x", one)


PROBE = {"tiou_thresholds": [0.5], "style": "sound", "background": []}
BASIC: dict[str, list[Any]] = {"id": ["a", "b"], "fold": [0, 1], "group": ["g", ""], "label": ["run", "jump"]}
RECOGNIZED = {"truth": [1, 0], "outcome": [100.0, 0.0], "top": [[1, 0], [0, 1]], "score": [[0.6, 0.4], [0.7, 0.3]]}
LOCALIZED = prediction_columns.of_segments(
    [(Segment(0.0, 1.0, 0, 0.9), Segment(1.0, 2.0, 1, 0.4)), (Segment(0.5, 1.5, 1, 0.8),)],
    [(Segment(0.0, 1.2, 0),), (Segment(0.5, 1.0, 1), Segment(2.0, 3.0, 0))],
)
SEGMENTED = prediction_columns.of_labels(
    [np.array([0, 0, 1, 1]), np.array([1, 1, 0])], [Timeline(((0, 3), (1, 1)), 10.0), Timeline(((1, 3),), 10.0)]
)
DETECTED_BOXES = {
    **prediction_columns.of_boxes(
        Boxes(
            np.array([0, 1]), np.zeros(2), np.array([[0.1, 0.1, 0.5, 0.5]] * 2), np.array([0, 1]), np.array([0.9, 0.4])
        ),
        Boxes(np.array([0, 0]), np.zeros(2), np.array([[0.1, 0.1, 0.5, 0.6]] * 2), np.array([0, 1]), np.ones(2)),
        [[0.0], [0.0]],
    ),
    "path": ["a.mp4", "b.mp4"],
    "frame_rate": [0.0, 25.0],
    "true_tracks": [[0, 0], []],
}


def shipped(root: Path) -> Path:
    """The smallest encoder that comes with the package."""
    file = min(native_card.SHIPPED.glob("*.safetensors"), key=lambda p: p.stat().st_size)
    return Path(shutil.copy(file, root / "model.safetensors"))


def cached_features(root: Path) -> Path:
    """A segment of a teacher's features."""
    cache = FeatureCache(root, {"digest": "00"}, limit=1 << 30)
    clips = torch.arange(96, dtype=torch.uint8).reshape(2, 1, 4, 4, 3)
    cache.features(clip_keys(clips), lambda rows: [clips[rows].float()])
    cache.flush()
    return next(cache.folder.glob("*.safetensors"))


def carded(root: Path) -> Path:
    """The card of that encoder as text; it is put into a file of its own to be read."""
    return write(root / "card.json", _metadata(shipped(root)))


def _metadata(file: Path) -> str:
    from safetensors import safe_open

    with safe_open(file, framework="np") as opened:
        return str(opened.metadata()[native_card.KEY])


def read_carded(path: Path) -> Any:
    """The encoder of a file with the card as it is now."""
    file = path.parent / "carded.safetensors"
    text = path.read_bytes().decode(errors="replace")
    save_file({"a": torch.zeros(1)}, file, metadata={native_card.KEY: text})
    data = native_card.read_metadata(file)
    return native.shape_of(data.shape, data.network), Card.from_data(data.card)


def torch_file(root: Path, **how: Any) -> Path:
    """Weights as torch.save writes them."""
    torch.save({"model": TENSORS, "epoch": 3}, root / "w.pth", **how)
    return root / "w.pth"


def npz(root: Path) -> Path:
    """Arrays of two videos' scores."""
    np.savez_compressed(root / "s.npz", v0=np.array([0.5, 0.25]), v1=np.array([1.0, 0.0]))
    return root / "s.npz"


def safetensors(root: Path) -> Path:
    """Weights in safetensors."""
    save_file(TENSORS, root / "w.safetensors")
    return root / "w.safetensors"


def converted(root: Path) -> Path:
    """Weights that say that they were converted here."""
    metadata = {weights.FORMAT: json.dumps({"model": "vit/x", "architecture": {"dim": 3}})}
    save_file(TENSORS, root / "w.safetensors", metadata=metadata)
    return root / "w.safetensors"


def shards(root: Path) -> Path:
    """An index of two files."""
    for name, tensor in TENSORS.items():
        save_file({name: tensor}, root / f"{name[0]}.safetensors")
    return write(root / "w.safetensors.index.json", {"weight_map": {n: f"{n[0]}.safetensors" for n in TENSORS}})


def configured(root: Path) -> Path:
    """A folder of weights with a config.json."""
    safetensors(root).rename(root / "model.safetensors")
    return write(root / "config.json", {"model_type": "dinov2", "hidden_size": 48, "image_size": 70, "x": [1, {}]})


def fixtures(root: Path) -> Path:
    """An index of fixtures without their files."""
    return write(root / "index.json", (FIXTURES / "official_encoders" / "index.json").read_bytes())


def activitynet(root: Path) -> Path:
    """A user's own list of actions."""
    videos = {
        f"v{i}": {
            "subset": ("training", "testing")[i % 2],
            "duration": 10.0,
            "annotations": [{"segment": [i, i + 1.5], "label": ("run", "jump")[i % 3 == 0], "label_id": 3}],
        }
        for i in range(6)
    }
    return write(root / "a.json", {"version": "1", "database": videos, "taxonomy": []})


def excerpt(name: str, file: str) -> Kind:
    """Lines of authors' annotations that come with the tests; `file` is damaged."""

    def make(root: Path) -> Path:
        shutil.copytree(FIXTURES / "annotations" / name, root, dirs_exist_ok=True)
        return root / file

    family = {"epic100": "epic/verb", "kinetics": "k400"}.get(name, name)
    return Kind("text", make, lambda path: annotated(family, path.parent))


def coin(root: Path) -> Path:
    """COIN's list of videos."""
    record = {"class": "ReplaceBladeOfASaw", "recipe_type": 130, "subset": "training", "annotation": []}
    videos = {f"v{i}": {**record, "subset": ("training", "testing")[i % 2]} for i in range(4)}
    return write(root / "COIN.json", {"database": videos})


def timelines(file: str) -> Callable[[Path], Path]:
    """A folder of frame-wise labels."""

    def make(root: Path) -> Path:
        write(root / "mapping.txt", "0 walk\n1 run\n2 rest\n")
        write(root / "fps.txt", "15\n")
        for i in range(4):
            write(root / "groundTruth" / f"v{i}.txt", "walk\nwalk\nrun\nrest\n" * (i + 1))
        write(root / "splits" / "train.split1.bundle", "v0.txt\nv1.txt\n")
        write(root / "splits" / "test.split1.bundle", "v2.txt\nv3.txt\n")
        return root / file

    return make


def ssv2(root: Path) -> Path:
    """Something-Something V2 as JSON."""
    row = {"template": "Holding [something] next to [something]", "label": "holding a", "placeholders": ["a"]}
    write(root / "something-something-v2-validation.json", [{"id": "3", **row}])
    return write(root / "something-something-v2-train.json", [{"id": "1", **row}, {"id": "2", **row}])


def diving48(root: Path) -> Path:
    """Diving-48 as JSON."""
    dive = {"label": 20, "start_frame": 0, "end_frame": 100}
    write(root / "Diving48_V2_test.json", [{"vid_name": "b_0", **dive}])
    return write(root / "Diving48_V2_train.json", [{"vid_name": f"a_{i}", **dive} for i in range(3)])


def manifest(root: Path) -> Path:
    """A table of videos."""
    rows = [f"c/{i}.mp4,{'ab'[i % 2]},{('train', 'test')[i % 2]},{i},{i + 2.5},g{i},25,x{i}" for i in range(5)]
    return write(root / "manifest.csv", "\n".join(["path,label,split,start,end,group,fps,id", *rows]))


def tar(root: Path) -> Path:
    """A shard of videos with labels of both kinds."""
    with tarfile.open(root / "x.tar", "w", format=tarfile.PAX_FORMAT) as file:
        for name, content in (
            ("a.mp4", b"video" * 200),
            ("a.cls", b"3"),
            ("folder/" * 20 + "b.mp4", b"other"),
            ("folder/" * 20 + "b.json", b'{"label": 4}'),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return root / "x.tar"


def read_tar(path: Path) -> Any:
    """All samples of a shard."""
    with open(path, "rb") as file:
        return list(tar_reader.iter_samples(file, 0, frozenset({".mp4"}), labeled=True))


def video_table(root: Path) -> Path:
    """Videos in a Parquet file, as the hub's library writes them."""
    features = {"video": {"_type": "Video"}, "label": {"names": ["a", "b"], "_type": "ClassLabel"}}
    values = [{"bytes": b"video" * 9 + bytes([i]), "path": f"{i}.mp4"} for i in range(4)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"video": pa.array(values, kind), "label": [0, 1, 0, 1]})
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(about), root / "x.parquet", row_group_size=2)
    return root / "x.parquet"


def read_packed_videos(path: Path) -> Any:
    """The rows of a packed file, with the bytes of its videos."""
    rows = read_packed(path.parent, [path], unlabeled="none").rows
    return [(row.path, row.label, content_of(row.file)) for row in rows]


def content_of(address: str) -> bytes:
    """The bytes of a packed video."""
    with local_copy(address) as copy:
        return Path(copy).read_bytes()


def lerobot(file: str) -> Callable[[Path], Path]:
    """A LeRobot dataset of version 2, whose videos are empty."""

    def make(root: Path) -> Path:
        info: dict[str, Any] = {"codebase_version": "v2.1", "fps": 10, "chunks_size": 2, "splits": {"train": "0:4"}}
        info["features"] = {"cam": {"dtype": "video"}}
        info["video_path"] = "v/{episode_chunk}/{video_key}/{episode_index}.mp4"
        write(root / "meta/info.json", info)
        lines = [json.dumps({"episode_index": i, "tasks": ["ab"[i % 2]]}) for i in range(4)]
        write(root / "meta/episodes.jsonl", "\n".join(lines))
        for i in range(4):
            write(root / f"v/{i // 2}/cam/{i}.mp4", b"")
        return root / file

    return make


def release(file: str) -> Callable[[Path], Path]:
    """Two videos of released embeddings."""

    def make(root: Path) -> Path:
        for i in range(2):
            np.save(root / f"v{i}_c.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
            np.save(root / f"v{i}_v.npy", np.arange(3, dtype=np.float32))
            about = {"annotation": i, "duration": 4.0, "times": [[0, 2], [2, 4]]}
            write(root / f"v{i}.json", about)
        return root / file

    return make


def read_release(path: Path) -> Any:
    """All vectors of a release."""
    entries = list(released.read_entries(path.parent))
    return [(entry.label, released.vectors_of(entry)) for entry in entries]


def features(file: str) -> Callable[[Path], Path]:
    """A folder of features as ActionFormer has them."""

    def make(root: Path) -> Path:
        for i in range(3):
            np.save(root / f"v{i}.npy", np.ones((4 + i, 3), np.float32))
        write(root / "features.json", {"fps": 25, "stride": 4, "window": 16, "layout": "TxC"})
        return root / file

    return make


def read_features(path: Path) -> Any:
    """All vectors of a folder of features and their times."""
    found = open_folder(path.parent)
    example = Example(id="v0", path="", truth=(), duration=3.0)
    grid = found.grid_of(example)
    return [found.spans(p, len(found.vectors(p)), example, grid) for p in found.paths.values()]


def recorder(root: Path) -> Path:
    """The log of a made-up training."""
    fake_training(root, seeds=1, steps=800, every=200)
    return next(root.rglob("recorder.jsonl"))


def state(root: Path) -> Path:
    """The metadata of a checkpoint without files."""
    return write(root / checkpoint.STATE, {"step": 3, "seen": 24, "shape": {}, "card": {}, "files": {}, "data": [1]})


def marker(root: Path) -> Path:
    """The marker of a rendered suite."""
    return write(root / "suite.json", {"version": making.VERSION, "seed": 0, "digest": "0", "files": {"a.mp4": 3}})


def scores(root: Path) -> Path:
    """Class scores of two videos."""
    return write(root / "s.json", {"results": {"v0": [0.5, 0.5], "v1": {"run": 1.0}}})


def read_scores(path: Path) -> Any:
    """The scores of both videos."""
    return class_scores(str(path), ("run", "jump"), ("v0", "v1"))


def read_index(path: Path) -> Any:
    """The cases of an index, compared as far as their files allow."""
    cases = golden.index(path.parent)
    return [golden.compare_case(path.parent, golden.case_name(case, i), case) for i, case in enumerate(cases[:3])]


def processor(root: Path) -> Path:
    """A preprocessor file of transformers."""
    content = {
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "size": {"shortest_edge": 70},
    }
    return write(root / "preprocessor_config.json", content)


def read_processor(path: Path) -> Any:
    """The preprocessing of a folder."""
    return preprocessor_files.read(import_module("transformers"), path.parent, "dinov2", video=False)


def hugging_face(file: str) -> Callable[[Path], Path]:
    """A tiny model as transformers saves it."""

    def make(root: Path) -> Path:
        transformers = import_module("transformers")
        config = transformers.Dinov2Config(
            hidden_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8, mlp_ratio=2
        )
        transformers.Dinov2Model(config).save_pretrained(root)
        return root / file

    return make


def read_hugging_face(path: Path) -> Any:
    """The encoder in the folder of a file."""
    return import_module("vitascope.encoders.families.transformers").build(str(path.parent)).card


def same_tensors(found: Any, right: Any) -> bool:
    """Whether all tensors are bit for bit those that were written."""
    return list(found) == list(right) and all(torch.equal(found[name], right[name]) for name in right)


def same_arrays(found: Any, right: Any) -> bool:
    """Whether all arrays are those that were written."""
    return list(found) == list(right) and all(np.array_equal(found[name], right[name]) for name in right)


def array_pickle(root: Path) -> Path:
    """Arrays in nested dictionaries, pickled."""
    arrays = {name: tensor.numpy() for name, tensor in TENSORS.items()}
    return write(root / "w.ckpt", pickle.dumps({"params": arrays, "step": 3}, protocol=4))


def read_weights(path: Path) -> Any:
    """The content of a weight file."""
    return weights.read(path).content


BOXES = "v,0902,0.1,0.2,0.5,0.6,12,0.5\nv,0903,0,0,1,1,80,0.25\nw,0904\n"
NAMED_BOXES = "video,frame,xmin,ymin,xmax,ymax,action,track,score\nv,1,10,20,30,40,run,1,0.5\n"
LABEL_MAP = 'item {\n  name: "run"\n  id: 3\n}\nlabel {\n  name: "sit"\n  label_id: 4\n}\n'
DETECTIONS = '{"results": {"v": [{"label": "a", "score": 0.5, "segment": [0.0, 1.5]}]}}'
DETECTED = ClassOrder(("a", "b"))


def ava_table(root: Path) -> Path:
    """AVA's table of the training side, with the other side and the excluded keyframes beside it."""
    write(root / "ava_val_v2.2.csv", "w,0902,0.1,0.2,0.5,0.6,12,0\n")
    write(root / "ava_train_excluded_timestamps_v2.2.csv", "v,0903\n")
    table = "v,0902,0.1,0.2,0.5,0.6,12,0\nv,0903,0,0,1,1,80,1\nv,0904\n"
    return write(root / "ava_train_v2.2.csv", table)


COCO = {
    "videos": [{"id": 1, "name": "v", "fps": 10.0}],
    "images": [{"id": i, "video_id": 1, "frame_id": i, "file_name": f"v/{i}.jpg", "width": 48} for i in range(3)],
    "annotations": [{"image_id": i, "category_id": 4, "bbox": [1, 2.5, 20, 30], "track_id": 0} for i in range(2)],
    "categories": [{"id": 4, "name": "run"}],
}
OWN_BOXES = """video,frame,x1,y1,x2,y2,label,person,split,fps
v,0,1,2,30,40,run,a,train,10
w,3,4,2,30,40,run,b,val,
w,4,,,,,,,,
"""


def own_boxes(root: Path) -> Path:
    for i, name in enumerate("vw"):
        write_video(root / f"{name}.mp4", blob(i, i, 6))
    return write(root / "boxes.csv", OWN_BOXES)


def text_file(name: str, text: str) -> Callable[[Path], Path]:
    """A maker of a file with this text."""
    return lambda root: write(root / name, text)


KINDS: dict[str, Kind] = {
    **{f"dataset-{kind}": Kind("json", dataset_of(kind), lambda p: precomputed.read(p, store=p)) for kind in TRUTHS},
    "results": Kind("lines", run_of, lambda p: results.read(p.parent)),
    "report": Kind("lines", run_of, lambda p: reporting.write(p.parent), heavy=True),
    "predictions": Kind("bytes", predictions, results.read_predictions),
    "predictions-recognition": analyzed("recognition", {**BASIC, **RECOGNIZED}),
    "predictions-localization": analyzed("localization", {**BASIC, **LOCALIZED}),
    "predictions-segmentation": analyzed("segmentation", {**BASIC, **SEGMENTED}),
    "predictions-detection": analyzed("detection", {**BASIC, **DETECTED_BOXES}),
    "shard-record": Kind("json", shard_record, lambda p: shard_records(p.parents[1])),
    "journal": Kind("lines", journal, file_journal._read_journal),
    "encoder": Kind("bytes", shipped, lambda p: native.load(p).state_dict(), same_tensors),  # type: ignore[attr-defined]
    "teacher-features": Kind("bytes", cached_features, lambda p: len(read_segment(p)[1])),
    "card": Kind("json", carded, read_carded),
    "torch-zip": Kind("bytes", torch_file, read_weights),
    "torch-old": Kind("bytes", lambda root: torch_file(root, _use_new_zipfile_serialization=False), read_weights),
    "npz": Kind("bytes", npz, lambda p: read_arrays(p, "again"), same_arrays),
    "npz-weights": Kind("bytes", npz, read_weights),
    "array-pickle": Kind("bytes", array_pickle, read_weights),
    "safetensors": Kind("bytes", safetensors, read_weights),
    "converted": Kind("bytes", converted, read_weights),
    "shard-index": Kind("json", shards, read_weights),
    "config": Kind("json", configured, lambda p: weights.read(p.parent).config),
    "processor": Kind("json", processor, read_processor),
    "hf-config": Kind("json", hugging_face("config.json"), read_hugging_face, heavy=True),
    "hf-weights": Kind("bytes", hugging_face("model.safetensors"), read_hugging_face, heavy=True),
    "fixture-index": Kind("json", fixtures, read_index),
    "activitynet": Kind("json", activitynet, lambda p: open_annotations(str(p))),
    "ava": Kind("text", ava_table, lambda p: annotated("ava", p.parent)),
    "coin": Kind("json", coin, lambda p: annotated("coin", p.parent)),
    "ssv2": Kind("json", ssv2, lambda p: annotated("ssv2", p.parent)),
    "diving48": Kind("json", diving48, lambda p: annotated("diving48", p.parent)),
    "ssv2-list": excerpt("ssv2", "somesomev2_rgb_train_split.txt"),
    "diving48-list": excerpt("diving48", "diving48_train_list_videos.txt"),
    "epic-table": excerpt("epic100", "c2_training.csv"),
    "hmdb51-list": excerpt("hmdb51", "split1_train.txt"),
    "jester-table": excerpt("jester", "train.csv"),
    "ucf101-list": excerpt("ucf101", "trainlist01.txt"),
    "thumos14": replace(excerpt("thumos14", "thumos14.json"), form="json"),
    **{
        f"frame-labels-{Path(file).name}": Kind("text", timelines(file), lambda p: open_annotations(str(_root(p))))
        for file in ("mapping.txt", "fps.txt", "groundTruth/v1.txt", "splits/train.split1.bundle")
    },
    "manifest": Kind("text", manifest, listing.read_list),
    "tar": Kind("bytes", tar, read_tar),
    "tar-videos": Kind("bytes", tar, read_packed_videos),
    "video-table": Kind("bytes", video_table, read_packed_videos),
    "lerobot-info": Kind("json", lerobot("meta/info.json"), lambda p: open_dataset(p.parents[1])),
    "lerobot-episodes": Kind("lines", lerobot("meta/episodes.jsonl"), lambda p: open_dataset(p.parents[1])),
    "release-clips": Kind("bytes", release("v0_c.npy"), read_release),
    "release-video": Kind("bytes", release("v0_v.npy"), read_release),
    "release-json": Kind("json", release("v0.json"), read_release),
    "features": Kind("bytes", features("v0.npy"), read_features),
    "features.json": Kind("json", features("features.json"), read_features),
    "recorder": Kind("lines", recorder, lambda p: training_log.read(p.parent)),
    "checkpoint": Kind("json", state, lambda p: checkpoint.read_metadata(p.parent)),
    "suite": Kind("json", marker, lambda p: making._read(p, 0)),
    "scores": Kind("json", scores, read_scores),
    "box-table": Kind("text", text_file("boxes.csv", BOXES), read_boxes),
    "box-table-named": Kind("text", text_file("boxes.csv", NAMED_BOXES), read_boxes),
    "coco": Kind("json", text_file("a.json", json.dumps(COCO)), lambda p: read_coco(p, lambda _: False)),
    "own-boxes": Kind("text", own_boxes, lambda p: open_dataset(p)),
    "frame-list": Kind("text", text_file("frames.csv", "v,0902\nw,0903\n"), read_frames),
    "label-map": Kind("text", text_file("map.pbtxt", LABEL_MAP), read_label_map),
    "detections": Kind("json", text_file("found.json", DETECTIONS), lambda p: read_detections(p, DETECTED)),
    "detections-text": Kind("text", text_file("found.txt", "v 0 1 a 0.5\n"), lambda p: read_detections(p, DETECTED)),
    "class-table": Kind("text", text_file("a.csv", "id,a,b\nv,0.1,0.9\nw,1,0\n"), read_class_scores),
}
"""Every kind by name. A room that reads another kind adds it here."""


def _root(path: Path) -> Path:
    return path.parent if (path.parent / "mapping.txt").exists() else path.parent.parent
