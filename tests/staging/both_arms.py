"""A tracer in miniature, to show that the hooks tell a tracer all it needs.

Values are expressions that are evaluated later. A branch on one runs both arms from the same
start and merges what they leave; a loop runs its body on parameters, again and again until no
further name changes, and is then one expression; nothing else of the function is looked at.
"""

import operator
import sys

from tests.staging.plain import OPERATORS, PassThrough
from tracegrad.staging import UNBOUND, PlainBranch, PlainLoop, PlainStep, stage

MISSING = object()


class Refused(Exception):
    """What the miniature does not do."""


class Abort(BaseException):
    """The body can't be traced as a region."""


class Env:
    """Values of parameters, and of expressions that were evaluated already."""

    def __init__(self, params, outer=None):
        self.params, self.outer, self.known = params, outer, {}

    def __getitem__(self, param):
        env = self
        while param not in env.params:
            env = env.outer
        return env.params[param]


class Sym:
    """An expression: a function of the environment."""

    def __init__(self, compute):
        self.compute = compute

    def at(self, env):
        if self not in env.known:
            env.known[self] = self.compute(env)
        value = env.known[self]
        if value is MISSING:
            raise UnboundLocalError
        return value

    def __bool__(self):
        raise TypeError("a traced value has no truth")

    def __index__(self):
        raise Abort

    def __iter__(self):
        raise TypeError

    __hash__ = object.__hash__


def at(value, env):
    """What a value, or a container of them, is in an environment."""
    if isinstance(value, tuple | list):
        return type(value)(at(each, env) for each in value)
    if value is UNBOUND:
        return MISSING
    return value.at(env) if isinstance(value, Sym) else value


def apply(function, *args):
    return Sym(lambda env: function(*(at(arg, env) for arg in args)))


def _operators():
    for name in ("add", "sub", "mul", "floordiv", "mod", "lt", "le", "gt", "ge", "eq", "ne"):
        function = getattr(operator, name)
        setattr(Sym, f"__{name}__", lambda x, y, function=function: apply(function, x, y))
        setattr(Sym, f"__r{name}__", lambda x, y, function=function: apply(function, y, x))
    Sym.__neg__ = lambda x: apply(operator.neg, x)
    Sym.__abs__ = lambda x: apply(abs, x)


_operators()


def select(condition, first, second):
    """The merge of two arms."""
    if first is second:
        return first
    if isinstance(first, tuple) and isinstance(second, tuple) and len(first) == len(second):
        return tuple(select(condition, x, y) for x, y in zip(first, second, strict=True))
    if type(first) is type(second) and not isinstance(first, Sym) and first == second:
        return first
    for each in (first, second):
        if not isinstance(each, Sym | int | float | tuple | None) and each is not UNBOUND:
            raise Refused(f"an arm chooses {each!r}")

    def compute(env):
        chosen = first if condition.at(env) else second
        if isinstance(chosen, Sym) and chosen not in env.known:
            env.known[chosen] = chosen.compute(env)
        return env.known[chosen] if isinstance(chosen, Sym) else at(chosen, env)

    return Sym(compute)


class Box:
    """An array: names refer to the box, writes go into it."""

    def __init__(self, scope, value):
        self.value = value
        scope.boxes.append(self)

    def __getitem__(self, key):
        return apply(operator.getitem, self.value, key)

    def __setitem__(self, key, new):
        def updated(old, key, new):
            items = list(old)
            items[key] = new
            return tuple(items)

        self.value = apply(updated, self.value, key, new)


class Region:
    """An open arm or loop body."""

    def __init__(self, kind, condition=None, holds=True):
        self.kind, self.condition, self.holds, self.dead = kind, condition, holds, False

    def chosen(self, env):
        return bool(self.condition.at(env)) is self.holds


