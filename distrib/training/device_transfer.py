"""Transfers to and from the device: prefetch in a thread, pinned copies on streams."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from recsys.data.batch import Batch

_Item = TypeVar("_Item")
_POLL_S = 0.1


class Prefetched(Generic[_Item]):
    """An iterator over items made by a thread; leaving the block stops the thread.

    Exceptions of the thread are raised in place of the item.
    """

    def __init__(self, items: Iterable[_Item], ahead: int = 4) -> None:
        self._items = items
        self._made: queue.Queue[tuple[bool, _Item | BaseException | None]] = queue.Queue(ahead)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._make, name="prefetch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def __iter__(self) -> Iterator[_Item]:
        return self

    def __next__(self) -> _Item:
        is_item, made = self._made.get()
        if is_item:
            return made  # type: ignore[return-value]
        self._made.put((False, made))  # whoever asks again gets the same answer
        raise StopIteration if made is None else made  # type: ignore[misc]

    def _make(self) -> None:
        try:
            for item in self._items:
                if not self._put(True, item):
                    return
            self._put(False, None)
        except BaseException as error:  # the thread that trains has to know
            self._put(False, error)

    def _put(self, is_item: bool, made: _Item | BaseException | None) -> bool:
        """Queue an item when there is room; return False if the consumer has left."""
        while not self._stopping.is_set():
            try:
                self._made.put((is_item, made), timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False


class Movable(Protocol):
    """What can be transferred: tensors and containers of them."""

    def pin_memory(self) -> Self: ...

    def to(self, device: torch.device, *, non_blocking: bool = ...) -> Self: ...

    def record_stream(self, stream: torch.cuda.Stream) -> None: ...


M = TypeVar("M", bound=Movable)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent(Generic[M]):
    """An item on its way to the device, or there."""

    what: tuple[M, ...]
    arrived: torch.cuda.Event | None
    """None on the CPU"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """An item on its way to the host, or there."""

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
    """Copies to one device and back.

    Args:
        device: the CPU or a GPU.
        beside: whether copies may overlap with computation; otherwise, on a GPU, they wait for each
            other, with the same results.
    """

    def __init__(self, device: torch.device, *, beside: bool = True) -> None:
        self.device = device
        self._is_gpu = device.type == "cuda"
        has_streams = self._is_gpu and beside
        self._inward = torch.cuda.Stream(device) if has_streams else None
        self._outward = torch.cuda.Stream(device) if has_streams else None

    @property
    def runs_ahead(self) -> bool:
        """Whether the device computes asynchronously."""
        return self._is_gpu

    def send(self, what: Sequence[M]) -> Sent[M]:
        """Start a copy from the host; computation does not wait for it."""
        if not self._is_gpu:
            return Sent(what=tuple(what), arrived=None)
        with torch.cuda.stream(self._inward):
            there = tuple(each.pin_memory().to(self.device, non_blocking=True) for each in what)
            arrived = torch.cuda.Event()
            arrived.record()
        return Sent(what=there, arrived=arrived)

    def take(self, sent: Sent[M]) -> tuple[M, ...]:
        """Return what was sent; later computation waits until it is there."""
        if sent.arrived is not None:
            computing = torch.cuda.current_stream(self.device)
            computing.wait_event(sent.arrived)
            for each in sent.what:
                # It was allocated by the other stream, which may not have it back before this one
                # is through with it.
                each.record_stream(computing)
        return sent.what

    def fetch(self, what: Sequence[Tensor]) -> Fetched:
        """Start a copy to the host after the queued computation, overlapping later computation."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceBatch:
    """One batch, on host and device."""

    on_host: Batch
    """What is asked of it here keeps no GPU waiting"""
    batch: Batch
    """On the device; on the CPU the same"""


@contextmanager
def device_batches(
    batches: Iterable[Batch], device: torch.device
) -> Iterator[Iterator[DeviceBatch]]:
    """Iterate over ``batches`` on a device, inside the block.

    For a GPU, a thread prepares batches in advance, and copies overlap with computation. On the
    CPU, batches are made on demand, because a thread would take a core from the training.
    """
    if device.type == "cpu":
        yield (DeviceBatch(on_host=batch, batch=batch) for batch in batches)
        return
    with Prefetched(batches) as ahead:
        yield _sent(ahead, Transfer(device))


def _sent(batches: Iterable[Batch], transfer: Transfer) -> Iterator[DeviceBatch]:
    for on_host in batches:
        (batch,) = transfer.take(transfer.send([on_host]))
        yield DeviceBatch(on_host=on_host, batch=batch)
