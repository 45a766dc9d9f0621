"""Search policy: the arms of candidate values, what to train next, and the verdict.

A round tries some values. The policy doubles the replicas of the contenders while they are further
apart than neighbours or, in the last round, while there are several. The next round tries values
between them. All functions are pure: the same results give the same requests and the same verdict,
wherever a search was interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np

from analysis.statistics.intervals import Interval
from jobs.experiment.documents import below, unknown, validated
from jobs.experiment.schema import OVERRIDABLE, Experiment, ExperimentArm, Replication, SearchConfig
from recsys.calls import parse_call
from recsys.config import Recipe
from recsys.errors import ConfigError
from recsys.seeds import derive

_NEIGHBOURS = 2
"""Maximum index distance of contenders between which the next round samples"""
_DIGITS = 4
"""Significant digits of a value: readable in a name, and finer than replicas can resolve"""


def search_of(experiment: Experiment) -> SearchConfig:
    """Return the search of an experiment; ConfigError if it has none."""
    if experiment.search is None:
        raise ConfigError(
            "search: missing; expected fields such as {arm: smelu, parameter: activation.beta, "
            "low: 0.05, high: 8, epsilon: 0.001}"
        )
    return experiment.search


def arm_name(search: SearchConfig, value: float) -> str:
    """Return the name of the arm of a value; ``@`` is not allowed in an experiment's arm names."""
    return f"{search.arm}@{value:g}"


def with_values(experiment: Experiment, replicas: Mapping[float, int], baseline: int) -> Experiment:
    """Return the experiment of the baseline and an arm for each value, with numbers of replicas."""
    search = search_of(experiment)
    arm = experiment.arms[search.arm]
    arms = {experiment.baseline: _replicated(experiment.arms[experiment.baseline], baseline)}
    for value, count in replicas.items():
        changed = arm.model_copy(update={"recipe": with_value(arm.recipe, search, value)})
        arms[arm_name(search, value)] = _replicated(changed, count)
    return experiment.model_copy(update={"arms": arms, "sources": ()})


def with_value(recipe: Recipe, search: SearchConfig, value: float) -> Recipe:
    """Return a recipe with the parameter set; ConfigError if the arm cannot have this value."""
    section, _, option = search.parameter.partition(".")
    part = "arm"
    changed: dict[str, object] = {search.parameter: value}
    if section == "activation":
        name, parameters = parse_call(recipe.arm.activation)
        values = {**parameters, option: value}
        call = ", ".join(f"{key}={each!r}" for key, each in values.items())
        changed = {section: f"{name}({call})"}
    elif section in OVERRIDABLE:
        part, changed = section, {option: value}
    before, arm = getattr(recipe, part), below("arms", search.arm)
    field = arm if part == "arm" else below(arm, part)
    after = validated(type(before), dict(before) | changed, field)
    return validated(Recipe, dict(recipe) | {part: after}, arm)


def check_searchable(experiment: Experiment) -> None:
    """Raise ConfigError if the arm of the search does not exist or cannot take its values."""
    search = search_of(experiment)
    if search.arm not in experiment.arms:
        raise unknown(f"search.arm {search.arm}", search.arm, list(experiment.arms))
    # The second is not an integer, as most values that a search tries are not.
    for value in (search.low, math.nextafter(search.low, search.high), search.high):
        try:
            with_value(experiment.arms[search.arm].recipe, search, value)
        except ConfigError as error:
            raise ConfigError(
                f"search.parameter {search.parameter} at {value:g}: {error}"
            ) from None


def _replicated(arm: ExperimentArm, replicas: int) -> ExperimentArm:
    replication = Replication(replicas=replicas, vary=arm.replication.vary)
    return ExperimentArm(recipe=arm.recipe, replication=replication)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A value that was tried, and the results of its replicas.

    ``log_loss`` is the difference from the baseline in nats, ``pd_ratio`` the ratio of its
    ``relative_pd`` to the baseline's. ``failed`` says why a replica has no result; the three
    intervals then have no bounds.
    """

    value: float
    replicas: int
    log_loss: Interval
    relative_pd: Interval
    pd_ratio: Interval
    failed: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All candidates, by ascending value.

    ``pd_ratio`` returns the interval of the ratio of two values' relative PD.
    """

    candidates: tuple[Candidate, ...]
    pd_ratio: Callable[[float, float], Interval]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """Everything trained since the first round: ascending values and their replicas."""

    round: int
    replicas: tuple[tuple[float, int], ...]


