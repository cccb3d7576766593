"""Advice from a check-up: which encoder to begin with, in plain sentences, each with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vitascope.core.text import counted, file_size, number, percent, rough_duration, with_interval
from vitascope.core.types import Score
from vitascope.encoders.card_of import as_typed
from vitascope.evaluation.checkup.report import Checkup, EncoderCheckup

SEES = 5.0
"""Shift, percent, above which the whole interval lies where an encoder sees an alteration."""
LOW_RANK = 0.02
"""Share of the possible dimensions below which vectors have collapsed; but never more than `FEW_DIMENSIONS`."""
FEW_DIMENSIONS = 4.0
ALIKE = 90.0
"""Linear CKA, percent, from which two encoders arrange videos in the same way."""
MANY = 30
"""Recordings below which a check-up says that they are few."""


def advise(found: Checkup) -> list[str]:
    """Sentences that recommend an encoder, the recommendation first; each names its evidence."""
    sound = [e for e in found.encoders if not _collapsed(e, found)]
    lines = [_begin(sound, found)] if sound else ["None of these encoders: their vectors have collapsed."]
    lines += [f"Not {e.encoder}: {_rank_words(e, found)}." for e in found.encoders if _collapsed(e, found)]
    lines += _order_lines(sound)
    lines += _stability_lines(sound)
    lines += _agreement_lines(found, sound)
    lines += _cost_lines(sound)
    return [*lines, _next(found, sound)]


def recommended(found: Checkup) -> EncoderCheckup | None:
    """The encoder to begin with; None if all have collapsed.

    Of those that see order, if any does: the one that alterations move least in proportion to a reversal; where none
    does, the one that alterations move least.
    """
    sound = [e for e in found.encoders if not _collapsed(e, found)]
    ordered = [e for e in sound if sees_order(e)]
    return min(ordered or sound, key=_noise_to_order if ordered else _disturbance, default=None)


def sees_order(found: EncoderCheckup) -> bool:
    """Whether a reversal moves its vectors for sure: the interval lies above `SEES` percent."""
    score = found.order["reversed"]
    return (score.value if score.low is None else score.low) > SEES


def _collapsed(found: EncoderCheckup, all_found: Checkup) -> bool:
    most = min(found.dim, all_found.most_rank)
    return not found.rank >= min(max(LOW_RANK * most, 1.5), FEW_DIMENSIONS)


def _rank_words(found: EncoderCheckup, all_found: Checkup) -> str:
    most = min(found.dim, all_found.most_rank)
    return f"its vectors span {number(found.rank)} dimensions of the {most:,} that they could"


def _disturbance(found: EncoderCheckup) -> float:
    """Mean shift by what should change nothing."""
    return float(np.mean([score.value for score in found.stability.values()]))


def _noise_to_order(found: EncoderCheckup) -> float:
    return _disturbance(found) / found.order["reversed"].value


def _begin(sound: Sequence[EncoderCheckup], found: Checkup) -> str:
    best = recommended(found)
    assert best is not None, "called for sound encoders only"
    disturbed = f"re-encoding, a crop and black bars move them by {number(_disturbance(best))} % on average"
    if len(sound) == 1:
        return f"Begin with {best.encoder}, the only one here without a defect."
    if not sees_order(best):
        return (
            f"Begin with {best.encoder}: none of these encoders sees the order of frames, and of this one's vectors "
            f"{disturbed}, the least."
        )
    reversal = f"played backwards, a video moves by {with_interval(best.order['reversed'])} %"
    return f"Begin with {best.encoder}: {reversal} of the distance to another video, while {disturbed}."


def _order_lines(sound: Sequence[EncoderCheckup]) -> Iterator[str]:
    """Who does not see order, said apart for those to which it is nothing at all."""
    blind = [e for e in sound if not sees_order(e)]
    if blind:
        moved = ", ".join(f"{e.encoder} {with_interval(e.order['reversed'])} %" for e in blind)
        yield (
            f"For what moves, and in which direction, not {_listed(blind)}: videos played backwards stay where they "
            f"are ({moved}). For what can be seen in a single frame that is no defect."
        )


def _stability_lines(sound: Sequence[EncoderCheckup]) -> Iterator[str]:
    """Who holds still best under each alteration, where the intervals allow a choice."""
    for name in sound[0].stability if len(sound) > 1 else ():
        ranked = sorted(sound, key=lambda e: e.stability[name].value)
        least, most = ranked[0], ranked[-1]
        if _below(least.stability[name], most.stability[name]):
            yield (
                f"If videos come {name}: {least.encoder} moves least, by {with_interval(least.stability[name])} %; "
                f"{most.encoder} most, by {with_interval(most.stability[name])} %."
            )


def _below(one: Score, other: Score) -> bool:
    return one.high is not None and other.low is not None and one.high < other.low


def _agreement_lines(found: Checkup, sound: Sequence[EncoderCheckup]) -> Iterator[str]:
    by_name = {e.encoder: e for e in sound}
    for pair in found.agreements:
        if pair.cka.value >= ALIKE and all(name in by_name for name in pair.encoders):
            cheap, dear = sorted(pair.encoders, key=lambda name: by_name[name].hour_seconds)
            yield (
                f"{cheap} and {dear} arrange these videos alike (CKA {with_interval(pair.cka)} %): unless scores with "
                f"labels say otherwise, take {cheap}, which takes {_times(by_name[cheap], by_name[dear])} of the time."
            )


def _times(cheap: EncoderCheckup, dear: EncoderCheckup) -> str:
    return percent(Score(100 * cheap.hour_seconds / dear.hour_seconds)) if dear.hour_seconds else "none"


def _cost_lines(sound: Sequence[EncoderCheckup]) -> Iterator[str]:
    if sound:
        cheap = min(sound, key=lambda e: e.hour_seconds)
        cost = f"{rough_duration(cheap.hour_seconds)} and {file_size(cheap.hour_bytes)} for an hour of video here"
        yield f"Cheapest is {cheap.encoder}: {cost}." if len(sound) > 1 else f"{cheap.encoder} takes {cost}."


def _next(found: Checkup, sound: Sequence[EncoderCheckup]) -> str:
    typed = [as_typed(e.encoder) for e in sound]
    names = " ".join(dict.fromkeys(f"-m {name}" for name, _ in typed)) or "-m ENCODER"
    options = "".join(dict.fromkeys(f" {option}" for _, given in typed for option in given))
    few = "" if found.recordings >= MANY else f" {counted(found.recordings, 'recording')} are few for any of this."
    return (
        f"Without labels this says what an encoder can tell apart, not whether it is what you need.{few} With a few "
        f"labels: vitascope evaluate {found.data} {names}{options} -t knn"
    )


def _listed(found: Sequence[EncoderCheckup]) -> str:
    names = [e.encoder for e in found]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
