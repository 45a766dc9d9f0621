"""A search of a truth that is known: losses and PDs as functions, replicas as noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import t as student

from analysis.statistics.intervals import Interval
from jobs.experiment.schema import SearchConfig
from jobs.tuning.policy import Candidate, Evidence, Propose, Request, Verdict, begin, decide, evenly
from recsys.seeds import generator

Curve = Callable[[float], float]


def config(**changes: object) -> SearchConfig:
    """Return a search of SmeLU's beta."""
    fields = {"arm": "smelu", "low": 0.05, "high": 8, "epsilon": 0.001, "confirm": 0}
    return SearchConfig.model_validate(fields | changes)


def interval(value: float, half: float, replicas: int) -> Interval:
    """Return a symmetric interval."""
    return Interval(
        value=value,
        low=value - half,
        high=value + half,
        replicas=replicas,
        covers_replicas=replicas >= 3,
    )


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What replicas of a value would show: the log loss less the baseline's, the relative PD.

    Each replica's loss has normal noise, and each log PD; a value in ``fails`` has no result.
    """

    loss: Curve
    pd: Curve
    loss_noise: float = 0.0
    pd_noise: float = 0.0
    fails: Callable[[float], bool] = field(default=lambda _: False)
    seed: int = 0

    def evidence(self, request: Request) -> Evidence:
        """Return t intervals of the replicas that were asked for."""
        replicas = dict(request.replicas)

        def ratio(one: float, other: float) -> Interval:
            count = min(replicas[one], replicas[other])
            logs = self._log_pds(one, count) - self._log_pds(other, count)
            found = _of_mean(logs)
            return Interval(
                value=math.exp(found.value),
                low=math.exp(found.low),
                high=math.exp(found.high),
                replicas=count,
                covers_replicas=True,
            )

        return Evidence(
            candidates=tuple(self._candidate(value, count) for value, count in request.replicas),
            pd_ratio=ratio,
        )

    def _candidate(self, value: float, count: int) -> Candidate:
        if self.fails(value):
            nothing = interval(math.nan, math.nan, 0)
            return Candidate(
                value=value,
                replicas=count,
                log_loss=nothing,
                relative_pd=nothing,
                pd_ratio=nothing,
                failed="replica 0 diverged",
            )
        noise = generator(self.seed, "loss", _word(value)).normal(size=count)
        pd = math.exp(self._log_pds(value, count).mean())
        return Candidate(
            value=value,
            replicas=count,
            log_loss=_of_mean(self.loss(value) + self.loss_noise * noise),
            relative_pd=interval(pd, 0.0, count),
            pd_ratio=interval(pd / self.pd(0), 0.0, count),
        )

    def _log_pds(self, value: float, count: int) -> np.ndarray:
        noise = generator(self.seed, "pd", _word(value)).normal(size=count)
        return math.log(self.pd(value)) + self.pd_noise * noise


@dataclass
class Course:
    """A search as it went: every request, and the verdict."""

    requests: list[Request]
    verdict: Verdict

    @property
    def trials(self) -> int:
        """Trainings that the last request comes to, the baseline's included."""
        counts = [count for _, count in self.requests[-1].replicas]
        return sum(counts) + max(counts)


def run(searched: SearchConfig, truth: Truth, propose: Propose = evenly) -> Course:
    """Carry a search out."""
    step: Request | Verdict = begin(searched, propose)
    requests = []
    while isinstance(step, Request):
        requests.append(step)
        step = decide(searched, step, truth.evidence(step), propose)
    return Course(requests=requests, verdict=step)


def _of_mean(values: np.ndarray) -> Interval:
    count = len(values)
    half = student.ppf(0.975, count - 1) * values.std(ddof=1) / math.sqrt(count)
    return interval(float(values.mean()), float(half), count)


def _word(value: float) -> str:
    return f"{value:g}"
