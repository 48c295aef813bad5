"""Small programs of the IR with loops, branches and writes, one phenomenon each.

`PROGRAMS` maps a name to a `Program`: ``function`` and ``arguments(n)``, arguments for size n.
"""

from dataclasses import dataclass

import numpy as np

from tracegrad import ops
from tracegrad.ir.builder import Builder
from tracegrad.ir.types import ArrayType, boolean, f64, i64, symbol
from tracegrad.ir.verifier import verify
from tracegrad.ops.access import at, expand_dims, slice_, zeros
from tracegrad.ops.constants import dim_value
from tracegrad.ops.control import branch, for_loop, while_loop
from tracegrad.ops.registry import constant

n, m = symbol("n"), symbol("m")
SCALAR, VECTOR, MATRIX = (ArrayType(f64, s) for s in ((), (n,), (n, n)))
INT, INTS = ArrayType(i64), ArrayType(i64, (n,))


@dataclass(frozen=True)
class Program:
    function: object
    types: tuple
    work: int

    def arguments(self, size, seed=0):
        rng = np.random.default_rng(seed)
        found = []
        for t in self.types:
            shape = [d if isinstance(d, int) else {"n": size, "m": 3}[str(d)] for d in t.shape]
            if t.dtype is i64:
                found.append(np.asarray(rng.integers(0, max(size, 1), shape)))
            else:
                found.append(np.asarray(rng.uniform(0.2, 0.9, shape)))
        return found


PROGRAMS = {}


def program(*types, work=1):
    """Enter a program that does O(n ** work) work, copies of arrays included."""

    def enter(rule):
        with Builder() as build:
            params = [build.param(t, f"x{k}") for k, t in enumerate(types)]
            out = rule(*params)
            outs = list(out) if isinstance(out, (tuple, list)) else [out]
            function = verify(build.function(rule.__name__, outs))
        PROGRAMS[rule.__name__] = Program(function, types, work)
        return rule

    return enter


def zero():
    return constant(0, i64)


def total(x):
    return ops.sum(x, axes=tuple(range(x.rank)))


# --- for ---------------------------------------------------------------------------------------


@program(SCALAR, VECTOR)
def scalar_carry(s, x):
    return for_loop(0, n, [s], lambda i, s: [ops.sin(s) * ops.index(x, i)])


@program(SCALAR, VECTOR)
def tanh_recurrence(w, x):
    """Each element written from the one before, in place."""
    y = ops.update(zeros((n,)), ops.index(x, zero()), zero())

    def trip(i, y):
        return [ops.update(y, ops.tanh(ops.index(y, i - 1) * w + ops.index(x, i)), i)]

    (y,) = for_loop(1, n, [y], trip)
    return total(y * y)


@program(VECTOR)
def overwritten_argument(x):
    def trip(i, x):
        return [ops.update(x, ops.sin(ops.index(x, i)) * ops.index(x, i - 1), i)]

    (y,) = for_loop(1, n, [x], trip)
    return total(y * x)


@program(SCALAR, VECTOR)
def invariant_and_dead_carries(s, x):
    def trip(i, s, kept, dead):
        return s * kept + ops.index(x, i), kept, dead + ops.exp(s)

    result, kept, _ = for_loop(0, n, [s, s, s], trip)
    return result * kept


@program(VECTOR, VECTOR)
def swapped_arrays(a, b):
    def trip(i, a, b):
        return b, ops.update(a, ops.index(a, i) * ops.index(b, i), i)

    a, b = for_loop(0, n, [a, b], trip)
    return total(ops.sin(a) * b)


@program(VECTOR, VECTOR, VECTOR)
def rotated_arrays(a, b, c):
    def trip(i, a, b, c):
        return b, c, ops.accumulate(a, ops.index(b, i) * ops.index(c, i), i)

    a, b, c = for_loop(0, n, [a, b, c], trip)
    return total(ops.sin(a) * b + c)


@program(VECTOR, work=2)
def one_array_carried_twice(x):
    def trip(i, a, b):
        a = ops.update(a, ops.sin(ops.index(b, i)), i)
        return a, a

    a, b = for_loop(0, n, [x, x], trip)
    return total(a * b)


@program(VECTOR, VECTOR, work=2)
def both_carries_become_one(x, y):
    def trip(i, a, b):
        return a, ops.update(a, ops.index(a, i) * ops.index(b, i), i)

    a, b = for_loop(0, n, [x, y], trip)
    return total(a * b)


@program(VECTOR, work=2)
def carry_becomes_a_capture(x):
    def trip(i, a, s):
        return x, s + ops.sin(ops.index(a, i))

    a, s = for_loop(0, n, [x * 2.0, constant(0.0)], trip)
    return total(a) * s


