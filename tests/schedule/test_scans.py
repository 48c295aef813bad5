"""Running sums beside heavy values: what a scan would keep from being vectorised stands apart."""

from textwrap import dedent

import numpy as np
import pytest

from tests.schedule.support import assert_same_results
from tracegrad.ir.text import parse
from tracegrad.schedule import explain

# The logarithms of sums over those at risk, and what they give back to the terms.
RISK = """
      %c: f64[n] = cumsum(%e) {axis=0, reverse=False}
      %l: f64[n] = log(%c)
      %p: f64[n] = multiply(%l, %y)
      %s: f64 = sum(%p) {axes=(0,)}
      %q: f64[n] = divide(%y, %c)
      %r: f64[n] = cumsum(%q) {axis=0, reverse=True}
      %g: f64[n] = multiply(%r, %e)
"""

LOG_OF_RISK = f"""
    func @f(%x: f64[n], %y: f64[n]) -> (f64, f64[n]) {{
      %e: f64[n] = exp(%x)
      {RISK}
      return %s, %g
    }}"""

ROWS = """
    func @f(%x: f64[n, m]) -> (f64[n, m]) {
      %e: f64[n, m] = exp(%x)
      %c: f64[n, m] = cumsum(%e) {axis=1, reverse=False}
      %l: f64[n, m] = tanh(%c)
      return %l
    }"""

HEAVY_BETWEEN = """
    func @f(%x: f64[n]) -> (f64[n]) {
      %c: f64[n] = cumsum(%x) {axis=0, reverse=False}
      %e: f64[n] = tanh(%c)
      %a: f64[n] = multiply(%e, %x)
      %d: f64[n] = cumsum(%a) {axis=0, reverse=False}
      %l: f64[n] = exp(%d)
      %o: f64[n] = add(%l, %c)
      return %o
    }"""

# A product of a matrix and a vector, and the one that transposes it, around scans.
RISK_SETS = f"""
    func @f(%x: f64[n, m], %w: f64[m], %y: f64[n]) -> (f64, f64[m]) {{
      %z: f64[n] = dot(%x, %w)
      %e: f64[n] = exp(%z)
      {RISK}
      %b: f64[m] = dot(%g, %x)
      return %s, %b
    }}"""

CHEAP = """
    func @f(%x: f64[n]) -> (f64[n]) {
      %e: f64[n] = multiply(%x, %x)
      %c: f64[n] = cumsum(%e) {axis=0, reverse=False}
      %l: f64[n] = multiply(%c, %e)
      %d: f64[n] = cumsum(%l) {axis=0, reverse=False}
      return %d
    }"""

ALONG_COLUMNS = """
    func @f(%x: f64[n, m]) -> (f64[n, m]) {
      %e: f64[n, m] = exp(%x)
      %c: f64[n, m] = cumsum(%e) {axis=0, reverse=False}
      %l: f64[n, m] = tanh(%c)
      return %l
    }"""

SHORT = ROWS.replace("m]", "3]")

ALL = (LOG_OF_RISK, ROWS, HEAVY_BETWEEN, RISK_SETS, CHEAP, ALONG_COLUMNS, SHORT)


def tree(text):
    return explain(parse(text)).strip()


def test_heavy_values_stand_apart_from_a_scan():
    expected = """
        for i (lanes):
          e[i] = exp: buffer (n)
        for i:
          c[i] = cumsum: result or operand (n)
        for i (lanes):
          l[i] = log: register
          s = sum over i: register
        for i (reverse):
          r[i] = cumsum: result or operand (n)
        for i:
          g[i] = multiply: result or operand (n)
        """
    assert tree(LOG_OF_RISK) == dedent(expected).strip()


def test_within_a_row_only_that_row_is_kept():
    expected = """
        for i:
          for j (lanes):
            e[i, j] = exp: buffer (m)
          for j:
            c[i, j] = cumsum: result or operand (n, m)
          for j (lanes):
            l[i, j] = tanh: result or operand (n, m)
        """
    assert tree(ROWS) == dedent(expected).strip()


def test_heavy_values_between_two_scans_have_a_loop_between_theirs():
    kinds = [line for line in tree(HEAVY_BETWEEN).split("\n") if line.startswith("for")]
    assert kinds == ["for i:", "for i (lanes):", "for i:", "for i (lanes):"]


def test_cheap_values_share_the_loop_of_a_scan():
    assert tree(CHEAP).count("for") == 1


def test_a_scan_along_columns_keeps_nothing_from_being_vectorised():
    assert tree(ALONG_COLUMNS).count("for") == 2


def test_nothing_is_gained_for_a_few_elements():
    assert "lanes" not in tree(SHORT)


@pytest.mark.parametrize("text", ALL, ids=range(len(ALL)))
@pytest.mark.parametrize("n", [0, 1, 2, 7, 300])
def test_the_results_are_those_of_the_statements(text, n):
    function = parse(text)
    rng = np.random.default_rng(n)
    shapes = {"x": (n, 3 if text is SHORT else 5), "w": (5,), "y": (n,)}
    if function.params[0].rank == 1:
        shapes["x"] = (n,)
    assert_same_results(function, *(rng.normal(size=shapes[p.hint]) for p in function.params))
