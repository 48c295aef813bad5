"""Every form that a program takes on its way, each run and compared with plain NumPy."""

import linecache

import numpy as np

import tracegrad as tg
from tests.schedule.given_forms import run_given
from tracegrad import tracing
from tracegrad.arguments import kernel_array
from tracegrad.backend.compile import run_plain
from tracegrad.backend.emit import emit_array_form, emit_loop_form
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.verifier import verify
from tracegrad.passes import finish
from tracegrad.schedule import schedule
from tracegrad.testing.numerics import assert_close, numerical_jvp


def load(source, path, names=None):
    """The function ``program`` of a source text, which stands in the file ``path``."""
    path.write_text(source)
    linecache.checkcache(str(path))
    scope = {"np": np, **(names or {})}
    exec(compile(source, str(path), "exec"), scope)
    return scope["program"]


class Stages:
    """``value_and_grad`` of ``fun`` at ``args``, stage by stage, with nothing compiled."""

    def __init__(self, fun, args, argnums=None):
        if argnums is None:
            argnums = tuple(i for i, a in enumerate(args) if np.asarray(a).dtype.kind == "f")
        compiled = tg.value_and_grad(fun, argnums=argnums)
        binder = compiled._binder
        shape, leaves, kinds = binder.bind(tuple(args), {})
        static = frozenset(i for i, k in enumerate(kinds) if k.kind == "static")
        self.traced = tracing.trace(
            fun, shape.rebuild, leaves, static=static, names=binder.leaf_names(shape)
        )
        self.recipe = compiled._recipe(self.traced, shape, kinds, inlined=False)
        dynamic = [v for i, v in enumerate(leaves) if i not in static]
        self.arguments = [*dynamic, *map(kernel_array, self.traced.captured_arrays())]

    def value(self):
        """The traced primal, run by the interpreter."""
        verify(self.traced.function)
        (result,) = evaluate(self.traced.function, *self.arguments)
        return result

    def transformed(self):
        """Value and gradients of the function as the transform made it, interpreted."""
        verify(self.recipe.function)
        return evaluate(self.recipe.function, *self.arguments)

    def optimized(self):
        self.array_form = finish(self.recipe.function)
        verify(self.array_form)
        return evaluate(self.array_form, *self.arguments)

    def array_source(self):
        source = emit_array_form(self.array_form)
        scope = {}
        exec(compile(source, "<array form>", "exec"), scope)
        with np.errstate(all="ignore"):
            out = scope[self.array_form.name](*self.arguments)
        return out if isinstance(out, tuple) else (out,)

    def plain(self):
        """The kernel's source, run as plain Python."""
        self.loop_form = schedule(self.array_form)
        self.source = emit_loop_form(self.loop_form)
        out = run_plain(self.source, self.loop_form.name)(*self.arguments)
        return out if isinstance(out, tuple) else (out,)

    def given(self, expected):
        """The same with the gradients, and all that the kernel works in, given to it."""
        return run_given(self.loop_form, self.arguments, expected, scratch=True)


def same(actual, expected, rtol, what):
    assert len(actual) == len(expected), what
    scale = max([1e-3, *(float(np.max(np.abs(e), initial=0.0)) for e in expected)])
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e, rtol, what, scale=scale)


def check(fun, args, rtol=1e-9, seed=0):
    """All stages of ``value_and_grad(fun)`` agree with NumPy and with differences."""
    copies = [np.copy(a) for a in args]
    stages = Stages(fun, args)
    with np.errstate(all="ignore"):
        value = fun(*args)
        assert_close(stages.value(), value, rtol, "traced")
        first = stages.transformed()
        assert_close(first[0], value, rtol, "transformed")
        same(stages.optimized(), first, rtol, "optimized")
        same(stages.array_source(), first, rtol, "array form")
        same(stages.plain(), first, rtol, "loop form")
        same(stages.given(first), first, rtol, "given arrays")
        derivative(fun, args, first[1:], seed)
    for a, c in zip(args, copies, strict=True):
        assert np.array_equal(a, c), "an argument was changed"
    return stages, first


def derivative(fun, args, bars, seed=0, rtol=2e-6):
    """The gradients ``bars`` of the float arguments agree with differences in two directions."""
    rng = np.random.default_rng(seed)
    floats = [i for i, a in enumerate(args) if np.asarray(a).dtype.kind == "f"]
    for _ in range(2):
        tangents = [None] * len(args)
        for i in floats:
            tangents[i] = rng.normal(size=np.shape(args[i]))
        found = sum(float(np.sum(b * tangents[i])) for b, i in zip(bars, floats, strict=True))
        size = sum(
            float(np.sum(np.abs(b * tangents[i]))) for b, i in zip(bars, floats, strict=True)
        )
        errors = []
        for step in (3e-4, 3e-5, 3e-6, 3e-7):  # a kink within the steps spoils a difference
            expected = float(numerical_jvp(fun, args, tangents, step))
            errors.append(abs(found - expected))
            if errors[-1] <= rtol * max(1.0, size, abs(expected)) * max(1, 1e-5 / step):
                break
        else:
            raise AssertionError(f"gradient {found}, differences {expected} (errors {errors})")
