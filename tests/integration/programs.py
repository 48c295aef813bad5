"""Random NumPy programs, as source text that a person could have written.

A program is built statement by statement and run by plain NumPy while it is built, so that each
statement fits the arrays that exist so far and every value stays in a tame range. What varies
with the sizes (``x.shape[0]``, ``x[1:]``, ``axis=-1``) is written so that the same text runs for
other sizes too.
"""

import random
import re
from dataclasses import dataclass, field

import numpy as np

LARGEST = 700
"""Elements of one array, at most."""


def _forms(text):
    return tuple(" ".join(form.split()) for form in re.split(r"\s;\s", text) if form.strip())


UNARY = _forms("""
    np.sin({}) ; np.cos({}) ; np.tanh({}) ; np.arctan({}) ; np.exp(-{} * {}) ; -{} ;
    np.sqrt(1.0 + {} * {}) ; np.log1p({} ** 2) ; np.abs({}) ; {} ** 2 ; {} ** 3 ;
    1.0 / (2.0 + np.cos({})) ; np.square({}) ; np.expm1(np.tanh({})) ; 0.5 * {} + 1.0 ;
    np.exp(np.sin({})) ; np.log(2.0 + np.sin({})) ; np.clip({}, -0.6, 0.8) ; 3 - {} ;
    np.where({} > 0.1, {}, 0.3 * {}) ; np.maximum({}, 0.0) ; {} * np.sign({}) ; {} / 3 ;
    np.where({} > 0.2, np.sqrt(np.abs({})), 1.0) ; np.sinh(np.tanh({})) ; 2 ** np.sin({}) ;
    np.minimum({}, 0.5) ; np.arcsin(0.9 * np.sin({})) ; np.logaddexp({}, 0.0) ; +{} ;
    np.reciprocal(2.5 + np.tanh({})) ; np.floor({}) + {} ; ({} + 0.05) % 1.0 ; abs({})
""")
BINARY = _forms("""
    {} + {} ; {} - {} ; {} * {} ; {} * {} ; {} / (1.5 + {} ** 2) ; np.maximum({}, {}) ;
    np.minimum({}, {}) ; np.hypot({}, 1.0 + {} ** 2) ; np.arctan2({}, 2.0 + np.sin({})) ;
    (1.2 + np.sin({})) ** np.tanh({}) ; np.logaddexp({}, {}) ; np.where({0} > {1}, {0}, {1}) ;
    np.where({0} < {1}, {0} * {1}, {1}) ; np.where(({0} > 0) & ({1} > 0), {0}, 0.5 * {1}) ;
    np.where({1} > 0, np.log(np.where({1} > 0, {1}, 1.0)), {0}) ; np.multiply({}, {})
""")
SCALARS = ("0.7", "2", "-1.5", "3.0", "1")
REDUCTIONS = ("sum", "mean", "max", "min", "prod", "sum", "sum", "var")
SLICES = _forms("""
    1: ; :-1 ; ::2 ; ::-1 ; -3: ; 1:-1 ; ::-2 ; -2::-1 ; :2 ; 1::3 ; : ; 2:5 ; -1: ; 5:1:-1 ;
    -4:-1 ; :-2:2 ; 0:1 ; :100 ; -100: ; 3:1 ; None
""")


@dataclass
class Program:
    """A function of arrays: parameters, statements, and the terms that its result sums."""

    params: list[str]
    lines: list[str] = field(default_factory=list)
    terms: list[str] = field(default_factory=list)
    globals: dict[str, np.ndarray] = field(default_factory=dict)
    arguments: list[np.ndarray] = field(default_factory=list)

    def source(self):
        body = "".join(f"    {line}\n" for line in self.lines)
        result = " + ".join(self.terms) or "0.0 * np.sum(x0)"
        return f"def program({', '.join(self.params)}):\n{body}    return {result}\n"


