"""From text to machine code."""

from __future__ import annotations

import gc
import sys
import threading
import traceback

import numba
import numpy as np
import pytest

from tracegrad.backend import by_numba, cache, compile
from tracegrad.backend.compile import (
    KernelOptions,
    array_type,
    compile_kernel,
    run_plain,
    scalar_type,
)

SCALED = """\
def scaled(x, factor):
    out = np.empty(x.shape[0])
    for i in range(x.shape[0]):
        out[i] = factor * x[i]
    return out
"""
SCALED = "import numpy as np\n\n\n" + SCALED
VECTOR = array_type("float64", 1)
SIGNATURE = (VECTOR, scalar_type("float64"))


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.DIRECTORY_VARIABLE, str(tmp_path))
    return tmp_path


def test_the_entry_point_and_the_dispatcher_agree():
    kernel = compile_kernel(SCALED, "scaled", SIGNATURE)
    x = np.arange(4.0)
    for call in (kernel, kernel.dispatcher, kernel.entry_point):
        np.testing.assert_array_equal(call(x, 2.0), 2 * x)
    assert kernel.result_type == numba.float64[::1]
    assert kernel.signature == (numba.float64[::1], numba.float64)


def test_jitted_code_can_call_a_kernel():
    scaled = compile_kernel(SCALED, "scaled", SIGNATURE).dispatcher

    @numba.njit
    def twice(x):
        return scaled(scaled(x, 2.0), 2.0)

    np.testing.assert_array_equal(twice(np.ones(3)), np.full(3, 4.0))


def test_the_entry_point_takes_arrays_that_are_not_writeable():
    x = np.arange(3.0)
    x.flags.writeable = False
    kernel = compile_kernel(SCALED, "scaled", SIGNATURE)
    np.testing.assert_array_equal(kernel.entry_point(x, 1.0), x)


def test_one_text_one_kernel_and_none_is_kept_alive():
    source = SCALED.replace("factor", "k")
    first = compile_kernel(source, "scaled", SIGNATURE)
    assert compile_kernel(source, "scaled", ("float64[::1]", "float64")) is first
    name = first.name
    del first
    gc.collect()
    assert not any(key.startswith(name) for key in by_numba._dispatchers)


def test_symbols_carry_the_hash_and_functions_keep_their_name(monkeypatch):
    monkeypatch.setenv(compile.COMPILER_VARIABLE, "numba")
    kernel = compile_kernel(SCALED, "scaled", SIGNATURE)
    assert f"tracegrad_kernel_{kernel.name}6scaled" in kernel.llvm()
    assert kernel.dispatcher.py_func.__name__ == "scaled"
    assert sys.modules[f"tracegrad_kernel_{kernel.name}"].scaled is kernel.dispatcher.py_func


def test_llvm_and_assembly_are_there_for_kernels_loaded_from_disk(monkeypatch):
    monkeypatch.setenv(compile.COMPILER_VARIABLE, "native")
    compile_kernel(SCALED, "scaled", SIGNATURE)
    compile._kernels.clear()
    by_numba._dispatchers.clear()
    kernel = compile_kernel(SCALED, "scaled", SIGNATURE)
    assert kernel.from_disk
    assert "fmul reassoc" in kernel.llvm()
    assert kernel.native
    assert "vmulpd" in kernel.assembly() or "mul" in kernel.assembly()


RAISES = """\
def checked(x):
    if x.shape[0] != 3:
        raise ValueError("three are needed")
    return x[0]
"""


@pytest.mark.parametrize("cached", [True, False])
def test_a_traceback_shows_the_generated_line(cached, directory):
    options = KernelOptions(cache=cached)
    kernel = compile_kernel(RAISES, "checked", [VECTOR], options=options)
    for path in directory.glob("*.py"):
        path.write_text("# not what runs\n")
    with pytest.raises(ValueError, match="three are needed") as caught:
        kernel.entry_point(np.ones(2))
    assert 'raise ValueError("three are needed")' in "".join(
        traceback.format_exception(caught.value)
    )


def test_fastmath_keeps_nan_and_infinity():
    source = "import math\n\n\ndef f(x):\n    return x * 0.0, math.isnan(x), x > 1e308, x == x\n"
    kernel = compile_kernel(source, "f", [scalar_type("float64")])
    assert np.isnan(kernel(np.inf)[0])
    assert kernel(np.inf)[1:] == (False, True, True)
    assert np.isnan(kernel(np.nan)[0])
    assert kernel(np.nan)[1:] == (True, False, False)


def test_a_division_by_zero_follows_the_error_model():
    source = "def f(x):\n    return 1.0 / x\n"
    double = [scalar_type("float64")]
    assert compile_kernel(source, "f", double)(0.0) == np.inf
    python = KernelOptions(error_model="python")
    with pytest.raises(ZeroDivisionError):
        compile_kernel(source, "f", double, options=python)(0.0)


def test_eight_threads_compile_the_same_and_different_kernels():
    sources = [SCALED.replace("factor *", f"{i}.0 * factor *") for i in range(1, 4)]
    start = threading.Barrier(8)
    results: list[tuple[int, object]] = []

    def work(number: int) -> None:
        start.wait()
        factor = 1 + number % 3
        kernel = compile_kernel(sources[factor - 1], "scaled", SIGNATURE)
        assert kernel.entry_point(np.ones(2), 1.0)[0] == factor
        results.append((factor, kernel))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len({id(kernel) for _, kernel in results}) == 3


def test_a_text_without_the_entry_is_refused():
    with pytest.raises(ValueError, match="no function 'other'"):
        compile_kernel(SCALED, "other", SIGNATURE)


# --- plain Python -----------------------------------------------------------------------------


def test_a_text_runs_as_plain_python():
    x = np.arange(4.0)
    np.testing.assert_array_equal(run_plain(SCALED, "scaled")(x, 2.0), 2 * x)


def test_plain_python_follows_ieee_rules():
    source = (
        "import math\n\n\ndef f(x):\n    return math.log(x), math.exp(1.0 / x), math.sqrt(-1 - x)\n"
    )
    compiled = compile_kernel(source, "f", [scalar_type("float64")])
    plain = run_plain(source, "f")
    np.testing.assert_array_equal(plain(0.0), compiled(0.0))
    assert np.isnan(plain(0.0)[2])


def test_parallel_loops_run_as_plain_python():
    source = SCALED.replace("range(", "prange(").replace(
        "import numpy", "from numba import prange\nimport numpy"
    )
    x = np.arange(4.0)
    np.testing.assert_array_equal(run_plain(source, "scaled")(x, 2.0), 2 * x)
