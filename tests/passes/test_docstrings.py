"""The docstring of a pass shows before and after, and tells the truth."""

import re

import pytest

from tracegrad.passes import (
    carries,
    cells,
    cse,
    dce,
    elements,
    fold,
    products_ahead,
    simplify,
    stack_products,
    state_rows,
    tables,
)
from tracegrad.testing.ir import assert_pass


@pytest.mark.parametrize(
    "transform",
    [
        fold,
        cse,
        dce,
        simplify,
        carries,
        tables,
        elements,
        cells,
        products_ahead,
        stack_products,
        state_rows,
    ],
    ids=lambda p: p.__name__,
)
def test_a_pass_does_what_its_docstring_shows(transform):
    found = re.search(r"Before::\n(.*?\n    )After::\n(.*?\n {8}\}\n)", transform.__doc__, re.S)
    assert_pass(transform, before=found[1], after=found[2])
