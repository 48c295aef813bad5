"""Random programs: what NumPy computes, and derivatives as differences see them.

Every program runs through the interpreter, as array form, and as loop form in plain Python; some
are compiled. A program that once failed stands below under its own name.
"""

import random

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.programs import Generator
from tests.integration.stages import Stages, check, derivative, load, same
from tracegrad.errors import NeedsValue, UnsupportedError
from tracegrad.ir.interpreter import evaluate

rng = np.random.default_rng(0)


def told(program, seed, error):
    shapes = [np.shape(a) for a in program.arguments]
    return AssertionError(f"seed {seed}: {error}\n{program.source()}arguments {shapes}")


@pytest.mark.parametrize("block", range(8))
@pytest.mark.filterwarnings("ignore")
def test_random_programs(block, tmp_path):
    refused = 0
    for seed in range(50 * block, 50 * (block + 1)):
        program = Generator(seed).make(1 + seed % 9)
        fun = load(program.source(), tmp_path / f"p{seed}.py", program.globals)
        try:
            check(fun, program.arguments, seed=seed)
        except (UnsupportedError, NeedsValue):
            refused += 1
        except Exception as error:
            raise told(program, seed, error) from error
    assert refused <= 5


@pytest.mark.parametrize("block", range(4))
@pytest.mark.filterwarnings("ignore")
def test_where_the_guards_hold_other_sizes_are_right(block, tmp_path):
    held = 0
    for seed in range(1000 + 25 * block, 1025 + 25 * block):
        program = Generator(seed, sizes=(1, 2, 3, 4, 5, 9, 10)).make(1 + seed % 7)
        fun = load(program.source(), tmp_path / f"p{seed}.py", program.globals)
        try:
            stages = Stages(fun, program.arguments)
            stages.optimized()
            held += sum(_right_at(stages, fun, args) for args in _others(program, seed))
        except (UnsupportedError, NeedsValue):
            continue
        except Exception as error:
            raise told(program, seed, error) from error
    assert held > 20


def _others(program, seed):
    """Arguments of other sizes; equal sizes stay equal."""
    choice, data = random.Random(seed), np.random.default_rng(seed)
    dims = sorted({d for a in program.arguments for d in np.shape(a)})
    for _ in range(5):
        new = {d: choice.choice((1, 2, 3, 4, 6, 9, 11, d, d)) for d in dims}
        yield [
            data.normal(size=tuple(new[d] for d in np.shape(a))) if np.ndim(a) else a
            for a in program.arguments
        ]


def _right_at(stages, fun, args):
    """Whether the trace is one for ``args``; then it must compute what NumPy does."""
    if not stages.traced.guards_hold(list(args)):
        return False
    try:
        value = fun(*args)
    except IndexError:  # found by the kernel, unless nothing reads the element
        return False
    stages.arguments = [*args, *stages.arguments[len(args) :]]
    first = evaluate(stages.recipe.function, *stages.arguments)
    same(first[:1], (value,), 1e-9, "transformed")
    same(stages.plain(), first, 1e-9, "loop form")
    derivative(fun, args, first[1:])
    return True


@pytest.mark.parametrize("seed", range(5000, 5012))
@pytest.mark.filterwarnings("ignore")
def test_compiled_random_programs(seed, tmp_path):
    program = Generator(seed, sizes=(1, 3, 9, 70)).make(6)
    fun = load(program.source(), tmp_path / f"p{seed}.py", program.globals)
    argnums = tuple(range(len(program.arguments)))
    try:
        value, bars = tg.value_and_grad(fun, argnums=argnums)(*program.arguments)
    except (UnsupportedError, NeedsValue):
        pytest.skip("refused")
    stages = Stages(fun, program.arguments)
    same((value, *bars), stages.transformed(), 1e-9, program.source())
    out, pullback = tg.vjp(fun, *program.arguments)
    same((out, *pullback(1.0)), (value, *bars), 1e-9, program.source())


