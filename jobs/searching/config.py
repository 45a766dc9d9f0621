"""What is searched, and at what price."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from analysis.intervals import FEWEST_REPLICAS
from recsys.frozen import Frozen


class SearchConfig(Frozen):
    """The smallest relative PD at a log loss that is not worse than the baseline's by more than ε.

    ``parameter`` is a number of the arm as an experiment names it, such as
    ``optimizer.dense_learning_rate``; one of its activation is ``activation.beta``.
    """

    arm: str = Field(description="the arm whose parameter is varied")
    parameter: str = Field("activation.beta", pattern=r"^[a-z_]+(\.[a-z_]+)*$")
    low: float = Field(allow_inf_nan=False)
    high: float = Field(allow_inf_nan=False)
    scale: Literal["log", "linear"] = "log"
    epsilon: float = Field(
        gt=0, allow_inf_nan=False, description="what the log loss may be worse by, in nats"
    )
    points: int = Field(5, ge=3, description="values tried in each round")
    rounds: PositiveInt = 3
    replicas: int = Field(
        4, ge=FEWEST_REPLICAS, description="trainings of each value, before any are added"
    )
    max_replicas: PositiveInt = Field(16, description="most trainings of a value")
    confirm: int = Field(
        8, ge=0, description="fresh trainings of the winner and the baseline; 0: none"
    )
    sampler: Literal["refinement", "optuna"] = Field(
        "refinement", description="who chooses the values of a round; optuna is an extra"
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
