"""Vector maths: error, special values, vector code, and callers with fast-math flags."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from llvmlite.binding import get_host_cpu_features
from numba.core.errors import TypingError

from benchmarks.vecmath_reference import (
    ALLOWED,
    ALLOWED_ELSEWHERE,
    exact_values,
    sample_points,
    special_points,
    ulp_errors,
)
from tracegrad.backend import vecmath
from tracegrad.backend.vecmath import cos, exp, log1p, pow, sin

FASTMATH = {"reassoc", "contract", "arcp", "nsz"}  # as generated kernels are compiled
NAMES = sorted(vecmath.PLAIN)
DTYPES = [np.float64, np.float32]
HAS_FMA = platform.machine().lower() not in ("x86_64", "amd64") or get_host_cpu_features()["fma"]

_loops: dict[tuple[str, bool], Callable[..., None]] = {}


def loop(name: str, fastmath: bool = True) -> Any:
    """A compiled ``out[i] = name(x[i], ...)``."""
    key = (name, fastmath)
    if key not in _loops:
        f = vecmath.PLAIN[name]

        def unary(x, out):
            for i in range(x.size):
                out[i] = f(x[i])

        def binary(x, y, out):
            for i in range(x.size):
                out[i] = f(x[i], y[i])

        _loops[key] = numba.njit(
            binary if name in ("pow", "arctan2") else unary,
            fastmath=FASTMATH if fastmath else False,
        )
    return _loops[key]


def apply(name: str, *operands: Any, fastmath: bool = True) -> Any:
    out = np.empty_like(operands[0])
    loop(name, fastmath)(*operands, out)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_error_against_mpmath(name, dtype):
    operands = sample_points(name, dtype, 700)
    errors = ulp_errors(apply(name, *operands), exact_values(name, *operands))
    worst = np.argmax(errors)
    allowed = ALLOWED.get(name, ALLOWED_ELSEWHERE)
    assert errors[worst] <= allowed, [x[worst] for x in operands]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_special_values_are_those_of_the_plain_function(name, dtype):
    operands = special_points(name, dtype)
    got = apply(name, *operands)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        points = zip(*operands, strict=True)
        expected = np.array([vecmath.PLAIN[name](*point) for point in points])
    assert expected.dtype == dtype
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    number = ~np.isnan(expected)
    got, expected = got[number], expected[number]
    np.testing.assert_array_equal(np.signbit(got), np.signbit(expected))
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(got[~finite], expected[~finite])
    with np.errstate(over="ignore"):
        np.testing.assert_array_max_ulp(got[finite], expected[finite], 5)
    np.testing.assert_array_equal(got == 0, expected == 0)


@pytest.mark.parametrize("name", NAMES)
def test_plain_function_is_numpys(name):
    theirs = getattr(np, "power" if name == "pow" else name, None)
    if theirs is None:
        pytest.skip("NumPy has no such function; test_error_against_mpmath covers the kernel")
    operands = special_points(name, np.float64)
    with np.errstate(all="ignore"):
        expected = theirs(*operands)
    got = [vecmath.PLAIN[name](*point) for point in zip(*operands, strict=True)]
    np.testing.assert_array_max_ulp(np.array(got), expected, 2)


@pytest.mark.parametrize("name", NAMES)
def test_fastmath_of_the_caller_changes_no_bit(name):
    operands = sample_points(name, np.float64, 100)
    exact = apply(name, *operands, fastmath=False)
    np.testing.assert_array_equal(apply(name, *operands), exact)


@pytest.mark.skipif(not HAS_FMA, reason="without an fma instruction, fma is a call")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_loop_becomes_vector_code_without_scalar_calls(name, dtype):
    apply(name, *sample_points(name, dtype, 1))
    kernel = loop(name)
    text = next(
        kernel.inspect_llvm(s) for s in kernel.signatures if s[0].dtype == numba.from_dtype(dtype)
    )
    body = loop_body(text)
    assert re.search(r"call <\d+ x (double|float)> @llvm\.fma\.v\d+", body)
    calls = set(re.findall(r"call (?:\w+ )*(?:double|float) @([\w.]+)", body))
    assert not {c for c in calls if not c.startswith(f"tracegrad_{name}_large")} - INLINE
    if name not in ("sin", "cos", "tan"):
        assert not re.search(r"declare .*@(?:llvm\.)?(?:exp|log|pow|sin|cos|tan|erf)", text)


INLINE = {
    f"llvm.{op}.{kind}"
    for op in ("fma", "fabs", "copysign", "rint", "sqrt")
    for kind in ("f32", "f64")
}


def loop_body(llvm: str) -> str:
    """The definition of the compiled loop: the first function that Numba named."""
    found = re.search(r"^define [^\n]*@_ZN.*?^}", llvm, re.MULTILINE | re.DOTALL)
    assert found
    return found.group()


def test_one_large_angle_among_small_ones():
    x = np.linspace(-3.0, 3.0, 37)
    x[[5, 20, 36]] = 1e300, -(2.0**30), 1e22
    for name in ("sin", "cos", "tan"):
        np.testing.assert_array_max_ulp(apply(name, x), getattr(np, name)(x), 2)


def test_operands_of_different_kinds_are_float64():
    @numba.njit
    def mixed(x, n):
        return pow(x, n), pow(x, 3), exp(n), log1p(True)

    @numba.njit
    def square(x, y):
        return pow(x, y)

    assert mixed(np.float32(1.5), 3) == (3.375, 3.375, np.exp(3.0), np.log1p(1.0))
    single = numba.typeof(square(np.float32(2), np.float32(0.5)))
    assert square.overloads[(numba.float32, numba.float32)].signature.return_type == numba.float32
    assert single == numba.float64  # a compiled float32 reaches Python as a float


def test_complex_operand_is_refused():
    @numba.njit
    def call(z):
        return exp(z)

    with pytest.raises(TypingError):
        call(1j)


def test_caller_and_callee_both_use_a_kernel():
    @numba.njit(fastmath=FASTMATH)
    def inner(x):
        return sin(x) * cos(x)

    @numba.njit(fastmath=FASTMATH)
    def outer(x):
        total = 0.0
        for i in range(x.size):
            total += inner(x[i]) + sin(x[i])
        return total

    x = np.append(np.linspace(0, 10, 100), 1e12)
    np.testing.assert_allclose(outer(x), np.sum(np.sin(x) * np.cos(x) + np.sin(x)))


KERNEL = """
import numba, numpy as np
from tracegrad.backend.vecmath import erf, sin

