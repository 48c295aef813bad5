"""What a program of the catalogue is: a plain Python function, and how to make its arguments.

Arguments are written as makers, one per parameter: ``vector(n)`` and so on. Values stay away from
0, from 1/2 and from each other's ties, so that differences can be taken where a program compares.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Maker = Callable[[int, np.random.Generator], Any]


def vector(n, rng):
    """Positive numbers, none near 1/2."""
    return rng.uniform(0.05, 0.4, n) + 0.5 * rng.integers(0, 2, n) + 0.05


def signed(n, rng):
    return vector(n, rng) * rng.choice([-1.0, 1.0], n)


def square(n, rng):
    return vector((n, n), rng)


def signed_square(n, rng):
    return signed((n, n), rng)


def triples(n, rng):
    return signed((n, 3), rng)


def pairs(n, rng):
    return signed((n, 2), rng)


def small(n, rng):
    """A vector of five, whatever n is."""
    return signed(5, rng)


def small_square(n, rng):
    return signed((3, 3), rng)


def empty(n, rng):
    return np.zeros(0)


def single(n, rng):
    """A float32 vector."""
    return vector(n, rng).astype(np.float32)


def scalar(n, rng):
    return 0.6


def negative(n, rng):
    return -0.7


def count(n, rng):
    """The size itself, a Python integer."""
    return n


def three(n, rng):
    return 3


def places(n, rng):
    """Indices of elements, with repeats, in no order."""
    return rng.integers(0, max(n, 1), n)


def order(n, rng):
    """All indices, each once."""
    return rng.permutation(n)


def following(n, rng):
    """For each index the next one; the last leads back to the first."""
    return (np.arange(n) + 1) % max(n, 1)


def counts(n, rng):
    """Small numbers, zero among them."""
    return (np.arange(n) * 5 + 1) % 4


def flags(n, rng):
    return (np.arange(n) * 7 + 2) % 3 > 0


def always(value):
    """The same argument for all sizes; a float is differentiated."""
    return lambda n, rng: value


@dataclass(frozen=True)
class LoopProgram:
    """A program of the catalogue.

    Attributes
    ----------
    function : plain Python, gives a float.
    makers : one per argument.
    work : operations grow like n ** work; None if they don't grow with n.
    second : whether the gradient of the gradient is checked too.
    compiled : whether kernels are compiled; the others are interpreted only.
    rolled : whether the traced program has one size for every n.
    copies : whether an array may be copied in a loop: the program itself asks for it.
    refusal : a text. The program may be refused with an error that has it; never be wrong.
    """

    function: Callable[..., Any]
    makers: tuple[Maker, ...]
    work: int | None
    second: bool
    compiled: bool
    rolled: bool
    copies: bool
    refusal: str | None

    @property
    def name(self):
        return self.function.__name__

    def arguments(self, n, seed=0):
        rng = np.random.default_rng([seed, n])
        return [make(n, rng) for make in self.makers]


PROGRAMS: dict[str, LoopProgram] = {}


def program(
    *makers,
    work=1,
    second=True,
    compiled=False,
    rolled=True,
    copies=False,
    refusal=None,
):
    """Enter a function into the catalogue; see `LoopProgram`."""

    def enter(function):
        name = function.__name__
        assert name not in PROGRAMS, f"two programs are called {name}"
        PROGRAMS[name] = LoopProgram(
            function, makers, work, second, compiled, rolled, copies, refusal
        )
        return function

    return enter
