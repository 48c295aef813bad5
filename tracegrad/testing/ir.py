"""Tests of passes and transforms as pairs of IR texts."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from textwrap import dedent

from tracegrad.ir.core import Function
from tracegrad.ir.text import canonical, parse, print_function
from tracegrad.ir.verifier import verify


def assert_pass(
    transform: Callable[[Function], Function], before: str, after: str, *, parts: bool = False
) -> None:
    """``transform`` turns the IR text ``before`` into ``after``, up to names of values.

    Parameters
    ----------
    transform : Function → Function; its input and result are verified.
    parts : whether the sweep of each operation (``!reverse``) is compared too.
    """
    result = verify(transform(verify(parse(dedent(before)))))
    assert_same(result, parse(dedent(after)), parts=parts)


def assert_same(result: Function, expected: Function, *, parts: bool = False) -> None:
    """Two functions are structurally equal; if not, shows both and where they differ."""
    left, right = canonical(expected, parts=parts), canonical(result, parts=parts)
    if left != right:
        changed = "\n".join(
            difflib.unified_diff(
                left.split("\n"), right.split("\n"), "expected", "result", lineterm="", n=1
            )
        )
        raise AssertionError(f"not the expected function; got\n{print_function(result)}\n{changed}")
