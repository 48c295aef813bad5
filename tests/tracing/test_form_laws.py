"""The laws of derivatives for every form of the catalogue, in f64 and f32, at both orders.

The function of a form is traced and transformed; derivatives are compared with differences of the
plain NumPy text, with each other, with themselves one order higher and in the other dtype, and
the compiled kernel with the interpreter.
"""

import inspect

import numpy as np
import pytest

from tests.tracing.conftest import trace
from tests.tracing.test_forms import CASES, SMALL, arguments, function_of
from tracegrad import pipeline, tree
from tracegrad.backend.compile import KernelOptions
from tracegrad.ir.interpreter import evaluate
from tracegrad.passes import optimize
from tracegrad.testing.numerics import STEP, assert_close, numerical_jvp
from tracegrad.transforms.jvp import jvp
from tracegrad.transforms.vjp import vjp

RULE = 1e-10
DIFFERENCE = 1e-7
#: Steps, of which differences see the jumps.
JUMPS = {"x.round(2)"}
SINGLE = 2e-4


#: Arguments of which functions read one triangle.
SYMMETRIC = ("V", "W")

#: Where a form has finite values: everywhere, in the unit interval, or above 1.
DOMAINS = (lambda x: x, lambda x: 0.1 + 0.8 * np.abs(np.sin(x)), lambda x: 1.1 + np.abs(x))


def in_dtype(value, dtype, domain):
    is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return domain(value).astype(dtype) if is_float else value


def inside(function, dtype):
    """Arguments of the dtype at which the results are finite."""
    for domain in DOMAINS:
        args = [in_dtype(v, dtype, domain) for v in arguments(function, SMALL)]
        leaves, _ = tree.flatten(function(*args))
        if all(np.all(np.isfinite(v)) for v in leaves if np.asarray(v).dtype.kind == "f"):
            return args
    return [in_dtype(v, dtype, DOMAINS[0]) for v in arguments(function, SMALL)]


class Form:
    """A form in one dtype: its trace, and what is differentiated in it."""

    def __init__(self, text, dtype):
        self.function = function_of(text)
        self.args = inside(self.function, dtype)
        self.traced = trace(self.function, *self.args)
        self.ir = self.traced.function
        self.moved = [k for k, a in enumerate(self.args) if np.asarray(a).dtype.kind == "f"]
        self.wrt = [self.traced.param_of(k) for k in self.moved]
        self.seeded = list(
            dict.fromkeys(
                each.result
                for each in self.traced.output_types()
                if each.result is not None and each.type.dtype.is_float
            )
        )
        self.values = [self.args[leaf] for leaf in self.traced.params]
        self.values += [np.asarray(a) for a in self.traced.captured_arrays()]

    def results(self, *moved):
        """The float results of the NumPy text."""
        args = list(self.args)
        for k, value in zip(self.moved, moved, strict=True):
            args[k] = value
        leaves, _ = tree.flatten(self.function(*args))
        at = {
            each.result: leaf for each, leaf in zip(self.traced.output_types(), leaves, strict=True)
        }
        return tuple(np.asarray(at[i]) for i in self.seeded)

    def directions(self, seed):
        """Of what is moved; matrices of which one triangle counts move symmetrically."""
        names = list(inspect.signature(self.function).parameters)
        found = random(seed, [self.args[k] for k in self.moved])
        return [
            dot + np.swapaxes(dot, -1, -2) if names[k] in SYMMETRIC else dot
            for k, dot in zip(self.moved, found, strict=True)
        ]

    def pulled(self):
        return optimize(vjp(self.ir, self.wrt, self.seeded))

    def pushed(self):
        return optimize(jvp(self.ir, self.wrt, self.seeded))


def random(seed, like):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=np.shape(x)).astype(np.asarray(x).dtype) for x in like]


def product(left, right):
    total = magnitude = 0.0
    for a, b in zip(left, right, strict=True):
        terms = np.asarray(a, np.float64) * np.asarray(b, np.float64)
        total += terms.sum()
        magnitude += np.abs(terms).sum()
    return total, magnitude


def assert_same_product(left, right, tolerance):
    a, one = product(*left)
    b, other = product(*right)
    assert abs(a - b) <= tolerance * max(one, other, 1.0), (a, b)


