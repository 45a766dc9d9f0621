"""One way in: the engine that a recipe names trains its trials."""

from __future__ import annotations

from collections.abc import Sequence

from distrib import local, virtual_async
from distrib.training import Progress
from distrib.trial import Trial, TrialResult
from recsys.data.click_log import ClickLog

_ENGINES = {"local": local.train, "virtual_async": virtual_async.train}


def train(
    log: ClickLog, trials: Sequence[Trial], *, on_progress: Progress = lambda _: None
) -> list[TrialResult]:
    """Train trials that differ in their seeds alone, with the engine of their recipe.

    Raises:
        ConfigError: the recipe cannot work on this engine or this machine.
        TrialFailed: training went wrong in a way that trying again would not mend.
    """
    return _ENGINES[trials[0].recipe.engine.name](log, trials, on_progress=on_progress)
