"""Load an experiment from a YAML file and command-line overrides, and check all of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from analysis.text import check_arm_name
from jobs.experiment.documents import (
    Document,
    Faults,
    assign,
    below,
    in_file,
    mapping,
    read_document,
    split_assignment,
    summary,
    unknown,
    validated,
)
from jobs.experiment.schema import (
    OVERRIDABLE,
    Defaults,
    Experiment,
    ExperimentArm,
    Replication,
    Settings,
    study_design,
)
from jobs.experiments import shipped_experiments
from jobs.tuning.policy import check_searchable
from recsys.arms import ArmConfig
from recsys.config import Recipe
from recsys.engines import ENGINE_KINDS
from recsys.errors import ConfigError
from recsys.frozen import Frozen
from recsys.models.config import MODEL_KINDS, CustomModelConfig
from recsys.seeds import Source

KINDS: dict[str, type[Frozen]] = {
    kind.model_fields["kind"].default: kind for kind in get_args(ArmConfig)
}
_BY_NAME: Mapping[str, Mapping[str, type[Frozen]]] = {"model": MODEL_KINDS, "engine": ENGINE_KINDS}
_ORDERED_ENGINES = ("local", "sync")
"""Engines that always apply updates in the same order"""


def load_experiment(name: str, overrides: Sequence[str] = ()) -> Experiment:
    """Return the experiment of a YAML file, or of a shipped one by its bare name.

    Args:
        name: a path, or a name such as ``movielens``.
        overrides: ``FIELD=VALUE`` words. FIELD is a dotted path (``arms.relu.activation``); the
            prefix ``defaults.`` may be omitted (``stream.batch_size``).

    Raises:
        ConfigError: names the file and, on a line for each fault, field, found and expected.
    """
    path = experiment_path(name)
    document = read_document(path)
    faults = Faults()
    with in_file(path):
        for word in overrides:
            document = faults.check(_override, document, word) or document
        experiment = faults.check(parse_experiment, document)
        faults.raise_any()
    assert experiment is not None, "it has no fault"
    return experiment


def experiment_path(name: str) -> Path:
    """Return the file of an EXPERIMENT on the command line."""
    path = Path(name)
    # Unlike Path.is_file, isfile accepts a name that is too long for the file system.
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1 or os.path.isfile(name):  # noqa: PTH113
        return path
    shipped = shipped_experiments()
    if name not in shipped:
        raise unknown(f"experiment {name}", name, list(shipped))
    return shipped[name]


def parse_experiment(document: Document) -> Experiment:
    """Return a document as an experiment; ConfigError has a line for each fault."""
    rest, faults = dict(document), Faults()
    arms, defaults = rest.pop("arms", None), rest.pop("defaults", None)
    settings = faults.check(validated, Settings, rest, "", also=("arms", "defaults"))
    shared = _defaults(defaults, faults)
    found = faults.check(mapping, arms, "arms")
    if found == {}:
        faults.lines.append("arms: found none, expected at least one")
    parsed = {
        name: _arm(arm, name, settings, shared, faults) for name, arm in (found or {}).items()
    }
    baseline = rest.get("baseline") if settings is None else settings.baseline
    if isinstance(baseline, str) and found and baseline not in found:
        faults.lines.append(str(unknown(f"baseline {baseline}", baseline, list(found))))
    faults.raise_any()
    experiment = Experiment(**dict(settings or ()), arms=parsed)
    _check_async_sources(experiment)
    if experiment.search is not None:
        check_searchable(experiment)
    if experiment.study is not None:
        study_design(experiment, experiment.study)
    return experiment


def _override(document: Document, word: str) -> Document:
    field, value = split_assignment(word)
    return assign(document, _absolute(field, document), value)


def _absolute(field: str, document: Mapping[str, Any]) -> str:
    """Return the full path of an override's field; the field of an arm needs the arm."""
    first, *rest = field.split(".")
    if first in Defaults.model_fields:
        return below("defaults", field)
    if first not in (*Experiment.model_fields, "defaults"):
        valid = [*Experiment.model_fields, "defaults", *Defaults.model_fields]
        raise unknown(field, first, valid)
    if first == "arms" and len(rest) > 1:
        arms = mapping(document.get("arms"), "arms")
        if rest[0] not in arms:
            raise unknown(below("arms", rest[0]), rest[0], list(arms))
    return field


