"""An experiment: data, arms and the number of replicas."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, ParamSpec, Self, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from analysis.text import check_experiment_name
from distrib.scheduling.stall_detection import STALL_S
from jobs.experiment.documents import one_line, read_document, summary, unknown
from jobs.tuning.config import SearchConfig
from recsys.calls import nearest
from recsys.config import EvaluationConfig, OptimizerConfig, Recipe, StreamConfig
from recsys.data.readers.registry import READERS
from recsys.engines import EngineConfig, LocalEngine
from recsys.errors import ConfigError
from recsys.frozen import Few, Frozen, Integer, Number, Seconds
from recsys.models.config import MLPConfig, ModelConfig
from recsys.seeds import Source

Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

_MOST_SHOWN = 20
_UNKNOWN = ("extra_forbidden", "invalid_key")
_MEMBER = re.compile(r"str|int|float|bool|list|dict|constrained-.*|.*\[.*")
"""Pydantic's names for the members of a union of plain types"""


class Faults:
    """The faults of one document, collected so that one error reports all of them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def check(
        self,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result | None:
        """Return the function's result; None, and its faults are kept, if it raises ConfigError."""
        try:
            return function(*args, **kwargs)
        except ConfigError as error:
            self.lines += str(error).split("\n")
            return None

    def raise_any(self) -> None:
        """Raise one ConfigError, if there are faults; those that arms share are one line."""
        fields: dict[tuple[str, str], list[str]] = {}
        for line in self.lines:
            field, colon, fault = line.partition(": ")
            own = "" if field.startswith("arms.") else field
            fields.setdefault((own, colon + fault), []).append(field)
        if fields:
            lines = [
                f"{one_line(', '.join(dict.fromkeys(each)))}{fault}"
                for (_, fault), each in fields.items()
            ]
            raise ConfigError("\n".join(lines))


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Name the file in a ConfigError: on its line, or above its lines where it has several."""
    try:
        yield
    except ConfigError as error:
        faults = str(error).split("\n")
        if len(faults) == 1:
            raise ConfigError(f"{path}: {error}") from None
        shown = faults[:_MOST_SHOWN]
        if len(faults) > len(shown):
            shown.append(f"and {len(faults) - len(shown)} more")
        lines = [f"{path}: {len(faults)} faults:", *(f"  {fault}" for fault in shown)]
        raise ConfigError("\n".join(lines)) from None


def read_validated(path: Path, model: type[Model]) -> Model:
    """Return the ``model`` that a YAML file describes; ConfigError has a line for each fault."""
    document = read_document(path)
    with in_file(path):
        return validated(model, document, "")


def validated(model: type[Model], found: object, field: str, *, also: Sequence[str] = ()) -> Model:
    """Return ``found`` as a ``model``.

    ``field`` is the path of ``found``, empty at the top; ``also`` are names that are valid beside
    the model's fields, for hints.

    Raises ConfigError with one line for each fault: the field, what was found, and what is
    expected or the nearest valid name.
    """
    try:
        return model.model_validate(mapping(found, field))
    except ValidationError as error:
        # A field that may be one of several types has an error for each.
        places: dict[str, list[ErrorDetails]] = {}
        valid: dict[str, list[str]] = {}
        for each in error.errors(include_url=False):
            place, names = _place(each, model, field)
            places.setdefault(place, []).append(each)
            valid[place] = [*names, *also]
        lines = [
            _describe(place, errors, valid[place])
            for place, errors in places.items()
            # Else it is inside one member of a union that as a whole is at fault already.
            if places.keys().isdisjoint(accumulate(place.split(".")[:-1], below))
        ]
        raise ConfigError("\n".join(lines)) from None


def mapping(found: object, field: str) -> dict[str, Any]:
    """Return ``found`` if it has fields; None counts as none of them set."""
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"{field}: found {summary(found)}, expected fields")
    return dict(found)


def below(field: str, name: object) -> str:
    """Return the dotted path of a name inside a field."""
    return f"{field}.{name}" if field else str(name)


def _place(error: ErrorDetails, model: type[BaseModel], field: str) -> tuple[str, list[str]]:
    """Return the dotted path of an error, and the names of the fields beside it.

    Pydantic's own steps are left out: the tags of unions and the names of their members.
    """
    models = [model]
    steps = error["loc"]
    unknown_name = steps[-1] if steps and error["type"] in _UNKNOWN else None
    for step in steps:
        holder = next((kind for kind in models if step in kind.model_fields), None)
        if holder is not None:
            models = list(_models(holder.model_fields[str(step)].annotation))
        elif isinstance(step, str) and step != unknown_name:
            tagged = [kind for kind in models if step in _tags(kind)]
            if tagged or _MEMBER.fullmatch(step):
                models = tagged or models
                continue
        field = below(field, one_line(step, 60))
    return field, list(dict.fromkeys(name for kind in models for name in kind.model_fields))


def _models(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models that a field of this annotation can hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _tags(model: type[BaseModel]) -> set[object]:
    """Return the defaults of the fields by which unions tell models apart."""
    fields = (model.model_fields.get(name) for name in ("kind", "name"))
    return {field.default for field in fields if field is not None}


def _describe(field: str, errors: Sequence[ErrorDetails], valid: Sequence[str]) -> str:
    """Return the line for the faults of one field."""
    first = errors[0]
    if first["type"] == "missing":
        return f"{field}: missing"
    if first["type"] in _UNKNOWN:
        return str(unknown(field, str(first["loc"][-1]), valid))
    if first["type"] == "value_error":
        reason = one_line(first["ctx"]["error"])
        return f"{field}: {reason}" if field else reason
    if first["type"] == "union_tag_invalid":
        tag, tags = first["ctx"]["tag"], re.findall(r"'([^']*)'", first["ctx"]["expected_tags"])
        field = below(field, first["ctx"]["discriminator"].strip("'"))
        return str(unknown(f"{field} {summary(tag)}", tag, tags))
    found = first["input"]
    expected = " or ".join(dict.fromkeys(_in_plain_words(error["msg"]) for error in errors))
    hint = ""
    if first["type"] in ("literal_error", "enum") and isinstance(found, str):
        hint = nearest(found, re.findall(r"'([^']*)'", expected))
    return f"{field}: found {summary(found)}, expected {expected}{hint}"


def _in_plain_words(message: str) -> str:
    """Return pydantic's message as what follows the word expected."""
    if message.startswith("Input is not a valid path"):
        return "a path"
    if "valid dictionary or instance of" in message:
        return "fields"
    message = message.removeprefix("Input should be ").replace("a valid tuple", "a list")
    message = message.replace("String should have", "text of")
    message = message.replace("String should match pattern", "text that matches")
    return re.sub(r"^(greater|less)", r"a number \1", message).replace(
        "valid dictionary", "mapping"
    )


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
