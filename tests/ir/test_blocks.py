"""Blocks of arrays: what index values are, and whether two blocks meet."""

import pytest

from tracegrad.ir.blocks import alike, apart, block_of, covers, place
from tracegrad.ir.bounds import Bounds
from tracegrad.ir.parser import parse
from tracegrad.ops import REGISTRY

assert REGISTRY  # filled by the import: the texts below name operations

PROGRAM = """
func @f(%a: f64[n, n], %s: i64[n]) -> (f64[n, n]) {{
  %0: i64 = 0
  %1: i64 = dim() {{size=n}}
  %2: i64 = 1
  %out: f64[n, n] = for(%0, %1, %2, %a) (%i: i64, %b: f64[n, n]) {{
    %i1: i64 = add(%i, %2)
    %in: f64[n, n] = for(%i1, %1, %2, %b) (%k: i64, %c: f64[n, n]) {{
      %p: i64 = bind(%i) {{size=p}}
      %q: i64 = bind(%k) {{size=q}}
      %r: i64 = index(%s, %k)
      %x: f64[n - p] = view(%c) {{shape=(n - p,), map=[{read}]}}
      %y: f64[n - p] = view(%c) {{shape=(n - p,), map=[{other}]}}
      yield %c
    }}
    yield %in
  }}
  return %out
}}
"""


def blocks(read, other):
    """The blocks of two views in a loop k > i, and the bounds that are known there."""
    function = parse(PROGRAM.format(read=read, other=other))
    outer = next(op for op in function.body.ops if op.regions)
    inner = next(op for op in outer.regions[0].ops if op.regions)
    bounds = Bounds(function)
    views = [op for op in inner.regions[0].ops if op.name == "view"]
    with bounds.within(outer, outer.regions[0]), bounds.within(inner, inner.regions[0]):
        one, two = (block_of(op) for op in views)
        return apart(one, two, bounds), alike(one, two, bounds)


@pytest.mark.parametrize(
    ("read", "other", "expected"),
    [
        ("p, #0 + p", "q, #0 + p", (True, False)),  # another row
        ("p, #0 + p", "p, #0 + p", (False, True)),
        ("p, #0 + p", "p, #0", (False, False)),  # the same row, elsewhere
        ("#0, p", "#0 + p, q", (True, False)),  # another column
        ("#0, p", "p, #0", (False, False)),
        ("q - 1, #0", "p, #0", (False, False)),  # k - 1 may be i
        ("q, #0", "q - 1, #0", (True, False)),
    ],
)
def test_blocks_are_compared_by_their_ends(read, other, expected):
    assert blocks(read, other) == expected


INDICES = """
func @f(%k: i64, %v: i64[m]) -> (i64[m]) {
  %0: i64[n] = iota() {size=n, dtype=i64}
  %1: i64[m] = view(%0) {shape=(m,), map=[2*#0 + 3]}
  %2: i64 = 2
  %3: i64[m] = multiply(%1, %2)
  %4: i64[m] = subtract(%3, %k)
  %5: i64[m] = view(%k) {shape=(m,), map=[]}
  %6: i64[m] = add(%v, %5)
  return %4
}
"""


def test_places_are_read_off_index_values():
    function = parse(INDICES)
    values = {op.result: op for op in function.body.ops if op.results}
    by_name = dict(enumerate(values))
    sliced, moved, repeated, unknown = (place(by_name[k]) for k in (1, 4, 5, 6))
    assert (sliced.axis, sliced.step, str(sliced.within)) == (0, 2, "n")
    assert (moved.axis, moved.step, moved.within) == (0, 4, None)
    assert moved.values() == [function.params[0]]
    assert repeated.axis is None
    assert unknown is None


def test_a_block_covers_the_axes_of_its_index_values():
    text = """
    func @f(%a: f64[n, n], %v: f64[n], %k: i64) -> (f64[n, n]) {
      %0: i64[n] = iota() {size=n, dtype=i64}
      %1: i64[n] = view(%k) {shape=(n,), map=[]}
      %row: f64[n, n] = update(%a, %v, %1, %0)
      %diagonal: f64[n, n] = update(%row, %v, %0, %0)
      %last: f64[n, n] = update(%diagonal, %v, %1, %1)
      return %last
    }"""
    writes = [op for op in parse(text).body.ops if op.name == "update"]
    assert [covers(block_of(op), 1) for op in writes] == [True, False, False]
