"""A mini-batch of R replicas."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """B examples for each of R replicas; replicas may have different examples at a position.

    ``sparse`` has ``R x T`` keys, replica-major, each with B bags.
    """

    labels: Tensor
    """float32 ``(R, B)``, 0 or 1"""
    dense: Tensor
    """float32 ``(R, B, D)``"""
    sparse: KeyedJaggedTensor

    @property
    def replicas(self) -> int:
        return self.labels.shape[0]

    @property
    def examples(self) -> int:
        """Examples per replica, B."""
        return self.labels.shape[1]

    def to(self, device: torch.device, *, non_blocking: bool = True) -> Batch:
        """Return the batch on a device."""
        if self.labels.device == device:
            return self
        return Batch(
            labels=self.labels.to(device, non_blocking=non_blocking),
            dense=self.dense.to(device, non_blocking=non_blocking),
            sparse=self.sparse.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> Batch:
        """Return the batch in pinned memory."""
        return Batch(
            labels=self.labels.pin_memory(),
            dense=self.dense.pin_memory(),
            sparse=self.sparse.pin_memory(),
        )

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the batch's GPU memory until the queued work of ``stream`` is done."""
        self.labels.record_stream(stream)
        self.dense.record_stream(stream)
        self.sparse.record_stream(stream)