class Feasibility(StrEnum):
    """Whether a candidate's interval shows that its log loss is within ε of the baseline's."""

    FEASIBLE = "within ε"
    INFEASIBLE = "above ε"
    UNDECIDED = "undecided"


class Outcome(StrEnum):
    """Whether a search found a feasible value; the values are those of ``search.json``."""

    FOUND = "found"
    NONE_FEASIBLE = "nothing"
    UNDECIDED = "cannot tell"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The result of a search.

    ``best`` is the winner; if there is none, the candidate with the lowest log loss, or None if
    all failed. ``rivals`` may be better: the difference of their relative PD from the winner's is
    not significant, or the feasibility of their log loss is undecided. ``between`` are the
    neighbours of ``best`` among the values tried; None at an end of the range.
    """

    outcome: Outcome
    best: Candidate | None
    rivals: tuple[Candidate, ...]
    between: tuple[float | None, float | None]
    candidates: tuple[Candidate, ...]


Propose = Callable[[SearchConfig, Sequence[Candidate], tuple[float, float], int], Sequence[float]]
"""Returns the values of a round from the candidates so far, a range and the round's number."""


def feasibility(candidate: Candidate, epsilon: float) -> Feasibility:
    """Compare the 95 % interval of the log loss difference from the baseline with ε."""
    if candidate.failed or candidate.log_loss.low > epsilon:
        return Feasibility.INFEASIBLE
    if candidate.log_loss.covers_replicas and candidate.log_loss.high <= epsilon:
        return Feasibility.FEASIBLE
    return Feasibility.UNDECIDED


def leader(candidates: Sequence[Candidate], epsilon: float) -> Candidate | None:
    """Return the feasible candidate with the lowest relative PD."""
    meeting = [each for each in candidates if feasibility(each, epsilon) is Feasibility.FEASIBLE]
    return min(meeting, key=lambda each: (each.relative_pd.value, each.value), default=None)


def contenders(evidence: Evidence, epsilon: float) -> tuple[Candidate, ...]:
    """Return the leader, and all candidates neither infeasible nor significantly worse than it."""
    first = leader(evidence.candidates, epsilon)

    def contends(each: Candidate) -> bool:
        if each is first or feasibility(each, epsilon) is Feasibility.INFEASIBLE:
            return each is first
        return first is None or not evidence.pd_ratio(each.value, first.value).low > 1

    return tuple(filter(contends, evidence.candidates))


def begin(config: SearchConfig, propose: Propose) -> Request:
    """Return the first request of a search."""
    values = propose(config, (), (config.low, config.high), 1)
    return Request(round=1, replicas=tuple((value, config.replicas) for value in sorted(values)))


def decide(
    config: SearchConfig, request: Request, evidence: Evidence, propose: Propose
) -> Request | Verdict:
    """Return the next request after ``evidence`` of ``request``, or the verdict."""
    rivals = contenders(evidence, config.epsilon)
    is_last = request.round == config.rounds
    if is_last or _span(evidence.candidates, rivals) > _NEIGHBOURS:
        more = _with_more_replicas(config, request, rivals)
        if more != request:
            return more
    if is_last:
        return conclude(config, evidence)
    around = rivals or _of_lowest_loss(evidence.candidates)
    if not around:
        return conclude(config, evidence)
    within = _between(config, evidence.candidates, around)
    tried = {each.value for each in evidence.candidates}
    new = set(propose(config, evidence.candidates, within, request.round + 1)) - tried
    wanted = (*request.replicas, *((value, config.replicas) for value in new))
    later = Request(round=request.round + 1, replicas=tuple(sorted(wanted)))
    return later if new else decide(config, later, evidence, propose)


def conclude(config: SearchConfig, evidence: Evidence) -> Verdict:
    """Return the verdict that the evidence supports."""
    first = leader(evidence.candidates, config.epsilon)
    rivals = contenders(evidence, config.epsilon)
    best = first or next(iter(_of_lowest_loss(evidence.candidates)), None)
    outcome = Outcome.UNDECIDED if rivals else Outcome.NONE_FEASIBLE
    if first is not None:
        outcome = Outcome.FOUND
    return Verdict(
        outcome=outcome,
        best=best,
        rivals=tuple(each for each in rivals if each is not first),
        between=_neighbours(evidence.candidates, best),
        candidates=evidence.candidates,
    )


