"""Running a kernel's text with its results, and what it works in, given by the caller."""

import numpy as np

from tracegrad.backend.compile import run_plain
from tracegrad.backend.emit import emit_loop_form, entry_name
from tracegrad.ir.types import evaluate
from tracegrad.ir.verifier import verify
from tracegrad.schedule.given import give


def garbage(shape, dtype):
    return np.full(shape, np.nan if dtype.kind == "f" else 77).astype(dtype)


def run_given(loops, arguments, expected, *, scratch, wanted=None):
    """The results of ``loops``, a function in loop form, with arrays given to it.

    The arrays hold garbage, and scratch arrays what a former run left there.
    """
    form = give(loops, wanted, scratch=scratch)
    function = verify(form.function, form="loop", given=form.outputs + form.scratch)
    source = emit_loop_form(function, form.outputs, form.scratch)
    call = run_plain(source, entry_name(function))
    arguments = [np.array(a) if np.ndim(a) else np.asarray(a)[()] for a in arguments]
    sizes = {
        name: int(arguments[i]) if axis is None else arguments[i].shape[axis]
        for name, (i, axis) in function.size_sources().items()
        if i < len(arguments)
    }
    work = []
    for p in form.scratch:
        param = function.params[p]
        shape = [evaluate(d, sizes) for d in param.shape]
        work.append(garbage(shape, param.dtype.numpy))
    for _ in range(2):
        outputs = [
            garbage(np.shape(e), r.dtype.numpy)
            for e, r, at in zip(expected, loops.results, form.results, strict=True)
            if at is not None
        ]
        returned = call(*arguments, *outputs, *work)
        count = len(form.results) - len(outputs)
        rest = iter((returned,) if count == 1 else returned if count else ())
        given = iter(outputs)
        found = [next(rest) if at is None else next(given) for at in form.results]
        for result in found:
            others = [*work, *arguments, *(f for f in found if f is not result)]
            if np.ndim(result):
                assert not any(np.shares_memory(result, o) for o in others if np.ndim(o)), source
    return found
