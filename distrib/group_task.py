"""One group's task on Ray: trains and writes its trials, and says why if it does not finish.

A process trains many groups of built-in models on the CPU, one after another, since it takes it
seconds to load TorchRec; what is a user's own or uses a GPU gets a fresh one, and leaves nothing.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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

from distrib.remote import Results
from distrib.retry import Ending
from distrib.tally import TallyWriter
from distrib.trial import Trial
from recsys.config import Recipe
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError, DataError
from recsys.models.config import OwnConfig

_MOST_GROUPS = 32
"""Of a process: what may leak in it ends with it"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stopped:
    """Why a group did not finish, told by its process or about it."""

    ending: Ending
    reason: str
    text: str


def _train_group(
    log_directory: Path,
    results: Results,
    trials: Sequence[Trial],
    digests: Sequence[str],
    told: TallyWriter,
    keep_weights: bool,
) -> Stopped | None:
    """Train one group and write its trials; an error of its own is returned as a value."""
    try:
        told.begin()
        _train_and_write(log_directory, results, trials, digests, told, keep_weights=keep_weights)
    except (ConfigError, DataError) as error:
        return stopped_by(error, Ending.BAD_INPUT)
    except Exception as error:
        # A full disk is full for each replica alone too: trained again, it would be for nothing.
        is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        return stopped_by(error, Ending.BAD_INPUT if is_full else Ending.OWN_ERROR)
    return None


# max_retries: distrib.retry decides, and counts.
_IN_TURN = ray.remote(max_calls=_MOST_GROUPS, max_retries=0)(_train_group)
_ALONE = ray.remote(max_calls=1, max_retries=0)(_train_group)


def task(recipe: Recipe, asked: Mapping[str, Any]) -> Any:
    """Return the task that trains a group: in a fresh process where the next could tell."""
    trains_itself = recipe.engine.name in ("local", "virtual_async")
    is_own = isinstance(recipe.model, OwnConfig)
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
    from distrib.engines import train  # here, so that the driver need not wait for TorchRec

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
    """Return why a task that ended did not finish, or None if it did."""
    try:
        return ray.get(reference)
    except (NodeDiedError, ObjectLostError) as error:
        return stopped_by(error, Ending.NODE_DIED)
    except (WorkerCrashedError, OutOfMemoryError) as error:
        return stopped_by(error, Ending.WORKER_DIED)
    except RayError as error:
        return stopped_by(error, Ending.OWN_ERROR)


def stopped_by(error: BaseException, ending: Ending) -> Stopped:
    """Return an error as why a group did not finish."""
    text = "".join(traceback.format_exception(error))
    return Stopped(ending=ending, reason=_reason(error), text=text)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
