"""Compiled objects: what a verb makes of a user's function, and the way of a call through it.

A call takes the first of three ways that fits:

1. *Direct*: arguments of the same types and trees as the last call's go to that kernel at once
   (`tracegrad.calls`); Numba's dispatcher checks ranks and dtypes, the kernel checks its guards.
2. *Known*: arguments are bound and flattened, and the versions kept for their signature are
   tried in turn.
3. *New*: the function is traced for these arguments, transformed, scheduled and compiled.

What happens to a function in between is `tracegrad.pipeline`.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tracegrad import pipeline, tracing
from tracegrad.arguments import Binder, Leaf, Shape
from tracegrad.background import Pending
from tracegrad.calls import MISS, Tables, after_some_calls, direct_call, direct_into
from tracegrad.errors import ArgumentError, GuardFailed
from tracegrad.exchangeable import Exchangeable
from tracegrad.ir.core import Function
from tracegrad.options import DEFAULT_OPTIONS, Options
from tracegrad.outputs import Workspace, sizes_of
from tracegrad.passes import optimize
from tracegrad.remembered import Remembered
from tracegrad.verbs import Recipe, Verb
from tracegrad.versions import Signature, Version

if TYPE_CHECKING:
    from tracegrad.inspect.memory import MemoryReport

MAX_VERSIONS = 64
"""Versions kept per signature; beyond it the oldest is dropped."""


class Compiled(Exchangeable):
    """A function under a verb (`grad`, `jit`, …), compiled at its first call for each signature.

    Attributes
    ----------
    py_func : the user's function, untouched.
    signatures : one text per compiled version: the types of the arguments and the guards.
    """

    def __init__(
        self, fun: Callable[..., Any], verb: Verb, options: Options = DEFAULT_OPTIONS
    ) -> None:
        verb.check_function(fun)
        self.py_func = fun
        self._verb = verb
        self._options = options
        self._binder = Binder(fun, options.static_argnums, options.static_argnames)
        self._signatures: dict[Any, Signature] = {}
        self._lock = threading.RLock()
        self._direct: Callable[..., Any] | None = None
        self._latest: Version | None = None
        self._latest_into: tuple[Version, bool] | None = None
        self._bound: Remembered | None = None
        functools.update_wrapper(self, fun, updated=())
        self._go_to(self._general())

    def into(self, *args: Any, out: Any, workspace: Workspace | None = None, **kwargs: Any) -> Any:
        """A call that writes its arrays to ``out`` instead of making new ones.

        Parameters
        ----------
        args, kwargs : as for a call.
        out : a tree like the result; for `value_and_grad` like the gradient, for `grad` with
            ``has_aux`` too. In the place of each array stands a writeable C-contiguous array of
            its shape and dtype; in that of each number None or a number, which is ignored.
        workspace : what `workspace` gave for arguments like these: the kernel works in it and
            makes no array itself.

        Returns
        -------
        result : what the call without ``out`` returns, in which the arrays are those of ``out``;
            numbers are returned as numbers.

        Raises
        ------
        ArgumentError : an array of ``out`` does not fit, or two of them share memory; the
            workspace was made for other arguments, or is in use by another thread.

        Notes
        -----
        As for NumPy's ``out=``, an array of ``out`` that shares memory with an argument gets what
        arrays that are apart would get; that takes a copy. Where the function raises,
        ``out`` may be written in part.

        Examples
        --------
        >>> import numpy as np, tracegrad as tg
        >>> f = tg.value_and_grad(lambda x: np.sum(x**2))
        >>> x_bar = np.empty(2)
        >>> f.into(np.array([1.0, 2.0]), out=x_bar)
        (5.0, array([2., 4.]))
        >>> x_bar
        array([2., 4.])
        """
        quick = self.__dict__.get("into")
        if quick is None:
            return self._into(args, kwargs, out, workspace)
        # The caller kept this method from before there was a direct way.
        if workspace is None:
            return quick(*args, out=out, **kwargs)
        return quick(*args, out=out, workspace=workspace, **kwargs)

    def workspace(self, *args: Any, **kwargs: Any) -> Workspace:
        """The arrays that the kernel needs besides its results, made beforehand.

        Give it to `into` for arguments of the same types and sizes: the kernel then makes no
        array. ``workspace.made`` names those that it still makes because their sizes show at
        run time only. One call at a time may use a workspace.
        """
        version, leaves = self._version_and_leaves(args, kwargs)
        arguments = version.arguments(leaves)
        return Workspace(version, sizes_of(version.recipe.function, arguments))

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """As a method: the verb applies to the bound method, so ``self`` is not an argument."""
        if instance is None:
            return self
        if self._bound is None:
            self._bound = Remembered(self._bound_to)
        return self._bound.of(self.py_func.__get__(instance, owner))

    def _bound_to(self, method: Callable[..., Any]) -> Compiled:
        """The same verb, applied to a bound method."""
        return Compiled(method, self._verb, self._options)

    def _target(self) -> Callable[..., Any]:
        """What is traced at a call from outside a trace."""
        return self.py_func

    def __repr__(self) -> str:
        name = getattr(self.py_func, "__qualname__", repr(self.py_func))
        head = f"<tracegrad {self._verb.describe()} of {name}"
        known = self.signatures
        if not known:
            return head + ", nothing compiled yet>"
        return "\n".join([f"{head}, compiled for:", *(f"  {s}" for s in known), ">"])

    # --- calling ---------------------------------------------------------------------------

    def _general(self) -> Callable[..., Any]:
        """What is called as long as there is no direct way."""
        miss = self._miss_weakly()
        return lambda *args, **kwargs: miss(args, kwargs)

    def _miss_weakly(self) -> Callable[..., Any]:
        """`_miss` without a reference to this object: who calls it has one.

        An object that is dropped is gone at once, with the arrays that its function holds.
        """
        owner = weakref.ref(self)

        def miss(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            called = owner()
            assert called is not None
            return called._miss(args, kwargs)

        return miss

    def _miss(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that its direct way, if there is one, did not take."""
        if kwargs:
            args, kwargs = self._binder.normal(args, kwargs)
            if self._direct is not None and not kwargs:
                return self._direct(*args)
        return self._call(args, kwargs)

    def _miss_into(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, workspace: Any
    ) -> Any:
        return self._into(args, kwargs, out, workspace)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if tracing.active():
            return self._inline(args, kwargs)
        shape, leaves, kinds = self._binder.bind(args, kwargs)
        key = (shape, kinds)
        signature = self._signatures.get(key)
        if signature is not None:
            result = self._try_versions(signature, leaves)
            if result is not MISS:
                return result
        with self._lock:
            signature = self._signatures.setdefault(key, Signature())
            # Another thread may have compiled it while this one waited.
            result = self._try_versions(signature, leaves)
            if result is not MISS:
                return result
            with pipeline.without_collections():
                version = self._prepare(signature, shape, leaves, kinds)
                if not self._options.background:
                    _ = version.kernel.source
            if self._options.background:
                version.pending = Pending(version.kernel, lambda: self._ready(version))
                version.pending.start()
            else:
                _ = version.kernel.compiled
            signature.versions.insert(0, version)
            del signature.versions[MAX_VERSIONS:]
            self._install(version)
        try:
            return version.run(leaves)
        except GuardFailed as error:
            # In Python's integers, of any size, it holds.
            raise ArgumentError(
                f"the integers of this call are too large: the kernel asks for {error}, in 64 bits",
                way_out="pass smaller ones, or floats",
            ) from None

    def _ready(self, version: Version) -> None:
        """The kernel of ``version``, compiled in the background, takes over."""
        with self._lock:
            version.pending = None
            if self._latest is version:
                self._install(version)

    def _into(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, workspace: Workspace | None
    ) -> Any:
        if tracing.active():
            raise ArgumentError(
                "a call into given arrays can't be part of a trace",
                way_out="call the function without out= there",
            )
        if out is MISS:
            raise TypeError("into() needs out=, the arrays to write to")
        version, leaves = self._version_and_leaves(args, kwargs)
        if not version.recipe.rearranges_only:
            raise ArgumentError(
                f"{self._verb.name} has no form that writes to given arrays",
                way_out="use value_and_grad, grad or jit",
            )
        result = version.run_into(leaves, out, workspace)
        self._install_into(version, workspace is not None)
        return result

    def _install_into(self, version: Version, scratch: bool) -> None:
        """Make ``version`` the one that `into` goes to directly."""
        key = version, scratch
        # Arguments that its direct way doesn't take: strided, say.
        careful = self._latest_into == key
        self._latest_into = key
        wanted = "into", careful, scratch
        if wanted not in version.directs:
            names = self._binder.plain_names()
            version.directs[wanted] = self._named(
                direct_into(
                    version, self._miss_into, names=names, careful=careful, scratch=scratch
                ),
                ".into",
            )
        self._go_into(self._quickest(version, wanted))

    def _go_into(self, function: Callable[..., Any] | None) -> None:
        if function is None:
            self.__dict__.pop("into", None)
        else:
            # Found before the method of the class, and without a frame of Python in between.
            self.__dict__["into"] = function

    def _try_versions(self, signature: Signature, leaves: list[Any]) -> Any:
        for version in list(signature.versions):
            try:
                result = version.run(leaves)
            except GuardFailed:
                continue
            # Arguments that the latest version takes and its direct way doesn't: strided, say.
            self._install(version, careful=self._latest is version)
            return result
        return MISS

    def _prepare(
        self, signature: Signature, shape: Shape, leaves: list[Any], kinds: tuple[Leaf, ...]
    ) -> Version:
        for version in signature.versions:
            signature.varying |= version.traced.differing_dims(leaves)
        traced, recipe = self._transformed(shape, leaves, kinds, frozenset(signature.varying))
        static = _static_leaves(kinds)
        dynamic = tuple(i for i in range(len(leaves)) if i not in static)
        kernel = pipeline.prepare_function(recipe.function, self._options.kernel)
        return Version(traced, recipe, dynamic, kernel, shape, kinds)

    def _transformed(
        self,
        shape: Shape,
        leaves: list[Any],
        kinds: tuple[Leaf, ...],
        varying: frozenset[tuple[int, int]] = frozenset(),
    ) -> tuple[tracing.Traced, Recipe]:
        """The function traced for these arguments, and what the verb makes of it."""
        self._verb.check(self._binder.selection(shape, kinds))
        traced = tracing.trace(
            self._target(),
            shape.rebuild,
            leaves,
            static=_static_leaves(kinds),
            varying=varying,
            names=self._binder.leaf_names(shape),
        )
        return traced, self._recipe(traced, shape, kinds, inlined=False)

    def trace(self, *args: Any, **kwargs: Any) -> Function:
        """The transformed function for these arguments, optimised, in array form; not compiled."""
        shape, leaves, kinds = self._binder.bind(args, kwargs)
        _, recipe = self._transformed(shape, leaves, kinds)
        return optimize(recipe.function)

    def _inline(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Within a trace: append the transformed function to the trace."""
        shape, leaves, kinds = self._binder.bind(args, kwargs)
        self._verb.check(self._binder.selection(shape, kinds))
        with self._verb.applied():
            traced = tracing.subtrace(
                self.py_func,
                shape.rebuild,
                leaves,
                static=_static_leaves(kinds),
                names=self._binder.leaf_names(shape),
            )
        recipe = self._recipe(traced, shape, kinds, inlined=True)
        return recipe.assemble(tracing.inline(recipe.function, traced.arguments))

    def _recipe(
        self, traced: tracing.Traced, shape: Shape, kinds: tuple[Leaf, ...], *, inlined: bool
    ) -> Recipe:
        return self._verb.recipe(traced, self._binder.selection(shape, kinds))

    def _install(self, version: Version, careful: bool = False) -> None:
        """Make ``version`` the one that direct calls go to."""
        self._latest = version
        if version.pending is not None:
            self._direct = None
            self._go_to(self._general())
            return
        wanted = "call", careful
        if wanted not in version.directs:
            names = self._binder.plain_names()
            version.directs[wanted] = self._named(
                direct_call(version, self._miss_weakly(), names=names, careful=careful)
            )
        self._direct = version.directs[wanted]
        self._go_to(self._quickest(version, wanted) or self._general())

    def _quickest(self, version: Version, wanted: tuple[Any, ...]) -> Callable[..., Any] | None:
        """The direct way ``wanted``; once it was called some times, a table in its stead."""
        direct = version.directs[wanted]
        if direct is None or wanted not in _TABLES:
            return direct
        if wanted not in version.tables:
            owner = weakref.ref(self)

            def tabulate() -> Callable[..., Any] | None:
                called = owner()
                return None if called is None else called._tabulate(version, wanted)

            version.tables[wanted] = after_some_calls(direct, tabulate)
        return version.tables[wanted]

    def _tabulate(self, version: Version, wanted: tuple[Any, ...]) -> Callable[..., Any]:
        """Make a table for the direct way ``wanted``; from now on it is called, if there is one."""
        direct = version.directs[wanted]
        assert direct is not None
        made = None
        if Tables.possible():
            # Most functions are called a few times: what only tables need isn't imported for those.
            from tracegrad.tables import table_call, table_into

            make = table_into if wanted[0] == "into" else table_call
            made = make(version, direct, self._binder.plain_names())
            Tables.made = Tables.made or made is not None
        quickest = version.tables[wanted] = made or direct
        if wanted[0] == "into":
            if self._latest_into == (version, False):
                self._go_into(quickest)
        elif self._latest is version and self._direct is direct:
            self._go_to(quickest)
        return quickest

    def _named(self, direct: Callable[..., Any] | None, more: str = "") -> Any:
        """A direct way under the name that Python's own complaints about arguments show."""
        if direct is not None:
            direct.__qualname__ = getattr(self.py_func, "__qualname__", "function") + more
        return direct

    # --- inspection ------------------------------------------------------------------------

    @property
    def signatures(self) -> list[str]:
        found = []
        for signature in list(self._signatures.values()):
            for version in signature.versions:
                guards = "; ".join(version.kernel.guards)
                found.append(f"({version.title})" + (f" where {guards}" if guards else ""))
        return found

    def lower(self, *args: Any, **kwargs: Any) -> pipeline.Kernel:
        """Trace and compile for these arguments without calling; the kernel with its stages."""
        version = self._version_for(args, kwargs)
        if version.pending is not None:
            version.pending.wait()
        _ = version.kernel.compiled
        return version.kernel

    def _version_for(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Version:
        if not args and not kwargs:
            if self._latest is None:
                raise ArgumentError(
                    "nothing is compiled yet",
                    way_out="call the function once, or give example arguments here",
                )
            return self._latest
        return self._version_and_leaves(args, kwargs)[0]

    def _version_and_leaves(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Version, list[Any]]:
        """The version for these arguments, made if need be, and their leaves."""
        shape, leaves, kinds = self._binder.bind(args, kwargs)
        signature = self._signatures.get((shape, kinds))
        found = None if signature is None else signature.holding(leaves)
        if found is not None:
            return found, leaves
        with self._lock:
            signature = self._signatures.setdefault((shape, kinds), Signature())
            version = signature.holding(leaves)
            if version is None:
                version = self._prepare(signature, shape, leaves, kinds)
                signature.versions.insert(0, version)
                del signature.versions[MAX_VERSIONS:]
            return version, leaves

    def inspect_ir(self, *args: Any, stage: str = "transformed", **kwargs: Any) -> str:
        """The IR as text.

        Parameters
        ----------
        args, kwargs : example arguments; without any, the latest compiled version is shown.
        stage : "traced" (the primal as traced), "transformed" (array form, optimised: what is
            scheduled), or "scheduled" (loop form: what is printed and compiled).
        """
        version = self._version_for(args, kwargs)
        stages: dict[str, Function] = {
            "traced": version.traced.function,
            "transformed": version.kernel.array_form,
            "scheduled": version.kernel.loop_form,
        }
        if stage not in stages:
            raise ArgumentError(f"stage is one of {', '.join(stages)}, not {stage!r}")
        return str(stages[stage])

    def inspect_source(self, *args: Any, form: str = "loop", **kwargs: Any) -> str:
        """The generated Python source.

        Parameters
        ----------
        args, kwargs : example arguments; without any, the latest compiled version is shown.
        form : "loop" (the very text that Numba compiled) or "array" (the same computation as
            NumPy statements, which runs without Numba).
        """
        kernel = self._version_for(args, kwargs).kernel
        if form == "loop":
            return kernel.source
        if form == "array":
            return kernel.array_source()
        raise ArgumentError(f"form is 'loop' or 'array', not {form!r}")

    def memory_report(self, *args: Any, run: bool = False, **kwargs: Any) -> MemoryReport:
        """The arrays that a call makes: tapes, scratch arrays and results, with their bytes.

        Parameters
        ----------
        args, kwargs : the arguments of a call; without any, the latest compiled version is shown,
            with formulas and without numbers.
        run : whether to run the generated source on the arguments, slowly, as plain Python. That
            gives the number for an array whose length is found at run time, such as the
            tape of a ``while``; otherwise it has only a formula.

        Returns
        -------
        report : prints as a table. ``report.tape_bytes`` is the number for all tapes,
            ``report.tape_formula`` the formula, ``report.tapes`` tells each by name, type,
            and the line of the function that it is a residual of; ``scratch`` and ``results``
            likewise.

        Notes
        -----
        A tape is what the forward part of a loop keeps for the reverse part. A tape of unknown
        length grows by doubling; its formula tells what it has room for.
        """
        from tracegrad.inspect.memory import report

        version = self._version_for(args, kwargs)
        kernel = version.kernel
        if not args and not kwargs:
            return report(kernel.loop_form, kernel.source, None, run=False)
        _, leaves, _ = self._binder.bind(args, kwargs)
        return report(kernel.loop_form, kernel.source, version.arguments(leaves), run=run)

    def inspect_llvm(self, *args: Any, **kwargs: Any) -> str:
        """The optimised LLVM text of the kernel."""
        return self._version_for(args, kwargs).kernel.llvm()

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """The schedule: the tree of loops, with a buffer per value.

        With ``parallel=True`` it says of each loop whether it is split into chunks, or why not.
        """
        from tracegrad.schedule import explain, explain_threads

        function = self._version_for(args, kwargs).kernel.array_form
        text = explain(function)
        if self._options.kernel.parallel:
            text += f"\nthreads:\n{explain_threads(function)}"
        return text


_TABLES = (("call", False), ("into", False, False))
"""The direct ways that may become tables: not those that take strided arrays, say."""


def _static_leaves(kinds: tuple[Leaf, ...]) -> frozenset[int]:
    return frozenset(i for i, leaf in enumerate(kinds) if leaf.kind == "static")
