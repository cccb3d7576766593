"""Losses between two lines of the recorder: their means, over all steps and over those of each source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean


class MeanLosses:
    """Which source a step reads is settled by its number, so one step in fifty may never show some of them."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, dict[str, float]]] = []

    def add(self, source: str, losses: Mapping[str, float]) -> None:
        """One step: where its clips came from, and its loss by target."""
        self._steps.append((source, dict(losses)))

    def take(self) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Means of the steps since the last call, and the same by source. At least one step was added."""
        steps, self._steps = self._steps, []
        sources = dict.fromkeys(source for source, _ in steps)
        by_source = {source: _means(losses for of, losses in steps if of == source) for source in sources}
        return _means(losses for _, losses in steps), by_source


def _means(steps: Iterable[Mapping[str, float]]) -> dict[str, float]:
    held = list(steps)
    return {name: fmean(losses[name] for losses in held) for name in held[0]}