class Tracing:
    """What the objects below share: reading and setting the state of a frame."""

    def __init__(self, scope, site):
        self.scope, self.site, self.env = scope, site, None
        self.unbound = UNBOUND

    def read(self, frame):
        boxes = [box.value for box in self.scope.boxes]
        return [*self.site.read(frame)], boxes

    def give(self, state):
        names, boxes = state
        self.env = tuple(names)
        for box, value in zip(self.scope.boxes, boxes, strict=False):
            box.value = value


def merged(condition, first, second):
    names = [select(condition, x, y) for x, y in zip(first[0], second[0], strict=True)]
    return names, [select(condition, x, y) for x, y in zip(first[1], second[1], strict=False)]


class Branch(Tracing):
    def __init__(self, scope, condition, site):
        super().__init__(scope, site)
        self.condition = condition

    def first(self):
        self.start = self.read(sys._getframe(1))
        self.one = Region("arm", self.condition, True)
        self.scope.regions.append(self.one)
        return True

    def second(self):
        self.after_first = self.read(sys._getframe(1))
        assert self.scope.regions.pop() is self.one
        self.two = Region("arm", self.condition, False)
        self.scope.regions.append(self.two)
        self.give(self.start)
        return True

    def merge(self):
        after_second = self.read(sys._getframe(1))
        self.join(after_second)
        return True

    def join(self, after_second):
        assert self.scope.regions.pop() is self.two
        if self.one.dead and self.two.dead and self.scope.regions:
            self.scope.regions[-1].dead = True
        if self.one.dead:
            self.give(after_second)
        elif self.two.dead:
            self.give(self.after_first)
        else:
            self.give(merged(self.condition, self.after_first, after_second))


class Ternary(Branch):
    def first(self):
        super().first()
        self.start = self.read(sys._getframe(1))
        return True

    def second(self):
        self.after_first = self.read(sys._getframe(1))
        self.scope.regions.pop()
        self.two = Region("arm", self.condition, False)
        self.scope.regions.append(self.two)
        self.give(self.start)
        return True

    def result(self, first, second):
        self.join(self.read(sys._getframe(1)))
        return select(self.condition, first, second)

    def changed(self, position):
        return True


class Logic(Tracing):
    def __init__(self, scope, site):
        super().__init__(scope, site)
        self.steps = []

    def operand(self, value):
        goes_on = self.site.kind != "or"
        if not isinstance(value, Sym):
            self.value = value
            return bool(value) is goes_on
        self.steps.append((value, self.read(sys._getframe(1))))
        self.scope.regions.append(Region("arm", value, goes_on))
        return True

    def last(self, value):
        self.value = value

    def keep(self, value):
        self.kept = value
        return value

    def result(self, _):
        value, state = self.value, self.read(sys._getframe(1))
        for condition, before in reversed(self.steps):
            self.scope.regions.pop()
            if self.site.kind == "or":
                value = select(condition, condition, value)
                state = merged(condition, before, state)
            else:
                value = select(condition, value, condition)
                state = merged(condition, state, before)
        self.give(state)
        return value

    def changed(self, position):
        return bool(self.steps)


