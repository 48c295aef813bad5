"""Rows of a few numbers that inner loops go along have an array for each column."""

import numpy as np
import pytest

import tracegrad as tg
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.verifier import verify
from tracegrad.schedule import schedule

PAIRS = """
          %j1: f64 = index(%x, %j, %c1)
          %j0: f64 = index(%x, %j, %c0)
          %p: f64 = multiply(%j0, %j1)
          %q: f64 = index(%x, %i, %c0)
          %v: f64 = multiply(%p, %q)
          %s2: f64 = add(%s1, %v)"""
ADDS = """
          %a1: f64[n, 3] = accumulate(%a0, %v, %j, %c1)
          %a2: f64[n, 3] = accumulate(%a1, %p, %j, %c0)"""


def program(
    body=PAIRS + ADDS,
    *,
    added="%a2",
    start="%i",
    shape="n, 3",
    hints="n = 50",
    first="view(%zero) {shape=(n, 3), map=[]}",
    end="",
    result="%y",
):
    """A sum over pairs that adds to rows of ``y``; both loops carry both."""
    return parse(f"""
    func @f(%x: f64[{shape}], %w: f64[n, 3]) -> (f64, f64[n, 3])
      hints {hints}
    {{
      %zero: f64 = 0.0
      %lo: i64 = 0
      %hi: i64 = dim() {{size=n}}
      %by: i64 = 1
      %c0: i64 = 0
      %c1: i64 = 1
      %c2: i64 = 2
      %y0: f64[n, 3] = {first}
      %s: f64, %y: f64[n, 3] = for(%lo, %hi, %by, %zero, %y0) (%i: i64, %s0: f64, %b0: f64[n, 3]) {{
        %sj: f64, %yj: f64[n, 3] = for({start}, %hi, %by, %s0, %b0) (%j: i64, %s1: f64, %a0: f64[n, 3]) {{{body}
          yield %s2, {added}
        }}
        yield %sj, %yj
      }}{end}
      return %s, {result}
    }}""")  # noqa: E501  # lines of a kernel


def columns(function):
    """The buffers of rank 1 that a scheduled function makes."""
    return sorted(
        op.result.hint for op in function.walk() if op.name == "alloc" and op.result.rank == 1
    )


def check(function, expected, n=6, width=3):
    rng = np.random.default_rng(0)
    args = rng.standard_normal((n, width)), rng.standard_normal((n, 3))
    loops = verify(schedule(function))
    assert columns(loops) == expected
    for left, right in zip(evaluate(function, *args), evaluate(loops, *args), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)
    return loops


@pytest.mark.parametrize("n", [0, 1, 6])
@pytest.mark.parametrize("start", ["%i", "%lo"])
def test_columns_are_read_and_added_to(start, n):
    loops = check(program(start=start), ["x_0", "x_1", "y_0", "y_1"], n)
    # The third column of y stays zero.
    assert [op.attributes["fill"] for op in loops.walk() if op.name == "alloc"].count(0) == 3


def test_rows_that_hold_something_are_copied_before():
    check(program(first="add(%w, %w)"), ["x_0", "x_1", "y0_0", "y0_1"])


def test_an_array_is_used_after_the_loops():
    end = """
      %t: f64 = index(%y, %c2, %c1)
      %z: f64[n, 3] = accumulate(%y, %t, %c0, %c2)"""
    check(program(end=end, result="%z"), ["x_0", "x_1", "y_0", "y_1"])


def test_only_what_is_added_to_has_columns():
    body = PAIRS.replace("%x, %j, %c1", "%x, %i, %c1") + ADDS
    check(program(body), ["y_0", "y_1"])


NOT = {
    "few trips": {"hints": "n = 3"},
    "one column": {
        "body": PAIRS.replace("%x, %j, %c1", "%x, %j, %c0"),
        "added": "%a0",
    },
    "a column that is not known": {
        "body": PAIRS
        + ADDS.replace("%c0", "%at").replace("%a1: ", "%at: i64 = subtract(%c2, %c1)\n%a1: ", 1)
    },
    "many columns": {"shape": "n, 9"},
    "a chain": {
        "body": PAIRS.replace(
            "%s2: f64 = add(%s1, %v)", "%e: f64 = tanh(%s1)\n%s2: f64 = add(%e, %v)"
        )
        + ADDS
    },
    "the outer index": {
        "body": (PAIRS + ADDS).replace("%j", "%i").replace("%i1", "%j1").replace("%i0", "%j0")
    },
}


@pytest.mark.parametrize("name", NOT)
def test_arrays_are_left_as_they_are(name):
    found = columns(schedule(program(**NOT[name])))
    allowed = ["x_0", "x_1"] if name == "a column that is not known" else []
    if name == "many columns":
        allowed = ["y_0", "y_1"]
    assert found == allowed
    check(program(**NOT[name]), allowed, width=9 if name == "many columns" else 3)


