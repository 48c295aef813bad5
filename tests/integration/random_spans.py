"""Random programs whose loops read and write slices between run-time bounds."""

import random

BOUNDS = ("{v}", "{v} + 1", "{v} - 1", "n - {v}", "n - {v} - 1", "-{v}", "1", "-1", "2", "")


class Writer:
    """Writes one program: ``program(x, A)`` of a vector and a square matrix of its size."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.pick = self.random.choice

    def text(self):
        lines = [
            "def program(x, A):",
            "    n = x.shape[0]",
            "    A, B = A.copy(), A",
            "    y = np.sin(x)",
            "    z = x * 0.5",
            "    s = 0.0",
            self.pick(
                (
                    "    for i in range(n):",
                    "    for i in range(1, n - 1):",
                    "    for i in range(n - 1, -1, -1):",
                )
            ),
        ]
        for _ in range(self.random.randint(2, 3)):
            lines += self.statement(["i"], 2)
        return "\n".join([*lines, "    return s + np.sum(y * z) + np.sum(A * A)"])

    def part(self, indices):
        """A slice: between bounds that are sums with an index, or counted from the end."""
        low, high = (self.pick(BOUNDS).format(v=self.pick(indices)) for _ in range(2))
        return f"{low}:{high}"

    def vector(self, indices):
        """An expression, and the slice that it has the length of."""
        part, array, v = self.part(indices), self.pick("xyz"), self.pick(indices)
        other, B = self.part(indices), self.pick(("A", "B"))
        forms = (
            f"{array}[{other}] @ {B}[{other}, {part}]",
            f"{B}[{part}, {other}] @ {array}[{other}]",
            f"{array}[{part}]",
            f"np.sin({array}[{part}])",
            f"{array}[{part}] * {self.pick('xyz')}[{part}]",
            f"A[{v}, {part}]",
            f"A[{part}, {v}]",
        )
        return self.pick(forms), part

    def statement(self, indices, depth):
        margin, v, array = "    " * depth, self.pick(indices), self.pick("yz")
        kind = self.random.random()
        if kind < 0.25:
            return [f"{margin}s += np.sum({self.vector(indices)[0]}) * x[{v}]"]
        if kind < 0.5:
            value, part = self.vector(indices)
            operator = self.pick(("=", "+=", "-=", "*="))
            value = f"np.cos({value})" if operator == "*=" else f"0.5 * {value}"
            return [f"{margin}{array}[{part}] {operator} {value}"]
        if kind < 0.65:
            part, other = self.part(indices), self.pick(indices)
            operator = self.pick(("=", "+=", "-="))
            return [f"{margin}A[{v}, {part}] {operator} 0.3 * {array}[{part}] * A[{other}, {part}]"]
        if kind < 0.75:
            return [f"{margin}y[{v}] = np.tanh(z[{v}] + x[{v}])"]
        if kind < 0.83:
            return [f"{margin}{array}[1 : {v} + 1] = {array}[:{v}] * 0.9"]
        if kind < 0.92:
            return [
                f"{margin}if x[{v}] > 0.0:",
                *self.statement(indices, depth + 1),
                f"{margin}else:",
                *self.statement(indices, depth + 1),
            ]
        if len(indices) > 1:
            return [f"{margin}z[{v}] += y[{v}] * 0.1"]
        bounds = self.pick(("0, i", "i, n", "i + 1, n"))
        return [
            f"{margin}for j in range({bounds}):",
            *self.statement(["i", "j"], depth + 1),
            *self.statement(["i", "j"], depth + 1),
        ]
