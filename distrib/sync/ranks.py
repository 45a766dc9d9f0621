"""The ranks of a training, as one of them sees them."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """``count`` processes that train together, of which this one is number ``rank``."""

    rank: int
    count: int
    per_node: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        return self.rank == 0
