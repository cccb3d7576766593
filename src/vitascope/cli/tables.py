"""Tables for the terminal: registered names, audit and survey findings, cost estimates."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from vitascope.core.registry import Registry
from vitascope.core.text import escaped, file_size, number, rough_duration
from vitascope.datasets.catalog import DATASETS
from vitascope.encoders.catalog import ENCODERS, cards
from vitascope.pretrain import find_recipe
from vitascope.probes.catalog import PROBES

if TYPE_CHECKING:
    from vitascope.core.types import Card, Clip
    from vitascope.datasets.audit.manifest import ManifestRow, Survey
    from vitascope.evaluation.results import Result

REGISTRIES: dict[str, Registry] = {registry.kind: registry for registry in (ENCODERS, PROBES, DATASETS)}
MAX_LISTED = 3
"""Number of examples listed per problem."""
PROBLEMS = ("missing", "unreadable", "too short", "duplicate")
WIDE = 160
"""Columns from which on encoders are listed with license and pretraining data."""
MAX_LICENSE, MAX_TRAINED = 28, 36
"""Columns for the license and the pretraining data."""
MARKS = {True: "[green]pass[/]", False: "[red]FAIL[/]", None: "[dim]info[/]"}


def names(kind: str) -> dict[str, Any]:
    """Names of a kind with a description as plain data; encoders also with their card if known."""
    if kind != "encoders":
        return lines(kind)
    cards_by_name = _cards()
    return {
        name: {
            "about": about,
            **({**cards_by_name[name].behavior, **cards_by_name[name].knowledge} if name in cards_by_name else {}),
        }
        for name, about in ENCODERS.names().items()
    }


def _cards() -> dict[str, Card]:
    """Cards of the official models and of those shipped with the package."""
    from vitascope.encoders.weights.native_card import shipped_cards

    return {**cards(), **shipped_cards()}


def lines(kind: str) -> dict[str, str]:
    """Names of a kind, each with a one-line description."""
    return find_recipe.names() if kind == "recipes" else REGISTRIES[kind].names()


def names_lines(kind: str, width: int = 0) -> list[str]:
    """The names of a kind below a header, one a line; descriptions are cut to `width` columns, not at all for 0."""
    if kind == "encoders":
        return encoder_lines(ENCODERS.names(), _cards(), width)
    return aligned(["name", "what it is"], list(lines(kind).items()), width)


def encoder_lines(about: Mapping[str, str], cards: Mapping[str, Card], width: int = 0) -> list[str]:
    """One encoder a line: clip, width, parameters, cost; license and pretraining data where there is room."""
    wide = not width or width >= WIDE
    heads = ["name", "clip", "dim", "params", "GFLOPs", *(["license", "pretrained on"] * wide), "what it is"]
    rows = []
    for name, line in about.items():
        *numbers, license, trained = cells(cards[name]) if name in cards else ("",) * 6
        facts = (cut(license, MAX_LICENSE), cut(trained, MAX_TRAINED)) if wide else ()
        rows.append((name, *numbers, *facts, line))
    return aligned(heads, rows, width, right=("clip", "dim", "params", "GFLOPs"))


def aligned(
    heads: Sequence[str], rows: Sequence[tuple[str, ...]], width: int = 0, *, right: Sequence[str] = ()
) -> list[str]:
    """Rows in columns two spaces apart; the last column is cut to what is left of `width`, if that is not 0."""
    *spans, _ = (max(map(len, column)) for column in zip(heads, *rows, strict=True))
    room = max(width - sum(spans) - 2 * len(spans), 1) if width else 0
    text = []
    for row in (heads, *rows):
        *front, last = row
        cells = [
            cell.rjust(span) if head in right else cell.ljust(span)
            for cell, span, head in zip(front, spans, heads[:-1], strict=True)
        ]
        text.append("  ".join([*cells, cut(last, room)]).rstrip())
    return text


def cut(text: str, room: int) -> str:
    """`text` of at most `room` columns, with an ellipsis where it is cut; whole for 0."""
    return text if not room or len(text) <= room else text[: room - 1].rstrip() + "…"


def encoders_markdown(cards: Mapping[str, Card]) -> str:
    """Table for `docs/encoders.md`: one official model per row."""
    heads = ("encoder", "clip", "dim", "params", "GFLOPs", "license", "pretrained on", "summary vector")
    rows = [(name, *cells(card), card.pool) for name, card in cards.items()]
    lines = [heads, ("---", *("---:",) * 4, *("---",) * 3), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def cells(card: Card) -> tuple[str, ...]:
    """Clip (frames x size), width, parameters, GFLOPs per clip (multiply-adds), license, pretraining datasets."""
    clip = f"{card.frames}x{card.size}" if card.frames else ""
    size = f"{card.params / 1e6:.1f}M" if card.params else ""
    cost = f"{card.gflops:.0f}" if card.gflops >= 10 else f"{card.gflops:.1f}" if card.gflops else ""
    return clip, str(card.dim), size, cost, card.license, card.trained


def store(root: Path) -> tuple[dict[str, str], str]:
    """Contents of the store: {folder: description}, and the same as text."""
    from vitascope.features.store import stored_keys

    rows = {str(path): f"{k['card']['name']} on {k['dataset']}" for path, k in stored_keys(root)}
    lines = [f"{about}\n    {path}" for path, about in rows.items()]
    return rows, "\n".join(lines) or f"{root} is empty; `vitascope embed` and `vitascope evaluate` write to it"


def findings_table(model: str, findings: Sequence[Any]) -> Table:
    """Table of the findings of an audit."""
    table = Table("", "check", "finding", box=None, header_style="bold", title=escape(model), title_justify="left")
    for finding in findings:
        table.add_row(MARKS[finding.ok], finding.name, escape(finding.detail))
    return table


def plain_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of text."""
    table = Table(*map(escape, heads), box=None, header_style="bold", title=escape(title), title_justify="left")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def cases_table(rows: Sequence[Any]) -> Table:
    """Table of the cases of a fixture folder: largest error of each output, in standard deviations."""
    table = Table("", "case", "encoder", "largest error", "coverage", box=None, header_style="bold")
    for row in rows:
        each = ", ".join(f"{name} {error:.1e}" for name, error in row.outputs.items())
        table.add_row(
            MARKS[row.ok], escape(row.case), escape(row.encoder), escape(each), escape(row.why or row.coverage)
        )
    return table