def prod_of_all_axes(x):
    return np.sum(np.sin(x.prod(axis=(-2, -1))))


def mask_of_two_axes(x):
    return np.sum(x[x > 0.0])


def sizes_equal_by_a_guard(x, y):
    stacked = np.stack([x[::2], y[::2]])
    joined = np.concatenate([x[::2][:, None], y[::2][:, None]], axis=1)
    return np.sum(stacked**2 * joined.T) + x[::2] @ y[::2]


def diagonal_of_one_row_is_repeated(x, y):
    v = np.diag(x)
    return np.sum(np.where(v > 0, v * y, y))


def few_elements_of_many(x):
    return np.sum(np.sin(x[2:5]))


def running_product(x):
    return np.sum(np.sin(np.cumprod(x, axis=0))) + np.sum(np.cumprod(x, axis=1)[:, ::-1] * x)


def reduction_over_nothing(x):
    return np.sum(np.minimum(x[::2, :-1], x)) + np.sum(x)


def slice_of_what_is_missing(x):
    return np.sum(x[3:1]) + np.sum(x[-1:-3]) + np.sum(x[-2::-1] ** 2)


def flattened_and_squeezed(x):
    return np.sum(np.squeeze(x.ravel()) ** 2)


def scalar_condition(x, s):
    return np.sum(np.where(s > 0, np.log(np.where(s > 0, s, 1.0)), x) ** 2)


def mask_beside_an_array(x, y):
    v = x[x > 0.0]
    return np.sum(np.concatenate([v, y, np.ones(len(v))]) ** 3)


def count_alone(x):
    return x[x > 0].shape[0] * np.sum(x)


def positions_in_a_mask(x):
    v = x[x > 0]
    return np.sum(np.arange(len(v)) * v)


def same_ranges(x):
    return np.sum(x[:, None] * np.sin(x)[None, :]) + np.sum(x[1:, None] * x[None, :-1])


FAILED_ONCE = [
    (prod_of_all_axes, (2, 4)),
    (mask_of_two_axes, (4, 4)),
    (mask_of_two_axes, (3, 2, 4)),
    (sizes_equal_by_a_guard, (10,), (9,)),
    (diagonal_of_one_row_is_repeated, (2, 1), (2,)),
    (few_elements_of_many, (5,)),
    (running_product, (9, 9)),
    (running_product, (2, 9)),
    (reduction_over_nothing, (1, 1, 2)),
    (slice_of_what_is_missing, (1,)),
    (slice_of_what_is_missing, (5,)),
    (flattened_and_squeezed, (1, 1)),
    (scalar_condition, (2, 1), ()),
    (mask_beside_an_array, (9,), (4,)),
    (count_alone, (9,)),
    (positions_in_a_mask, (9,)),
    (same_ranges, (6,)),
]


@pytest.mark.parametrize("case", FAILED_ONCE, ids=lambda c: f"{c[0].__name__}{c[1:]}")
@pytest.mark.filterwarnings("ignore")
def test_programs_that_failed_once(case):
    fun, *shapes = case
    check(fun, [rng.normal(size=s) if s else 0.7 for s in shapes])


SLICES = """
    3:1 1: :-1 ::2 ::-1 -3: 1:-1 ::-2 -2::-1 :2 1::3 2:5 -1: 5:1:-1 -4:-1 :-2:2 0:1 :100 -100:
    100: :-100 -1:-3 -1:-3:-1 3::-1 :3:-1 :-3:-2 0:0 5:5 -1:-1 4:-5:-1 :0:-1 -100::-1 100::-2
"""


@pytest.mark.parametrize("size", [0, 1, 2, 5, 9])
def test_every_slice_of_every_size(size):
    x = rng.normal(size=size)
    for key in SLICES.split():
        fun = eval(f"lambda x: np.sum(np.sin(x[{key}]) * 1.5)")
        check(fun, [x])
