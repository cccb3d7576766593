"""The command `score`: the metrics on files of predictions, without a model or a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitascope.cli import options
from vitascope.core.errors import UserError
from vitascope.core.text import escaped, margin, number, p_value, with_interval

if TYPE_CHECKING:
    from vitascope.evaluation.scored_files.scored import Comparison, Scored

app = typer.Typer()
METRICS = ("frame-ap", "tube-ap", "localization", "segmentation", "top1")
MAX_NAME = 40
"""Columns of a class name."""


Truth = Annotated[Path, typer.Option("--truth", help="file (segmentation: folder) with the ground truth")]
Predictions = Annotated[list[Path], typer.Option("--predictions", help="file or folder of predictions")]
More = Annotated[list[Path] | None, typer.Argument(help="more predictions, compared pairwise")]
Exclude = Annotated[
    Path | None, typer.Option("--exclude", help="frame-ap: csv of frames that do not count (video,time)")
]
Classes = Annotated[
    str, typer.Option("--classes", help="boxes: label map (pbtxt), ava or all", show_default="by the files")
]
Reading = Annotated[
    str,
    typer.Option(
        "--reading",
        help="whose evaluator: official, stable, uncapped, slowfast, mmaction2 (frame-ap), multisports, act "
        "(tube-ap), sound, published (segmentation)",
        show_default="official, multisports, sound",
    ),
]
Thresholds = Annotated[
    str, typer.Option("--thresholds", help="localization: tIoU, such as 0.5:0.95:0.05", show_default="by the files")
]
Subset = Annotated[
    str, typer.Option("--subset", help="localization: subset of the truth", show_default="the one predicted")
]
Report = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", help="file to write: .html (a page), .md (the same lines), .svg or .png (the scores)"
    ),
]
SUFFIXES = (".html", ".md", ".svg", ".png")


@app.command()
def score(
    metric: Annotated[str, typer.Argument(help=", ".join(METRICS))],
    truth: Truth,
    predictions: Predictions,
    more: More = None,
    exclude: Exclude = None,
    classes: Classes = "",
    reading: Reading = "",
    thresholds: Thresholds = "",
    subset: Subset = "",
    output: Report = None,
    as_json: options.Json = False,
) -> None:
    """Score predictions from elsewhere, in the field's own file forms, with intervals and per class.

    frame-ap, tube-ap: AVA's csv, with or without a header. localization: ActivityNet's
    JSON. segmentation: MS-TCN's folders. top1: csv or npz of class scores.
    Several predictions are compared pairwise on the same truth (paired bootstrap).

    Example: vitascope score frame-ap --truth ava_val_v2.2.csv --predictions mine.csv
    """
    if output:
        options.folder(output.parent, "-o")
        _check_suffix(output)
    scored = _scored(
        options.choice(metric, "score", METRICS),
        truth,
        [*predictions, *(more or [])],
        exclude=exclude,
        classes=classes,
        reading=reading,
        thresholds=thresholds,
        subset=subset,
    )
    from vitascope.evaluation.scored_files.scored import compared

    pairs = compared(scored)
    if output:
        from vitascope.core.files import write

        write(output, _written(output, metric, truth, scored, pairs))
    if as_json:
        from vitascope.cli.tables import as_json as formatted

        print(formatted(data(metric, truth, scored, pairs)))
        return
    print("\n".join(escaped(line) for line in text(scored, pairs)))
    if output:
        print(output)


def _check_suffix(output: Path) -> None:
    if output.suffix.lower() not in (*SUFFIXES, ""):
        raise UserError(f"-o {output}: no file ending in {output.suffix}; choose from {', '.join(SUFFIXES)}")


def _written(output: Path, metric: str, truth: Path, scored: Sequence[Scored], pairs: Sequence[Comparison]) -> bytes:
    """The report in the form that the name of the file asks for; Markdown if it asks for none."""
    from vitascope.report import scored_page
    from vitascope.report.charts import svg_png

    form = output.suffix.lower()
    if form == ".html":
        return scored_page.html(metric, truth, scored, pairs).encode("utf-8", "backslashreplace")
    if form not in (".svg", ".png"):
        return "\n".join(_markdown(metric, truth, scored, pairs)).encode()
    picture = scored_page.picture(metric, truth, scored)
    return svg_png.svg(picture).encode() if form == ".svg" else svg_png.png(picture)


def _scored(metric: str, truth: Path, predictions: Sequence[Path], **given: Any) -> list[Scored]:
    from vitascope.evaluation.scored_files import classes, detection, temporal

    allowed: dict[str, tuple[Any, tuple[str, ...]]] = {
        "frame-ap": (detection.frame_scores, ("exclude", "classes", "reading")),
        "tube-ap": (detection.tube_scores, ("exclude", "classes", "reading")),
        "localization": (temporal.localization_scores, ("thresholds", "subset")),
        "segmentation": (temporal.segmentation_scores, ("reading",)),
        "top1": (classes.accuracy_scores, ()),
    }
    compute, takes = allowed[metric]
    for name, value in given.items():
        if value and name not in takes:
            raise UserError(f"--{name} is not for {metric}, which takes {', '.join(f'--{n}' for n in takes) or 'none'}")
    repeated = next((p for i, p in enumerate(predictions) if p in predictions[:i]), None)
    if repeated is not None:
        raise UserError(f"--predictions {repeated} is given twice; every file is scored once")
    result: list[Scored] = compute(truth, predictions, **{name: given[name] for name in takes})
    return result


def text(scored: Sequence[Scored], pairs: Sequence[Comparison]) -> Iterator[str]:
    """The scores in lines: headline, classes, diagnosis and notes of each file, then the pairs."""
    for file in scored:
        yield file.name
        yield from (f"  {name:<22}{with_interval(value)}" for name, value in file.scores.items())
        yield from (f"  {name:<22}{value!r}" for name, value in file.exact.items() if "@" not in name)
        yield from _class_lines(file)
        yield from _diagnosis_lines(file.diagnosis)
        yield from (f"  note: {note}" for note in file.notes)
        yield ""
    yield from map(pair_line, pairs)


def pair_line(pair: Comparison) -> str:
    """One comparison in a line."""
    gap = pair.difference
    verdict = "" if pair.adjusted < 0.05 else ", not significant"  # the level of all tests, as in the report
    return f"{pair.first} against {pair.second}: {margin(_score(gap))} ({p_value(pair.adjusted)}{verdict})"


def _score(gap: Any) -> Any:
    from vitascope.core.types import Score

    return Score(*gap[:3])


def _class_lines(file: Scored) -> Iterator[str]:
    known = {name: value for name, value in file.per_class.items() if value.value == value.value}
    absent = len(file.per_class) - len(known)
    if known:
        yield f"  {len(known)} classes" + (f", {absent} more without ground truth" if absent else "")
    width = min(max(map(len, known), default=0), MAX_NAME)
    for name, value in sorted(known.items(), key=lambda pair: -pair[1].value):
        yield f"    {name[:MAX_NAME]:<{width}}  {with_interval(value)}"


def _diagnosis_lines(diagnosis: Any) -> Iterator[str]:
    for name, part in diagnosis.items():
        if isinstance(part, list):
            yield f"  by {name}: " + ", ".join(
                f"{row['range']} ({row['segments']}, mAP_N {_cell(row['mAP_N'])}, missed {_cell(row['missed'])})"
                for row in part
                if row["segments"]
            )
        elif not isinstance(part, dict):
            yield f"  {name}: {_cell(part)}"
        elif part and name != "profile":  # a table of ten rows, in --json
            yield f"  {name}: " + ", ".join(f"{key} {_cell(value)}" for key, value in part.items())


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return f"({', '.join(f'{key} {_cell(inner)}' for key, inner in value.items())})"
    return number(value) if isinstance(value, float) else str(value)


def data(metric: str, truth: Path, scored: Sequence[Scored], pairs: Sequence[Comparison]) -> dict[str, Any]:
    """All of it as plain data."""
    from vitascope.evaluation.scored_files.scored import plain

    files = [
        {
            "predictions": file.name,
            "scores": file.scores,
            "exact": file.exact,
            "per_class": file.per_class,
            "diagnosis": file.diagnosis,
            "notes": file.notes,
        }
        for file in scored
    ]
    compared = [
        {"first": p.first, "second": p.second, "p_adjusted": p.adjusted, **p.difference._asdict()} for p in pairs
    ]
    whole: dict[str, Any] = plain({"metric": metric, "truth": str(truth), "files": files, "comparisons": compared})
    return whole


def _markdown(metric: str, truth: Path, scored: Sequence[Scored], pairs: Sequence[Comparison]) -> Iterator[str]:
    yield f"# {metric} of {len(scored)} file{'s' * (len(scored) != 1)} on {truth}"
    yield ""
    names = list(scored[0].scores)
    yield f"| predictions | {' | '.join(names)} |"
    yield f"|---|{'---:|' * len(names)}"
    for file in scored:
        yield f"| {file.name} | {' | '.join(with_interval(file.scores[name]) for name in names)} |"
    yield ""
    yield from (f"- {pair_line(pair)}" for pair in pairs)
    for file in scored:
        yield from ("", f"## {file.name}", "", "```")
        yield from text([file], [])
        yield "```"
