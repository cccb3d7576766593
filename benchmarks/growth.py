"""How cost grows: with workers, with the length of videos, with the size of stores and with the number of vectors.

    python benchmarks/growth.py [--json growth.json] [--parts store,knn] [--doc docs/cost.md]

Everything runs as processes; processor seconds and the most memory resident count, so that other work on the machine
matters little. A row that the JSON file has already is not measured again: killed, the same command goes on where it
was. `--doc` writes the tables between the markers of a page.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from commands import (
    FILES,
    HERE,
    VITASCOPE,
    Usage,
    compared,
    environment_with,
    export_task,
    measured,
    published_task,
    vector_tasks,
)

Row = dict[str, Any]
BEGIN, END = "<!-- growth -->", "<!-- end growth -->"
ENCODER = "pixels/motion-energy"
VIDEOS, SECONDS = 24, 20
"""Of the part `workers`: number and length of the videos."""


class Sizes(NamedTuple):
    """What is measured."""

    workers: Sequence[int] = (1, 2, 4)
    minutes: Sequence[int] = (1, 4, 16)
    stores: Sequence[int] = (10_000, 100_000, 1_000_000)
    vectors: Sequence[int] = (1_000, 10_000, 100_000)
    linear: Sequence[int] = (1_000, 10_000)
    exported: Sequence[int] = (1_000, 10_000, 100_000)


class Setup(NamedTuple):
    """Where files are kept, and how processes are started."""

    folder: Path
    environment: dict[str, str]
    repeat: int


class Part(NamedTuple):
    """One curve."""

    title: str
    columns: Mapping[str, str]
    """{name in a row: head of its column}."""
    sizes: Callable[[Sizes], Sequence[int]]
    measure: Callable[[Setup, int], Row]
    grows: str = ""
    """Column of which the exponent is stated."""


def child(setup: Setup, what: str, root: Path, *numbers: int) -> tuple[Row, Usage]:
    """Run a part of `growth_parts`: what it printed, and what it took."""
    script = [sys.executable, str(HERE / "growth_parts.py"), what, str(root), *map(str, numbers)]
    used = measured(script, setup.environment)
    return json.loads(used.output.splitlines()[-1]) or {}, used


def rendered(setup: Setup, name: str, count: int, seconds: int) -> Path:
    """Videos, written once."""
    root = setup.folder / name
    if not (root / "done").exists():
        child(setup, "videos", root / "videos", count, seconds)
        (root / "done").touch()
    return root


def embedded(setup: Setup, root: Path, view: str, workers: int) -> Usage:
    """Embed videos into a new store."""
    store = root / "store"
    command = [*VITASCOPE, "embed", str(root / "videos"), "-m", ENCODER, "--view", view, "--store", str(store)]
    return measured([*command, "--workers", str(workers), "-q"], setup.environment, store)


def with_workers(setup: Setup, workers: int) -> Row:
    """Clips a second with so many decoding processes, of the wall clock and of the processors."""
    root = rendered(setup, "workers", VIDEOS, SECONDS)
    used = embedded(setup, root, "multiclip:2", workers)
    clips = VIDEOS * SECONDS // 2
    return {"wall": clips / used.wall, "processor": clips / used.cpu, "peak": used.peak}


def with_length(setup: Setup, minutes: int) -> Row:
    """Peak memory of embedding videos of so many minutes; two of each class, as every dataset needs."""
    used = embedded(setup, rendered(setup, f"minutes{minutes}", 4, 60 * minutes), "multiclip:2", 1)
    return {"cpu": used.cpu, "peak": used.peak}


def of_store(setup: Setup, clips: int) -> Row:
    """Writing and reading a store of so many clips."""
    root = setup.folder / f"store{clips}"
    shutil.rmtree(root, ignore_errors=True)
    written, _ = child(setup, "store", root, clips)
    found, _ = child(setup, "open", root, clips)
    shutil.rmtree(root)
    milliseconds = {name: 1000 * found.pop(name) for name in ("first", "again")}
    return {"add": written["add"] + written["seal"], "written": written["peak"], **found, **milliseconds}


def with_vectors(prefix: str) -> Callable[[Setup, int], Row]:
    """A whole command on so many vectors, against the plain scripts that stand for it."""

    def measure(setup: Setup, size: int) -> Row:
        root = setup.folder / str(size)
        tasks = [t for t in vector_tasks(root, size, setup.environment) if t.name.startswith(prefix)]
        if prefix == "knn" and size in FILES:
            tasks.append(published_task(root, size, setup.environment))
        if prefix == "export":
            tasks = [export_task(root, size, setup.environment)]
        if prefix == "report" and not (root / "run").exists():
            measured(next(vector_tasks(root, size, setup.environment)).command, setup.environment)
        rows = [compared(task, setup.environment, setup.repeat) for task in tasks]
        ours = min(rows, key=lambda row: row["cpu"])
        plain = {Path(t.plain[1]).stem.rpartition("_")[2]: row["plain cpu"] for t, row in zip(tasks, rows, strict=True)}
        memory = min(row["plain peak"] for row in rows)
        row = {"cpu": ours["cpu"], "peak": min(row["peak"] for row in rows), "plain": plain, "plain peak": memory}
        return {**row, "read": ours["read"]} if "read" in ours else row

    return measure


COMMAND = {"cpu": "processor s", "plain": "plain scripts", "peak": "peak MiB", "plain peak": "theirs, at least"}
READ = {**COMMAND, "read": "MiB read"}
PARTS: dict[str, Part] = {
    "store": Part(
        "Stores of vectors of 64 numbers, one clip an example; 1,000 random examples by name",
        {"add": "written, s", "written": "peak MiB", "open": "opened, s", "first": "rows first, ms",
         "again": "again, ms", "status": "all entries, s", "memory": "memory of both, MiB"},
        lambda sizes: sizes.stores, of_store, "open",
    ),
    "knn": Part("`evaluate -t knn+k=20`", READ, lambda sizes: sizes.vectors, with_vectors("knn"), "cpu"),
    "linear": Part("`evaluate -t linear`", READ, lambda sizes: sizes.linear, with_vectors("linear"), "cpu"),
    "report": Part("`report` of one result", COMMAND, lambda sizes: sizes.vectors[:2], with_vectors("report"), "cpu"),
    "export": Part("`export --to parquet`", COMMAND, lambda sizes: sizes.exported, with_vectors("export"), "cpu"),
    "length": Part(
        "`embed` of four videos of so many minutes, 2 s clips, one decoding process",
        {"cpu": "processor s", "peak": "peak MiB of a process"}, lambda sizes: sizes.minutes, with_length, "cpu",
    ),
    "workers": Part(
        "`embed` with so many decoding processes",
        {"wall": "clips/s", "processor": "clips per processor s", "peak": "peak MiB of a process"},
        lambda sizes: sizes.workers, with_workers,
    ),
}  # fmt: skip


def cell(value: Any) -> str:
    """A number, or the numbers of several scripts, as text."""
    if isinstance(value, dict):
        return ", ".join(f"{cell(number)} ({name})" for name, number in value.items())
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def exponent(part: Part, rows: Mapping[str, Row]) -> str:
    """How the last of several sizes grew from the one before: the power of the size."""
    if not part.grows or len(rows) < 2:
        return ""
    (small, before), (large, after) = list(rows.items())[-2:]
    power = math.log(after[part.grows] / before[part.grows]) / math.log(int(large) / int(small))
    return f"\nFrom {int(small):,} to {int(large):,}, {part.columns[part.grows]} grows with the power {power:.2f}.\n"


def table(part: Part, rows: Mapping[str, Row]) -> str:
    """One curve as Markdown."""
    heads = ["size", *part.columns.values()]
    lines = [heads, ["---:"] * len(heads)]
    rows = dict(sorted(rows.items(), key=lambda item: int(item[0])))
    lines += [[f"{int(size):,}", *(cell(row[c]) for c in part.columns)] for size, row in rows.items()]
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"**{part.title}**\n\n{text}\n{exponent(part, rows)}"


def page(done: Mapping[str, Any]) -> str:
    """All curves as Markdown."""
    each = [table(part, done["parts"][name]) for name, part in PARTS.items() if done["parts"].get(name)]
    return "\n".join([f"Measured on {done['machine']}.\n", *each])


def write_between(text: str, file: Path) -> None:
    """Replace what is between the markers of a page."""
    before, begin, rest = file.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{file}: no {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n{text}{END}{after}")


def machine(threads: int) -> str:
    """The machine in words."""
    kind = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {threads} thread"
    return f"{kind}, without a GPU, at a load of {os.getloadavg()[0]:.0f}"


def grow(setup: Setup, wanted: Iterable[str], sizes: Sizes, done: Row) -> Iterator[str]:
    """Measure what is not known yet, and yield a line for each row as soon as it is."""
    for name in wanted:
        part, rows = PARTS[name], done["parts"].setdefault(name, {})
        for size in part.sizes(sizes):
            if str(size) not in rows:
                rows[str(size)] = part.measure(setup, size)
                yield f"{name} {size}: {', '.join(f'{c} {cell(v)}' for c, v in rows[str(size)].items())}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, keep and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--json", type=Path, default=Path("growth.json"))
    parser.add_argument("--doc", type=Path, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="kept, and used again")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1)
    for field in Sizes._fields:
        parser.add_argument(f"--{field}", type=lambda t: tuple(map(int, t.split(","))), default=None)
    given = parser.parse_args(arguments)
    sizes = Sizes()._replace(**{f: v for f in Sizes._fields if (v := getattr(given, f)) is not None})
    if unknown := set(given.parts.split(",")) - set(PARTS):
        raise SystemExit(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    done: Row = {"machine": machine(given.threads), "parts": {}}
    if given.json.exists():
        done = json.loads(given.json.read_text())
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        setup = Setup(folder, environment_with(given.threads, folder / "compiled"), given.repeat)
        for line in grow(setup, given.parts.split(","), sizes, done):
            print(line, flush=True)
            given.json.write_text(json.dumps(done, indent=1))
    if given.doc:
        write_between(page(done), given.doc)
    print(page(done))


if __name__ == "__main__":
    main()
