"""Whole commands as processes: processor seconds and peak memory, against the script that a user would write instead.

    python benchmarks/commands.py [--sizes 1000,10000,100000] [--only knn,linear] [--repeat 3] [--threads 1]

The scripts are in `benchmarks/plain`; they read the same vectors, labels and predictions, as arrays or the field's
files. Both sides are started as processes, in turns, imports included; what counts is the processor time of the child
and its children as the system accounts for it (the least of the repetitions), and the most memory that it held. Files
are in the page cache, and compiled modules beside a warm-up. Predictions by kNN have to agree.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
VITASCOPE = [sys.executable, "-m", "vitascope"]
DIM, QUERIES = 1024, 1_000
EXPORTED = "pixels/thumbnail"
"""Encoder whose vectors are exported."""
SIZES = (1_000, 10_000, 100_000)
FILES = range(2_000, 100_001)
"""Numbers of videos of which the published way gets its two files each; it drops batches below 1,024."""
MIB = 1 << 20


class Usage(NamedTuple):
    """What a process and its children took."""

    cpu: float
    """Processor seconds, user and system."""
    peak: float
    """MiB resident at most, mapped files included."""
    wall: float
    output: str

    def least(self, other: Usage) -> Usage:
        """The smaller of each number."""
        return Usage(min(self.cpu, other.cpu), min(self.peak, other.peak), min(self.wall, other.wall), self.output)


class Task(NamedTuple):
    """A command and what stands for it."""

    name: str
    command: Sequence[str]
    plain: Sequence[str]
    """Empty: nothing does."""
    read: int = 0
    """Bytes of stored vectors that are read."""
    remove: Path | None = None
    """What the command writes, removed before each run."""


def script(name: str, *arguments: object) -> list[str]:
    """The command line of a plain script."""
    return [sys.executable, str(HERE / "plain" / f"{name}.py"), *map(str, arguments)]


def measured(command: Sequence[str], environment: dict[str, str], remove: Path | None = None) -> Usage:
    """Run a command to its end; SystemExit with what it printed if it fails.

    This process imports nothing big: the system counts the memory of a child from the moment of its fork.
    """
    if remove:
        shutil.rmtree(remove, ignore_errors=True)
    with tempfile.TemporaryFile() as output:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{text}")
    return Usage(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, wall, text)


def environment_with(threads: int, compiled: Path) -> dict[str, str]:
    """The environment of both sides: so many threads, modules compiled once."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    number = {f"{of}_NUM_THREADS": str(threads) for of in ("OMP", "MKL", "OPENBLAS")}
    return {**kept, **number, "PYTHONPYCACHEPREFIX": str(compiled), "VITASCOPE_CACHE": str(compiled.parent / "cache")}


def vector_tasks(root: Path, size: int, environment: dict[str, str]) -> Iterator[Task]:
    """Commands on `size` stored training vectors and the queries."""
    made(root, "vectors", environment, size)
    imported, run = root / "imported", root / "run"
    read = 2 * DIM * (size + QUERIES)
    evaluate = [*VITASCOPE, "evaluate", str(imported), "--quiet", "-o", str(run), "-t"]
    yield Task(f"knn {size}", [*evaluate, "knn+k=20"], script("knn_numpy", root), read, run)
    yield Task(f"knn, torch {size}", [*evaluate, "knn+k=20"], script("knn_torch", root), read, run)
    if find_spec("faiss"):
        yield Task(f"knn, FAISS {size}", [*evaluate, "knn+k=20"], script("knn_faiss", root), read, run)
    yield Task(f"linear {size}", [*evaluate, "linear"], script("linear_torch", root), read, run)
    yield Task(f"report {size}", [*VITASCOPE, "report", str(run)], script("report_numpy", run))


def published_task(root: Path, size: int, environment: dict[str, str]) -> Task:
    """kNN on `size` stored training vectors, against two files a video."""
    (task, *_) = vector_tasks(root, size, environment)
    made(root, "files", environment, size)
    return task._replace(name=f"knn, published {size}", plain=script("published", "knn", root / "files"))


def export_task(root: Path, size: int, environment: dict[str, str]) -> Task:
    """Export of the stored vectors of `size` videos."""
    made(root, "videos", environment, size)
    out = root / "export"
    which = [str(root / "videos"), "-m", EXPORTED, "--view", "uniform", "--store", str(root / "store")]
    command = [*VITASCOPE, "export", *which, "--to", "parquet", "-o", str(out)]
    return Task(f"export {size}", command, script("export_numpy", root, root / "plain.parquet"), remove=out)


