"""The configuration of a training: model, optimizer, stream and evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from recsys.arms import ArmConfig, Single
from recsys.engines import EngineConfig, LocalEngine
from recsys.frozen import Count, Few, Frozen, Integer, Number
from recsys.models.config import MLPConfig, ModelConfig

Window = Literal["full"] | Annotated[Integer, Field(ge=0, le=1_000_000_000)]
ADDITIVE = ("rowwise_adagrad", "adagrad", "sgd")
"""Optimizers whose state is a sum over examples, so that workers' changes can be added up."""


class OptimizerConfig(Frozen):
    """The optimizers of the embedding tables and of the dense parameters."""

    sparse: Literal["rowwise_adagrad", "adagrad", "sgd", "adam"] = Field(
        "rowwise_adagrad", description="optimizer of the embedding tables"
    )
    dense: Literal["adagrad", "sgd", "adam"] = Field(
        "adagrad", description="optimizer of all other parameters"
    )
    sparse_learning_rate: Number = Field(
        0.05, ge=0, description="learning rate of the embedding tables"
    )
    dense_learning_rate: Number = Field(
        0.02, ge=0, description="learning rate of all other parameters"
    )
    eps: Number = Field(
        1e-8, gt=0, description="added to the square root of the accumulated squared gradients"
    )


class StreamConfig(Frozen):
    """The order in which training examples arrive."""

    batch_size: Count = Field(128, description="examples in a mini-batch")
    epochs: Few = Field(1, description="passes over the training split")
    shuffle: Window = Field(
        2000, description="size of the shuffle buffer in examples; full: all; 0: no shuffle"
    )


class EvaluationConfig(Frozen):
    """The examples on which models are evaluated, and how often."""

    split: Literal["valid", "test"] = Field("test", description="split to evaluate on")
    points: Few = Field(8, description="evaluations during training, at equal distances")
    progress_examples: Count = Field(
        4096,
        description="examples of an evaluation during training; the last evaluation uses all",
    )
    batch_size: Count = Field(4096, description="examples in a mini-batch of an evaluation")


class Recipe(Frozen):
    """Everything that determines a trained model except the seeds and the data."""

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
