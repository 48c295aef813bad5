"""Values that pads of several dimensions read stand in buffers with zeros around them."""

import random

import numpy as np
import pytest

from tests.schedule.support import assert_same_results, counts, scheduled
from tracegrad.ir.text import parse
from tracegrad.schedule import explain

LAPLACIAN = """
    func @f(%u: f64[n, m]) -> (f64, f64[n, m]) {
      %up: f64[n - 2, m - 2] = view(%u) {shape=(n - 2, m - 2), map=[#0, #1 + 1]}
      %down: f64[n - 2, m - 2] = view(%u) {shape=(n - 2, m - 2), map=[#0 + 2, #1 + 1]}
      %left: f64[n - 2, m - 2] = view(%u) {shape=(n - 2, m - 2), map=[#0 + 1, #1]}
      %right: f64[n - 2, m - 2] = view(%u) {shape=(n - 2, m - 2), map=[#0 + 1, #1 + 2]}
      %here: f64[n - 2, m - 2] = view(%u) {shape=(n - 2, m - 2), map=[#0 + 1, #1 + 1]}
      %a: f64[n - 2, m - 2] = add(%up, %down)
      %b: f64[n - 2, m - 2] = add(%left, %right)
      %c: f64[n - 2, m - 2] = add(%a, %b)
      %four: f64 = -4.0
      %h: f64[n - 2, m - 2] = multiply(%four, %here)
      %r: f64[n - 2, m - 2] = add(%c, %h)
      %q: f64[n - 2, m - 2] = square(%r)
      %s: f64 = sum(%q) {axes=(0, 1)}
      %r4: f64[n - 2, m - 2] = multiply(%four, %r)
      %p0: f64[n, m] = pad(%r4) {shape=(n, m), map=[#0 + 1, #1 + 1]}
      %p1: f64[n, m] = pad(%r) {shape=(n, m), map=[#0, #1 + 1]}
      %p2: f64[n, m] = pad(%r) {shape=(n, m), map=[#0 + 2, #1 + 1]}
      %p3: f64[n, m] = pad(%r) {shape=(n, m), map=[#0 + 1, #1]}
      %p4: f64[n, m] = pad(%r) {shape=(n, m), map=[#0 + 1, #1 + 2]}
      %g0: f64[n, m] = add(%p0, %p1)
      %g1: f64[n, m] = add(%g0, %p2)
      %g2: f64[n, m] = add(%g1, %p3)
      %g: f64[n, m] = add(%g2, %p4)
      return %s, %g
    }"""


def test_the_adjoint_of_a_stencil_gathers_without_tests():
    tree = [line.strip() for line in explain(parse(LAPLACIAN)).splitlines()]
    assert tree == [
        "for i:",
        "for j:",
        "r[i, j] = add: buffer (n + 2, m + 2)",
        "s = sum over i, j: register",
        "for i:",
        "for j:",
        "g[i, j] = add: result or operand (n, m)",
    ]
    found = counts(scheduled(LAPLACIAN))
    assert (found["for"], found["if"], found["alloc"]) == (4, 0, 2)


@pytest.mark.parametrize("shape", [(2, 2), (2, 5), (3, 2), (3, 3), (4, 3), (7, 9)])
def test_stencils_are_right_at_the_smallest_sizes(shape):
    rng = np.random.default_rng(0)
    assert_same_results(parse(LAPLACIAN), rng.normal(size=shape))


def test_a_pad_that_reads_in_place_does_not_share_the_loop_of_what_has_margins():
    text = """
        func @f(%x: f64[n, m]) -> (f64[n + 1, m], f64[n]) {
          %e: f64[n, m] = exp(%x)
          %a: f64[n + 1, m] = pad(%e) {shape=(n + 1, m), map=[#0, #1]}
          %b: f64[n + 1, m] = pad(%e) {shape=(n + 1, m), map=[#0 + 1, #1]}
          %c: f64[n + 1, m] = subtract(%a, %b)
          %s: f64[n] = sum(%e) {axes=(1,)}
          return %c, %s
        }"""
    assert "e[i, j] = exp: buffer (n + 2, m)" in explain(parse(text))
    rng = np.random.default_rng(0)
    for shape in ((0, 2), (1, 0), (1, 1), (5, 3)):
        assert_same_results(parse(text), rng.normal(size=shape))


