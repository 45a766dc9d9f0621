"""YAML documents and the ``FIELD=VALUE`` words of a command line that change them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from recsys.calls import nearest
from recsys.errors import ConfigError

Document = dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, which YAML would let the last one win."""

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


def read_document(path: Path) -> Document:
    """Return the mapping that a YAML file holds.

    Raises ConfigError, with the line, if it cannot be read or holds something else.
    """
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = ", ".join(filter(None, [error.context, error.problem]))
        raise ConfigError(f"{path}{line}: {_one_line(problem)}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML ({_one_line(error)})") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: found {summary(document)}, expected fields, one a line")
    return document


def assign(document: Document, field: str, value: str) -> Document:
    """Return the document with a dotted ``field`` set to ``value``, which is read as YAML.

    Mappings on the way are made where they are missing. Raises ConfigError if the field leads
    through something that has no fields, or if the value is not YAML.
    """
    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"{field}: found {value!r}, which is not a YAML value") from None
    return _assigned(document, field, field.split("."), parsed)


def split_assignment(word: str) -> tuple[str, str]:
    """Return field and value of a command line's ``FIELD=VALUE``."""
    field, equals, value = word.partition("=")
    if not equals or not all(field.split(".")):
        raise ConfigError(f"{word!r}: expected FIELD=VALUE, such as replicas=8")
    return field, value


def unknown(field: str, found: str, valid: Sequence[str]) -> ConfigError:
    """Return the error for a name that is none of the valid ones, with the nearest of them."""
    hint = nearest(found, valid) or f", expected one of {', '.join(valid)}"
    return ConfigError(f"{field}: unknown{hint}")


def summary(value: object) -> str:
    """Return a found value as a message shows it: on one line, and no longer than it need be."""
    if value is None:
        return "nothing"
    text = _one_line(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _assigned(document: object, field: str, steps: Sequence[str], value: object) -> Document:
    if not isinstance(document, Mapping):
        raise ConfigError(f"{field}: {summary(document)} has no field {steps[0]!r}")
    first, rest = steps[0], steps[1:]
    if rest:
        value = _assigned(document.get(first) or {}, field, rest, value)
    return {**document, first: value}


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
