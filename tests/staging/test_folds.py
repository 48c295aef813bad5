"""Loops that stand for comprehensions do what these do."""

import traceback

import pytest

from tests.staging.plain import PassThrough
from tests.staging.programs import define
from tracegrad.staging import PlainFold, stage


class Loop(PlainFold):
    folds = True

    def __init__(self, function, loop, items):
        self.function, self.loop, self.items = function, loop, items

    def of(self, *start):
        if self.function is None:
            found = {}
            self.loop(enumerate(self.items), found)
            return [found[k] for k in range(len(found))]
        return self.loop(self.items, *start)


class Folding(PassThrough):
    def __init__(self):
        self.folded = []

    def fold(self, function, loop, items, site):
        self.folded.append(function)
        return Loop(function, loop, items)


def staged_and_plain(text, **values):
    plain = define(text, f"<text {abs(hash(text))}>", **values)
    hooks = Folding()
    return stage(plain, hooks), plain, hooks.folded


def same(text, *calls, times=None, **values):
    staged, plain, folded = staged_and_plain(text, **values)
    for args in calls:
        assert staged(*args) == plain(*args)
    if times is not None:
        assert len(folded) == times * len(calls)


def test_folds():
    same(
        """
        def f(x, k):
            a = sum(v * k for v in x if v > 1)
            b = max([v * k for v in x]), min(-v for v in x if v != 2)
            if any(v == 3 for v in x) and not all(v > 0 for v in x):
                b = sum((v for v in x), 10)
            elif min(v for v in x) < 5:
                b = sum([v for v in x], k)
            return a, b, sum(i * j for i in range(4) for j in range(i) if j if i > 2)
        """,
        ([1, 2, 3, 4], 2),
        ([5], 3),
        ([3, -1], 0),
        ([2.5, 9], 1),
        times=None,
    )


def test_lists():
    same(
        """
        def f(x):
            y = [u + 1 for u in x]
            z = [[u * v for u in x] for v in y]
            for q in [i * 2 for i in range(3)]:
                y.append(q)
            return y, z, [(a, b) for a, b in zip(x, y)], len([v for v in x if v])
        """,
        ([1, 2, 3],),
        ([],),
    )


def test_each_is_evaluated_once_and_in_order():
    same(
        """
        def f(x):
            seen = []

            def note(v):
                seen.append(v)
                return v

            a = note(sum)((note(v) for v in note(x)), note(100))
            b = sum((note(v) for v in note(x)), note(100))
            c = any(note(v) > 1 for v in x), all(note(v) > 1 for v in x)
            return a, b, c, seen
        """,
        ([1, 2, 3],),
    )


def test_names_inside_stay_inside():
    same(
        """
        def f(x, total):
            v = 7
            items = x
            s = sum(v * total for v in items)
            found = [best for best in items]
            return s, v, max(value for value in items), found, locals().keys() >= {"v", "s"}
        """,
        ([1, 2, 3], 5),
    )


def test_what_has_to_stay_alone():
    same(
        """
        def f(x):
            a = sum(w := v for v in x)
            b = sum(x)
            c = max(x, key=lambda v: -v), max((v for v in x), default=3), max(1, 2)
            return a, w, b, c
        """,
        ([1, 2, 3],),
        times=0,
    )


def test_in_a_loop_in_a_method_and_in_a_lambda():
    same(
        """
        class C:
            __k = 3

            def run(self, x):
                out = []
                while sum(v for v in x) > 3 and len(x) > 1:
                    x = [self.__k * v - 1 for v in x[1:]]
                    out.append(max(v for v in x))
                    if any(v > 20 for v in x):
                        continue
                    out.append(0)
                return out

        def f(x):
            return C().run(x)
        """,
        ([1, 2, 3, 4, 0],),
    )
    plain = eval("lambda x: sum(v * v for v in x if v > 0)")
    assert stage(plain, Folding())([1, -2, 3]) == 10


@pytest.mark.parametrize("hooks", [Folding, PassThrough])
def test_errors_show_the_users_line(hooks):
    plain = define("def f(x):\n    y = 1\n    return sum(1 / v\n        for v in x)\n", "<text q>")
    with pytest.raises(ZeroDivisionError) as caught:
        stage(plain, hooks())([1, 0])
    assert traceback.extract_tb(caught.value.__traceback__)[-1].lineno == 3


def test_of_nothing():
    staged, plain, _ = staged_and_plain("def f(x):\n    return max(v for v in x)\n")
    for each in (staged, plain):
        with pytest.raises(ValueError, match=r"max\(\)"):
            each([])
