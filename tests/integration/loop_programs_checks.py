"""Comparing programs with what plain Python computes, stage by stage and compiled."""

import copy

import numpy as np

import tracegrad as tg
from tests.integration.stages import Stages, same
from tracegrad import tree
from tracegrad.arguments import kernel_array
from tracegrad.ir.interpreter import evaluate
from tracegrad.testing.numerics import assert_close, numerical_jvp


def is_float(leaf):
    return np.asarray(leaf).dtype.kind == "f" and not isinstance(leaf, str)


class Call:
    """A call of a plain function: its leaves, and the function of the leaves."""

    def __init__(self, fun, args):
        self.fun, self.args = fun, tuple(args)
        self.leaves, self.structure = tree.flatten(self.args)
        self.floats = [k for k, leaf in enumerate(self.leaves) if is_float(leaf)]
        self.argnums = tuple(
            k for k, a in enumerate(self.args) if any(map(is_float, tree.flatten(a)[0]))
        )

    def __call__(self, *leaves):
        """What plain Python computes; it may write to its arguments."""
        args = tree.unflatten(self.structure, copy.deepcopy(list(leaves)))
        with np.errstate(all="ignore"):
            return self.fun(*args)

    def value(self):
        return self(*self.leaves)

    def directions(self, seed=0):
        """Two random tangents: one array per float leaf, None for the others."""
        rng = np.random.default_rng(seed)
        for _ in range(2):
            yield [rng.normal(size=np.shape(v)) if is_float(v) else None for v in self.leaves]


def gradients_agree(function, call, bars, *, rtol=2e-6, what="", seed=0):
    """``bars``, one per float leaf of ``call``, are the gradient of ``function`` of the leaves."""
    assert len(bars) == len(call.floats), what
    single = any(np.asarray(v).dtype == np.float32 for v in call.leaves)
    for k, bar in zip(call.floats, bars, strict=True):
        leaf = np.asarray(call.leaves[k])
        assert np.shape(bar) == leaf.shape, f"{what}: gradient of shape {np.shape(bar)}"
        assert np.asarray(bar).dtype == leaf.dtype, f"{what}: gradient of {np.asarray(bar).dtype}"
    for tangents in call.directions(seed):
        moved = [tangents[k] for k in call.floats]
        found = sum(float(np.sum(b * t)) for b, t in zip(bars, moved, strict=True))
        size = sum(float(np.sum(np.abs(b * t))) for b, t in zip(bars, moved, strict=True))
        errors = []
        for step in (1e-4, 1e-5, 1e-3) if not single else (1e-2,):
            expected = float(numerical_jvp(function, call.leaves, tangents, step))
            errors.append(abs(found - expected))
            allowed = rtol if not single else 1e-3
            if errors[-1] <= allowed * max(1.0, size, abs(expected)):
                break
        else:
            raise AssertionError(f"{what}: gradient {found}, by differences {expected} ({errors})")


class Checked:
    """``value_and_grad`` of a function at ``args``, interpreted at every stage."""

    def __init__(self, fun, args):
        self.call = Call(fun, args)
        before = copy.deepcopy(self.call.leaves)
        self.stages = Stages(fun, args, self.call.argnums)
        self.unchanged = before

    def check(self, value=None, function=None, *, rtol=1e-10, emitted=True):
        """Every stage gives ``value``, and the gradient of ``function`` of the leaves."""
        stages, call = self.stages, self.call
        value = call.value() if value is None else value
        if any(np.asarray(v).dtype == np.float32 for v in call.leaves):
            rtol = 1e-5
        assert_close(stages.value(), value, rtol, "traced")
        first = stages.transformed()
        assert_close(first[0], value, rtol, "transformed")
        gradients_agree(function or call, call, first[1:], what="transformed")
        same(stages.optimized(), first, max(rtol, 1e-9), "optimized")
        if emitted:
            same(stages.plain(), first, max(rtol, 1e-9), "loop form")
        self.arguments_unchanged()
        return first

    def arguments_unchanged(self):
        for leaf, before in zip(self.call.leaves, self.unchanged, strict=True):
            assert np.array_equal(leaf, before), "an argument was changed"

    def arguments_of(self, leaves):
        """The arguments of the traced function for other leaves."""
        count = len(self.stages.arguments) - len(self.stages.traced.captured_arrays())
        dynamic = [v for v in leaves if isinstance(v, np.ndarray | float | int | np.generic)]
        dynamic = [v for v in dynamic if not isinstance(v, bool)]
        assert len(dynamic) == count
        given = [
            _as_given(value, like)
            for value, like in zip(dynamic, self.stages.arguments, strict=False)
        ]
        return [*given, *self.stages.arguments[count:]]

    def gradient(self, *leaves):
        """The gradients that the transformed function gives for other leaves, one after another."""
        return evaluate(self.stages.recipe.function, *self.arguments_of(leaves))[1:]

    def check_at(self, args):
        """The same trace is right for other arguments, of other sizes."""
        call = Call(self.call.fun, args)
        assert self.stages.traced.guards_hold(call.leaves), "the trace is not one for every size"
        value, *bars = evaluate(self.stages.recipe.function, *self.arguments_of(call.leaves))
        assert_close(value, call.value(), 1e-10, "another size")
        gradients_agree(call, call, bars, what="another size")


def _as_given(value, like):
    """``value`` as the kernel takes it, of the dtype of the argument that it stands for."""
    if not isinstance(value, np.ndarray):
        return value
    return kernel_array(value.astype(like.dtype, copy=False))


def _pieces(bars):
    if isinstance(bars, dict):
        bars = [bars[key] for key in sorted(bars)]
    if isinstance(bars, tuple | list):
        return [piece for bar in bars for piece in _pieces(bar)]
    return [bars]


def _weights(shape):
    count = int(np.prod(shape))
    return np.cos(0.5 * np.arange(count)).reshape(shape)


def contracted_gradient(fun, argnums):
    """The function that sums the elements of the gradient of ``fun``, each with a weight."""
    gradient = tg.grad(fun, argnums=argnums)

    def contracted(*args):
        total = 0.0
        for bar in _pieces(gradient(*args)):
            if bar.ndim:
                weights = np.cos(0.5 * np.arange(bar.size)).reshape(bar.shape)
                total = total + np.sum(bar * weights)
            else:
                total = total + bar
        return total

    return contracted


def contract(bars):
    """What `contracted_gradient` computes, of gradients that are known."""
    return sum(float(np.sum(b * _weights(b.shape))) if np.ndim(b) else float(b) for b in bars)


def check_second(fun, args, *, emitted=True):
    """The gradient of the contracted gradient agrees with differences of the first gradient."""
    first = Checked(fun, args)
    call = first.call
    second = Checked(contracted_gradient(fun, call.argnums), args)

    def contracted(*leaves):
        return contract(first.gradient(*copy.deepcopy(list(leaves))))

    second.check(contracted(*call.leaves), contracted, rtol=1e-9, emitted=emitted)
    return second
