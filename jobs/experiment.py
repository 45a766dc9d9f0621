"""An experiment: data, arms and how often each is trained."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from distrib.stalls import STALL_S
from jobs.searching.config import SearchConfig
from recsys.calls import nearest
from recsys.config import EvaluationConfig, OptimizerConfig, Recipe, StreamConfig
from recsys.data.readers.registry import READERS
from recsys.engines import EngineConfig, LocalEngine
from recsys.frozen import Frozen
from recsys.models.config import MLPConfig, ModelConfig
from recsys.seeds import Source


def _known_reader(name: str) -> str:
    if name not in READERS:
        hint = nearest(name, list(READERS)) or f", expected one of {', '.join(READERS)}"
        raise ValueError(f"no reader {name!r}{hint}")
    return name


class DataConfig(Frozen):
    """The click log, and how ``soloist prepare`` makes it."""

    reader: Annotated[str, AfterValidator(_known_reader)] = Field(
        description="reader of soloist prepare"
    )
    directory: Path = Field(description="the prepared click log")
    options: dict[str, str | int | float | tuple[str, ...]] = Field(
        {}, description="of soloist prepare, by name; a list for one that is repeated"
    )
    item: str | None = Field(
        None, description="the feature that holds the item shown: PD is reported by its popularity"
    )

    def prepare_command(self) -> str:
        """Return the command that makes the click log."""
        words = ["soloist", "prepare", self.reader]
        for name, value in self.options.items():
            for each in value if isinstance(value, tuple) else (value,):
                words += [f"--{name}", str(each)]
        return shlex.join([*words, "--output", str(self.directory)])


class Defaults(Frozen):
    """What holds for every arm that does not say otherwise."""

    model: ModelConfig = MLPConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    stream: StreamConfig = StreamConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    engine: EngineConfig = LocalEngine()


OVERRIDABLE = ("model", "optimizer", "stream", "engine")
"""The defaults that an arm can replace; all arms are evaluated alike, or no two could be paired."""


class Replication(Frozen):
    """How often an arm is trained, and what differs between its replicas."""

    replicas: PositiveInt
    vary: tuple[Source, ...]


class ExperimentArm(Frozen):
    """One row of the table to come."""

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
    """The fields of an experiment but for defaults and arms."""

    name: str = Field(min_length=1)
    data: DataConfig
    baseline: str = Field(description="the arm that all are compared with")
    replicas: PositiveInt = Field(description="trainings of each arm")
    seed: NonNegativeInt = 0
    vary: tuple[Source, ...] = Field(
        (Source.SHUFFLE,), description="the sources of irreproducibility that replicas differ in"
    )
    sources: tuple[Source, ...] = Field(
        (), description="sources to measure alone: the baseline again, with only that one varied"
    )
    fuse: PositiveInt = Field(8, description="most replicas trained side by side in one process")
    stall_s: PositiveFloat = Field(
        STALL_S,
        description="seconds without progress after which a training is taken for stuck, its "
        "process is killed, and it starts again",
    )
    search: SearchConfig | None = Field(None, description="what soloist search looks for")
    study: Study | None = Field(None, description="what the arms are a study of")


class Experiment(Settings):
    """A whole experiment."""

    arms: dict[str, ExperimentArm]
