"""The worker pool: starts worker actors and replaces those that crash or stop responding."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import (
    ActorDiedError,
    GetTimeoutError,
    RayActorError,
    RayError,
    RayTaskError,
)

from distrib.engines.asynchronous.messages import Servers, WorkerExit
from distrib.engines.asynchronous.rpc import reason
from distrib.errors import TrialFailed

_PATIENCE_S = 20.0
"""How long a worker may take to notice that its servers are gone"""
MAX_CRASHES = 8
"""Workers that die so often in a row at each place, with no window applied, are not replaced"""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Member:
    name: str
    actor: Any
    running: Any
    """The call that trains, None between two"""


class WorkerPool:
    """The workers of a training; pending actors wait for a node.

    Args:
        wanted: number of workers.
        start_worker: starts a worker actor with a name, at a place: an index below ``wanted``.
        ensure_stopped: makes sure that the last worker at a place has exited.
    """

    def __init__(
        self,
        wanted: int,
        start_worker: Callable[[str, int], Any],
        ensure_stopped: Callable[[int], None],
    ) -> None:
        self._start_worker = start_worker
        self._ensure_stopped = ensure_stopped
        self._deaths = 0
        self._names = (f"worker-{number}" for number in itertools.count())
        self._members = [self._new(place) for place in range(wanted)]

    def start(self, phase: int, servers: Servers) -> None:
        """Start all workers on a phase."""
        for member in self._members:
            member.running = member.actor.run.remote(phase, servers)

    def reap(self, phase: int, servers: Servers) -> tuple[list[str], bool]:
        """Replace dead workers; return their names, and whether a worker lost its servers.

        Raises:
            TrialFailed: a worker raised an error, workers crash repeatedly, or no node has room for
                one.
        """
        running = [member.running for member in self._members if member.running is not None]
        ended, _ = ray.wait(running, num_returns=len(running), timeout=0) if running else ([], [])
        dead, lost = [], False
        for place, member in enumerate(self._members):
            if member.running not in ended:
                continue
            try:
                lost |= ray.get(member.running) is WorkerExit.SERVERS_LOST
                member.running = None
            except RayTaskError as error:
                raise _own_error(error) from error
            except RayActorError as error:
                self._count_death(error)
                dead.append(member.name)
                replacement = self._replace(place, reason(error))
                replacement.running = replacement.actor.run.remote(phase, servers)
            except RayError as error:  # it can never be placed
                raise TrialFailed(f"{member.name}: {reason(error)}") from error
        return dead, lost

    def note_progress(self) -> None:
        """Record that windows were applied, which resets the count of crashes."""
        self._deaths = 0

    def kill(self, names: Iterable[str]) -> None:
        """Kill workers; ``reap`` then replaces them."""
        gone = set(names)
        for member in self._members:
            if member.name in gone:
                ray.kill(member.actor)

    def drain(self) -> None:
        """Wait until all workers have noticed the loss of their servers; replace the others.

        Raises:
            TrialFailed: a worker raised an error.
        """
        running = [member.running for member in self._members if member.running is not None]
        if running:
            ray.wait(running, num_returns=len(running), timeout=_PATIENCE_S)
        for place, member in enumerate(self._members):
            if member.running is None:
                continue
            try:
                ray.get(member.running, timeout=0)
                member.running = None
            except RayTaskError as error:
                raise _own_error(error) from error
            except (RayActorError, GetTimeoutError) as error:
                ray.kill(member.actor)
                self._replace(place, reason(error))

    def close(self) -> None:
        for member in self._members:
            ray.kill(member.actor)

    def _count_death(self, error: RayActorError) -> None:
        if isinstance(error, ActorDiedError) and error.actor_init_failed:
            raise TrialFailed(f"a worker cannot start: {reason(error)}") from error
        self._deaths += 1
        if self._deaths >= MAX_CRASHES * len(self._members):
            raise TrialFailed(
                f"{self._deaths} workers crashed in a row, expected a trained window; the "
                f"last: {reason(error)}"
            ) from error

    def _replace(self, place: int, why: str) -> _Member:
        """Start another worker at a place."""
        self._ensure_stopped(place)
        before, after = self._members[place], self._new(place)
        _log.warning("%s is replaced by %s: %s", before.name, after.name, why)
        self._members[place] = after
        return after

    def _new(self, place: int) -> _Member:
        name = next(self._names)
        return _Member(name=name, actor=self._start_worker(name, place), running=None)


def _own_error(error: RayTaskError) -> TrialFailed:
    return TrialFailed(f"a worker failed: {reason(error)}")
