"""Checking derivatives of programs with loops, branches and writes; counting what they cost."""

import numpy as np

from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.verifier import verify
from tracegrad.passes import optimize
from tracegrad.testing.numerics import numerical_jvp
from tracegrad.transforms.vjp import vjp


def run(function, *arrays, observer=None):
    return evaluate(function, *[np.asarray(a) for a in arrays], observer=observer)


def floats(function):
    return [k for k, p in enumerate(function.params) if p.dtype.is_float]


def adjoint(function, *, optimized=False):
    """``(*params, *result_bars) -> (*results, *param_bars)`` for all floats, verified."""
    if optimized:
        function = optimize(function)
    result = verify(vjp(function, floats(function)))
    return verify(optimize(result)) if optimized else result


def second(function, first):
    """The adjoint of the cotangents that ``first``, the adjoint of ``function``, gives."""
    seeded = list(range(len(function.results), len(first.results)))
    return verify(vjp(first, floats(first), seeded))


def draw(rng, values):
    return [np.asarray(rng.normal(size=np.shape(v))) for v in values]


def check_first(function, arguments, *, rtol=1e-6, optimized=False, seed=0):
    """⟨out_bar, directional difference⟩ = ⟨x_bar, x_dot⟩ along several directions."""
    first = adjoint(function, optimized=optimized)
    return _check(function, first, arguments, len(function.results), rtol, seed)


def check_second(function, arguments, *, rtol=1e-5, optimized=False, seed=0):
    """The same for the cotangents that the adjoint gives."""
    first = adjoint(function, optimized=optimized)
    twice = second(function, first)
    if optimized:
        twice = verify(optimize(twice))
    rng = np.random.default_rng(seed)
    results = run(function, *arguments)
    bars = draw(rng, [r for r in results if r.dtype.kind == "f"])
    given = [*arguments, *bars]
    count = len(first.results)
    _check(first, twice, given, count, rtol, seed, start=len(function.results))
    return twice


def _check(function, derived, arguments, count, rtol, seed, *, start=0):
    rng = np.random.default_rng(seed + 1)
    values = run(function, *arguments)
    seeds = [v for v in values[start:] if v.dtype.kind == "f"]
    bars = draw(rng, seeds)
    found = run(derived, *arguments, *bars)
    for a, b in zip(found[:count], values, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=str(derived))
    moved = floats(function)
    x_bars = found[count:]
    for trial in range(2):
        tangents = [None] * len(arguments)
        for k in moved:
            tangents[k] = rng.normal(size=np.shape(arguments[k]))
        dots = numerical_jvp(lambda *xs: run(function, *xs), arguments, tangents)
        left = [np.sum(b * d) for b, d in zip(bars, _floats(values, dots, start), strict=True)]
        right = [np.sum(b * tangents[k]) for b, k in zip(x_bars, moved, strict=True)]
        scale = 1.0 + sum(map(abs, left)) + sum(map(abs, right))
        error = abs(sum(left) - sum(right))
        assert error <= rtol * scale, (
            f"trial {trial}: {sum(left)!r} by differences, {sum(right)!r} by the adjoint\n"
            f"{function}\n{derived}"
        )
    return derived


def _floats(values, dots, start):
    return [d for v, d in list(zip(values, dots, strict=True))[start:] if v.dtype.kind == "f"]


# --- cost -------------------------------------------------------------------------------------

FREE = frozenset(("const", "dim", "view", "reshape", "for", "while", "tape"))
WRITES = frozenset(("update", "accumulate"))


class Cost:
    """Elements that are computed or moved, if writes are done in place where they can be."""

    def __init__(self, function):
        self.elements = 0
        self.copies = copies(function)

    def __call__(self, op, operands, results):
        self.elements += sum(operands[k].size for k in self.copies.get(op, ()))
        if op.name in WRITES:
            self.elements += operands[1].size + 1
        elif op.name == "if":
            self.elements += 1
        elif op.name == "ensure":
            self.elements += 1 + (results[0].size if results[0].size > operands[0].size else 0)
        elif op.name == "index":
            self.elements += 1 + results[0].size
        elif op.name not in FREE:
            self.elements += 1 + max([r.size for r in (*results, *operands)])


def copies(function):
    """Operation → the operands that must be copied since they are written to and read again."""
    place = {}

    def enter(region, holder):
        for k, op in enumerate(region.ops):
            place[op] = region, k, holder
            for inner in op.regions:
                enter(inner, op)

    def reads(op):
        yield from op.operands
        for region in op.regions:
            yield from region.yields
            for inner in region.ops:
                yield from reads(inner)

    def read_again(value, op):
        region, k, holder = place[op]
        if value in region.yields or any(value in reads(later) for later in region.ops[k + 1 :]):
            return True
        if value in region.params or (value.op in place and place[value.op][0] is region):
            return False
        # From outside: the next trip of a loop reads it again.
        return holder is None or holder.name != "if" or read_again(value, holder)

    def fresh(value):
        """An array that nothing holds; a broadcast must be written out."""
        return value not in function.params and (value.op is None or value.op.name != "view")

    enter(function.body, None)
    found = {}
    for op in place:
        if op.name in WRITES:
            written = [0]
        elif op.name in ("for", "while"):
            first = 3 * (op.name == "for")
            body = op.regions[-1]
            params = body.params[len(body.params) - len(body.yields) :]
            written = [
                first + k
                for k, (p, y) in enumerate(zip(params, body.yields, strict=True))
                if p is not y and p.rank
            ]
        else:
            continue
        found[op] = [k for k in written if read_again(v := op.operands[k], op) or not fresh(v)]
        if op.regions:
            inside = {v for r in op.regions for inner in r.ops for v in reads(inner)}
            found[op] += [k for k in written if op.operands[k] in inside and k not in found[op]]
    return {op: ks for op, ks in found.items() if ks}


def cost(function, *arrays):
    counted = Cost(function)
    run(function, *arrays, observer=counted)
    return counted.elements


def copies_in_loops(function):
    """The operations in loops that copy an array in each trip."""
    copied = copies(function)
    return [
        inner
        for op in function.walk()
        if op.name in ("for", "while")
        for region in op.regions
        for inner in region.walk()
        if inner in copied
    ]


def stored_by(op):
    """The tapes that come out of an operation: of a loop that fills them."""
    if op.name not in ("for", "while"):
        return []
    inits = op.operands[len(op.operands) - len(op.results) :]
    return [r for r, init in zip(op.results, inits, strict=True) if is_tape(init)]


def is_tape(value):
    while value.op is not None and value.op.name in ("update", "ensure"):
        value = value.op.operands[0]
    if value.op is not None and value.op.name in ("for", "while"):
        return value in stored_by(value.op)
    return value.op is not None and value.op.name in ("blank", "tape")


def tape_elements(function, *arrays):
    """The elements of all tapes of a function."""
    sizes = []

    def observer(op, operands, results):
        if op in outermost:
            stored = stored_by(op)
            sizes.extend(r.size for v, r in zip(op.results, results, strict=True) if v in stored)

    outermost = set(function.body.ops)
    run(function, *arrays, observer=observer)
    return sum(sizes)
