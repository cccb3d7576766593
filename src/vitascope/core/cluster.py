"""Ray: connect to a cluster or begin one on this machine, and what it has. Ray itself is optional (extra `ray`)."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from vitascope.core.errors import MissingPackageError, UserError

HERE = "ray"
"""This machine, or the cluster that the environment names (RAY_ADDRESS), or one that was started on this machine."""
REMOTE = "ray://"
ANSWER = 10.0
"""Seconds within which a cluster accepts a connection."""
LOOK = 5.0
"""Seconds after which a wait is interrupted for a look at the head node."""
WAITS = (0.0, 1.0, 2.0)
"""Seconds before each attempt to reach the head node."""
SILENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


class HeadGoneError(UserError):
    """The head node does not answer any more: nothing of the cluster can be reached or ended."""


class Resources(NamedTuple):
    """What the nodes of a cluster that are alive have together."""

    cpus: float
    gpus: int
    largest: float
    """CPUs of the largest node."""


def check_name(on: str) -> str:
    """Return where to run; UserError for what is no place."""
    if on and on != HERE and not (on.startswith(REMOTE) and on.removeprefix(REMOTE)):
        raise UserError(f"--on {on}: no such place; write ray (this machine, or $RAY_ADDRESS) or ray://HOST:10001")
    return on


def connect(on: str) -> Any:
    """Return the module `ray`, connected to the cluster `on`; the connection is kept until the process ends.

    Raises MissingPackageError without the package, UserError if no cluster answers.
    """
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise MissingPackageError(f"--on {on} needs the package ray: pip install 'vitascope[ray]'") from error
    if ray.is_initialized():
        return ray
    _check_answers(on)
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=None if on == HERE else on, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True
        )
    except Exception as error:  # ConnectionError, or any of several kinds of its own
        where = os.environ.get("RAY_ADDRESS", "this machine") if on == HERE else on
        raise UserError(
            f"--on {on}: no Ray cluster answers at {where} ({summary(error)}); `ray start --head` begins one"
        ) from error
    finally:
        if main:  # Ray ends the process at SIGTERM, before what was begun is closed
            signal.signal(signal.SIGTERM, handler)
    return ray


def _check_answers(on: str) -> None:
    """Raise UserError if nothing listens at the address of the cluster: Ray itself would try for minutes."""
    address = os.environ.get("RAY_ADDRESS", "") if on == HERE else on
    match = re.fullmatch(r"(?:ray://)?\[?([^/\[\]]+?)\]?:(\d+)", address)
    try:
        if match:
            socket.create_connection((match[1], int(match[2])), timeout=ANSWER).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"--on {on}: nothing answers at {address} ({error}); `ray start --head` begins a cluster"
        ) from error


def head_of(ray: Any, on: str) -> str:
    """Return where the head node answers, as `host:port`; empty if that is not known."""
    return on.removeprefix(REMOTE) if on.startswith(REMOTE) else str(ray.get_runtime_context().gcs_address)


def require_head(on: str, head: str) -> None:
    """Raise HeadGoneError if the head node does not answer, asked a few times: Ray ends the process a minute on."""
    host, _, port = head.rpartition(":")
    for wait in WAITS if host else ():
        time.sleep(wait)
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
            return
        except OSError as error:
            cause = str(error)
    if host:
        raise _gone(on, f"at {head} ({cause})")


def _gone(on: str, what: str) -> HeadGoneError:
    return HeadGoneError(
        f"--on {on}: the head node of the cluster does not answer any more, {what}; what was stored stays: run this "
        "again when a cluster is there"
    )


@contextmanager
def watched(on: str, head: str) -> Iterator[None]:
    """Within it, what fails because the head node is gone is a HeadGoneError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        require_head(on, head)
        if isinstance(error, ConnectionError) or type(error).__module__.partition(".")[0] == "grpc":
            raise _gone(on, f"{type(error).__name__}: {summary(error)}"[:200]) from error
        raise


def result_of(ray: Any, reference: Any, on: str, head: str) -> Any:
    """Wait for the result of a task as long as the head node answers, and return it."""
    with watched(on, head):
        while not ray.wait([reference], num_returns=1, timeout=LOOK)[0]:
            require_head(on, head)
        return ray.get(reference)


def summary(error: BaseException) -> str:
    """Return what Ray says of an error in a line: the last one of a traceback, without colors."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
    return (lines[-1] if any("Traceback" in line or "::" in line for line in lines) else " ".join(lines)).strip()[:500]


def resources(ray: Any) -> Resources:
    """Return what the cluster has now."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [float(node.get("CPU", 0)) for node in nodes]
    return Resources(sum(cpus), sum(int(node.get("GPU", 0)) for node in nodes), max(cpus, default=0.0))


def accelerators(ray: Any) -> str:
    """Return the names of the GPUs of the cluster; empty without any."""
    names = {name.partition(":")[2] for name in ray.cluster_resources() if name.startswith("accelerator_type:")}
    return ", ".join(sorted(names))


def cause(ray: Any, error: BaseException) -> BaseException:
    """Return what a task raised, through however many tasks it came here; else the error of Ray itself."""
    while isinstance(error, ray.exceptions.RayTaskError) and error.cause is not None:
        error = error.cause
    return error
