"""Asking the actors of a generation, any of which may be gone."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError, RayTaskError

from distrib.errors import TrialFailed
from recsys.errors import ConfigError, DataError

ANSWER_S = 300.0
"""An actor that takes longer to answer is taken for dead"""


class ServersLost(Exception):
    """A dispatcher or a shard is gone, and with it what it knew."""


def answer(reply: Any, limit_s: float = ANSWER_S) -> Any:
    """Wait for a reply.

    Raises:
        RayTaskError: the actor's own error.
        ServersLost: there is no actor any more, or it does not answer within the limit.
    """
    try:
        return ray.get(reply, timeout=limit_s)
    except RayTaskError:
        raise
    except RayError as error:
        raise ServersLost(reason(error)) from error


def reason(error: BaseException) -> str:
    """Return why in one line: what an actor itself raised, without Ray's account around it."""
    found = str(error)
    if isinstance(error, RayTaskError):
        cause = error.cause
        is_told = isinstance(cause, ConfigError | DataError | TrialFailed)
        found = str(cause) if is_told else f"{type(cause).__name__}: {cause}"
    elif isinstance(error, ActorDiedError) and error.actor_init_failed:
        found = found.strip().splitlines()[-1]  # the end of a traceback
    return " ".join(found.split())
