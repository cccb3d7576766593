"""Options shared by several commands, checks of their values, and the console."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import rich.console
import typer
from rich.text import Text

from vitascope.core.addresses import is_url
from vitascope.core.errors import UserError
from vitascope.core.log import log
from vitascope.core.origins import unmangled
from vitascope.core.terminal import harmless
from vitascope.core.text import nearest


class Console(rich.console.Console):
    """A console of rich that shows harmless text."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert text, which may hold markup."""
        return super().render_str(harmless(text), **options)


console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)  # no line breaks in pipes


@dataclass
class Invocation:
    """State of the running command besides its arguments."""

    run: Path | None = None
    """Run folder, if the command has one."""
    quiet: bool = False
    traceback: bool = False

    def reset(self) -> None:
        """Forget the previous command."""
        self.run, self.quiet, self.traceback = None, False, False


INVOCATION = Invocation()


def _store_at(path: Path | None) -> Path | None:
    """The folder on disk of a store, also of one at a URL."""
    if path is None or "://" not in unmangled(str(path)):
        return path
    from vitascope.features.remote_store import local_root

    return local_root(path)


def _remember_run(path: Path | None) -> Path | None:
    INVOCATION.run = path
    return path


def _quiet(flag: bool) -> bool:
    """Apply `-q`, which may come before or after the command."""
    INVOCATION.quiet = INVOCATION.quiet or flag
    if INVOCATION.quiet:
        log.setLevel(logging.WARNING)
    return INVOCATION.quiet


Models = Annotated[
    list[str],
    typer.Option(
        "-m", "--model", help="encoder, see `vitascope ls encoders`, with options +name=value; repeat for several"
    ),
]
Tasks = Annotated[
    list[str],
    typer.Option(
        "-p",
        "--probe",
        "-t",
        "--task",
        help="probe to train and evaluate, see `vitascope ls probes`, with options +name=value "
        "(`vitascope describe linear`); repeat for several",
    ),
]
Data = Annotated[str, typer.Argument(help="folder of videos, folder of imported embeddings, or dataset name")]
Run = Annotated[
    Path,
    typer.Option("-o", "--output", help="run folder for results and predictions", callback=_remember_run),
]
StoreAt = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="folder of stored embeddings, or its URL (s3://...)",
        show_default="$VITASCOPE_CACHE, else ~/.cache/vitascope",
        callback=_store_at,
    ),
]
Workers = Annotated[
    int, typer.Option("--workers", help="number of decoding processes", min=0, show_default="number of cores minus one")
]
Batch = Annotated[int, typer.Option("--batch", help="clips per batch of the encoder", min=1)]
Device = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, mps", show_default="best available")]
AnyBatch = Annotated[
    int,
    typer.Option(
        "--batch",
        help="clips per batch of the encoder",
        min=0,
        show_default="8; on a GPU as many as are fastest, found by trying once",
    ),
]
Devices = Annotated[
    str,
    typer.Option(
        "--device",
        help="cpu, cuda, cuda:1, mps; several, a process each: cuda:0,cuda:1, or all",
        show_default="best available",
    ),
]
Compile = Annotated[
    str,
    typer.Option(
        "--compile",
        help="run encoders compiled by torch: off, faster (where that is found to be faster, once), always; compiled "
        "vectors are stored apart",
    ),
]
Decoder = Annotated[
    str,
    typer.Option(
        "--decoder",
        help="what decodes videos: pyav, torchcodec (extra, with FFmpeg), nvdec (torchcodec on an NVIDIA GPU); vectors "
        "of each are stored apart",
    ),
]
On = Annotated[
    str,
    typer.Option(
        "--on",
        help="compute on a Ray cluster: ray (this machine, or that of $RAY_ADDRESS), ray://HOST:10001; extra ray",
    ),
]
Timeout = Annotated[
    float, typer.Option("--timeout", help="give up a video after this many seconds without a frame", min=1)
]
Retry = Annotated[bool, typer.Option("--retry-failed", help="retry videos that failed before")]
FullDigest = Annotated[
    bool,
    typer.Option("--full-digest", help="tell changed files by all their bytes, not by samples"),
]
Limit = Annotated[
    int,
    typer.Option(
        "--limit", help="maximum number of examples, for a quick look: do not publish", min=0, show_default="all"
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="folder with one subfolder per dataset (k400, ssv2 ...); or use ssv2=FOLDER"),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="do not show progress", callback=_quiet)]


