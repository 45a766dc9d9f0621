"""An experiment: data, arms and how often each is trained, read from YAML and checked whole."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from jobs.documents import (
    Document,
    assign,
    read_document,
    split_assignment,
    summary,
    unknown,
)
from jobs.validation import below, mapping, validated
from recsys.arms import ArmConfig
from recsys.calls import nearest
from recsys.config import (
    EngineConfig,
    EvaluationConfig,
    ModelConfig,
    OptimizerConfig,
    Recipe,
    StreamConfig,
)
from recsys.data.readers.registry import READERS
from recsys.errors import ConfigError
from recsys.frozen import Frozen
from recsys.seeds import Source

KINDS = {kind.model_fields["kind"].default: kind for kind in get_args(ArmConfig)}
_ARM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


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

    def prepare_command(self) -> str:
        """Return the command that makes the click log."""
        words = ["soloist", "prepare", self.reader]
        for name, value in self.options.items():
            for each in value if isinstance(value, tuple) else (value,):
                words += [f"--{name}", str(each)]
        return shlex.join([*words, "--output", str(self.directory)])


class Defaults(Frozen):
    """What holds for every arm that does not say otherwise."""

    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    stream: StreamConfig = StreamConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    engine: EngineConfig = EngineConfig()


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


class Experiment(Settings):
    """A whole experiment."""

    arms: dict[str, ExperimentArm]


def load_experiment(name: str, overrides: Sequence[str] = ()) -> Experiment:
    """Return the experiment of a YAML file, or of a shipped one by its bare name.

    Args:
        name: a path, or a name such as ``movielens``.
        overrides: ``FIELD=VALUE`` words. FIELD is a dotted path (``arms.relu.activation``); one
            that starts with a field of ``defaults`` means it there (``stream.batch_size``).

    Raises:
        ConfigError: one line that names file and field, what was found and what would do.
    """
    path = experiment_path(name)
    document = read_document(path)
    try:
        for word in overrides:
            field, value = split_assignment(word)
            document = assign(document, _absolute(field, document), value)
        return parse_experiment(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def shipped_experiments() -> dict[str, Path]:
    """Return the experiments that come with Soloist, by name."""
    folder = Path(str(files("jobs") / "experiments"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def experiment_path(name: str) -> Path:
    """Return the file that a command line's EXPERIMENT means."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1 or path.is_file():
        return path
    shipped = shipped_experiments()
    if name not in shipped:
        raise unknown(f"experiment {name}", name, list(shipped))
    return shipped[name]


def parse_experiment(document: Document) -> Experiment:
    """Return a document as an experiment; ConfigError names the first field at fault."""
    rest = dict(document)
    for field in rest:
        if field not in (*Experiment.model_fields, "defaults"):
            raise unknown(str(field), str(field), [*Experiment.model_fields, "defaults"])
    arms, defaults = mapping(rest.pop("arms", None), "arms"), rest.pop("defaults", None)
    if "data" in rest:
        validated(DataConfig, rest["data"], "data")
    settings = validated(Settings, rest, "")
    shared = validated(Defaults, _sections(defaults, "defaults"), "defaults")
    if not arms:
        raise ConfigError("arms: found none, expected at least one")
    experiment = Experiment(
        **dict(settings),
        arms={
            _arm_name(name): _arm(mapping(arm, below("arms", name)), name, settings, shared)
            for name, arm in arms.items()
        },
    )
    if experiment.baseline not in experiment.arms:
        raise unknown(f"baseline {experiment.baseline}", experiment.baseline, list(experiment.arms))
    _refuse_what_nothing_varies(experiment)
    return experiment


def _absolute(field: str, document: Mapping[str, Any]) -> str:
    """Return where an override's field stands; an arm's field needs the arm."""
    first, *rest = field.split(".")
    if first in Defaults.model_fields:
        return below("defaults", field)
    if first not in (*Experiment.model_fields, "defaults"):
        valid = [*Experiment.model_fields, "defaults", *Defaults.model_fields]
        raise unknown(field, first, valid)
    arms = mapping(document.get("arms"), "arms")
    if first == "arms" and len(rest) > 1 and rest[0] not in arms:
        raise unknown(below("arms", rest[0]), rest[0], list(arms))
    return field


def _sections(found: object, field: str) -> dict[str, Any]:
    """Check each section of the defaults by itself, so that a fault is named where it stands."""
    sections = mapping(found, field)
    for name, section in sections.items():
        if name in Defaults.model_fields:
            kind = type(Defaults.model_fields[name].default)
            sections[name] = validated(kind, section, below(field, name))
    return sections


def _arm_name(name: object) -> str:
    if not isinstance(name, str) or not _ARM_NAME.fullmatch(name):
        raise ConfigError(
            f"arms: found the name {summary(name)}, expected letters, digits, '_' and '-'"
        )
    return name


def _arm(fields: dict[str, Any], name: str, settings: Settings, shared: Defaults) -> ExperimentArm:
    field = below("arms", name)
    replication = {
        "replicas": fields.pop("replicas", settings.replicas),
        "vary": fields.pop("vary", settings.vary),
    }
    sections = {section: fields.pop(section, None) for section in OVERRIDABLE}
    kind = fields.get("kind", "single")
    if not isinstance(kind, str) or kind not in KINDS:
        raise unknown(f"{field}.kind {summary(kind)}", str(kind), list(KINDS))
    for each in fields:
        valid = [*KINDS[kind].model_fields, *Replication.model_fields, *OVERRIDABLE]
        if each not in valid:
            raise unknown(below(field, each), str(each), valid)
    recipe = {
        "arm": validated(KINDS[kind], fields, field),
        "evaluation": shared.evaluation,
        **{
            section: _merged(getattr(shared, section), found, below(field, section))
            for section, found in sections.items()
        },
    }
    return ExperimentArm(
        recipe=validated(Recipe, recipe, field),
        replication=validated(Replication, replication, field),
    )


def _merged(shared: Frozen, found: object, field: str) -> Frozen:
    """Return a default section with what an arm changes in it."""
    return validated(type(shared), {**dict(shared), **mapping(found, field)}, field)


def _refuse_what_nothing_varies(experiment: Experiment) -> None:
    """Refuse to measure a source that no engine of this experiment has."""
    for name, arm in experiment.arms.items():
        if arm.recipe.engine.name == "local" and Source.ASYNC in arm.replication.vary:
            raise ConfigError(
                f"arms.{name}: vary has async, but the local engine applies updates in one order; "
                "expected init, shuffle, arithmetic or components"
            )
    engine = experiment.arms[experiment.baseline].recipe.engine.name
    if engine == "local" and Source.ASYNC in experiment.sources:
        raise ConfigError(
            "sources: found async, but the baseline's local engine applies updates in one order; "
            "expected init, shuffle, arithmetic or components"
        )
