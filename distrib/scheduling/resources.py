"""Ray resources of a training, from its recipe and the nodes; and timing probes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

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
from recsys.engines import AsyncEngine, BaseEngine, LocalEngine, SyncEngine
from recsys.errors import ConfigError
from recsys.module import Arm

Resources = Mapping[str, float]
"""Amounts by Ray's names for them: CPU, GPU, and whatever a cluster calls its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """A placement group: resources of all workers of a training, reserved together."""

    bundles: tuple[Resources, ...]
    strategy: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """The Ray resources of a group, determined once."""

    task: Mapping[str, Any]
    """Ray's options for the process that answers for the group"""
    worker: Resources
    """Of one process that trains"""
    reservation: Reservation | None
    places_ranks: bool
    """Its process has Ray Train place others, once it runs"""
    begins_alone: bool
    """As soon as its process runs it trains, and waits for nobody's place"""


def living_nodes() -> list[Resources]:
    """Return the resources of each live node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def may_grow(nodes: Sequence[Resources]) -> bool:
    """Return whether this is a cluster: several nodes, or a head without CPUs."""
    return len(nodes) > 1 or not any(node.get("CPU", 0) for node in nodes)


def needs_of(recipe: Recipe, nodes: Sequence[Resources]) -> Needs:
    """Return the Ray resources of a group of a recipe on these nodes.

    Raises:
        ConfigError: as ``worker_resources`` and ``reservation``.
    """
    wanted = reservation(recipe, nodes)
    return Needs(
        task=task_requirements(recipe, nodes),
        worker=worker_resources(recipe, nodes),
        reservation=wanted,
        places_ranks=recipe.engine.name == "sync",
        begins_alone=wanted is not None or recipe.engine.name not in ("async", "sync"),
    )


def task_requirements(recipe: Recipe, nodes: Sequence[Resources]) -> dict[str, Any]:
    """Return Ray options of a group's driver task.

    With several workers it only monitors and evaluates, and the workers have their own resources:
    on one machine it requests no CPUs; in a cluster some, which keeps it off a head without CPUs.
    """
    if recipe.engine.name not in ("async", "sync"):
        return options(worker_resources(recipe, nodes))
    watches_elsewhere = may_grow(nodes) and reservation(recipe, nodes) is None
    return options({"CPU": recipe.engine.threads if watches_elsewhere else 0})


def training_requirements(recipe: Recipe) -> dict[str, Any]:
    """Return Ray options of a training process; as ``worker_resources``."""
    return options(worker_resources(recipe, living_nodes()))


def worker_resources(recipe: Recipe, nodes: Sequence[Resources]) -> dict[str, float]:
    """Return the resources of a training process: its threads, and a GPU if it uses one.

    ``engine.resources`` takes precedence.

    Raises:
        ConfigError: this single node will never have them.
    """
    engine, wanted = recipe.engine, recipe.engine.resources
    has_gpu = any(node.get("GPU", 0) > 0 for node in nodes)
    on_gpu = engine.device == "cuda" or (engine.device == "auto" and has_gpu)
    found = {
        "CPU": engine.threads if wanted.num_cpus is None else wanted.num_cpus,
        "GPU": float(on_gpu) if wanted.num_gpus is None else wanted.num_gpus,
        **wanted.custom,
    }
    if not may_grow(nodes):
        _refuse_what_never_comes(recipe, found, nodes[0])
    return found


def reservation(recipe: Recipe, nodes: Sequence[Resources]) -> Reservation | None:
    """Return what is reserved for a group before it starts; None if nothing.

    The workers of an asynchronous training, its shards and its driver are reserved together, so
    that two trainings cannot deadlock; shared-memory workers on one node. If one machine has no
    room for all, each requests its own resources, unless ``engine.resources.placement`` or
    ``start_with`` requires them together. A synchronous training reserves its ranks' resources
    itself.

    Raises:
        ConfigError: this single node does not have the required resources.
    """
    engine = recipe.engine
    if not isinstance(engine, AsyncEngine):
        return None
    each = {name: amount for name, amount in worker_resources(recipe, nodes).items() if amount}
    everything = {name: amount * engine.workers for name, amount in each.items()}
    together = engine.resources.placement is not None or engine.start_with > 1
    if not may_grow(nodes):
        if together:
            _refuse_what_never_comes(recipe, everything, nodes[0])
        elif any(amount > nodes[0].get(name, 0) for name, amount in everything.items()):
            return None
    if not each:
        raise ConfigError(
            "engine.resources: found nothing to reserve for a worker, expected num_cpus, num_gpus "
            "or a custom resource"
        )
    return Reservation(bundles=(each,) * engine.workers, strategy=_strategy(engine))


def _strategy(engine: AsyncEngine) -> str:
    if engine.store == "shared_memory":
        return "STRICT_PACK"
    return engine.resources.placement or "PACK"


def options(found: Resources) -> dict[str, Any]:
    """Return resources as options of Ray tasks and actors."""
    custom = {name: amount for name, amount in found.items() if name not in ("CPU", "GPU")}
    asked = {"num_cpus": found.get("CPU", 0), "num_gpus": found.get("GPU", 0)}
    return asked | ({"resources": custom} if custom else {})


def _refuse_what_never_comes(recipe: Recipe, found: Resources, node: Resources) -> None:
    for name, amount in found.items():
        there = node.get(name, 0)
        if amount <= there:
            continue
        if name == "GPU" and recipe.engine.resources.num_gpus is None:
            raise ConfigError("engine.device: found cuda, but Ray has no GPU; expected cpu or auto")
        field = "resources"
        if name == "CPU" and recipe.engine.resources.num_cpus is None:
            field = "threads"
        raise ConfigError(
            f"engine.{field}: found {amount:g} {name}, expected at most {there:g}, all that Ray has"
        )


#: The first batches warm caches and do not count.
WARM_UP = 8
BATCHES = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """Measured time of one process for one example of one replica, over all phases."""

    batches: int
    core_seconds: float
    gpu_seconds: float


def trains_alone(recipe: Recipe) -> Recipe:
    """Return the work of one process as a recipe of the local engine.

    For a synchronous training it is a rank's part of each batch, with the maximum number of ranks.
    Waiting, communication, ``precision`` and ``compile`` are not included.
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
    """Measure groups of trials on Ray; a failed probe returns its reason.

    Groups with equal resources are measured one after another in one process.
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
    """Train a group's replicas on a few batches in one process, and discard them.

    Raises:
        ConfigError: as the local engine.
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
