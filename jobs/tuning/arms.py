"""The arms that a search generates from an experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping

from jobs.experiment.documents import unknown
from jobs.experiment.schema import (
    OVERRIDABLE,
    Experiment,
    ExperimentArm,
    Replication,
    below,
    validated,
)
from jobs.tuning.config import SearchConfig
from recsys.calls import parse_call
from recsys.config import Recipe
from recsys.errors import ConfigError


def search_of(experiment: Experiment) -> SearchConfig:
    """Return the search of an experiment.

    Raises:
        ConfigError: it has none.
    """
    if experiment.search is None:
        raise ConfigError(
            "search: missing; expected fields such as {arm: smelu, parameter: activation.beta, "
            "low: 0.05, high: 8, epsilon: 0.001}"
        )
    return experiment.search


def arm_name(search: SearchConfig, value: float) -> str:
    """Return the name of the arm with a value; no arm of an experiment can be called so."""
    return f"{search.arm}@{value:g}"


def with_values(experiment: Experiment, replicas: Mapping[float, int], baseline: int) -> Experiment:
    """Return the experiment of the baseline and an arm for each value, with so many replicas."""
    search = search_of(experiment)
    arm = experiment.arms[search.arm]
    arms = {experiment.baseline: _replicated(experiment.arms[experiment.baseline], baseline)}
    for value, count in replicas.items():
        recipe = with_value(arm.recipe, search, value)
        arms[arm_name(search, value)] = _replicated(
            ExperimentArm(recipe=recipe, replication=arm.replication), count
        )
    return experiment.model_copy(update={"arms": arms, "sources": ()})


def with_value(recipe: Recipe, search: SearchConfig, value: float) -> Recipe:
    """Return a recipe with a value in the place of the parameter.

    Raises:
        ConfigError: the arm has no such parameter, or it cannot have this value.
    """
    section, _, option = search.parameter.partition(".")
    changed: dict[str, object]
    if section == "activation":
        part, changed = "arm", {section: _call_with(recipe.arm.activation, option, value)}
    elif section in OVERRIDABLE:
        part, changed = section, {option: value}
    else:
        part, changed = "arm", {search.parameter: value}
    before, arm = getattr(recipe, part), below("arms", search.arm)
    field = arm if part == "arm" else below(arm, part)
    after = validated(type(before), dict(before) | changed, field)
    return validated(Recipe, dict(recipe) | {part: after}, arm)


def refuse_unsearchable(experiment: Experiment) -> None:
    """Refuse a search whose arm is not there or cannot take a value of the range.

    Raises:
        ConfigError: naming the field at fault.
    """
    search = search_of(experiment)
    if search.arm not in experiment.arms:
        raise unknown(f"search.arm {search.arm}", search.arm, list(experiment.arms))
    # The second is no whole number, which most values that a search tries are not.
    for value in (search.low, math.nextafter(search.low, search.high), search.high):
        try:
            with_value(experiment.arms[search.arm].recipe, search, value)
        except ConfigError as error:
            raise ConfigError(
                f"search.parameter {search.parameter} at {value:g}: {error}"
            ) from None


def _call_with(call: str, parameter: str, value: float) -> str:
    """Return ``name(key=value, ...)`` with one value changed or added."""
    name, parameters = parse_call(call)
    told = ", ".join(f"{key}={each!r}" for key, each in {**parameters, parameter: value}.items())
    return f"{name}({told})"


def _replicated(arm: ExperimentArm, replicas: int) -> ExperimentArm:
    replication = Replication(replicas=replicas, vary=arm.replication.vary)
    return ExperimentArm(recipe=arm.recipe, replication=replication)
