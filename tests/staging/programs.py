"""Random Python programs of nested control flow, and how to run a text as a function.

Values are small integers; every statement that matters writes to a log, so that two runs of
one program can be compared step by step. Names may be unbound, exceptions may be raised
anywhere, context managers may swallow them or raise their own.
"""

import linecache
import random
import textwrap
import traceback

NAMES = ("a", "b", "c", "d")


class Stop(Exception):
    """The program ran long enough."""


class Context:
    """Logs; may swallow the exception of its body, or raise one of its own when left."""

    def __init__(self, log, kind):
        self.log, self.kind = log, kind

    def __enter__(self):
        self.log.append(f"enter {self.kind}")
        return self.kind

    def __exit__(self, kind, error, trace):
        self.log.append(f"exit {self.kind} {kind and kind.__name__}")
        if self.kind == 3:
            raise KeyError("from exit")
        return self.kind == 2 and kind is not Stop


def environment():
    """Globals for one run of a program: a log that stops a run that takes too long."""
    log = []

    def say(*values):
        log.append(values)
        if len(log) > 300:
            raise Stop
        return values[-1]

    return {"say": say, "log": log, "ctx": lambda kind: Context(log, kind), "g": 0}


def define(text, filename, name="f", **values):
    """The function ``name`` of a text, which `linecache` knows under ``filename``."""
    text = textwrap.dedent(text)
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    namespace = {"__name__": "program", **values}
    exec(compile(text, filename, "exec"), namespace)
    return namespace[name]


def outcome(function, args, filename):
    """What a call does: its value, or its exception with the lines it passed through."""
    try:
        return ("value", repr(function(*args)))
    except Exception as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == filename and frame.name != "<lambda>"
        ]
        context = error.__context__
        return (type(error), str(error), lines, type(context), error.__suppress_context__)


