"""The factors of one matrix, computed once for several systems and trips."""

import numpy as np
import pytest

from tracegrad.backend.compile import KernelOptions
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.types import evaluate as size
from tracegrad.ir.verifier import verify
from tracegrad.passes import shared_factors
from tracegrad.pipeline import compile_function

LOOP = """
      %lo: i64 = 0
      %hi: i64 = 3
      %step: i64 = 1
      %r: f64[n] = for(%lo, %hi, %step, %b) (%i: i64, %c: f64[n]) {
        {body}
        yield %d
      }
      return %r"""
ARM = """%one: i64 = 1
        %p: bool = greater(%i, %one)
        %d: f64[n] = if(%p) () {
          {arm}
        } () {
          yield %c
        }"""


def program(body):
    return parse(f"""
    func @f(%a: f64[n, n], %b: f64[n], %k: i64) -> (f64[n]) {{
      {body}
    }}""")


def names(function):
    return [op.name for op in function.walk() if op.name not in ("const", "add", "multiply")]


def assert_same(function, compiled=False):
    new = verify(shared_factors(function))
    rng = np.random.default_rng(0)
    kernel = compile_function(function, KernelOptions()) if compiled else None
    for k in (0, 2):
        args = [
            rng.normal(size=[size(d, {"n": 4}) for d in v.shape]) if v.rank else k
            for v in function.params
        ]
        expected = evaluate(function, *args)
        for found, right in zip(evaluate(new, *args), expected, strict=True):
            np.testing.assert_allclose(found, right, rtol=1e-9)
        if kernel is not None:
            np.testing.assert_allclose(kernel.entry_point(*args), expected[0], rtol=1e-9)
    return new


def test_solutions_inverses_and_determinants_share_factors():
    new = assert_same(
        program("""
      %x: f64[n] = solve(%a, %b)
      %y: f64[n] = solve(%a, %x) {transposed=True}
      %i: f64[n, n] = inv(%a)
      %z: f64[n] = dot(%i, %y)
      %d: f64 = det(%a)
      %s: f64[2] = slogdet(%a)
      %zero: i64 = 0
      %e: f64 = index(%s, %zero)
      %f: f64 = add(%d, %e)
      %g: f64[n] = multiply(%z, %f)
      return %g"""),
        compiled=True,
    )
    assert names(new)[:3] == ["lu", "lu_solve", "lu_solve"]
    assert names(new).count("lu") == 1
    assert not {"solve", "inv", "det", "slogdet"} & set(names(new))


def test_one_system_is_left_alone():
    function = program("%x: f64[n] = solve(%a, %b)\n      return %x")
    assert shared_factors(function) is function


def test_two_matrices_have_factors_of_their_own():
    function = program("""
      %t: f64[n, n] = multiply(%a, %a)
      %x: f64[n] = solve(%a, %b)
      %y: f64[n] = solve(%t, %x)
      return %y""")
    assert shared_factors(function) is function


def test_a_matrix_from_before_a_loop_is_taken_apart_before_it():
    new = assert_same(program(LOOP.replace("{body}", "%d: f64[n] = solve(%a, %c)")), compiled=True)
    assert names(new) == ["lu", "for", "lu_solve"]


def test_a_matrix_of_each_trip_is_taken_apart_in_each():
    body = """%t: f64 = index(%b, %i)
        %m: f64[n, n] = add(%a, %t)
        %e: f64[n] = solve(%m, %c)
        %d: f64[n] = solve(%m, %e) {transposed=True}"""
    new = assert_same(program(LOOP.replace("{body}", body)))
    assert names(new) == ["for", "index", "lu", "lu_solve", "lu_solve"]
    one = program(
        LOOP.replace("{body}", body.replace("solve(%m, %e) {transposed=True}", "add(%e, %e)"))
    )
    assert shared_factors(one) is one


def test_what_may_not_run_has_no_factors_before():
    arm = ARM.replace("{arm}", "%e: f64[n] = solve(%a, %c)\n          yield %e")
    function = program(LOOP.replace("{body}", arm))
    assert shared_factors(function) is function
    twice = "%e: f64[n] = solve(%a, %c)\n          %g: f64[n] = solve(%a, %e)\n          yield %g"
    new = assert_same(program(LOOP.replace("{body}", ARM.replace("{arm}", twice))), compiled=True)
    assert names(new) == ["for", "greater", "if", "lu", "lu_solve", "lu_solve"]


def test_two_branches_share_nothing_unless_something_beside_them_runs():
    arms = """
      %one: i64 = 1
      %p: bool = greater(%k, %one)
      %x: f64[n] = if(%p) () {
        %e: f64[n] = solve(%a, %b)
        yield %e
      } () {
        yield %b
      }
      %y: f64[n] = if(%p) () {
        %g: f64[n] = solve(%a, %x) {transposed=True}
        yield %g
      } () {
        yield %x
      }"""
    function = program(f"{arms}\n      return %y")
    assert shared_factors(function) is function
    new = assert_same(program(f"{arms}\n      %z: f64[n] = solve(%a, %y)\n      return %z"))
    assert names(new).count("lu") == 1
    assert names(new).index("lu") < names(new).index("if")


@pytest.mark.parametrize("op", ["solve(%a, %b)", "solve(%a, %b) {transposed=True}"])
def test_a_singular_matrix_raises_where_it_did(op):
    function = program(f"""
      %s: f64[2] = slogdet(%a)
      %one: i64 = 1
      %e: f64 = index(%s, %one)
      %p: bool = greater(%k, %one)
      %x: f64[n] = if(%p) () {{
        %y: f64[n] = {op}
        yield %y
      }} () {{
        %z: f64[n] = multiply(%b, %e)
        yield %z
      }}
      return %x""")
    assert "lu" in names(shared_factors(function))
    f = compile_function(function, KernelOptions()).entry_point
    assert np.all(f(np.ones((3, 3)), np.ones(3), 0) == -np.inf)
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        f(np.ones((3, 3)), np.ones(3), 2)
