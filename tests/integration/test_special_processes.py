"""Kernels that call SciPy's functions, found on disk by another process."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import numpy as np
import tracegrad as tg
import scipy.special as sp

def loss(a, x):
    return np.sum(sp.jv(2, a * x) * sp.HELPED + sp.sici(x)[1])

x = np.linspace(0.5, 4.0, 7)
value, bars = tg.value_and_grad(loss, argnums=(0, 1))(1.7, x)
print(repr(float(value)), [float(b).hex() for b in np.hstack(bars)])
"""

PLAIN = """
import sys
import numpy as np
import tracegrad as tg

tg.grad(lambda x: np.sum(np.tanh(x) * x))(np.ones(3))
assert not any(name.startswith("scipy") for name in sys.modules), "SciPy is imported"
"""


def run(tmp_path, program, compiler):
    path = tmp_path / "program.py"
    path.write_text(program)
    settings = {"TRACEGRAD_CACHE_DIR": str(tmp_path / "cache"), "TRACEGRAD_COMPILER": compiler}
    settings |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(path)], env=os.environ | settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("compiler", ["native", "numba"])
def test_a_second_process_loads_the_kernel(tmp_path, compiler):
    # A helper takes Numba seconds to compile.
    helped = "zeta(3.0, x)" if compiler == "native" else "j0(x)"
    program = PROGRAM.replace("HELPED", helped)
    first = run(tmp_path, program, compiler)
    files = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "cache").rglob("*.o"))
    assert run(tmp_path, program, compiler) == first
    assert files == sorted(
        (path, path.stat().st_mtime_ns) for path in (tmp_path / "cache").rglob("*.o")
    )
    assert bool(files) == (compiler == "native")


def test_a_kernel_without_them_does_not_import_scipy(tmp_path):
    run(tmp_path, PLAIN, "native")
