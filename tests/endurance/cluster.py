"""Embed on a Ray cluster of two raylets while its parts are killed: `python tests/endurance/cluster.py --kills 50`.

At random instants one of four is killed with SIGKILL: the raylet of a node (and all actors there), a decoding actor, an
encoding actor, or the driver, which is then started again on the same store. Whenever a store is complete, it is
compared with that of one undisturbed machine, file by file.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers import blob, write_video

VICTIMS = ("raylet", "decoder", "encoder", "driver")
ACTORS = {"decoder": b"ray::DecodingActor", "encoder": b"ray::EncodingActor"}
LIMIT = 600.0
"""Seconds after the last kill within which a store is complete."""
BLOCK = 8
"""Examples of a block: many blocks of few videos."""
MAIN = (
    f"from vitascope.features import blocks; blocks.BLOCK_EXAMPLES = {BLOCK}\n"
    "from vitascope.cli.main import main; main()"
)
MODEL = "vit/tiny-random"


def write_videos(folder: Path, count: int) -> None:
    """Write small videos, and some files that are none."""
    for number in range(count):
        write_video(folder / "abcd"[number % 4] / f"{number:04d}.mp4", blob(number * 0.3, number, frames=16, side=64))
    for number in range(count // 60):
        (folder / "a" / f"broken{number}.mp4").write_bytes(b"no video" * number)


def command(videos: Path, store: Path, *more: str) -> list[str]:
    """Return the command that embeds the videos into the store."""
    return [sys.executable, "-c", MAIN, "embed", str(videos), "-m", MODEL, "--store", str(store), "-q", *more]


def tree(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a store but its locks."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".lock")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


class TwoNodes:
    """A cluster of two raylets on this machine; closing it ends both."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.node = {"num_cpus": 2, "object_store_memory": 200 << 20}
        self.cluster: Any = Cluster(initialize_head=True, head_node_args={**self.node, "include_dashboard": False})
        self.second: Any = self.cluster.add_node(**self.node)

    @property
    def address(self) -> str:
        """Where it answers."""
        return str(self.cluster.address)

    def raylets(self) -> set[int]:
        """Return the process numbers of the raylets."""
        nodes = [self.cluster.head_node, self.second]
        return {process.process.pid for node in nodes for process in node.all_processes["raylet"]}

    def actors(self, kind: str) -> list[int]:
        """Return the process numbers of the actors of a kind: children of our raylets."""
        ours, found = self.raylets(), []
        for entry in Path("/proc").iterdir():
            try:
                title = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
                if (
                    title.startswith(ACTORS[kind])
                    and int((entry / "stat").read_text().rpartition(")")[2].split()[1]) in ours
                ):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def replace_second(self) -> None:
        """Kill the raylet of the second node; another node comes."""
        self.cluster.remove_node(self.second, allow_graceful=False)
        self.second = self.cluster.add_node(**self.node)

    def close(self) -> None:
        """End all nodes."""
        self.cluster.shutdown()


@dataclass
class Outcome:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)
    stores: int = 0
    """Stores that were completed."""
    faults: list[str] = field(default_factory=list)


class Disturbed:
    """Runs of a command that are disturbed."""

    def __init__(self, nodes: TwoNodes, videos: Path, folder: Path, seed: int) -> None:
        self.nodes, self.videos, self.folder = nodes, videos, folder
        self.rng = random.Random(seed)
        self.outcome = Outcome()
        self.expected = tree(folder / "reference")

    def run(self, kills: int, say: Callable[[str], object]) -> Outcome:
        """Kill so many times; stop at the first fault."""
        while sum(self.outcome.kills.values()) < kills and not self.outcome.faults:
            self._one_store(kills, say)
        return self.outcome

    def _one_store(self, kills: int, say: Callable[[str], object]) -> None:
        self.outcome.stores += 1
        store, log = self.folder / f"store{self.outcome.stores}", self.folder / "driver.log"
        driver = self._start(store, log)
        while True:
            left = kills - sum(self.outcome.kills.values())
            try:
                code = driver.wait(self._instant(driver) if left > 0 else LIMIT)
            except subprocess.TimeoutExpired:
                if left <= 0:
                    self.outcome.faults.append(f"{store}: not complete after {LIMIT:.0f} s")
                    driver.kill()
                    return
                victim = self._kill(driver)
                self.outcome.kills[victim] += victim in VICTIMS
                say(f"kill {sum(self.outcome.kills.values())}: {victim}, store {self.outcome.stores}")
                driver = self._start(store, log) if victim == "driver" else driver
                continue
            break
        if code:
            self.outcome.faults.append(f"{store}: exit code {code}: {log.read_text()[-2000:]}")
        elif tree(store) != self.expected:
            self.outcome.faults.append(f"{store}: differs from {self.folder / 'reference'}")
        say(f"store {self.outcome.stores}: {'WRONG' if self.outcome.faults else 'equal'}")

    def _instant(self, driver: subprocess.Popen[bytes]) -> float:
        """Return in how many seconds to kill: mostly from when actors of both kinds are there, sometimes before."""
        until = time.monotonic() + LIMIT
        while self.rng.random() > 0.02 and time.monotonic() < until and driver.poll() is None:
            if all(self.nodes.actors(kind) for kind in ACTORS):
                break
            time.sleep(0.5)
        return self.rng.uniform(0, 8)

    def _start(self, store: Path, log: Path) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "RAY_ADDRESS": self.nodes.address}
        with open(log, "wb") as file:
            return subprocess.Popen(
                command(self.videos, store, "--on", "ray"), stderr=file, stdout=file, env=environment
            )

    def _kill(self, driver: subprocess.Popen[bytes]) -> str:
        """Kill something at random; return what."""
        victim = self.rng.choice(VICTIMS)
        if victim == "driver":
            driver.kill()
            driver.wait()
        elif victim == "raylet":
            self.nodes.replace_second()
        elif actors := self.nodes.actors(victim):
            os.kill(self.rng.choice(actors), signal.SIGKILL)
        else:
            return f"no {victim} yet"
        return victim


def disturb(folder: Path, *, kills: int, count: int, seed: int, say: Callable[[str], object] = print) -> Outcome:
    """Embed `count` videos again and again, in `folder`, until there were so many kills."""
    write_videos(folder / "videos", count)
    subprocess.run(command(folder / "videos", folder / "reference"), check=True, stdout=subprocess.DEVNULL)
    nodes = TwoNodes()
    try:
        return Disturbed(nodes, folder / "videos", folder, seed).run(kills, say)
    finally:
        nodes.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--videos", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outcome = disturb(
            Path(folder),
            kills=given.kills,
            count=given.videos,
            seed=given.seed,
            say=lambda line: print(line, flush=True),
        )
    each = ", ".join(f"{victim} {outcome.kills[victim]}" for victim in VICTIMS)
    print(f"{sum(outcome.kills.values())} kills ({each}) in {time.monotonic() - began:.0f} s, {outcome.stores} stores")
    for fault in outcome.faults:
        print(f"FAULT {fault}")
    print("nothing lost, nothing doubled" if not outcome.faults else "faults, see above")
    return bool(outcome.faults)


if __name__ == "__main__":
    sys.exit(main())
