"""Interleaved timing: a round gives each contestant one sample, so noise hits all alike."""

from __future__ import annotations

import gc
import timeit
from collections.abc import Mapping

from .peers import Contestant

__all__ = ["interleave"]

SLOW = 0.1
"""Seconds of a call that is not warmed up: what the caches hold makes no difference to it."""
VERY_SLOW = 1.0
"""Seconds of a call of which one sample will do."""


def interleave(
    contestants: Mapping[str, Contestant],
    *,
    rounds: int,
    sample: float,
    patience: float = 10.0,
) -> dict[str, list[float]]:
    """Seconds per call, one figure per round, for each contestant.

    Parameters
    ----------
    contestants : already called once, so that nothing compiles here.
    rounds : how many samples of each, fewer of those that take long; the order A B C ... is the
        same in each round.
    patience : seconds after which a contestant sits out the rounds that are left, once it has
        done three (one, if a call takes over a second).
    sample : seconds that a sample should take at least; a call that takes longer is timed alone.
    """
    timers = {name: _timer(contestant) for name, contestant in contestants.items()}
    numbers: dict[str, int] = {}
    each: dict[str, float] = {}
    for name, timer in timers.items():
        numbers[name], each[name] = _calls(timer, sample)
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    # What is there stays: a collection in each round need not look at all peers' graphs again.
    gc.collect()
    gc.freeze()
    for done in range(rounds):
        gc.collect()
        for name, timer in timers.items():
            enough = 1 if each[name] > VERY_SLOW else 3
            if done >= enough and sum(seconds[name]) * numbers[name] > patience:
                continue
            if each[name] < SLOW:
                timer.timeit(1)  # what the previous contestant left in the caches is not ours
            seconds[name].append(timer.timeit(numbers[name]) / numbers[name])
    gc.unfreeze()
    return seconds


def _timer(contestant: Contestant) -> timeit.Timer:
    """A loop whose body is the call alone, its arguments local names."""
    names = {f"a{position}": value for position, value in enumerate(contestant.args)}
    positional = list(names)
    names |= contestant.options
    # As defaults of timeit's inner function they are locals, as they would be in a caller's loop.
    setup = "; ".join(f"{name} = {name}_" for name in ("call", *names))
    values = {f"{name}_": value for name, value in names.items()}
    given = ", ".join([*positional, *(f"{name}={name}" for name in contestant.options)])
    return timeit.Timer(f"call({given})", setup, globals={"call_": contestant.call, **values})


def _calls(timer: timeit.Timer, sample: float) -> tuple[int, float]:
    """How many calls fill ``sample`` seconds, and what one takes about."""
    number = 1
    while True:
        seconds = timer.timeit(number)
        if seconds >= sample or number >= 10_000_000:
            return number, seconds / number
        if seconds >= 0.2 * sample:
            return max(1, round(number * sample / seconds)), seconds / number
        number *= 4
