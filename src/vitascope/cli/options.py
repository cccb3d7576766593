"""What several commands share: arguments with their help, what is checked of their values, where tables are printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vitascope.core.errors import UserError
from vitascope.core.text import nearest

console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)  # piped, nothing is folded

Models = Annotated[
    list[str], typer.Option("-m", "--model", help="encoder, see `vitascope ls encoders`; repeat for several")
]
Tasks = Annotated[
    list[str],
    typer.Option(
        "-p",
        "--probe",
        "-t",
        "--task",
        help="probe to train and evaluate, see `vitascope ls probes`; repeat for several",
    ),
]
Data = Annotated[str, typer.Argument(help="folder of videos, folder of published embeddings, or a dataset by name")]
Run = Annotated[Path, typer.Option("-o", "--output", help="run folder: gets results and predictions")]
StoreAt = Annotated[
    Path | None,
    typer.Option(
        "--store", help="folder where embeddings are kept", show_default="$VITASCOPE_CACHE, else ~/.cache/vitascope"
    ),
]
Workers = Annotated[
    int, typer.Option("--workers", help="processes that decode", min=0, show_default="one less than the cores")
]
Batch = Annotated[int, typer.Option("--batch", help="clips encoded at once", min=1)]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps", show_default="the best there is")]
Timeout = Annotated[
    float, typer.Option("--timeout", help="seconds without a frame after which a video is given up", min=1)
]
Retry = Annotated[bool, typer.Option("--retry-failed", help="try again the videos that failed before")]
Limit = Annotated[
    int,
    typer.Option(
        "--limit", help="at most so many examples: a quick look, never to be published", min=0, show_default="all"
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="folder with one folder a named data set (k400, ssv2 ...); or say ssv2=FOLDER"),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="no progress")]
View = Annotated[
    str,
    typer.Option(
        "--view",
        help="which clips are looked at: uniform (one over all of it), multiclip:2 (of 2 s), views:3x4/4 (3 crops of 4 "
        "clips, every 4th frame), vjepa, reversed(uniform), shuffled(...), frozen(...); more in docs/protocols.md",
    ),
]


def choice(given: str, where: str, known: Sequence[str]) -> Any:
    """`given` if it is one of `known`, else a ValueError that lists them; Any, as callers want a literal type."""
    if given not in known:
        raise UserError(f"{where} {given!r}{nearest(given, known)}; there are {', '.join(known)}")
    return given


def folder(path: Path, flag: str) -> None:
    """Refuse before any work an output folder that could only fail after it: ValueError."""
    there = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise UserError(f"{flag} {path}: {there} is a file; give a folder")
    if not os.access(there, os.W_OK):
        raise UserError(f"{flag} {path}: {there} cannot be written to; give another folder")


def options(
    workers: int, batch: int, device: str, timeout: float = 60.0, *, quiet: bool, retry_failed: bool = False
) -> Any:
    """How to encode, from the flags."""
    from vitascope.core.device import device as pick
    from vitascope.features.extract import ExtractionOptions

    where = str(pick(device))
    return ExtractionOptions(
        device=where, workers=workers, batch=batch, timeout=timeout, retry_failed=retry_failed, quiet=quiet
    )


def of_videos(data: str, data_root: Path | None = None) -> Any:
    """The dataset that `data` names, which must have videos: ValueError where it holds vectors alone."""
    from vitascope.datasets.open import open_dataset

    dataset = open_dataset(data, data_root)
    if dataset.cards:
        raise UserError(f"{data} holds published embeddings and no video; `vitascope evaluate {data}` reads them")
    return dataset
