"""Batches, made on the host, as a device is fed with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from distrib.prefetch import Prefetched
from distrib.transfer import Transfer
from recsys.data.batch import Batch


@dataclass(frozen=True, kw_only=True, slots=True)
class Fed:
    """One batch in both places."""

    on_host: Batch
    """What is asked of it here keeps no GPU waiting"""
    batch: Batch
    """On the device; on the CPU the same"""


@contextmanager
def feeding(batches: Iterable[Batch], device: torch.device) -> Iterator[Iterator[Fed]]:
    """Have ``batches`` on a device one by one, inside the block.

    For a GPU a thread makes batches ahead, and they are copied beside what is computed. On the CPU
    they are made when they are asked for: there a thread would take a core from the training.
    """
    if device.type == "cpu":
        yield (Fed(on_host=batch, batch=batch) for batch in batches)
        return
    with Prefetched(batches) as ahead:
        yield _sent(ahead, Transfer(device))


def _sent(batches: Iterable[Batch], transfer: Transfer) -> Iterator[Fed]:
    for on_host in batches:
        (batch,) = transfer.take(transfer.send([on_host]))
        yield Fed(on_host=on_host, batch=batch)
