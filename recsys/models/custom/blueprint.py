"""Components made by a custom factory function: import, source digest, blueprint."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchrec.modules.embedding_configs import EmbeddingBagConfig
from torchrec.modules.embedding_modules import get_embedding_names_by_table
from torchrec.sparse.jagged_tensor import KeyedTensor

from recsys.arms import Group
from recsys.calls import nearest
from recsys.data.schema import Schema
from recsys.embeddings import columns_of
from recsys.errors import ConfigError
from recsys.models.blueprint import SeedPath
from recsys.models.built_in import Stacked
from recsys.models.config import CustomModelConfig
from recsys.models.custom.checks import Component, Stacking, check_logits, checked, find_stacking
from recsys.replace import replace_activations, unseen_activations
from recsys.seeds import global_draws, torch_generator

Factory = Callable[..., Any]


def load_factory(name: str) -> Factory:
    """Return the function named ``package.module:factory``.

    Raises:
        ConfigError: module or attribute is missing, not callable, or Python's own.
    """
    module_name, _, path = name.partition(":")
    if module_name.partition(".")[0] in sys.stdlib_module_names:
        raise ConfigError(
            f"model.name: found {name}, a module of Python itself, expected a custom module"
        )
    found: Any = _module(module_name)
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            hint = nearest(attribute, [one for one in dir(found) if callable(getattr(found, one))])
            raise ConfigError(f"model.name: {module_name} has no {attribute!r}{hint}")
        found = getattr(found, attribute)
    if not callable(found):
        raise ConfigError(
            f"model.name: {name} is a {type(found).__name__}, expected a function that takes "
            "the schema"
        )
    return found


def keywords(
    factory: Factory, config: CustomModelConfig, schema: Schema, group: Group
) -> dict[str, Any]:
    """Return the factory's keyword arguments.

    They are the custom ``options``, and ``activation``, ``embedding_dim`` and ``heads`` if the
    factory accepts them.

    Raises:
        ConfigError: it does not accept an option, or lacks what the arm needs.
    """
    signature = inspect.signature(factory)
    taken = signature.parameters
    takes_any = any(one.kind is one.VAR_KEYWORD for one in taken.values())
    offered = {"activation": group.activation, "heads": group.heads}
    if config.embedding_dim is not None:
        offered["embedding_dim"] = group.embedding_dim
    for option in config.options.keys() & {*offered, "embedding_dim"}:
        raise ConfigError(
            f"model.options: {option} cannot be set in options; expected "
            f"{'model.embedding_dim' if option == 'embedding_dim' else f'{option} of the arm'}"
        )
    given = {name: value for name, value in offered.items() if takes_any or name in taken}
    for name, needed in (("embedding_dim", "embedding_dim" in offered), ("heads", group.heads > 1)):
        if needed and name not in given:
            raise ConfigError(
                f"model {config.name}: {name} is {offered[name]}, "
                f"and the factory does not accept {name}; it takes {', '.join(taken)}"
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
            f"model.name: no module {error.name!r} to import; install it, or add its folder to "
            "PYTHONPATH"
        ) from None


@cache
def source_digest(name: str) -> str:
    """Return a hash of the source of ``package.module:factory``.

    It covers every Python file of the outermost package, or the module's file if it is in no
    package. Imports from elsewhere are not covered.

    Raises:
        ConfigError: the function is missing, or its module has no file.
    """
    load_factory(name)
    module_name = name.partition(":")[0]
    file = inspect.getsourcefile(sys.modules[module_name])
    if file is None:
        raise ConfigError(f"model.name: {module_name} has no source file, expected a Python module")
    digest = hashlib.sha256()
    for path in _files(Path(file).resolve()):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _files(module: Path) -> list[Path]:
    package = module.parent
    if not (package / "__init__.py").exists():
        return [module]
    while (package.parent / "__init__.py").exists():
        package = package.parent
    return sorted(package.rglob("*.py"))


_TRIAL_EXAMPLES = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Maker:
    """Calls the factory with seeded draws: equal paths give equal weights.

    The factory must draw from PyTorch's global generator, PyTorch's default.
    """

    config: CustomModelConfig
    schema: Schema
    factory: Factory
    keywords: Mapping[str, Any]
    activation: str

    def component(self, path: SeedPath) -> Component:
        """Return the factory's module with the arm's activation.

        Raises:
            ConfigError: it is not a component, or its activation cannot be replaced.
        """
        with global_draws(*path, "own"):
            made = self.factory(self.schema, **self.keywords)
        component = checked(self.config.name, made, self.schema)
        if "activation" not in self.keywords and self.activation != self.config.replaces:
            self._replace_activations(component.dense)
        return component

    def network(self, path: SeedPath) -> nn.Module:
        """Return a component's dense part, with columns ``(B, C)`` in place of a KeyedTensor."""
        made = self.component(path)
        return _OverColumns(made.dense, made.tables)

    def _replace_activations(self, dense: nn.Module) -> None:
        old = self.config.replaces
        unseen = unseen_activations(dense, old)
        if not unseen and replace_activations(dense, old, self.activation):
            return
        what = f"cannot replace {unseen[0]}" if unseen else f"found no {old} in .dense to replace"
        raise ConfigError(
            f"model {self.config.name}: activation {self.activation} {what}; expected modules of "
            "it (model.replaces says of which), or a function that takes activation"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class CustomBlueprint:
    """Components of a custom factory, and how their dense parts run together."""

    maker: Maker
    tables: tuple[EmbeddingBagConfig, ...]
    stacking: Stacking

    def initial_rows(self, path: SeedPath) -> Iterator[tuple[str, Tensor]]:
        """Yield rows as the factory made them; tables on the meta device are initialised here."""
        made = self.maker.component(path).embeddings.embedding_bags
        for table in self.tables:
            start = made[table.name].weight.detach()
            if start.is_meta:
                start = torch.empty_like(start, device="cpu")
                with global_draws(*path, "table", table.name):
                    table.init_fn(start)
            yield table.name, start

    def towers(self, paths: Sequence[SeedPath]) -> nn.Module:
        networks = [self.maker.network(path) for path in paths]
        return Stacked(
            networks,
            vectorised=self.stacking.vectorised,
            draws=paths if self.stacking.draws else None,
        )


def custom_blueprint(config: CustomModelConfig, schema: Schema, group: Group) -> CustomBlueprint:
    """Return the blueprint of ``group``, tested on a few examples.

    Raises:
        ConfigError: the function is missing, or its module cannot be a component.
    """
    factory = load_factory(config.name)
    maker = Maker(
        config=config,
        schema=schema,
        factory=factory,
        keywords=keywords(factory, config, schema, group),
        activation=group.activation,
    )
    tables = maker.component(("trial", 0)).tables
    networks = [maker.network(("trial", number)) for number in range(2)]
    numbers = torch_generator("trial")
    dense = torch.rand(_TRIAL_EXAMPLES, len(schema.dense), generator=numbers)
    embedded = torch.rand(_TRIAL_EXAMPLES, sum(map(columns_of, tables)), generator=numbers)
    with torch.no_grad():
        for examples in (_TRIAL_EXAMPLES, 1):
            logits = networks[0].eval()(dense[:examples], embedded[:examples])
            check_logits(config.name, logits, examples=examples, heads=group.heads)
    return CustomBlueprint(
        maker=maker,
        tables=tables,
        stacking=find_stacking(config.name, networks, dense, embedded),
    )


class _OverColumns(nn.Module):
    """Passes columns to a dense part as the KeyedTensor of its tables."""

    def __init__(self, dense: nn.Module, tables: Sequence[EmbeddingBagConfig]) -> None:
        super().__init__()
        self.dense = dense
        self._keys = list(chain(*get_embedding_names_by_table(list(tables))))
        self._widths = [table.embedding_dim for table in tables for _ in table.feature_names]

    def forward(self, dense: Tensor, columns: Tensor) -> Tensor:
        embedded = KeyedTensor(keys=self._keys, length_per_key=self._widths, values=columns)
        return self.dense(dense, embedded)
