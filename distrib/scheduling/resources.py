"""What a training asks of Ray, decided from its recipe and from the nodes that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray

from recsys.config import Recipe
from recsys.engines import AsyncEngine
from recsys.errors import ConfigError

Resources = Mapping[str, float]
"""Amounts by Ray's names for them: CPU, GPU, and whatever a cluster calls its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation:
    """A placement group: what each worker of a training may use, reserved for all at once."""

    bundles: tuple[Resources, ...]
    strategy: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What a group asks of Ray, decided when it is first seen."""

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
    """Return what each node of this Ray has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def may_grow(nodes: Sequence[Resources]) -> bool:
    """Tell whether this is a cluster: of several nodes, or of a head that does no work."""
    return len(nodes) > 1 or not any(node.get("CPU", 0) for node in nodes)


def needs_of(recipe: Recipe, nodes: Sequence[Resources]) -> Needs:
    """Return what a group of a recipe asks of a Ray of these nodes.

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
    """Return Ray's options for the process that answers for a group.

    With an engine of many workers it only watches and evaluates, and they ask for themselves: on
    one machine it leaves all CPUs to them; in a cluster it has some, which keeps it off a head
    that does no work.
    """
    if recipe.engine.name not in ("async", "sync"):
        return options(worker_resources(recipe, nodes))
    watches_elsewhere = may_grow(nodes) and reservation(recipe, nodes) is None
    return options({"CPU": recipe.engine.threads if watches_elsewhere else 0})


def training_requirements(recipe: Recipe) -> dict[str, Any]:
    """Return Ray's options for a process that trains; as ``worker_resources``."""
    return options(worker_resources(recipe, living_nodes()))


def worker_resources(recipe: Recipe, nodes: Sequence[Resources]) -> dict[str, float]:
    """Return what a process that trains needs: its threads, and a GPU where it uses one.

    What ``engine.resources`` says comes first.

    Raises:
        ConfigError: it needs what this Ray, of one node, will never have.
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
    """Return what is reserved for a group before it starts; None where nothing need be.

    The workers of an asynchronous training get their places together, its shards and the process
    that watches among them, lest two trainings hold half of what each needs; workers that share a
    memory, on one node. Where one machine has no room for all of them, each asks for itself,
    unless ``engine.resources.placement`` or ``start_with`` wants them together. A synchronous
    training reserves its ranks' places itself.

    Raises:
        ConfigError: places are wanted together that this Ray, of one node, does not have.
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
    """Return resources as Ray's tasks and actors are asked for them."""
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
