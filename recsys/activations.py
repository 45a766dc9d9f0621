"""Activations by function, module and name: smooth ones of adjustable width, and the usual ones.

Every activation is elementwise: a tensor of any shape and floating dtype gives one of the same
shape, dtype and strides. Every module is an :class:`Activation`, so that arms which differ in
their activation differ in nothing else; its ``repr`` is a name that :func:`get_activation` reads.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.calls import ParseError, nearest, parse_call
from recsys.errors import ConfigError
from recsys.rescu import Pieces
from recsys.rescu import rescu as _rescu
from recsys.rescu import smelu as _smelu

# Beyond it log(1 + exp(z)) equals z in float64 too; PyTorch's 20 is enough for float32 alone.
_SOFTPLUS_THRESHOLD = 40.0


class ActivationError(ConfigError, ValueError):
    """An activation's name or parameter cannot be used: what was found, what would work."""


def smelu(x: Tensor, beta: float) -> Tensor:
    """Apply SmeLU, ReLU convolved with a box of half-width ``beta``.

    0 for x <= -beta; (x + beta)**2 / (4 beta) for abs(x) <= beta; x for x >= beta. The gradient
    is clip((x + beta) / (2 beta), 0, 1). ``beta = 0`` is ``torch.relu`` itself.
    Shamir & Lin 2022, arXiv 2202.06499.

    Raises ActivationError (a ValueError) for a beta that is negative, NaN or infinite.

    Example:
        >>> smelu(torch.tensor([-2.0, 0.0, 2.0]), beta=1.0)
        tensor([0.0000, 0.2500, 2.0000])
    """
    beta = _at_least_zero("smelu", "beta", beta)
    _need_floating("smelu", x)
    return torch.relu(x) if beta == 0 else _smelu(x, beta)


def gsmelu(
    x: Tensor, alpha: float, beta: float, g_minus: float = 0.0, g_plus: float = 1.0, t: float = 0.0
) -> Tensor:
    """Apply generalised SmeLU: slope ``g_minus`` left of ``-alpha``, ``g_plus`` right of ``beta``.

    Between them it is the quadratic that joins both with continuous value and gradient;
    ``f(-alpha) = t``. Shamir, Lin & Coviello 2020, arXiv 2010.09931. The paper has alpha and beta
    above 0; here either may be 0, and with both 0 it is the limit, a kink at 0 whose gradient at
    0 is ``g_minus`` (as that of ReLU is 0).

    Raises ActivationError for an alpha or beta below 0 and for any parameter not finite.
    """
    pieces = _gsmelu_pieces(alpha, beta, g_minus, g_plus, t)
    _need_floating("gsmelu", x)
    return _rescu(x, pieces)


def rescu(x: Tensor, knots: Sequence[float], slopes: Sequence[float], value: float = 0.0) -> Tensor:
    """Apply the RESCU whose gradient is ``slopes[i]`` at ``knots[i]`` and linear between knots.

    Outside the knots the gradient is constant. The function is the exact integral of it, and is
    ``value`` at the first knot; ``rescu(x, (-b, b), (0, 1))`` is ``smelu(x, b)``.

    Raises ActivationError unless there are at least two knots, strictly increasing, one slope
    for each, and all are finite.
    """
    pieces = _rescu_pieces(knots, slopes, value)
    _need_floating("rescu", x)
    return _rescu(x, pieces)


def swish(x: Tensor, beta: float = 1.0) -> Tensor:
    """Apply Swish, x sigmoid(beta x), for a ``beta`` > 0: the larger, the closer to ReLU."""
    beta = _above_zero("swish", "beta", beta)
    return F.silu(x) if beta == 1 else F.silu(beta * x) / beta


def softplus(x: Tensor, beta: float = 1.0) -> Tensor:
    """Apply Softplus, log(1 + exp(beta x)) / beta, for a ``beta`` > 0."""
    beta = _above_zero("softplus", "beta", beta)
    return F.softplus(x, beta=beta, threshold=_SOFTPLUS_THRESHOLD)


def gelu(x: Tensor, beta: float = 1.0) -> Tensor:
    """Apply GELU(beta x) / beta, GELU(z) = z Phi(z) with the exact normal Phi, for ``beta`` > 0."""
    beta = _above_zero("gelu", "beta", beta)
    return F.gelu(x) if beta == 1 else F.gelu(beta * x) / beta