@numba.njit(cache=True, fastmath={"reassoc", "contract", "arcp", "nsz"})
def kernel(x, out):
    for i in range(x.size):
        out[i] = erf(x[i]) + sin(x[i])

x = np.append(np.linspace(-3.0, 3.0, 40), 1e15)
out = np.empty_like(x)
kernel(x, out)
print(sum(kernel.stats.cache_hits.values()), out.tobytes().hex())
"""


def test_second_process_loads_the_kernel_from_disk(tmp_path: Path):
    script = tmp_path / "cached_kernel.py"
    script.write_text(KERNEL)
    runs = [
        subprocess.run(
            [sys.executable, script], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert [hits for hits, _ in runs] == ["0", "1"]
    assert runs[0][1] == runs[1][1]


def test_tables_are_those_the_script_computes(capsys):
    from benchmarks import vecmath_coefficients
    from tracegrad.backend.vecmath import coefficients

    vecmath_coefficients.main()
    computed: dict[str, Any] = {}
    exec(capsys.readouterr().out, computed)
    names = [n for n in vars(coefficients) if n.isupper() or n[-2:] in ("64", "32")]
    assert len(names) > 20
    for name in names:
        np.testing.assert_allclose(getattr(coefficients, name), computed[name], rtol=1e-6)


def test_the_page_lists_every_function():
    text = (Path(__file__).parents[2] / "docs" / "vector-maths.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| `")]
    assert {row[0].strip(" `") for row in rows} == set(vecmath.PLAIN)
    for cells in rows:
        double, single, allowed, special = (float(cell) for cell in cells[1:5])
        assert max(double, single) <= allowed
        assert special == 0