@program(VECTOR)
def old_version_read_after_its_update(x):
    def trip(i, a, s):
        new = ops.update(a, ops.index(x, i) * s, i)
        return new, s + ops.sin(ops.index(a, i)) * ops.index(new, i - 1)

    a, s = for_loop(1, n, [x * 0.5, constant(0.5)], trip)
    return total(a) * s


@program(VECTOR, INT)
def stepped(x, step):
    """Downwards with a step known at run time; elements may be added to twice."""

    def trip(i, a):
        a = ops.accumulate(a, ops.sin(ops.index(x, i)), i)
        return [ops.accumulate(a, ops.index(a, i) * 0.5, ops.floor_divide(i, 2))]

    (a,) = for_loop(n - 1, -1, [x], trip, step=-(step * 0 + 2))
    return total(a * a)


@program(SCALAR, VECTOR)
def stepped_by_three(s, x):
    return for_loop(1, n, [s], lambda i, s: [ops.sin(s * ops.index(x, i))], step=3)


@program(SCALAR, INT)
def trips_known_at_run_time(s, count):
    return for_loop(0, count, [s], lambda i, s: [ops.sin(s) * 1.5])


@program(SCALAR, VECTOR)
def no_trips(s, x):
    return for_loop(5, 5, [s], lambda i, s: [s * ops.index(x, i)])


@program(VECTOR)
def whole_array_carry(x):
    """Array statements in a loop of a fixed number of trips."""
    return for_loop(0, 4, [x], lambda i, h: [ops.tanh(h * x + 0.1)])


@program(ArrayType(f64, (m, m)), ArrayType(f64, (n, m)))
def recurrent_network(w, x):
    def trip(t, h):
        return [ops.tanh(ops.dot(w, h) + ops.index(x, t))]

    (h,) = for_loop(0, n, [zeros((m,))], trip)
    return total(h * h)


@program(VECTOR, VECTOR)
def views_of_captures(x, y):
    """A static element and a short slice of arrays from before the loop."""

    def trip(i, s):
        head = slice_(x, 0, 1, 3)
        return [s * 0.5 + at(y, 0, 2) * ops.index(x, i) * total(head * head)]

    return for_loop(0, n, [constant(0.1)], trip)


@program(MATRIX, work=2)
def columns_and_rows(a):
    def trip(i, s):
        row = ops.index(a, i)
        return [s + total(row * ops.sin(at(a, 1, 1))) * at(at(a, 0, 0), 0, 1)]

    return for_loop(0, n, [constant(0.0)], trip)


@program(VECTOR, VECTOR, work=2)
def gather_and_scatter(x, y):
    """Several places at a time, repeated ones among them."""

    def trip(i, a):
        where = ops.iota(size=3, dtype=i64) * 0 + i
        v = ops.index(a, where) * ops.index(x, where)
        a = ops.accumulate(a, v, where)
        return [ops.update(a, ops.sin(v), where)]

    (a,) = for_loop(0, n, [y], trip)
    return total(a)


# --- nested ------------------------------------------------------------------------------------


@program(SCALAR, MATRIX, work=2)
def rectangular(s, a):
    def row(i, s):
        return for_loop(0, n, [s], lambda j, s: [ops.sin(s + ops.index(a, i, j) * s)])

    return for_loop(0, n, [s], row)


@program(VECTOR, work=2)
def triangular(x):
    def outer(i, s):
        def inner(j, s):
            return [ops.sin(s) + ops.exp(ops.index(x, i) * ops.index(x, j))]

        return for_loop(i + 1, n, [s], inner)

    return for_loop(0, n, [constant(0.0)], outer)


@program(VECTOR)
def inner_reads_outer_array(x):
    def outer(i, a):
        def inner(j, s):
            return [s * 0.5 + ops.sin(ops.index(a, j))]

        (s,) = for_loop(0, 3, [ops.index(a, i)], inner)
        return [ops.update(a, s * ops.index(x, i), i)]

    (a,) = for_loop(0, n, [x], outer)
    return total(a * a)


@program(VECTOR)
def inner_writes_outer_array(x):
    def outer(i, a):
        def inner(j, a):
            v = ops.index(a, j) * ops.index(a, i)
            return [ops.update(a, ops.sin(v), j)]

        return for_loop(0, 3, [a], inner)

    (a,) = for_loop(0, n, [x], outer)
    return total(a)


@program(VECTOR, SCALAR)
def three_deep(x, s):
    def outer(i, s):
        def middle(j, s):
            def inner(k, s):
                return [ops.tanh(s + ops.index(x, i) * ops.index(x, j) * ops.index(x, k))]

            return for_loop(j, 3, [s], inner)

        return for_loop(0, 3, [s], middle)

    return for_loop(0, n, [s], outer)


