"""Sums over all pairs visit each pair once."""

import random

import numpy as np
import pytest

from tests.schedule.support import assert_same_results, counts, scheduled
from tracegrad.ir.text import parse
from tracegrad.schedule import explain

FORCES = """
    func @f(%x: f64[n, 3], %m: f64[n]) -> (f64, f64[n, 3]) hints n = 200 {
      %a: f64[n, n, 3] = view(%x) {shape=(n, n, 3), map=[#0, #2]}
      %b: f64[n, n, 3] = view(%x) {shape=(n, n, 3), map=[#1, #2]}
      %d: f64[n, n, 3] = subtract(%a, %b)
      %q: f64[n, n, 3] = square(%d)
      %r: f64[n, n] = sum(%q) {axes=(2,)}
      %one: f64 = 1.0
      %s: f64[n, n] = add(%r, %one)
      %w: f64[n, n] = reciprocal(%s)
      %mi: f64[n, n] = view(%m) {shape=(n, n), map=[#0]}
      %mj: f64[n, n] = view(%m) {shape=(n, n), map=[#1]}
      %mm: f64[n, n] = multiply(%mi, %mj)
      %p: f64[n, n] = multiply(%mm, %w)
      %e: f64 = sum(%p) {axes=(0, 1)}
      %pk: f64[n, n, 3] = view(%p) {shape=(n, n, 3), map=[#0, #1]}
      %f: f64[n, n, 3] = multiply(%d, %pk)
      %force: f64[n, 3] = sum(%f) {axes=(1,)}
      return %e, %force
    }"""


def lines(text):
    return [line.strip() for line in explain(parse(text)).splitlines()]


def test_forces_between_bodies_are_computed_once_for_both():
    found = lines(FORCES)
    assert found.count("for j (pairs):") == 1
    assert [line.split(" = ")[0] for line in found[found.index("for j (pairs):") + 1 :][:4]] == [
        "r[i, j]",
        *("t27", "t31[i, k]", "t32[j, k]"),
    ]
    function = scheduled(FORCES)
    # One reciprocal for a pair, and one for the diagonal, which is kept for the other result.
    assert counts(function)["reciprocal"] == 2
    assert counts(function)["if"] == 0


@pytest.mark.parametrize("n", [0, 1, 2, 3, 40])
def test_pairs_are_right_at_any_size(n):
    rng = np.random.default_rng(n)
    assert_same_results(parse(FORCES), rng.normal(size=(n, 3)), rng.normal(size=n))


def pair_program(body, results, hint=200, params="%x: f64[n], %m: f64[n]"):
    types = ", ".join(type for _, type in results)
    names = ", ".join(name for name, _ in results)
    return f"""
        func @f({params}) -> ({types}) hints n = {hint} {{
          %a: f64[n, n] = view(%x) {{shape=(n, n), map=[#0]}}
          %b: f64[n, n] = view(%x) {{shape=(n, n), map=[#1]}}
          %d: f64[n, n] = subtract(%a, %b)
          {body}
          return {names}
        }}"""


KERNEL = """%q: f64[n, n] = square(%d)
          %k: f64[n, n] = exp(%q)
          %mj: f64[n, n] = view(%m) {shape=(n, n), map=[#1]}
          %km: f64[n, n] = multiply(%k, %mj)
          %s: f64[n] = sum(%km) {axes=(1,)}"""


def is_paired(text):
    return any("pairs" in line for line in lines(text))


def test_a_summand_need_not_be_symmetric_if_most_of_its_work_is():
    text = pair_program(KERNEL, [("%s", "f64[n]")])
    assert is_paired(text)
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 30):
        assert_same_results(parse(text), 0.1 * rng.normal(size=n), rng.normal(size=n))


def test_sums_over_either_end_share_the_loop():
    body = f"""{KERNEL}
          %h: f64[n, n] = multiply(%d, %km)
          %t: f64[n] = sum(%h) {{axes=(0,)}}
          %u: f64 = sum(%km) {{axes=(0, 1)}}"""
    text = pair_program(body, [("%s", "f64[n]"), ("%t", "f64[n]"), ("%u", "f64")])
    assert lines(text).count("for j (pairs):") == 1
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 30):
        assert_same_results(parse(text), 0.1 * rng.normal(size=n), rng.normal(size=n))


def test_what_cancels_on_the_diagonal_stays_nan():
    body = """%r: f64[n, n] = reciprocal(%d)
          %q: f64[n, n] = multiply(%d, %r)
          %s: f64[n] = sum(%q) {axes=(1,)}
          %e: f64 = sum(%r) {axes=(0, 1)}"""
    text = pair_program(body, [("%s", "f64[n]"), ("%e", "f64")])
    assert_same_results(parse(text), np.array([1.0, 2.0, 4.0]), np.ones(3))


