"""Random programs of loops, branches and writes, as source text that a person could have written.

A program takes vectors of one size n, a matrix of n rows, a float, and data that decides about
branches and places. It holds scalars, vectors, matrices and views of them, and changes them in
nested loops, branches and helpers. Values stay in a tame range because every form damps what it
is given; a program whose values do not is left out by `draw`. Whatever is compared with a
threshold may still be near it: who takes differences must look for kinks.
"""

import copy
import linecache
import random
import re

import numpy as np

from tests.integration.random_loops_idioms import FUNCTIONS, IDIOMS

HEADER = "import math\n\nimport numpy as np\n\n\n"
PARAMETERS = ("x", "y", "A", "s", "switch", "places", "k")
LARGEST = 50.0


def _forms(text):
    return tuple(" ".join(form.split()) for form in re.split(r"\s;\s", text) if form.strip())


SCALARS = _forms("""
    np.sin({}) * {} ; np.tanh({} + {}) ; 0.5 * {} * np.cos({}) ; {} * 0.5 - {} * 0.4 ;
    np.exp(-{0} * {0}) * {1} ; 0.5 * np.sqrt(1.0 + {} ** 2) ; {} / (1.5 + {} ** 2) ;
    math.sin({}) + 0.3 * {} ; np.log(2.0 + np.sin({})) ; math.atan({}) * np.cos({}) ;
    ({} if COND else 0.3 * {}) ; max({}, {}) * 0.5 ; min({}, 0.5 * {}) ; abs({}) * 0.7 ; -0.6 * {} ;
    sum([{}, {}, 0.1]) * 0.4 ; np.sum(VECTOR * VECTOR) / (n * 2.0) ; np.mean(VECTOR) + 0.2 * {} ;
    VECTOR @ VECTOR / (3 * n) ; float({} > 0.3) * {} ; (lambda p, q=0.4: p * q)({}) ;
    0.3 * np.where({} > 0.2, {}, 0.1) ; INT * 0.05 + {} * 0.5 ; np.sum(MATRIX[INDEX]) * 0.2 ;
    np.sum(SLICE) / n ; math.exp(-abs({})) ; {} ; 0.4 ; 0.3 * max(VECTOR) ; len(SLICE) * 0.1 * {} ;
    0.5 * sum(q * {} for q in (0.5, 0.7))
""")
VECTORS = _forms("""
    np.sin(VECTOR) ; VECTOR * 0.5 + 0.4 * VECTOR ; VECTOR * np.tanh({}) ;
    np.where(VECTOR > 0.3, VECTOR, 0.5 * VECTOR) ; VECTOR[::-1] * 0.9 ; np.tanh(VECTOR + {}) ;
    np.cumsum(VECTOR) / n ; np.concatenate([VECTOR[1:], VECTOR[:1]]) ; 0.5 * MATRIX[:, 1] ;
    MATRIX @ np.array([0.3, -0.2, 0.4]) ; VECTOR[places] ; np.maximum(VECTOR, VECTOR) * 0.7 ;
    VECTOR.copy() ; VECTOR * 1.0 ; np.zeros(n) ; np.full(n, {}) * 0.5 ; np.cos(VECTOR) * {} * 0.3 ;
    MATRIX[:, 0] - MATRIX[:, 2] * 0.3
""")
MATRICES = _forms("""
    MATRIX * 0.5 + 0.4 * MATRIX ; np.tanh(MATRIX) ; MATRIX * 0.6 + 0.3 * VECTOR[:, None] ;
    np.outer(VECTOR, MATRIX[0]) * 0.5 ; MATRIX.copy() ; np.sin(MATRIX * {}) ; MATRIX[::-1] * 0.9
""")
ROWS = _forms("""
    MATRIX[INDEX] * 0.5 ; np.sin(MATRIX[INDEX]) ; MATRIX[INDEX] * {} * 0.4 ;
    np.array([{}, 0.3, -0.2]) * 0.8 ; MATRIX[INDEX][::-1] * 0.6 ; {} ; np.zeros(3)
""")
WRITES = _forms("""
    ARRAY[INDEX] = {} ; ARRAY[INDEX] = {} ; ARRAY[INDEX] += 0.4 * {} ; ARRAY[INDEX] *= 0.7 ;
    ARRAY[INDEX] -= 0.3 * {} ; ARRAY[INDEX] = np.sin(ARRAY[INDEX] + {}) ;
    ARRAY[INDEX] = 0.5 * ARRAY[INDEX] + 0.4 * VECTOR[INDEX] ; ARRAY[1:] = 0.6 * VECTOR[:-1] ;
    ARRAY[1:-1] += 0.2 * (VECTOR[2:] - VECTOR[:-2]) ; ARRAY[::2] *= 0.5 ;
    ARRAY[::-1] = VECTOR * 0.8 ;
    ARRAY[:INT] = {} * 0.5 ; ARRAY[INT:] *= 0.8 ; ARRAY[places] = 0.6 * VECTOR ;
    ARRAY[switch > 0.0] *= 0.5 ; ARRAY[ARRAY > 0.4] = 0.3 ;
    np.add.at(ARRAY, places, 0.2 * VECTOR) ;
    ARRAY *= 0.7 ; ARRAY += 0.2 * VECTOR ; ARRAY.fill({}) ; np.sin(VECTOR, out=ARRAY) ;
    ARRAY[:] = VECTOR * 0.7 ; ARRAY[INDEX], ARRAY[INDEX] = ARRAY[INDEX] * 0.9, {} ;
    ARRAY[-1] = {} * 0.5 ; ARRAY[places] += 0.1 ; ARRAY[INDEX] = 0.0 ;
    np.multiply(ARRAY[1:], 0.5, out=ARRAY[1:]) ; ARRAY[switch < 0.0] = VECTOR[switch < 0.0] * 0.5
""")
TABLE_WRITES = _forms("""
    TABLE[INDEX] = ROW ; TABLE[INDEX, :] += 0.3 * ROW ; TABLE[INDEX, COLUMN] = {} ;
    TABLE[:, COLUMN] *= 0.7 ; TABLE[INDEX, 1:] -= 0.2 * MATRIX[INDEX, :-1] ;
    TABLE[INDEX][COLUMN] += 0.3 * {} ; TABLE.T[COLUMN] *= 0.8 ; TABLE[:, COLUMN] = 0.5 * VECTOR ;
    TABLE[1:] = 0.6 * MATRIX[:-1] ; TABLE *= 0.8 ; TABLE[INDEX] *= 0.5 ; TABLE[places, 0] = 0.4 ;
    TABLE[INDEX, ::2] = {} * 0.5 ; TABLE[[INDEX, INDEX]] *= 0.9 ; TABLE[..., -1] += 0.1 * {} ;
    TABLE[INDEX, COLUMN] = 0.4 * TABLE[INDEX, COLUMN] + 0.4 * TABLE[INDEX, COLUMN]
""")
CONDITIONS = _forms("""
    switch[INDEX] > 0.0 ; switch[INDEX] < 0.5 ; INT % 2 == 0 ; INT < k ; INT > INT ; {} > 0.25 ;
    -0.5 < {} < 0.4 ; switch[INDEX] > 0.0 and not {} > 0.8 ; INT in (0, 2) ; {} < {} ;
    {} > 0.1 or INT == 1 ; n > 3 ; not switch[INDEX] > 0.5 ; INT == k ; switch[INDEX] ** 2 > 1.0 ;
    places[INDEX] > INT ; 0 < INT <= 2 ; abs({}) > 0.6 ; switch[INDEX] > 0.0 > switch[INDEX]
""")


