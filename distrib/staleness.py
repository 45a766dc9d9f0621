"""Staleness: what others applied between a worker's pull and its push."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Staleness:
    """Of one push to one shard, or of one batch in shared memory."""

    updates: int
    """Windows of others, or batches in shared memory"""
    examples: int


@dataclass(slots=True)
class StalenessHistogram:
    """How often each staleness was seen."""

    updates: Counter[int] = field(default_factory=Counter)
    examples: Counter[int] = field(default_factory=Counter)

    def add(self, seen: Iterable[Staleness]) -> None:
        for each in seen:
            self.updates[each.updates] += 1
            self.examples[each.examples] += 1

    def merge(self, other: StalenessHistogram) -> None:
        """Add what another counted."""
        self.updates.update(other.updates)
        self.examples.update(other.examples)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``staleness.json`` holds: for each unit mean, maximum and histogram."""
        return {"updates": _summary(self.updates), "examples": _summary(self.examples)}


def _summary(histogram: Counter[int]) -> dict[str, Any]:
    pushes = sum(histogram.values())
    return {
        "pushes": pushes,
        "mean": sum(value * count for value, count in histogram.items()) / max(pushes, 1),
        "max": max(histogram, default=0),
        "histogram": {str(value): histogram[value] for value in sorted(histogram)},
    }
