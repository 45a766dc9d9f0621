"""The fields of an experiment, and the design of its study: which arms are compared."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from analysis.results.study_design import StudyDesign, StudyPoint
from analysis.statistics.intervals import FEWEST_REPLICAS
from analysis.text import check_experiment_name
from distrib.scheduling.stall_detection import STALL_S
from jobs.experiment.documents import suggestion, summary, unknown
from recsys.activations import activation_beta
from recsys.calls import nearest, parse_call
from recsys.config import EvaluationConfig, OptimizerConfig, Recipe, StreamConfig
from recsys.data.readers.registry import READERS
from recsys.engines import EngineConfig, LocalEngine
from recsys.errors import ConfigError
from recsys.frozen import Few, Frozen, Integer, Number, Seconds
from recsys.models.config import MLPConfig, ModelConfig
from recsys.seeds import Source

Value = float | str | None
Fields = Mapping[str, Value]
"""The configuration of an arm, by dotted field"""


def _known_reader(name: str) -> str:
    if name not in READERS:
        raise ValueError(f"unknown reader {name!r}{suggestion(name, list(READERS))}")
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
"""Sections that an arm can override. Paired comparisons need one evaluation for all arms."""


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
                "which a spread needs"
            )
        return self

    @property
    def most_trials(self) -> int:
        """The maximum number of trainings of the search, with those of the baseline."""
        return (self.points * self.rounds + 1) * self.max_replicas + 2 * self.confirm


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
        """The replication of arms that do not override it."""
        return Replication(replicas=self.replicas, vary=self.vary)


class Experiment(Settings):
    """A complete experiment."""

    arms: dict[str, ExperimentArm]


def study_design(experiment: Experiment, study: Study) -> StudyDesign:
    """Return which arms a study compares.

    Raises ConfigError if no arm has a field of the study, no arms differ in it, two arms of a
    series have the same x, or the reference does not exist.
    """
    fields = {name: arm_fields(name, arm) for name, arm in experiment.arms.items()}
    _check_fields(study, fields)
    series = {name: _series_name(study, fields, name, experiment.baseline) for name in fields}
    arm_at: dict[tuple[str, Value], str] = {}
    for name, found in fields.items():
        x = found.get(study.x)
        other = arm_at.setdefault((series[name], x), name)
        if other is not name:
            raise ConfigError(
                f"study.series: {other} and {name} both have {study.x} {_quoted(x)}, expected "
                "fields in which they differ"
            )
    reference = study.reference_series or study.reference or experiment.baseline
    valid = list(dict.fromkeys(series.values())) if study.reference_series else list(fields)
    if reference not in valid:
        field = "reference_series" if study.reference_series else "reference"
        raise unknown(f"study.{field} {summary(reference)}", reference, valid)

    def compared_with(name: str) -> str | None:
        if study.reference_series is None:
            return None if name == reference else reference
        x = fields[name].get(study.x)
        is_other = series[name] != reference and x is not None
        return arm_at.get((reference, x)) if is_other else None

    points = tuple(
        StudyPoint(
            arm=name, series=series[name], x=found.get(study.x), reference=compared_with(name)
        )
        for name, found in fields.items()
    )
    if not any(point.reference for point in points):
        raise ConfigError(
            f"study.reference_series: no arm of another series has the {study.x} of one of "
            f"{summary(reference)}, expected arms to compare"
        )
    return StudyDesign(question=study.question, x=study.x, reference=reference, points=points)


def arm_fields(name: str, arm: ExperimentArm) -> dict[str, Value]:
    """Return all fields of an arm that a study can use, by dotted path; ``arm`` is its name."""
    recipe = arm.recipe.model_dump(mode="json", exclude={"arm"})
    own = arm.recipe.arm.model_dump(mode="json") | arm.replication.model_dump(mode="json")
    activation, parameters = parse_call(arm.recipe.arm.activation)
    beta = activation_beta(arm.recipe.arm.activation)
    if beta is not None:
        parameters["beta"] = beta
    named = {f"activation.{key}": value for key, value in parameters.items()}
    return _flat({"arm": name, **own, **recipe, **named, "activation.name": activation.lower()})


def _flat(found: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    flat: dict[str, Value] = {}
    for key, value in found.items():
        match value:
            case Mapping():
                flat |= _flat(value, f"{prefix}{key}.")
            case list() | tuple():
                flat[prefix + key] = " + ".join(map(str, value))
            case bool():
                flat[prefix + key] = f"{key} {str(value).lower()}"
            case int() | float():
                flat[prefix + key] = float(value)
            case _:
                flat[prefix + key] = value
    return flat


def _check_fields(study: Study, fields: Mapping[str, Fields]) -> None:
    known = list(dict.fromkeys(key for found in fields.values() for key in found))
    for where, each in (("x", study.x), *(("series", each) for each in study.series_fields)):
        if each not in known:
            hint = nearest(each, known) or ", expected one such as components, stream.epochs"
            raise ConfigError(f"study.{where}: {summary(each)} is no field of an arm{hint}")
    values = dict.fromkeys(found.get(study.x) for found in fields.values())
    values.pop(None, None)
    if len(values) < 2:
        raise ConfigError(
            f"study.x: {study.x} is {', '.join(map(_quoted, values)) or 'nothing'} in "
            "all arms that have it, expected a field in which arms differ"
        )


def _series_name(study: Study, fields: Mapping[str, Fields], name: str, baseline: str) -> str:
    """Return the first series field's value, and the others where they differ from the baseline."""
    found = fields[name]
    if found.get(study.x) is None:
        return name
    parts = []
    for number, field in enumerate(study.series_fields):
        value = found.get(field)
        if value is not None and (number == 0 or value != fields[baseline].get(field)):
            leaf = "" if str(value)[:1].isalpha() else f"{field.rpartition('.')[2]} "
            parts.append(f"{leaf}{_plain(value)}")
    return " ".join(parts)


def _plain(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quoted(value: Value) -> str:
    return summary(value) if isinstance(value, str) else _plain(value)