class Generator:
    """Writes one random program."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.left = self.random.randint(3, 13)
        self.lines = []
        self.count = 0

    def program(self):
        self.lines = ["def f(n, m, xs):"]
        if self.chance(0.25):
            self.line(1, "global g")
        for name in NAMES[: self.random.randint(0, 4)]:
            self.line(1, f"{name} = {self.random.randint(-2, 3)}")
        while self.left > 0:
            self.statement(1, loops=0, in_function=True)
        if self.chance(0.6):
            self.line(1, f"return ({', '.join(self.random.choices(NAMES, k=2))}, xs, g)")
        return "\n".join(self.lines) + "\n"

    # -- help

    def chance(self, probability):
        return self.random.random() < probability

    def line(self, depth, text):
        self.lines.append("    " * depth + text)

    def name(self):
        return self.random.choice(NAMES)

    def fresh(self):
        self.count += 1
        return self.count

    # -- expressions

    def value(self, depth=0):
        pick = self.random.randint(0, 15 if depth < 2 else 6)
        if pick <= 3:
            return self.random.choice([*NAMES, "n", "m"])
        if pick <= 5:
            return str(self.random.randint(-2, 3))
        if pick == 6:
            return f"say({self.fresh()}, {self.name()})"
        x, y = self.value(depth + 1), self.value(depth + 1)
        if pick <= 9:
            return f"({x} {self.random.choice('+-*')} {y})"
        if pick == 10:
            return f"({x} if {self.test(depth + 1)} else {y})"
        if pick == 11:
            return f"({x} {self.random.choice(['and', 'or'])} {y})"
        if pick == 12:
            return f"({self.name()} := {x})" if self.chance(0.5) else f"abs({x})"
        if pick == 13:
            return f"xs[{x} % 3]"
        if pick == 14:
            return (
                f"sum([{x} for q{depth} in range(3) if {self.test(depth + 1)} and q{depth} != 1])"
            )
        return f"len([q for q in xs if (q if {self.test(depth + 1)} else {y})])"

    def test(self, depth=0):
        pick = self.random.randint(0, 8)
        x, y = self.value(depth + 1), self.value(depth + 1)
        if pick <= 2 or depth > 2:
            return f"{x} {self.random.choice(['<', '>', '==', '!=', '<='])} {y}"
        if pick == 3:
            return f"{x} < {y} <= {self.value(depth + 1)} != {self.random.randint(0, 3)}"
        if pick == 4:
            return f"not {self.test(depth + 1)}"
        if pick == 5:
            return f"{x} {self.random.choice(['in', 'not in'])} xs"
        if pick == 6:
            return f"({self.test(depth + 1)} and {self.test(depth + 1)} or {x})"
        if pick == 7:
            return f"say({self.fresh()}, {x})"
        return f"({self.test(depth + 1)} or {self.name()} is None)"

    # -- statements

    def block(self, depth, loops, in_function=True, most=3):
        for _ in range(self.random.randint(1, most)):
            self.statement(depth, loops, in_function)

    def statement(self, depth, loops, in_function):
        self.left -= 1
        if self.left < 0 or depth > 6:
            return self.simple(depth)
        kinds = [self.simple] * 6
        if loops:
            kinds += [self.jump] * 5
        kinds += [self.leave] * 1 + [self.branch] * 6
        kinds += [self.match, self.attempt, self.attempt, self.context, self.closure]
        if loops < 3:
            kinds += [self.loop] * 4
        kind = self.random.choice(kinds)
        if kind in (self.branch, self.match, self.attempt, self.context, self.loop):
            return kind(depth, loops)
        return kind(depth)

    def simple(self, depth):
        pick = self.random.randint(0, 13)
        name, value = self.name(), self.value()
        if pick <= 4:
            self.line(depth, f"{name} = {value}")
        elif pick == 5:
            self.line(depth, f"{name} {self.random.choice('+-*')}= {value}")
        elif pick == 6:
            self.line(depth, f"xs[{value} % 3] {self.random.choice(['', '+', '-'])}= {name}")
        elif pick == 7:
            self.line(depth, f"{name}, {self.name()} = {self.name()}, {value}")
        elif pick == 8:
            self.line(depth, f"del {name}")
        elif pick == 9:
            self.line(depth, f"assert {self.test()}, say({self.fresh()}, 'message')")
        elif pick == 10:
            error = self.random.choice(["ValueError", "KeyError"])
            self.line(depth, f"if {self.test()}: raise {error}({self.fresh()})")
        elif pick == 11:
            self.line(depth, f"g = say({self.fresh()}, {value})")
        else:
            self.line(depth, f"say({self.fresh()}, {value})")

    def jump(self, depth):
        if self.chance(0.75):
            self.line(depth, f"if {self.test()}:")
            depth += 1
            if self.chance(0.4):
                self.simple(depth)
        self.line(depth, self.random.choice(["break", "continue"]))

    def leave(self, depth):
        if depth == 1 or self.chance(0.8):
            self.line(depth, f"if {self.test()}:")
            depth += 1
        self.line(depth, self.random.choice([f"return {self.value()}", "return"]))

    def branch(self, depth, loops):
        self.line(depth, f"if {self.test()}:")
        self.block(depth + 1, loops)
        while self.chance(0.25):
            self.line(depth, f"elif {self.test()}:")
            self.block(depth + 1, loops)
        if self.chance(0.5):
            self.line(depth, "else:")
            self.block(depth + 1, loops)

    def match(self, depth, loops):
        self.line(depth, f"match {self.value()}:")
        for _ in range(self.random.randint(1, 3)):
            patterns = ["0", "1 | -1", "None", "2 | 3 as c", f"b if {self.test()}"]
            if self.chance(0.3):
                patterns += ["int(d)", "[a, *_]"]
            pattern = self.random.choice(patterns)
            if " if " not in pattern and self.chance(0.3):
                pattern += f" if {self.test()}"
            self.line(depth + 1, f"case {pattern}:")
            self.block(depth + 2, loops)
        if self.chance(0.4):
            self.line(depth + 1, f"case {self.random.choice(['_', 'a'])}:")
            self.block(depth + 2, loops)

    def attempt(self, depth, loops):
        self.line(depth, "try:")
        self.block(depth + 1, loops)
        handlers = self.random.randint(0, 2)
        if handlers:
            kinds = ["ValueError", "(KeyError, NameError) as error", "Exception as error"]
            for kind in self.random.sample(kinds, handlers):
                self.line(depth, f"except {kind}:")
                if self.chance(0.2):
                    self.line(depth + 1, "raise")
                self.block(depth + 1, loops, most=2)
            if self.chance(0.4):
                self.line(depth, "else:")
                self.block(depth + 1, loops, most=2)
        if not handlers or self.chance(0.4):
            self.line(depth, "finally:")
            if self.chance(0.1):
                self.block(depth + 1, loops, most=2)
            else:
                self.simple(depth + 1)

    def context(self, depth, loops):
        kinds = [f"ctx({self.random.randint(1, 3)})" for _ in range(self.random.randint(1, 2))]
        self.line(depth, f"with {', '.join(kinds)} as {self.name()}:")
        self.block(depth + 1, loops)

    def closure(self, depth):
        number, outer = self.fresh(), self.name()
        own = self.random.choice([name for name in NAMES if name != outer])
        self.line(depth, f"{outer} = {self.value()}")
        self.line(depth, f"def h{number}({own}):")
        self.line(depth + 1, f"nonlocal {outer}")
        self.line(depth + 1, f"for {own} in range({own} % 3):")
        self.line(depth + 2, f"if {self.test(2)}:")
        self.line(depth + 3, self.random.choice(["continue", "break", f"return {own}"]))
        self.line(depth + 2, f"{outer} = {self.value(1)}")
        self.line(depth + 1, f"return {self.value(1)}")
        self.line(depth, f"{self.name()} = h{number}({self.value(1)})")
        if self.chance(0.4):
            self.line(depth, f"k{number} = [lambda: {self.value(1)} for _ in range(2)]")
            self.line(depth, f"say({number}, k{number}[0]())")

    def loop(self, depth, loops):
        if self.chance(0.7):
            iterable = self.random.choice(
                ["range(3)", "range(n)", "range(2, -1, -1)", "[2, 0, 1]", "xs", "range(m, 3)"]
            )
            target = self.random.choice([self.name(), "i", "xs[0]"])
            if self.chance(0.2):
                target, iterable = f"({self.name()}, i)", f"enumerate({iterable})"
            self.line(depth, f"for {target} in {iterable}:")
        else:
            counter = f"w{self.fresh()}"
            self.line(depth, f"{counter} = 0")
            test = self.random.choice([self.test(1), "True"])
            self.line(depth, f"while {counter} < 3 and {test}:")
            self.line(depth + 1, f"{counter} += 1")
        self.block(depth + 1, loops + 1)
        if self.chance(0.35):
            self.line(depth, "else:")
            self.block(depth + 1, loops, most=2)


class Numeric(Generator):
    """Programs on two numbers that a tracer can trace: names bound first, no effects."""

    def program(self):
        self.left = 12
        self.lines = ["def f(n, m):"]
        for name in NAMES:
            self.line(1, f"{name} = {self.random.randint(-2, 3)}")
        while self.left > 0:
            self.statement(1, loops=0, in_function=True)
        self.line(1, f"return {', '.join(NAMES)}")
        return "\n".join(self.lines) + "\n"

    def value(self, depth=0):
        pick = self.random.randint(0, 11 if depth < 2 else 5)
        if pick <= 3:
            return self.random.choice([*NAMES, "n", "m"])
        if pick <= 5:
            return str(self.random.randint(-2, 3))
        x, y = self.value(depth + 1), self.value(depth + 1)
        if pick <= 8:
            return f"({x} {self.random.choice('+-*')} {y}) % 7"
        if pick == 9:
            return f"({x} if {self.test(depth + 1)} else {y})"
        if pick == 10:
            return f"({x} {self.random.choice(['and', 'or'])} {y})"
        return f"({self.name()} := {x})"

    def test(self, depth=0):
        pick = self.random.randint(0, 6)
        x, y = self.value(depth + 1), self.value(depth + 1)
        if pick <= 2 or depth > 2:
            return f"{x} {self.random.choice(['<', '>', '==', '!=', '<='])} {y}"
        if pick == 3:
            return f"{x} < {y} <= {self.value(depth + 1)} != {self.random.randint(0, 3)}"
        if pick == 4:
            return f"not {self.test(depth + 1)}"
        if pick == 5:
            return f"({self.test(depth + 1)} and {self.test(depth + 1)} or {x})"
        return f"({self.test(depth + 1)} or {self.name()})"

    def simple(self, depth):
        name, value = self.name(), self.value()
        pick = self.random.randint(0, 9)
        if pick <= 5:
            self.line(depth, f"{name} = {value}")
        elif pick <= 7:
            self.line(depth, f"{name} {self.random.choice('+-')}= {value}")
        else:
            self.line(depth, f"{name}, {self.name()} = {self.name()}, {value}")

    def leave(self, depth):
        self.line(depth, f"if {self.test()}:")
        self.line(depth + 1, f"return {', '.join(self.value() for _ in NAMES)}")

    def match(self, depth, loops):
        self.line(depth, f"match {self.value()}:")
        for pattern in self.random.sample(["0", "1 | -1", "2 | 3 as c", "b if b < m"], 2):
            self.line(depth + 1, f"case {pattern}:")
            self.block(depth + 2, loops)

    def attempt(self, depth, loops):
        self.branch(depth, loops)

    context = attempt

    def closure(self, depth):
        self.simple(depth)

    def loop(self, depth, loops):
        if self.chance(0.6):
            bounds = self.random.choice(["3", "n", "m, 3", "2, -1, -1", "n, m + 2"])
            iterable = f"range({bounds})" if self.chance(0.8) else "[2, n, 1]"
            self.line(depth, f"for {self.random.choice([self.name(), 'i'])} in {iterable}:")
        else:
            counter = f"w{self.fresh()}"
            self.line(depth, f"{counter} = {self.random.choice(['0', 'n - n'])}")
            test = self.random.choice([self.test(1), "True"])
            self.line(depth, f"while {counter} < 3 and {test}:")
            self.line(depth + 1, f"{counter} += 1")
        self.block(depth + 1, loops + 1)
        if self.chance(0.35):
            self.line(depth, "else:")
            self.block(depth + 1, loops, most=2)
