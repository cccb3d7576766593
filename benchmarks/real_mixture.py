"""A student of real teachers on real clips: fixes splits, and compares pupils, teachers and floors on held-out groups.

    python benchmarks/real_mixture.py prepare CLIPS OUT      # CLIPS/SET/manifest.csv with path, label, group, split
    vitascope pretrain real_tiny_mixture --set data=OUT/pretraining -o OUT/runs/mixture --teacher-cache 8
    python benchmarks/real_mixture.py evaluate OUT           # runs of OUT/runs, teachers and floors; reruns resume
    python benchmarks/real_mixture.py together OUT           # both teachers' vectors side by side, after that
    python benchmarks/real_mixture.py table OUT mixture      # accuracy on held-out groups, and paired differences

Videos of a group (a recording, a sequence) are never on both sides. A set without a split gets one: groups in the order
of a digest of their name, until three tenths of the videos are held out. Only the training side is pretrained on,
probes train on it, and all numbers are of the other side. Intervals resample groups, the same ones for all encoders.
"""

from __future__ import annotations

import csv
import hashlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vitascope.core.files import cache
from vitascope.core.types import digest
from vitascope.datasets.open import open_dataset
from vitascope.encoders.card_of import card_of
from vitascope.evaluation import evaluate as evaluation
from vitascope.evaluation import results
from vitascope.features.extraction_options import store_key
from vitascope.features.store import EmbeddedExample, Store
from vitascope.features.view import View
from vitascope.sampling.samplers import Uniform

HELD_OUT = 0.3
FLOORS = ("pixels/thumbnail", "pixels/motion-energy", "tiny/twlv1")
TEACHERS = ("efficientnet/lite0", "i3d/k400")
TOGETHER = "teachers, side by side"
PROBES = ("linear", "knn")
RESAMPLES = 10_000
UNIFORM = View(Uniform())
Array = np.ndarray[Any, Any]