@program(ArrayType(f64, (n, 3)), SCALAR)
def dynamic_programming_table(x, s):
    """Soft alignment: each place from its three neighbours before."""
    table = zeros((n, 3)) + s

    def row(i, t):
        def place(j, t):
            a = ops.index(t, i - 1, j)
            b = ops.index(t, i, j - 1)
            c = ops.index(t, i - 1, j - 1)
            v = ops.logaddexp(ops.logaddexp(a, b), c) * 0.3 + ops.index(x, i, j)
            return [ops.update(t, v, i, j)]

        return for_loop(1, 3, [t], place)

    (table,) = for_loop(1, n, [table], row)
    return at(at(table, 0, -1), 0, 2)


@program(VECTOR, VECTOR, VECTOR)
def thomas(lower, upper, right):
    """Solve a tridiagonal system: a sweep up, a sweep down, arguments overwritten."""

    def up(i, diagonal, right):
        w = ops.index(lower, i) / ops.index(diagonal, i - 1)
        diagonal = ops.update(diagonal, 4.0 - w * ops.index(upper, i - 1), i)
        right = ops.update(right, ops.index(right, i) - w * ops.index(right, i - 1), i)
        return diagonal, right

    diagonal, right = for_loop(1, n, [ops.sin(lower) + 4.0, right], up)
    last = dim_value(n) - 1
    x = ops.update(right, ops.index(right, last) / ops.index(diagonal, last), last)

    def down(i, x):
        v = ops.index(x, i) - ops.index(upper, i) * ops.index(x, i + 1)
        return [ops.update(x, v / ops.index(diagonal, i), i)]

    (x,) = for_loop(last - 1, -1, [x], down, step=-1)
    return total(x * x)


@program(ArrayType(f64, (3, 3)), ArrayType(f64, (n, 3)))
def hidden_markov(transition, emission):
    """The forward recursion in logarithms, a row per step."""
    alpha = ops.update(zeros((n, 3)), ops.index(emission, zero()), zero())

    def step(t, alpha):
        def state(j, alpha):
            def previous(k, total):
                term = ops.index(alpha, t - 1, k) + ops.index(transition, k, j)
                return [ops.logaddexp(total, term)]

            (v,) = for_loop(0, 3, [constant(-1e3)], previous)
            return [ops.update(alpha, v + ops.index(emission, t, j), t, j)]

        return for_loop(0, 3, [alpha], state)

    (alpha,) = for_loop(1, n, [alpha], step)
    return total(ops.exp(ops.tanh(at(alpha, 0, -1))))


@program(VECTOR, work=1)
def burgers(u):
    """Whole-array steps, few of them, with slices and their adjoints."""

    def step(i, u):
        right, left, mid = (slice_(u, 0, k, n - 2 + k) for k in (2, 0, 1))
        inner = mid - mid * (right - left) * 0.1 + (right - mid * 2.0 + left) * 0.2
        where = ops.iota(size=n - 2, dtype=i64) + 1
        return [ops.update(u, inner, where)]

    (u,) = for_loop(0, 3, [u], step)
    return total(u * u)


# --- if ----------------------------------------------------------------------------------------


@program(ArrayType(f64, (2,)), VECTOR)
def likelihood(theta, obs):
    alpha = ops.update(zeros((n,)), at(theta, 0, 0), zero())

    def trip(t, alpha):
        o, before = ops.index(obs, t), ops.index(alpha, t - 1)
        return branch(
            o > 0.5,
            lambda: [ops.update(alpha, ops.tanh(before) * at(theta, 0, 1) + o, t)],
            lambda: [ops.update(alpha, before, t)],
        )

    (alpha,) = for_loop(1, n, [alpha], trip)
    return total(alpha * alpha)


@program(VECTOR, VECTOR)
def update_in_both_arms(x, y):
    def trip(i, a, b):
        v = ops.index(x, i)
        return branch(
            v > 0.5,
            lambda: [ops.update(a, ops.sin(v) * ops.index(b, i), i), b],
            lambda: [a, ops.update(b, ops.exp(v) * ops.index(a, i), i)],
        )

    a, b = for_loop(0, n, [x, y], trip)
    return total(a * b)


@program(SCALAR, SCALAR)
def branch_without_a_loop(x, y):
    a, b = branch(
        x < y,
        lambda: [ops.sin(x) * y, ops.exp(ops.sin(x))],
        lambda: [ops.sqrt(y) * ops.sqrt(y * x), y],
    )
    return a * b


@program(SCALAR, SCALAR)
def branch_hands_on_values_from_before(x, y):
    z = x * y
    a, b = branch(x < 2.0, lambda: [z, z], lambda: [x, z])
    return a * ops.sin(b)


