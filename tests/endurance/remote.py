"""Embedding from S3 into a store at S3 that fails: SlowDown, cut and slow answers, and writers that are killed.

    PYTHONPATH=tests python tests/endurance/remote.py [--rounds 10] [--videos 60] [--seed 0] [--share 0.1]

In every round two machines, each with a cache of its own, embed the same videos, a fair part of them broken, into a new
store, while a share of all requests fails in one of three ways and the machines are killed and started again at random
instants. Then one of them finishes in peace, and a third one that knows nothing reads the store. Its copy has to be the
store of an undisturbed run, file by file, without encoding anything, and no process may have ended in a traceback.
Prints a line for each round; exit code 1 if anything was lost, doubled or left over.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

import processes
import s3_server
from endurance.rounds import make_videos, tree
from s3_server import Proxy
from vitascope.cli.main import main as command_line

FAULTS = ("503", "cut", "slow")
KILLS = 6
"""Times that one of the machines is killed, or found to have ended, in a round."""
LIMIT = 300.0
"""Seconds in which an embedding has to end."""
BLOCK = 10
"""Examples of a block: many parts of few videos."""
WHOLE = ": 0 examples, 0 clips newly embedded"
"""What a command says that finds everything in the store."""


@dataclass
class Lab:
    """The server, the machines and what happened."""

    proxy: Proxy
    folder: Path
    draw: random.Random
    events: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    said: dict[int, Path] = field(default_factory=dict)
    """What a process prints, by its number."""

    def disturb(self, share: float) -> None:
        """Let that share of the requests fail from now on."""
        draw = random.Random(self.draw.random())

        def fault(proxy: Proxy, method: str, path: str) -> str:
            what = draw.choice(FAULTS) if draw.random() < share else ""
            self.events.update([what] if what else [])
            return what

        self.proxy.reset(fault if share else None)

    def embed(self, machine: str, store: str) -> ForkServerProcess:
        """Begin to embed the videos on a machine into a store."""
        self.events["processes"] += 1
        out = self.folder / f"{self.events['processes']:05d}.txt"
        process = processes.start(embed, store, self.folder / machine, self.proxy.port, out)
        assert process.pid
        self.said[process.pid] = out
        return process

    def ended(self, process: ForkServerProcess, *, may_fail: bool) -> str:
        """Wait for a process and judge its end; what it printed."""
        code = processes.ended(process, LIMIT)
        assert process.pid
        said = self.said[process.pid].read_text(errors="replace")
        if code is None:
            process.kill()
            self.faults.append(f"a process did not end: {said[-500:]}")
        elif "Traceback" in said or "bug in" in said or code not in (0, processes.KILLED, *([2] if may_fail else [])):
            self.faults.append(f"exit code {code}: {said[-2000:]}")
        self.events[{0: "ended well", 2: "gave up"}.get(code or 0, "killed")] += 1
        return said

    def copy(self, machine: str) -> dict[str, str]:
        """Digests of all files of a machine's copy of the store, but the list of what was exchanged."""
        (store,) = (self.folder / machine / "stores").iterdir()
        return {name: digest for name, digest in tree(store).items() if not name.endswith("synced.txt")}


def embed(store: str, cache: Path, port: int, out: Path) -> None:
    """Run the command in this process, as on a machine with this cache; what it says goes to `out`."""
    with out.open("wb", buffering=0) as file, pytest.MonkeyPatch.context() as patch:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        for name, value in {**s3_server.environment(port), "VITASCOPE_CACHE": str(cache)}.items():
            patch.setenv(name, value)
        patch.setattr("vitascope.features.blocks.BLOCK_EXAMPLES", BLOCK)
        given = ("-m", "pixels/thumbnail", "--workers", "1", "-q", "--store", store)
        sys.argv = ["vitascope", "embed", "s3://bkt/videos", *given]
        command_line()


def disturbed_round(lab: Lab, number: int, share: float, duration: float, expected: dict[str, str]) -> None:
    """Two machines fill one store under disturbances; a third one has to read what an undisturbed one wrote."""
    store, machines = f"s3://bkt/store-{number}", [f"{number}-{i}" for i in range(2)]
    lab.disturb(share)
    running = [lab.embed(machine, store) for machine in machines]
    for _ in range(KILLS):
        time.sleep(lab.draw.uniform(0, duration))
        victim = lab.draw.randrange(2)
        lab.events["kills"] += running[victim].is_alive()
        running[victim].kill()
        lab.ended(running[victim], may_fail=True)
        running[victim] = lab.embed(machines[victim], store)
    for process in running:
        lab.ended(process, may_fail=True)
    lab.disturb(0)
    for machine in machines:
        lab.ended(lab.embed(machine, store), may_fail=False)
    reader = f"{number}-reader"
    if WHOLE not in (said := lab.ended(lab.embed(reader, store), may_fail=False)):
        lab.faults.append(f"a machine that knows nothing did not find everything: {said[-500:]}")
    for machine in (*machines, reader):
        if wrong := sorted({name for name, _ in set(lab.copy(machine).items()) ^ set(expected.items())}):
            lab.faults.append(f"the store of {machine} differs: {', '.join(wrong)}")
        shutil.rmtree(lab.folder / machine)


def run(folder: Path, *, rounds: int, videos: int, seed: int = 0, share: float = 0.1) -> Lab:
    """Do so many rounds and print a line for each."""
    make_videos(folder / "videos", videos)
    with s3_server.s3_server() as port:
        lab = Lab(Proxy(port), folder, random.Random(seed))
        try:
            assert s3_server.put(port, "/bkt") == 200
            for path in sorted((folder / "videos").iterdir()):
                assert s3_server.put(port, f"/bkt/videos/{path.name}", path.read_bytes()) == 200
            for store in ("first", "peace"):  # the first also starts what all others are forked from
                began = time.monotonic()
                lab.ended(lab.embed(store, str(folder / f"{store}-store")), may_fail=False)
            duration, expected = time.monotonic() - began, tree(folder / "peace-store")
            for number in range(rounds):
                before = lab.events.copy()
                disturbed_round(lab, number, share, duration, expected)
                counts = ", ".join(f"{count} {event}" for event, count in (lab.events - before).items())
                print(f"round {number}: {counts}; {len(lab.faults)} faults", flush=True)
        finally:
            lab.proxy.close()
    return lab


def main() -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=0.1, help="share of the requests that fail")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lab = run(Path(folder), rounds=given.rounds, videos=given.videos, seed=given.seed, share=given.share)
    for fault in lab.faults:
        print(fault)
    print(f"{given.rounds} rounds of {given.videos} videos: {sum(lab.events[f] for f in FAULTS)} requests failed on "
          f"purpose, {lab.events['kills']} kills, {len(lab.faults)} faults")  # fmt: skip
    return bool(lab.faults)


if __name__ == "__main__":
    sys.exit(main())
