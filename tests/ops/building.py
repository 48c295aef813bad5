"""Building small functions for the tests of rules and helper functions."""

from tracegrad.ir.builder import Builder
from tracegrad.ir.core import Function, Region
from tracegrad.ir.types import ArrayType, f64


def built(make, *types, names="xyzuvw"):
    """The function whose results ``make(*params)`` gives; a shape stands for f64 of that shape."""
    types = [t if isinstance(t, ArrayType) else ArrayType(f64, t) for t in types]
    with Builder() as build:
        params = [build.param(t, name) for t, name in zip(types, names, strict=False)]
        results = make(*params)
        results = results if isinstance(results, (tuple, list)) else (results,)
        return live(build.function("f", results))


def live(function):
    """``function`` without the operations that nothing uses (views left over by composing)."""
    needed, ops = set(function.results), []
    for op in reversed(function.body.ops):
        if any(r in needed for r in op.results) or op.has_effects:
            ops.append(op)
            needed.update(op.operands)
            for region in op.regions:
                needed.update(v for inner in region.walk() for v in inner.operands)
                needed.update(region.yields)
    body = Region(function.params, ops[::-1], function.results)
    return Function(function.name, body)


def names_of(function):
    """The operations of ``function``, outer before inner."""
    return [op.name for op in function.walk()]
