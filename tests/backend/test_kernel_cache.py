"""The kernel cache: what makes it fail must never make a kernel fail."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tracegrad.backend import by_numba, cache, compile, numba_cache
from tracegrad.backend.compile import KernelOptions, compile_kernel

SOURCE = """\
# a kernel
import math


def total(x):
    out = 0.0
    for i in range(x.shape[0]):
        out += math.sin(x[i])
    return out
"""
SIGNATURE = ("float64[::1]",)
X = np.linspace(0.0, 1.0, 5)


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A fresh cache directory, and a process that has compiled nothing yet."""
    path = tmp_path / "kernels"
    monkeypatch.setenv(cache.DIRECTORY_VARIABLE, str(path))
    # What our own compiler stores is tested beside it.
    monkeypatch.setenv(compile.COMPILER_VARIABLE, "numba")
    forget()
    return path


def forget():
    compile._kernels.clear()
    by_numba._dispatchers.clear()


def compiled(**options):
    kernel = compile_kernel(SOURCE, "total", SIGNATURE, options=KernelOptions(**options))
    assert kernel.entry_point(X) == pytest.approx(np.sum(np.sin(X)))
    return kernel


def only(directory: Path, pattern: str) -> Path:
    (path,) = directory.glob(pattern)
    return path


def test_the_second_time_nothing_is_compiled(directory):
    assert not compiled().from_disk
    forget()
    again = compiled()
    assert again.from_disk
    assert again.path == only(directory, "total-*.py")
    assert again.path.read_text() == SOURCE


def test_files_are_private_and_nothing_temporary_stays(directory):
    compiled()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {path.suffix for path in directory.iterdir()} == {".py", ".nbc"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in directory.iterdir())


@pytest.mark.parametrize("damage", [b"", b"def total(x):\n    return 42.0\n", b"\x00\xff" * 99])
def test_a_damaged_source_file_is_not_run_but_overwritten(directory, damage):
    path = compiled().path
    path.write_bytes(damage)
    forget()
    compiled()
    assert path.read_text() == SOURCE


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def bit_flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [truncated, bit_flipped, lambda data: b"", lambda data: data[:20], lambda data: b"\x80junk"],
    ids=["truncated", "bit flipped", "empty", "header only", "garbage"],
)
def test_damaged_machine_code_is_compiled_again_and_replaced(directory, damage):
    compiled()
    path = only(directory, "*.nbc")
    path.write_bytes(damage(path.read_bytes()))
    forget()
    assert not compiled().from_disk
    forget()
    assert compiled().from_disk


def test_machine_code_that_does_not_load_is_compiled_again(directory):
    compiled()
    path = only(directory, "*.nbc")
    payload = b"whole, but not a pickle"
    path.write_bytes(numba_cache._MAGIC + cache.hashlib.sha256(payload).digest() + payload)
    forget()
    assert not compiled().from_disk


def test_machine_code_that_others_can_write_is_not_loaded(directory):
    compiled()
    only(directory, "*.nbc").chmod(0o666)
    forget()
    assert not compiled().from_disk


def test_a_world_writable_directory_is_refused(directory):
    directory.mkdir()
    directory.chmod(0o777)
    assert compiled().path is None
    assert list(directory.iterdir()) == []


def test_a_directory_below_a_world_writable_one_is_refused(directory, monkeypatch):
    directory.mkdir()
    directory.chmod(0o777)
    monkeypatch.setenv(cache.DIRECTORY_VARIABLE, str(directory / "below"))
    assert compiled().path is None
    directory.chmod(0o1777)  # As /tmp: nobody else can replace what is ours.
    forget()
    assert compiled().path is not None


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no user ids")
def test_a_directory_of_another_user_is_refused(directory, monkeypatch):
    directory.mkdir()
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert compiled().path is None


def test_a_directory_that_can_not_be_made_is_done_without(directory, monkeypatch):
    directory.write_text("a file stands in its place")
    assert compiled().path is None
    monkeypatch.setenv(cache.DIRECTORY_VARIABLE, "/proc/tracegrad/kernels")
    forget()
    assert compiled().path is None


