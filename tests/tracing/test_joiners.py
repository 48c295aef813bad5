"""``np.r_`` and ``np.c_`` of traced arrays."""

import numpy as np
import pytest
from numpy import c_, r_

import tracegrad as tg
from tracegrad.errors import UnsupportedError

rng = np.random.default_rng(0)
x, y, M = rng.normal(size=4), rng.normal(size=4), rng.normal(size=(4, 3))

PROGRAMS = [
    lambda x, y, M: np.r_[0.0, x, 1],
    lambda x, y, M: np.r_[x, 0:1:5j, y[0], 1:4],
    lambda x, y, M: np.r_[0 : len(x), [x[0], x[1]]],
    lambda x, y, M: np.c_[np.ones(len(x)), M, y],
    lambda x, y, M: c_[x[0], x[1]],
    lambda x, y, M: c_[x, 0:4].T @ M,
    lambda x, y, M: r_[M, 2.0 * M],
    lambda x, y, M: np.r_["-1", M, M],
    lambda x, y, M: np.r_["0,2", x, y],
    lambda x, y, M: np.r_["1,2,0", x, y],
    lambda x, y, M: np.r_["1,3,-1", x, y],
    lambda x, y, M: np.r_["0,3,1", M, M],
    lambda x, y, M: np.r_["0,3,1", x, 0:4],
    lambda x, y, M: np.r_[x.astype(np.float32), 2.0],
    lambda x, y, M: np.r_[x > 0.0, 1],
]


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_what_is_joined_is_what_numpy_joins(number):
    program = PROGRAMS[number]
    wanted, found = program(x, y, M), tg.jit(program)(x, y, M)
    assert (found.shape, found.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(found, wanted, rtol=1e-13)
    if wanted.dtype == np.float64:
        tg.check_grads(program, (x, y, M), order=1)


def test_joined_constants_are_numpys_own():
    assert tg.jit(lambda x: x * np.r_[1:3, 5])(np.ones(3)).tolist() == [1.0, 2.0, 5.0]


def test_a_matrix_is_refused():
    with pytest.raises(UnsupportedError, match=r"np\.r_ with 'r'"):
        tg.jit(lambda x: np.r_["r", x])(x)


def test_a_directive_stands_first():
    with pytest.raises(ValueError, match="must be the first entry"):
        tg.jit(lambda x: np.r_[x, "0"])(x)
    with pytest.raises(ValueError, match="unknown special directive"):
        tg.jit(lambda x: np.r_["axis", x])(x)
