"""Attach a feature cache to the teachers of a run."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vitascope.core import files
from vitascope.core.log import log
from vitascope.pretrain import optim
from vitascope.pretrain.objective import Objective
from vitascope.pretrain.recipe import Recipe
from vitascope.pretrain.targets.feature_cache import FOLDER, FeatureCache
from vitascope.pretrain.targets.targets import FixedTarget


@dataclass(frozen=True)
class CachedTeachers:
    """The feature caches of a run, by target; empty without a cache."""

    caches: dict[str, FeatureCache]

    def flush(self) -> None:
        """Write all features computed so far."""
        for cache in self.caches.values():
            cache.flush()

    def close(self) -> None:
        """Write all features and say how many were read and computed."""
        self.flush()
        for name, cache in self.caches.items():
            log.info("target %s: features of %d clips from the cache, %d computed", name, cache.hits, cache.misses)


def attach(objective: Objective, recipe: Recipe, *, gigabytes: float, device: torch.device) -> CachedTeachers:
    """Let teachers keep their features in the cache folder, at most `gigabytes` in all; 0: no cache.

    Features are stored as computed, to the bit. The precision of products, the kind of `device` and torch's version are
    part of what a cache is for.
    """
    if not gigabytes:
        return CachedTeachers({})
    objective.keyed = True
    precision = str(optim.compute_precision(recipe, device))
    run = {"precision": precision, "device": device.type, "torch": torch.__version__}
    caches: dict[str, FeatureCache] = {}
    for name, target in objective.bound.items():
        if isinstance(target, FixedTarget) and target.teacher:
            identity = {**target.teacher.identity, **run}
            target.teacher.cache = FeatureCache(files.cache() / FOLDER, identity, limit=int(gigabytes * 1e9))
            caches[name] = target.teacher.cache
    return CachedTeachers(caches)
