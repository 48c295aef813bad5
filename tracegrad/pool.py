"""The pool of large arrays' memory: ``tracegrad.pool``.

Results of 128 KiB and more, and what kernels work in, use memory again that former ones gave
back. ``pool.held()`` are the bytes that wait, ``pool.limit()`` how many may wait (256 MiB, or
``TRACEGRAD_POOL_BYTES`` of the environment; ``pool.limit(0)`` turns it off), ``pool.clear()``
gives all of it back to the system.
"""

from tracegrad.backend.pool import clear, held, limit

__all__ = ["clear", "held", "limit"]
