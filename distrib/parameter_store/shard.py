"""A shard of the parameter store: its rows and its part of the dense vector, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from distrib.engines.asynchronous.leases import Staleness
from distrib.parameter_store.parameters import Parameters, Rows, tensor_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """How much a shard has applied."""

    updates: int
    """Windows"""
    examples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Pulled:
    """What a pull brings."""

    parameters: Parameters
    version: Version


@dataclass(frozen=True, kw_only=True, slots=True)
class Push:
    """Whose change it is, and on what it was computed.

    ``carried`` is the (window, lease) whose change the worker had added by itself to what it
    pulled, before the shard could: its own, so it makes nothing stale.
    """

    window: int
    lease: int
    examples: int
    since: Version
    carried: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """One line of a shard's order log."""

    lease: int
    window: int
    is_push: bool
    applied: bool
    carried: int = -1
    """Of a push: the lease whose change had been added to what was pulled; -1: none"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardState:
    """All that a shard is: what a snapshot holds."""

    parameters: Parameters
    version: Version
    applied: dict[int, tuple[int, int]]
    """Window: (lease, examples)"""
    order: tuple[Served, ...] = ()


class Shard:
    """Serves rows and applies each window's change once.

    Args:
        state: where it starts from; its arrays become the shard's own.
        record: whether to keep the order log.
    """

    def __init__(self, state: ShardState, *, record: bool = False) -> None:
        parameters = state.parameters
        self._slabs = [np.ascontiguousarray(slab) for slab in parameters.slabs]
        # Adding to rows: an order of magnitude faster in PyTorch than numpy's fancy +=.
        self._as_tensors = [tensor_of(slab) for slab in self._slabs]
        self._dense = parameters.dense
        self._version = state.version
        self._applied = dict(state.applied)
        self._record = record
        self._order = list(state.order)

    @property
    def version(self) -> Version:
        return self._version

    @property
    def windows(self) -> frozenset[int]:
        """The windows applied."""
        return frozenset(self._applied)

    def pull(self, rows: Sequence[Rows], *, window: int = -1, lease: int = -1) -> Pulled:
        """Return copies of the records at ``rows`` of each slab (numbers within this shard)."""
        if self._record:
            self._order.append(Served(lease=lease, window=window, is_push=False, applied=False))
        return Pulled(
            parameters=Parameters(
                slabs=tuple(np.take(s, r, axis=0) for s, r in zip(self._slabs, rows, strict=True)),
                dense=self._dense.copy(),
            ),
            version=self._version,
        )

    def push(self, push: Push, rows: Sequence[Rows], change: Parameters) -> Staleness | None:
        """Add a window's change, once: None tells that the window was applied before.

        ``rows`` of a slab are distinct. The result tells what others did since the pull.
        """
        is_new = push.window not in self._applied
        if self._record:
            carried = -1 if push.carried is None else push.carried[1]
            self._order.append(
                Served(
                    lease=push.lease,
                    window=push.window,
                    is_push=True,
                    applied=is_new,
                    carried=carried,
                )
            )
        if not is_new:
            return None
        for slab, at, by in zip(self._as_tensors, rows, change.slabs, strict=True):
            slab.index_add_(0, tensor_of(at), tensor_of(by))
        self._dense += change.dense
        staleness = self._staleness(push)
        self._applied[push.window] = (push.lease, push.examples)
        self._version = Version(
            updates=self._version.updates + 1, examples=self._version.examples + push.examples
        )
        return staleness

    @property
    def order(self) -> tuple[Served, ...]:
        """The order log; empty unless it is recorded."""
        return tuple(self._order)

    def state(self) -> ShardState:
        """Return all state; its parameters are the shard's own, not a copy."""
        return ShardState(
            parameters=self.peek(),
            version=self._version,
            applied=dict(self._applied),
            order=tuple(self._order),
        )

    def peek(self) -> Parameters:
        """Return the parameters themselves, without a copy."""
        return Parameters(slabs=tuple(self._slabs), dense=self._dense)

    def _staleness(self, push: Push) -> Staleness:
        updates = self._version.updates - push.since.updates
        examples = self._version.examples - push.since.examples
        if push.carried is not None:
            lease, own = self._applied.get(push.carried[0], (-1, 0))
            if lease == push.carried[1]:
                updates, examples = updates - 1, examples - own
        return Staleness(updates=updates, examples=examples)


def fresh(parameters: Parameters) -> ShardState:
    """Return the state of a shard that has applied nothing."""
    return ShardState(parameters=parameters, version=Version(updates=0, examples=0), applied={})
