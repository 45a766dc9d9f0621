"""One way in: the engine that a recipe names trains its trials."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from distrib.training import Progress
from distrib.trial import Trial, TrialResult
from recsys.data.click_log import ClickLog

# By name, so that Ray is loaded for the engine that needs it alone.
_MODULES = {
    "local": "distrib.local",
    "virtual_async": "distrib.virtual_async",
    "async": "distrib.async_engine.driver",
}


def train(
    log: ClickLog, trials: Sequence[Trial], *, on_progress: Progress = lambda _: None
) -> list[TrialResult]:
    """Train trials that differ in their seeds alone, with the engine of their recipe.

    Raises:
        ConfigError: the recipe cannot work on this engine or this machine.
        TrialFailed: training went wrong in a way that trying again would not mend.
    """
    module = importlib.import_module(_MODULES[trials[0].recipe.engine.name])
    engine: Callable[..., list[TrialResult]] = module.train
    return engine(log, trials, on_progress=on_progress)
