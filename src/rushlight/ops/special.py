"""``torch.special``: Bessel functions, incomplete gamma, the normal distribution, orthogonal polynomials, and the like.

The arrays are computed in `kernels/` (bessel, incomplete_gamma, polynomials, special), in double precision and by the formulas named
there. What torch itself has under another name (erf, lgamma, ...) is defined in activation.py and elementwise.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..kernels import bessel as B
from ..kernels import formula as f
from ..kernels import incomplete_gamma as IG
from ..kernels import special as S
from ..kernels.native import kernel
from ..kernels.polynomials import POLYNOMIALS
from ..tensor import Tensor
from ..vocabulary import Dtype, Function
from .define import binary, unary
from .errors import not_a_tensor
from .promotion import NUMBERS
from .public import export, op
from .registry import FUNCTIONS
from .selection import where

__all__: list[str] = []


def _special(name: str, forward: Function, grad: Function | None = None, label: str = "", **options: Any) -> Function:
    return unary(name, forward, grad, arrays=False, complex=False, namespace="special", label=label, **options)


# --- Bessel functions -------------------------------------------------------------------------------------------------------------------

def _over(numerator: Tensor, x: Tensor) -> Tensor:
    """numerator / x, one half at x = 0 (the limit of I1(x) / x and its scaled form)."""
    zero = x == 0
    return where(zero, 0.5, numerator / x.masked_fill(zero, 1))


i0 = unary("i0", B.i0, lambda g, x: g * i1(x), arrays=False, complex=False)
i0e = _special("i0e", B.i0e, lambda g, x: g * (i1e(x) - x.sgn() * i0e(x)), "SpecialI0EBackward0")
i1 = _special("i1", B.i1, lambda g, x: g * (i0(x) - _over(i1(x), x)))
i1e = _special("i1e", B.i1e, lambda g, x: g * (i0e(x) - x.sgn() * i1e(x) - _over(i1e(x), x)), "SpecialI1EBackward0")
bessel_j0 = _special("bessel_j0", B.j0, halves=False)
bessel_j1 = _special("bessel_j1", B.j1, halves=False)
bessel_y0 = _special("bessel_y0", B.y0, halves=False)
bessel_y1 = _special("bessel_y1", B.y1, halves=False)
modified_bessel_i0 = _special("modified_bessel_i0", B.i0, halves=False)
modified_bessel_i1 = _special("modified_bessel_i1", B.i1, halves=False)
modified_bessel_k0 = _special("modified_bessel_k0", B.k0, halves=False)
modified_bessel_k1 = _special("modified_bessel_k1", B.k1, halves=False)
scaled_modified_bessel_k0 = _special("scaled_modified_bessel_k0", B.k0e, halves=False)
scaled_modified_bessel_k1 = _special("scaled_modified_bessel_k1", B.k1e, halves=False)
spherical_bessel_j0 = _special("spherical_bessel_j0", B.spherical_j0, halves=False)
airy_ai = _special("airy_ai", B.airy_ai, halves=False)


# --- the normal distribution, entropy ----------------------------------------------------------------------------------------------------
_ROOT_2_PI = math.sqrt(2 * math.pi)

ndtr = _special("ndtr", kernel("ndtr", S.ndtr), lambda g, x: g * (x * x * -0.5).exp() / _ROOT_2_PI)
ndtri = _special("ndtri", S.ndtri, lambda g, y: g * (y * y * 0.5).exp() * _ROOT_2_PI, halves=False)
log_ndtr = _special("log_ndtr", S.log_ndtr, lambda g, x: g / (erfcx(x * -math.sqrt(0.5)) * math.sqrt(math.pi / 2)), halves=False)
erfcx = _special("erfcx", S.erfcx, lambda g, x: g * (2 * x * erfcx(x) - 2 / math.sqrt(math.pi)), halves=False)


def _entr(a: Any) -> Any:
    return np.where(a > 0, -a * np.log(np.where(a > 0, a, 1)), np.where(a < 0, -np.inf, a)).astype(a.dtype)


entr = _special("entr", _entr, lambda g, x: g * -(x.log() + 1), doc="-x log(x); 0 at 0, -inf below.")


def _xlog1py(a: Any, b: Any) -> Any:
    return np.where(np.isnan(b), b, np.where(a == 0, a.dtype.type(0), a * np.log1p(b))).astype(a.dtype)


xlog1py = binary("xlog1py", _xlog1py, (lambda g, a, b: g * f.where((a == 0) & (b <= -1), 0.0, f.log1p(b)), lambda g, a, b: g * a / (b + 1)),
                 result="float", complex=False, namespace="special", doc="input * log(1 + other); 0 where input is 0.")


# --- gamma functions --------------------------------------------------------------------------------------------------------------------

def _no_derivative(name: str, parameter: str) -> Function:
    def refuse(g: Tensor) -> Tensor:
        raise NotImplementedError(f"the derivative for '{name}: {parameter}' is not implemented.")
    return refuse


def _gamma_density(a: Tensor, x: Tensor) -> Tensor:
    """x^(a - 1) exp(-x) / gamma(a)."""
    return ((a - 1) * x.log() - x - a.lgamma()).exp()


igamma = binary("igamma", IG.lower, (_no_derivative("igamma", "self"), lambda g, a, b: g * _gamma_density(a, b)), arrays=False,
                complex=False, only="float", numbers="none", doc="The regularised lower incomplete gamma function P(input, other).")
igammac = binary("igammac", IG.upper, (_no_derivative("igammac", "self"), lambda g, a, b: -g * _gamma_density(a, b)), arrays=False,
                 complex=False, only="float", numbers="none", doc="The regularised upper incomplete gamma function Q(input, other) = 1 - "
                                                                  "P(input, other).")
zeta = binary("zeta", S.zeta, (_no_derivative("zeta", "self"), lambda g, a, b: g * -a * zeta(a + 1, b)), arrays=False, result="float",
              complex=False, only="wide", namespace="special", doc="Hurwitz's zeta function, the sum of (k + other)^-input over k = 0, 1, "
                                                                   "...")


@op(method=True, inplace=True, out=True)
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """The logarithm of the multivariate gamma function of dimension p, up to the sum of lgamma(input - i / 2) for i < p."""
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    if input._kind.is_complex or input._kind is input._kind.bool_:
        raise NotImplementedError(f"mvlgamma is not implemented for {input._kind.dtype}")
    if p >= 2 ** 63:
        raise ValueError("Overflow when unpacking long long")
    steps = FUNCTIONS["arange"](p, device=input._kind.device) * 0.5
    return (input.unsqueeze(-1) - steps.to(input._kind.dtype if input._kind.is_floating
                                           else None)).lgamma().sum(-1) + p * (p - 1) / 4 * math.log(math.pi)


# --- orthogonal polynomials --------------------------------------------------------------------------------------------------------------

def _polynomial(name: str, kernel: Function) -> Function:
    evaluate = binary(name, kernel, None, result="float", complex=False, function=False, methods=False, only="wide")

    def polynomial(x: Any, n: Any, *, out: Tensor | None = None) -> Tensor:
        for position, (parameter, value) in enumerate((("x", x), ("n", n)), 1):
            if not isinstance(value, (Tensor, *NUMBERS)) or not (isinstance(x, Tensor) or isinstance(n, Tensor)):
                raise not_a_tensor(f"special_{name}", parameter, position, value)
        return evaluate(x, n, out=out)
    polynomial.__name__ = polynomial.__qualname__ = name
    polynomial.__doc__ = f"{name}(x, n, *, out=None) -> Tensor\n\nThe polynomial of degree n (a number or a tensor) at x; 0 for negative n."
    return export(polynomial, namespace="special")


for _name, _kernel in POLYNOMIALS.items():
    _polynomial(_name, _kernel)


# --- what torch has under its own names ---------------------------------------------------------------------------------------------------
for _name in ("digamma", "erf", "erfc", "erfinv", "exp2", "expm1", "i0", "log1p", "logit", "logsumexp", "polygamma", "sinc", "xlogy"):
    export(FUNCTIONS[_name], _name, namespace="special")
for _name, _old in {"expit": "sigmoid", "gammaln": "lgamma", "psi": "digamma", "gammainc": "igamma", "gammaincc": "igammac",
                    "multigammaln": "mvlgamma"}.items():
    export(FUNCTIONS[_old], _name, namespace="special")


@op(namespace="special", out=True)
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Round half to even, to `decimals` digits after the point: floating-point numbers only."""
    return FUNCTIONS["round"](input, decimals=decimals)


@op(namespace="special")
def softmax(input: Tensor, dim: int, *, dtype: Dtype = None) -> Tensor:
    """exp(x) / sum exp(x) along a dimension."""
    return FUNCTIONS["softmax"](input, dim, dtype)


@op(namespace="special")
def log_softmax(input: Tensor, dim: int, *, dtype: Dtype = None) -> Tensor:
    """The logarithm of `softmax`."""
    return FUNCTIONS["log_softmax"](input, dim, dtype)
