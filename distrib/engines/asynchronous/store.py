"""The interface of a parameter store as the driver sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from distrib.engines.asynchronous.messages import Servers, TrainingProgress
from distrib.parameter_store.shard import Served, ShardState
from recsys.arms import Phase
from recsys.module import Arm

Named = Callable[[str], dict[str, Any]]
"""Returns the options of an actor from what it is called in its generation"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResumePoint:
    """What a generation starts from."""

    applied: frozenset[int]
    """Windows"""
    seen: TrainingProgress
    """What they sum up to"""
    leases: int
    """Granted before"""


class Store(Protocol):
    """One for a training; phases come one after another, each in several generations if need be.

    ``begin`` a phase, then ``restore`` it unless it was ``kept``, and ``serve`` a generation until
    it is to ``stop``. Whatever asks actors raises ServersLost if one of them is gone.
    """

    @property
    def waits_for_death(self) -> bool:
        """Whether a silent worker could still change parameters, so that it has to be ended."""
        ...

    def worker_options(self) -> dict[str, Any]:
        """Return what is asked of Ray for a worker, beside its threads."""
        ...

    def begin(self, number: int, phase: Phase) -> None:
        """Have a phase's parameters as they are before its first window.

        Raises:
            ConfigError: the model does not fit, or is not one that can be trained like this.
        """
        ...

    def kept(self) -> ResumePoint | None:
        """Return what is applied in a store that outlived its last generation."""
        ...

    def restore(self, start: ResumePoint, shards: Sequence[ShardState] | None) -> None:
        """Go to a snapshot, or with None to the beginning of the phase."""
        ...

    def serve(self, dispatcher: Any, named: Named) -> Servers:
        """Start a generation; return what its workers turn to."""
        ...

    def check(self) -> None:
        """Raise ServersLost if an actor is known to be gone."""
        ...

    def arm(self) -> Arm:
        """Return the phase's arm with its weights as they are now."""
        ...

    def write(self, root: str, name: str) -> list[str]:
        """Write a snapshot's files, return each shard's digest; no window is being trained."""
        ...

    def order(self) -> list[tuple[Served, ...]]:
        """Return the order log of every shard."""
        ...

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of every tensor of the arm as it was last returned."""
        ...

    def ensure_stopped(self, place: int) -> None:
        """See to it that the last worker at a place can do nothing any more.

        Raises:
            TrialFailed: it cannot be ended.
        """
        ...

    def stop(self) -> None:
        """End a generation."""
        ...

    def close(self) -> None:
        """Give back what the training took."""
        ...
