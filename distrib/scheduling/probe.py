"""How long a few batches of a training take, where trainings run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import ray

from distrib.scheduling.resources import living_nodes, options, worker_resources
from distrib.training.device_transfer import device_batches
from distrib.training.step import (
    arm_of_phase,
    dense_optimizer,
    refuse_unfit,
    set_arithmetic,
    train_step,
)
from distrib.trials.trial import Trial
from recsys.config import Recipe
from recsys.cost import LookupCounter, sampling_interval, wait_for
from recsys.data.click_log import ClickLog
from recsys.data.stream import Stream
from recsys.embeddings import fused_collection
from recsys.engines import BaseEngine, LocalEngine, SyncEngine
from recsys.module import Arm

#: The first batches warm caches and do not count.
WARM_UP = 8
BATCHES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """What one process was measured to take for one example of one replica, all phases together."""

    batches: int
    core_seconds: float
    gpu_seconds: float


def trains_alone(recipe: Recipe) -> Recipe:
    """Return what one process of a training does as if no other were there: the local engine's.

    Of a synchronous training that is a rank's part of each batch, with as many ranks as there may
    be. Waiting for others, the store's exchange and what ``precision`` and ``compile`` change are
    not in it.
    """
    engine, stream = recipe.engine, recipe.stream
    if isinstance(engine, LocalEngine):
        return recipe
    if isinstance(engine, SyncEngine):
        _, ranks = engine.worker_range
        stream = stream.model_copy(update={"batch_size": -(-stream.batch_size // ranks)})
    alone = LocalEngine(**{name: getattr(engine, name) for name in BaseEngine.model_fields})
    return recipe.model_copy(update={"engine": alone, "stream": stream})


def run_probes(log: ClickLog, groups: Sequence[Sequence[Trial]]) -> list[Probe | str]:
    """Measure groups of trials on the Ray that is there; one that fails gives its reason.

    Groups that ask for the same resources are measured one after another in one process.
    """
    classes: dict[tuple[tuple[str, float], ...], list[int]] = {}
    nodes = living_nodes()
    for number, trials in enumerate(groups):
        wanted = worker_resources(trials[0].recipe, nodes)
        classes.setdefault(tuple(sorted(wanted.items())), []).append(number)
    found: dict[int, Probe | str] = {}
    for reserved, numbers in classes.items():
        task = _probe_groups.options(name="probe", **options(dict(reserved)))
        probes = ray.get(task.remote(log.directory.resolve(), [groups[n] for n in numbers]))
        found |= dict(zip(numbers, probes, strict=True))
    return [found[number] for number in range(len(groups))]


@ray.remote(max_calls=1, max_retries=1)
def _probe_groups(log_directory: Path, groups: Sequence[Sequence[Trial]]) -> list[Probe | str]:
    log = ClickLog.open(log_directory)
    found: list[Probe | str] = []
    for trials in groups:
        try:
            found.append(probe(log, trials))
        except Exception as error:
            lines = str(error).splitlines() or ["no message"]
            found.append(f"{type(error).__name__}: {lines[0]}")
    return found


def probe(log: ClickLog, trials: Sequence[Trial]) -> Probe:
    """Train a group's replicas on a few batches as one process does alone, and drop them.

    Raises:
        ConfigError: as the local engine does.
    """
    recipe = trains_alone(trials[0].recipe)
    trials = [replace(trial, recipe=recipe) for trial in trials]
    refuse_unfit(log, trials)
    device = set_arithmetic(recipe)
    stream = Stream(log, "train", recipe.stream, [trial.seeds for trial in trials])
    warm_up = min(WARM_UP, stream.batch_count - 1)
    stop = min(warm_up + BATCHES, stream.batch_count)
    counter = LookupCounter(unique_every=sampling_interval(stream.batch_count))
    arm: Arm | None = None
    seconds = 0.0
    for phase in recipe.arm.phases:
        arm = arm_of_phase(
            recipe,
            log,
            trials,
            phase.groups,
            lambda tables: fused_collection(tables, recipe.optimizer, device),
            arm,
        ).to(device)
        optimizer = dense_optimizer(arm.dense, recipe.optimizer)
        with device_batches(stream.batches(0, warm_up), device) as batches:
            for fed in batches:
                train_step(arm, optimizer, fed.batch, phase=phase.name, progress=0.0)
        wait_for(device)
        started, examples = time.perf_counter(), 0
        with device_batches(stream.batches(warm_up, stop), device) as batches:
            for fed in batches:
                # A training counts, and it takes its time.
                counter.count(arm.tables, fed.on_host)
                train_step(arm, optimizer, fed.batch, phase=phase.name, progress=0.0)
                examples += fed.batch.examples * fed.batch.replicas
        wait_for(device)
        seconds += (time.perf_counter() - started) / examples
    return Probe(
        batches=stop - warm_up,
        core_seconds=seconds * recipe.engine.threads,
        gpu_seconds=seconds if device.type == "cuda" else 0.0,
    )