def _clips(view: str) -> str:
    """Refuse an aggregator, which is for probes."""
    clips, aggregated, how = view.partition("+agg=")
    if aggregated:
        raise UserError(
            f"--view {view}: clips are stored one by one and aggregated when they are probed; use --view {clips} here, "
            f"and -p knn+train={clips}+test={clips}+agg={how} with `vitascope evaluate`"
        )
    return view


View = Annotated[
    str,
    typer.Option(
        "--view",
        help="clip sampler: uniform (one clip over the whole video), multiclip:2 (clips of 2 s), views:3x4/4 or "
        "views+crops=3+clips=4+stride=4 (3 crops of 4 clips, every 4th frame), vjepa, reversed(uniform), "
        "shuffled(...), frozen(...); options: `vitascope describe views`; see docs/sampling.md",
        callback=_clips,
    ),
]


def how_run(compiled: str, decoder: str) -> dict[str, Any]:
    """Check what `--compile` and `--decoder` say."""
    return {
        "compile": choice(compiled, "--compile", ("off", "faster", "always")),
        "decoder": choice(decoder, "--decoder", ("pyav", "torchcodec", "nvdec")),
    }


def choice(value: str, option: str, allowed: Sequence[str]) -> Any:
    """Check that `value` is allowed; returns Any because callers need a literal type."""
    if value not in allowed:
        raise UserError(f"{option} {value!r}{nearest(value, allowed)}; choose from {', '.join(allowed)}")
    return value


DISK_COMMANDS = frozenset(("import", "export", "report", "compare", "board", "score", "convert"))
"""Commands that read and write on disk alone."""
DISK_OPTIONS = frozenset(("-o", "--output", "--classes", "--fixtures", "--truth", "--predictions"))
URL_OPTIONS = frozenset(("--store", "--data-root", "-m", "--model"))


def refuse_urls(arguments: Sequence[str]) -> None:
    """Raise UserError for a URL where a path on disk is needed, which it would be taken for."""
    before = ""
    for text in arguments[1:]:
        option, _, value = text.partition("=") if text.startswith("--") else (before, "", text)
        before = text if text.startswith("-") else ""
        on_disk = option in DISK_OPTIONS or (arguments[0] in DISK_COMMANDS and option not in URL_OPTIONS)
        if is_url(value) and on_disk:
            raise UserError(
                f"{f'{option} ' * (option in DISK_OPTIONS)}{value}: this is on disk; videos, lists and stores may be "
                "at URLs, as in `vitascope embed s3://bucket/videos --store s3://bucket/store`"
            )


def folder(path: Path, flag: str) -> Path:
    """Check before any work that an output folder can be written, and return it."""
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise UserError(f"{flag} {path}: {existing} is a file; give a folder")
    if not os.access(existing, os.W_OK):
        raise UserError(f"{flag} {path}: {existing} is not writable; give another folder")
    return path


def extraction_options(
    workers: int, batch: int, device: str, timeout: float = 60.0, *, quiet: bool, **more: Any
) -> Any:
    """Extraction options from the command line; `more`: those that few commands have."""
    from vitascope.core.cluster import check_name, connect
    from vitascope.core.device import device_name
    from vitascope.features.extraction_options import ExtractionOptions

    if check_name(more.get("on", "")):
        connect(more["on"])  # before any other work
        device, more["cluster_device"] = "cpu", device  # this process only reads and writes
    where = device_name(device)
    return ExtractionOptions(device=where, workers=workers, batch=batch, timeout=timeout, quiet=quiet, **more)


def open_videos(data: str, data_root: Path | None = None, *, labeled: bool = True) -> Any:
    """Open the dataset `data`, which must have videos, and classes if `labeled`."""
    from vitascope.core.arrow import skip_pandas
    from vitascope.datasets.open import open_dataset

    skip_pandas()
    dataset = open_dataset(data, data_root, labeled=labeled)
    if dataset.cards:
        raise UserError(f"{data} holds imported embeddings and no videos; run `vitascope evaluate {data}` on them")
    return dataset
