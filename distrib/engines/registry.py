"""Training engines by name: ``train`` runs the engine that a recipe names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

from distrib.training.step import Progress
from distrib.trials.trial import Trial, TrialResult
from recsys.data.click_log import ClickLog

# By name, so that Ray is loaded for the engine that needs it alone.
_MODULES = {
    "local": "distrib.engines.local",
    "virtual_async": "distrib.engines.virtual_async",
    "async": "distrib.engines.asynchronous.driver",
    "sync": "distrib.engines.synchronous.driver",
}


_LEAVE_FILES = ("sync",)
"""Engines that write checkpoints and scalars while they train"""


def train(
    log: ClickLog,
    trials: Sequence[Trial],
    *,
    on_progress: Progress = lambda _: None,
    directory: Path | str | None = None,
) -> list[TrialResult]:
    """Train trials that differ in their seeds only, with the engine of their recipe.

    Engines with intermediate files keep them below ``directory`` (a path or a URI) and resume from
    them; without it, they are temporary.

    Raises:
        ConfigError: the recipe cannot work on this engine or this machine.
        TrialFailed: training failed in a way that a retry would not change.
    """
    name = trials[0].recipe.engine.name
    engine: Callable[..., list[TrialResult]] = importlib.import_module(_MODULES[name]).train
    where = {"directory": directory} if name in _LEAVE_FILES else {}
    return engine(log, trials, on_progress=on_progress, **where)
