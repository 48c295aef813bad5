"""The function that CPython calls: what it takes, what it gives, and what it leaves behind."""

import contextlib
import gc
import os
import subprocess
import sys
import threading
import traceback

import numpy as np
import pytest

from tracegrad.backend import cache, compile, pool
from tracegrad.backend.compile import compile_kernel
from tracegrad.backend.native import results
from tracegrad.errors import GuardFailed

SOURCE = """\
import numpy as np

from tracegrad.errors import GuardFailed


def f(x, a, k):
    n = x.shape[0]
    if n == 7:
        raise GuardFailed("x.shape[0] != 7")
    scratch = np.empty(n)
    y = np.empty(n)
    for i in range(n):
        scratch[i] = x[i] * a
    if k >= n:
        raise IndexError("index out of bounds")
    for i in range(n):
        y[i] = scratch[i] + k
    return y, y[k]
"""
TYPES = ("float64[::1]", "float64", "int64")
X = np.arange(4.0)


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.DIRECTORY_VARIABLE, str(tmp_path))
    monkeypatch.setenv(compile.COMPILER_VARIABLE, "native")
    forget()
    return tmp_path


def forget():
    compile._kernels.clear()


def compiled(source=SOURCE, types=TYPES):
    kernel = compile_kernel(source, "f", types)
    assert kernel.native
    return kernel


def test_results_are_python_s():
    y, last = compiled().entry_point(X, 2.0, 1)
    np.testing.assert_array_equal(y, 2.0 * X + 1)
    assert type(y) is np.ndarray
    assert type(last) is float


class Mine(np.ndarray):
    pass


@pytest.mark.parametrize(
    "x",
    [
        X.astype(np.float32),
        X[::2],
        X.reshape(2, 2),
        X.astype(">f8"),
        [1.0, 2.0],
        1.0,
        None,
        X.view(Mine),
        np.frombuffer(bytearray(41), np.uint8)[1:].view(np.float64),
        np.array(["a"]),
    ],
)
def test_another_argument_is_refused_before_anything_is_done(x):
    with pytest.raises(TypeError):
        compiled().entry_point(x, 2.0, 1)


@pytest.mark.parametrize("arguments", [(), (X,), (X, 2.0, 1, 1), (X, "a", 1), (X, 2.0, 1.5)])
def test_other_numbers_of_arguments_and_no_numbers_are_refused(arguments):
    with pytest.raises(TypeError):
        compiled().entry_point(*arguments)


def test_an_integer_that_is_too_large_is_refused():
    with pytest.raises(OverflowError):
        compiled().entry_point(X, 2.0, 2**63)


def test_numpy_numbers_and_both_names_of_int64_are_taken():
    entry = compiled().entry_point
    assert entry(X, np.float64(2.0), np.int64(1))[1] == 3.0
    assert entry(X, np.float32(2.0), 1)[1] == 3.0
    total = "def f(k):\n    return k[0] + k[1]\n"
    entry = compiled(total, ("int64[::1]",)).entry_point
    assert entry(np.array([1, 2], np.longlong)) == entry(np.array([1, 2], np.int64)) == 3


def test_an_array_that_is_written_to_must_be_writeable():
    store = "def f(x):\n    x[0] = 1.0\n    return x[1]\n"
    entry = compiled(store, ("float64[::1]",)).entry_point
    x = np.zeros(2)
    entry(x)
    assert x[0] == 1.0
    x.flags.writeable = False
    with pytest.raises(TypeError):
        entry(x)
    x = np.zeros(2)
    x.flags.writeable = False
    assert compiled().entry_point(x, 2.0, 1)[1] == 1.0


def test_errors_carry_their_type_message_and_line():
    entry = compiled().entry_point
    with pytest.raises(GuardFailed, match=r"x.shape\[0\] != 7"):
        entry(np.ones(7), 1.0, 1)
    with pytest.raises(IndexError, match="index out of bounds") as caught:
        entry(X, 1.0, 4)
    shown = "".join(traceback.format_exception(caught.value))
    assert 'raise IndexError("index out of bounds")' in shown


def test_too_much_memory_and_negative_sizes_are_errors():
    make = (
        "import numpy as np\n\n\ndef f(n):\n    y = np.empty({})\n    y[0] = 1.0\n    return {}\n"
    )
    for result in ("y[0]", "y"):
        entry = compiled(make.format("n", result), ("int64",)).entry_point
        with pytest.raises(MemoryError):
            entry(2**50)
        with pytest.raises(ValueError, match="negative dimensions"):
            entry(-1)
        entry = compiled(
            make.format("(n, n)", "y[0, 0]").replace("y[0] =", "y[0, 0] ="), ("int64",)
        )
        with pytest.raises(ValueError, match="too big"):
            entry.entry_point(2**40)


def test_nothing_is_held_after_a_call():
    entry = compiled().entry_point
    x = np.ones(5)
    seven = np.ones(7)
    gc.collect()
    before = sys.getrefcount(x), sys.getrefcount(np.dtype(float))
    y, _ = entry(x, 2.0, 1)
    assert sys.getrefcount(y) == (3 if results.KEEPS else 2)  # a small result is kept
    for _ in range(1000):
        entry(x, 2.0, 1)
        for wrong in ((seven, 2.0, 1), (x, 2.0, 9), (x, "", 1)):
            with pytest.raises((GuardFailed, IndexError, TypeError)):
                entry(*wrong)
    del y, wrong
    gc.collect()
    after = sys.getrefcount(x), sys.getrefcount(np.dtype(float))
    assert after[0] == before[0]
    assert abs(after[1] - before[1]) < 10