class Loop(Tracing):
    """Trips of a rolled loop: trial runs of the body, then one step that gives the results."""

    live = True

    def __init__(self, scope, site, bounds):
        super().__init__(scope, site)
        self.bounds = bounds  # None for a while
        self.phase, self.carried, self.condition = "start", {}, True
        self.flags, self.concrete = (), None
        self.tries = 0

    def __iter__(self):
        return self

    def __next__(self):
        return self.advance(sys._getframe(1))

    def advance(self, frame):
        scope = self.scope
        if self.phase == "start":
            self.start, self.checks = self.read(frame), len(scope.checks)
            self.depth = len(scope.regions)
            return self.attempt()
        if self.phase == "done":
            raise StopIteration
        end = self.read(frame)
        assert len(scope.regions) == self.depth + 1
        del scope.regions[self.depth :]
        values = [*end[0], *end[1]]
        entry = [*self.entry[0], *self.entry[1]]
        new = [k for k, value in enumerate(values[: len(entry)]) if value is not entry[k]]
        new = [k for k in new if k not in self.carried]
        if self.is_concrete_trip():
            if not self.went:
                raise StopIteration
            self.start, self.env = end, None
            self.checks = len(scope.checks)
            return self.attempt()
        if len(scope.checks) > self.checks:
            raise Refused("a raise in a loop")
        self.tries += 1
        assert self.tries < 20
        if new:
            for k in new:
                self.carried[k] = self.param()
            return self.attempt()
        self.phase, self.live = "done", False
        self.give(self.loop(values))
        return self

    def param(self):
        param = Sym(None)
        param.compute = lambda env: env[param]
        return param

    def is_concrete_trip(self):
        return self.bounds is None and not any(
            isinstance(each, Sym) for each in (self.condition, *self.flags)
        )

    def attempt(self):
        names, boxes = [*self.start[0]], [*self.start[1]]
        for k, param in self.carried.items():
            (names if k < len(names) else boxes)[k if k < len(names) else k - len(names)] = param
        self.entry, self.phase = (names, boxes), "trial"
        self.went, self.flags = True, ()
        self.scope.regions.append(Region("loop"))
        if self.carried:
            self.give(self.entry)
        self.index = self.param()
        return self

    def take(self):
        return self.index

    def test(self, value):
        self.condition = value
        if not isinstance(value, Sym) and not value:
            self.went = False
            return False
        return True

    def leave(self, *flags):
        self.flags = flags
        if not self.is_concrete_trip() or not any(flags):
            return False
        del self.scope.regions[self.depth :]
        return True

    def aborted(self):
        return False

    def loop(self, values):
        """The state after the loop, as expressions."""
        start, result = [[*self.start[0], *self.start[1]] for _ in range(2)]
        order = sorted(self.carried)
        flags, condition, index, bounds = self.flags, self.condition, self.index, self.bounds

        def run(env):
            now = {self.carried[k]: carried_value(start[k], env) for k in order}
            trips = iter(range(*(at(b, env) for b in bounds))) if bounds else None
            while True:
                trip = Env(dict(now), env)
                if trips is not None:
                    position = next(trips, MISSING)
                    if position is MISSING:
                        return now
                    trip.params[index] = position
                elif not at(condition, trip):
                    return now
                now = {self.carried[k]: carried_value(values[k], trip) for k in order}
                if any(at(flag, trip) for flag in flags):
                    return now

        whole = Sym(run)
        for k in order:
            param = self.carried[k]
            result[k] = Sym(lambda env, param=param: whole.at(env)[param])
        count = len(self.start[0])
        return result[:count], result[count:]


def carried_value(value, env):
    """As `at`, but what is missing stays so."""
    if isinstance(value, Sym):
        try:
            return value.at(env)
        except UnboundLocalError:
            return MISSING
    return at(value, env)


class ForLoop(Loop):
    """A ``for``, rolled; after an abort, unrolled from the same start."""

    def __init__(self, scope, site, bounds):
        super().__init__(scope, site, bounds)
        self.unrolled = None

    def __next__(self):
        frame = sys._getframe(1)
        if self.unrolled is not None:
            return self.unrolled.advance(frame, self.start)
        return self.advance(frame)

    def aborted(self):
        if not isinstance(sys.exc_info()[1], Abort):
            return False
        if any(isinstance(bound, Sym) for bound in self.bounds):
            return False
        del self.scope.regions[self.depth :]
        del self.scope.checks[self.checks :]
        self.unrolled = Unrolled(self.scope, self.site, range(*self.bounds))
        return True