def _defaults(found: object, faults: Faults) -> dict[str, Frozen]:
    """Return the sections of the defaults that have no faults."""
    sections = faults.check(mapping, found, "defaults") or {}
    for name in sections:
        if name not in Defaults.model_fields:
            valid = list(Defaults.model_fields)
            faults.lines.append(str(unknown(below("defaults", name), str(name), valid)))
    shared = {
        name: faults.check(_section, default, sections.get(name), name, "defaults")
        for name, default in Defaults()
    }
    return {name: section for name, section in shared.items() if section is not None}


def _arm_name(name: object) -> str:
    try:
        return check_arm_name(name)
    except ValueError as error:
        raise ConfigError(f"arms: {error}") from None


def _arm(
    found: object, name: str, settings: Settings | None, shared: dict[str, Frozen], faults: Faults
) -> ExperimentArm | None:
    """Return an arm; None, with its faults kept, if it, the settings or the defaults have any."""
    field = below("arms", name)
    if faults.check(_arm_name, name) is None:
        return None
    fields = faults.check(mapping, found, field)
    if fields is None:
        return None
    general = settings.replication if settings is not None else Replication(replicas=1, vary=())
    own = {option: fields.pop(option) for option in Replication.model_fields if option in fields}
    replication = faults.check(validated, Replication, dict(general) | own, field)
    changed = {section: fields.pop(section, None) for section in OVERRIDABLE}
    sections: dict[str, object] = {"evaluation": shared.get("evaluation")}
    for section, values in changed.items():
        # An override of a section with faults cannot be checked.
        if section in shared:
            sections[section] = faults.check(_section, shared[section], values, section, field)
    sections["arm"] = faults.check(_arm_fields, fields, field)
    is_complete = len(shared) == len(Defaults.model_fields) and None not in sections.values()
    if settings is None or replication is None or not is_complete:
        return None
    recipe = faults.check(validated, Recipe, sections, field)
    return None if recipe is None else ExperimentArm(recipe=recipe, replication=replication)


def _arm_fields(fields: dict[str, Any], field: str) -> Frozen:
    """Return the fields of an arm's kind."""
    kind = fields.get("kind", "single")
    if not isinstance(kind, str) or kind not in KINDS:
        raise unknown(f"{field}.kind {summary(kind)}", str(kind), list(KINDS))
    return validated(KINDS[kind], fields, field, also=(*Replication.model_fields, *OVERRIDABLE))


def _section(shared: Frozen, found: object, section: str, field: str) -> Frozen:
    """Return a section with the shared values of the options that ``found`` does not set.

    A model or engine of another name keeps the shared values of the options that both have; a
    custom model shares no options with a model of another name.
    """
    field = below(field, section)
    values, changed = dict(shared), mapping(found, field)
    kind = type(shared)
    if section in _BY_NAME and "name" in changed:
        kind = _named(section, changed["name"], field)
    if (
        CustomModelConfig in (kind, type(shared))
        and changed.get("name", values["name"]) != values["name"]
    ):
        values = {}
    kept = {option: value for option, value in values.items() if option in kind.model_fields}
    return validated(kind, {**kept, **changed}, field)


def _named(section: str, name: object, field: str) -> type[Frozen]:
    """Return the configuration class of a model or engine."""
    kinds = _BY_NAME[section]
    if section == "model" and isinstance(name, str) and ":" in name:
        return CustomModelConfig
    if not isinstance(name, str) or name not in kinds:
        custom = ["package.module:factory"] if section == "model" else []
        raise unknown(f"{field}.name {summary(name)}", str(name), [*kinds, *custom])
    return kinds[name]


def _check_async_sources(experiment: Experiment) -> None:
    """Refuse the source async for an engine that has one order of updates."""
    measured = {
        f"arms.{name}.vary": (arm, arm.replication.vary) for name, arm in experiment.arms.items()
    }
    measured["sources"] = (experiment.arms[experiment.baseline], experiment.sources)
    faults = Faults()
    for field, (arm, sources) in measured.items():
        engine = arm.recipe.engine.name
        if engine in _ORDERED_ENGINES and Source.ASYNC in sources:
            faults.lines.append(
                f"{field}: found async, but the {engine} engine applies updates in one order; "
                "expected init, shuffle, arithmetic or components"
            )
    faults.raise_any()
