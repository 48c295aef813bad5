"""autograd's spellings of the verbs, with its argument orders and results.

Each takes ``argnum`` where JAX's spelling takes ``argnums``, and gives a function of the arguments
of ``fun`` (and, for products, of a further argument: the vector).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tracegrad import tracing
from tracegrad.api import grad, jit
from tracegrad.api_derived import hvp, jacobian, jvp
from tracegrad.errors import ArgumentError
from tracegrad.pullback import PullbackMaker
from tracegrad.remembered import Remembered

Fun = Callable[..., Any]
Argnum = int | Sequence[int]

_pullbacks = Remembered(PullbackMaker)


def make_vjp(fun: Fun, argnum: Argnum = 0) -> Fun:
    """The pullback of ``fun`` at a point: `vjp` the other way round.

    Returns
    -------
    A function: ``make_vjp(fun)(*args)`` gives ``(pullback, out)``, and ``pullback(out_bar)`` the
    cotangent of argument ``argnum``, a tuple if that is a sequence.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> pullback, out = tg.make_vjp(np.sin)(0.0)
    >>> pullback(2.0)
    2.0
    """
    argnums = _checked(argnum)

    def at(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        out, pullback = _pullbacks.of(fun, False, argnums)(*args, **kwargs)
        return pullback, out

    return at


def make_jvp(fun: Fun, argnum: Argnum = 0) -> Fun:
    """The derivative of ``fun`` along directions at a point.

    Returns
    -------
    A function: ``make_jvp(fun)(*args)`` gives a function of a tangent of argument ``argnum`` (a
    tuple of tangents for a sequence), which gives ``(out, out_dot)``.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> tg.make_jvp(np.sin)(0.0)(2.0)
    (0.0, 2.0)
    """

    def at(*args: Any) -> Fun:
        return lambda x_dot: jvp(fun, args, _along(argnum, x_dot, len(args)))

    return at


def make_hvp(fun: Fun, argnum: Argnum = 0) -> Fun:
    """Products with the Hessian of a scalar function at a point.

    Returns
    -------
    A function: ``make_hvp(fun)(*args)`` gives ``(product, gradient)``; ``product(v)`` is the
    Hessian times ``v``. What does not depend on ``v`` is computed once.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> product, _ = tg.make_hvp(lambda x: np.sum(x**3))(np.array([1.0, 2.0]))
    >>> product(np.array([1.0, 0.0]))
    array([6., 0.])
    """
    return make_vjp(_gradients.of(fun, _checked(argnum)), argnum)


_gradients = Remembered(grad)


def make_ggnvp(f: Fun, g: Fun | None = None, f_argnum: int = 0) -> Fun:
    """Products with the generalised Gauss–Newton matrix of ``g(f(x))`` at a point.

    Parameters
    ----------
    f : from parameters to what ``g`` takes.
    g : scalar; default: half the sum of squares.

    Returns
    -------
    A function: ``make_ggnvp(f)(*args)`` gives ``product(v)``, the transposed Jacobian of ``f``
    times the Hessian of ``g`` times the Jacobian times ``v``.

    Notes
    -----
    Schraudolph, "Fast curvature matrix-vector products", Neural Computation 14, 2002.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> tg.make_ggnvp(lambda x: x**2)(np.array([1.0, 3.0]))(np.array([1.0, 1.0]))
    array([ 4., 36.])
    """
    product = _gauss_newton.of(f, g, f_argnum)

    def at(*args: Any) -> Fun:
        return lambda v: product(args, v)

    return at


def _gauss_newton_product(f: Fun, g: Fun | None, argnum: int) -> Fun:
    def product(args: tuple[Any, ...], v: Any) -> Any:
        y, y_dot = jvp(f, args, _along(argnum, v, len(args)))
        y_bar = y_dot if g is None else hvp(g, (y,), (y_dot,))
        pullback, _ = make_vjp(f, argnum)(*args)
        return pullback(y_bar)

    return jit(product)


_gauss_newton = Remembered(_gauss_newton_product)


def deriv(fun: Fun, argnum: int = 0) -> Fun:
    """The derivative of ``fun`` in a number (of an array: in all elements at once), forward.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> tg.deriv(lambda t: t**2 * np.array([1.0, 2.0]))(3.0)
    array([ 6., 12.])
    """

    def derivative(*args: Any) -> Any:
        x = args[argnum]
        ones = np.ones(np.shape(x)) if np.ndim(x) else 1.0
        return jvp(fun, args, _along(argnum, ones, len(args)))[1]

    return jit(derivative)


def grad_and_aux(fun: Fun, argnum: Argnum = 0) -> Any:
    """``(gradient, aux)`` of a function that returns ``(value, aux)``.

    Examples
    --------
    >>> import tracegrad as tg
    >>> tg.grad_and_aux(lambda x: (x**2, "aux"))(3.0)
    (6.0, 'aux')
    """
    return grad(fun, argnum, has_aux=True)


def grad_named(fun: Fun, argname: str) -> Any:
    """The gradient of ``fun`` in the argument of this name.

    Examples
    --------
    >>> import tracegrad as tg
    >>> tg.grad_named(lambda a, b: a * b, "b")(2.0, 3.0)
    2.0
    """
    return grad(fun, argnames=argname)


def multigrad_dict(fun: Fun) -> Fun:
    """The gradients of ``fun`` in all its arguments, defaults included, by their names.

    Examples
    --------
    >>> import tracegrad as tg
    >>> tg.multigrad_dict(lambda a, b=3.0: a * b)(2.0)
    {'a': 3.0, 'b': 2.0}
    """
    signature = inspect.signature(fun)
    kinds = [p.kind for p in signature.parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds or inspect.Parameter.VAR_KEYWORD in kinds:
        raise ArgumentError(
            "multigrad_dict needs a function whose arguments all have names",
            way_out="use tracegrad.grad with argnums and argnames",
        )
    names = tuple(signature.parameters)
    gradients = grad(fun, argnames=names)

    def named(*args: Any, **kwargs: Any) -> dict[str, Any]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(zip(names, gradients(*bound.args, **bound.kwargs), strict=True))

    return named


def hessian_vector_product(fun: Fun, argnum: Argnum = 0) -> Fun:
    """A function of the arguments of ``fun`` and a vector: the Hessian times the vector.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> x, v = np.array([1.0, 2.0]), np.array([1.0, 0.0])
    >>> tg.hessian_vector_product(lambda x: np.sum(x**3))(x, v)
    array([6., 0.])
    """

    def product(*args: Any) -> Any:
        *primals, vector = args
        found = hvp(fun, tuple(primals), _along(argnum, vector, len(primals)))
        return found if isinstance(argnum, int) or isinstance(found, tuple) else (found,)

    return product


hessian_tensor_product = hessian_vector_product


def vector_jacobian_product(fun: Fun, argnum: int = 0) -> Any:
    """A function of the arguments of ``fun`` and a vector: the vector times the Jacobian.

    A tensor with fewer dimensions than the result is contracted with its first ones.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> tg.vector_jacobian_product(lambda x: x**2)(np.array([1.0, 2.0]), np.array([1.0, 10.0]))
    array([ 2., 40.])
    """

    def product(*args: Any) -> Any:
        *primals, vector = args
        return np.tensordot(vector, tracing.staged(fun)(*primals), np.ndim(vector))

    return jacobian(product, argnum)


tensor_jacobian_product = vector_jacobian_product


def _checked(argnum: Argnum) -> int | tuple[int, ...]:
    return argnum if isinstance(argnum, int) else tuple(argnum)


def _along(argnum: Argnum, tangent: Any, count: int) -> tuple[Any, ...]:
    """One tangent per argument; None for those that stay."""
    chosen = (argnum,) if isinstance(argnum, int) else tuple(argnum)
    dots = (tangent,) if isinstance(argnum, int) else tuple(tangent)
    if len(chosen) != len(dots):
        raise ArgumentError(
            f"argnum={argnum!r} needs {len(chosen)} tangents, not {len(dots)}",
            way_out="pass a tuple with one tangent per argument",
        )
    if not all(-count <= number < count for number in chosen):
        raise ArgumentError(f"argnum={argnum!r} but the call has {count} arguments")
    given = {number % count: dot for number, dot in zip(chosen, dots, strict=True)}
    return tuple(given.get(k) for k in range(count))


__all__ = [
    "deriv",
    "grad_and_aux",
    "grad_named",
    "hessian_tensor_product",
    "hessian_vector_product",
    "make_ggnvp",
    "make_hvp",
    "make_jvp",
    "make_vjp",
    "multigrad_dict",
    "tensor_jacobian_product",
    "vector_jacobian_product",
]
