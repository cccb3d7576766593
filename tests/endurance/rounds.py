"""Disturbed embedding: kills, suspensions, a full disk, vanishing files, little memory, clocks that jump, two versions.

    python tests/endurance/rounds.py [--rounds 40] [--videos 400] [--seed 0] [DISTURBANCE ...]

Every round embeds the same folder, a fair part of whose files is broken, into a new store while one thing goes wrong
again and again at random instants; then it is embedded once more in peace. The store has to be that of an undisturbed
run, file by file, and no process may have ended in a traceback or not at all. Prints a line for each disturbance;
exit code 1 if anything was lost, doubled or left over.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import processes
from endurance.mutate import mutate
from helpers import blob, write_video
from vitascope.cli.main import main as command_line
from vitascope.features.store import INDEX

BROKEN_EVERY = 10
"""One video of so many is damaged."""
LIMIT = 300.0
"""Seconds in which an embedding has to end."""
DAYS = 86400.0
PART = 8
"""Examples that are encoded and written as a whole: few, so that there are many instants to be disturbed at."""
BLOCKS = {"vitascope.features.blocks.BLOCK_EXAMPLES": PART, "vitascope.features.claims.STOPPED": 1.0}
"""Many small parts, and little patience with processes that are suspended."""
OTHER_VERSION = BLOCKS | {"vitascope.features.blocks.BLOCK_EXAMPLES": 7}
"""A version that divides the work in another way."""


@dataclass
class World:
    """The videos, and a store that is being disturbed."""

    videos: Path
    store: Path
    log: Path
    draw: random.Random
    duration: float
    """Seconds that an undisturbed run takes."""
    parts: int
    """Parts that an undisturbed run writes."""
    expected: dict[str, str]
    """Digests of all files of the undisturbed store."""
    events: Counter[str] = field(default_factory=Counter)
    """What was done, and how processes ended."""
    faults: list[str] = field(default_factory=list)

    def embed(self, changes: dict[str, object] = BLOCKS, **limits: int) -> ForkServerProcess:
        """Begin to embed the videos in a process of its own."""
        self.events["processes"] += 1
        out = self.log / f"{self.events['processes']:05d}.txt"
        return processes.start(embed, self.videos, self.store, out, changes, limits)

    def ended(self, process: ForkServerProcess, *, may_fail: bool = False) -> bool:
        """Wait for a process and judge its end; whether it did all its work."""
        code = processes.ended(process, LIMIT)
        if code is None:
            self.faults.append("a process did not end")
            process.kill()
            return False
        said = "".join(p.read_text(errors="replace") for p in self.log.iterdir())
        if "Traceback" in said or (code == 2 and not may_fail) or code not in (0, 2, processes.KILLED):
            self.faults.append(f"exit code {code}: {said[-2000:]}")
        for path in self.log.iterdir():
            path.unlink()
        self.events[{0: "ended well", 2: "refused"}.get(code, "killed")] += 1
        return code == 0

    def instant(self, process: ForkServerProcess, *, most: int = 0) -> None:
        """Wait until a process has written some further parts, `most` or up to a third of all, or has ended.

        How long it takes depends on how busy the machine is. Of no parts, a random time at the beginning is left.
        """
        until = self.written() + self.draw.randint(0, most or self.parts // 3)
        end = time.monotonic() + LIMIT
        while process.is_alive() and self.written() < until and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(self.draw.uniform(0, self.duration / self.parts))

    def written(self) -> int:
        """Parts that are there."""
        return sum(1 for _ in self.store.rglob("parts/*.parquet"))

    def check(self) -> None:
        """Embed in peace what is left, and hold the store against the undisturbed one."""
        self.ended(self.embed())
        found = tree(self.store)
        if wrong := sorted(set(found.items()) ^ set(self.expected.items())):
            self.faults.append(f"the store differs: {', '.join(dict.fromkeys(name for name, _ in wrong))}")


def embed(videos: Path, store: Path, out: Path, changes: dict[str, object], limits: dict[str, int]) -> None:
    """Run the command in this process, within limits of the system; what it says goes to `out`."""
    with out.open("wb", buffering=0) as file, pytest.MonkeyPatch.context() as patch:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        for name, value in changes.items():
            patch.setattr(name, value)
        for name, most in limits.items():
            resource.setrlimit(getattr(resource, name), (most, most))
        given = ("-m", "pixels/thumbnail", "--workers", "2", "--timeout", "30", "--retry-failed", "-q")
        sys.argv = ["vitascope", "embed", str(videos), *given, "--store", str(store)]
        command_line()


def tree(folder: Path) -> dict[str, str]:
    """Digests of all files but locks; of an index without the state of the videos' files, which may have been away."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {str(p.relative_to(folder)): hashlib.sha256(_content(p)).hexdigest() for p in files}