def prepare(clips: Path, out: Path) -> None:
    """Write OUT/sets/SET/manifest.csv with a split by groups, and OUT/pretraining/SET/manifest.csv without labels."""
    for manifest in sorted(clips.glob("*/manifest.csv")):
        with open(manifest, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        held = _held_out(rows)
        kept = [row for row in rows if row["group"] not in held]
        name = manifest.parent.name
        side = {True: "test", False: "train"}
        labeled = [[r["path"], r["label"], r["group"], side[r["group"] in held]] for r in rows]
        _write(out / "sets" / name, manifest.parent, ["path", "label", "group", "split"], labeled)
        _write(out / "pretraining" / name, manifest.parent, ["path"], [[r["path"]] for r in kept])
        print(f"{name}: {len(kept)} videos to learn from, {len(rows) - len(kept)} in {len(held)} groups held out")


def _held_out(rows: list[dict[str, str]]) -> set[str]:
    """Groups of the test side."""
    if "split" in rows[0]:
        return {row["group"] for row in rows if row["split"] != "train"}
    groups = sorted({row["group"] for row in rows}, key=lambda g: hashlib.blake2b(g.encode()).digest())
    sizes = np.cumsum([sum(row["group"] == group for row in rows) for group in groups])
    return set(groups[: int(np.searchsorted(sizes, HELD_OUT * len(rows))) + 1])


def _write(folder: Path, clips: Path, header: list[str], rows: list[list[str]]) -> None:
    """Write a manifest whose paths, in the first column, go through a link to the clips."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "clips").is_symlink():
        (folder / "clips").symlink_to(clips.absolute())
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *([f"clips/{path}", *rest] for path, *rest in rows)])


def evaluate(out: Path, models: list[str]) -> None:
    """Score the exported encoders of OUT/runs, teachers and floors on the held-out groups of every set."""
    pupils = [str(path) for path in sorted((out / "runs").glob("*/model.safetensors"))]
    sets = [str(path.parent) for path in sorted((out / "sets").glob("*/manifest.csv"))]
    for model in models or [*FLOORS, *pupils, *TEACHERS]:
        asked = [word for probe in PROBES for word in ("-t", probe)]
        command = [sys.executable, "-m", "vitascope", "evaluate", *sets, "-m", model, *asked]
        subprocess.run([*command, "-o", str(out / "scores"), "-q"], check=True)


def together(out: Path) -> None:
    """Score the stored vectors of the teachers side by side, each scaled to length 1: what the pupils could know."""
    teachers = [card_of(name) for name in TEACHERS]
    parts, dim = digest([card.digest for card in teachers]), sum(card.dim for card in teachers)
    card = replace(
        teachers[0],
        name=TOGETHER,
        digest=parts,
        dim=dim,
        pool="side by side, each of length 1",
        framewise=False,
        pretraining_datasets=frozenset.union(*(card.pretraining_datasets for card in teachers)),
        params=sum(card.params for card in teachers),
        gflops=sum(card.gflops for card in teachers),
        license=" and ".join(card.license for card in teachers),
        trained=" and ".join(card.trained for card in teachers),
    )
    for folder in sorted(path.parent for path in (out / "sets").glob("*/manifest.csv")):
        dataset = open_dataset(folder)
        names = [example.id for example in dataset.examples]
        stored = [Store(cache(), store_key(dataset, teacher, UNIFORM)).read(names) for teacher in teachers]
        if any(len(rows.offsets) - 1 != len(names) or rows.offsets[-1] != len(names) for rows in stored):
            sys.exit(f"{folder}: not every video has a vector of every teacher; run the part evaluate first")
        each = [np.asarray(rows.values, np.float32) for rows in stored]
        vectors = np.hstack([rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in each])
        spans = [(float(start), float(end)) for start, end in stored[0].spans]
        store = Store(cache(), store_key(dataset, card, UNIFORM))
        store.create()
        if not store.status():
            rows = zip(names, vectors, spans, strict=True)
            store.add(parts, [EmbeddedExample(name, row[None], [span], [""]) for name, row, span in rows])
            store.seal()
        evaluation.evaluate(dataset, [card], PROBES, output=out / "scores")


def table(out: Path, reference: str) -> None:
    """Print accuracies of every encoder, their means, and how far `real/REFERENCE` or REFERENCE is above each."""
    correct, groups = _outcomes(out / "scores")
    cells = sorted({cell for by_cell in correct.values() for cell in by_cell})
    draws = {name: _weights(groups[name]) for name in groups}
    means = {model: _mean(by_cell, cells, draws) for model, by_cell in correct.items() if set(by_cell) == set(cells)}
    compared = means.get(f"real/{reference}", means.get(reference))
    if compared is None:
        sys.exit(f"{reference}: no such encoder; there are {', '.join(means)}")
    print("encoder", *(f"{name} {probe}" for name, probe in cells), "mean", f"{reference} above", sep=" | ")
    for model, resampled in sorted(means.items(), key=lambda pair: -pair[1][0]):
        scores = [f"{100 * correct[model][cell].mean():.1f}" for cell in cells]
        print(model, *scores, _interval(resampled), _interval(compared - resampled), sep=" | ")


def _outcomes(run: Path) -> tuple[dict[str, dict[tuple[str, str], Array]], dict[str, Array]]:
    """Right or wrong by model and (set, probe) in the order of the ids, and the group of every video by set."""
    correct: dict[str, dict[tuple[str, str], Array]] = {}
    groups: dict[str, Array] = {}
    for result in results.read(run):
        columns = results.read_predictions(run / "predictions" / Path(result.predictions).name)
        order = np.argsort(columns["id"])
        right = np.array(columns["outcome"])[order] / 100
        correct.setdefault(result.encoder, {})[result.dataset, result.probe] = right
        groups[result.dataset] = np.array(columns["group"])[order]
    return correct, groups


def _weights(groups: Array) -> Array:
    """How often each video is drawn: none resampled first, then groups drawn with replacement."""
    names, index = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    return np.vstack([np.ones(len(groups)), counts[:, index]])


def _mean(by_cell: Mapping[tuple[str, str], Array], cells: list[tuple[str, str]], draws: Mapping[str, Array]) -> Array:
    """Mean accuracy over the cells, in percent: of the videos as they are, then of every resample."""
    scores = [draws[name] @ by_cell[name, probe] / draws[name].sum(1) for name, probe in cells]
    mean: Array = 100 * np.mean(scores, axis=0)
    return mean


def _interval(values: Array) -> str:
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return f"{values[0]:.1f} [{low:.1f}, {high:.1f}]"


def main(arguments: list[str]) -> None:
    """Run one of the parts."""
    match arguments:
        case ["prepare", clips, out]:
            prepare(Path(clips), Path(out))
        case ["evaluate", out, *models]:
            evaluate(Path(out), models)
        case ["together", out]:
            together(Path(out))
        case ["table", out, reference]:
            table(Path(out), reference)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
