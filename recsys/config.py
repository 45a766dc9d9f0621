"""What decides a training: model, optimiser, stream and evaluation, as validated values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from recsys.arms import ArmConfig, Single
from recsys.engines import EngineConfig, LocalEngine
from recsys.frozen import Frozen
from recsys.models.config import MLPConfig, ModelConfig

Width = Literal["full"] | Annotated[int, Field(ge=0)]


ADDITIVE = ("rowwise_adagrad", "adagrad", "sgd")
"""Optimisers whose state is a sum over examples: what several workers did can be added up."""


class OptimizerConfig(Frozen):
    """Fused optimiser of the tables, and the optimiser of everything else."""

    sparse: Literal["rowwise_adagrad", "adagrad", "sgd", "adam"] = "rowwise_adagrad"
    dense: Literal["adagrad", "sgd", "adam"] = "adagrad"
    sparse_learning_rate: float = Field(0.05, ge=0)
    dense_learning_rate: float = Field(0.02, ge=0)
    eps: float = Field(1e-8, gt=0, description="added to the root of the accumulator")


class StreamConfig(Frozen):
    """The order in which training examples arrive."""

    batch_size: PositiveInt = 128
    epochs: PositiveInt = 1
    shuffle: Width = Field(2000, description="window of the shuffle in examples, or full; 0: none")


class EvaluationConfig(Frozen):
    """On what, and how often, a model is evaluated."""

    split: Literal["valid", "test"] = "test"
    points: PositiveInt = Field(8, description="evaluations spread evenly over the stream")
    progress_examples: PositiveInt = Field(
        4096, description="evaluation examples looked at on the way; the end sees all of them"
    )
    batch_size: PositiveInt = 4096


class Recipe(Frozen):
    """All that decides a trained model, but for the seeds and the data."""

    arm: Annotated[ArmConfig, Field(discriminator="kind")] = Single()
    model: ModelConfig = MLPConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    stream: StreamConfig = StreamConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    engine: EngineConfig = LocalEngine()

    @model_validator(mode="after")
    def _arm_fits(self) -> Recipe:
        self.arm.layout(self.model.embedding_dim)
        return self

    @model_validator(mode="after")
    def _optimizer_fits(self) -> Recipe:
        if self.engine.name in ("local", "sync"):
            return self
        for field in ("sparse", "dense"):
            found = getattr(self.optimizer, field)
            if found not in ADDITIVE:
                raise ValueError(
                    f"optimizer.{field}: found {found}, whose state is no sum, so what workers of "
                    f"engine {self.engine.name} do side by side cannot be added up; "
                    f"expected {', '.join(ADDITIVE[:-1])} or {ADDITIVE[-1]}"
                )
        return self
