"""Everything that needs a GPU, in at most nine minutes: correctness, speed and a real training.

    python benchmarks/gpu.py [--output runs/gpu] [--parts encoders knn] [--minutes 9] [--again]

Runs in a checkout on a bare machine with torch (`make gpu`, or PYTHONPATH=src). Parts run in order of importance, each
in a process of its own, which a fault of the device cannot outlive. `gpu.json` and `gpu.md` are written as it goes; a
part that has not ended well is run again by the next call. Without a GPU, or with --small, it is the same code at small
size, where correctness counts and the speeds mean nothing. Exit code 1 if a part failed or a limit is not kept.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Part(NamedTuple):
    """A part: the function that runs it, what it is about, and how long it may take, seconds."""

    function: str
    about: str
    limit: float


PARTS = {
    "encoders": Part("gpu_checks:encoders", "Encoders against the CPU", 90),
    "probes": Part("gpu_checks:probes", "Probes against the CPU", 90),
    "pretraining": Part("gpu_checks:pretraining", "Pretraining, killed, resumed and by two processes", 120),
    "speed": Part("gpu_speed:encoders", "Encoders, 16 x 224 x 224", 150),
    "pipeline": Part("gpu_speed:pipeline", "From H.264 files to stored vectors", 90),
    "knn": Part("gpu_speed:knn", "Exact nearest neighbors", 40),
    "steps": Part("gpu_speed:steps", "Pretraining steps of ViT-L", 100),
    "attentive": Part("gpu_speed:attentive", "Attentive heads", 50),
    "training": Part("gpu_speed:training", "motionlab_tiny_twlv1 from scratch", 400),
}
"""In order of importance."""
CHECKS = ("encoders", "probes", "pretraining")
"""Those that tell right from wrong."""
LEAST = 10.0
"""Seconds below which no part is begun."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that have not ended well, within the time; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[], help="all of them without it")
    parser.add_argument("--device", default="", help="cuda, cuda:1, cpu; the best there is without it")
    parser.add_argument("--minutes", type=float, default=9.0, help="of all parts together")
    parser.add_argument("--small", action="store_true", help="at small size, as it is without a GPU")
    parser.add_argument("--again", action="store_true", help="also the parts that ended well before")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        return child(given.child, given.device, given.output, small=given.small)
    deadline = time.monotonic() + 60 * given.minutes
    given.output.mkdir(parents=True, exist_ok=True)
    state: dict[str, Any] = {} if given.again else read(given.output / "gpu.json")
    state.update(machine(given.device, small=given.small), parts=state.get("parts", {}))
    state["small"] = given.small = given.small or not state["device"].startswith("cuda")
    chosen = given.parts or list(CHECKS if state["small"] else PARTS)
    for name in chosen:
        left = deadline - time.monotonic()
        if state["parts"].get(name, {}).get("status") == "done" or left < LEAST:
            continue
        run(name, given, state, limit=min(left, PARTS[name].limit))
    print((given.output / "gpu.md").read_text(encoding="utf-8") if state["parts"] else "nothing was run")
    records = [state["parts"].get(name, {"status": "not begun"}) for name in chosen]
    kept = all(row["ok"] is not False for name in CHECKS for row in state["parts"].get(name, {}).get("rows", ()))
    return 0 if kept and all(record["status"] == "done" for record in records) else 1


def read(file: Path) -> dict[str, Any]:
    """What an earlier call wrote; empty for none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def machine(device: str, *, small: bool) -> dict[str, Any]:
    """What the numbers are of."""
    import torch

    kind = device or ("cuda" if torch.cuda.is_available() and not small else "cpu")
    found: dict[str, Any] = {"device": kind, "torch": torch.__version__, "python": platform.python_version()}
    if kind.startswith("cuda"):
        properties = torch.cuda.get_device_properties(torch.device(kind))
        found |= {"card": properties.name, "memory": properties.total_memory, "cuda": torch.version.cuda}
    return found | {"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}


def run(name: str, given: argparse.Namespace, state: dict[str, Any], *, limit: float) -> None:
    """Run a part in a process of its own, and write down its rows as they come."""
    rows_file = given.output / f"{name}.jsonl"
    rows_file.unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__).resolve()), "--child", name, "--device", state["device"]]
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    begun = time.monotonic()
    process = subprocess.Popen(
        [*command, "--output", str(given.output), *["--small"] * given.small],
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    status = "running"
    while status == "running":
        try:
            status = "done" if process.wait(timeout=2.0) == 0 else "failed"
        except subprocess.TimeoutExpired:
            status = "out of time" if time.monotonic() - begun > limit else status
        rows = [json.loads(line) for line in _lines(rows_file)]
        state["parts"][name] = {"status": status, "seconds": round(time.monotonic() - begun, 1), "rows": rows}
        write(given.output, state)
    _end(process)


def _lines(file: Path) -> list[str]:
    """The complete lines of a file that is still being written."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a part: its process, and those that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def child(name: str, device: str, output: Path, *, small: bool) -> int:
    """Run a part in this process; each row is written at once."""
    import torch

    from gpu_rows import FULL, SMALL, Row
    from vitascope.core.device import device as chosen

    os.environ["GPU_OUTPUT"] = str(output)

    def report(row: Row) -> None:
        with (output / f"{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row._asdict()) + "\n")

    module, _, function = PARTS[name].function.partition(":")
    try:
        part: Callable[..., None] = getattr(importlib.import_module(module), function)
        part(chosen(device), SMALL if small else FULL, report)
    except Exception as error:  # whatever it is, it is the result of this part, and the others go on
        traceback.print_exc()
        what = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
        report(Row(what[:200], 0.0, "", "no error", ok=False))
        return 1
    if torch.cuda.is_available():
        report(Row("memory", torch.cuda.max_memory_allocated() / 2**30, "GiB"))
    return 0


def write(output: Path, state: Mapping[str, Any]) -> None:
    """Write both files, each at once."""
    for name, text in (("gpu.json", json.dumps(state, indent=1)), ("gpu.md", page(state))):
        temporary = output / f".{name}"
        temporary.write_text(text + "\n", encoding="utf-8")
        temporary.replace(output / name)


def page(state: Mapping[str, Any]) -> str:
    """All parts as a Markdown page."""
    what = state.get("card") or f"{state['device']}, at small size: the speeds mean nothing"
    lines = [f"# {what}", "", f"torch {state['torch']}, {state['cores']} cores, load {state['load']:.2f}"]
    for name, part in PARTS.items():
        record = state["parts"].get(name)
        if record:
            lines += ["", f"## {part.about}: {record['status']}, {record['seconds']:g} s", "", *_table(record["rows"])]
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    marks = {True: "yes", False: "**no**", None: ""}
    lines = [f"| {r['what']} | {r['value']:.4g} {r['unit']} | {r['aim']} | {marks[r['ok']]} |" for r in rows]
    return ["| what | measured | limit or aim | kept |", "|---|---:|---|---|", *lines] if lines else ["no numbers"]


if __name__ == "__main__":
    raise SystemExit(main())
