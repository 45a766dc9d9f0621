"""From YAML and the words of a command line to an experiment, checked whole."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from jobs.documents import Document, assign, read_document, split_assignment, summary, unknown
from jobs.experiment import (
    OVERRIDABLE,
    DataConfig,
    Defaults,
    Experiment,
    ExperimentArm,
    Replication,
    Settings,
    Study,
)
from jobs.experiments import shipped_experiments
from jobs.searching.arms import refuse_unsearchable
from jobs.searching.config import SearchConfig
from jobs.study import study_design
from jobs.validation import below, mapping, validated
from recsys.arms import ArmConfig
from recsys.config import Recipe
from recsys.engines import ENGINE_KINDS
from recsys.errors import ConfigError
from recsys.frozen import Frozen
from recsys.models.config import MODEL_KINDS, OwnConfig
from recsys.seeds import Source

KINDS = {kind.model_fields["kind"].default: kind for kind in get_args(ArmConfig)}
_BY_NAME = cast(
    Mapping[str, Mapping[str, type[Frozen]]], {"model": MODEL_KINDS, "engine": ENGINE_KINDS}
)
_ARM_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_IN_ORDER = ("local", "sync")
"""Engines that apply updates in one order"""


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
    if rest.get("search") is not None:
        validated(SearchConfig, rest["search"], "search")
    if rest.get("study") is not None:
        validated(Study, rest["study"], "study")
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
    if experiment.search is not None:
        refuse_unsearchable(experiment)
    if experiment.study is not None:
        study_design(experiment, experiment.study)
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
            sections[name] = _section(getattr(Defaults(), name), section, name, field)
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
            section: _section(getattr(shared, section), found, section, field)
            for section, found in sections.items()
        },
    }
    return ExperimentArm(
        recipe=validated(Recipe, recipe, field),
        replication=validated(Replication, replication, field),
    )


def _section(shared: Frozen, found: object, section: str, field: str) -> Frozen:
    """Return a section as found, with the shared one's values where nothing is found.

    A model or engine of another name keeps the shared values of the options that both have;
    a user's own model has nothing in common with any of another name.
    """
    field = below(field, section)
    values, changed = dict(shared), mapping(found, field)
    kind = type(shared)
    if section in _BY_NAME and "name" in changed:
        kind = _named(section, changed["name"], field)
    if OwnConfig in (kind, type(shared)) and changed.get("name", values["name"]) != values["name"]:
        values = {}
    kept = {option: value for option, value in values.items() if option in kind.model_fields}
    return validated(kind, {**kept, **changed}, field)


def _named(section: str, name: object, field: str) -> type[Frozen]:
    """Return the configuration of the model or engine of a name."""
    kinds = _BY_NAME[section]
    if section == "model" and isinstance(name, str) and ":" in name:
        return OwnConfig
    if not isinstance(name, str) or name not in kinds:
        own = ["package.module:factory"] if section == "model" else []
        raise unknown(f"{field}.name {summary(name)}", str(name), [*kinds, *own])
    return kinds[name]


def _refuse_what_nothing_varies(experiment: Experiment) -> None:
    """Refuse to measure a source that no engine of this experiment has."""
    for name, arm in experiment.arms.items():
        engine = arm.recipe.engine.name
        if engine in _IN_ORDER and Source.ASYNC in arm.replication.vary:
            raise ConfigError(
                f"arms.{name}: vary has async, but the {engine} engine applies updates in one "
                "order; expected init, shuffle, arithmetic or components"
            )
    engine = experiment.arms[experiment.baseline].recipe.engine.name
    if engine in _IN_ORDER and Source.ASYNC in experiment.sources:
        raise ConfigError(
            f"sources: found async, but the baseline's {engine} engine applies updates in one "
            "order; expected init, shuffle, arithmetic or components"
        )
