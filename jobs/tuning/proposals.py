"""Which values a round tries: evenly spread where the answer lies, or as Optuna chooses.

Both are functions of what is known: the same evidence, the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from jobs.tuning.config import SearchConfig
from jobs.tuning.policy import Candidate, Propose
from recsys.errors import ConfigError
from recsys.seeds import derive

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
