"""The Ray task that trains a group of trials, and its retry policy."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    WorkerCrashedError,
)

from distrib.scheduling.progress import ProgressReporter
from distrib.trials.remote_results import Results
from distrib.trials.trial import Trial
from recsys.config import Recipe
from recsys.credentials import redacted
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError, DataError
from recsys.models.config import CustomModelConfig

WORKER_DEATHS = 2
"""So many deaths of a worker are forgiven: killed for memory, by a person, by a kernel's fault, or
by us, for it was stuck."""


class GroupOutcome(StrEnum):
    """Why a group did not finish."""

    OWN_ERROR = "own error"
    BAD_INPUT = "bad input"
    WORKER_DIED = "worker died"
    STALLED = "stalled"
    NODE_DIED = "node died"


class Decision(StrEnum):
    """What to do about an unfinished group."""

    RETRY = "retry"
    SPLIT = "split"
    GIVE_UP = "give up"


def decide(ending: GroupOutcome, *, worker_deaths: int, trials: int) -> Decision:
    """Decide about a group of ``trials`` after ``worker_deaths`` crashes, including this one.

    A node's crash says nothing about its trials, so they run again. A trial's error would recur,
    but in a group it may be one replica's, so the group is split. Invalid input affects the whole
    group.
    """
    if ending is GroupOutcome.NODE_DIED:
        return Decision.RETRY
    if (
        ending in (GroupOutcome.WORKER_DIED, GroupOutcome.STALLED)
        and worker_deaths <= WORKER_DEATHS
    ):
        return Decision.RETRY
    if ending is GroupOutcome.BAD_INPUT or trials == 1:
        return Decision.GIVE_UP
    return Decision.SPLIT


_MOST_GROUPS = 32
"""Of a process: what may leak in it ends with it"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """Why a group did not finish, reported by its process or by Ray."""

    ending: GroupOutcome
    reason: str
    text: str


def _train_group(
    log_directory: Path,
    results: Results,
    trials: Sequence[Trial],
    digests: Sequence[str],
    told: ProgressReporter,
    keep_weights: bool,
) -> Stopped | None:
    """Train one group and write its trials; its own errors are returned."""
    try:
        told.begin()
        _train_and_write(log_directory, results, trials, digests, told, keep_weights=keep_weights)
    except (ConfigError, DataError) as error:
        return stopped_by(error, GroupOutcome.BAD_INPUT)
    except Exception as error:
        # A full disk is full for each replica alone too: trained again, it would be for nothing.
        is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        return stopped_by(error, GroupOutcome.BAD_INPUT if is_full else GroupOutcome.OWN_ERROR)
    return None


# max_retries: distrib.scheduling.group_task decides, and counts.
_IN_TURN = ray.remote(max_calls=_MOST_GROUPS, max_retries=0)(_train_group)
_ALONE = ray.remote(max_calls=1, max_retries=0)(_train_group)


def task(recipe: Recipe, asked: Mapping[str, Any]) -> Any:
    """Return the task that trains a group, in a fresh process if reuse would affect the next."""
    trains_itself = recipe.engine.name in ("local", "virtual_async")
    is_own = isinstance(recipe.model, CustomModelConfig)
    return _IN_TURN if trains_itself and not is_own and not asked["num_gpus"] else _ALONE


def _train_and_write(
    log_directory: Path,
    results: Results,
    trials: Sequence[Trial],
    digests: Sequence[str],
    on_progress: Callable[[int], None],
    *,
    keep_weights: bool,
) -> None:
    from distrib.engines.registry import (
        train,  # here, so that the driver need not wait for TorchRec
    )

    if [trial.digest for trial in trials] != list(digests):
        raise ConfigError(
            "this worker has other code or libraries than the driver, so its results would not be "
            "the ones asked for; expected the same Soloist, PyTorch, TorchRec and NumPy"
        )
    log = ClickLog.open(log_directory)
    if log.fingerprint != trials[0].data_fingerprint:
        raise DataError(f"{log_directory}: not the click log that the sweep was planned with")
    for trial, result in zip(
        trials, train(log, trials, on_progress=on_progress, directory=results.place), strict=True
    ):
        results.write(trial, result, keep_weights=keep_weights)


def stopped(reference: ray.ObjectRef[Stopped | None]) -> Stopped | None:
    """Return why a finished task did not succeed, or None if it did."""
    try:
        return ray.get(reference)
    except (NodeDiedError, ObjectLostError) as error:
        return stopped_by(error, GroupOutcome.NODE_DIED)
    except (WorkerCrashedError, OutOfMemoryError) as error:
        return stopped_by(error, GroupOutcome.WORKER_DIED)
    except RayError as error:
        return stopped_by(error, GroupOutcome.OWN_ERROR)


def stopped_by(error: BaseException, ending: GroupOutcome) -> Stopped:
    """Return an error as a Stopped, without credentials."""
    text = "".join(traceback.format_exception(error))
    return Stopped(ending=ending, reason=redacted(_reason(error)), text=redacted(text))


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