def _with_more_replicas(
    config: SearchConfig, request: Request, rivals: Sequence[Candidate]
) -> Request:
    """Double the replicas of the rivals if there are several, or one is undecided."""
    if (
        all(feasibility(each, config.epsilon) is Feasibility.FEASIBLE for each in rivals)
        and len(rivals) < 2
    ):
        return request
    doubled = {each.value for each in rivals}
    return Request(
        round=request.round,
        replicas=tuple(
            (value, min(2 * count, config.max_replicas) if value in doubled else count)
            for value, count in request.replicas
        ),
    )


def _span(candidates: Sequence[Candidate], rivals: Sequence[Candidate]) -> int:
    """Return the index distance of the lowest and the highest rival."""
    places = [place for place, each in enumerate(candidates) if each in rivals]
    return places[-1] - places[0] if places else 0


def _of_lowest_loss(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return a list of the candidate with the lowest log loss; empty if all failed."""
    ended = [each for each in candidates if not math.isnan(each.log_loss.value)]
    return sorted(ended, key=lambda each: (each.log_loss.value, each.value))[:1]


def _between(
    config: SearchConfig, candidates: Sequence[Candidate], around: Sequence[Candidate]
) -> tuple[float, float]:
    """Return the neighbours of the outermost of ``around``, within the range."""
    lower, _ = _neighbours(candidates, around[0])
    _, upper = _neighbours(candidates, around[-1])
    return (config.low if lower is None else lower, config.high if upper is None else upper)


def _neighbours(
    candidates: Sequence[Candidate], one: Candidate | None
) -> tuple[float | None, float | None]:
    if one is None:
        return None, None
    lower = [each.value for each in candidates if each.value < one.value]
    upper = [each.value for each in candidates if each.value > one.value]
    return max(lower, default=None), min(upper, default=None)


def proposer(config: SearchConfig, seed: int) -> Propose:
    """Return the sampler of a search; ConfigError if it is Optuna, which is not installed."""
    if config.sampler == "refinement":
        return evenly
    try:
        import optuna
    except ImportError:
        raise ConfigError(
            "search.sampler: found optuna, which is not installed; expected refinement, or: "
            "pip install 'soloist[search]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return partial(by_optuna, seed=seed)


def evenly(
    config: SearchConfig, known: Sequence[Candidate], within: tuple[float, float], number: int
) -> list[float]:
    """Return ``config.points`` values: over the whole range first, then inside ``within``."""
    if number == 1:
        return _spread(config, within, config.points)
    return _spread(config, within, config.points + 2)[1:-1]


def by_optuna(
    config: SearchConfig,
    known: Sequence[Candidate],
    within: tuple[float, float],
    number: int,
    *,
    seed: int,
) -> list[float]:
    """Return ``config.points`` values that Optuna's TPE sampler suggests, from the whole range.

    A new study gets the relative PD of each candidate as objective, the log loss above ε as
    constraint, and failed candidates as failed trials.
    """
    import optuna
    from optuna.trial import Trial, TrialState

    def suggested(trial: Trial) -> float:
        return trial.suggest_float("value", config.low, config.high, log=config.scale == "log")

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(
            seed=derive(seed, "search", number) % 2**32, n_startup_trials=config.points
        )
    )
    for each in known:
        study.enqueue_trial({"value": each.value})
        trial = study.ask()
        suggested(trial)
        if each.failed:
            study.tell(trial, state=TrialState.FAIL)
        else:
            trial.set_constraint("log_loss", each.log_loss.value - config.epsilon)
            study.tell(trial, each.relative_pd.value)
    # Rounding must not leave the range.
    chosen = (_rounded(suggested(study.ask())) for _ in range(config.points))
    return sorted({min(max(value, config.low), config.high) for value in chosen})


def _spread(config: SearchConfig, within: tuple[float, float], count: int) -> list[float]:
    """Return ``count`` values from end to end, evenly spaced on the scale."""
    low, high = within
    space = np.geomspace if config.scale == "log" else np.linspace
    inner = [_rounded(float(value)) for value in space(low, high, count)[1:-1]]
    return sorted({low, *(value for value in inner if low < value < high), high})


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