@pytest.mark.parametrize(
    ("shape", "map"),
    [
        ("(n + 9, m)", "[#0 + 9, #1]"),  # too far
        ("(2*n, m)", "[#0 + n, #1]"),  # of unknown width
        ("(n + 1, m)", "[-#0 + n - 1, #1]"),  # backwards
        ("(n, m + 1)", "[#0, #1 + 1]"),  # the last dimension alone is peeled
    ],
)
def test_other_pads_keep_their_tests(shape, map):
    sizes = shape[1:-1]
    text = f"""
        func @f(%x: f64[n, m]) -> (f64[{sizes}]) {{
          %e: f64[n, m] = exp(%x)
          %a: f64[{sizes}] = pad(%e) {{shape={shape}, map={map}}}
          %t: f64[{sizes}] = tanh(%a)
          return %t
        }}"""
    assert "buffer (n + " not in explain(parse(text))
    rng = np.random.default_rng(0)
    for size in ((1, 1), (3, 2)):
        assert_same_results(parse(text), rng.normal(size=size))


def test_margins_and_tests_of_one_value_can_stand_beside_each_other():
    text = """
        func @f(%x: f64[n, m]) -> (f64[n + 1, m], f64[2*n, m]) {
          %e: f64[n, m] = exp(%x)
          %a: f64[n + 1, m] = pad(%e) {shape=(n + 1, m), map=[#0 + 1, #1]}
          %b: f64[2*n, m] = pad(%e) {shape=(2*n, m), map=[#0 + n, #1]}
          %ta: f64[n + 1, m] = tanh(%a)
          %tb: f64[2*n, m] = tanh(%b)
          return %ta, %tb
        }"""
    rng = np.random.default_rng(0)
    for shape in ((0, 2), (1, 1), (3, 4)):
        assert_same_results(parse(text), rng.normal(size=shape))


def test_a_small_static_dimension_has_no_margins():
    text = """
        func @f(%x: f64[3, m]) -> (f64[4, m]) {
          %e: f64[3, m] = exp(%x)
          %a: f64[4, m] = pad(%e) {shape=(4, m), map=[#0, #1]}
          %b: f64[4, m] = pad(%e) {shape=(4, m), map=[#0 + 1, #1]}
          %c: f64[4, m] = subtract(%a, %b)
          return %c
        }"""
    rng = np.random.default_rng(0)
    assert_same_results(parse(text), rng.normal(size=(3, 5)))


def test_a_factor_that_is_not_finite_stays_inside_of_the_pad():
    text = """
        func @f(%x: f64[n, m]) -> (f64[n + 1, m]) {
          %inf: f64 = inf
          %e: f64[n, m] = multiply(%x, %inf)
          %a: f64[n + 1, m] = pad(%e) {shape=(n + 1, m), map=[#0 + 1, #1]}
          return %a
        }"""
    assert_same_results(parse(text), np.ones((2, 3)))


def test_in_a_loop_the_zeros_are_written_once():
    text = """
        func @f(%u: f64[n, m], %lo: i64, %hi: i64, %step: i64) -> (f64[n, m]) {
          %r: f64[n, m] = for(%lo, %hi, %step, %u) (%i: i64, %v: f64[n, m]) {
            %here: f64[n - 2, m - 2] = view(%v) {shape=(n - 2, m - 2), map=[#0 + 1, #1 + 1]}
            %e: f64[n - 2, m - 2] = tanh(%here)
            %p0: f64[n, m] = pad(%e) {shape=(n, m), map=[#0, #1 + 1]}
            %p1: f64[n, m] = pad(%e) {shape=(n, m), map=[#0 + 2, #1 + 1]}
            %w: f64[n, m] = subtract(%p0, %p1)
            %z: f64[n, m] = add(%v, %w)
            yield %z
          }
          return %r
        }"""
    function = scheduled(text)
    fills = [
        op for op in function.walk() if op.name == "for" and op.attributes.get("kind") == "fill"
    ]
    assert not fills
    rng = np.random.default_rng(0)
    for trips in (0, 1, 4):
        for shape in ((2, 2), (3, 4), (6, 5)):
            args = (np.int64(0), np.int64(trips), np.int64(1))
            assert_same_results(parse(text), rng.normal(size=shape), *args)


def test_a_sum_of_rows_ends_before_the_loop_that_it_shares():
    text = """
        func @f(%x: f64[n, m], %y: f64[n, m]) -> (f64[n], f64) {
          %a: f64[n, m - 1] = view(%y) {shape=(n, m - 1), map=[#0, #1]}
          %b: f64[n + 2, m] = pad(%y) {shape=(n + 2, m), map=[#0, #1]}
          %s: f64[n] = sum(%a) {axes=(1,)}
          %t: f64 = sum(%b) {axes=(0, 1)}
          return %s, %t
        }"""
    rng = np.random.default_rng(0)
    for shape in ((0, 1), (1, 1), (3, 3)):
        assert_same_results(parse(text), rng.normal(size=shape), rng.normal(size=shape))