class Writer:
    """Writes one program, statement by statement."""

    def __init__(self, seed, idioms=0.0):
        self.random = random.Random(seed)
        self.idioms = idioms
        self.left = self.random.choice([5, 9, 14, 20])
        self.scalars = ["a", "b", "s"]
        self.vectors = ["u", "v", "x", "y"]
        self.matrices = ["M", "A"]
        self.ints = []
        self.views = []
        self.helpers = []
        self.fresh = 0
        self.lines = []

    def source(self):
        helpers = [self.helper(f"helper{k}") for k in range(self.random.choice([0, 1, 1, 2]))]
        self.lines = [f"def program({', '.join(PARAMETERS)}):"]
        self.line(1, "n = len(x)")
        start = ["a = s", "b = 0.5", "u = np.zeros(n)", "v = 0.5 * y", "M = A * 0.7"]
        start[2] = self.choose(["u = np.zeros(n)", "u = np.ones(n) * 0.3", "u = np.empty(n)"])
        for text in start:
            self.line(1, text)
        if "empty" in start[2]:
            self.line(1, "u[:] = 0.2 * x")
        if self.chance(0.5):
            self.line(1, self.choose(["hits = 0", "hits = k"]))
            self.ints = ["hits"]
        while self.left > 0:
            self.statement(1, None)
        self.line(1, f"return {self.result()}")
        return HEADER + "\n\n\n".join([*map(str.strip, helpers), "\n".join(self.lines) + "\n"])

    # --- help

    def chance(self, probability):
        return self.random.random() < probability

    def choose(self, items):
        return self.random.choice(items)

    def line(self, depth, text):
        self.lines.append("    " * depth + text)

    def name(self, kind):
        self.fresh += 1
        return f"{kind}{self.fresh}"

    def fill(self, form, depth=0):
        """A form with its places filled: ``{}`` scalars, capitals other things."""
        texts = {}

        def scalar(found):
            number = found.group(1)
            if not number:
                return self.atom(depth)
            if number not in texts:
                texts[number] = self.atom(depth)
            return texts[number]

        words = {
            "ARRAY": lambda: array,
            "TABLE": lambda: table,
            "VECTOR": lambda: self.choose(self.vectors),
            "MATRIX": lambda: self.choose(self.matrices),
            "INDEX": self.index,
            "INT": self.integer,
            "COLUMN": lambda: self.choose(["0", "1", "2", "-1"]),
            "ROW": lambda: self.fill(self.choose(ROWS), depth + 1),
            "SLICE": self.slice,
            "COND": lambda: self.condition(depth + 1),
        }
        array, table = self.choose(self.vectors), self.choose(self.matrices)
        form = re.sub(r"\{(\d?)\}", scalar, form)
        return re.sub(r"\b(" + "|".join(words) + r")\b", lambda m: words[m.group(1)](), form)

    # --- expressions

    def integer(self):
        if self.ints and self.chance(0.8):
            return self.choose(self.ints[-3:])
        return self.choose(["k", "1", "2", "n // 2"])

    def index(self):
        """An index in range, perhaps counted from the end."""
        loops = [i for i in self.ints[-3:] if i != "hits"]
        if loops and self.chance(0.85):
            i = self.choose(loops)
            forms = ["{i}"] * 4 + ["{i} - 1", "({i} + 1) % n", "n - 1 - {i}", "places[{i}]"]
            return self.choose([*forms, "{i} // 2", "-1 - {i}", "({i} * 2 + 1) % n"]).format(i=i)
        if "hits" in self.ints and self.chance(0.3):
            return "hits % n"
        return self.choose(["0", "-1", "n // 2", "k % n", "places[0]", "n - 1"])

    def slice(self):
        bounds = self.choose(["1:", ":-1", "::2", "::-1", "1:-1", f":{self.integer()}", "-2:"])
        return f"{self.choose(self.vectors)}[{bounds}]"

    def atom(self, depth=0):
        pick = self.random.random()
        if depth < 2 and pick < 0.12:
            return f"({self.scalar(depth + 1)})"
        if pick < 0.45:
            return f"{self.choose(self.vectors)}[{self.index()}]"
        if pick < 0.55:
            return f"{self.choose(self.matrices)}[{self.index()}, {self.choose('012')}]"
        if pick < 0.62 and self.views:
            return f"{self.choose(self.views)}[0]"
        if pick < 0.7 and self.helpers and depth < 2:
            arguments = f"{self.atom(depth + 1)}, {self.atom(depth + 1)}"
            return f"{self.choose(self.helpers)}({arguments})"
        if pick < 0.73:
            return self.choose(["0.4", "-0.3", "1.0"])
        return self.choose(self.scalars)

    def scalar(self, depth=0):
        return self.fill(self.choose(SCALARS), depth)

    def condition(self, depth=0):
        return self.fill(self.choose(CONDITIONS), depth + 1)

    def result(self):
        names = self.random.sample(["a", "b", "u", "v", "M", "x", "y"], 3)
        forms = {"a": "a", "b": "0.7 * b", "M": "np.sum(np.cos(M))"}
        parts = [forms.get(v) or f"np.sum({v} * {v})" for v in names]
        return " + ".join(["0.1 * s", *parts])

    # --- statements

    def block(self, depth, loop, most=3, *, jump=False):
        """Some statements; names that they bring into being are forgotten after them."""
        before = [list(names) for names in (self.ints, self.views, self.scalars)]
        for _ in range(self.random.randint(1, most)):
            self.statement(depth, loop)
        if jump:
            self.jump(depth, loop)
        self.ints, self.views, self.scalars = before

    def statement(self, depth, loop):
        self.left -= 1
        if depth <= 3 and self.idioms and self.chance(self.idioms / depth):
            self.idiom(depth)
            return
        kinds = [self.assign] * 5 + [self.write] * 8 + [self.whole, self.names, self.view]
        if self.ints[:1] == ["hits"]:
            kinds.append(self.count)
        if depth <= 4 and self.left > 0:
            kinds += [self.branch] * 4 + [self.wrap]
            if depth <= 3:
                kinds += [self.loop] * 6 + [self.while_]
        self.choose(kinds)(depth, loop)

    def assign(self, depth, loop):
        target = self.choose(["a", "b", "a", "b", "s"])
        pick = self.random.random()
        if pick < 0.6:
            self.line(depth, f"{target} = {self.scalar()}")
        elif pick < 0.8:
            operator, factor = self.choose([("+", "0.2 * "), ("-", "0.2 * "), ("*", "0.8 * ")])
            self.line(depth, f"{target} {operator}= {factor}np.tanh({self.atom()})")
        elif pick < 0.9:
            self.line(depth, f"a, b = {self.choose(['b, a', f'b, {self.scalar()}'])}")
        elif self.helpers and pick < 0.95:
            self.line(depth, f"a, b = {self.helpers[0]}(b, {self.atom()}), a * 0.9")
        else:
            name = self.name("t")
            self.line(depth, f"{name} = {self.scalar()}")
            self.scalars.append(name)

    def write(self, depth, loop):
        forms = WRITES if self.chance(0.7) else TABLE_WRITES
        self.line(depth, self.fill(self.choose(forms)))

    def whole(self, depth, loop):
        if self.chance(0.75):
            self.line(depth, f"{self.choose('uvuvxy')} = {self.fill(self.choose(VECTORS))}")
        else:
            self.line(depth, f"M = {self.fill(self.choose(MATRICES))}")

    def names(self, depth, loop):
        forms = ["u, v = v, u"] * 3 + ["u, v, x = v, x, u", "u = v.copy()"]
        if depth == 1 or self.chance(0.2):
            forms += ["u = v", "v = u", "x = u"]
        self.line(depth, self.choose(forms))

    def view(self, depth, loop):
        name = self.name("w")
        if self.chance(0.5):
            self.line(depth, f"{name} = {self.choose(self.matrices)}[{self.index()}]")
        else:
            part = self.choose(["1:", ":-1", "::2", "::-1", "1:-1", ":"])
            self.line(depth, f"{name} = {self.choose(self.vectors)}[{part}]")
        self.views.append(name)
        for _ in range(self.random.randint(0, 2)):
            form = self.choose(
                ["{w}[0] = {v}", "{w}[-1] += 0.3 * {v}", "{w} *= 0.8", "{w}[:] = {v}"]
            )
            self.line(depth, form.format(w=name, v=self.atom()))

    def idiom(self, depth):
        """One of the loops that people write."""
        words = {word: self.name(word.lower()) for word in "IJKCDE"}
        if self.chance(0.3):
            words |= {word: self.choose(self.vectors) for word in "VXY"}
        else:
            words |= dict(zip("VXY", self.random.sample(self.vectors, 3), strict=True))
        words |= dict(zip("MB", self.random.sample(self.matrices, 2), strict=True))
        words["F"] = self.choose(FUNCTIONS)
        text = re.sub(r"(?<!\.)\b[A-Z]\b", lambda m: words[m.group()], self.choose(IDIOMS))
        text = re.sub(r"\{\}", lambda m: self.atom(), text)
        for line in text.split("\n"):
            self.line(depth, line)

    def count(self, depth, loop):
        self.line(
            depth,
            self.choose(["hits += 1", "hits += 2", "hits = hits + INT"]).replace(
                "INT", self.integer()
            ),
        )

    def jump(self, depth, loop):
        kinds = ["return"]
        if loop is not None:
            kinds = ["break", "break", "continue", "continue", "return"]
        kind = self.choose(kinds)
        self.line(depth, f"return {self.result()}" if kind == "return" else kind)

    # --- what holds statements

    def branch(self, depth, loop):
        jumps = self.chance(0.3 if loop is not None else 0.1)
        self.line(depth, f"if {self.condition()}:")
        self.block(depth + 1, loop, jump=jumps)
        while self.chance(0.25):
            self.line(depth, f"elif {self.condition()}:")
            self.block(depth + 1, loop, 2, jump=jumps and self.chance(0.3))
        if self.chance(0.45):
            self.line(depth, "else:")
            self.block(depth + 1, loop, jump=not jumps and loop is not None and self.chance(0.15))

    def wrap(self, depth, loop):
        if self.chance(0.4):
            self.line(depth, 'with np.errstate(all="ignore"):')
            self.block(depth + 1, loop, 2)
        else:
            self.line(depth, "try:")
            self.block(depth + 1, loop, 2)
            self.line(depth, "except ZeroDivisionError:")
            self.line(depth + 1, "a = 0.0")

    def loop(self, depth, loop):
        i = self.name("i")
        before = list(self.ints), list(self.scalars), list(self.views)
        header, ints, scalars, views = self.header(i)
        self.line(depth, f"for {header}:")
        self.ints += ints
        self.scalars += scalars
        self.views += views
        self.block(depth + 1, "for", 4)
        self.ints, self.scalars, self.views = before
        self.orelse(depth, loop)

    def header(self, i):
        """The text of a ``for``, and the names that it binds: indices, scalars, views."""
        others = [j for j in self.ints if j != "hits"]
        ranges = ["n", "1, n", "n - 1, -1, -1", "0, n, 2", "k", "3", "n // 2", "n - 1", "1, n, k"]
        ranges += ["k, 0, -1", "n - 1, 0, -2", "0"]
        for j in others[-2:]:
            ranges += [f"{j}", f"{j} + 1, n", f"{j}, -1, -1", f"max({j} - 2, 0), {j}"]
        vector, other = self.choose(self.vectors), self.choose(self.vectors)
        pick = self.random.random()
        if pick < 0.6:
            return f"{i} in range({self.choose(ranges)})", [i], [], []
        e = f"e{i[1:]}"
        return self.choose(
            [
                (f"{i}, {e} in enumerate({vector})", [i], [e], []),
                (f"{e} in {vector}", [], [e], []),
                (f"{e}, f{e} in zip({vector}, {other})", [], [e, f"f{e}"], []),
                (f"{i} in places", [i], [], []),
                (f"{e} in {self.choose(self.matrices)}", [], [], [e]),
                (f"{e} in [a, 0.5, {vector}[0]]", [], [e], []),
                (f"{i} in reversed(range(n))", [i], [], []),
                (f"{i}, ({e}, f{e}) in enumerate(zip({vector}, {other}))", [i], [e, f"f{e}"], []),
                (f"{e} in {vector}[1:]", [], [e], []),
                (f"{i} in range(places[0] + 1)", [i], [], []),
            ]
        )

    def while_(self, depth, loop):
        i = self.name("i")
        self.line(depth, f"{i} = 0")
        rest = self.choose(["", "", f" and ({self.condition()})"])
        self.line(depth, f"while {i} < {self.choose(['n', 'k', '3'])}{rest}:")
        self.line(depth + 1, f"{i} += 1")
        self.line(depth + 1, f"j{i[1:]} = {i} % n")
        before = list(self.ints)
        self.ints.append(f"j{i[1:]}")
        self.block(depth + 1, "while", 3)
        self.ints = before
        self.orelse(depth, loop)

    def orelse(self, depth, loop):
        if self.chance(0.12):
            self.line(depth, "else:")
            self.block(depth + 1, loop, 2)

    # --- helpers

    def helper(self, name):
        """A function of two numbers, with jumps of its own."""
        body = self.choose(
            [
                "    return np.tanh(p) * q\n",
                "    if p > 0.3:\n        return 0.5 * q\n    return p * 0.6 + 0.1 * q\n",
                "    total = 0.2\n    for k in range(4):\n        total = 0.5 * total + p * 0.3\n"
                "        if total > 0.6 and k > 1:\n            break\n    return total * q\n",
                "    for w in (0.3, 0.5, 0.8):\n        if p < w:\n            return q * w\n"
                "    return 0.4 * p\n",
                "    y = np.zeros(3)\n    y[0] = p\n    for i in range(1, 3):\n"
                "        y[i] = 0.5 * y[i - 1] + q * 0.2\n    return np.sum(y * y) * 0.3\n",
                "    t = p\n    k = 0\n    while t * t > 0.05 and k < 6:\n"
                "        t = 0.6 * t + 0.02 * q\n        k += 1\n    return t\n",
                "    def inner(r, by=0.5):\n        return r * by if r > q else r * 0.3\n\n"
                "    return inner(p) + inner(0.2, by=q)\n",
            ]
        )
        self.helpers.append(name)
        return f"def {name}(p, q):\n{body}\n"


