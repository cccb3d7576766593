"""Mean losses between two lines of the training log, over all steps and for each source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean


class MeanLosses:
    """Averages losses over several steps: logging single steps at regular intervals could miss some of the sources."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, dict[str, float]]] = []

    def add(self, source: str, losses: Mapping[str, float]) -> None:
        """Add one step: the source of its clips and its losses by target."""
        self._steps.append((source, dict(losses)))

    def take(self) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Return the means since the last call, overall and by source; at least one step must have been added."""
        steps, self._steps = self._steps, []
        sources = dict.fromkeys(source for source, _ in steps)
        by_source = {source: _means(losses for name, losses in steps if name == source) for source in sources}
        return _means(losses for _, losses in steps), by_source


def _means(steps: Iterable[Mapping[str, float]]) -> dict[str, float]:
    rows = list(steps)
    return {name: fmean(losses[name] for losses in rows) for name in rows[0]}
