"""For tests: loops in chunks however small they are, and whatever they are worth."""

from contextlib import contextmanager

from tracegrad.backend import threads
from tracegrad.schedule import parallel


@contextmanager
def eager_threads(count=3):
    """In the block each loop that may be split is split, into ``count`` chunks if it can be."""
    saved = parallel.GRAIN, parallel.SMALL, threads._state[0], threads._state[1]
    parallel.GRAIN, parallel.SMALL = 0, 1 << 60
    threads._state[0], threads._state[1] = count, 1
    try:
        yield
    finally:
        parallel.GRAIN, parallel.SMALL, threads._state[0], threads._state[1] = saved
