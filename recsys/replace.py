"""Replace the activations of any module tree, and report those that cannot be replaced.

An activation can be replaced if a module has it as a child module, or as an attribute that is an
activation function (``torch.relu`` in TorchRec's ``Perceptron``). A call in the code of a
``forward`` cannot; it is found and reported.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Iterator, ValuesView
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys import activations
from recsys.activations import Activation, ActivationError, get_activation
from recsys.calls import nearest
from recsys.functional_calls import Use, Wanted, uses_in_code

Old = str | type[nn.Module] | Callable[..., Tensor]
New = str | nn.Module | Callable[[], nn.Module]


class UnseenActivationWarning(UserWarning):
    """Some activations were not replaced, because no module has them as child or attribute."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unseen:
    """An activation that was not replaced: the path of its module, and its use there."""

    path: str
    use: Use

    def __str__(self) -> str:
        return f"{self.path or '(root)'}: {self.use}"


@dataclass(frozen=True, slots=True)
class _Kind:
    """The classes, functions and tensor methods of one activation."""

    classes: tuple[type[nn.Module], ...]
    functions: tuple[Callable[..., Any], ...] = ()
    methods: tuple[str, ...] = ()


def _kind(*classes: type[nn.Module], spelled: str = "", own: object = None) -> _Kind:
    names = (spelled, f"{spelled}_") if spelled else ()
    places = (torch, F, torch.ops.aten)
    functions = [getattr(place, name) for place in places for name in names if hasattr(place, name)]
    methods = [getattr(Tensor, name) for name in names if hasattr(Tensor, name)]
    if callable(own):
        functions.append(own)
    return _Kind(classes, (*functions, *methods), tuple(names if methods else ()))


_KINDS: dict[str, _Kind] = {
    "smelu": _kind(activations.SmeLU, own=activations.smelu),
    "gsmelu": _kind(activations.GSmeLU, own=activations.gsmelu),
    "rescu": _kind(activations.Rescu, own=activations.rescu),
    "swish": _kind(nn.SiLU, activations.Swish, spelled="silu", own=activations.swish),
    "softplus": _kind(
        nn.Softplus, activations.Softplus, spelled="softplus", own=activations.softplus
    ),
    "gelu": _kind(nn.GELU, activations.GELU, spelled="gelu", own=activations.gelu),
    "mish": _kind(nn.Mish, activations.Mish, spelled="mish"),
    "selu": _kind(nn.SELU, activations.SELU, spelled="selu"),
    "celu": _kind(nn.CELU, activations.CELU, spelled="celu"),
    "elu": _kind(nn.ELU, activations.ELU, spelled="elu"),
    "tanh": _kind(nn.Tanh, activations.Tanh, spelled="tanh"),
    "relu": _kind(nn.ReLU, activations.ReLU, spelled="relu"),
    "identity": _kind(nn.Identity, activations.Identity),
    "leaky_relu": _kind(nn.LeakyReLU, spelled="leaky_relu"),
    "relu6": _kind(nn.ReLU6, spelled="relu6"),
    "sigmoid": _kind(nn.Sigmoid, spelled="sigmoid"),
    "hardswish": _kind(nn.Hardswish, spelled="hardswish"),
}


def replace_activations(module: nn.Module, old: Old | tuple[Old, ...], new: New) -> int:
    """Replace activations in ``module`` in place, and return the number of places.

    ``old`` is a name (``"relu"`` means ``nn.ReLU``, ``torch.relu``, ``F.relu``, ...), a class, a
    function, or a tuple of these. ``new`` is a name for :func:`recsys.activations.get_activation`,
    a module (each place gets a copy), or a factory without arguments. Places that shared an
    instance share the new one. Hooks of the old activations are removed with them.

    One UnseenActivationWarning lists, with path and line, what cannot be replaced: calls in the
    code of a ``forward`` and of functions of the same package that it calls, functions in a list or
    a class attribute, fused recurrent kernels, scripted modules. Arithmetic that is equivalent to
    an activation (``clamp(min=0)``) is not recognised.

    Raises ActivationError if ``old`` or ``new`` is none of these, or if ``module`` itself is an
    activation to replace.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> replace_activations(net, "relu", "smelu(beta=0.5)")
        1
        >>> net[1]
        SmeLU(beta=0.5)
    """
    target = _Target.of(old)
    if target.holds(module):
        raise ActivationError(
            f"the module to search is itself a {type(module).__name__}; replace it in its parent"
        )
    make = _maker(new)
    unseen = unseen_activations(module, old)
    made: dict[nn.Module, nn.Module] = {}
    count = 0
    # A list, so that new modules are not searched.
    for parent in list(module.modules()):
        for name, held in list(_held(parent)):
            if target.matches(held):
                setattr(parent, name, _successor(held, made, make).train(parent.training))
                _forget_fast_path(parent)
                count += 1
    if unseen:
        lines = "\n".join(f"  {one}" for one in unseen)
        warnings.warn(
            f"not replaced, because they are not attributes of a module ({len(unseen)}):\n{lines}",
            UnseenActivationWarning,
            stacklevel=2,
        )
    return count


