"""Worker processes: order, back-pressure, and every way in which a job can end badly."""

import importlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vitascope.core import worker_pool as workers
from vitascope.core.worker_pool import Failed, Group, Pool

JOBS = '''
"""Jobs for the pool."""
import os, signal, sys, time
import numpy as np
from vitascope.core.errors import UserError
from vitascope.core.worker_process import report_alive

def work(job):
    kind, number = job
    if kind == "count":
        for k in range(number):
            yield k, np.full((2, 3), number * 1000 + k, np.int32)
        yield "done", None
    elif kind == "error":
        raise UserError("clip.mp4: two\\n lines")
    elif kind == "bug":
        raise KeyError("nothing")
    elif kind == "signal":
        yield "before", None
        os.kill(os.getpid(), number)
        time.sleep(60)
    elif kind == "exit":
        os._exit(number)
    elif kind == "hang":
        yield os.getpid(), None
        time.sleep(600)
    elif kind == "slow":
        for _ in range(number):
            report_alive()
            time.sleep(0.1)
        yield "at last", None
    elif kind == "touch":
        for k in range(20):
            with open(number, "a") as file:
                file.write("x")
            yield k, np.zeros(1, np.uint8)
    elif kind == "unlucky":
        flag, times, what, at = number
        for k in range(5):
            tries = os.path.getsize(flag)
            if k == at and tries < times:
                with open(flag, "a") as file:
                    file.write("x")
                if what == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                elif what == "stop":
                    os.kill(os.getpid(), signal.SIGSTOP)
                elif what == "spin":
                    while True:
                        pass
                raise {"memory": MemoryError("none"), "files": OSError(24, "Too many open files")}[what]
            yield k, np.full((2, 3), k, np.int32)
    elif kind == "modules":
        yield sorted(sys.modules), None
    elif kind == "shapes":
        yield "empty", np.zeros((0, 3), np.float32)
        yield "one", np.ones(6, np.float64)
    elif kind == "room":
        from vitascope.core.worker_process import has_free_slot
        for k in range(2):
            with open(number, "a") as file:
                file.write(f"{has_free_slot()} ")
            yield k, np.zeros(1, np.uint8)

def together(jobs):
    with open(os.path.join(os.path.dirname(__file__), "together"), "a") as file:
        file.write(f"{len(jobs)} ")
    return [work(job) for job in jobs]
'''
LAST = "; tried 3 times, the last time alone"
Jobs = Callable[[Any], Iterator[Any]]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """The jobs above, in a module that other processes can import."""
    (tmp_path / "pool_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("pool_jobs", None)
    function: Jobs = importlib.import_module("pool_jobs").work
    return function


def pool(function: Jobs, *, workers: int = 2, slots: int = 2, timeout: float = 30.0, ahead: int = 2) -> Pool[Any]:
    return Pool(function, workers=workers, slots=slots, slot_bytes=64, timeout=timeout, ahead=ahead)


def without_folder(message: Any) -> Any:
    """A message whose cause, where it is a bug, names the file without its folder."""
    return Failed(re.sub(r"\(/\S*/", "(", message.cause)) if isinstance(message, Failed) else message


def collect(messages: Iterator[Any]) -> list[tuple[Any, Any, Any]]:
    return [(job, message, None if array is None else array.tolist()) for job, message, array in messages]


def counted(number: int) -> list[Any]:
    """What the job ("count", number) should give."""
    job = ("count", number)
    rows = [(job, k, [[number * 1000 + k] * 3] * 2) for k in range(number)]
    return [*rows, (job, "done", None)]


def gone(pid: int) -> bool:
    """Whether a process has ended (one that nobody has waited for yet has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def eventually(condition: Callable[[], bool]) -> bool:
    for _ in range(200):
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("ahead", [0, 1, 7])
def test_messages_come_job_by_job_in_the_order_of_the_jobs(work: Jobs, ahead: int) -> None:
    numbers = [7, 0, 3, 12, 1, 5, 9, 2, 2, 4] * 5
    with pool(work, ahead=ahead) as p:
        messages = collect(p.run(("count", n) for n in numbers))
        assert messages == [row for n in numbers for row in counted(n)]
        assert collect(p.run([("count", 3)])) == counted(3)
        assert 0 < p.busy <= 1


def test_arrays_keep_shape_and_type(work: Jobs) -> None:
    with pool(work, workers=1) as p:
        shapes = [(a.shape, a.dtype) for _, _, a in p.run([("shapes", 0)])]
    assert shapes == [((0, 3), np.float32), ((6,), np.float64)]


@pytest.mark.parametrize(
    ("job", "before", "cause"),
    [
        (("error", 0), [], "clip.mp4: two lines"),
        (("bug", 0), [], "KeyError: 'nothing' (pool_jobs.py:17)"),
        (("signal", int(signal.SIGSEGV)), ["before"], f"the decoding process died: SIGSEGV{LAST}"),
        (("signal", int(signal.SIGKILL)), ["before"], f"the decoding process died: SIGKILL{LAST}"),
        (("exit", 3), [], f"the decoding process ended with status 3{LAST}"),
    ],
)
def test_a_job_that_fails_says_why_and_harms_no_other(work: Jobs, job: Any, before: list[str], cause: str) -> None:
    with pool(work) as p:
        messages = collect(p.run([("count", 4), job, ("count", 5), ("count", 2)]))
    messages = [(job, without_folder(m), a) for job, m, a in messages]
    failed = [(job, m, None) for m in [*before, Failed(cause)]]
    assert messages == [*counted(4), *failed, *counted(5), *counted(2)]


@pytest.mark.parametrize(
    ("what", "times", "at"),
    [("kill", 1, 0), ("kill", 2, 4), ("stop", 2, 4), ("memory", 1, 0), ("files", 2, 4)],
)
def test_a_job_that_the_machine_failed_is_begun_again_unnoticed(
    work: Jobs, tmp_path: Path, what: str, times: int, at: int
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    job = ("unlucky", (str(flag), times, what, at))
    jobs = [("count", 4), job, *(("count", n) for n in (5, 2, 9, 1, 3))]
    with pool(work, workers=3, slots=1, timeout=0.4 if what == "stop" else 30.0) as p:
        messages = collect(p.run(jobs))
    assert flag.stat().st_size == times
    expected = [(job, k, [[k] * 3] * 2) for k in range(5)]
    rest = [row for n in (5, 2, 9, 1, 3) for row in counted(n)]
    assert messages == [*counted(4), *expected, *rest]


@pytest.mark.parametrize(("what", "lasting"), [("spin", True), ("stop", False), ("kill", False), ("memory", False)])
def test_what_a_job_does_alone_as_well_is_its_own_fault(
    work: Jobs, tmp_path: Path, what: str, *, lasting: bool
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    job = ("unlucky", (str(flag), 3, what, 2))
    with pool(work, workers=4, timeout=0.4 if what in ("spin", "stop") else 30.0) as p:
        messages = collect(p.run([job, ("count", 3), ("count", 2)]))
    assert [m for _, m, _ in messages[:2]] == [0, 1]
    assert messages[2][1].lasting is lasting
    assert messages[2][1].cause.endswith(LAST)
    assert messages[3:] == counted(3) + counted(2)


def test_fewer_processes_run_after_one_was_killed_for_want_of_memory(
    work: Jobs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    with pool(work, workers=5) as p:
        assert len(collect(p.run([("unlucky", (str(flag), 1, "kill", 1)), *[("count", 2)] * 9]))) == 5 + 9 * 3
        assert sum(w is not None for w in p._workers) <= 2
    assert "often for want of memory; going on with 2 processes" in caplog.text


def test_a_job_that_hangs_is_killed(work: Jobs) -> None:
    with pool(work, workers=1, timeout=0.5) as p:
        messages = collect(p.run([("count", 2), ("hang", 0), ("count", 3)]))
    (_, pid, _), (_, failed, _) = messages[3:5]
    assert failed == Failed(f"no progress for 0.5 s; killed{LAST}", lasting=False)
    assert messages[:3] + messages[5:] == counted(2) + counted(3)
    assert gone(pid)


def test_a_job_that_is_alive_is_not_taken_for_hung_but_not_for_ever(
    work: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pool(work, workers=1, timeout=0.5) as p:
        assert [m for _, m, _ in p.run([("slow", 12)])] == ["at last"]
        monkeypatch.setattr(workers, "PATIENCE", 1)
        assert [m for _, m, _ in p.run([("slow", 30), ("slow", 1)])] == [
            Failed(f"no progress for 0.5 s; killed{LAST}", lasting=False),
            "at last",
        ]


def test_a_worker_that_waits_for_the_consumer_is_not_taken_for_hung(work: Jobs) -> None:
    with pool(work, timeout=0.2, slots=1) as p:
        messages = []
        for _, message, _ in p.run([("count", 3), ("count", 4)]):
            time.sleep(0.3)
            messages.append(message)
    assert messages == [0, 1, 2, "done", 0, 1, 2, 3, "done"]


def test_workers_run_no_further_ahead_than_their_slots(work: Jobs, tmp_path: Path) -> None:
    slots, file = 3, tmp_path / "made"
    with pool(work, workers=2, slots=slots) as p:
        messages = p.run([("touch", str(file)), ("touch", str(file))])
        next(messages)
        assert eventually(lambda: len(file.read_text()) >= 2 * (slots + 1))
        time.sleep(0.2)
        assert len(file.read_text()) <= 2 * (slots + 1) + 1
        assert len(list(messages)) == 39


@pytest.mark.parametrize("ahead", [0, 3])
def test_jobs_are_taken_only_as_workers_become_free(work: Jobs, ahead: int) -> None:
    taken = 0

    def jobs() -> Iterator[Any]:
        nonlocal taken
        for _ in range(50):
            taken += 1
            yield "count", 9

    with pool(work, workers=2, slots=1, ahead=ahead) as p:
        messages = p.run(jobs())
        next(messages)
        assert taken == 2 * (1 + ahead)
        messages.close()
        assert collect(p.run([("count", 2)])) == counted(2)


def test_workers_import_no_torch_of_themselves(work: Jobs) -> None:
    with pool(work, workers=1) as p:
        ((_, modules, _),) = p.run([("modules", 0)])
    assert "numpy" in modules
    assert "torch" not in modules


def test_a_function_nobody_can_import_fails_its_jobs(tmp_path: Path) -> None:
    def local(job: Any) -> Iterator[Any]:
        yield job, None

    with pool(local, workers=1) as p:
        ((_, failed, _),) = p.run([1])
    assert isinstance(failed, Failed)
    assert "Error" in failed.cause


def test_an_error_of_the_consumer_ends_the_workers(work: Jobs) -> None:
    pids = []

    def consume() -> None:
        with pool(work) as p:
            for _, pid, _ in p.run([("hang", 0), ("hang", 0)]):
                pids.append(pid)
                raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        consume()
    assert pids
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_parent_that_is_ended_leaves_nothing_behind(work: Jobs, tmp_path: Path, number: signal.Signals) -> None:
    program = f"""
        import signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs have it ignored
        sys.path.insert(0, {str(tmp_path)!r})
        import pool_jobs
        from vitascope.core.worker_pool import Pool
        with Pool(pool_jobs.work, workers=2, slots=2, slot_bytes=64, timeout=600) as pool:
            for job, pid, _ in pool.run([("count", 2), ("hang", 0)]):
                if job[0] == "hang":
                    print(pid, flush=True)
    """
    memory = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        parent.send_signal(number)
        parent.wait(20)
    assert eventually(lambda: gone(pid))
    after = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    assert not {name for name in after - memory if name.startswith("tmp")}


def grouped(work: Jobs, **options: Any) -> Pool[Any]:
    """A pool that runs groups of the jobs above together."""
    both = importlib.import_module("pool_jobs").together
    return Pool(work, **{"workers": 2, "slots": 2, "slot_bytes": 64, "timeout": 30.0, "together": both} | options)


@pytest.mark.parametrize("workers", [1, 3])
def test_jobs_of_groups_come_one_by_one_in_order(work: Jobs, tmp_path: Path, workers: int) -> None:
    bad = ("error", 0)
    jobs = [Group([("count", 4), bad, ("count", 5)]), ("count", 2), Group([("count", 0)]), Group([("count", 3)] * 4)]
    with grouped(work, workers=workers) as p:
        messages = collect(p.run(jobs))
    failed = [(bad, Failed("clip.mp4: two lines"), None)]
    assert messages == [*counted(4), *failed, *counted(5), *counted(2), *counted(0), *counted(3) * 4]
    assert sorted((tmp_path / "together").read_text().split()) == ["3", "4"]


@pytest.mark.parametrize("what", ["kill", "memory"])
def test_after_a_loss_the_jobs_of_a_group_are_begun_again_alone(work: Jobs, tmp_path: Path, what: str) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    job = ("unlucky", (str(flag), 2, what, 3))
    with grouped(work, slots=1) as p:
        messages = collect(p.run([Group([("count", 4), job, ("count", 5)]), Group([("count", 1), ("count", 2)])]))
    expected = [(job, k, [[k] * 3] * 2) for k in range(5)]
    assert messages == [*counted(4), *expected, *counted(5), *counted(1), *counted(2)]
    assert flag.stat().st_size == 2
    assert (tmp_path / "together").read_text().split().count("3") == 1


def test_jobs_that_cannot_be_imported_fail_one_by_one(
    work: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vanishing.py").write_text("class Job(str): pass")
    bad = importlib.import_module("vanishing").Job()
    (tmp_path / "vanishing.py").unlink()
    with grouped(work, workers=1) as p:
        messages = collect(p.run([Group([("count", 2), bad, ("count", 1)])]))
    (failed,) = [m for _, m, _ in messages if isinstance(m, Failed)]
    assert "vanishing" in failed.cause
    assert [m for m in messages if m[0] != bad] == [*counted(2), *counted(1)]


def test_a_job_of_a_group_that_fails_for_good_harms_no_other(work: Jobs) -> None:
    job = ("signal", int(signal.SIGSEGV))
    with grouped(work) as p:
        messages = collect(p.run([Group([("count", 4), job, ("count", 5)])]))
    failed = [(job, m, None) for m in ("before", Failed(f"the decoding process died: SIGSEGV{LAST}"))]
    assert messages == [*counted(4), *failed, *counted(5)]


def test_a_job_learns_whether_it_would_have_to_wait(work: Jobs, tmp_path: Path) -> None:
    file = tmp_path / "free"
    with pool(work, workers=1, slots=1) as p:
        messages = p.run([("room", str(file))])
        next(messages)
        assert eventually(lambda: len(file.read_text().split()) == 2)
        assert file.read_text().split() == ["True", "False"]
