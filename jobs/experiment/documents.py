"""YAML documents: reading, ``FIELD=VALUE`` overrides, and validation that reports every fault."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from analysis.text import printable, shortened
from recsys.calls import listed, nearest
from recsys.errors import ConfigError

Document = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)
Result = TypeVar("Result")

_MAX_CHARACTERS = 1 << 20
_MAX_DEPTH = 20
_MAX_VALUES = 200_000
"""Each alias counts as the values that it refers to."""
_MAX_FAULTS_SHOWN = 20
_UNKNOWN = ("extra_forbidden", "invalid_key")
_MEMBER = re.compile(r"str|int|float|bool|list|dict|constrained-.*|.*\[.*")
"""Pydantic's names for the members of a union of plain types"""

_short = reprlib.Repr()
_short.maxstring = _short.maxlong = _short.maxother = 60


class _Loader(yaml.SafeLoader):
    """Refuses a duplicate key, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.value == "<<":
                continue
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate key {key_node.value!r}", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 1e-6 as text because it has no point; YAML 1.2 reads a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read_document(path: Path) -> Document:
    """Return the mapping in a YAML file; ConfigError names the line of a fault."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_CHARACTERS + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8 text") from None
    if len(text) > _MAX_CHARACTERS:
        raise ConfigError(f"{path}: found more than {_MAX_CHARACTERS:,} characters, expected fewer")
    document = _parse(text, str(path))
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: found {summary(document)}, expected fields, one a line")
    return document


def assign(document: Document, field: str, value: str) -> Document:
    """Return a document with a dotted ``field`` set to ``value``, parsed as YAML.

    Creates missing mappings. Raises ConfigError if the path crosses a value that is not a mapping,
    or ``value`` is not YAML.
    """
    return _assigned(document, field, field.split("."), _parse(value, field, shown=summary(value)))


def split_assignment(word: str) -> tuple[str, str]:
    """Return field and value of a command line's ``FIELD=VALUE``."""
    field, equals, value = word.partition("=")
    if not equals or not all(field.split(".")):
        raise ConfigError(f"{summary(word)}: expected FIELD=VALUE, such as replicas=8")
    if field.count(".") >= _MAX_DEPTH:
        raise ConfigError(f"{summary(field)}: found a path of more than {_MAX_DEPTH} fields")
    return field, value


def unknown(field: str, found: str, valid: Sequence[object]) -> ConfigError:
    """Return the error for a name that is not one of the valid ones, with the nearest of them."""
    return ConfigError(f"{one_line(field)}: unknown{suggestion(found, valid)}")


def suggestion(found: str, valid: Sequence[object]) -> str:
    """Return the end of a message about an unknown name: the nearest valid name, or all."""
    names = [*map(str, valid)]
    return nearest(found, names) or f", expected one of {one_line(listed(names))}"


def summary(value: object) -> str:
    """Return a value on one line of at most 60 characters, for messages."""
    if value is None:
        return "nothing"
    try:
        return one_line(_short.repr(value), 60)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__} too long to show"


def one_line(text: object, most: int = 240) -> str:
    """Return a text on one line of at most ``most`` characters, control characters escaped."""
    return shortened(printable(" ".join(str(text).split())), most)


def _parse(text: str, place: str, shown: str = "") -> object:
    """Parse YAML; an error names ``place`` and, if there are several lines, the line."""
    hint = f"; {shown} is not a YAML value" if shown else ""
    try:
        document: object = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark and "\n" in text else ""
        problem = ", ".join(filter(None, [error.context, error.problem]))
        raise ConfigError(f"{place}{line}: {one_line(problem)}{hint}") from None
    except RecursionError:
        raise ConfigError(
            f"{place}: nested too deeply, expected {_MAX_DEPTH} levels{hint}"
        ) from None
    # PyYAML passes on what int(), float() and its tables raise for a wrong !!tag.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise ConfigError(f"{place}: not YAML ({one_line(error)}){hint}") from None
    _check_size(document, place)
    return document