def unseen_activations(module: nn.Module, old: Old | tuple[Old, ...]) -> tuple[Unseen, ...]:
    """Return the activations among ``old`` that :func:`replace_activations` cannot replace."""
    target = _Target.of(old)
    found: list[Unseen] = []
    for path, part in module.named_modules():
        if not target.matches(part):
            found += [Unseen(path=path, use=use) for use in _uses(part, target)]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Target:
    """Classes, functions and tensor methods to replace."""

    classes: tuple[type[nn.Module], ...]
    functions: tuple[Callable[..., Any], ...]
    methods: tuple[str, ...]
    names: tuple[str, ...]

    @staticmethod
    def of(old: Old | tuple[Old, ...]) -> _Target:
        named = [_named(one) for one in (old if isinstance(old, tuple) else (old,))]
        return _Target(
            classes=tuple(one for _, kind in named for one in kind.classes),
            functions=tuple(one for _, kind in named for one in kind.functions),
            methods=tuple(one for _, kind in named for one in kind.methods),
            names=tuple(name for name, _ in named),
        )

    def holds(self, module: nn.Module) -> bool:
        return isinstance(module, self.classes)

    def matches(self, held: object) -> bool:
        """Return whether ``held`` is such a module, function, or partial of a function."""
        if isinstance(held, nn.Module):
            return isinstance(held, self.classes)
        while isinstance(held, functools.partial):
            held = held.func
        return any(held is one for one in (*self.functions, *self.classes))


def _named(old: object) -> tuple[str, _Kind]:
    if isinstance(old, str):
        if old.lower() not in _KINDS:
            raise ActivationError(
                f"no activation {old!r} to replace{nearest(old.lower(), tuple(_KINDS))}; "
                f"there are {', '.join(_KINDS)}"
            )
        return old.lower(), _KINDS[old.lower()]
    if isinstance(old, type) and issubclass(old, nn.Module) and old is not nn.Module:
        for name, kind in _KINDS.items():
            if old in kind.classes:
                return name, _Kind((old,), kind.functions, kind.methods)
        return old.__name__, _Kind((old,))
    if callable(old) and not isinstance(old, (type, nn.Module)):
        return getattr(old, "__name__", repr(old)), _Kind((), (old,))
    raise ActivationError(
        f"old must be a name, a module class or a function, or a tuple of these, found {old!r}"
    )


def _maker(new: object) -> Callable[[], nn.Module]:
    if isinstance(new, str):
        get_activation(new)  # raises before anything changes
        return functools.partial(get_activation, new)
    if isinstance(new, nn.Module):
        return functools.partial(copy.deepcopy, new)
    if callable(new):
        return functools.partial(_made_by, new)
    raise ActivationError(f"new must be a name, a module or a function that makes one, not {new!r}")


def _successor(
    held: object, made: dict[nn.Module, nn.Module], make: Callable[[], nn.Module]
) -> nn.Module:
    """Return the replacement of ``held``; a shared module has one shared replacement."""
    if not isinstance(held, nn.Module):
        return make()  # functions are global; each place gets its own module
    if held not in made:
        made[held] = make()
    return made[held]


def _made_by(factory: Callable[[], nn.Module]) -> nn.Module:
    made = factory()
    if not isinstance(made, nn.Module):
        raise ActivationError(f"new made a {type(made).__name__}, it must make a module")
    return made


def _held(module: nn.Module) -> Iterator[tuple[str, object]]:
    """Yield name and value of all children and callable attributes."""
    yield from ((name, child) for name, child in module._modules.items() if child is not None)
    yield from ((name, value) for name, value in vars(module).items() if callable(value))


def _forget_fast_path(module: nn.Module) -> None:
    # In evaluation mode nn.TransformerEncoderLayer uses a fused kernel for ReLU and GELU, selected
    # by this number, which is set at construction.
    if "activation_relu_or_gelu" in vars(module):
        vars(module)["activation_relu_or_gelu"] = 0


def _uses(module: nn.Module, target: _Target) -> Iterator[Use]:
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        yield Use(what="compiled code, which cannot be searched", where=kind.__name__)
        return
    nonlinearity = getattr(module, "nonlinearity", None)
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase)) and nonlinearity in target.names:
        yield Use(what=f"nonlinearity={nonlinearity!r} of a fused kernel", where=kind.__name__)
    for name, value in vars(module).items():
        inside = value.values() if isinstance(value, dict) and name != "_modules" else value
        if isinstance(inside, (list, tuple, ValuesView)) and any(map(target.matches, inside)):
            yield Use(what=f"in the plain {type(value).__name__} {name!r}", where=kind.__name__)
    # PyTorch's modules need no search, but a traced graph is user code.
    own = kind.__module__.startswith("torch.") and not isinstance(module, torch.fx.GraphModule)
    if not own and not isinstance(module, Activation):
        yield from uses_in_code(module, Wanted(matches=target.matches, methods=target.methods))
