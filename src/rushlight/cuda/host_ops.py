"""Ops that are computed on the host: for CUDA tensors, the inputs are copied there and the results back, and gradients take the same way.

They are the ones whose algorithm is sequential or rare on a GPU. `install` puts them in place when the first CUDA tensor is made, so CPU
programs never meet this module. The list is part of the documentation (docs/cuda.md).
"""

from __future__ import annotations

import functools
from typing import Any

from .. import linalg, special
from ..devices import as_device
from ..nn import functional
from ..ops import deferred
from ..ops.registry import FUNCTIONS, OPS, changed
from ..ops.write import write_out
from ..tensor import Tensor
from ..vocabulary import Device, Function
from .array import HOST_CALLS

__all__ = ["HOST_OPS", "install", "to_host", "to_device"]

HOST_OPS = ("mode", "median", "nanmedian", "quantile", "nanquantile", "kthvalue", "cummax", "cummin", "digamma", "polygamma", "unique",
            "unique_consecutive", "histc", "histogram", "histogramdd", "bincount", "combinations", "repeat_interleave", "ctc_loss",
            "multi_margin_loss", "multilabel_margin_loss", "bucketize", "searchsorted", "cdist", "binomial",
            "fractional_max_pool2d", "fractional_max_pool3d", "tril_indices", "triu_indices", "embedding_bag", "affine_grid",
            "igamma", "igammac", "mvlgamma", "multigammaln", "gammainc", "gammaincc", "zeta", "erfinv", "ndtri", "log_ndtr", "erfcx", "i0",
            "i0e", "i1", "i1e", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "modified_bessel_i0", "modified_bessel_i1",
            "modified_bessel_k0", "modified_bessel_k1", "scaled_modified_bessel_k0", "scaled_modified_bessel_k1", "spherical_bessel_j0",
            "airy_ai", "chebyshev_polynomial_t", "chebyshev_polynomial_u", "chebyshev_polynomial_v", "chebyshev_polynomial_w",
            "hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l", "legendre_polynomial_p",
            "shifted_chebyshev_polynomial_t", "shifted_chebyshev_polynomial_u", "shifted_chebyshev_polynomial_v",
            "shifted_chebyshev_polynomial_w", "cholesky", "cholesky_ex", "cholesky_inverse", "cholesky_solve", "qr", "geqrf", "orgqr",
            "ormqr", "householder_product", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "lu_unpack", "ldl_factor", "ldl_factor_ex",
            "ldl_solve", "solve_triangular", "triangular_solve", "solve",
            "solve_ex", "inv", "inv_ex", "inverse", "pinverse", "pinv", "eig", "eigvals", "eigh", "eigvalsh", "svd", "svdvals", "lstsq",
            "det", "slogdet", "logdet", "matrix_exp", "matrix_rank", "cond", "tensorinv", "tensorsolve")


def to_host(value: Any) -> Any:
    """CUDA tensors (in lists, tuples and dicts, too) on the CPU."""
    if isinstance(value, Tensor):
        return value.cpu() if value._kind.device.type == "cuda" else value
    if isinstance(value, (tuple, list)) and any(isinstance(each, Tensor) for each in value):
        return _rebuilt(value, [to_host(each) for each in value])
    return value


def to_device(value: Any, device: Device) -> Any:
    """The way back."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, (tuple, list)):
        return _rebuilt(value, [to_device(each, device) for each in value])
    return value


def _rebuilt(value: Any, items: list[Any]) -> Any:
    """A sequence of the same type: list, tuple, namedtuple, or one of torch.return_types (which take one sequence)."""
    return type(value)(*items) if type(value).__new__ is not tuple.__new__ and hasattr(value, "_make") else type(value)(items)


def _device_of(values: Any) -> Any:
    for value in values:
        if isinstance(value, Tensor) and value._kind.device.type == "cuda":
            return value._kind.device
        if isinstance(value, (tuple, list)):
            found = _device_of(value)
            if found is not None:
                return found
    return None


def on_host(function: Function) -> Any:
    """The function, with CUDA tensors taken to the CPU and back."""
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        device = _device_of(args) or _device_of(kwargs.values())
        out = kwargs.pop("out", None)
        if device is None:
            return function(*args, **kwargs) if out is None else function(*args, out=out, **kwargs)
        HOST_CALLS[function.__name__] += 1
        result = to_device(function(*[to_host(each) for each in args], **{key: to_host(value) for key, value in kwargs.items()}), device)
        if out is None:
            return result
        return write_out(out, result, function.__name__)
    call.__rushlight_on_host__ = True  # type: ignore[attr-defined]
    return call


def _creator_on_host(function: Function) -> Function:
    """A creation function whose numbers are made on the CPU."""
    @functools.wraps(function)
    def call(*args: Any, device: Device = None, **kwargs: Any) -> Any:
        wanted = as_device(device)
        return function(*args, device="cpu", **kwargs).to(wanted)
    call.__rushlight_on_host__ = True  # type: ignore[attr-defined]
    return call


def install() -> None:
    """Replace the listed functions and methods by ones that go to the host for CUDA tensors."""
    import rushlight

    replaced: dict[int, Any] = {}         # what was public -> what is now
    for name in HOST_OPS:
        deferred.function(name)           # modules that load at first use have to be there before their functions are replaced
    for name in HOST_OPS:
        wrapper = _creator_on_host if name.endswith("_indices") else on_host
        for holder in (FUNCTIONS, vars(rushlight), vars(functional), vars(linalg), vars(special)):
            found = holder.get(name)
            if found is not None and not hasattr(found, "__rushlight_on_host__"):
                holder[name] = replaced.setdefault(id(found), wrapper(found))
        method = Tensor.__dict__.get(name)
        if method is not None and not hasattr(method, "__rushlight_on_host__") and wrapper is on_host:
            setattr(Tensor, name, replaced.setdefault(id(method), on_host(method)))
    modules = {"": rushlight, "special": special, "linalg": linalg, "nn.functional": functional}
    for op in OPS.values():
        for place, value in op.places.items():
            if id(value) in replaced:
                op.places[place] = replaced[id(value)]
                namespace, _, name = place.rpartition(".")
                if namespace in modules:                # under its other names, too: special.psi is digamma
                    vars(modules[namespace])[name] = replaced[id(value)]
    changed()