def _check_size(document: object, place: str) -> None:
    """Refuse what could exhaust memory or the stack later: cycles, many aliases, huge integers."""
    left, seen = [(document, 0)], 0
    while left:
        value, depth = left.pop()
        seen += 1
        if depth > _MAX_DEPTH:
            raise ConfigError(f"{place}: nested too deeply, expected {_MAX_DEPTH} levels")
        if seen > _MAX_VALUES:
            raise ConfigError(f"{place}: found more than {_MAX_VALUES:,} values, expected fewer")
        if isinstance(value, int) and value.bit_length() > 63:
            raise ConfigError(f"{place}: found {summary(value)}, expected integers of 64 bits")
        if isinstance(value, Mapping):
            left += [(each, depth + 1) for item in value.items() for each in item]
        elif isinstance(value, list | set | tuple):
            left += [(each, depth + 1) for each in value]


def _assigned(document: object, field: str, steps: Sequence[str], value: object) -> Document:
    if not isinstance(document, Mapping):
        raise ConfigError(f"{field}: {summary(document)} has no field {steps[0]!r}")
    first, rest = steps[0], steps[1:]
    if rest:
        value = _assigned(document.get(first) or {}, field, rest, value)
    return {**document, first: value}


class Faults:
    """The faults of one document, collected so that one error reports all of them."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def check(
        self, function: Callable[..., Result], *args: object, **settings: object
    ) -> Result | None:
        """Return the function's result; None, with its faults kept, if it raises ConfigError."""
        try:
            return function(*args, **settings)
        except ConfigError as error:
            self.lines += str(error).split("\n")
            return None

    def raise_any(self) -> None:
        """Raise one ConfigError if there are faults; a fault that arms share is one line."""
        fields: dict[tuple[str, str], list[str]] = {}
        for line in self.lines:
            field, colon, fault = line.partition(": ")
            own = "" if field.startswith("arms.") else field
            fields.setdefault((own, colon + fault), []).append(field)
        lines = [one_line(", ".join(dict.fromkeys(each))) + key[1] for key, each in fields.items()]
        if lines:
            raise ConfigError("\n".join(lines))


@contextmanager
def in_file(path: Path) -> Iterator[None]:
    """Name the file in a ConfigError: on its line, or above its lines if it has several."""
    try:
        yield
    except ConfigError as error:
        faults = str(error).split("\n")
        if len(faults) == 1:
            raise ConfigError(f"{path}: {error}") from None
        shown = faults[:_MAX_FAULTS_SHOWN]
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

    ``field`` is the path of ``found``, empty at the top; ``also`` are further names that hints
    may suggest. ConfigError has one line for each fault: field, found and expected.
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
    """Return ``found`` if it has fields; None is an empty mapping."""
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"{field}: found {summary(found)}, expected fields")
    return dict(found)


def below(field: str, name: object) -> str:
    """Return the dotted path of a name inside a field."""
    return f"{field}.{name}" if field else str(name)


def _place(error: ErrorDetails, model: type[BaseModel], field: str) -> tuple[str, list[str]]:
    """Return the dotted path of an error, and the names of its sibling fields.

    Leaves out Pydantic's own steps: the tags of unions and the names of their members.
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
    """Return the values by which discriminated unions select a model."""
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
    expected = " or ".join(dict.fromkeys(_expectation(error["msg"]) for error in errors))
    hint = ""
    if first["type"] in ("literal_error", "enum") and isinstance(found, str):
        hint = nearest(found, re.findall(r"'([^']*)'", expected))
    return f"{field}: found {summary(found)}, expected {expected}{hint}"


def _expectation(message: str) -> str:
    """Return Pydantic's message as what follows the word expected."""
    if message.startswith("Input is not a valid path"):
        return "a path"
    if "valid dictionary or instance of" in message:
        return "fields"
    message = message.removeprefix("Input should be ").replace("a valid tuple", "a list")
    message = message.replace("String should have", "text of")
    message = message.replace("String should match pattern", "text that matches")
    message = re.sub(r"^(greater|less)", r"a number \1", message)
    return message.replace("valid dictionary", "mapping")