def plan_table(clips: Sequence[Clip], frames: Sequence[Sequence[int]]) -> Table:
    """Table of clips: interval, crop, and selected frames."""
    table = Table("clip", "seconds", "crop", "frames", box=None, header_style="bold")
    for i, (clip, indices) in enumerate(zip(clips, frames, strict=True)):
        crop = clip.crop
        where = f"{crop.index + 1} of {crop.count}" if crop.box is None else " ".join(f"{b:.2f}" for b in crop.box)
        table.add_row(str(i), f"{clip.span[0]:.3f} to {clip.span[1]:.3f}", where, " ".join(map(str, indices)))
    return table


def cost_table(costs: Sequence[Any]) -> Table:
    """Table of the estimated cost of every encoder on every dataset, step by step, and in total."""
    table = Table("encoder", "dataset", "step", box=None, header_style="bold", pad_edge=False)
    for head in ("clips to encode", "store", "time"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("")
    for cost in costs:
        name = (escape(cost.encoder), escape(cost.dataset))
        for step in cost.steps:
            clips, size = f"{step.clips:,}" if step.clips else "", file_size(step.stored) if step.stored else ""
            label = step.what.removeprefix(f"{cost.dataset}:")
            table.add_row(*name, escape(label), clips, size, rough_duration(step.seconds), escape(step.note))
            name = ("", "")
        if cost.recorded:
            table.add_row(*name, f"{len(cost.recorded)} already recorded", "", "", "", "")
    total = rough_duration(sum(cost.seconds for cost in costs))
    table.add_row("", "", "[bold]total[/]", "", "", f"[bold]{total}[/]", "rough estimate, measured on this machine")
    return table


def survey_table(survey: Survey) -> Table:
    """Table of the counts of a survey, one split per row."""
    has_official = any(t.official is not None for t in survey.split_counts)
    heads = ("split", "expected", *(["official"] if has_official else []), "found", *PROBLEMS, "with a warning")
    title = f"{survey.dataset} in {survey.root}" if survey.root else survey.dataset
    table = Table(box=None, header_style="bold", title=escape(escaped(title)), title_justify="left")
    for head in heads:
        table.add_column(head, justify="left" if head == "split" else "right", no_wrap=head == "split")
    for t in survey.split_counts:
        official = ["" if t.official is None else str(t.official)] if has_official else []
        counts = (t.found, t.missing, t.unreadable, t.short, t.duplicate, t.odd)
        table.add_row(escape(escaped(t.split)), str(t.expected), *official, *map(str, counts))
    return table


def survey_lines(survey: Survey) -> Iterator[str]:
    """Other results of a survey: leakage, the first examples of each problem, and the files read."""
    if survey.limited:
        checked = sum(bool(row.id) for row in survey.rows)
        yield f"limited: {checked} of {survey.examples} examples were checked; the others are unknown"
    if survey.leaks:
        one = len(survey.leaks) == 1
        yield f"LEAK: {len(survey.leaks)} test example{' is' if one else 's are'} also in the training set"
    for warning in survey.warnings:
        if not (warning.kind in ("leak", "copies") and warning.touched == len(survey.leaks)):  # said above
            yield escaped(warning.text)
    for status, rows in survey_problems(survey).items():
        yield f"{status}: {len(rows)}"
        yield from (f"  {escaped(row.id or row.path)}: {escaped(row.why)}" for row in rows[:MAX_LISTED])
    before = len({row.path for row in survey.rows if row.report.kind or row.report.why}) - survey.read
    reused = f"; {before} unchanged since the last check" if before > 0 else ""
    files = f"{survey.read} file{'s' * (survey.read != 1)} read"
    yield f"{files}, {survey.bytes / 1e6:.1f} MB, in {survey.seconds:.1f} s{reused}"


def survey_problems(survey: Survey) -> dict[str, list[ManifestRow]]:
    """Rows with problems, by problem; leaks come first among the duplicates."""
    leaks = {row.id for row in survey.leaks}
    problems = {status: [r for r in survey.rows if r.status == status] for status in PROBLEMS}
    problems["duplicate"].sort(key=lambda row: row.id not in leaks)
    problems["unexpected"] = [r for r in survey.rows if r.status == "unexpected"]
    problems["with a warning"] = [r for r in survey.rows if r.status == "ok" and r.why]
    return {name: rows for name, rows in problems.items() if rows}


def survey_data(survey: Survey) -> dict[str, Any]:
    """Survey as plain data, without its rows, which are in the manifest."""
    return {
        "dataset": survey.dataset,
        "root": survey.root,
        "examples": survey.examples,
        "limited": survey.limited,
        "well": survey.passed,
        "splits": [t._asdict() for t in survey.split_counts],
        "leaks": [row.id for row in survey.leaks],
        "warnings": [warning._asdict() for warning in survey.warnings],
        "troubles": {
            status: {
                "count": len(rows),
                "first": [{"id": r.id, "path": escaped(r.path), "why": escaped(r.why)} for r in rows[:MAX_LISTED]],
            }
            for status, rows in survey_problems(survey).items()
        },
        "files_read": survey.read,
        "bytes_read": survey.bytes,
        "seconds": survey.seconds,
    }


def coverage_lines(results: Sequence[Result]) -> Iterator[str]:
    """One line per dataset about its missing and damaged examples, and one per result about their effect."""
    from vitascope.report.analysis import phrases

    for result in {r.dataset: r for r in results}.values():
        for problem, examples in (("missing", result.missing), ("damaged, used up to the damage", result.notes)):
            if examples:
                example, reason = next(iter(examples.items()))
                more = f", and {len(examples) - 1} more" if len(examples) > 1 else ""
                yield f"{result.dataset}, {problem}: {example} ({reason}){more}"
    for result in results:
        if coverage := phrases.coverage_note(result):
            yield f"{result.encoder} on {result.task}, {number(result.headline.value)}: {coverage}"


def as_json(value: Any) -> str:
    """Format plain data for --json."""
    return json.dumps(value, ensure_ascii=False, indent=1)


DESCRIBE = "options: vitascope describe NAME"
ALSO = {
    "encoders": f"{DESCRIBE}; everything: --json\nalso hf:ID or hf:FOLDER for image and video models of transformers,\n"
    "with +view=report for the report's pixels; module:function for your own",
    "probes": f"{DESCRIBE}; docs/probes.md",
    "recipes": f"{DESCRIBE}; cost: vitascope pretrain NAME --dry-run\nalso module:function for your own",
    "datasets": f"{DESCRIBE}\nalso any folder of class folders, or with a manifest.csv, groundTruth/ or a JSON\n"
    "file in ActivityNet format, or written by `vitascope import`",
}
"""Hints on names besides the registered ones, by kind."""