class Unrolled(Tracing):
    """Trips one by one; once an exit flag is traced, each later trip is an arm."""

    live = True

    def __init__(self, scope, site, items):
        super().__init__(scope, site)
        self.items, self.arm = iter(items), None

    def __iter__(self):
        return self

    def __next__(self):
        return self.advance(sys._getframe(1))

    def advance(self, frame, start=None):
        self.env = None
        if start is not None and not hasattr(self, "begun"):
            self.begun = True
            self.give(start)
        if self.arm is not None:
            condition, before = self.arm
            self.scope.regions.pop()
            self.give(merged(condition, self.read(frame), before))
            self.arm = None
            names = dict(zip(self.site.names, self.env, strict=True))
            self.flags = tuple(names[name] for name in self.site.exits)
        self.item = next(self.items, MISSING)
        if self.item is MISSING:
            if self.env is None or not self.live:
                raise StopIteration
            self.live = False
            return self
        flags = getattr(self, "flags", ())
        if any(isinstance(flag, Sym) for flag in flags):
            condition = apply(lambda *flags: not any(flags), *flags)
            state = self.read(frame) if self.env is None else ([*self.env], self.read(frame)[1])
            self.arm = condition, state
            self.scope.regions.append(Region("arm", condition, True))
        return self

    def take(self):
        return self.item

    def leave(self, *flags):
        self.flags = flags
        traced = any(isinstance(flag, Sym) for flag in flags) or self.arm is not None
        return any(flags) if not traced else False

    def aborted(self):
        return False


class Trying:
    def __init__(self, scope):
        self.scope, self.depth = scope, len(scope.regions)

    def caught(self):
        del self.scope.regions[self.depth :]

    def final(self):
        if sys.exc_info()[0] is not None:
            del self.scope.regions[self.depth :]


class BothArms(PassThrough):
    abort = Abort

    def __init__(self):
        self.regions, self.checks, self.boxes, self.sites = [], [], [], []

    def name(self, value, name):
        if value is UNBOUND:
            raise UnboundLocalError(name)
        return value

    def call(self, function):
        if function is range:
            return lambda *bounds: ("range", *bounds)
        return super().call(function)

    def inplace(self, operator, old, value):
        return OPERATORS[operator](old, value)

    def branch(self, condition, site):
        self.sites.append(site)
        if not isinstance(condition, Sym):
            return PlainBranch(bool(condition))
        return Branch(self, condition, site)

    def loop(self, iterable, site):
        self.sites.append(site)
        if isinstance(iterable, tuple) and iterable[:1] == ("range",):
            return ForLoop(self, site, iterable[1:])
        return Unrolled(self, site, iterable)

    def while_loop(self, site):
        self.sites.append(site)
        return Loop(self, site, None)

    def clear(self, *flags):
        if not any(isinstance(flag, Sym) for flag in flags):
            return super().clear(*flags)
        return apply(lambda *flags: not any(flags), *flags)

    def raising(self, site):
        return not self.regions

    def raised(self, site, error=None, cause=None):
        if site.guarded:
            raise Refused("a raise in a try")
        self.checks.append((tuple(self.regions), error))
        self.regions[-1].dead = True

    def trying(self, site):
        return Trying(self)

    def ternary(self, condition, site):
        if not isinstance(condition, Sym):
            return super().ternary(condition, site)
        return Ternary(self, condition, site)

    def logic(self, site):
        return Logic(self, site)

    def negate(self, value):
        return apply(operator.not_, value) if isinstance(value, Sym) else not value

    def each(self, iterable, site):
        if isinstance(iterable, tuple) and iterable[:1] == ("range",):
            return range(*iterable[1:])
        return iterable


def traced(function, count, arrays=()):
    """``function`` traced once; a function of ``count`` numbers that evaluates it."""
    scope = BothArms()
    params = [Sym(None) for _ in range(count)]
    for param in params:
        param.compute = lambda env, param=param: env[param]
    args = [Box(scope, p) if k in arrays else p for k, p in enumerate(params)]
    staged = stage(function, scope)
    assert staged is not function
    out = staged(*args)
    assert not scope.regions

    def run(*values):
        values = [tuple(v) if isinstance(v, list) else v for v in values]
        env = Env(dict(zip(params, values, strict=True)))
        for regions, error in scope.checks:
            if all(region.chosen(env) for region in regions):
                raise error
        return at(out.value if isinstance(out, Box) else out, env)

    run.scope = scope
    return run


__all__ = ["BothArms", "Box", "PlainLoop", "PlainStep", "Refused", "Sym", "traced"]
