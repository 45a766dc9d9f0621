"""One value of a configuration, checked: a fault is one line that names the field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jobs.documents import summary, unknown
from recsys.calls import nearest
from recsys.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], found: object, field: str) -> Model:
    """Return ``found`` as a ``model``.

    Raises ConfigError naming the first field at fault (``field`` is where ``found`` stands, empty
    at the top), what was found, and what is expected or the nearest valid name.
    """
    values = mapping(found, field)
    for name in values:
        if name not in model.model_fields:
            raise unknown(below(field, name), str(name), list(model.model_fields))
    _refuse_truth_value(model, values, field)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_describe(error.errors(), field)) from None


def mapping(found: object, field: str) -> dict[str, Any]:
    """Return ``found`` if it has fields; nothing at all counts as none of them set."""
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"{field}: found {summary(found)}, expected fields")
    return dict(found)


def below(field: str, name: object) -> str:
    """Return the dotted path of a name inside a field."""
    return f"{field}.{name}" if field else str(name)


def _describe(errors: Sequence[ErrorDetails], field: str) -> str:
    """Tell the first fault; a field that may be one of several types has an error for each."""
    first = errors[0]
    for step in _path(first):
        field = below(field, step)
    if first["type"] == "missing":
        return f"{field}: missing"
    if first["type"] == "extra_forbidden":
        return f"{field}: unknown"
    if first["type"] == "value_error":
        reason = str(first["ctx"]["error"])
        return f"{field}: {reason}" if field else reason
    if first["type"] == "union_tag_invalid":
        tag, tags = first["ctx"]["tag"], re.findall(r"'([^']*)'", first["ctx"]["expected_tags"])
        field = below(field, first["ctx"]["discriminator"].strip("'"))
        return str(unknown(f"{field} {tag!r}", tag, tags))
    found = first["input"]
    same = [error for error in errors if _path(error) == _path(first)]
    expected = " or ".join(dict.fromkeys(_in_plain_words(error["msg"]) for error in same))
    hint = ""
    if first["type"] in ("literal_error", "enum") and isinstance(found, str):
        hint = nearest(found, re.findall(r"'([^']*)'", expected))
    return f"{field}: found {summary(found)}, expected {expected}{hint}"


def _path(error: ErrorDetails) -> list[str | int]:
    """Return where an error is, without pydantic's names for the members of a union of types."""
    member = re.compile(r"str|int|float|bool|constrained-.*|.*\[.*")
    return [step for step in error["loc"] if not member.fullmatch(str(step))]


def _in_plain_words(message: str) -> str:
    """Return pydantic's message as what follows the word expected."""
    if message.startswith("Input is not a valid path"):
        return "a path"
    message = message.removeprefix("Input should be ").replace("a valid tuple", "a list")
    message = message.replace("String should match pattern", "text that matches")
    return re.sub(r"^(greater|less)", r"a number \1", message).replace(
        "valid dictionary", "mapping"
    )


def _refuse_truth_value(model: type[Model], values: Mapping[str, Any], field: str) -> None:
    """Refuse yes, no, on and off, which YAML reads as truth values, where a number is meant."""
    for name, value in values.items():
        kind = model.model_fields[name].annotation
        if isinstance(value, bool) and bool not in (kind, *get_args(kind)):
            raise ConfigError(f"{below(field, name)}: found {value}, expected no truth value")
