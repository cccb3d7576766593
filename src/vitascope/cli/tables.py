"""Tables for the terminal: what there is, and what a check found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from vitascope.core.registry import Registry
from vitascope.core.text import number, shown
from vitascope.core.types import Card, Clip
from vitascope.datasets.catalog import DATASETS
from vitascope.encoders.catalog import ENCODERS, cards
from vitascope.encoders.weights import native_card
from vitascope.evaluation.results import Result
from vitascope.pretrain import find_recipe
from vitascope.probes.catalog import PROBES
from vitascope.report.analysis import phrases

if TYPE_CHECKING:
    from vitascope.datasets.audit.manifest import ManifestRow, Survey

REGISTRIES: dict[str, Registry] = {registry.kind: registry for registry in (ENCODERS, PROBES, DATASETS)}
FEW = 3
"""Examples that are named of each trouble."""
TROUBLES = ("missing", "unreadable", "too short", "duplicate")
MARKS = {True: "[green]pass[/]", False: "[red]FAIL[/]", None: "[dim]info[/]"}


def names(kind: str) -> dict[str, Any]:
    """What there is of a kind, as plain data: one line each; of encoders `about` and, where it is known, the card."""
    if kind != "encoders":
        return lines(kind)
    known = _cards()
    return {
        name: {"about": about, **({**known[name].behavior, **known[name].knowledge} if name in known else {})}
        for name, about in ENCODERS.names().items()
    }


def _cards() -> dict[str, Card]:
    """Of the published models and of those that come with the package."""
    return {**cards(), **native_card.shipped()}


def lines(kind: str) -> dict[str, str]:
    """Every name of a kind and a line about it."""
    return find_recipe.names() if kind == "recipes" else REGISTRIES[kind].names()


def names_table(kind: str) -> Table:
    """The same for people."""
    if kind == "encoders":
        return encoders_table(ENCODERS.names(), _cards())
    table = Table("name", "what it is", box=None, header_style="bold", pad_edge=False)
    for name, about in lines(kind).items():
        table.add_row(escape(name), escape(about))
    return table


def encoders_table(about: Mapping[str, str], cards: Mapping[str, Card]) -> Table:
    """One encoder a row: its clip, width, size and cost, its license and what it was pretrained on."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for head in ("name", "clip", "dim", "params", "GFLOPs", "license", "pretrained on", "what it is"):
        right = head in ("clip", "dim", "params", "GFLOPs")
        long = head == "pretrained on"  # all of it: --json
        table.add_column(
            head,
            justify="right" if right else "left",
            no_wrap=right or long or head == "name",
            max_width=36 if long else None,
            overflow="ellipsis" if long else "fold",
        )
    for name, line in about.items():
        card = cards.get(name)
        table.add_row(escape(name), *map(escape, cells(card) if card else ("",) * 6), escape(line))
    return table