def _content(path: Path) -> bytes:
    if path.name != INDEX:
        return path.read_bytes()
    return repr(pq.read_table(path).drop_columns(["stamp"]).to_pylist()).encode()


def workers_of(pid: int | None) -> list[int]:
    """The processes that a process has started, and theirs."""
    with contextlib.suppress(OSError):
        direct = [int(c) for p in Path(f"/proc/{pid}/task").iterdir() for c in (p / "children").read_text().split()]
        return [inner for child in direct for inner in (child, *workers_of(child))]
    return []


def kill_workers(world: World) -> None:
    """Decoding processes are killed, one after the other."""
    process = world.embed()
    while process.is_alive():
        world.instant(process, most=2)
        if victims := workers_of(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(world.draw.choice(victims), signal.SIGKILL)
                world.events["kills"] += 1
    world.ended(process)


def kill_parents(world: World) -> None:
    """The command is killed and started again."""
    done = False
    while not done:
        process = world.embed()
        world.instant(process, most=2)
        world.events["kills"] += process.is_alive()
        process.kill()
        done = world.ended(process)


def two_writers(world: World) -> None:
    """Of two commands that share the work, one is killed or suspended for a while, and replaced."""
    pair = [world.embed(), world.embed()]
    while all(process.is_alive() for process in pair):
        victim = world.draw.randrange(2)
        world.instant(pair[victim], most=4)
        if world.draw.random() < 0.3 and (pid := pair[victim].pid) and pair[victim].is_alive():
            os.kill(pid, signal.SIGSTOP)
            world.instant(pair[1 - victim])
            os.kill(pid, signal.SIGCONT)
            world.events["suspensions"] += 1
        else:
            world.events["kills"] += pair[victim].is_alive()
            pair[victim].kill()
            world.ended(pair[victim])
            pair[victim] = world.embed()
    for process in pair:
        world.ended(process)


def other_version(world: World) -> None:
    """Two versions that divide the work differently share the store, and each is killed once."""
    for first, second in ((BLOCKS, OTHER_VERSION), (OTHER_VERSION, BLOCKS)):
        one, other = world.embed(first), world.embed(second)
        world.instant(one)
        world.events["kills"] += one.is_alive()
        one.kill()
        world.ended(one)
        world.ended(other)


def full_disk(world: World) -> None:
    """The disk is full at some write: no file may grow above a limit, or nothing fits on a small disk any more."""
    for _ in range(3):
        most = int(2 ** world.draw.uniform(8, 17))
        world.events["limits"] += 1
        with small_disk(world, most) if world.draw.random() < 0.5 else contextlib.nullcontext(most) as size:
            world.ended(world.embed(**({"RLIMIT_FSIZE": size} if size else {})), may_fail=True)


@contextlib.contextmanager
def small_disk(world: World, size: int) -> Iterator[int]:
    """Put the store on a disk of this size, where one may be made; yields the limit of a file that is needed else."""
    disk, home = world.store.with_suffix(".disk"), world.store
    disk.mkdir()
    try:
        if not _mounted(disk, size, home):
            yield size
            return
        world.store = disk / "store"
        yield 0
        if tree(home).keys() <= tree(disk / "store").keys():
            shutil.copytree(disk / "store", home, dirs_exist_ok=True)
    finally:
        world.store = home
        subprocess.run(["umount", "-l", disk], capture_output=True)
        disk.rmdir()


def _mounted(disk: Path, size: int, home: Path) -> bool:
    """Make a small disk of the empty folder `disk`, with what there is of the store; whether that was possible."""
    options = f"size={max(size, 65536)}"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True).returncode:
        return False
    try:
        shutil.copytree(home, disk / "store") if home.exists() else (disk / "store").mkdir()
    except OSError:  # too small: what was copied is cut short
        return False
    return True


