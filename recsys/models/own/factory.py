"""Find the function that a dotted path names, and what it is called with."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from typing import Any

from recsys.arms import Group
from recsys.calls import nearest
from recsys.data.schema import Schema
from recsys.errors import ConfigError
from recsys.models.config import OwnConfig

Factory = Callable[..., Any]


def load_factory(name: str) -> Factory:
    """Return the function that ``package.module:factory`` names.

    Raises:
        ConfigError: there is no such module or attribute, it cannot be called, or the module is
            Python's own.
    """
    module_name, _, path = name.partition(":")
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        raise ConfigError(
            f"model.name: found {name}, a module of Python itself, expected one of yours"
        )
    found: Any = _module(module_name)
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            hint = nearest(attribute, [one for one in dir(found) if callable(getattr(found, one))])
            raise ConfigError(f"model.name: {module_name} has no {attribute!r}{hint}")
        found = getattr(found, attribute)
    if not callable(found):
        raise ConfigError(
            f"model.name: {name} is a {type(found).__name__}, expected a function of the schema"
        )
    return found


def keywords(factory: Factory, config: OwnConfig, schema: Schema, group: Group) -> dict[str, Any]:
    """Return what the factory is called with besides the schema.

    These are the user's ``options``, and of ``activation``, ``embedding_dim`` and ``heads`` those
    that the factory takes.

    Raises:
        ConfigError: it does not take an option, or not what the arm needs.
    """
    signature = inspect.signature(factory)
    taken = signature.parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in taken.values())
    offered = {"activation": group.activation, "heads": group.heads}
    if config.embedding_dim is not None:
        offered["embedding_dim"] = group.embedding_dim
    for option in config.options.keys() & {*offered, "embedding_dim"}:
        raise ConfigError(
            f"model.options: {option} is not for the options to say; expected "
            f"{'model.embedding_dim' if option == 'embedding_dim' else f'{option} of the arm'}"
        )
    given = {name: value for name, value in offered.items() if takes_any or name in taken}
    for name, needed in (("embedding_dim", "embedding_dim" in offered), ("heads", group.heads > 1)):
        if needed and name not in given:
            raise ConfigError(
                f"model {config.name}: {name} is {offered[name]}, "
                f"and the function takes no {name}; it takes {', '.join(taken)}"
            )
    given |= config.options
    try:
        signature.bind(schema, **given)
    except TypeError as error:
        raise ConfigError(
            f"model.options: {config.name}: {error}; it takes {', '.join(taken)}"
        ) from None
    return given


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module is there, and itself imports one that is not
        raise ConfigError(
            f"model.name: no module {error.name!r} to import; it has to be installed, "
            "or its folder in PYTHONPATH"
        ) from None
