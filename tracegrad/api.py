"""The verbs: `grad`, `value_and_grad`, `vjp`, `jit`, `stop_gradient`.

Names, argument orders and results are JAX's. Each verb takes a function and gives a `Compiled`
object that is called like it; each also works as a decorator, with or without options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from tracegrad import tracing
from tracegrad.compiled import Compiled
from tracegrad.errors import ArgumentError
from tracegrad.options import GradOptions, JitOptions, verb_options
from tracegrad.pullback import Pullback, PullbackMaker
from tracegrad.remembered import Remembered
from tracegrad.verbs import Verb, gradient_verb

if TYPE_CHECKING:
    from typing_extensions import Unpack

Fun = Callable[..., Any]
T = TypeVar("T")

_pullbacks = Remembered(PullbackMaker)


@overload
def value_and_grad(
    fun: Fun,
    argnums: int | Sequence[int] | None = ...,
    has_aux: bool = ...,
    **options: Unpack[GradOptions],
) -> Compiled: ...
@overload
def value_and_grad(
    fun: None = ...,
    argnums: int | Sequence[int] | None = ...,
    has_aux: bool = ...,
    **options: Unpack[GradOptions],
) -> Callable[[Fun], Compiled]: ...
def value_and_grad(
    fun: Fun | None = None,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    *,
    argnum: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] | None = None,
    **options: Unpack[JitOptions],
) -> Any:
    """A function that gives the value of ``fun`` and its gradient, in one compiled kernel.

    Parameters
    ----------
    fun : callable with a float scalar result (with ``has_aux``: a pair of one and anything).
        Arguments are float, integer or boolean arrays, numbers, and dicts, lists, tuples,
        NamedTuples or dataclasses of these; anything else that is hashable is static.
    argnums : which positional arguments to differentiate; an int gives a bare gradient, a
        sequence a tuple of gradients. Default: the first, unless ``argnames`` is given.
    argnum : autograd's name of ``argnums``.
    argnames : names of arguments to differentiate, after those of ``argnums``.
    has_aux : whether ``fun`` returns ``(value, aux)``.
    static_argnums, static_argnames : arguments whose Python value is part of the program.
    cache : keep source and machine code in the per-user cache directory.
    parallel : whether loops with independent trips are split into chunks, which run on as many
        threads as `set_num_threads` says. The result depends on that number alone: it is the same
        bit by bit at each call.
    fastmath : LLVM's freedoms: None for ``reassoc contract arcp nsz`` (NaN and infinity keep
        their meaning), True for all, False for none, or a set of flag names.
    nogil, boundscheck : as for ``numba.njit``.
    tier : "kernel" to compile at the first call; "background" to compile in a thread: as long as
        that takes, calls are answered by the array form, as plain NumPy with plain loops. An
        error of the compiler is raised by a later call.

    Returns
    -------
    Compiled : called like ``fun``, gives ``(value, gradient)``; with ``has_aux``
        ``((value, aux), gradient)``. A gradient has the tree, shapes and dtypes of its argument.

    Raises
    ------
    TraceError : a construct can't be traced; names file, line and a way out.
    ArgumentError : the result is no float scalar, or a differentiated argument is no float.
    NotDifferentiable : an operation on the active path has no derivative; quotes its reason.

    Notes
    -----
    Cost: at most a small constant times one call of ``fun`` (Griewank & Walther, *Evaluating
    Derivatives*, ch. 3).

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> f = tg.value_and_grad(lambda x: np.sum(x**2))
    >>> f(np.array([1.0, 2.0]))
    (5.0, array([2., 4.]))
    """
    verb = gradient_verb("value_and_grad", argnums, argnames, has_aux, argnum)
    return _apply(fun, verb, options)


@overload
def grad(
    fun: Fun,
    argnums: int | Sequence[int] | None = ...,
    has_aux: bool = ...,
    **options: Unpack[GradOptions],
) -> Compiled: ...
@overload
def grad(
    fun: None = ...,
    argnums: int | Sequence[int] | None = ...,
    has_aux: bool = ...,
    **options: Unpack[GradOptions],
) -> Callable[[Fun], Compiled]: ...
def grad(
    fun: Fun | None = None,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    *,
    argnum: int | Sequence[int] | None = None,
    argnames: str | Sequence[str] | None = None,
    **options: Unpack[JitOptions],
) -> Any:
    """A function that gives the gradient of ``fun``; parameters as for `value_and_grad`.

    Returns
    -------
    Compiled : called like ``fun``, gives the gradient; with ``has_aux``, ``(gradient, aux)``.

    Examples
    --------
    >>> import tracegrad as tg
    >>> tg.grad(tg.grad(lambda x: x**3))(2.0)
    12.0
    """
    verb = gradient_verb("grad", argnums, argnames, has_aux, argnum)
    return _apply(fun, verb, options)


@overload
def jit(fun: Fun, **options: Unpack[JitOptions]) -> Compiled: ...
@overload
def jit(fun: None = ..., **options: Unpack[JitOptions]) -> Callable[[Fun], Compiled]: ...
def jit(
    fun: Fun | None = None,
    **options: Unpack[JitOptions],
) -> Any:
    """``fun`` itself, compiled: the primal alone. Parameters as for `value_and_grad`.

    Returns
    -------
    Compiled : called like ``fun``; the result may be any tree of arrays and numbers.
    """
    return _apply(fun, Verb("jit"), options)


def _apply(fun: Fun | None, verb: Verb, given: JitOptions) -> Any:
    """The verb applied to ``fun``; without a function, a decorator."""
    unknown = set(given) - set(JitOptions.__annotations__)
    if unknown:
        raise ArgumentError(
            f"{verb.name} has no option {', '.join(sorted(unknown))}",
            way_out=f"its options are {', '.join(JitOptions.__annotations__)}",
        )
    options = verb_options(**given)

    def apply(function: Fun) -> Compiled:
        return Compiled(function, verb, options)

    return apply if fun is None else apply(fun)


def vjp(fun: Fun, *primals: Any, has_aux: bool = False, parallel: bool = False) -> Any:
    """Value of ``fun`` and the function that pulls cotangents back to its inputs.

    Parameters
    ----------
    fun : callable of float arrays or scalars, or trees of them.
    primals : the point; each array of shape and dtype as ``fun`` takes it.
    has_aux : whether ``fun`` returns ``(out, aux)``; then ``(out, pullback, aux)`` is returned.
    parallel : as for `value_and_grad`, of both kernels.

    Returns
    -------
    out : ``fun(*primals)``.
    pullback : ``pullback(out_bar)`` takes a tree like ``out`` (same shapes and dtypes) and
        returns a tuple of cotangents, each with its primal's tree, shapes and dtypes.

    Raises
    ------
    TraceError : the construct can't be traced; names file, line and a way out.
    ArgumentError : an ``out_bar`` that does not fit, or a primal that is no float.
    NotDifferentiable : an operation on the active path has no derivative; quotes its reason.

    Notes
    -----
    Griewank & Walther, *Evaluating Derivatives*, ch. 3. Both sweeps together cost at most a
    small constant times one call of ``fun``. The compiled pair is kept for ``fun``: calling
    `vjp` again with the same function object does not compile again.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> out, pullback = tg.vjp(np.sin, np.array([0.0, 1.0]))
    >>> pullback(np.array([1.0, 0.0]))
    (array([1., 0.]),)
    """
    return _pullbacks.of(fun, has_aux, None, parallel)(*primals)


def stop_gradient(x: T) -> T:
    """``x`` as it is, and a constant for every derivative. Trees are taken leaf by leaf."""
    result: T = tracing.stop_gradient(x)
    return result


__all__ = ["Pullback", "grad", "jit", "stop_gradient", "value_and_grad", "vjp"]
