"""Pairs of arms that differ only in ``delta_scale``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.results.reading import ArmResults

_CONFIG = "config.json"
#: What leaves changes as they are.
_WHOLE = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Twins:
    """An arm, and ``beside`` the arm that differs only by a larger ``delta_scale``."""

    damped: ArmResults
    scale: float
    beside: ArmResults
    beside_scale: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """How an arm with a ``delta_scale`` was trained.

    ``alike`` is a key of its recipe without ``scale``; ``seeds`` are its replicas'. ``is_stale``:
    updates of other workers occur between a pull and its push.
    """

    arm: ArmResults
    scale: float
    alike: str
    seeds: Mapping[int, Any]
    is_stale: bool

    def differs_by_scale_alone(self, other: Trained) -> bool:
        """Return whether another arm differs only in its scale."""
        common = self.seeds.keys() & other.seeds.keys()
        return (
            self.alike == other.alike
            and self.scale != other.scale
            and all(self.seeds[number] == other.seeds[number] for number in common)
        )


def read_trained(arms: Iterable[ArmResults]) -> list[Trained]:
    """Return how arms were trained; arms with a finished trial and a ``delta_scale`` only.

    Raises:
        ResultsError: the configuration of a finished trial is invalid.
    """
    return [found for arm in arms if (found := _trained(arm)) is not None]


def twins(trained: Sequence[Trained]) -> list[Twins]:
    """Return each arm with a smaller ``delta_scale``, with its least scaled twin."""
    found = []
    for each in trained:
        others = [other for other in trained if each.differs_by_scale_alone(other)]
        least = max(others, key=lambda other: other.scale, default=each)
        if least.scale > each.scale:
            found.append(
                Twins(damped=each.arm, scale=each.scale, beside=least.arm, beside_scale=least.scale)
            )
    return found


def never_damped(trained: Sequence[Trained]) -> list[ArmResults]:
    """Return the arms of several workers, unscaled, without a scaled twin."""
    return [
        each.arm
        for each in trained
        if each.is_stale
        and each.scale == _WHOLE
        and not any(each.differs_by_scale_alone(other) for other in trained)
    ]


def _trained(arm: ArmResults) -> Trained | None:
    configs = {trial.replica: trial.document(_CONFIG) for trial in arm.done if trial.has(_CONFIG)}
    if not configs:
        return None
    recipe = configs[min(configs)]["recipe"]
    engine = recipe["engine"]
    if engine.get("delta_scale") is None or engine.get("store") == "shared_memory":
        return None
    return Trained(
        arm=arm,
        scale=engine["delta_scale"],
        alike=json.dumps(recipe | {"engine": engine | {"delta_scale": None}}, sort_keys=True),
        seeds={number: config["seeds"] for number, config in configs.items()},
        is_stale=engine.get("workers", 1) != 1,
    )