def vanishing_files(world: World) -> None:
    """Videos are removed, cut and replaced while they are read; later they are as they were."""
    kept = world.videos.with_suffix(".kept")
    names = world.draw.sample(sorted(p.name for p in world.videos.iterdir()), 20)
    kept.mkdir()
    for name in names:
        shutil.copy2(world.videos / name, kept / name)
    process = world.embed()
    for name in names:
        time.sleep(world.duration / 40)
        change(world.videos / name, kept / world.draw.choice(names), world.draw)
        world.events["files changed"] += 1
    world.ended(process)
    for name in names:
        shutil.copy2(kept / name, world.videos / name)
    shutil.rmtree(kept)


def change(path: Path, other: Path, draw: random.Random) -> None:
    """What may befall a file that is being read."""
    match draw.randrange(4):
        case 0:
            path.unlink()
        case 1:
            os.truncate(path, draw.randrange(path.stat().st_size))
        case 2:
            shutil.copy(other, path)
        case _:
            shutil.copy(other, path.with_suffix(".new"))
            path.with_suffix(".new").replace(path)


def little_memory(world: World) -> None:
    """Processes get so little memory that some cannot go on."""
    for _ in range(2):
        status = Path(f"/proc/{os.getpid()}/status").read_text()
        size = int(status.partition("VmSize:")[2].split()[0]) * 1024
        world.events["limits"] += 1
        process = world.embed(RLIMIT_AS=size + world.draw.randrange(1 << 20, 1 << 29))
        world.ended(process, may_fail=True)


def jumping_clocks(world: World) -> None:
    """Locks and parts get times of another day while the work goes on and is interrupted."""
    for _ in range(3):
        process = world.embed()
        end = time.monotonic() + world.draw.uniform(0, world.duration)
        while time.monotonic() < end and process.is_alive():
            time.sleep(0.02)
            there = time.time() + world.draw.uniform(-3, 3) * DAYS
            for path in world.store.rglob("*"):
                with contextlib.suppress(OSError):
                    os.utime(path, (there, there))
            world.events["jumps"] += 1
        world.events["kills"] += process.is_alive()
        process.kill()
        world.ended(process)


DISTURBANCES: dict[str, Callable[[World], None]] = {
    each.__name__.replace("_", "-"): each
    for each in (
        *(kill_workers, kill_parents, two_writers, other_version),
        *(full_disk, vanishing_files, little_memory, jumping_clocks),
    )
}


def make_videos(folder: Path, count: int) -> None:
    """Small different videos; every tenth one is damaged, by a seed."""
    for i in range(count):
        path = write_video(folder / f"{i:05d}.mp4", blob(i * 0.37, i, 8 + i % 7))
        if i % BROKEN_EVERY == 0:
            path.write_bytes(mutate(path.read_bytes(), i))


def run(folder: Path, names: Sequence[str], *, rounds: int, videos: int, seed: int = 0) -> dict[str, World]:
    """Do so many rounds of each disturbance and print a line for each; {disturbance: what happened}."""
    (folder / "log").mkdir(parents=True)
    make_videos(folder / "videos", videos)
    parts = max(videos // PART, 1)
    peace = World(folder / "videos", folder / "peace", folder / "log", random.Random(seed), 0.0, parts, {})
    for peace.store in (folder / "first", folder / "peace"):  # the first also starts what all others are forked from
        began = time.monotonic()
        peace.ended(peace.embed())
    duration, expected = time.monotonic() - began, tree(peace.store)
    worlds = {}
    for name in names:
        world = worlds[name] = World(peace.videos, folder / "store", peace.log, peace.draw, duration, parts, expected)
        world.faults += peace.faults
        for number in range(rounds):
            world.draw = random.Random(f"{name} {seed} {number}")
            DISTURBANCES[name](world)
            world.check()
            shutil.rmtree(world.store, ignore_errors=True)
        counts = ", ".join(f"{count} {event}" for event, count in world.events.items())
        print(f"{name:16} {rounds} rounds of {videos} videos: {counts}; {len(world.faults)} faults", flush=True)
    return worlds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("disturbances", nargs="*", default=list(DISTURBANCES), metavar="DISTURBANCE")
    parser.add_argument("--rounds", type=int, default=5, help="of each disturbance")
    parser.add_argument("--videos", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="endurance-") as folder:
        worlds = run(Path(folder), given.disturbances, rounds=given.rounds, videos=given.videos, seed=given.seed)
    for name, world in worlds.items():
        for fault in world.faults[:5]:
            print(f"{name}: {fault}", file=sys.stderr)
    return any(world.faults for world in worlds.values())


if __name__ == "__main__":
    from endurance import rounds  # processes import their function by the name of its module

    sys.exit(rounds.main())
