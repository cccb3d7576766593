"""Published vectors in place of an encoder's: copied into the store through the views that they were published for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vitascope.core.errors import UserError
from vitascope.core.types import Dataset
from vitascope.encoders.precomputed import Release
from vitascope.features.imports.twelvelabs import copy_released, granularity_for
from vitascope.features.store import Store
from vitascope.features.view import View
from vitascope.sampling.names import MultiClip, Uniform, altered, describe


def copy_published(release: Release, dataset: Dataset[Any], stores: Mapping[View, Store]) -> dict[str, str]:
    """Copy published vectors into the stores: one vector per video, or one per clip; return {example: why it has none}.

    Raises UserError for a view that nothing was published for, and if there are no vectors at all.
    """
    for view in stores:
        if changed := altered(view.sampler):
            raise UserError(
                f"{release.card.name}: embeddings of {changed} clips cannot be made of published ones, which are of "
                "the clips as they were; evaluate an encoder on the videos"
            )
        if not isinstance(view.sampler, (Uniform, MultiClip)) or view.reduce != "clip":
            raise UserError(
                f"{release.card.name}: no published vectors for view {describe(view.sampler)}; published are "
                "uniform and multiclip"
            )
    available = replace(dataset, examples=tuple(e for e in dataset.examples if e.id not in dataset.missing_files))
    missing: dict[str, str] = {}
    for view, store in stores.items():
        missing |= copy_released(release, available, store, granularity_for(view.sampler))
    if len(missing) == len(available.examples):
        example, why = next(iter(missing.items()))
        raise UserError(
            f"{dataset.name}: no published vectors for any of {len(missing)} videos; first: {example}: {why}"
        )
    return missing
