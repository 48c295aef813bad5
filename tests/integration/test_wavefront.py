"""Programs that fill tables cell by cell, along diagonals: all that other loops must do."""

import numpy as np
import pytest

import tracegrad as tg
from tests.integration.loop_programs import PROGRAMS
from tests.integration.loop_programs_checks import Call, Checked, check_second
from tracegrad.schedule import wavefront
from tracegrad.testing.numerics import assert_close

TABLES = ["soft_alignment", "alignment_with_gap_states", "soft_time_warping", "image_filter"]
every_table = pytest.mark.parametrize("name", TABLES)


@pytest.fixture
def _short_diagonals(monkeypatch):
    monkeypatch.setattr(wavefront, "SHORT", 2)


@every_table
@pytest.mark.usefixtures("_short_diagonals")
def test_value_and_gradient(name):
    program = PROGRAMS[name]
    checked = Checked(program.function, program.arguments(10))
    checked.check()
    checked.check_at(program.arguments(17))


@every_table
@pytest.mark.usefixtures("_short_diagonals")
def test_gradient_of_the_gradient(name):
    program = PROGRAMS[name]
    check_second(program.function, program.arguments(4), emitted=True)


@every_table
def test_kernels_by_diagonals_and_by_rows_give_the_same(name, monkeypatch):
    program = PROGRAMS[name]
    argnums = Call(program.function, program.arguments(4)).argnums
    diagonals = tg.value_and_grad(program.function, argnums=argnums)
    given = program.arguments(33)
    value, bars = diagonals(*given)
    assert diagonals.inspect_source().count("# diagonals") == 2
    monkeypatch.setattr(wavefront, "GAIN", np.inf)
    rows = tg.value_and_grad(program.function, argnums=argnums)
    expected, expected_bars = rows(*given)
    assert "# diagonals" not in rows.inspect_source()
    assert_close(value, expected, 1e-12, name)
    for bar, other in zip(bars, expected_bars, strict=True):
        assert_close(bar, other, 1e-10, name)
    for size in (1, 2, 5, 70):
        given = program.arguments(size)
        for a, b in zip(_leaves(diagonals(*given)), _leaves(rows(*given)), strict=True):
            assert_close(a, b, 1e-10, f"{name} at {size}")
    assert len(diagonals.signatures) == 1


def _leaves(result):
    value, bars = result
    return [value, *bars]


def test_tables_that_are_not_square():
    """Also numbers of 32 bits, whose tables are of 32 bits."""
    program = PROGRAMS["soft_alignment"]
    compiled = tg.value_and_grad(program.function, argnums=(0, 1))
    rng = np.random.default_rng(0)
    for shape in [(40, 50), (90, 20), (3, 60), (60, 1)]:
        scores = rng.normal(size=shape)
        value, (bar, gap_bar) = compiled(scores, 0.7)
        assert_close(value, program.function(scores, 0.7), 1e-12, str(shape))
        # What the cells get in all is what a common change of the scores changes.
        step = 1e-6
        ahead, behind = (program.function(scores + s, 0.7) for s in (step, -step))
        assert_close(np.sum(bar), (ahead - behind) / (2 * step), 1e-6, str(shape))
        ahead, behind = (program.function(scores, 0.7 + s) for s in (step, -step))
        assert_close(gap_bar, (ahead - behind) / (2 * step), 1e-6, str(shape))
    single = rng.normal(size=(40, 50)).astype(np.float32)
    value, (bar, _) = compiled(single, np.float32(0.7))
    expected, (expected_bar, _) = compiled(single.astype(float), 0.7)
    assert bar.dtype == np.float32
    assert_close(value, expected, 1e-4, "float32")
    assert_close(bar, expected_bar, 1e-3, "float32")