def score_tasks(root: Path, environment: dict[str, str]) -> Iterator[Task]:
    """Scores of predictions in files: THUMOS14's and Breakfast's size."""
    made(root, "predictions", environment)
    score = [*VITASCOPE, "score"]
    sides = [root / "truth.json", root / "found.json"]
    command = [*score, "localization", "--truth", str(sides[0]), "--predictions", str(sides[1])]
    yield Task("localization", [*command, "--thresholds", "0.3:0.7:0.1"], script("localization", *sides))
    command = [*score, "segmentation", "--truth", str(root), "--predictions", str(root / "found")]
    plain = script("segmentation", root / "groundTruth", root / "found")
    yield Task("segmentation", [*command, "--reading", "published"], plain)


def small_tasks() -> Iterator[Task]:
    """Commands that answer at once; what stands for them is an interpreter that imports numpy."""
    plain = [sys.executable, "-c", "import numpy"]
    for command in ("--help", "ls encoders", "ls probes", "ls datasets", "evaluate --help", "describe knn"):
        yield Task(command, [*VITASCOPE, *command.split()], plain)


def made(root: Path, what: str, environment: dict[str, str], size: int = 0) -> None:
    """Have the files of a part written by a process of its own, unless they are there."""
    done = root / f"{what}.done"
    if not done.exists():
        root.mkdir(parents=True, exist_ok=True)
        measured([sys.executable, str(HERE / "commands_data.py"), what, str(root), str(size)], environment)
        done.touch()


def compared(task: Task, environment: dict[str, str], repeat: int) -> dict[str, float | str]:
    """Both sides in turns, the least of each."""
    ours = plain = None
    for _ in range(repeat):
        one = measured(task.command, environment, task.remove)
        ours = one.least(ours) if ours else one
        if task.plain:
            other = measured(task.plain, environment)
            plain = other.least(plain) if plain else other
    assert ours
    row: dict[str, float | str] = {"task": task.name, "cpu": ours.cpu, "peak": ours.peak, "wall": ours.wall}
    if task.read:
        row["read"] = task.read / MIB
    if plain:
        row |= {"plain cpu": plain.cpu, "plain peak": plain.peak, "ratio": ours.cpu / plain.cpu}
    return row


def line(row: dict[str, float | str], base: float) -> str:
    """One row as text; `base`: MiB of a process that only imports what vectors need."""
    text = f"{row['task']:22} {row['cpu']:7.2f} s {row['peak']:6.0f} MiB"
    if "ratio" in row:
        text += f" | plain {row['plain cpu']:7.2f} s {row['plain peak']:6.0f} MiB | {row['ratio']:5.2f} of its time"
    if "read" in row:
        more = (float(row["peak"]) - base) / float(row["read"])
        text += f" | {more:5.2f} of the {row['read']:.0f} MiB read, beyond {base:.0f} of imports"
    return text


def main() -> None:
    """Print a line per command and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--only", default="", help="commands whose names begin with one of these")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="kept, and used again", default=None)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    wanted = tuple(filter(None, args.only.split(",")))
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        environment = environment_with(args.threads, folder / "compiled")
        imports = [sys.executable, "-c", "import pyarrow.parquet, vitascope.evaluation.evaluate"]
        measured(imports, environment)
        base = measured(imports, environment)
        print(f"{platform.machine()}, {os.cpu_count()} cores, {args.threads} threads, load {os.getloadavg()[0]:.1f}")
        print(f"{'imports':22} {base.cpu:7.2f} s {base.peak:6.0f} MiB", flush=True)
        tasks = [*small_tasks(), *score_tasks(folder / "predictions", environment)]
        rows = []
        for size in (int(s) for s in args.sizes.split(",") if s):
            tasks += [
                *vector_tasks(folder / str(size), size, environment),
                *([published_task(folder / str(size), size, environment)] if size in FILES else ()),
                export_task(folder / str(size), size, environment),
            ]
        for task in (t for t in tasks if not wanted or t.name.startswith(wanted)):
            rows.append(compared(task, environment, args.repeat))
            print(line(rows[-1], base.peak), flush=True)
        if args.json:
            args.json.write_text(json.dumps({"base": base.peak, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