# --- running a program ------------------------------------------------------------------------


def arguments(seed, size):
    """``switch`` stays away from the thresholds that it is compared with."""
    rng = np.random.default_rng(seed)
    switch = rng.choice([-1.4, -0.6, 0.3, 0.8, 1.2], size) + rng.uniform(-0.05, 0.05, size)
    return [
        rng.uniform(-0.9, 0.9, size),
        rng.uniform(-0.9, 0.9, size),
        rng.uniform(-0.9, 0.9, (size, 3)),
        float(rng.uniform(0.2, 0.8)),
        switch,
        rng.integers(0, size, size),
        int(rng.integers(2, 4)),
    ]


MOVED = (0, 1, 2, 3)
"""The arguments to differentiate: ``switch`` only decides."""


def load(source, path):
    """The function ``program`` of a text, which is written to the file ``path``."""
    path.write_text(source)
    linecache.checkcache(str(path))
    scope = {"__name__": "random_program"}
    exec(compile(source, str(path), "exec"), scope)
    return scope["program"]


def run(fun, args):
    """What plain Python computes; ``args`` stay as they are."""
    with np.errstate(all="ignore"):
        return fun(*copy.deepcopy(list(args)))


def is_tame(fun, args):
    """Whether the program runs, and gives a moderate number."""
    try:
        value = run(fun, args)
    except (IndexError, ValueError, UnboundLocalError, OverflowError):
        return False
    return bool(np.isfinite(value)) and abs(value) < LARGEST


def draw(seed, path, size=5, idioms=0.0):
    """The first tame program of ``seed``: its text, its function and its arguments.

    ``idioms`` is the share of statements that are idioms of `random_loops_idioms`.
    """
    for attempt in range(20):
        source = Writer(f"{seed}.{attempt}", idioms).source()
        fun, args = load(source, path), arguments(seed, size)
        if is_tame(fun, args):
            return source, fun, args
    raise AssertionError(f"seed {seed} gives no tame program")
