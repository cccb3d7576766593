"""Trainings of probes on a Ray cluster: each fold and seed is a task of its own, run by the functions of one machine.

Tasks read the stored vectors from the store, so its folder has to be at the same path on every node. A task whose
process or node dies is run again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from vitascope.core.cluster import cause, connect, head_of, resources, result_of, summary
from vitascope.core.device import torch
from vitascope.core.errors import UserError
from vitascope.evaluation.runner import EvaluationConfig, Trained, run_training, trainings
from vitascope.features.source import FeatureSource
from vitascope.probes.base import AnyProbe

RETRIES = 20
"""Times that a task is begun again whose process or node died."""


def spread_trainings(
    groups: Sequence[Sequence[AnyProbe]], source: FeatureSource, config: EvaluationConfig
) -> list[Iterator[Trained]]:
    """Begin all trainings of all groups of probes that share one; yields of each group what they give, in order."""
    ray = connect(config.options.on)
    have, threads = resources(ray), torch.get_num_threads()
    gpu = have.gpus > 0 and config.options.cluster_device in ("", "cuda")
    options = replace(config.options, on="", device="cuda" if gpu else "cpu", workers=1, quiet=True)
    folder = os.getcwd()
    root, run = source.root.absolute(), config.run.absolute()
    shared = ray.put(replace(source, root=root, options=options))
    there = replace(config, run=run, store=config.store.absolute(), options=options)
    cpus = max(0.5, min(float(threads), have.largest))
    task = ray.remote(_train).options(num_cpus=cpus, num_gpus=1 if gpu else 0, max_retries=RETRIES)
    begun = [
        [
            task.remote(shared, there, list(group), one, (threads, folder))
            for one in trainings(group, source.dataset, config)
        ]
        for group in groups
    ]
    return [_results(ray, tasks, config.options.on) for tasks in begun]


def _train(
    source: FeatureSource,
    config: EvaluationConfig,
    probes: Sequence[AnyProbe],
    fold_and_seed: tuple[int, int],
    threads_and_folder: tuple[int, str],
) -> Trained:
    """Run one training on a node, with as many threads as the driver has, in its folder."""
    threads, folder = threads_and_folder
    torch.set_num_threads(threads)
    if os.path.isdir(folder):
        os.chdir(folder)
    if source.root.is_dir():
        encoder = source.encoder
        device = config.options.device
        moved = encoder.to(device) if isinstance(encoder, torch.nn.Module) else encoder
        return run_training(probes, replace(source, encoder=moved), config, fold_and_seed)
    raise UserError(
        f"{source.root}: not there on node {os.uname().nodename}; give all nodes the store at the same path"
    )


def _results(ray: Any, tasks: Sequence[Any], on: str) -> Iterator[Trained]:
    """Yield the results of tasks in order; what a training raised is raised here."""
    head = head_of(ray, on)
    for task in tasks:
        try:
            yield result_of(ray, task, on, head)
        except UserError:
            raise
        except Exception as error:
            raised = cause(ray, error)
            if isinstance(raised, ray.exceptions.RayError):
                raise UserError(
                    f"a training was lost {RETRIES} times on the cluster at --on {on}: {summary(raised)}"
                ) from error
            raise raised from error
