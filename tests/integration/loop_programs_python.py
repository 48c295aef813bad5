"""Programs of the catalogue: functions, containers, builtins and the rest of the language."""

import functools
import math
import operator
from collections import namedtuple
from dataclasses import dataclass
from math import exp, sqrt

import numba
import numpy as np

from tests.integration.loop_programs_base import (
    always,
    count,
    program,
    scalar,
    signed,
    small,
    three,
    triples,
    vector,
)

RATE = 0.7
WEIGHTS = np.array([0.5, -1.0, 2.0])

# --- functions --------------------------------------------------------------------------------


@program(vector, scalar, compiled=True)
def nested_functions(x, s):
    def scaled(v, by=0.5):
        return v * by * s

    def twice(f, v):
        return f(f(v))

    total = 0.0
    for v in x:
        total = np.sin(twice(scaled, v) + total) + scaled(v, by=s)
    return total


@program(vector)
def a_closure_made_in_the_loop(x):
    total = 0.0
    for i in range(len(x)):

        def neighbour(k):
            return x[i - k] * total  # noqa: B023  # the loop's own i

        total = np.cos(neighbour(1) + neighbour(0))
    return total


@program(vector)
def a_lambda_first_bound_in_a_loop(x):
    total = 0.0
    for i in range(len(x)):
        f = lambda v: v * x[i] + i  # noqa: B023, E731  # a lambda with the loop's own i
        total = 0.5 * total + f(x[i - 1])
    return total


@program(signed, scalar)
def lambdas_and_defaults(x, s):
    shift, scale = lambda v, by=s: v + by, lambda v: v * s  # two on one line
    total = 0.0
    for v in x:
        total += shift(scale(v)) * (lambda a, b: a - b)(v, s) + shift(v, by=1.0)
    return total


