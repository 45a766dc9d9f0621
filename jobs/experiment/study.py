"""From an experiment's ``study`` to what is compared: each arm's place, series and reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.results.study_design import StudyDesign, StudyPoint
from jobs.experiment.documents import summary, unknown
from jobs.experiment.schema import Experiment, ExperimentArm, Study
from recsys.activations import activation_beta
from recsys.calls import nearest, parse_call
from recsys.errors import ConfigError

Value = float | str | None
Fields = Mapping[str, Value]
"""What an arm was configured to be, by dotted field"""


def study_design(experiment: Experiment, study: Study) -> StudyDesign:
    """Return what a study of an experiment compares.

    Raises:
        ConfigError: no arm has a field of the study, arms do not differ in it, two arms have the
            same place, or the reference does not exist.
    """
    fields = {name: arm_fields(name, arm) for name, arm in experiment.arms.items()}
    _check_fields(study, fields)
    label = {name: _label(study, fields, name, experiment.baseline) for name in fields}
    places: dict[tuple[str, Value], str] = {}
    for name, found in fields.items():
        x = found.get(study.x)
        other = places.setdefault((label[name], x), name)
        if other is not name:
            raise ConfigError(
                f"study.series: {other} and {name} are both at {study.x} {_told(x)}, expected "
                "fields in which they differ"
            )
    reference = study.reference_series or study.reference or experiment.baseline
    valid = list(dict.fromkeys(label.values())) if study.reference_series else list(fields)
    if reference not in valid:
        field = "reference_series" if study.reference_series else "reference"
        raise unknown(f"study.{field} {summary(reference)}", reference, valid)

    def compared_with(name: str) -> str | None:
        if study.reference_series is None:
            return None if name == reference else reference
        x = fields[name].get(study.x)
        is_other = label[name] != reference and x is not None
        return places.get((reference, x)) if is_other else None

    points = [
        StudyPoint(
            arm=name,
            series=label[name],
            x=found.get(study.x),
            reference=compared_with(name),
        )
        for name, found in fields.items()
    ]
    if not any(point.reference for point in points):
        raise ConfigError(
            f"study.reference_series: no arm of another series has the {study.x} of one of "
            f"{summary(reference)}, expected arms to compare"
        )
    return StudyDesign(
        question=study.question, x=study.x, reference=reference, points=tuple(points)
    )


def arm_fields(name: str, arm: ExperimentArm) -> dict[str, Value]:
    """Return all that can be studied of an arm, by dotted field; ``arm`` is its name."""
    recipe = arm.recipe.model_dump(mode="json", exclude={"arm"})
    own = arm.recipe.arm.model_dump(mode="json") | arm.replication.model_dump(mode="json")
    activation, parameters = parse_call(arm.recipe.arm.activation)
    beta = activation_beta(arm.recipe.arm.activation)
    if beta is not None:
        parameters["beta"] = beta
    named = {f"activation.{key}": value for key, value in parameters.items()}
    found = {"arm": name, **own, **recipe, **named, "activation.name": activation.lower()}
    return _flat(found)


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
    known = dict.fromkeys(key for found in fields.values() for key in found)
    for where, each in (("x", study.x), *(("series", each) for each in study.series_fields)):
        if each not in known:
            hint = nearest(each, list(known)) or ", expected one such as components, stream.epochs"
            raise ConfigError(f"study.{where}: {summary(each)} is no field of an arm{hint}")
    values = dict.fromkeys(found.get(study.x) for found in fields.values())
    values.pop(None, None)
    if len(values) < 2:
        raise ConfigError(
            f"study.x: {study.x} is {', '.join(map(_told, values)) or 'nothing'} in "
            "all arms that have it, expected a field in which arms differ"
        )


def _label(study: Study, fields: Mapping[str, Fields], name: str, baseline: str) -> str:
    """Return a series' name: its first field's value, and others where the baseline's differ."""
    found = fields[name]
    if found.get(study.x) is None:
        return name
    parts = []
    for number, field in enumerate(study.series_fields):
        value = found.get(field)
        if value is not None and (number == 0 or value != fields[baseline].get(field)):
            leaf = "" if str(value)[:1].isalpha() else f"{field.rpartition('.')[2]} "
            parts.append(f"{leaf}{_shown(value)}")
    return " ".join(parts)


def _shown(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _told(value: Value) -> str:
    return summary(value) if isinstance(value, str) else _shown(value)
