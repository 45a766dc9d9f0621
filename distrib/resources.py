"""What a training asks of Ray."""

from __future__ import annotations

import ray

from recsys.config import Recipe
from recsys.errors import ConfigError


def task_requirements(recipe: Recipe) -> dict[str, float]:
    """Return what the process that answers for a group asks of Ray.

    With the async engine it only watches, and its workers ask for themselves.
    """
    if recipe.engine.name == "async":
        return {"num_cpus": 0, "num_gpus": 0}
    return training_requirements(recipe)


def training_requirements(recipe: Recipe) -> dict[str, float]:
    """Return what a process that trains asks of Ray: its threads, and a GPU where it uses one.

    Raises:
        ConfigError: it asks for a GPU, or more threads than any node has, on a Ray of one node.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    threads, device = recipe.engine.threads, recipe.engine.device
    most_cpus = max(node.get("CPU", 0) for node in nodes)
    has_gpu = any(node.get("GPU", 0) >= 1 for node in nodes)
    if len(nodes) == 1 and threads > most_cpus > 0:
        raise ConfigError(
            f"engine.threads: found {threads}, expected at most {most_cpus:g}, all that Ray has"
        )
    if len(nodes) == 1 and device == "cuda" and most_cpus > 0 and not has_gpu:
        raise ConfigError("engine.device: found cuda, but Ray has no GPU; expected cpu or auto")
    on_gpu = device == "cuda" or (device == "auto" and has_gpu)
    return {"num_cpus": threads, "num_gpus": 1 if on_gpu else 0}
