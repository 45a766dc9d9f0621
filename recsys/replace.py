"""Swap the activations of any module tree for another, and name those that cannot be swapped.

An activation is swapped where a module holds it: as a child module, or as an attribute that is an
activation function (``torch.relu`` in TorchRec's ``Perceptron``). A call written out in the code of
a ``forward`` cannot be swapped; it is found and reported.
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
    """Some activations that were to be replaced stay, because no module holds them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unseen:
    """An activation that stays: ``path`` of the module in the tree, ``use`` and where it is."""

    path: str
    use: Use

    def __str__(self) -> str:
        return f"{self.path or '(root)'}: {self.use}"


@dataclass(frozen=True, slots=True)
class _Kind:
    """All the ways in which PyTorch and this package spell one activation."""

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
    """Replace activations in place anywhere in ``module``; return in how many places.

    ``old`` is a name (``"relu"``: every spelling of it, ``nn.ReLU``, ``torch.relu``, ``F.relu``),
    a class (its instances, and the functions that compute the same), a function, or a tuple of
    these. ``new`` is a name as :func:`recsys.activations.get_activation` reads it, a module (each
    place gets a copy) or a function without arguments that makes one. An instance that was shared
    by several places gives one new instance shared by the same places. Hooks registered on the
    old activations go with them.

    What no module holds is left and named, with path and line, in one UnseenActivationWarning:
    calls in the code of a ``forward`` and of functions of the same package that it calls, functions
    in a plain list or a class attribute, fused recurrent kernels, scripted modules. Arithmetic that
    merely amounts to an activation (``clamp(min=0)``) is not recognised.

    Raises ActivationError where ``old`` or ``new`` is none of these, and where ``module`` is itself
    an activation to be replaced (nothing holds it).

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
            f"the module to search is itself a {type(module).__name__}; "
            "replace it where you hold it"
        )
    make = _maker(new)
    unseen = unseen_activations(module, old)
    made: dict[nn.Module, nn.Module] = {}
    count = 0
    # Listed first: what is put in must not be searched in turn.
    for parent in list(module.modules()):
        for name, held in list(_held(parent)):
            if target.matches(held):
                setattr(parent, name, _successor(held, made, make).train(parent.training))
                _forget_fast_path(parent)
                count += 1
    if unseen:
        lines = "\n".join(f"  {one}" for one in unseen)
        warnings.warn(
            f"not replaced, since no module holds them ({len(unseen)}):\n{lines}",
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
    """What to replace: modules of these classes, these functions, these methods of tensors."""

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
        """Whether ``held`` is one of them, as a module, a function or a partial of a function."""
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
        get_activation(new)  # refused before anything is changed
        return functools.partial(get_activation, new)
    if isinstance(new, nn.Module):
        return functools.partial(copy.deepcopy, new)
    if callable(new):
        return functools.partial(_made_by, new)
    raise ActivationError(f"new must be a name, a module or a function that makes one, not {new!r}")


def _successor(
    held: object, made: dict[nn.Module, nn.Module], make: Callable[[], nn.Module]
) -> nn.Module:
    """Return what comes in place of ``held``: one and the same for a module held in many places."""
    if not isinstance(held, nn.Module):
        return make()  # a function is shared by the whole process, each place gets its own module
    if held not in made:
        made[held] = make()
    return made[held]


def _made_by(factory: Callable[[], nn.Module]) -> nn.Module:
    made = factory()
    if not isinstance(made, nn.Module):
        raise ActivationError(f"new made a {type(made).__name__}, it must make a module")
    return made


def _held(module: nn.Module) -> Iterator[tuple[str, object]]:
    """Yield name and value of children, shared ones each time, and of callable attributes."""
    yield from ((name, child) for name, child in module._modules.items() if child is not None)
    yield from ((name, value) for name, value in vars(module).items() if callable(value))


def _forget_fast_path(module: nn.Module) -> None:
    # In evaluation mode nn.TransformerEncoderLayer skips its activation for a fused kernel that
    # knows ReLU and GELU only, and chooses it by this number, set when it was built.
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
    # PyTorch's own modules hold their activations; a traced graph is the user's code all the same.
    own = kind.__module__.startswith("torch.") and not isinstance(module, torch.fx.GraphModule)
    if not own and not isinstance(module, Activation):
        yield from uses_in_code(module, Wanted(matches=target.matches, methods=target.methods))
