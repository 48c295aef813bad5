"""`vmap` of the catalogue's programs, under and over derivatives: what each element has alone.

The elements have branches and numbers of trips of their own; integers are shared. Nothing is
compiled: the traced program is interpreted, and the kernel's source runs as plain Python.
"""

import copy

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.loop_programs import PROGRAMS
from tests.integration.loop_programs_checks import Call, is_float
from tests.integration.stages import Stages
from tracegrad import tracing, tree
from tracegrad.arguments import kernel_array
from tracegrad.backend.compile import run_plain
from tracegrad.backend.emit import emit_loop_form
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.verifier import verify
from tracegrad.passes import finish
from tracegrad.schedule import schedule
from tracegrad.testing.numerics import assert_close

COUNT, SIZE = 3, 6


class Batch:
    """A program with a batch of arguments.

    Attributes
    ----------
    args, axes : for `vmap`; floats have a batch axis.
    singles : the arguments of each element.
    """

    def __init__(self, program):
        self.function = program.function
        each = [tree.flatten(tuple(program.arguments(SIZE, seed)))[0] for seed in range(COUNT)]
        _, structure = tree.flatten(tuple(program.arguments(SIZE)))
        columns, axes, rows = [], [], [[] for _ in range(COUNT)]
        for column in zip(*each, strict=True):
            if not is_float(column[0]):
                columns.append(column[0])
                axes.append(None)
                for row in rows:
                    row.append(column[0])
                continue
            if not np.ndim(column[0]):
                column = [float(v) * (1.0 + 0.03 * k) for k, v in enumerate(column)]
            columns.append(np.stack(column))
            axes.append(0)
            for row, value in zip(rows, column, strict=True):
                row.append(value)
        self.args = tree.unflatten(structure, columns)
        self.axes = tuple(tree.unflatten(structure, axes))
        self.singles = [tree.unflatten(structure, row) for row in rows]
        self.argnums = Call(self.function, self.singles[0]).argnums
        single = any(np.asarray(v).dtype == np.float32 for v in columns)
        self.rtol = 1e-4 if single else 1e-9

    def vmap(self, function):
        return tg.vmap(function, in_axes=self.axes)

    def values(self):
        with np.errstate(all="ignore"):
            return [np.array([self.function(*copy.deepcopy(args)) for args in self.singles])]

    def gradients(self, function=None):
        """Per float leaf, those of all elements."""
        fun = function or self.function
        found = [Stages(fun, args, self.argnums).transformed()[1:] for args in self.singles]
        return [np.stack(leaf) for leaf in zip(*found, strict=True)]


def leaves(found):
    return tuple(tree.flatten(found)[0])


def value(batch):
    return batch.vmap(batch.function), batch.values()


def vmap_of_grad(batch):
    each = tg.grad(batch.function, argnums=batch.argnums)
    return lambda *args: leaves(batch.vmap(each)(*args)), batch.gradients()


def grad_of_vmap(batch):
    weights = np.cos(np.arange(COUNT))

    def total(*args):
        return np.sum(weights * batch.vmap(batch.function)(*args))

    expected = [(bars.T * weights).T for bars in batch.gradients()]
    return lambda *args: leaves(tg.grad(total, argnums=batch.argnums)(*args)), expected


def jacobian_of_vmap(verb):
    def composed(batch):
        expected = []
        for bars in batch.gradients():
            expected.append(np.zeros((COUNT, *bars.shape)))
            for k in range(COUNT):
                expected[-1][k, k] = bars[k]
        each = verb(batch.vmap(batch.function), argnums=batch.argnums)
        return lambda *args: leaves(each(*args)), expected

    composed.__name__ = f"{verb.__name__}_of_vmap"
    return composed


def jvp_of_vmap(batch):
    bars = iter(batch.gradients())
    found, structure = tree.flatten(batch.args)
    dots, expected = [], np.zeros(COUNT)
    for k, leaf in enumerate(found):
        dots.append(None)
        if is_float(leaf):
            dots[-1] = np.random.default_rng(k).normal(size=np.shape(leaf)).astype(leaf.dtype)
            expected += np.sum((dots[-1] * next(bars)).reshape(COUNT, -1), axis=1)
    dots = tree.unflatten(structure, dots)
    return lambda *args: tg.jvp(batch.vmap(batch.function), args, dots)[1], [expected]


COMPOSED = [
    value,
    vmap_of_grad,
    grad_of_vmap,
    jacobian_of_vmap(tg.jacrev),
    jacobian_of_vmap(tg.jacfwd),
    jvp_of_vmap,
]
CHOSEN = [
    (name, COMPOSED[k // 3 % len(COMPOSED)])
    for k, (name, program) in enumerate(PROGRAMS.items())
    if k % 3 == 0 and program.refusal is None
]
"""All of them hold for the whole catalogue; here each program of a third has one."""
CHOSEN += [("gaussian_elimination", COMPOSED[4]), ("branchy_recurrence", COMPOSED[4])]


@pytest.mark.parametrize(
    ("name", "composed"), CHOSEN, ids=[f"{name}-{c.__name__}" for name, c in CHOSEN]
)
def test_elements_of_a_batch_are_what_they_are_alone(name, composed):
    batch = Batch(PROGRAMS[name])
    function, expected = composed(batch)
    verb = tg.jit(function)
    shape, given, kinds = verb._binder.bind(tuple(batch.args), {})
    static = frozenset(i for i, k in enumerate(kinds) if k.kind == "static")
    traced = tracing.trace(
        function, shape.rebuild, given, static=static, names=verb._binder.leaf_names(shape)
    )
    made = verify(verb._recipe(traced, shape, kinds, inlined=False).function)
    arguments = [v for i, v in enumerate(given) if i not in static]
    arguments += map(kernel_array, traced.captured_arrays())
    found = evaluate(made, *arguments)
    loops = schedule(finish(made))
    plain = run_plain(emit_loop_form(loops), loops.name)(*arguments)
    plain = plain if isinstance(plain, tuple) else (plain,)
    for each in (found, plain):
        for x, y in zip(each, expected, strict=True):
            assert np.shape(x) == np.shape(y)
            assert_close(x, y, batch.rtol, composed.__name__)