def test_a_full_or_read_only_disk_is_done_without(directory, monkeypatch, caplog):
    def refuse(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with caplog.at_level(logging.DEBUG, logger="tracegrad.backend"):
        assert compiled().path is None
    assert "No space left" in caplog.text
    assert list(directory.iterdir()) == []


def test_an_empty_variable_turns_the_cache_off(directory, monkeypatch):
    monkeypatch.setenv(cache.DIRECTORY_VARIABLE, "")
    assert compiled().path is None


def test_an_option_turns_the_cache_off(directory):
    assert compiled(cache=False).path is None
    assert not directory.exists()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="XDG directories")
def test_the_default_directory_follows_the_platform(tmp_path, monkeypatch):
    monkeypatch.delenv(cache.DIRECTORY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_directory() == tmp_path / "tracegrad"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/paths/are/ignored")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.default_directory() == tmp_path / ".cache" / "tracegrad"
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    assert cache.default_directory() is None
    assert cache.usable_directory() is None


# --- keys -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"fastmath": frozenset()},
        {"parallel": True},
        {"boundscheck": True},
        {"nogil": True},
        {"error_model": "python"},
    ],
    ids=str,
)
def test_every_option_makes_another_kernel(options):
    assert cache.content_hash(SOURCE, KernelOptions(**options).key()) != cache.content_hash(
        SOURCE, KernelOptions().key()
    )


def test_equal_options_have_equal_keys():
    flags = ["reassoc", "contract", "arcp", "nsz"]
    assert KernelOptions(fastmath=frozenset(reversed(flags))).key() == KernelOptions().key()


def test_changed_options_compile_another_kernel(directory):
    first, second = compiled(), compiled(boundscheck=True)
    assert first.name != second.name
    assert len(list(directory.glob("*.py"))) == 2
    with pytest.raises(ValueError, match="unknown fastmath"):
        KernelOptions(fastmath=frozenset({"quick"}))


def test_text_versions_and_vector_maths_are_in_the_key(monkeypatch):
    def name() -> str:
        return by_numba.digest_of(SOURCE, KernelOptions())

    seen = {name(), by_numba.digest_of(SOURCE + "# more\n", KernelOptions())}
    for number in range(len(cache._versions())):
        versions = list(cache._versions())
        versions[number] += "x"
        with monkeypatch.context() as patch:
            patch.setattr(cache, "_versions", lambda versions=versions: tuple(versions))
            seen.add(name())
    monkeypatch.setattr(numba_cache.config, "OPT", 1)
    seen.add(name())
    assert len(seen) == 2 + len(cache._versions()) + 1


# --- processes --------------------------------------------------------------------------------

CHILD = textwrap.dedent(
    """
    import sys
    import numpy as np
    from tracegrad.backend.compile import compile_kernel
    source = sys.stdin.read()
    print("ready", flush=True)
    kernel = compile_kernel(source, "total", ("float64[::1]",))
    print(repr(kernel.entry_point(np.linspace(0.0, 1.0, 5))), kernel.from_disk, kernel.path)
    print("scipy.linalg" in sys.modules)
    """
)


def child(**environment: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    assert process.stdin is not None
    process.stdin.write(SOURCE)
    process.stdin.close()
    process.stdin = None
    return process


def answer(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    ready, *words = out.split()
    assert ready == "ready"
    assert float(words[0].removeprefix("np.float64(").rstrip(")")) == pytest.approx(
        np.sum(np.sin(X))
    )
    return words[1:]


def test_two_processes_compile_at_once_and_a_third_loads(directory):
    both = [child(), child()]
    for process in both:
        answer(process)
    from_disk, path, blas = answer(child())
    assert (from_disk, Path(path)) == ("True", only(directory, "*.py"))
    assert blas == "False", "loading a kernel without BLAS must not import scipy.linalg"
    assert len(list(directory.iterdir())) == 2


def test_a_process_without_a_home_works_uncached(tmp_path):
    environment = {**os.environ, "HOME": str(tmp_path / "missing"), "XDG_CACHE_HOME": ""}
    environment.pop(cache.DIRECTORY_VARIABLE, None)
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=SOURCE,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split()[2:4] == ["False", "None"]
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_does_not_inherit_a_held_lock(directory):
    with compile._lock, by_numba._lock:
        pid = os.fork()
        if pid == 0:
            try:
                compile_kernel(SOURCE, "total", SIGNATURE)
                os._exit(0)
            except BaseException:
                os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
