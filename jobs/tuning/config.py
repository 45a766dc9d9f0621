"""The search section of an experiment."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from analysis.statistics.intervals import FEWEST_REPLICAS
from recsys.frozen import Few, Frozen, Integer, Number


class SearchConfig(Frozen):
    """Minimizes relative PD over a parameter while log loss is at most ε above the baseline's."""

    arm: str = Field(description="arm whose parameter is varied")
    parameter: str = Field(
        "activation.beta",
        pattern=r"^[a-z_]+(\.[a-z_]+)*$",
        max_length=100,
        description="number of the arm by its path, such as optimizer.dense_learning_rate; "
        "activation.NAME for a parameter of its activation",
    )
    low: Number = Field(description="lower bound of the range")
    high: Number = Field(description="upper bound of the range")
    scale: Literal["log", "linear"] = Field("log", description="scale on which values are spaced")
    epsilon: Number = Field(gt=0, description="tolerated increase of log loss, in nats (ε)")
    points: Integer = Field(5, ge=3, le=1000, description="values tried in each round")
    rounds: Integer = Field(3, gt=0, le=1000, description="rounds, each in a narrower range")
    replicas: Integer = Field(
        4, ge=FEWEST_REPLICAS, le=10_000, description="trainings of each value before any are added"
    )
    max_replicas: Few = Field(16, description="maximum number of trainings of a value")
    confirm: Integer = Field(
        8,
        ge=0,
        le=10_000,
        description="new trainings of the winner and of the baseline; 0: no confirmation",
    )
    sampler: Literal["refinement", "optuna"] = Field(
        "refinement", description="method that chooses the values; optuna needs soloist[search]"
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low: found {self.low:g}, expected less than high, {self.high:g}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(
                f"low: found {self.low:g}, expected more than 0 on a log scale (or scale: linear)"
            )
        return self

    @model_validator(mode="after")
    def _replicas_are_ordered(self) -> Self:
        if self.max_replicas < self.replicas:
            raise ValueError(
                f"max_replicas: found {self.max_replicas}, expected at least replicas, "
                f"{self.replicas}"
            )
        if 0 < self.confirm < FEWEST_REPLICAS:
            raise ValueError(
                f"confirm: found {self.confirm}, expected 0 or at least {FEWEST_REPLICAS}, "
                "for fewer show no spread"
            )
        return self

    @property
    def most_trials(self) -> int:
        """The most trainings that the search can ask for, the baseline's included."""
        return (self.points * self.rounds + 1) * self.max_replicas + 2 * self.confirm
