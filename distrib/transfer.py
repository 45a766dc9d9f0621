"""Between the host and the device that trains: copies that run beside what is computed there.

To and from a GPU everything goes through page-locked memory, on two streams of their own, one for
each direction, since a GPU has a copy engine for each. PyTorch gives a page-locked block, and
memory that another stream reads, out again only after the copies that use it; so two windows, one
coming and one trained, have two buffers each without anyone counting them. On the CPU nothing
moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor


class Movable(Protocol):
    """What can be sent: tensors, and what is made of them."""

    def pin_memory(self) -> Self: ...

    def to(self, device: torch.device, *, non_blocking: bool = ...) -> Self: ...

    def record_stream(self, stream: torch.cuda.Stream) -> None: ...


M = TypeVar("M", bound=Movable)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent(Generic[M]):
    """On its way to the device, or there."""

    what: tuple[M, ...]
    arrived: torch.cuda.Event | None
    """None on the CPU"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """On its way to the host, or there."""

    what: tuple[Tensor, ...]
    arrived: torch.cuda.Event | None
    """None on the CPU"""

    @property
    def is_here(self) -> bool:
        return self.arrived is None or self.arrived.query()

    def wait(self) -> tuple[Tensor, ...]:
        """Return the tensors on the host."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return self.what


class Transfer:
    """Copies to one device and from it.

    Args:
        device: the CPU or a GPU.
        beside: whether copies may run beside what is computed; without, on a GPU, they wait for it
            and it waits for them, which gives the same results later.
    """

    def __init__(self, device: torch.device, *, beside: bool = True) -> None:
        self.device = device
        self._is_gpu = device.type == "cuda"
        has_streams = self._is_gpu and beside
        self._inward = torch.cuda.Stream(device) if has_streams else None
        self._outward = torch.cuda.Stream(device) if has_streams else None

    @property
    def runs_ahead(self) -> bool:
        """Tell whether the device computes while the host goes on."""
        return self._is_gpu

    def send(self, what: Sequence[M]) -> Sent[M]:
        """Start to copy from the host; what is computed does not wait for it."""
        if not self._is_gpu:
            return Sent(what=tuple(what), arrived=None)
        with torch.cuda.stream(self._inward):
            there = tuple(each.pin_memory().to(self.device, non_blocking=True) for each in what)
            arrived = torch.cuda.Event()
            arrived.record()
        return Sent(what=there, arrived=arrived)

    def take(self, sent: Sent[M]) -> tuple[M, ...]:
        """Return what was sent; what is computed from now on waits until it is there."""
        if sent.arrived is not None:
            computing = torch.cuda.current_stream(self.device)
            computing.wait_event(sent.arrived)
            for each in sent.what:
                # It was allocated by the other stream, which may not have it back before this one
                # is through with it.
                each.record_stream(computing)
        return sent.what

    def fetch(self, what: Sequence[Tensor]) -> Fetched:
        """Start to copy to the host, after what is computed so far and beside what comes next."""
        if not self._is_gpu:
            return Fetched(what=tuple(what), arrived=None)
        computing = torch.cuda.current_stream(self.device)
        copying = computing if self._outward is None else self._outward
        copying.wait_stream(computing)
        with torch.cuda.stream(copying):
            here = []
            for each in what:
                page_locked = torch.empty(each.shape, dtype=each.dtype, pin_memory=True)
                here.append(page_locked.copy_(each, non_blocking=True))
                each.record_stream(copying)
            arrived = torch.cuda.Event()
            arrived.record()
        return Fetched(what=tuple(here), arrived=arrived)
