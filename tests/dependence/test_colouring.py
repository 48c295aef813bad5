"""Colours by which every nonzero can be read."""

import numpy as np
import pytest

from tracegrad.dependence import Pattern
from tracegrad.dependence.colouring import column_colours, readable, star_colours
from tracegrad.dependence.graph import pattern_of, stacked


def made(mask):
    return pattern_of(mask.shape, *np.nonzero(mask))


@pytest.mark.parametrize(
    ("n", "m", "share"), [(1, 1, 1.0), (20, 30, 0.1), (60, 40, 0.05), (9, 9, 0.6)]
)
def test_columns_of_one_colour_have_no_row_in_common(n, m, share):
    mask = np.random.default_rng(n).random((n, m)) < share
    colours = column_colours(made(mask))
    for colour in range(colours.max() + 1):
        assert mask[:, colours == colour].sum(axis=1).max(initial=0) <= 1


@pytest.mark.parametrize(("n", "share"), [(5, 0.5), (30, 0.05), (40, 0.2), (60, 0.5)])
def test_a_star_colouring_gives_each_nonzero_or_its_mirror_image(n, share):
    mask = np.random.default_rng(n).random((n, n)) < share
    whole = made(mask | mask.T | np.eye(n, dtype=bool))
    colours = star_colours(whole)
    alone = readable(whole, colours)
    seen = np.zeros((n, n), bool)
    seen[whole.rows[alone], whole.columns[alone]] = True
    assert (seen | seen.T)[whole.rows, whole.columns].all()
    assert colours.max() <= column_colours(whole).max()


def test_a_band_takes_its_width():
    i = np.arange(1000)
    band = np.abs(i[:, None] - i[None, :]) <= 1
    assert column_colours(made(band)).max() + 1 == 3
    assert star_colours(made(band)).max() + 1 == 3


def test_an_arrow_takes_two_as_a_star():
    arrow = np.eye(50, dtype=bool)
    arrow[-1] = arrow[:, -1] = True
    assert column_colours(made(arrow)).max() + 1 == 50
    assert star_colours(made(arrow)).max() + 1 == 2


def test_patterns_in_parts():
    mask = np.random.default_rng(0).random((7, 9)) < 0.4
    whole = made(mask)

    def array(pattern: Pattern):
        found = np.zeros(pattern.shape, bool)
        found[pattern.rows, pattern.columns] = True
        return found

    assert np.array_equal(array(whole.transposed()), mask.T)
    assert np.array_equal(array(whole.between(2, 6)), mask[:, 2:6])
    assert np.array_equal(array(stacked([whole, whole])), np.vstack([mask, mask]))


def test_nothing_has_no_colours():
    assert len(column_colours(made(np.zeros((5, 0), bool)))) == 0
    assert column_colours(made(np.zeros((0, 3), bool))).tolist() == [0, 0, 0]
