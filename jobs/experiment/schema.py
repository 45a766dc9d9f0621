"""An experiment: data, arms and the number of replicas."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from analysis.text import check_experiment_name
from distrib.scheduling.stall_detection import STALL_S
from jobs.tuning.config import SearchConfig
from recsys.calls import nearest
from recsys.config import EvaluationConfig, OptimizerConfig, Recipe, StreamConfig
from recsys.data.readers.registry import READERS
from recsys.engines import EngineConfig, LocalEngine
from recsys.frozen import Few, Frozen, Integer, Number, Seconds
from recsys.models.config import MLPConfig, ModelConfig
from recsys.seeds import Source


def _known_reader(name: str) -> str:
    if name not in READERS:
        hint = nearest(name, list(READERS)) or f", expected one of {', '.join(READERS)}"
        raise ValueError(f"no reader {name!r}{hint}")
    return name


class DataConfig(Frozen):
    """The click log, and the ``soloist prepare`` command that makes it."""

    reader: Annotated[str, AfterValidator(_known_reader)] = Field(
        description="reader of soloist prepare"
    )
    directory: Path = Field(description="directory of the prepared click log")
    options: dict[str, str | Integer | Number | tuple[str, ...]] = Field(
        {}, description="options of soloist prepare by name; a list repeats an option"
    )
    item: str | None = Field(
        None,
        description="feature that identifies the item; the report breaks PD down by its popularity",
    )

    def prepare_command(self) -> str:
        """Return the command that makes the click log."""
        words = ["soloist", "prepare", self.reader]
        for name, value in self.options.items():
            for each in value if isinstance(value, tuple) else (value,):
                words += [f"--{name}", str(each)]
        return shlex.join([*words, "--output", str(self.directory)])


class Defaults(Frozen):
    """The values of all arms that do not override them."""

    model: ModelConfig = Field(MLPConfig(), description="model")
    optimizer: OptimizerConfig = Field(OptimizerConfig(), description="optimizers")
    stream: StreamConfig = Field(StreamConfig(), description="order of the training examples")
    evaluation: EvaluationConfig = Field(
        EvaluationConfig(), description="evaluation; arms cannot override it"
    )
    engine: EngineConfig = Field(LocalEngine(), description="training engine")


OVERRIDABLE = ("model", "optimizer", "stream", "engine")
"""The defaults that an arm can replace; all arms are evaluated alike, or no two could be paired."""


class Replication(Frozen):
    """The number of replicas of an arm, and what differs between them."""

    replicas: Few = Field(description="trainings of the arm")
    vary: tuple[Source, ...] = Field(
        description="sources of irreproducibility that differ between the arm's replicas"
    )


class ExperimentArm(Frozen):
    """An arm: one row of the trade-off table."""

    recipe: Recipe
    replication: Replication


class Study(Frozen):
    """A question that the arms answer; the report draws, tabulates and reads the answer.

    Fields are dotted fields of an arm, such as ``activation.beta``, ``activation.name``, ``kind``,
    ``components``, ``stream.shuffle``, ``engine.workers``, or ``arm``, its name.
    """

    question: str = Field(min_length=1, description="what the study asks, as a sentence")
    x: str = Field("arm", description="the field that varies along a series")
    series: str | tuple[str, ...] = Field(
        (), description="the field or fields by which arms are put into series"
    )
    reference: str | None = Field(
        None, description="arm that all others are compared with; none: the baseline"
    )
    reference_series: str | None = Field(
        None, description="series that all others are compared with, where x is the same"
    )

    @model_validator(mode="after")
    def _one_reference(self) -> Self:
        if self.reference is not None and self.reference_series is not None:
            raise ValueError("found reference and reference_series, expected one of them")
        return self

    @property
    def series_fields(self) -> tuple[str, ...]:
        """``series`` as a tuple."""
        return (self.series,) if isinstance(self.series, str) else self.series


class Settings(Frozen):
    """The fields of an experiment other than defaults and arms."""

    name: Annotated[str, AfterValidator(check_experiment_name)] = Field(
        description="name of the experiment"
    )
    data: DataConfig = Field(description="click log")
    baseline: str = Field(description="arm with which all others are compared")
    replicas: Few = Field(description="trainings of each arm")
    seed: Integer = Field(0, ge=0, le=2**53, description="base of all random seeds")
    vary: tuple[Source, ...] = Field(
        (Source.SHUFFLE,), description="sources of irreproducibility that differ between replicas"
    )
    sources: tuple[Source, ...] = Field(
        (),
        description="sources to measure alone: the baseline is trained again for each of them, "
        "with only that source varied",
    )
    fuse: Few = Field(8, description="maximum number of replicas trained together in one process")
    stall_s: Seconds = Field(
        STALL_S,
        description="seconds without progress after which a training's process is killed and the "
        "training starts again",
    )
    search: SearchConfig | None = Field(None, description="what soloist search looks for")
    study: Study | None = Field(None, description="what the arms are a study of")

    @property
    def replication(self) -> Replication:
        """How often an arm is trained that does not say otherwise."""
        return Replication(replicas=self.replicas, vary=self.vary)


class Experiment(Settings):
    """A complete experiment."""

    arms: dict[str, ExperimentArm]