def power(v, k):
    if k == 0:
        return 1.0
    if k % 2:
        return v * power(v, k - 1)
    half = power(v, k // 2)
    return half * half


def tree_sum(values):
    if len(values) == 1:
        return values[0]
    middle = len(values) // 2
    return np.sin(tree_sum(values[:middle])) + tree_sum(values[middle:])


@program(vector, scalar)
def recursion(x, s):
    total = 0.0
    for v in x:
        total = 0.5 * total + power(v, 5)
    return total * tree_sum([s, total, x[0], 1.0])


def tuple_of(v, *rest, scale=1.0, **named):
    total = v * scale
    for k, r in enumerate(rest):
        total = total + r * (k + 1)
    for key in sorted(named):
        total = total * named[key]
    return total


@program(signed, scalar)
def starred_calls(x, s):
    total = 0.0
    settings = {"scale": s, "b": 0.5}
    for i in range(len(x)):
        args = (x[i], x[i - 1])
        total = 0.5 * total + tuple_of(*args, s, **settings) + tuple_of(*args, *[1.0, s], a=s)
    return total


@program(signed, scalar)
def keyword_arguments(x, s):
    def step(v, /, rate, *, offset=0.1):
        return v * rate + offset

    total = 0.0
    for v in x:
        total = step(total, rate=s) + step(v, RATE, offset=v)
    return total


@program(signed)
def functions_in_containers(x):
    table = {"sin": np.sin, "square": lambda v: v * v, "exp": math.exp}
    chain = [np.tanh, table["square"], functools.partial(operator.mul, 0.5)]
    total = 0.0
    for v in x:
        for f in chain:
            v = f(v)
        total = 0.9 * total + v + table["exp"](v)
    return total


def repeated(times):
    def decorate(f):
        @functools.wraps(f)
        def run(v, *args):
            for _ in range(times):
                v = f(v, *args)
            return v

        return run

    return decorate


@repeated(3)
def relaxed(v, towards):
    """Decorated at module level."""
    return v + 0.3 * (towards - v)


@program(signed, scalar)
def decorated_helpers(x, s):
    for v in x:
        s = relaxed(s, v)
    return s * s


@numba.njit
def softplus(v):
    if v > 30.0:
        return v
    return math.log1p(math.exp(v))


@numba.njit
def smoothed(values, rate):
    out = np.empty(values.shape[0])
    out[0] = softplus(values[0])
    for i in range(1, values.shape[0]):
        out[i] = (1.0 - rate) * out[i - 1] + rate * softplus(values[i])
    return out


@program(signed, scalar, compiled=True)
def njit_helpers(x, rate):
    y = smoothed(x, rate)
    total = 0.0
    for v in y:
        total += softplus(v) * v
    return total


def write_scaled(out, i, v):
    out[i] = v * RATE
    return out


@program(vector)
def a_helper_that_writes_to_its_argument(x):
    y = np.zeros(len(x))
    for i in range(len(x)):
        same = write_scaled(y, i, x[i] ** 2)
        same[i] += 1.0
    return np.sum(np.sin(y))


# --- objects ----------------------------------------------------------------------------------


class Model:
    """Methods, properties, a callable, private names."""

    decay = 0.9

    def __init__(self, rate):
        self.rate = rate
        self.__secret = 0.25

    def __call__(self, state, v):
        return self.step(state) + self._gain * v

    def step(self, state):
        state = state * self.decay
        if state > 0.5:
            state = state - self.__secret
        return state

    @property
    def _gain(self):
        return self.rate * 2.0

    @staticmethod
    def squared(v):
        return v * v

    @classmethod
    def standard(cls):
        return cls(0.5)


class Bounded(Model):
    def step(self, state):
        return np.tanh(super().step(state))


@program(signed, scalar, compiled=True)
def methods_and_callable_objects(x, s):
    model, other = Model(RATE), Bounded.standard()
    total = s
    for v in x:
        total = model(total, v)
        total = other(total, model.squared(v))
    return total


@program(signed, scalar)
def an_object_made_in_the_loop(x, s):
    total = s
    for v in x:
        model = Model(v)
        total = model.step(total) * 0.9 + model.rate
    return total


@dataclass
class Body:
    position: float
    speed: float

    def energy(self):
        return self.position**2 + 0.5 * self.speed**2


State = namedtuple("State", ["position", "speed"])


@program(signed, scalar)
def named_tuples_carried(x, s):
    state = State(s, 1.0)
    for v in x:
        speed = state.speed - 0.1 * state.position + 0.1 * v
        state = State(state.position + 0.1 * speed, speed)
        state = state._replace(speed=state.speed * 0.99)
    return state.position * state.speed


# --- containers -------------------------------------------------------------------------------


@program(signed, scalar, compiled=True)
def a_tuple_carried(x, s):
    state = (s, 0.0)
    for v in x:
        state = (state[1], state[0] + v * s)
    return state[0] * state[1]


@program(signed, scalar)
def nested_containers_carried(x, s):
    state = {"a": [s, 1.0], "b": (0.0,)}
    for v in x:
        first, second = state["a"]
        state = {"a": [second, np.sin(first + v)], "b": (state["b"][0] + first,)}
    return state["a"][0] * state["a"][1] + state["b"][0]


@program(signed, scalar)
def tuple_unpacking(x, s):
    a, (b, c) = s, (1.0, 2.0 * s)
    first, *middle, last = [a, b, c, s]
    for i in range(len(x)):
        a, b, c = b, c, np.sin(a + x[i])
        (first, last), k = (last * 0.9, first + x[i]), i
    return a * b * c + first * last + sum(middle) * k


@program(signed)
def a_list_that_grows_unrolled(x):
    parts = [x[0]]
    for k in range(4):
        parts.append(np.sin(parts[-1]) + x[k])
    parts.extend([x[1], 2.0])
    parts.insert(0, parts.pop() * x[2])
    return sum(parts) * parts[2]


@program(signed, scalar)
def comprehensions(x, s):
    powers = [s**k for k in range(4)]
    scaled = [p * x[0] for p in powers if p is not None]
    table = {k: p * s for k, p in enumerate(scaled)}
    nested = [[a * b for a in powers] for b in (x[0], x[1])]
    total = sum(a * b for a, b in zip(powers, scaled, strict=True))
    for v in x:
        total = 0.5 * total + sum([v * p for p in powers]) + max([abs(v) * k for k in (1, 2)])
    return total * table[2] + nested[1][2] + len({1, 2, int(2.0)}) * nested[0][1]


@program(triples)
def a_list_of_rows_stacked(A):
    rows = [A[0], A[1] * 2.0]
    for k in (0, 1):
        rows.append(rows[-1] * rows[k])
    B = np.array(rows)
    C = np.stack(rows[1:]) + np.concatenate([r[None] for r in rows[:3]])
    return np.sum(np.sin(B)) + np.sum(C * C)


@program(signed)
def a_list_indexed_by_the_index(x):
    weights = [0.5, 1.0, x[0], 2.0]
    total = 0.0
    for k in range(len(weights)):
        total = total * weights[k] + x[k]
    return total


@program(signed)
def a_list_of_arrays_written_to(x):
    layers = [np.zeros(len(x)) for _ in range(3)]
    for k in range(3):
        layers[k][0] = x[k]
        for i in range(1, len(x)):
            layers[k][i] = np.tanh(layers[k][i - 1] + x[i] * (k + 1))
    return np.sum(layers[0] * layers[1] - layers[2])


# --- builtins and math ------------------------------------------------------------------------


@program(signed, scalar, compiled=True)
def builtins_on_traced_values(x, s):
    total = 0.0
    for i in range(len(x)):
        v = x[i]
        total += max(v, s * v, -0.9) - min(v, 0.3) + abs(v) * float(i) + pow(v, 2)
        total += float(v) * 0.5 + round(v) * v + int(v * 3.0) * 0.1 + bool(v > 0.0) * v
        q, r = divmod(i, 3)
        total = total * 0.5 + q * v + r
    return total + sum([v, s, total]) + max([s, v]) + min((s, 2.0))


@program(signed)
def sums_and_extrema_of_arrays(x):
    y = x * x
    return sum(y) * max(y) + min(x) + len(y) * sum(x[1:3]) + sum([y[0], y[1]], 1.0)


@program(vector)
def functions_of_math(x):
    total = 0.0
    for v in x:
        total += math.sin(v) * math.cos(v) + math.tan(0.5 * v) + math.exp(-v) + exp(v) * sqrt(v)
        total += math.log(v) + math.log1p(v) + math.sqrt(v) + math.tanh(v) + math.atan2(v, 2.0)
        total += math.fabs(v) + math.hypot(v, 1.0) + math.pow(v, 1.5) + math.erf(v) + math.pi
        total += math.floor(v * 2.0) + math.ceil(v) + math.asin(0.9 * v) + math.sinh(v)
        total *= 0.5
    return total


@program(vector)
def numpy_scalars(x):
    total = np.float64(0.0)
    for v in x:
        total = np.maximum(total, v) + np.abs(v) + np.square(v) + np.power(v, 2.0)
        total = np.where(v > 0.5, total * 0.5, total) + np.minimum(v, 0.5) + np.hypot(v, 1.0)
        total *= np.float64(0.3)
    return total


# --- statements -------------------------------------------------------------------------------


@program(signed)
def try_around_code_that_raises_nothing(x):
    total = 0.0
    for i in range(len(x)):
        try:
            total += x[i] * x[i - 1]
        except ZeroDivisionError:
            total = 0.0
        else:
            total *= 0.9
        finally:
            total += 0.01
    try:
        for v in x:
            if v > 0.5:
                total = total * v
    except Exception:
        return 0.0
    return total


@program(signed)
def an_exception_caught_while_tracing(x):
    settings = {"a": 2.0}
    total = 0.0
    for v in x:
        try:
            factor = settings["missing"]
        except KeyError:
            factor = settings["a"]
        total += v * v * factor
    return total


@program(signed)
def a_bare_except_around_a_loop(x):
    weights = [1.0, 2.0, 0.5]
    total = 0.0
    try:
        for k in range(3):
            total += x[k] * weights[k] ** 2
    except:  # noqa: E722  # what is tested
        total = -100.0
    return total * total


@program(signed)
def walrus(x):
    total = 0.0
    for i in range(len(x)):
        if (v := x[i] * 2.0) > 0.0 and (w := v * v) > 0.1:
            total += v * w
        total += v
        total += (u := 0.5 * v) * u
    return total * u


@program(signed)
def with_and_del_and_pass(x):
    total = 0.0
    for v in x:
        t = v * v
        with np.errstate(invalid="ignore"):
            total += t
        del t
        if v > 0.0:
            pass
        else:
            w = v
            total -= w
            del w
    return total


@program(signed)
def annotations_docstrings_and_strings(x: np.ndarray) -> float:
    """A docstring.

    With lines.
    """
    total: float = 0.0
    size: int = len(x)
    for i in range(size):
        value: float = x[i]
        total += value * value
        name = f"step {3}"
        "a string that stands alone"
    return total * len(name)


@program(vector, three)
def augmented_assignment_of_every_kind(x, k):
    total = 1.0
    n = 7
    for v in x:
        total += v
        total -= 0.1 * v
        total *= 0.7
        total /= 1.0 + v
        total **= 2
        n //= 2
        n += k
        n %= 5
        n <<= 1
        n >>= 1
        n |= 1
        n ^= 2
        n &= 7
        total += 0.01 * n
    return total


@program(signed, count)
def integers_flow_through_loops(x, n):
    i, j, hits = 0, n - 1, 0
    total = 0.0
    flip = False
    while i < j:
        total += x[i] * x[j]
        if flip:
            hits += 1
        flip = not flip
        i, j = i + 1, j - 1
    return total * hits + i * 2 - j // 3


@program(small, work=None)
def captured_arrays_and_globals(x):
    total = 0.0
    for i in range(len(WEIGHTS)):
        total += WEIGHTS[i] * x[i] * RATE
    for w in WEIGHTS:
        total = total * w + x[0]
    return total


@program(signed, always((0.5, {"b": 2.0})))
def arguments_in_trees(x, tree):
    a, rest = tree
    total = a
    for v in x:
        total = total * a + v * rest["b"]
    return total