@pytest.mark.parametrize(
    ("body", "result", "reason"),
    [
        (KERNEL, ("%k", "f64[n, n]"), "the matrix is wanted too"),
        (
            """%w: f64[n, n] = exp(%a)
          %v: f64[n, n] = tanh(%b)
          %z: f64[n, n] = multiply(%d, %w)
          %y: f64[n, n] = add(%z, %v)
          %g: f64[n, n] = exp(%y)
          %s: f64[n] = sum(%g) {axes=(1,)}""",
            ("%s", "f64[n]"),
            "the two directions share too little",
        ),
        (
            """%p: f64[n + 1, n] = pad(%d) {shape=(n + 1, n), map=[#0, #1]}
          %v: f64[n, n] = view(%p) {shape=(n, n), map=[#0 + 1, #1]}
          %g: f64[n, n] = exp(%v)
          %s: f64[n] = sum(%g) {axes=(1,)}""",
            ("%s", "f64[n]"),
            "a pad moves one end",
        ),
        (
            """%e: f64[n, n] = exp(%d)
          %c: f64[n, n] = cumsum(%e) {axis=1}
          %s: f64[n] = sum(%c) {axes=(1,)}""",
            ("%s", "f64[n]"),
            "a scan runs along one end",
        ),
    ],
)
def test_no_pairs_where(body, result, reason):
    results = [("%s", "f64[n]"), result] if result[0] != "%s" else [result]
    text = pair_program(body, results)
    assert not is_paired(text), reason
    rng = np.random.default_rng(0)
    for n in (1, 5):
        assert_same_results(parse(text), 0.1 * rng.normal(size=n), rng.normal(size=n))


def test_no_pairs_of_few_or_of_a_fixed_number():
    assert not is_paired(pair_program(KERNEL, [("%s", "f64[n]")], hint=20))
    text = pair_program(KERNEL, [("%s", "f64[n]")]).replace("n, n", "100, 100")
    assert not is_paired(text.replace("[n]", "[100]").replace("hints n = 200", ""))


def test_a_matrix_of_pairs_that_is_given_is_read_in_a_loop_of_its_own():
    body = f"""{KERNEL}
          %w2: f64[n, n] = exp(%w)
          %t: f64[n] = sum(%w2) {{axes=(1,)}}"""
    params = "%x: f64[n], %m: f64[n], %w: f64[n, n]"
    text = pair_program(body, [("%s", "f64[n]"), ("%t", "f64[n]")], params=params)
    found = lines(text)
    assert "for j (pairs):" in found
    assert found.index("w2[k, l] = exp: register") < found.index("for j (pairs):")
    assert counts(scheduled(text))["if"] == 0
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 9):
        x, m, w = 0.1 * rng.normal(size=n), rng.normal(size=n), rng.normal(size=(n, n))
        assert_same_results(parse(text), x, m, w)


def random_program(seed):
    """Elementwise operations on pairs, and sums of them over either end or both."""
    pick = random.Random(seed)
    body = ["%mi: f64[n, n] = view(%m) {shape=(n, n), map=[#0]}"]
    body += ["%mj: f64[n, n] = view(%m) {shape=(n, n), map=[#1]}"]
    arrays, results = ["d", "d", "mi", "mj", "a"], []
    for k in range(pick.randint(3, 10)):
        x, y = pick.choice(arrays), pick.choice(arrays)
        kind = pick.choice(["square", "tanh", "absolute", "negative", "", "", "", "", "sum"])
        if kind == "sum":
            axes = pick.choice(["(0,)", "(1,)", "(0, 1)"])
            type = "f64" if axes == "(0, 1)" else "f64[n]"
            body.append(f"%s{k}: {type} = sum(%{x}) {{axes={axes}}}")
            results.append((f"%s{k}", type))
            continue
        op = (
            f"{kind}(%{x})"
            if kind
            else f"{pick.choice(['add', 'multiply', 'subtract', 'maximum'])}(%{x}, %{y})"
        )
        body.append(f"%v{k}: f64[n, n] = {op}")
        arrays.append(f"v{k}")
    for k, x in enumerate(arrays[-2:]):
        axes = "(1,)" if k else "(0,)"
        body.append(f"%t{k}: f64[n] = sum(%{x}) {{axes={axes}}}")
        results.append((f"%t{k}", "f64[n]"))
    return pair_program("\n          ".join(body), results)


@pytest.mark.parametrize("start", range(0, 150, 25))
def test_random_sums_of_pairs(start):
    for seed in range(start, start + 25):
        function = parse(random_program(seed))
        rng = np.random.default_rng(seed)
        for n in (1, 2, 7):
            assert_same_results(function, rng.normal(size=n), rng.normal(size=n))
