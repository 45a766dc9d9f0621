"""What a search trains next and what it answers: pure functions of the intervals so far.

A round tries some values. While those that may be the answer lie further apart than neighbours do,
or, in the last round, while there is more than one of them, their replicas are doubled. Then the
next round looks more closely between them. Nothing is remembered but what was asked for: from the
same results the same questions and the same answer follow, wherever a search was stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import numpy as np

from analysis.statistics.intervals import Interval
from jobs.tuning.config import SearchConfig
from recsys.errors import ConfigError
from recsys.seeds import derive

#: Contenders at most so many places apart are what the next round looks between.
_NEIGHBOURS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A value that was tried, and what its replicas show.

    ``log_loss`` is the difference from the baseline's in nats, ``relative_pd`` its own, and
    ``pd_ratio`` that over the baseline's. ``failed`` says why a replica has no result; then the
    three have no bounds.
    """

    value: float
    replicas: int
    log_loss: Interval
    relative_pd: Interval
    pd_ratio: Interval
    failed: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What is known of all values that were tried, in ascending order.

    ``pd_ratio`` gives the interval of one value's relative PD over another's.
    """

    candidates: tuple[Candidate, ...]
    pd_ratio: Callable[[float, float], Interval]


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """All that is to be trained, from the beginning: values, ascending, and their replicas."""

    round: int
    replicas: tuple[tuple[float, int], ...]


class Standing(StrEnum):
    """What a candidate's interval says of its log loss: within ε, not within, or neither."""

    MEETS = "meets"
    MISSES = "misses"
    OPEN = "open"


class Outcome(StrEnum):
    """What a search comes to."""

    FOUND = "found"
    NOTHING = "nothing"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a search answers.

    ``best`` is the winner; where there is none, the candidate with the lowest log loss, or None
    where all failed. ``rivals`` are those that may be better: their relative PD is not told apart
    from the winner's, or their log loss is open. ``between`` are the neighbours of ``best`` among
    the values tried: None at an edge of the range.
    """

    outcome: Outcome
    best: Candidate | None
    rivals: tuple[Candidate, ...]
    between: tuple[float | None, float | None]
    candidates: tuple[Candidate, ...]


Propose = Callable[[SearchConfig, Sequence[Candidate], tuple[float, float], int], Sequence[float]]
"""Returns values for a round: of what is known, the range to look in, and the round's number."""


def standing(candidate: Candidate, epsilon: float) -> Standing:
    """Judge a log loss against ε by the 95 % interval of its difference from the baseline's."""
    if candidate.failed or candidate.log_loss.low > epsilon:
        return Standing.MISSES
    if candidate.log_loss.covers_replicas and candidate.log_loss.high <= epsilon:
        return Standing.MEETS
    return Standing.OPEN


def leader(candidates: Sequence[Candidate], epsilon: float) -> Candidate | None:
    """Return the candidate of the lowest relative PD among those that meet ε."""
    meeting = [each for each in candidates if standing(each, epsilon) is Standing.MEETS]
    return min(meeting, key=lambda each: (each.relative_pd.value, each.value), default=None)


def contenders(evidence: Evidence, epsilon: float) -> tuple[Candidate, ...]:
    """Return who may be the answer: the leader, and all not known to be worse or to miss ε."""
    first = leader(evidence.candidates, epsilon)

    def contends(each: Candidate) -> bool:
        if each is first or standing(each, epsilon) is Standing.MISSES:
            return each is first
        return first is None or not evidence.pd_ratio(each.value, first.value).low > 1

    return tuple(filter(contends, evidence.candidates))


def begin(config: SearchConfig, propose: Propose) -> Request:
    """Return what a search asks for first."""
    values = propose(config, (), (config.low, config.high), 1)
    return Request(round=1, replicas=tuple((value, config.replicas) for value in sorted(values)))


def decide(
    config: SearchConfig, request: Request, evidence: Evidence, propose: Propose
) -> Request | Verdict:
    """Return what to ask for after ``request`` was answered by ``evidence``, or the verdict."""
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
    asked = (*request.replicas, *((value, config.replicas) for value in new))
    later = Request(round=request.round + 1, replicas=tuple(sorted(asked)))
    return later if new else decide(config, later, evidence, propose)


def conclude(config: SearchConfig, evidence: Evidence) -> Verdict:
    """Return what the evidence allows to say."""
    first = leader(evidence.candidates, config.epsilon)
    rivals = contenders(evidence, config.epsilon)
    best = first or next(iter(_of_lowest_loss(evidence.candidates)), None)
    if first is not None:
        outcome = Outcome.FOUND
    else:
        outcome = Outcome.CANNOT_TELL if rivals else Outcome.NOTHING
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
    """Double the replicas of all rivals where there are several, or one whose loss is open."""
    if all(standing(each, config.epsilon) is Standing.MEETS for each in rivals) and len(rivals) < 2:
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
    """Return how many places lie from the lowest to the highest of the rivals."""
    places = [place for place, each in enumerate(candidates) if each in rivals]
    return places[-1] - places[0] if places else 0


def _of_lowest_loss(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidate of the lowest log loss, alone; nobody where all failed."""
    ended = [each for each in candidates if not math.isnan(each.log_loss.value)]
    return sorted(ended, key=lambda each: (each.log_loss.value, each.value))[:1]


def _between(
    config: SearchConfig, candidates: Sequence[Candidate], around: Sequence[Candidate]
) -> tuple[float, float]:
    """Return the neighbours of the outermost of ``around``; the range ends at its edges."""
    lower, _ = _neighbours(candidates, around[0])
    _, upper = _neighbours(candidates, around[-1])
    return (
        config.low if lower is None else lower,
        config.high if upper is None else upper,
    )


def _neighbours(
    candidates: Sequence[Candidate], one: Candidate | None
) -> tuple[float | None, float | None]:
    if one is None:
        return None, None
    lower = [each.value for each in candidates if each.value < one.value]
    upper = [each.value for each in candidates if each.value > one.value]
    return max(lower, default=None), min(upper, default=None)


#: A name a person can read, and far finer than what replicas can tell apart.
_DIGITS = 4


def proposer(config: SearchConfig, seed: int) -> Propose:
    """Return what chooses the values of a search.

    Raises:
        ConfigError: it is Optuna, which is not installed.
    """
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
    """Return ``config.points`` values: over the whole range at first, then inside ``within``."""
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
    """Return ``config.points`` values that Optuna's TPE sampler wants to see, from anywhere.

    It is told the relative PD of each value tried and, as a constraint, how far its log loss is
    above ε; a value that failed is told as such. The study is made anew from that each time.
    """
    import optuna
    from optuna.trial import Trial, TrialState

    def suggested(trial: Trial) -> float:
        return trial.suggest_float("value", config.low, config.high, log=config.scale == "log")

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(
            seed=derive(seed, "search", number) % 2**32,
            n_startup_trials=config.points,
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
    """Return ``count`` values from end to end, at equal distances on the scale."""
    low, high = within
    space = np.geomspace if config.scale == "log" else np.linspace
    inner = [_rounded(float(value)) for value in space(low, high, count)[1:-1]]
    return sorted({low, *(value for value in inner if low < value < high), high})


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
