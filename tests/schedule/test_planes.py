"""Sums at strides, in loops within a loop, go to rows of their own."""

import numpy as np
import pytest

from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.text import parse
from tracegrad.ir.verifier import verify
from tracegrad.schedule.planes import into_planes

TEXT = """
func @f(%x: f64[n], %k: i64) -> (f64[{size}])
{{
  %y: f64[{size}] = alloc() {{shape=({size},), dtype=f64, fill=0}}
  %lo: i64 = 0
  %hi: i64 = dim() {{size=n}}
  %one: i64 = 1
  %two: i64 = 2
  %three: i64 = 3
  %half: f64 = 0.5
  {before}
  for(%lo, {trips}, %one) (%t: i64) {{
    %left: i64 = subtract(%hi, %t)
    %c: i64 = {base}
    for(%lo, {count}, %one) {{kind="plain"}} (%i: i64) {{
      %a: f64 = load(%x, %i)
      {place}
      {add}
    }}
    {after}
  }}
  return %y
}}
"""

TWICE = "%m: i64 = multiply(%i, %two)\n%p: i64 = add(%m, %c)"
ADD = "add_store(%a, %y, %p)"


def loops(**parts):
    given = {"size": "3*n + 2", "before": "", "trips": "%hi", "base": "add(%t, %lo)", **parts}
    given = {"count": "%left", "place": TWICE, "add": ADD, "after": "", **given}
    return TEXT.format(**given)


def both(text):
    """The function as it is and as it becomes, and how many arrays it makes then."""
    new = verify(into_planes(parse(text)), form="loop")
    return parse(text), new, sum(op.name == "alloc" for op in new.walk())


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"base": "subtract(%left, %one)"},
        {"place": "%m: i64 = multiply(%i, %three)\n%p: i64 = add(%m, %one)"},
        {"add": f"{ADD}\n%q: i64 = add(%m, %one)\nadd_store(%a, %y, %q)"},
        {"before": "store(%half, %y, %one)"},
    ],
)
def test_rows_for_each_remainder(parts):
    old, new, arrays = both(loops(**parts))
    assert arrays == 2
    for n in (1, 2, 3, 4, 9):
        x = np.linspace(0.1, 1.0, n)
        np.testing.assert_allclose(evaluate(new, x, 1)[0], evaluate(old, x, 1)[0], rtol=1e-14)


@pytest.mark.parametrize(
    "parts",
    [
        # The sums are read, written otherwise, or go by two strides.
        {"add": f"{ADD}\n%b: f64 = load(%y, %i)\nstore(%b, %x2, %i)"},
        {"after": "store(%half, %y, %t)"},
        {"after": "add_store(%half, %y, %t)"},
        {"add": f"{ADD}\nadd_store(%a, %y, %i)"},
        {
            "add": f"{ADD}\n%q: i64 = multiply(%i, %three)\n%r: i64 = add(%q, %c)\n"
            "add_store(%a, %y, %r)"
        },
        # Each element once in so many, backwards, one after the other, or the same all the time.
        {"place": "%m: i64 = multiply(%i, %c)\n%p: i64 = add(%m, %one)"},
        {"place": "%m: i64 = multiply(%i, %two)\n%p: i64 = subtract(%c, %m)"},
        {"place": "%p: i64 = add(%i, %c)"},
        {"place": "%p: i64 = add(%c, %one)"},
        # Few trips.
        {"trips": "%three"},
    ],
)
def test_otherwise_loops_stay_as_they_are(parts):
    text = loops(**parts)
    if "%x2" in text:
        made = "%x2: f64[n] = alloc() {shape=(n,), dtype=f64, fill=0}"
        text = text.replace("%lo: i64 = 0", f"{made}\n%lo: i64 = 0")
    old, new, _ = both(text)
    assert str(new) == str(old)