class Activation(nn.Module):
    """An elementwise function with fixed numbers as parameters; nothing in it is trained."""

    def __init__(self) -> None:
        super().__init__()

    def extra_repr(self) -> str:
        """Return the parameters as ``get_activation`` reads them."""
        names = inspect.signature(type(self)).parameters
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)


class SmeLU(Activation):
    """:func:`smelu` of half-width ``beta`` >= 0."""

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = _at_least_zero("smelu", "beta", beta)

    def forward(self, x: Tensor) -> Tensor:
        return smelu(x, self.beta)


class GSmeLU(Activation):
    """:func:`gsmelu`; with its defaults it is ``SmeLU(1.0)``."""

    def __init__(
        self,
        alpha: float = 1.0,
        beta: float = 1.0,
        g_minus: float = 0.0,
        g_plus: float = 1.0,
        t: float = 0.0,
    ) -> None:
        super().__init__()
        self.alpha = _at_least_zero("gsmelu", "alpha", alpha)
        self.beta = _at_least_zero("gsmelu", "beta", beta)
        self.g_minus = _finite("gsmelu", "g_minus", g_minus)
        self.g_plus = _finite("gsmelu", "g_plus", g_plus)
        self.t = _finite("gsmelu", "t", t)

    def forward(self, x: Tensor) -> Tensor:
        return gsmelu(x, self.alpha, self.beta, self.g_minus, self.g_plus, self.t)


class Rescu(Activation):
    """:func:`rescu` of the given knots and slopes."""

    def __init__(self, knots: Sequence[float], slopes: Sequence[float], value: float = 0.0) -> None:
        super().__init__()
        pieces = _rescu_pieces(knots, slopes, value)
        self.knots, self.slopes, self.value = pieces.knots, pieces.slopes, pieces.value

    def forward(self, x: Tensor) -> Tensor:
        return rescu(x, self.knots, self.slopes, self.value)


class Swish(Activation):
    """:func:`swish`."""

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = _above_zero("swish", "beta", beta)

    def forward(self, x: Tensor) -> Tensor:
        return swish(x, self.beta)


class Softplus(Activation):
    """:func:`softplus`."""

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = _above_zero("softplus", "beta", beta)

    def forward(self, x: Tensor) -> Tensor:
        return softplus(x, self.beta)


class GELU(Activation):
    """:func:`gelu`."""

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = _above_zero("gelu", "beta", beta)

    def forward(self, x: Tensor) -> Tensor:
        return gelu(x, self.beta)


class Mish(Activation):
    """x tanh(log(1 + exp(x))), Misra 2019 (arXiv 1908.08681)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.mish(x)


class SELU(Activation):
    """Self-normalising ELU with its fixed constants, Klambauer et al. 2017 (arXiv 1706.02515)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.selu(x)


class CELU(Activation):
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1)), Barron 2017 (arXiv 1704.07483)."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = _above_zero("celu", "alpha", alpha)

    def forward(self, x: Tensor) -> Tensor:
        return F.celu(x, self.alpha)


class ELU(Activation):
    """x above 0, alpha (exp(x) - 1) below, Clevert et al. 2015 (arXiv 1511.07289)."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = _above_zero("elu", "alpha", alpha)

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x, self.alpha)


class Tanh(Activation):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


class ReLU(Activation):
    """max(0, x), with gradient 0 at 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x)


class Identity(Activation):
    """x itself: the linear limit."""

    def forward(self, x: Tensor) -> Tensor:
        return x


_BY_NAME: dict[str, type[Activation]] = {
    kind.__name__.lower(): kind
    for kind in (
        SmeLU, GSmeLU, Rescu, Swish, Softplus, GELU, Mish, SELU, CELU, ELU, Tanh, ReLU, Identity,
    )
}  # fmt: skip
ACTIVATION_NAMES = tuple(_BY_NAME)


