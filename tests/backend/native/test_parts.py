"""Loops in chunks by our own compiler: what is given to a part, what it gives, how it fails."""

import os
import subprocess
import sys
import textwrap
import threading
import time
import traceback

import numpy as np
import pytest

from tests.eager_threads import eager_threads
from tracegrad.backend import cache, compile
from tracegrad.backend.compile import KernelOptions, compile_kernel, run_plain
from tracegrad.errors import GuardFailed

SOURCE = """\
import numpy as np

from tracegrad.backend.threads import chunk_count, in_parallel, natural
from tracegrad.errors import GuardFailed


def loop_1(start, stop, x, scale, flag, at, y, added):
    n = x.shape[0]
    m = added.shape[0]
    if y.shape[0] != n:
        raise GuardFailed("y.shape[0] == x.shape[0]")
    start = natural(start)
    stop = natural(stop)
    row = np.empty(4)
    total = 0.0
    best = -np.inf
    count = 0
    for i in range(start, stop):
        for k in range(4):
            row[k] = x[i] * k
        k = at[i]
        if k < 0:
            k += m
        if not 0 <= k < m:
            raise IndexError("index is out of bounds")
        if x[i] > 1e300:
            raise ValueError("too large")
        y[i] = row[3] * scale
        added[k, 1] += x[i]
        total += x[i] if flag else 0.0
        best = np.maximum(best, x[i])
        count += 1
    return total, best, count


def f(x, scale, flag, at):
    n = x.shape[0]
    y = np.empty(n)
    added = np.zeros((3, 2))
    chunks = chunk_count(n, 100 * n, 6)
    if chunks == 1:
        total, best, count = loop_1(0, n, x, scale, flag, at, y, added)
    else:
        total_parts = np.empty(chunks)
        best_parts = np.empty(chunks)
        count_parts = np.empty(chunks, np.int64)
        added_parts = np.zeros((max(chunks - 1, 0), 3, 2))
        in_parallel(
            loop_1, chunks, 0, n,
            (x, scale, flag, at, y, (added, added_parts)),
            (total_parts, best_parts, count_parts),
        )
        total = 0.0
        best = -np.inf
        count = np.int64(0)
        for c in range(chunks):
            total += total_parts[c]
            best = np.maximum(best, best_parts[c])
            count += count_parts[c]
        for c in range(chunks - 1):
            for i in range(3):
                for j in range(2):
                    added[i, j] += added_parts[c, i, j]
    return y, added, total, best, count
"""
TYPES = ("float64[::1]", "float64", "bool", "int64[::1]")
PARALLEL = KernelOptions(parallel=True)


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.DIRECTORY_VARIABLE, str(tmp_path))
    monkeypatch.setenv(compile.COMPILER_VARIABLE, "native")
    compile._kernels.clear()
    return tmp_path


def compiled(source=SOURCE, types=TYPES, **options):
    kernel = compile_kernel(source, "f", types, options=KernelOptions(parallel=True, **options))
    assert kernel.native
    return kernel.entry_point


def arguments(n):
    rng = np.random.default_rng(n)
    return rng.normal(size=n), 0.5, True, rng.integers(-3, 3, n)


@pytest.mark.parametrize("options", [{}, {"nogil": True}, {"boundscheck": True}], ids=str)
def test_chunks_give_what_plain_python_gives(options):
    call, plain = compiled(**options), run_plain(SOURCE, "f")
    for threads in (1, 3, 7):
        with eager_threads(threads):
            for n in (0, 1, 2, 3, 100):
                given = arguments(n)
                for found, expected in zip(call(*given), plain(*given), strict=True):
                    np.testing.assert_allclose(found, expected, rtol=1e-14)
                again = zip(call(*given), call(*given), strict=True)
                assert all(np.array_equal(a, b) for a, b in again)


def test_code_from_disk_finds_the_pool():
    given = arguments(50)
    with eager_threads(3):
        expected = compiled()(*given)
        compile._kernels.clear()
        kernel = compile_kernel(SOURCE, "f", TYPES, options=PARALLEL)
        assert kernel.from_disk
        for found, first in zip(kernel.entry_point(*given), expected, strict=True):
            assert np.array_equal(found, first)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_first_error_in_the_order_of_the_chunks_is_raised_from_its_line(threads):
    call = compiled()
    x, scale, flag, at = arguments(100)
    wrong = at.copy()
    wrong[30] = 7
    large = x.copy()
    large[99] = 1e301
    with eager_threads(threads):
        with pytest.raises(IndexError, match="index is out of bounds") as info:
            call(large, scale, flag, wrong)
        with pytest.raises(ValueError, match="too large"):
            call(large, scale, flag, at)
        expected = run_plain(SOURCE, "f")(x, scale, flag, at)
        assert call(x, scale, flag, at)[4] == expected[4] == 100
    frame = traceback.extract_tb(info.tb)[-1]
    assert frame.name == "loop_1"
    assert frame.line == 'raise IndexError("index is out of bounds")'


def test_what_is_only_read_may_be_read_only_and_what_a_part_writes_may_not():
    x, scale, flag, at = arguments(10)
    x.flags.writeable = at.flags.writeable = False
    with eager_threads(2):
        assert compiled()(x, scale, flag, at)[4] == 10
    given = SOURCE.replace("def f(x, scale, flag, at):", "def f(x, scale, flag, at, y):")
    given = given.replace("    y = np.empty(n)\n", "").replace("return y, added", "return added")
    call = compiled(given, (*TYPES, "float64[::1]"))
    y = np.zeros(10)
    with eager_threads(2):
        call(x, scale, flag, at, y)
        np.testing.assert_allclose(y, 1.5 * x)
        y.flags.writeable = False
        with pytest.raises(TypeError):
            call(x, scale, flag, at, y)
        with pytest.raises(GuardFailed):
            call(x, scale, flag, at, np.zeros(11))