@program(VECTOR, VECTOR, work=2)
def branch_chooses_between_arrays_then_writes(x, y):
    def trip(i, a, b):
        (c,) = branch(ops.index(x, i) > 0.5, lambda: [a], lambda: [b])
        return ops.update(c, ops.index(a, i) * ops.index(b, i), i), b

    a, b = for_loop(0, n, [x, y], trip)
    return total(a * b)


@program(VECTOR, INT)
def if_for_if_for(x, count):
    """Loops within arms, some without trips."""

    def outer(i, s):
        v = ops.index(x, i)

        def rare():
            def inner(j, s):
                def deep():
                    return for_loop(0, j - 1, [s], lambda k, s: [ops.sin(s) * v + ops.index(x, k)])

                return branch(s > 0.3, deep, lambda: [ops.cos(s)])

            return for_loop(0, 3, [s], inner)

        return branch(v > 0.6, rare, lambda: [s * v])

    return for_loop(0, n, [constant(0.5)], outer)


@program(VECTOR)
def guarded_logarithm(x):
    """The arm that is not taken has infinite partials."""

    def trip(i, s):
        v = ops.index(x, i) - ops.index(x, i)
        (t,) = branch(v > 0.0, lambda: [ops.log(ops.sqrt(v))], lambda: [v * 3.0])
        return [s + t]

    return for_loop(0, n, [constant(0.0)], trip)


@program(VECTOR)
def read_in_an_arm_of_the_array_written(x):
    def trip(i, a):
        before = i - 1

        def rising():
            return [ops.tanh(ops.index(a, before)) * ops.index(x, i)]

        (v,) = branch(ops.index(x, i) > 0.5, rising, lambda: [ops.index(x, i)])
        return [ops.update(a, v, i)]

    (a,) = for_loop(1, n, [x], trip)
    return total(a * a)


# --- while -------------------------------------------------------------------------------------


@program(SCALAR)
def newton(a):
    """Square root; a literal in the body, trips counted."""

    def trip(x):
        return [(x + a / x) * 0.5]

    return while_loop([a], lambda x: ops.absolute(x * x - a) > 1e-3, trip)


@program(VECTOR)
def product_of_unknown_length(x):
    def trip(k, s):
        return k + 1, s * ops.index(x, k)

    return while_loop([zero(), constant(1.0)], lambda k, s: k < dim_value(n), trip)[1]


@program(VECTOR)
def while_with_an_array(x):
    def going(k, a, s):
        return ops.logical_and(k < dim_value(n), s < 1e6)

    def trip(k, a, s):
        v = ops.sin(ops.index(a, k) + s)
        return k + 1, ops.update(a, v, k), s * 0.7 + v

    _, a, s = while_loop([zero(), x, constant(0.1)], going, trip)
    return total(a) * s


@program(VECTOR)
def newton_in_a_loop(x):
    def outer(i, s):
        a = ops.index(x, i) + 1.0

        def trip(y):
            return [(y + a / y) * 0.5]

        (root,) = while_loop([a], lambda y: ops.absolute(y * y - a) > 1e-2, trip)
        return [s * 0.9 + root]

    return for_loop(0, n, [constant(0.0)], outer)


@program(VECTOR)
def while_in_a_branch_in_a_while(x):
    def outer(k, s):
        v = ops.index(x, k)

        def inner():
            return while_loop([s], lambda s: s < 0.8, lambda s: [s * 1.7 + ops.sin(s) * v])

        (s,) = branch(v > 0.4, inner, lambda: [s * v])
        return k + 1, s * 0.9

    return while_loop([zero(), constant(0.2)], lambda k, s: k < dim_value(n), outer)[1]


@program(VECTOR)
def loop_with_break(x):
    """A flag that ends the work of all later trips, as a `break` is rewritten."""

    def trip(i, done, s):
        def work():
            t = s + ops.sin(ops.index(x, i))
            return [t > 3.0, t]

        return branch(done, lambda: [done, s], work)

    return for_loop(0, n, [constant(False), constant(0.0)], trip)[1]


@program(VECTOR, INTS)
def counted_writes(x, where):
    """Integers and masks are carried as themselves."""

    def trip(i, count, seen, a):
        k = ops.index(where, i)
        again = ops.index(seen, k)
        a = ops.accumulate(a, ops.index(x, i) * ops.cast(count, dtype=f64), k)
        more = ops.select(again, count, count + 1)
        return more, ops.update(seen, constant(True), k), a

    no = zeros((n,), boolean)
    _, _, a = for_loop(0, n, [constant(1, i64), no, ops.sin(x)], trip)
    return total(a * a)


@program(VECTOR)
def several_results(x):
    def trip(i, s, p):
        v = ops.index(x, i)
        return s + v * p, p * ops.cos(v)

    s, p = for_loop(0, n, [constant(0.0), constant(1.0)], trip)
    return s, x, p, expand_dims(s * p, (0,))