def get_activation(name: str, **parameters: float | Sequence[float]) -> Activation:
    """Return the activation of a name, with its parameters beside it or in the string.

    Names are read without regard to case, so that the ``repr`` of an activation gives it back:
    ``get_activation(repr(module))``.

    Raises ActivationError (a ConfigError and a ValueError) for an unknown name or parameter,
    naming the nearest valid one, for a value out of range, and for a string that is no name.

    Example:
        >>> get_activation("smelu", beta=0.5)
        SmeLU(beta=0.5)
        >>> get_activation("rescu(knots=(-1, 0, 2), slopes=(0, 0.25, 1))")
        Rescu(knots=(-1.0, 0.0, 2.0), slopes=(0.0, 0.25, 1.0), value=0.0)
    """
    if not isinstance(name, str):
        raise ActivationError(f"an activation is named by a string, found {name!r}")
    try:
        bare, written = parse_call(name)
    except ParseError as error:
        raise ActivationError(f"activation {error}") from None
    kind = _BY_NAME.get(bare.lower())
    if kind is None:
        raise ActivationError(
            f"no activation {bare!r}{nearest(bare.lower(), ACTIVATION_NAMES)}; "
            f"there are {', '.join(ACTIVATION_NAMES)}"
        )
    for twice in written.keys() & parameters.keys():
        raise ActivationError(f"{bare}: {twice} is given twice, in {name!r} and beside it")
    return _build(kind, {**written, **parameters})


def activation_beta(activation: str | nn.Module) -> float | None:
    """Return the ``beta`` of an activation (a module or a string), None where it has none."""
    module = get_activation(activation) if isinstance(activation, str) else activation
    beta = getattr(module, "beta", None)
    return float(beta) if isinstance(beta, Real) else None


def _build(kind: type[Activation], parameters: dict[str, Any]) -> Activation:
    name, known = kind.__name__.lower(), inspect.signature(kind).parameters
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    for given in parameters:
        if given not in known:
            raise ActivationError(
                f"{name} has no parameter {given!r}{nearest(given, tuple(known))}; {takes}"
            )
    for needed, parameter in known.items():
        if parameter.default is parameter.empty and needed not in parameters:
            raise ActivationError(f"{name} needs a value for {needed!r}; {takes}")
    return kind(**parameters)


def _gsmelu_pieces(alpha: float, beta: float, g_minus: float, g_plus: float, t: float) -> Pieces:
    alpha = _at_least_zero("gsmelu", "alpha", alpha)
    beta = _at_least_zero("gsmelu", "beta", beta)
    return Pieces(
        knots=(-alpha, beta),
        slopes=(_finite("gsmelu", "g_minus", g_minus), _finite("gsmelu", "g_plus", g_plus)),
        value=_finite("gsmelu", "t", t),
    )


def _rescu_pieces(knots: Sequence[float], slopes: Sequence[float], value: float) -> Pieces:
    knots, slopes = _all_finite("knots", knots), _all_finite("slopes", slopes)
    if len(knots) < 2 or any(b <= a for a, b in itertools.pairwise(knots)):
        raise ActivationError(f"rescu: knots must be two or more that increase, found {knots}")
    if len(slopes) != len(knots):
        raise ActivationError(
            f"rescu: slopes must be as many as the {len(knots)} knots, found {len(slopes)}"
        )
    return Pieces(knots=knots, slopes=slopes, value=_finite("rescu", "value", value))


def _all_finite(parameter: str, values: Sequence[float]) -> tuple[float, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ActivationError(f"rescu: {parameter} must be a list of numbers, found {values!r}")
    return tuple(_finite("rescu", parameter, value) for value in values)


def _finite(activation: str, parameter: str, value: float) -> float:
    # Called at every forward pass, hence the quick way past the ordinary case.
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, Real)):
        raise ActivationError(f"{activation}: {parameter} must be a number, found {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the range of floats
        number = math.inf
    # Written as a comparison because torch.compile traces it for a beta that it takes as variable.
    if not -math.inf < number < math.inf:
        raise ActivationError(f"{activation}: {parameter} must be finite, found {value!r}")
    return number


def _at_least_zero(activation: str, parameter: str, value: float) -> float:
    number = _finite(activation, parameter, value)
    if number < 0:
        raise ActivationError(f"{activation}: {parameter} must not be below 0, found {value!r}")
    return number


def _above_zero(activation: str, parameter: str, value: float) -> float:
    number = _finite(activation, parameter, value)
    if number <= 0:
        raise ActivationError(f"{activation}: {parameter} must be above 0, found {value!r}")
    return number


def _need_floating(activation: str, x: Tensor) -> None:
    if not x.is_floating_point():
        raise TypeError(f"{activation} needs a tensor of floating dtype, found {x.dtype}")
