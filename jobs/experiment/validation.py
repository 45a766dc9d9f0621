"""Checks of configuration values: one line names the field of each fault."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jobs.experiment.documents import one_line, read_document, summary, unknown
from recsys.calls import nearest
from recsys.errors import ConfigError

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