class Random:
    """A random program of slices, pads and elementwise operations in two dimensions."""

    def __init__(self, seed):
        self.pick = random.Random(seed)
        self.lines = []
        self.arrays = [("x", (0, 0)), ("y", (0, 0))]
        self.sums = []
        for number in range(self.pick.randint(5, 14)):
            self.add(f"v{number}")

    def add(self, name):
        pick = self.pick
        base, by = pick.choice(self.arrays)
        kind = pick.choice(["view", "pad", "pad", "one", "two", "scale", "sum"])
        if kind in ("view", "pad"):
            change = (pick.randint(0, 2), pick.randint(0, 2))
            sign = 1 if kind == "pad" else -1
            size = tuple(d + sign * c for d, c in zip(by, change, strict=True))
            if not any(change) or max(size) > 2 or min(size) < -3:
                return
            at = [pick.randint(0, c) for c in change]
            map = ", ".join(f"#{d} + {o}" if o else f"#{d}" for d, o in enumerate(at))
            self.array(name, size, f"{kind}(%{base}) {{shape=({shape(size)}), map=[{map}]}}")
        elif kind == "one":
            self.array(name, by, f"{pick.choice(['tanh', 'square', 'negative'])}(%{base})")
        elif kind == "scale":
            self.lines.append(f"%c{name}: f64 = {pick.choice([2.0, -0.5])}")
            self.array(name, by, f"multiply(%c{name}, %{base})")
        elif kind == "sum":
            rows = shape(by).split(",")[0]
            self.lines.append(f"%{name}: f64[{rows}] = sum(%{base}) {{axes=(1,)}}")
            self.sums.append((name, f"f64[{rows}]"))
        else:
            other = pick.choice([a for a, size in self.arrays if size == by])
            self.array(name, by, f"{pick.choice(['add', 'multiply'])}(%{base}, %{other})")

    def array(self, name, size, made):
        self.lines.append(f"%{name}: f64[{shape(size)}] = {made}")
        self.arrays.append((name, size))

    def text(self):
        for name, _ in self.arrays[-3:]:
            self.lines.append(f"%s{name}: f64 = sum(%{name}) {{axes=(0, 1)}}")
            self.sums.append((f"s{name}", "f64"))
        results = [(a, f"f64[{shape(size)}]") for a, size in self.arrays[2:][-2:]] + self.sums
        types = ", ".join(type for _, type in results)
        head = f"func @f(%x: f64[n, m], %y: f64[n, m]) -> ({types}) {{"
        end = "return " + ", ".join(f"%{name}" for name, _ in results)
        return "\n".join([head, *self.lines, end, "}"])


def shape(size):
    return ", ".join(
        s if not d else f"{s} {'+' if d > 0 else '-'} {abs(d)}"
        for s, d in zip("nm", size, strict=True)
    )


ENDS = """
    func @f(%u: f64[n, m]) -> (f64, f64, f64[n - 1, m], f64[n - 1, m]) {
      %all: f64[n, m] = square(%u)
      %s: f64 = sum(%all) {axes=(0, 1)}
      %a: f64[n - 1, m] = view(%u) {shape=(n - 1, m), map=[#0 + 1, #1]}
      %b: f64[n - 1, m] = view(%u) {shape=(n - 1, m), map=[#0, #1]}
      %d: f64[n - 1, m] = subtract(%a, %b)
      %r: f64[n - 1, m] = sqrt(%d)
      %t: f64 = sum(%r) {axes=(0, 1)}
      %g: f64[n - 1, m] = multiply(%r, %d)
      return %s, %t, %g, %r
    }"""


def test_neighbours_that_end_alike_share_one_test_and_what_they_compute():
    found = counts(scheduled(ENDS))
    assert (found["for"], found["if"], found["sqrt"], found["subtract"]) == (2, 1, 1, 1)
    rng = np.random.default_rng(0)
    for shape in ((1, 3), (2, 1), (3, 0), (5, 4)):
        assert_same_results(parse(ENDS), np.sort(rng.uniform(size=shape), axis=0))


def test_what_ends_elsewhere_has_a_test_of_its_own():
    text = ENDS.replace("multiply(%r, %d)", "multiply(%r, %d)\n" + OTHER_END).replace(
        "return %s, %t, %g", "return %s, %o, %g"
    )
    assert counts(scheduled(text))["if"] == 3
    rng = np.random.default_rng(0)
    for shape in ((2, 1), (3, 0), (5, 4)):
        assert_same_results(parse(text), np.sort(rng.uniform(size=shape), axis=0))


OTHER_END = """
      %c: f64[n - 2, m] = view(%r) {shape=(n - 2, m), map=[#0, #1]}
      %q: f64[n - 2, m] = square(%c)
      %o: f64 = sum(%q) {axes=(0, 1)}
"""


@pytest.mark.parametrize("start", range(0, 200, 20))
def test_random_slices_and_pads(start):
    for seed in range(start, start + 20):
        function = parse(Random(seed).text())
        rng = np.random.default_rng(seed)
        for size in ((3, 3), (4, 6), (7, 3)):
            assert_same_results(function, rng.normal(size=size), rng.normal(size=size))