def encoders_markdown(cards: Mapping[str, Card]) -> str:
    """The table of `docs/encoders.md`: one published model a row."""
    heads = ("encoder", "clip", "dim", "params", "GFLOPs", "license", "pretrained on", "summary vector")
    rows = [(name, *cells(card), card.pool) for name, card in cards.items()]
    lines = [heads, ("---", *("---:",) * 4, *("---",) * 3), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def cells(card: Card) -> tuple[str, ...]:
    """Clip, width, parameters, multiply-adds of a clip in 1e9, license, pretraining sets."""
    clip = f"{card.frames}x{card.size}" if card.frames else ""
    size = f"{card.params / 1e6:.1f}M" if card.params else ""
    cost = f"{card.gflops:.0f}" if card.gflops >= 10 else f"{card.gflops:.1f}" if card.gflops else ""
    return clip, str(card.dim), size, cost, card.license, card.trained


def store(root: Path) -> tuple[dict[str, str], str]:
    """What the store below `root` holds: {folder: what}, and the same as text."""
    from vitascope.features.store import keys

    rows = {str(path): f"{k['card']['name']} on {k['dataset']}" for path, k in keys(root)}
    lines = [f"{about}\n    {path}" for path, about in rows.items()]
    return rows, "\n".join(lines) or f"nothing in {root} yet; `vitascope embed` and `vitascope evaluate` fill it"


def findings_table(model: str, findings: Sequence[Any]) -> Table:
    """The findings of an audit."""
    table = Table("", "check", "found", box=None, header_style="bold", title=escape(model), title_justify="left")
    for finding in findings:
        table.add_row(MARKS[finding.ok], finding.name, escape(finding.detail))
    return table


def cases_table(rows: Sequence[Any]) -> Table:
    """The cases of a fixture folder, each output with its largest difference in standard deviations."""
    table = Table("", "case", "encoder", "largest difference", "coverage", box=None, header_style="bold")
    for row in rows:
        each = ", ".join(f"{name} {apart:.1e}" for name, apart in row.outputs.items())
        table.add_row(
            MARKS[row.ok], escape(row.case), escape(row.encoder), escape(each), escape(row.why or row.coverage)
        )
    return table


def plan_table(clips: Sequence[Clip], shown: Sequence[Sequence[int]]) -> Table:
    """Clips, their interval and crop, and the frames on display at their instants."""
    table = Table("clip", "seconds", "crop", "frames on display", box=None, header_style="bold")
    for i, (clip, indices) in enumerate(zip(clips, shown, strict=True)):
        crop = clip.crop
        where = f"{crop.index + 1} of {crop.count}" if crop.box is None else " ".join(f"{b:.2f}" for b in crop.box)
        table.add_row(str(i), f"{clip.span[0]:.3f} to {clip.span[1]:.3f}", where, " ".join(map(str, indices)))
    return table


def forecast_table(found: Sequence[Any]) -> Table:
    """What every encoder on every dataset would take, step by step, and in all."""
    table = Table("encoder", "dataset", "step", box=None, header_style="bold", pad_edge=False)
    for head in ("clips to encode", "store", "time"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("")
    for one in found:
        name = (escape(one.encoder), escape(one.dataset))
        for step in one.steps:
            clips, size = f"{step.clips:,}" if step.clips else "", magnitude(step.stored) if step.stored else ""
            what = step.what.removeprefix(f"{one.dataset}:")
            table.add_row(*name, escape(what), clips, size, duration(step.seconds), escape(step.note))
            name = ("", "")
        if one.recorded:
            table.add_row(*name, f"{len(one.recorded)} recorded already", "", "", "", "")
    total = duration(sum(one.seconds for one in found))
    table.add_row("", "", "[bold]in all[/]", "", "", f"[bold]{total}[/]", "measured on this machine just now, roughly")
    return table


def duration(seconds: float) -> str:
    """Seconds in the largest unit that leaves at least two of it."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "< 1 s"


def magnitude(size: int) -> str:
    """Bytes with a prefix."""
    value, units = float(size), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 1000 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if value >= 10 or units[0] == "B" else f"{value:.1f} {units[0]}"


def survey_table(found: Survey) -> Table:
    """What a survey of a data set counted, one split a row."""
    known = any(t.official is not None for t in found.tallies)
    heads = ("split", "expected", *(["published"] if known else []), "found", *TROUBLES, "with a warning")
    title = f"{found.dataset} in {found.root}" if found.root else found.dataset
    table = Table(box=None, header_style="bold", title=escape(shown(title)), title_justify="left")
    for head in heads:
        table.add_column(head, justify="left" if head == "split" else "right", no_wrap=head == "split")
    for t in found.tallies:
        published = ["" if t.official is None else str(t.official)] if known else []
        counts = (t.found, t.missing, t.unreadable, t.short, t.duplicate, t.odd)
        table.add_row(escape(shown(t.split)), str(t.expected), *published, *map(str, counts))
    return table


def survey_lines(found: Survey) -> Iterator[str]:
    """The rest of it: leakage, the first examples of each trouble, and what was read."""
    if found.limited:
        looked = sum(bool(row.id) for row in found.rows)
        yield f"limited: {looked} of {found.examples} examples were looked at; nothing is known of the others"
    if found.leaks:
        one = len(found.leaks) == 1
        yield f"LEAK: {len(found.leaks)} test example{' is' if one else 's are'} in training too"
    for status, rows in survey_troubles(found).items():
        yield f"{status}: {len(rows)}"
        yield from (f"  {shown(row.id or row.path)}: {shown(row.why)}" for row in rows[:FEW])
    before = len({row.path for row in found.rows if row.found.kind or row.found.why}) - found.read
    known = f"; {before} known from before, unchanged" if before > 0 else ""
    files = f"{found.read} file{'s' * (found.read != 1)} read"
    yield f"{files}, {found.bytes / 1e6:.1f} MB, in {found.seconds:.1f} s{known}"


def survey_troubles(found: Survey) -> dict[str, list[ManifestRow]]:
    """The rows that something is to be said about, by what it is; leaks first among the duplicates."""
    leaks = {row.id for row in found.leaks}
    troubles = {status: [r for r in found.rows if r.status == status] for status in TROUBLES}
    troubles["duplicate"].sort(key=lambda row: row.id not in leaks)
    troubles["unexpected"] = [r for r in found.rows if r.status == "unexpected"]
    troubles["with a warning"] = [r for r in found.rows if r.status == "ok" and r.why]
    return {name: rows for name, rows in troubles.items() if rows}


def survey_data(found: Survey) -> dict[str, Any]:
    """A survey as plain data; the rows are in the manifest."""
    return {
        "dataset": found.dataset,
        "root": found.root,
        "examples": found.examples,
        "limited": found.limited,
        "well": found.well,
        "splits": [t._asdict() for t in found.tallies],
        "leaks": [row.id for row in found.leaks],
        "troubles": {
            status: {
                "count": len(rows),
                "first": [{"id": r.id, "path": shown(r.path), "why": shown(r.why)} for r in rows[:FEW]],
            }
            for status, rows in survey_troubles(found).items()
        },
        "files_read": found.read,
        "bytes_read": found.bytes,
        "seconds": found.seconds,
    }


def gaps(found: Sequence[Result]) -> Iterator[str]:
    """For every dataset a line about what was missing from it, and one about what was damaged; what that may mean."""
    for result in {r.dataset: r for r in found}.values():
        for word, said in (("missing", result.missing), ("damaged, used as far as it goes", result.notes)):
            if said:
                example, why = next(iter(said.items()))
                more = f", and {len(said) - 1} more" if len(said) > 1 else ""
                yield f"{result.dataset}, {word}: {example} ({why}){more}"
    for result in found:
        if coverage := phrases.covered(result):
            yield f"{result.encoder} on {result.task}, {number(result.headline.value)}: {coverage}"


def as_json(value: Any) -> str:
    """Plain data as the flag --json prints it."""
    return json.dumps(value, ensure_ascii=False, indent=1)


ALSO = {
    "encoders": "and hf:ID or hf:FOLDER, any transformers image or video model; module:function, yours",
    "probes": "what each does exactly: docs/protocols.md",
    "recipes": "and module:function, yours; `vitascope pretrain NAME --dry-run` says what each costs here",
    "datasets": "and any folder of class folders, with a manifest.csv, with groundTruth/ or with a json in "
    "ActivityNet's form, or made by `vitascope import`",
}
"""What the names of a kind leave out."""