EXCHANGED = """\
import numpy as np

from tracegrad.backend import runtime


def f(x, trips):
    a = np.zeros(x.shape[0])
    b = np.zeros(x.shape[0])
    tape = np.empty(0)
    for t in range(trips):
        c = np.empty(x.shape[0])
        for i in range(x.shape[0]):
            c[i] = a[i] + x[i]
        if t % 3 == 0:
            a, b = b, a
        a = c
        tape = runtime.ensure(tape, t + 1)
        tape[t] = a[0]
    if trips == 13:
        raise ValueError("thirteen")
    return a, tape[trips - 1]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow():
    entry = compiled(EXCHANGED, ("float64[::1]", "int64")).entry_point
    x = np.ones(20_000)

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def work(times):
        for number in range(times):
            with contextlib.suppress(ValueError):
                entry(x, 12 + number % 2)

    np.testing.assert_array_equal(entry(x, 12)[0], run_plain_exchange(x, 12))
    work(50)
    before = resident()
    work(500)  # some 10 arrays of 160 kB each time
    assert resident() - before < 8e6


LARGE = """\
from tracegrad.backend.memory import large_empty


def f(n):
    y = large_empty(n)
    scratch = large_empty((n, 2))
    for i in range(n):
        scratch[i, 1] = i * 2.0
    for i in range(n):
        y[i] = scratch[i, 1]
    return y
"""


def test_large_arrays_take_their_memory_from_the_pool():
    entry = compiled(LARGE, ("int64",)).entry_point
    n = pool.LARGE
    y = entry(n)
    np.testing.assert_array_equal(y, np.arange(n) * 2.0)
    before = pool.held()
    assert before >= 16 * n
    del y
    assert pool.held() >= before + 8 * n
    again = entry(n)
    assert pool.held() <= before + 8 * n
    np.testing.assert_array_equal(again[-3:], np.arange(n - 3, n) * 2.0)
    pool.clear()


def run_plain_exchange(x, trips):
    return compile.run_plain(EXCHANGED, "f")(x, trips)[0]


def test_code_lives_as_long_as_its_function():
    entry = compiled().entry_point
    forget()
    gc.collect()
    assert entry(X, 2.0, 1)[1] == 3.0


def test_many_threads_compile_and_call():
    start = threading.Barrier(8)
    found = []

    def work(number):
        start.wait()
        source = SOURCE.replace("* a", f"* a * {1 + number % 3}.0")
        for _ in range(50):
            found.append((number, compiled(source).entry_point(X, 2.0, 1)[1]))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 400
    assert all(value == 2.0 * (1 + number % 3) + 1 for number, value in found)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_compiles_and_calls():
    before = compiled().entry_point
    script = """
import os, sys
import numpy as np
from tracegrad.backend.compile import compile_kernel
from tracegrad.backend.native import results
source, types = sys.argv[1], tuple(sys.argv[2].split("|"))
first = compile_kernel(source, "f", types).entry_point
child = os.fork()
if child == 0:
    other = compile_kernel(source.replace("* a", "* a * 3.0"), "f", types).entry_point
    x = np.arange(4.0)
    os._exit(0 if first(x, 2.0, 1)[1] == 3.0 and other(x, 2.0, 1)[1] == 7.0 else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert before(X, 2.0, 1)[1] == 3.0
    subprocess.run([sys.executable, "-c", script, SOURCE, "|".join(TYPES)], check=True)


def test_the_second_time_object_code_is_read(directory):
    assert not compiled().from_disk
    assert {path.suffix for path in directory.iterdir()} == {".py", ".o"}
    forget()
    kernel = compiled()
    assert kernel.from_disk
    assert kernel.entry_point(X, 2.0, 1)[1] == 3.0
    with pytest.raises(GuardFailed):
        kernel.entry_point(np.ones(7), 1.0, 1)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: b"", lambda data: data[:90] + b"?" + data[91:]]
)
def test_a_damaged_file_is_made_anew(directory, damage):
    compiled()
    (path,) = directory.glob("*.o")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    forget()
    assert not compiled().from_disk
    assert path.read_bytes() == whole
    forget()
    assert compiled().from_disk


def test_jitted_code_calls_a_dispatcher_made_on_demand():
    import numba

    kernel = compiled()
    assert "dispatcher" not in vars(kernel)
    inner = kernel.dispatcher

    @numba.njit
    def outer(x):
        return inner(x, 2.0, 1)[1]

    assert outer(X) == 3.0
    assert kernel.result_type.count == 2


def test_the_environment_chooses_the_compiler(monkeypatch):
    monkeypatch.setenv(compile.COMPILER_VARIABLE, "numba")
    assert not compile_kernel(SOURCE, "f", TYPES).native
    monkeypatch.setenv(compile.COMPILER_VARIABLE, "fortran")
    with pytest.raises(ValueError, match="TRACEGRAD_COMPILER"):
        compile_kernel(SOURCE, "f", TYPES)
