"""tracegrad: compiled gradients of the NumPy code people already write.

>>> import numpy as np, tracegrad as tg
>>> loss = tg.value_and_grad(lambda w: np.sum(np.tanh(w) ** 2))
>>> value, w_bar = loss(np.array([0.5, -1.0]))
>>> print(loss.inspect_source())          # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tracegrad import pool as pool
    from tracegrad.api import grad as grad
    from tracegrad.api import jit as jit
    from tracegrad.api import stop_gradient as stop_gradient
    from tracegrad.api import value_and_grad as value_and_grad
    from tracegrad.api import vjp as vjp
    from tracegrad.api_derived import checkpoint as checkpoint
    from tracegrad.api_derived import custom_jvp as custom_jvp
    from tracegrad.api_derived import custom_vjp as custom_vjp
    from tracegrad.api_derived import elementwise_grad as elementwise_grad
    from tracegrad.api_derived import hessian as hessian
    from tracegrad.api_derived import hvp as hvp
    from tracegrad.api_derived import implicit_root as implicit_root
    from tracegrad.api_derived import jacfwd as jacfwd
    from tracegrad.api_derived import jacobian as jacobian
    from tracegrad.api_derived import jacrev as jacrev
    from tracegrad.api_derived import jvp as jvp
    from tracegrad.api_derived import linearize as linearize
    from tracegrad.api_derived import make_ir as make_ir
    from tracegrad.api_derived import pure_callback as pure_callback
    from tracegrad.api_derived import remat as remat
    from tracegrad.api_derived import sparsity as sparsity
    from tracegrad.api_derived import vmap as vmap
    from tracegrad.backend.threads import get_num_threads as get_num_threads
    from tracegrad.backend.threads import set_num_threads as set_num_threads
    from tracegrad.compiled import Compiled as Compiled
    from tracegrad.derived.callbacks import ShapeDtypeStruct as ShapeDtypeStruct
    from tracegrad.errors import ArgumentError as ArgumentError
    from tracegrad.errors import DTypeError as DTypeError
    from tracegrad.errors import NotDifferentiable as NotDifferentiable
    from tracegrad.errors import ShapeError as ShapeError
    from tracegrad.errors import TraceError as TraceError
    from tracegrad.errors import TracegradError as TracegradError
    from tracegrad.errors import UnsupportedError as UnsupportedError
    from tracegrad.spellings import deriv as deriv
    from tracegrad.spellings import grad_and_aux as grad_and_aux
    from tracegrad.spellings import grad_named as grad_named
    from tracegrad.spellings import hessian_tensor_product as hessian_tensor_product
    from tracegrad.spellings import hessian_vector_product as hessian_vector_product
    from tracegrad.spellings import make_ggnvp as make_ggnvp
    from tracegrad.spellings import make_hvp as make_hvp
    from tracegrad.spellings import make_jvp as make_jvp
    from tracegrad.spellings import make_vjp as make_vjp
    from tracegrad.spellings import multigrad_dict as multigrad_dict
    from tracegrad.spellings import tensor_jacobian_product as tensor_jacobian_product
    from tracegrad.spellings import vector_jacobian_product as vector_jacobian_product
    from tracegrad.testing.check import check_grads as check_grads

_HOMES = {
    "grad": "api",
    "jit": "api",
    "stop_gradient": "api",
    "value_and_grad": "api",
    "vjp": "api",
    "checkpoint": "api_derived",
    "custom_jvp": "api_derived",
    "custom_vjp": "api_derived",
    "elementwise_grad": "api_derived",
    "hessian": "api_derived",
    "hvp": "api_derived",
    "implicit_root": "api_derived",
    "jacfwd": "api_derived",
    "jacobian": "api_derived",
    "jacrev": "api_derived",
    "jvp": "api_derived",
    "linearize": "api_derived",
    "make_ir": "api_derived",
    "pure_callback": "api_derived",
    "remat": "api_derived",
    "sparsity": "api_derived",
    "vmap": "api_derived",
    "ShapeDtypeStruct": "derived.callbacks",
    "Compiled": "compiled",
    "ArgumentError": "errors",
    "DTypeError": "errors",
    "NotDifferentiable": "errors",
    "ShapeError": "errors",
    "TraceError": "errors",
    "TracegradError": "errors",
    "UnsupportedError": "errors",
    "deriv": "spellings",
    "grad_and_aux": "spellings",
    "grad_named": "spellings",
    "hessian_tensor_product": "spellings",
    "hessian_vector_product": "spellings",
    "make_ggnvp": "spellings",
    "make_hvp": "spellings",
    "make_jvp": "spellings",
    "make_vjp": "spellings",
    "multigrad_dict": "spellings",
    "tensor_jacobian_product": "spellings",
    "vector_jacobian_product": "spellings",
    "check_grads": "testing.check",
    "get_num_threads": "backend.threads",
    "set_num_threads": "backend.threads",
}

_MODULES = frozenset({"pool"})

__all__ = sorted(_HOMES)  # the public names, each loaded when first used


def __getattr__(name: str) -> Any:
    """Public names load at first use: importing the package costs almost nothing."""
    if name not in _HOMES and name not in _MODULES:
        raise AttributeError(f"module 'tracegrad' has no attribute {name!r}")
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"tracegrad.{name}")
    value = getattr(import_module(f"tracegrad.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
