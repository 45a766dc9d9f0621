"""Asking the actors of a generation, any of which may be gone."""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import RayError

_ANSWER_S = 300.0
"""An actor that takes longer to answer is taken for dead"""


class ServersLost(Exception):
    """A dispatcher or a shard is gone, and with it what it knew."""


def answer(reply: Any) -> Any:
    """Wait for a reply.

    Raises:
        RayTaskError: the actor's own error.
        ServersLost: there is no actor any more.
    """
    try:
        return ray.get(reply, timeout=_ANSWER_S)
    except ray.exceptions.RayTaskError:
        raise
    except RayError as error:
        raise ServersLost(str(error)) from error