class Generator:
    """Grows one program."""

    def __init__(self, seed, sizes=(0, 1, 2, 3, 4, 5, 9), writes=False):
        self.rng = random.Random(seed)
        self.data = np.random.default_rng(seed)
        self.sizes = [self.rng.choice(sizes) for _ in range(3)]
        self.values = {}
        self.writes = writes
        self.indices = {}
        self.program = Program([])

    def make(self, statements=8):
        for k in range(self.rng.randint(2, 4)):
            rank = self.rng.choice((0, 1, 1, 1, 2, 2, 3))
            shape = tuple(
                self.rng.choice((*self.sizes, self.rng.choice((1, *self.sizes))))
                for _ in range(rank)
            )
            value = self.data.normal(size=shape)
            name = f"x{k}"
            self.program.params.append(name)
            self.program.arguments.append(value if rank else float(value))
            self.values[name] = value if rank else np.float64(value)
        if not any(np.ndim(v) for v in self.values.values()):
            self.program.arguments[0] = self.values["x0"] = self.data.normal(size=self.sizes[0])
        made = 0
        attempts = 0
        while made < statements and attempts < 60 * statements:
            attempts += 1
            made += self._grow(f"v{made}")
        self._close()
        return self.program

    # --- statements

    def _grow(self, name):
        choice = self.rng.choices(
            [
                self.unary,
                self.binary,
                self.reduce,
                self.slice,
                self.permute,
                self.reshape,
                self.join,
                self.product,
                self.gather,
                self.mask,
                self.make_new,
                self.scan,
            ]
            + [self.write] * self.writes,
            [4, 6, 4, 4, 2, 3, 2, 4, 3, 1.5, 2, 1] + [4] * self.writes,
        )[0]
        written = choice(name)
        if written is None:
            return False
        lines = [written] if isinstance(written, str) else list(written)
        scope = {"np": np, **self.values, **self.program.globals}
        try:
            with np.errstate(all="ignore"):
                exec("\n".join(lines), scope)
        except (ValueError, IndexError, TypeError):
            return False
        value = scope[name]
        fits = (
            isinstance(value, np.ndarray | np.floating)
            and value.dtype == np.float64
            and np.size(value) <= LARGEST
            and np.ndim(value) <= 4
            and np.all(np.isfinite(value))
            and np.max(np.abs(value), initial=0.0) < 50
        )
        if not fits:
            return False
        self.program.lines += lines
        self.values[name] = value
        return True

    def pick(self, rank=None, least=0):
        found = [
            n
            for n, v in self.values.items()
            if (rank is None or np.ndim(v) == rank) and np.ndim(v) >= least
        ]
        if not found:
            return None
        weights = [1 + i for i in range(len(found))]
        return self.rng.choices(found, weights)[0]

    def unary(self, name):
        form = self.rng.choice(UNARY)
        x = self.pick()
        return f"{name} = {form.format(*[x] * 4)}"

    def binary(self, name):
        form = self.rng.choice(BINARY)
        x, y = self.pick(), self.pick()
        if self.rng.random() < 0.15:
            y = self.rng.choice(SCALARS)
        a, b = np.ndim(self.values[x]), np.ndim(self.values.get(y, 0))
        if self.rng.random() < 0.25 and a == 1 and b == 1:
            x, y = f"{x}[:, None]", f"{y}[None, :]"
        elif self.rng.random() < 0.2 and a == 2 and b == 1:
            y = f"{y}[:, np.newaxis]"
        elif self.rng.random() < 0.2 and a == 2 and b == 2:
            x, y = f"{x}[:, None, :]", f"{y}[None]"
        if self.rng.random() < 0.5:
            x, y = y, x
        return f"{name} = {form.format(x, y)}"

    def _axis(self, rank):
        chosen = self.rng.random()
        if chosen < 0.2 or rank == 0:
            return "None"
        if chosen < 0.35 and rank >= 2:
            axes = self.rng.sample(range(rank), 2)
            return str(tuple(a - rank if self.rng.random() < 0.3 else a for a in axes))
        return str(self.rng.randrange(-rank, rank))

    def reduce(self, name):
        x = self.pick(least=1)
        if x is None:
            return None
        rank = np.ndim(self.values[x])
        kinds = REDUCTIONS if np.size(self.values[x]) else ("sum", "prod")
        axis, kind = self._axis(rank), self.rng.choice(kinds)
        keep = self.rng.choice(("", ", keepdims=True"))
        chosen = self.rng.random()
        if chosen < 0.4:
            call = f"{x}.{kind}(axis={axis}{keep})"
        elif chosen < 0.9:
            call = f"np.{kind}({x}, axis={axis}{keep})"
        elif chosen < 0.95:
            call = f"np.sqrt(0.5 + np.sum({x} ** 2, axis={axis}{keep}))"
        else:
            call = f"np.sum({x}, axis={axis}, where={x} > 0.0{keep})"
        return f"{name} = {call}"

    def slice(self, name):
        x = self.pick(least=1)
        if x is None:
            return None
        return f"{name} = {x}[{self._basic_key(np.ndim(self.values[x]))}]"

    def _basic_key(self, rank, ints=True):
        parts = []
        for _ in range(self.rng.randint(1, rank)):
            if ints and self.rng.random() < 0.2:
                parts.append(self.rng.choice(("0", "-1", "1", "-2")))
            else:
                parts.append(self.rng.choice(SLICES))
        if self.rng.random() < 0.2:
            parts.insert(self.rng.choice((0, len(parts))), "...")
        return ", ".join(parts)

    def permute(self, name):
        x = self.pick(least=1)
        if x is None:
            return None
        rank = np.ndim(self.values[x])
        a, b = self.rng.randrange(-rank, rank), self.rng.randrange(-rank, rank)
        order = self.rng.sample(range(rank), rank)
        form = self.rng.choice(
            (
                f"{x}.T",
                f"np.transpose({x}, {order})",
                f"np.swapaxes({x}, {a}, {b})",
                f"np.moveaxis({x}, {a}, {b})",
                f"{x}.transpose()",
                f"np.flip({x}, {a})",
                f"np.roll({x}, {self.rng.choice((1, -1, 2))}, axis={a})",
            )
        )
        return f"{name} = {form}"

    def reshape(self, name):
        x = self.pick(least=1)
        if x is None:
            return None
        rank = np.ndim(self.values[x])
        a = self.rng.randrange(-rank, rank)
        forms = [
            f"{x}.reshape(-1)",
            f"np.ravel({x})",
            f"{x}.reshape(-1, 1)",
            f"{x}.flatten()",
            f"np.expand_dims({x}, {a})",
            f"{x}[None]",
            f"{x}[..., None]",
            f"np.squeeze({x})",
            f"np.reshape({x}, (1, -1))",
        ]
        if rank >= 2:
            forms += [
                f"{x}.reshape({x}.shape[0], -1)",
                f"{x}.reshape(-1, {x}.shape[-1])",
                f"{x}.reshape({x}.shape[1], {x}.shape[0], *{x}.shape[2:])",
            ]
        return f"{name} = {self.rng.choice(forms)}"

    def join(self, name):
        x = self.pick(least=1)
        if x is None:
            return None
        shape = np.shape(self.values[x])
        like = [n for n, v in self.values.items() if np.ndim(v) == len(shape)]
        y = self.rng.choice(like)
        a = self.rng.randrange(-len(shape), len(shape))
        b = self.rng.randrange(-len(shape) - 1, len(shape) + 1)
        reps = self.rng.choice((1, 2, 3))
        form = self.rng.choice(
            (
                f"np.concatenate([{x}, {y}], axis={a})",
                f"np.stack(({x}, {y}), axis={b})",
                f"np.concatenate(({x}, {x}, {y}), {a})",
                f"np.hstack([{x}, {y}])",
                f"np.vstack([{x}, {y}])",
                f"np.repeat({x}, {reps}, axis={a})",
                f"np.tile({x}, {reps})",
                f"np.array([np.sum({x}), np.sum({y}) * 0.5])",
                f"np.concatenate([{x}[:1], {y}[1:]], axis=0)",
                f"np.column_stack([{x}, {y}])",
            )
        )
        return f"{name} = {form}"

    def product(self, name):
        x, y = self.pick(least=1), self.pick(least=1)
        if x is None:
            return None
        a, b = np.ndim(self.values[x]), np.ndim(self.values[y])
        forms = [
            f"{x} @ {y}",
            f"np.dot({x}, {y})",
            f"np.matmul({x}, {y})",
            f"{x} @ {y}.T",
            f"{x}.T @ {y}",
            f"np.dot({x}.T, {y})",
            f"np.inner({x}, {y})",
        ]
        if a == 1 and b == 1:
            forms += [
                f"np.outer({x}, {y})",
                f"np.vdot({x}, {y})",
                f"np.einsum('i,j->ij', {x}, {y})",
                f"np.einsum('i,i', {x}, {y})",
            ]
        if a == 2 and b == 2:
            forms += [
                f"np.einsum('ij,jk->ik', {x}, {y})",
                f"np.einsum('ij,ij->i', {x}, {y})",
                f"np.einsum('ij,kj->ki', {x}, {y})",
                f"np.einsum('ij,ik->jk', {x}, {y})",
                f"np.tensordot({x}, {y}, axes=([0], [0]))",
                f"np.tensordot({x}, {y}, 1)",
                f"np.tensordot({x}, {y})",
                f"np.trace({x} @ {y})",
                f"np.einsum('ij,ij->', {x}, {y})",
                f"np.einsum('ij,jk', {x}, {y})",
            ]
        if a == 2 and len(set(np.shape(self.values[x]))) == 1:
            forms += [f"np.einsum('ii->i', {x})"]
        if a == 2:
            forms += [
                f"np.trace({x})",
                f"np.diag({x})",
                f"np.einsum('ij->j', {x})",
                f"np.tril({x})",
                f"np.triu({x}, 1)",
            ]
        if a == 1:
            forms += [f"np.diag({x})"]
        if a == 3:
            forms += [
                f"np.einsum('bij,bjk->bik', {x}, {y})",
                f"np.einsum('bij,bj->bi', {x}, {y})",
                f"np.einsum('bij->jb', {x})",
                f"{x} @ np.swapaxes({x}, -1, -2)",
            ]
        return f"{name} = 0.3 * ({self.rng.choice(forms)})"

    def index_array(self, size, shape):
        """A global integer array of indices below ``size``, repeats and negatives included."""
        name = f"I{len(self.program.globals)}"
        if size == 0:
            return None
        self.program.globals[name] = self.data.integers(-size, size, shape)
        return name

    def gather(self, name):
        x = self.pick(least=1)
        if x is None:
            return None
        shape = np.shape(self.values[x])
        length = self.rng.choice((0, 1, 3, 4))
        i = self.index_array(shape[0], length)
        j = self.index_array(shape[-1], length)
        if i is None or j is None:
            return None
        a = self.index_array(shape[0], (2, length))
        forms = [
            f"{x}[{i}]",
            f"{x}[{a}]",
            f"{x}[..., {j}]",
            f"np.take({x}, {i}, axis=0)",
            f"np.take({x}, {j}, axis=-1)",
            f"{x}[[0, -1, 0]]",
            f"{x}[{x}.shape[0] - 1]",
        ]
        if len(shape) >= 2:
            k = self.index_array(shape[1], length)
            if k is not None:
                forms += [
                    f"{x}[{i}, {k}]",
                    f"{x}[:, {k}]",
                    f"{x}[{i}[:, None], {k}]",
                    f"{x}[0, {k}]",
                    f"{x}[{i}, 1:]",
                    f"{x}[np.arange({i}.shape[0]) % {x}.shape[0], {k}]",
                    f"{x}[::-1, {k}]",
                    f"{x}[{i}, None, {k}]",
                    f"{x}[{i}, ..., 0]",
                    f"{x}[np.ix_({i}, {k})]",
                ]
        return f"{name} = {self.rng.choice(forms)}"

    def mask(self, name):
        x = self.pick(least=1)
        if x is None:
            return None
        shape = np.shape(self.values[x])
        y = self.rng.choice([n for n, v in self.values.items() if np.shape(v) == shape])
        forms = (
            f"np.sum({x}[{y} > 0.0] ** 2)",
            f"np.sum({x}[{x} > 0.0] * {y}[{x} > 0.0])",
            f"np.where({y} > 0.0, {x}, 0.0)",
            f"{x} * ({y} > 0.0)",
            f"np.where(~({y} > 0), {x}, -{y})",
            f"np.sum(np.concatenate([{x}[{y} > 0.0].ravel(), {x}.ravel()]) ** 3)",
            f"np.prod(np.cos({x}[{y} < 0.2]))",
            f"np.sum(np.outer(np.compress({y}.ravel() > 0, {x}.ravel()), {y}.ravel()))",
            f"np.sum({x}[{y} > 0.1][::-1] * {x}[{y} > 0.1])",
            f"len({x}[{y} > 0.0]) * {x}",
        )
        return f"{name} = {self.rng.choice(forms)}"

    def make_new(self, name):
        x = self.pick(least=1)
        if x is None:
            return None
        return f"{name} = " + self.rng.choice(
            (
                f"{x} + 0.1 * np.arange({x}.shape[-1])",
                f"{x} * np.ones({x}.shape)",
                f"{x} - np.zeros_like({x})",
                f"{x} + np.eye({x}.shape[-1])",
                f"{x} * np.linspace(0.0, 1.0, {x}.shape[-1])",
                f"np.broadcast_to({x}, (2, *{x}.shape))",
                f"{x} * {x}.shape[0] / (1 + {x}.size)",
                f"{x} / (1 + len({x}))",
                f"np.full({x}.shape, np.sum({x}))",
                f"{x} * np.array([0.5])",
                f"{x}.copy() * 1.5",
                f"np.ones_like({x}) * np.sum({x})",
                f"{x}.copy() + 1",
            )
        )

    def scan(self, name):
        x = self.pick(least=1)
        if x is None:
            return None
        rank = np.ndim(self.values[x])
        a = self.rng.randrange(-rank, rank)
        return f"{name} = " + self.rng.choice(
            (
                f"np.cumsum({x}, axis={a})",
                f"np.cumprod({x}, axis={a})",
                f"np.diff({x}, axis={a})",
                f"np.sort({x}, axis={a})",
                f"np.cumsum({x})",
                f"{x}[np.argsort({x}[:, 0])]",
                f"{x}[np.argmax({x}, axis=0)]",
            )
        )

    def write(self, name):
        x = self.pick(least=1)
        if x is None:
            return None
        rank = np.ndim(self.values[x])
        y = self.rng.choice((self.pick(), self.rng.choice(SCALARS)))
        start = self.rng.choice(
            (
                f"{name} = {x}.copy()",
                f"{name} = np.zeros({x}.shape)",
                f"{name} = np.zeros_like({x}) + {x}",
                f"{name} = {x} * 1.0",
            )
        )
        form = self.rng.choice(("=", "+=", "*=", "-="))
        key = self._basic_key(rank)
        shape = np.shape(self.values[x])
        if self.rng.random() < 0.3 and shape[0]:
            key = self.index_array(shape[0], self.rng.choice((1, 3)))
        elif self.rng.random() < 0.15:
            key = f"{x} > 0.0"
        lines = [start, f"{name}[{key}] {form} {y}"]
        if self.rng.random() < 0.4:
            lines.append(f"{name}[{self._basic_key(rank)}] += 0.5 * np.sum({name})")
        return lines

    # --- the result

    def _close(self):
        names = list(self.values)
        chosen = self.rng.sample(names, min(2, len(names)))
        last = f"v{sum(1 for n in names if n.startswith('v')) - 1}"
        if last in self.values and last not in chosen:
            chosen.append(last)
        forms = (
            "np.sum({0})",
            "np.sum({0} * {0})",
            "np.sum(np.sin({0}))",
            "np.sum(np.cos(0.3 + {0}))",
        )
        self.program.terms = [self.rng.choice(forms).format(n) for n in chosen]
