"""The verbs beyond `grad`: `jvp`, `jacfwd`, `jacrev`, `jacobian`, `hessian`, `hvp`, `vmap`, ….

Names, argument orders and results are JAX's; autograd's spellings are at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tracegrad import tracing
from tracegrad.arguments import Binder
from tracegrad.compiled import Compiled
from tracegrad.composed import Composed, call_or_inline
from tracegrad.derived import batching, callbacks, custom, forward, jacobians, reverse
from tracegrad.ir.core import Function
from tracegrad.options import GradOptions, JitOptions, Options, verb_options
from tracegrad.pullback import LinearizeMaker
from tracegrad.remembered import Remembered
from tracegrad.sparse import of_arguments as sparse_of_arguments
from tracegrad.sparse import sparsity as sparsity
from tracegrad.verbs import Verb, gradient_verb

if TYPE_CHECKING:
    from typing_extensions import Unpack

Fun = Callable[..., Any]


# --- along a direction ------------------------------------------------------------------------


def _jvp_maker(fun: Fun, has_aux: bool, parallel: bool) -> Composed:
    verb = Verb("jvp", has_aux=has_aux)
    return _of_pairs(fun, verb, parallel, lambda f, x, x_dot: forward.jvp(f, verb, x, x_dot))


def _hvp_maker(fun: Fun, parallel: bool) -> Composed:
    verb = Verb("hvp")
    return _of_pairs(fun, verb, parallel, lambda f, x, x_dot: forward.hvp(f, verb, x, x_dot))


def _of_pairs(fun: Fun, verb: Verb, parallel: bool, apply: Callable[..., Any]) -> Composed:
    def applied(fun: Fun, binder: Binder, args: Any, kwargs: Any) -> Any:
        return apply(fun, *args)

    made = Composed(fun, verb, applied, verb_options(parallel=parallel))
    made._binder = Binder(lambda primals, tangents: None, (), ())
    return made


_jvps = Remembered(_jvp_maker)
_hvps = Remembered(_hvp_maker)
_linearized = Remembered(LinearizeMaker)


def jvp(
    fun: Fun, primals: Any, tangents: Any, has_aux: bool = False, *, parallel: bool = False
) -> Any:
    """Value of ``fun`` and its derivative along a direction, in one sweep forward.

    Parameters
    ----------
    fun : callable of float arrays or scalars, or trees of them.
    primals : tuple of arguments: the point.
    tangents : tuple of as many tangents, each a tree like its primal, of the same shapes; None
        for a primal that is constant (integers, for example).
    has_aux : whether ``fun`` returns ``(out, aux)``; then ``(out, out_dot, aux)`` is returned.
    parallel : as for `value_and_grad`.

    Returns
    -------
    out : ``fun(*primals)``.
    out_dot : a tree like ``out``, the derivative of ``out`` in the direction ``tangents``.

    Raises
    ------
    TraceError : a construct can't be traced; names file, line and a way out.
    ArgumentError : primals and tangents that don't fit each other.
    NotDifferentiable : an operation on the active path has no derivative; quotes its reason.

    Notes
    -----
    Griewank & Walther, *Evaluating Derivatives*, ch. 3.1. Cost: at most a small constant times one
    call of ``fun``. The kernel is kept for ``fun``.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> tg.jvp(np.sin, (0.0,), (2.0,))
    (0.0, 2.0)
    """
    verb = Verb("jvp", has_aux=has_aux)
    forward.check_pairs(verb, primals, tangents)
    return call_or_inline(
        _jvps.of(fun, has_aux, parallel),
        lambda: forward.jvp(fun, verb, primals, tangents),
        tuple(primals),
        tuple(tangents),
    )


def hvp(fun: Fun, primals: Any, tangents: Any, *, parallel: bool = False) -> Any:
    """The Hessian of ``fun`` times a vector, without the Hessian.

    Parameters
    ----------
    fun : callable with a float scalar result.
    primals : the point: one argument, or a tuple of arguments.
    tangents : the vector, as ``primals``; None in a tuple for an argument that is constant.
    parallel : as for `value_and_grad`.

    Returns
    -------
    A tree like the primal, or a tuple of one for each primal that has a tangent.

    Notes
    -----
    Forward over reverse (Pearlmutter, "Fast exact multiplication by the Hessian", Neural
    Computation 6, 1994). Cost: a small constant times one call of ``fun``.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> tg.hvp(lambda x: np.sum(x**3), np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    array([6., 0.])
    """
    compiled = _hvps.of(fun, parallel)
    if tracing.active():
        return forward.hvp(fun, Verb("hvp"), primals, tangents)
    return compiled(primals, tangents)


def linearize(fun: Fun, *primals: Any, has_aux: bool = False, parallel: bool = False) -> Any:
    """Value of ``fun`` and its derivative at a point as a function of the direction.

    Parameters
    ----------
    fun : callable of float arrays or scalars, or trees of them.
    primals : the point.
    has_aux : whether ``fun`` returns ``(out, aux)``; then ``(out, f_jvp, aux)`` is returned.
    parallel : as for `value_and_grad`, of both kernels.

    Returns
    -------
    out : ``fun(*primals)``.
    f_jvp : ``f_jvp(*tangents)`` takes one tangent per primal, a tree like it, and returns the
        tangent of ``out``. What does not depend on the direction is computed once.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> out, f_jvp = tg.linearize(np.exp, 0.0)
    >>> f_jvp(3.0)
    3.0
    """
    return _linearized.of(fun, has_aux, None, parallel)(*primals)


# --- all derivatives --------------------------------------------------------------------------


Apply = Callable[[Fun, Verb, Binder, tuple[Any, ...], dict[str, Any]], Any]


def _of_arguments(
    name: str,
    apply: Apply,
    fun: Fun | None,
    argnums: int | Sequence[int] | None,
    has_aux: bool = False,
    argnames: str | Sequence[str] | None = None,
    argnum: int | Sequence[int] | None = None,
    **given: Unpack[JitOptions],
) -> Any:
    """A verb with the parameters of `grad`."""
    return _composed(fun, gradient_verb(name, argnums, argnames, has_aux, argnum), apply, given)


def _composed(fun: Fun | None, verb: Verb, apply: Apply, given: JitOptions) -> Any:
    """The verb applied to ``fun``; without a function, a decorator."""
    options = verb_options(**given)

    def applied(fun: Fun, binder: Binder, args: Any, kwargs: Any) -> Any:
        return apply(fun, verb, binder, args, kwargs)

    def decorate(function: Fun) -> Composed:
        return Composed(function, verb, applied, options)

    return decorate if fun is None else decorate(fun)


def jacfwd(
    fun: Fun | None = None,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    *,
    sparse: bool = False,
    **options: Unpack[GradOptions],
) -> Any:
    """The Jacobian of ``fun``, column by column in forward mode; as `jacobian`."""
    if sparse:
        return sparse_of_arguments("jacfwd", fun, argnums, has_aux, **options)
    return _of_arguments("jacfwd", jacobians.jacobian, fun, argnums, has_aux, **options)


def jacrev(
    fun: Fun | None = None,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    *,
    sparse: bool = False,
    **options: Unpack[GradOptions],
) -> Any:
    """The Jacobian of ``fun``, row by row in reverse mode; as `jacobian`."""
    if sparse:
        return sparse_of_arguments("jacrev", fun, argnums, has_aux, **options)
    return _of_arguments("jacrev", jacobians.jacobian, fun, argnums, has_aux, **options)


def jacobian(
    fun: Fun | None = None,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    *,
    sparse: bool = False,
    **options: Unpack[GradOptions],
) -> Any:
    """The Jacobian of ``fun``, in one kernel; the mode is chosen by the shapes.

    Parameters
    ----------
    fun : callable with float results: an array, a number, or a tree of these.
    argnums, argnames : the arguments to differentiate, as for `grad`.
    has_aux : whether ``fun`` returns ``(out, aux)``; then ``(jacobian, aux)`` is returned.
    sparse : whether the result is sparse: `scipy.sparse` arrays in CSR form, of shape
        ``(out.size, argument.size)``; see Notes.
    options : static_argnums, cache, parallel, tier, … as for `value_and_grad`.

    Returns
    -------
    Compiled : called like ``fun``; gives a tree like the result of ``fun``, each leaf replaced by
        a tree like the argument (a tuple for several) of arrays of shape
        ``out.shape + argument.shape``.

    Notes
    -----
    What does not depend on the direction is computed once, then each column (or row) in one
    trip of a loop; through loops of ``fun`` many go together. Reverse mode is taken unless the
    first call's sizes have more results than arguments.

    With ``sparse=True`` the pattern of `sparsity` is coloured, so that one direction takes all
    columns (or rows, if that needs fewer) that have no row in common. Pattern and colours are kept
    for the integers and sizes of a call; the next one with the same is one kernel. It can't be
    part of a trace.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> tg.jacobian(lambda x: x**2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    if sparse:
        return sparse_of_arguments("jacobian", fun, argnums, has_aux, **options)
    return _of_arguments("jacobian", jacobians.jacobian, fun, argnums, has_aux, **options)


def hessian(
    fun: Fun | None = None,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    *,
    sparse: bool = False,
    **options: Unpack[GradOptions],
) -> Any:
    """The Hessian of a scalar function, forward over reverse, in one kernel.

    Parameters as for `jacobian`; the result of ``fun`` is a float scalar. With ``sparse=True``
    a star colouring is used where it takes fewer directions: then an element may be read from its
    mirror image.

    Returns
    -------
    Compiled : called like ``fun``; gives an array of shape ``x.shape + x.shape``, or a tree of
        trees of such blocks for an argument that is a tree, or several arguments.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> tg.hessian(lambda x: x[0] ** 2 * x[1])(np.array([3.0, 2.0]))
    array([[4., 6.],
           [6., 0.]])
    """
    if sparse:
        return sparse_of_arguments("hessian", fun, argnums, has_aux, **options)
    return _of_arguments("hessian", jacobians.hessian, fun, argnums, has_aux, **options)


def elementwise_grad(
    fun: Fun | None = None,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
    **options: Unpack[GradOptions],
) -> Any:
    """The gradient of the sum of the results of ``fun``: of an elementwise function, element by
    element.

    Parameters as for `grad`; the result of ``fun`` is a float array of any shape.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> tg.elementwise_grad(np.exp)(np.array([0.0, 0.0]))
    array([1., 1.])
    """
    return _of_arguments(
        "elementwise_grad", reverse.elementwise_grad, fun, argnums, has_aux, **options
    )


# --- batches ----------------------------------------------------------------------------------


def vmap(
    fun: Fun | None = None,
    in_axes: Any = 0,
    out_axes: Any = 0,
    axis_name: Any = None,
    axis_size: int | None = None,
    **options: Unpack[JitOptions],
) -> Any:
    """``fun`` applied to each element of a batch, in one loop of one kernel.

    Parameters
    ----------
    fun : callable of arrays, numbers, or trees of them.
    in_axes : the axis to map over: one int for all arguments, or a tuple with an int, None (the
        argument is shared) or a tree of these for each positional argument. Keyword arguments
        are mapped over axis 0.
    out_axes : where the batch axis of the results is; a tree like the result, or one int. None for
        a result that is the same for all elements of the batch.
    axis_name : JAX's name of the axis, for reductions over the batch within ``fun``; here there are
        none, and the name means nothing.
    axis_size : the length of the batch; needed where no argument is mapped over.
    options : static_argnums, cache, parallel, tier, … as for `value_and_grad`.

    Returns
    -------
    Compiled : called like ``fun`` with batches; each result has a batch axis more.

    Raises
    ------
    ArgumentError : axes that don't fit, or batches of different lengths.

    Notes
    -----
    Loops, branches and writes within ``fun`` are run for each element by itself. It nests, and
    may stand inside and outside of `grad` and every other verb.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> tg.vmap(lambda x, y: np.sum(x * y), in_axes=(0, None))(np.eye(2), np.array([3.0, 4.0]))
    array([3., 4.])
    """
    axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes

    def apply(fun: Fun, verb: Verb, binder: Binder, args: Any, kwargs: Any) -> Any:
        return batching.vmap(fun, verb, binder, axes, out_axes, axis_size, args, kwargs)

    return _composed(fun, Verb("vmap"), apply, options)


# --- inspection -------------------------------------------------------------------------------


def make_ir(
    fun: Fun,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
) -> Callable[..., Function]:
    """A function that traces ``fun`` for its arguments and gives the IR; nothing is compiled.

    Parameters
    ----------
    fun : a function, or one under a verb: ``make_ir(grad(f))``.
    static_argnums, static_argnames : as for `jit`, for a bare function.

    Returns
    -------
    Callable : called like ``fun``, gives a `Function`, which prints as text.

    Examples
    --------
    >>> import tracegrad as tg
    >>> print(tg.make_ir(lambda x: x * x)(2.0))  # doctest: +SKIP
    """
    compiled = (
        fun
        if isinstance(fun, Compiled)
        else Compiled(fun, Verb("jit"), Options(static_argnums, static_argnames))
    )
    return lambda *args, **kwargs: compiled.trace(*args, **kwargs)


# --- derivatives of one's own -----------------------------------------------------------------


def custom_vjp(
    fun: Fun | None = None,
    nondiff_argnums: int | Sequence[int] = (),
    nondiff_argnames: str | Sequence[str] = (),
) -> Any:
    """``fun`` with a reverse rule of the user's, traced and compiled like everything else.

    Parameters
    ----------
    fun : the function, called by position.
    nondiff_argnums, nondiff_argnames : arguments without a derivative, by number or by name, handed
        to the rule as they are.

    Returns
    -------
    An object that is called like ``fun``. ``f.defvjp(fwd, bwd)`` gives the rule:
    ``fwd(*args) -> (out, residuals)``, and ``bwd(*nondiff, residuals, out_bar)`` a tuple with one
    cotangent (None for zero) per other argument.

    Raises
    ------
    NotDifferentiable : a value is differentiated that ``fun`` uses and is not given as argument.

    Notes
    -----
    Forward mode (`jvp`, `hessian`) takes the transpose of the rule, which must be linear in the
    cotangent. Derivatives of higher order differentiate the rule.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> @tg.custom_vjp
    ... def clipped(x):
    ...     return x
    >>> clipped.defvjp(lambda x: (x, None), lambda _, bar: (np.clip(bar, -1.0, 1.0),))
    >>> tg.grad(lambda x: 5.0 * clipped(x))(2.0)
    1.0
    """
    if fun is None:
        return lambda function: custom.CustomVJP(function, nondiff_argnums, nondiff_argnames)
    return custom.CustomVJP(fun, nondiff_argnums, nondiff_argnames)


def custom_jvp(
    fun: Fun | None = None,
    nondiff_argnums: int | Sequence[int] = (),
    nondiff_argnames: str | Sequence[str] = (),
) -> Any:
    """``fun`` with a forward rule of the user's; reverse mode takes its transpose.

    Parameters as for `custom_vjp`.

    Returns
    -------
    An object that is called like ``fun``. ``@f.defjvp`` gives the rule
    ``jvp(*nondiff, primals, tangents) -> (out, out_dot)``, or ``f.defjvps(*rules)`` one
    ``rule(x_dot, out, *args)`` (or None) per argument, whose results add up.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> @tg.custom_jvp
    ... def softplus(x):
    ...     return np.log1p(np.exp(x))
    >>> softplus.defjvps(lambda x_dot, out, x: x_dot / (1.0 + np.exp(-x)))
    >>> tg.grad(softplus)(0.0)
    0.5
    """
    if fun is None:
        return lambda function: custom.CustomJVP(function, nondiff_argnums, nondiff_argnames)
    return custom.CustomJVP(fun, nondiff_argnums, nondiff_argnames)


def checkpoint(
    fun: Any = None,
    *,
    segments: int | None = None,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
    prevent_cse: bool = True,
) -> Any:
    """A function, or a loop, computed again in reverse mode instead of kept.

    Parameters
    ----------
    fun : a function; or what a ``for`` statement runs over: a range, an array, ``enumerate`` or
        ``zip`` of these.
    segments : of a loop, how many parts it is reversed in; default: the root of its trips.
    static_argnums, static_argnames : of a function, arguments that are part of the program, as for
        `jit`.
    prevent_cse : taken because JAX does; what is computed again is never shared here.

    Returns
    -------
    The function, of which only the arguments are kept; for a loop, the same to run over. Of a loop
    the carried values before each segment are kept, and what one segment needs while it is
    reversed: ``segments`` states and the tapes of ``trips / segments`` trips.

    Raises
    ------
    ArgumentError : something else to run over; ``segments`` below 1, or for a function.

    Notes
    -----
    Cost: the function, or the loop, once more. A loop that may end early (``break``, ``return``)
    runs twice more, since its trips must be known before it can be divided. A loop that is unrolled
    (three trips or fewer, a body that needs the index as a Python int) is not a loop any more and
    keeps what it did. Griewank & Walther, *Evaluating Derivatives*, ch. 12.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> step = tg.checkpoint(lambda x: np.sin(np.cos(x)))
    >>> round(tg.grad(lambda x: step(step(x)))(0.5), 6)
    0.160417
    >>> def orbit(x):
    ...     for _ in tg.checkpoint(range(100), segments=5):
    ...         x = 3.5 * x * (1.0 - x)
    ...     return x
    >>> round(tg.value_and_grad(orbit)(0.4)[0], 6)
    0.38282
    """
    if fun is None:
        return lambda function: custom.checkpoint(
            function, segments, static_argnums, static_argnames
        )
    return custom.checkpoint(fun, segments, static_argnums, static_argnames)


remat = checkpoint
"""JAX's other name of `checkpoint`."""


def pure_callback(fun: Fun, result_shape_dtypes: Any, *args: Any, **kwargs: Any) -> Any:
    """What ``fun`` gives, called in Python: for functions that can't be traced.

    Parameters
    ----------
    fun : called with copies of the arguments, as NumPy arrays and Python numbers. It has no effects
        that matter: it may be called again, or not at all.
    result_shape_dtypes : a tree of arrays or numbers like the results, or of `ShapeDtypeStruct`.
    args, kwargs : trees of arrays and numbers; anything else is handed on as it is.

    Raises
    ------
    ArgumentError : ``fun`` returns something else than was declared.
    NotDifferentiable : when a derivative is asked for; `custom_vjp` gives it one.
    Whatever ``fun`` raises.

    Notes
    -----
    Slow: each call takes tens of microseconds, and a kernel with one is compiled by Numba, in
    seconds. JAX's function of this name.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> f = lambda x: tg.pure_callback(lambda x: np.sort(x)[::-1], x, x)
    >>> tg.jit(lambda x: 2.0 * f(x))(np.array([1.0, 3.0, 2.0]))
    array([6., 4., 2.])
    """
    return callbacks.pure_callback(fun, result_shape_dtypes, args, kwargs)


def implicit_root(fun: Fun, solver: Fun | None = None) -> Any:
    """A solver of ``fun(x, *args) = 0`` whose derivative is that of the solution.

    Parameters
    ----------
    fun : ``fun(x, *args)``, the residual, of the shape of ``x``; where that is a tree, a tree of as
        many arrays of the same shapes.
    solver : ``solver(*args)`` gives x, a float array or number or a tree of them. Without it, a
        decorator.

    Returns
    -------
    An object that is called like ``solver``. Its steps are not differentiated: with the solution
    x, ``args_bar = -λ · ∂fun/∂args`` where ``(∂fun/∂x)ᵀ λ = x_bar``. What the solver returns is
    taken for the solution: it is for the solver to raise an error if it did not converge.

    Raises
    ------
    LinAlgError : ``∂fun/∂x`` is singular at the solution.

    Notes
    -----
    The implicit function theorem; Griewank & Walther, *Evaluating Derivatives*, ch. 15. Cost: the
    Jacobian of ``fun`` in x and one linear system, whatever the solver does.

    Examples
    --------
    >>> import numpy as np, tracegrad as tg
    >>> @tg.implicit_root(lambda x, a: x * x - a)
    ... def root(a):
    ...     x = a
    ...     for _ in range(30):
    ...         x = 0.5 * (x + a / x)
    ...     return x
    >>> tg.grad(root)(4.0)
    0.25
    """
    if solver is None:
        return lambda function: custom.ImplicitRoot(fun, function)
    return custom.ImplicitRoot(fun, solver)


__all__ = [
    "checkpoint",
    "custom_jvp",
    "custom_vjp",
    "elementwise_grad",
    "hessian",
    "hvp",
    "implicit_root",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jvp",
    "linearize",
    "make_ir",
    "pure_callback",
    "remat",
    "sparsity",
    "vmap",
]