def evaluated(function, *values):
    return evaluate(function, *(np.asarray(v) for v in values))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", CASES)
def test_a_form_has_right_derivatives(text):
    form = Form(text, np.float64)
    if not form.wrt or not form.seeded:
        pytest.skip("nothing to differentiate")
    values, count = form.values, len(form.ir.results)
    back, ahead = form.pulled(), form.pushed()
    if text in JUMPS:
        assert not any(
            np.any(bar) for bar in evaluated(back, *values, *form.results(*values))[count:]
        )
        return
    primals = [form.args[k] for k in form.moved]
    dots = form.directions(1)
    out_dots = evaluated(ahead, *values, *dots)[count:]
    if any(np.asarray(r).dtype == np.float32 for r in out_dots):
        # A cast: differences are as coarse as f32, and only the first order is compared.
        expected = numerical_jvp(form.results, primals, dots, 0.1)
        for a, e in zip(out_dots, expected, strict=True):
            assert_close(a, e, 1e-4, text, scale=1.0)
        return
    for a, e in zip(out_dots, numerical_jvp(form.results, primals, dots, STEP), strict=True):
        assert_close(a, e, DIFFERENCE, text, scale=1.0)
    bars = random(2, out_dots)
    in_bars = evaluated(back, *values, *bars)[count:]
    assert_same_product((bars, out_dots), (in_bars, dots), RULE)
    for bar, primal in zip(in_bars, primals, strict=True):
        assert np.shape(bar) == np.shape(primal)

    # the derivative of the gradient, against differences of the gradient
    first = list(range(count, len(back.results)))
    wrt = [*form.wrt, *range(len(values), len(back.params))]
    again = optimize(vjp(back, wrt, first))
    point = [*values, *bars]
    directions = [*form.directions(3), *random(5, bars)]
    given = dict(zip(wrt, directions, strict=True))
    along = [given.get(k) for k in range(len(point))]
    slopes = numerical_jvp(lambda *x: tuple(evaluated(back, *x)[count:]), point, along)
    weights = random(4, slopes)
    seconds = evaluated(again, *point, *weights)[len(back.results) :]
    assert_same_product((weights, slopes), (seconds, directions), DIFFERENCE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", CASES)
def test_a_form_compiles_to_what_it_means_in_both_dtypes(text):
    found = {}
    for dtype in (np.float64, np.float32):
        try:
            inside(function_of(text), dtype)
        except (TypeError, ValueError):
            assert dtype is np.float32  # NumPy itself refuses to mix
            return
        form = Form(text, dtype)
        if not form.ir.results:
            pytest.skip("nothing is computed")
        count = len(form.ir.results)
        function = form.pulled() if form.wrt and form.seeded else optimize(form.ir)
        seeds = function.params[len(form.ir.params) :]
        bars = random(2, evaluated(optimize(form.ir), *form.values))
        bars = [bars[i] for i in form.seeded] if seeds else []
        expected = evaluated(function, *form.values, *bars)
        primal = form.results(*(form.args[k] for k in form.moved))
        for i, numpys in zip(form.seeded, primal, strict=True):
            tolerance = SINGLE if dtype is np.float32 or "float32" in text else RULE
            assert_close(expected[i], numpys, tolerance, text, scale=1.0)
        kernel = pipeline.compile_function(function, KernelOptions(cache=False))
        actual = kernel.entry_point(
            *(v if np.ndim(v) else np.asarray(v)[()] for v in (*form.values, *bars))
        )
        actual = actual if isinstance(actual, tuple) else (actual,)
        assert len(actual) == len(expected)
        for a, e in zip(actual, expected, strict=True):
            e = np.asarray(e)
            assert np.ndim(a) == 0 or a.dtype == e.dtype  # kernels give numbers as Python's
            if e.dtype.kind == "f":
                exact = dtype is np.float64 and e.dtype == np.float64 and "float32" not in text
                assert_close(a, e, RULE if exact else SINGLE, text, scale=1.0)
            else:
                np.testing.assert_array_equal(a, e)
        found[dtype] = expected[count:]
    for double, single in zip(found[np.float64], found[np.float32], strict=True):
        assert_close(np.asarray(single, np.float64), double, 100 * SINGLE, text, scale=1.0)