def test_every_index_can_be_checked():
    loose = "import numpy as np\n\n\ndef f(x, k, r):\n    return x[k] + r[k, 0]\n"
    types = ("float64[::1]", "int64", "float64[:, ::1]")
    call = compile_kernel(loose, "f", types, options=KernelOptions(boundscheck=True))
    assert call.native
    x, rows = np.arange(3.0), np.zeros((9, 1))
    assert call.entry_point(x, 2, rows) == call.entry_point(x, -1, rows) == 2.0
    for k in (3, -4, 2**62, -(2**62)):
        with pytest.raises(IndexError, match="index is out of bounds"):
            call.entry_point(x, k, rows)


LONG = """\
import numpy as np

from tracegrad.backend.threads import chunk_count, in_parallel, natural


def loop_1(start, stop, x):
    start = natural(start)
    stop = natural(stop)
    total = 0.0
    for i in range(start, stop):
        total = total * 0.5 + np.sqrt(x + i)
    return total


def f(n, x):
    y = np.zeros(3)
    chunks = chunk_count(n, n, 0)
    if chunks == 1:
        total = loop_1(0, n, x)
    else:
        total_parts = np.empty(chunks)
        in_parallel(loop_1, chunks, 0, n, (x,), (total_parts,))
        total = 0.0
        for c in range(chunks):
            total += total_parts[c]
    return total, y
"""


def runs_beside(call):
    """Whether Python goes on in another thread while a kernel runs."""
    call(10, 1.0)
    thread = threading.Thread(target=call, args=(60_000_000, 1.0))
    thread.start()
    turns = 0
    while thread.is_alive():
        turns += 1
        time.sleep(0.002)
    return turns > 10


def test_the_interpreter_s_lock_is_given_up():
    types = ("int64", "float64")
    assert runs_beside(compiled(LONG, types))  # while there are chunks
    with eager_threads(1):
        assert runs_beside(compiled(LONG, types, nogil=True))
        kept = compiled(LONG, types)
        # On a busy machine the thread may wait for a core before it takes the lock.
        assert any(not runs_beside(kept) for _ in range(5))


def test_with_nogil_python_s_objects_are_made_with_the_lock():
    # Arrays that are made and dropped in loops, results, exceptions, from many threads at once.
    source = """\
import numpy as np


def f(x, n):
    y = np.zeros(n)
    for i in range(n):
        y[i] = x[i]
    z = np.empty(n)
    for t in range(3):
        for i in range(n):
            z[i] = y[i] + t
        y, z = z, y
        w = np.empty(n)
        for i in range(n):
            w[i] = y[i]
    if x[0] < 0.0:
        raise ValueError("negative")
    return y, w, z[0]
"""
    kernel = compile_kernel(
        source, "f", ("float64[::1]", "int64"), options=KernelOptions(nogil=True)
    )
    assert kernel.native
    plain = run_plain(source, "f")
    errors = []

    def work(k):
        try:
            for turn in range(300):
                x = np.arange(1.0, 50.0 + k)
                found, expected = kernel.entry_point(x, 40), plain(x, 40)
                assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
                if turn % 10 == 0:
                    with pytest.raises(ValueError, match="negative"):
                        kernel.entry_point(-x, 40)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("ending", ["fork", "processes", "daemon", "plain"])
def test_processes_fork_and_end_as_ever(ending, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing, os, threading, time
            import numpy as np, tracegrad as tg

            tg.set_num_threads(3)

            @tg.value_and_grad(parallel=True)
            def f(x):
                return np.sum(np.exp(-x * x))

            x = np.linspace(0.0, 1.0, 200_000)

            def value(scale):
                return float(f(scale * x)[0])

            def for_ever():
                while True:
                    f(x)

            if __name__ == "__main__":
                expected = [value(k) for k in (1.0, 2.0, 3.0)]
                ending = {ending!r}
                if ending in ("fork", "daemon"):
                    threading.Thread(target=for_ever, daemon=True).start()
                    time.sleep(0.05)
                if ending == "fork":
                    for _ in range(5):
                        child = os.fork()
                        if child == 0:
                            os._exit(int([value(k) for k in (1.0, 2.0, 3.0)] != expected))
                        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                if ending == "processes":
                    with multiprocessing.get_context("fork").Pool(3) as pool:
                        assert pool.map(value, (1.0, 2.0, 3.0)) == expected
                print("well")
            """
        )
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "TRACEGRAD_CACHE_DIR": str(tmp_path / "cache")},
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "well\n"), run.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_compiles_while_a_thread_of_the_parent_did(tmp_path):
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, threading
            import llvmlite.binding as llvm
            import numpy as np, tracegrad as tg

            x = np.linspace(0.0, 1.0, 20)

            def compiled(k):
                return tg.grad(lambda x: np.sum(np.sin(x * k) * np.exp(x)), cache=False)(x)

            def for_ever():
                k = 1.0
                while True:
                    k += 1.0
                    compiled(k)

            def others():
                # Numba's calls of LLVM, and engines that are freed, don't wait for our lock.
                while True:
                    llvm.get_host_cpu_name()

            compiled(1.0)
            threading.Thread(target=for_ever, daemon=True).start()
            threading.Thread(target=others, daemon=True).start()
            for turn in range(5):
                child = os.fork()
                if child == 0:
                    compiled(-1.0 - turn)
                    os._exit(0)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            print("well", flush=True)
            os._exit(0)
            """
        )
    )
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, "well\n"), run.stderr
