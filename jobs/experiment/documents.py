"""YAML documents and the ``FIELD=VALUE`` overrides of a command line."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from recsys.calls import nearest
from recsys.errors import ConfigError

Document = dict[str, Any]

_LONGEST = 1 << 20
"""Characters of a document"""
_DEEPEST = 20
"""Levels of a document"""
_MOST_VALUES = 200_000
"""Values of a document, each alias counted as what it stands for"""

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
                    None, None, f"{key_node.value!r} stands here twice", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads 1e-6 as text because it has no point; YAML 1.2 reads a number, as everyone means.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def read_document(path: Path) -> Document:
    """Return the mapping that a YAML file holds.

    Raises ConfigError, with the line, if it cannot be read or holds something else.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8 text") from None
    if len(text) > _LONGEST:
        raise ConfigError(f"{path}: found more than {_LONGEST:,} characters, expected fewer")
    document = _loaded(text, str(path))
    _refuse_excess(document, str(path))
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: found {summary(document)}, expected fields, one a line")
    return document


def assign(document: Document, field: str, value: str) -> Document:
    """Return the document with a dotted ``field`` set to ``value``, which is read as YAML.

    Missing mappings on the way are made. Raises ConfigError if the field leads through something
    that has no fields, or if the value is not YAML.
    """
    try:
        parsed = _loaded(value, field)
    except ConfigError as error:
        raise ConfigError(f"{error}; {summary(value)} is not a YAML value") from None
    _refuse_excess(parsed, field)
    return _assigned(document, field, field.split("."), parsed)


def split_assignment(word: str) -> tuple[str, str]:
    """Return field and value of a command line's ``FIELD=VALUE``."""
    field, equals, value = word.partition("=")
    if not equals or not all(field.split(".")):
        raise ConfigError(f"{summary(word)}: expected FIELD=VALUE, such as replicas=8")
    if field.count(".") >= _DEEPEST:
        raise ConfigError(f"{summary(field)}: found a path of more than {_DEEPEST} fields")
    return field, value


def unknown(field: str, found: str, valid: Sequence[object]) -> ConfigError:
    """Return the error for a name that is none of the valid ones, with the nearest of them."""
    names = [*map(str, valid)]
    hint = nearest(found, names) or f", expected one of {one_line(', '.join(names))}"
    return ConfigError(f"{one_line(field)}: unknown{hint}")


def summary(value: object) -> str:
    """Return a value as a message shows it: on one short line."""
    if value is None:
        return "nothing"
    try:
        text = one_line(_short.repr(value))
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 60 else f"{text[:57]}..."


def one_line(text: object, most: int = 240) -> str:
    """Return a text on one line of at most ``most`` characters, control characters escaped."""
    line = " ".join(str(text).split())
    line = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _loaded(text: str, place: str) -> object:
    """Return what a YAML text holds; an error names ``place`` and, if there are several, line."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}" if mark and "\n" in text else ""
        problem = ", ".join(filter(None, [error.context, error.problem]))
        raise ConfigError(f"{place}{line}: {one_line(problem)}") from None
    except RecursionError:
        raise ConfigError(f"{place}: nested too deeply, expected {_DEEPEST} levels") from None
    # PyYAML passes on what int(), float() and its tables raise for a wrong !!tag.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise ConfigError(f"{place}: not YAML ({one_line(error)})") from None


def _refuse_excess(document: object, place: str) -> None:
    """Refuse what could exhaust memory or the stack later: cycles, many aliases, huge integers."""
    left, seen = [(document, 0)], 0
    while left:
        value, depth = left.pop()
        seen += 1
        if depth > _DEEPEST:
            raise ConfigError(f"{place}: nested too deeply, expected {_DEEPEST} levels")
        if seen > _MOST_VALUES:
            raise ConfigError(f"{place}: found more than {_MOST_VALUES:,} values, expected fewer")
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
