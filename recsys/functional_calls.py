"""Static search for uses of given functions in the code that a module's ``forward`` runs.

It reads bytecode, so it needs no source, and resolves names in the function's globals, so it sees
through import aliases.
"""

from __future__ import annotations

import builtins
import dis
import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")
_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")
_SILENT = ("PUSH_NULL", "CACHE", "EXTENDED_ARG")


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """``what`` is used, and ``where``: qualified name, file and line."""

    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.what} in {self.where}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The search target: objects that match, and names of tensor methods.

    A method counts if it is called on a value known only at run time, which is mostly a tensor.
    """

    matches: Callable[[object], bool]
    methods: tuple[str, ...]


def uses_in_code(module: nn.Module, wanted: Wanted) -> list[Use]:
    """Return the uses of ``wanted`` in the code that the ``forward`` of ``module`` runs.

    It searches ``forward``, functions in attributes, and the methods and functions of the same
    package that they name, but not the ``forward`` of children. Each place is returned once.
    """
    search = _Search(module, wanted)
    uses = list(search.function(type(module).forward, owner=module))
    for value in vars(module).values():
        uses += search.function(value, owner=None)
    return list(dict.fromkeys(uses))


class _Unknown:
    """A value known only at run time."""


_UNKNOWN = _Unknown()
_HELD = object()  # a value that is neither a tensor nor a use


class _Search:
    """One search, with the set of code objects already visited."""

    def __init__(self, module: nn.Module, wanted: Wanted) -> None:
        self._packages = {_package(type(module)), _package(type(module).forward)} - {"torch"}
        self._wanted = wanted
        self._done: set[tuple[CodeType, int]] = set()

    def function(self, value: object, owner: nn.Module | None) -> Iterator[Use]:
        """Search a function; its first argument is ``owner`` unless that is None."""
        if isinstance(value, MethodType):
            owner = value.__self__ if isinstance(value.__self__, nn.Module) else None
        plain = _plain(value)
        if plain is not None and _package(plain) != "torch":
            cells = {}
            for name, cell in zip(plain.__code__.co_freevars, plain.__closure__ or (), strict=True):
                cells[name] = _content(cell)
            first = plain.__code__.co_varnames[:1] if owner is not None else ()
            scope = _Scope(plain.__globals__, {**cells, **dict.fromkeys(first, owner)}, owner)
            yield from self._code(plain.__code__, scope)

    def _code(self, code: CodeType, scope: _Scope) -> Iterator[Use]:
        if (code, id(scope.owner)) in self._done:
            return
        self._done.add((code, id(scope.owner)))
        before: object = _UNKNOWN
        for step in dis.get_instructions(code):
            if step.opname not in _SILENT:
                held = _loaded(step, before, scope)
                yield from self._named(step, before, _place(code, step))
                yield from self._reached(held, scope, _place(code, step))
                before = held
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                yield from self._code(inner, scope)

    def _named(self, step: dis.Instruction, before: object, where: str) -> Iterator[Use]:
        """Yield uses by name: an attribute of ``before``, or an import."""
        if step.opname == "IMPORT_FROM" and step.argval in self._wanted.methods:
            yield Use(what=f"import of {step.argval}", where=where)
        elif step.opname in _ATTRIBUTE:
            if before is _UNKNOWN and step.argval in self._wanted.methods:
                yield Use(what=f".{step.argval}()", where=where)
            elif isinstance(before, nn.Module):
                yield from self._method(before, step.argval)

    def _reached(self, held: object, scope: _Scope, where: str) -> Iterator[Use]:
        """Yield uses in the loaded value; modules are replaced elsewhere."""
        if held is _UNKNOWN or isinstance(held, nn.Module):
            return
        if self._wanted.matches(held):
            yield Use(what=_title(held), where=where)
        elif held is super:
            for base in scope.bases():
                yield from self.function(vars(base).get("forward"), scope.owner)
        elif isinstance(held, FunctionType) and _package(held) in self._packages:
            yield from self.function(held, owner=scope.owner_of(held))

    def _method(self, module: nn.Module, name: str) -> Iterator[Use]:
        value = inspect.getattr_static(type(module), name, None)
        if _package(type(module)) in self._packages and name not in vars(module):
            bound = isinstance(value, (FunctionType, property))
            yield from self.function(value, owner=module if bound else None)


@dataclass(frozen=True, slots=True)
class _Scope:
    names: dict[str, Any]
    locals: dict[str, Any]
    owner: nn.Module | None

    def find_global(self, name: str) -> object:
        return self.names.get(name, getattr(builtins, name, _UNKNOWN))

    def find_local(self, step: dis.Instruction) -> object:
        # Newer Python versions may load two variables in one step; the second is on top.
        name = step.argval[-1] if isinstance(step.argval, tuple) else step.argval
        return self.locals.get(name, _UNKNOWN) if isinstance(name, str) else _UNKNOWN

    def bases(self) -> tuple[type, ...]:
        return type(self.owner).__mro__ if self.owner is not None else ()

    def owner_of(self, function: FunctionType) -> nn.Module | None:
        """Return the owner if ``function`` is one of its methods (``Base.forward``)."""
        mine = any(vars(base).get(function.__name__) is function for base in self.bases())
        return self.owner if mine else None


def _loaded(step: dis.Instruction, before: object, scope: _Scope) -> object:
    """Return the value on top of the stack after ``step``, or _UNKNOWN."""
    if step.opname in _ATTRIBUTE:
        if before is _UNKNOWN:
            return _UNKNOWN
        if isinstance(before, nn.Module):
            return _of_module(before, step.argval)
        return _of_object(before, step.argval)
    if step.opname in _GLOBAL:
        return scope.find_global(step.argval)
    return scope.find_local(step) if step.opname.startswith("LOAD_") else _UNKNOWN


def _place(code: CodeType, step: dis.Instruction) -> str:
    line = step.positions.lineno if step.positions is not None else None
    return f"{code.co_qualname} ({code.co_filename}:{line})"


def _of_module(module: nn.Module, name: str) -> object:
    if name in module._modules:
        return module._modules[name]
    if name in vars(module) or name in module._parameters or name in module._buffers:
        return _HELD
    value = inspect.getattr_static(type(module), name, _UNKNOWN)
    # Methods and properties are searched separately; other class attributes can be a use.
    return _HELD if isinstance(value, (FunctionType, property)) else _unwrapped(value)


def _of_object(value: object, name: str) -> object:
    if isinstance(value, (ModuleType, type)):
        return getattr(value, name, _HELD)
    return _HELD  # getattr could run arbitrary code


def _unwrapped(value: object) -> object:
    return value.__func__ if isinstance(value, (staticmethod, classmethod)) else value


def _plain(value: object) -> FunctionType | None:
    """Return the Python function inside decorators, partials, bound methods and properties."""
    value = value.fget if isinstance(value, property) else _unwrapped(value)
    while isinstance(value, (functools.partial, MethodType)):
        value = value.func if isinstance(value, functools.partial) else value.__func__
    value = inspect.unwrap(value) if callable(value) else None
    return value if isinstance(value, FunctionType) else None


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not yet bound
        return _UNKNOWN


def _package(value: Any) -> str:
    return str(getattr(value, "__module__", None) or "").partition(".")[0]


def _title(value: Any) -> str:
    # PyTorch's built-in functions may have no module.
    return f"{getattr(value, '__module__', None) or 'torch'}.{value.__name__}"
