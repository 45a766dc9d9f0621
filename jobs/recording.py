"""``--record``: which trainings can keep their order, and the experiment in which they do."""

from __future__ import annotations

from collections.abc import Iterable

from jobs.experiment import Experiment, ExperimentArm
from jobs.validation import validated
from recsys.engines import AsyncEngine
from recsys.errors import ConfigError


def recorded(experiment: Experiment, names: Iterable[str]) -> Experiment:
    """Return an experiment in which these of its arms keep their order for a replay.

    Raises:
        ConfigError: an arm's engine has no order that could be kept.
    """
    changed = {name: _recorded(experiment.arms[name], name) for name in names}
    return experiment.model_copy(update={"arms": experiment.arms | changed})


def _recorded(arm: ExperimentArm, name: str) -> ExperimentArm:
    engine = arm.recipe.engine
    if not isinstance(engine, AsyncEngine):
        raise ConfigError(
            f"--record: found engine {engine.name} for arms.{name}, expected async: no other has "
            "an order of pulls and pushes to keep"
        )
    recording = validated(AsyncEngine, dict(engine) | {"record": True}, f"arms.{name}.engine")
    recipe = arm.recipe.model_copy(update={"engine": recording})
    return arm.model_copy(update={"recipe": recipe})
