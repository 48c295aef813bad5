"""Threads and processes that meet at one function; homes that can't be written."""

import os
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import tracegrad as tg

PROGRAM = textwrap.dedent(
    """
    import numpy as np, tracegrad as tg

    @tg.value_and_grad
    def f(x):
        return np.sum(np.sin(x) * np.exp(-x * x)) + np.sum(x[1:] * x[:-1])

    x = np.linspace(0.0, 1.0, 20)
    value, bar = f(x)
    assert abs(value - f.py_func(x)) < 1e-12
    step = 1e-6 * np.eye(20)[3]
    assert abs(bar[3] - (f.py_func(x + step) - f.py_func(x - step)) / 2e-6) < 1e-7
    print(repr(float(value)), repr(float(bar[3])))
    """
)


def run(tmp_path, **environment):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    return subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output(process):
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return out


def together(count, work):
    """Run ``work(k)`` in threads that start at one moment; what they returned."""
    barrier = threading.Barrier(count)
    results = [None] * count

    def body(k):
        barrier.wait()
        try:
            results[k] = work(k)
        except BaseException as error:  # handed to the test
            results[k] = error

    threads = [threading.Thread(target=body, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def test_eight_threads_call_a_fresh_function():
    f = tg.value_and_grad(lambda x: np.sum(x * np.cos(x)))
    x = np.linspace(-1.0, 1.0, 11)
    for value, bar in together(8, lambda k: f(x)):
        assert value == pytest.approx(np.sum(x * np.cos(x)))
        np.testing.assert_allclose(bar, np.cos(x) - x * np.sin(x))
    assert len(f.signatures) == 1


def test_threads_with_different_shapes_dtypes_and_functions():
    shared = tg.grad(lambda x: np.sum(x**3))

    def work(k):
        x = np.linspace(0.0, 1.0, 9 + k).astype([np.float64, np.float32][k % 2])
        if k % 3 == 0:
            x = x[:, None]
        own = tg.grad(lambda x: np.sum(np.sin(x * (k + 1))))
        for _ in range(20):
            np.testing.assert_allclose(shared(x), 3 * x**2, rtol=1e-6)
            np.testing.assert_allclose(own(x), (k + 1) * np.cos(x * (k + 1)), rtol=1e-5)

    together(8, work)
    assert len(shared.signatures) == 4


def test_threads_that_trace_do_not_see_each_other():
    inner = tg.grad(lambda y: np.sum(y * y))

    def work(k):
        f = tg.grad(lambda x: np.sum(inner(x) * (k + 1.0)))
        return f(np.ones(3))

    for k, bar in enumerate(together(6, work)):
        np.testing.assert_allclose(bar, np.full(3, 2.0 * (k + 1)))


def test_two_processes_compile_at_once(tmp_path):
    cache = str(tmp_path / "cache")
    processes = [run(tmp_path, TRACEGRAD_CACHE_DIR=cache) for _ in range(2)]
    first, second = map(output, processes)
    assert first == second
    assert output(run(tmp_path, TRACEGRAD_CACHE_DIR=cache)) == first


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_home_that_cannot_be_written(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    blocked = home / "file"
    blocked.write_text("no directory")
    found = output(
        run(
            tmp_path,
            TRACEGRAD_CACHE_DIR=str(blocked / "cache"),
            HOME=str(blocked),
            NUMBA_CACHE_DIR="",
        )
    )
    assert found.strip()


def test_garbage_in_the_cache_is_not_believed(tmp_path):
    cache = tmp_path / "cache"
    first = output(run(tmp_path, TRACEGRAD_CACHE_DIR=str(cache)))
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert files
    for path in files:
        path.write_bytes(b"garbage" if path.suffix != ".nbi" else path.read_bytes()[:10])
    assert output(run(tmp_path, TRACEGRAD_CACHE_DIR=str(cache))) == first


def test_a_fork_after_a_compile_computes(tmp_path):
    script = PROGRAM + textwrap.dedent(
        """
        import os
        pid = os.fork()
        if pid == 0:
            g = tg.grad(lambda x: np.sum(x ** 4))
            ok = np.allclose(g(x), 4 * x ** 3) and f(x)[0] == value
            os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        """
    )
    path = tmp_path / "forks.py"
    path.write_text(script)
    subprocess.run(
        [sys.executable, str(path)],
        check=True,
        timeout=120,
        env={**os.environ, "TRACEGRAD_CACHE_DIR": str(tmp_path / "cache")},
    )