def test_an_array_that_is_carried_under_another_name_is_left_alone():
    # y takes turns with a second buffer.
    end = """
      %k: i64 = 5
      %z: f64[n, 3] = for(%lo, %k, %by, %y) (%t: i64, %u: f64[n, 3]) {
        %m: f64[n, 3] = view(%u) {shape=(n, 3), map=[-#0 + n - 1, #1]}
        %g: f64, %h: f64[n, 3] = for(%lo, %hi, %by, %zero, %m) (%iz: i64, %s0z: f64, %b0z: f64[n, 3]) {
          %sjz: f64, %yjz: f64[n, 3] = for(%lo, %hi, %by, %s0z, %b0z) (%jz: i64, %s1z: f64, %a0z: f64[n, 3]) {
            %j1z: f64 = index(%x, %jz, %c1)
            %j0z: f64 = index(%x, %jz, %c0)
            %s2z: f64 = add(%s1z, %j1z)
            %a1z: f64[n, 3] = accumulate(%a0z, %j1z, %jz, %c1)
            %a2z: f64[n, 3] = accumulate(%a1z, %j0z, %jz, %c0)
            yield %s2z, %a2z
          }
          yield %sjz, %yjz
        }
        yield %h
      }"""  # noqa: E501  # lines of a kernel
    function = program(end=end, result="%z")
    rng = np.random.default_rng(0)
    args = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
    loops = verify(schedule(function))
    for left, right in zip(evaluate(function, *args), evaluate(loops, *args), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12)


def test_points_that_move():
    """Columns within a time loop: what they hold is another thing in each step."""

    def energy(x, v, steps):
        n = x.shape[0]
        x = x.copy()
        total = 0.0
        for _ in range(steps):
            force = np.zeros((n, 2))
            for i in range(n):
                for j in range(i + 1, n):
                    a = x[i, 0] - x[j, 0]
                    b = x[i, 1] - x[j, 1]
                    f = 1.0 / (1.0 + a * a + b * b)
                    force[i, 0] += f * a
                    force[i, 1] += f * b
                    force[j, 0] -= f * a
                    force[j, 1] -= f * b
                    total += f
            for i in range(n):
                x[i, 0] += 0.1 * force[i, 0] + v[i, 0]
                x[i, 1] += 0.1 * force[i, 1] + v[i, 1]
        return total + np.sum(x * x)

    rng = np.random.default_rng(1)
    x, v = rng.standard_normal((6, 2)), rng.standard_normal((6, 2))
    value, (x_bar, v_bar) = tg.value_and_grad(energy, argnums=(0, 1))(x, v, 3)
    np.testing.assert_allclose(value, energy(x, v, 3), rtol=1e-12)
    for bar, k in ((x_bar, 0), (v_bar, 1)):
        d = rng.standard_normal((6, 2))
        ends = []
        for h in (1e-5, -1e-5):
            args = [x, v]
            args[k] = args[k] + h * d
            ends.append(energy(*args, 3))
        np.testing.assert_allclose(np.sum(bar * d), (ends[0] - ends[1]) / 2e-5, rtol=1e-6)


def cutoff(x, reach):
    energy = 0.0
    for i in range(x.shape[0]):
        for j in range(i + 1, x.shape[0]):
            a = x[i, 0] - x[j, 0]
            b = x[i, 1] - x[j, 1]
            r = a * a + b * b + 0.3
            if r < reach * reach:
                energy += (reach / r) ** 3 - 1.0 / r
    return energy


def test_pairs_within_reach_go_along_columns_and_nothing_keeps_them_from_lanes():
    compiled = tg.value_and_grad(cutoff, argnums=(0, 1))
    rng = np.random.default_rng(0)
    for n in (40, 1, 2, 7):
        x = rng.uniform(0.0, 3.0, (n, 2))
        value, (x_bar, reach_bar) = compiled(x, 1.5)
        np.testing.assert_allclose(value, cutoff(x, 1.5), rtol=1e-12, atol=1e-14)
        step = rng.normal(size=x.shape)
        ends = [cutoff(x + h * step, 1.5 + 0.5 * h) for h in (1e-5, -1e-5)]
        slope = (ends[0] - ends[1]) / 2e-5
        expected = np.sum(x_bar * step) + 0.5 * reach_bar
        np.testing.assert_allclose(expected, slope, rtol=1e-6, atol=1e-7)
    source = compiled.inspect_source()
    assert "x_bar_1[j] +=" in source
    assert "in_advance(" not in source
