"""Maps: what was measured of each, as a table and as sentences, and the maps that lie in a run folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from vitascope.core.errors import UserError
from vitascope.core.text import counted, escaped, number, percent, with_interval
from vitascope.core.types import Score
from vitascope.evaluation.maps.files import RECORD, Chance, MapRecord, Neighborhood, Picture, Space, read_record
from vitascope.report.analysis.phrases import TextRun
from vitascope.report.sections.tables import SummaryTable

HEADS = ("encoder", "where", "same class", "same class, held out", "silhouette", "trustworthiness")
NONE = "–"


class RunMap(NamedTuple):
    """A map in a run folder."""

    folder: str
    """Relative to the run folder, with slashes."""
    record: MapRecord


def maps_of(run: Path) -> list[RunMap]:
    """The maps in the folders directly below a run folder, by name; files that do not fit are left out."""
    maps = []
    for path in sorted(run.glob(f"*/{RECORD}")):
        try:
            maps.append(RunMap(path.parent.name, read_record(path.parent)))
        except UserError:
            continue
    return maps


def measures_table(record: MapRecord) -> SummaryTable:
    """Everything that was measured in the full spaces and in the pictures, with what chance gives."""
    lines = [line for space in record.spaces for line in _lines(record, space)]
    return SummaryTable(f"Neighborhoods on {escaped(record.dataset)}", _note(record), HEADS, tuple(lines))


def _lines(record: MapRecord, space: Space) -> Iterator[tuple[str, ...]]:
    name = escaped(space.encoder)
    yield (name, "chance", *_chance(space.chance))
    yield (name, f"full space, {space.dim} dimensions", *_cells(space.measured), NONE)
    for picture in pictures_of(record, space.encoder):
        trust = picture.measured.trustworthiness
        yield (name, words(picture), *_cells(picture.measured), NONE if trust is None else number(trust))


def pictures_of(record: MapRecord, encoder: str) -> list[Picture]:
    """The pictures of one encoder."""
    return [picture for picture in record.pictures if picture.encoder == encoder]


def words(picture: Picture) -> str:
    """The name of a projection, with its options."""
    options = picture.method.partition("+")[2]
    return f"{picture.title} {options.replace('+', ', ')}".strip()


def _chance(chance: Chance) -> tuple[str, ...]:
    if chance.purity is None:
        return (NONE,) * 4
    text = f"{number(chance.purity[0])}, up to {number(chance.purity[1])}"
    silhouette = NONE if chance.silhouette is None else _decimals(chance.silhouette)
    return text, NONE, silhouette, "50.0"


def _cells(measured: Neighborhood) -> tuple[str, str, str]:
    silhouette = NONE if measured.silhouette is None else _decimals(measured.silhouette)
    return _scored(measured.purity), _scored(measured.held_out), silhouette


def _scored(score: Score | None) -> str:
    return NONE if score is None else with_interval(score)


def _decimals(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def _note(record: MapRecord) -> str:
    others = "videos" if record.recordings == record.videos == record.points else "recordings"
    lines = [
        f"Same class: percentage of the {record.k} nearest {record.unit}s of other {others} that show the class of a "
        f"{record.unit}, Euclidean, with its 95 % interval over {others}.",
        "Chance: shuffled labels, mean and 97.5th percentile of 200; of trustworthiness, a picture at random.",
        *_best(record),
        "Held out: LDA is fitted on the points that it shows and separates even noise; this value is of points that "
        f"the plane was not fitted on (five folds, whole {others})."
        if _has_lda(record)
        else "",
        "Silhouette: -1 to 1, above 0 where a point is closer to its own class than to the next.".replace("-1", "−1"),
        f"Trustworthiness: 100 where every one of the {record.k} nearest points in the picture is as near in the full "
        "space (Venna and Kaski 2001).",
    ]
    return " ".join(filter(None, lines))


def _best(record: MapRecord) -> list[str]:
    best = record.spaces[0].chance.best
    if best is None or best >= 99.95:
        return []
    return [f"Classes have so few videos that at most {number(best)} is possible."]


def _has_lda(record: MapRecord) -> bool:
    return any(picture.measured.held_out for picture in record.pictures)


def findings(record: MapRecord) -> list[list[TextRun]]:
    """What the full spaces hold, and where a picture shows more than they do."""
    best = max((s for s in record.spaces if s.measured.purity), key=_purity, default=None)
    if best is None or best.measured.purity is None or best.chance.purity is None:
        return [
            [TextRun("There are too few points, classes or recordings for these pictures to be evidence of anything.")]
        ]
    apart = best.measured.purity.value > best.chance.purity[1]
    k = counted(record.k, f"nearest {record.unit}", f"nearest {record.unit}s")
    said = [
        TextRun(escaped(best.encoder), True),
        TextRun(f": {percent(best.measured.purity)} of the {k} in its full space show the same class", False),
        TextRun(f" ({number(best.chance.purity[0])}\N{NO-BREAK SPACE}% by chance)."),
        *([] if apart else [TextRun(" Whatever the pictures show, no classes are told apart.", True)]),
    ]
    return [said, *_inflated(record)]


def _purity(space: Space) -> float:
    return space.measured.purity.value if space.measured.purity else 0.0


def _inflated(record: MapRecord) -> list[list[TextRun]]:
    """A sentence on the LDA picture whose classes come apart most by being fitted."""
    pairs = [(p.encoder, p.measured.purity, p.measured.held_out) for p in record.pictures]
    gaps = [(shown.value - held.value, name, shown, held) for name, shown, held in pairs if shown and held]
    if not gaps or max(gap[0] for gap in gaps) < 5:
        return []
    _, name, shown, held = max(gaps, key=lambda gap: gap[0])
    text = f"LDA draws the points it is fitted on: {escaped(name)} has {percent(shown)} in the picture, "
    return [[TextRun(f"{text}{percent(held)} held out.")]]


def settings(record: MapRecord) -> Sequence[tuple[str, str]]:
    """How the map was made, in words."""
    share = "all" if record.share == 1 else f"{100 * record.share:g} % of each class, drawn with seed {record.seed}"
    return (
        ("split", record.split),
        ("points", f"{record.points:,}"),
        ("videos", f"{record.videos:,}"),
        ("recordings", f"{record.recordings:,}"),
        ("share", share),
        ("vectors", {"video": "mean of the clips of a video", "clip": "of each clip"}.get(record.unit, record.unit)),
        ("view", record.view),
        ("scale", record.scale),
        ("neighbors", f"{record.k}"),
    )
