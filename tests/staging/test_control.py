"""Control flow with hooks that pass everything through: what plain Python gives, to the line."""

import gc
import sys
import traceback
import weakref

import pytest

from tests.staging.plain import PassThrough
from tests.staging.programs import define, outcome
from tracegrad.staging import is_staged, stage, why_native, why_unstaged


def same(text, *calls, hooked=True, **values):
    """A text's ``f`` does the same with hooks and without."""
    name = f"<text {abs(hash(text))}>"
    plain = define(text, name, **values)
    staged = stage(plain, PassThrough())
    assert is_staged(staged)
    assert (why_native(plain) is None) is hooked
    for args in calls:
        assert outcome(staged, args, name) == outcome(plain, args, name)
    return staged


def test_exceptions_show_the_lines_they_passed_through():
    same(
        """
        def helper(x):
            for k in range(3):
                if k == x:
                    raise ValueError(
                        "here")
            return 1 / (x - 5)

        def f(x):
            while True:
                try:
                    y = (helper(x)
                         if x else [1][x + 1])
                except KeyError:
                    pass
                assert y < 0, f"not {y}"
                break
            return undefined
        """,
        *[(x,) for x in (-1, 0, 1, 2, 5, 7)],
    )


def test_unbound_names_are_pythons_own_errors():
    same(
        """
        def f(x):
            for i in range(x):
                y = i
            if x == 2:
                del y
            if x == 3:
                z = 1
            return y, i, z
        """,
        *[(x,) for x in range(5)],
    )


def test_deleted_handler_names_and_exception_context():
    same(
        """
        def f(x):
            try:
                try:
                    if x: raise KeyError(1)
                    raise ValueError(2) from TypeError(3)
                except KeyError as error:
                    raise ValueError(4)
                except ValueError as error:
                    if x is None: return error.__cause__.args
            finally:
                x = 5
            return error
        """,
        (0,),
        (1,),
        (None,),
    )


def test_jumps_overtaken_by_exceptions_are_forgotten():
    same(
        """
        class Bad:
            def __enter__(self): return self
            def __exit__(self, *error): raise KeyError("exit")

        class Quiet:
            def __enter__(self): return self
            def __exit__(self, *error): return True

        def f(x):
            seen = []
            for i in range(3):
                try:
                    if i == x:
                        with Bad():
                            return "inner"
                    elif i == x + 1:
                        try:
                            break
                        finally:
                            raise KeyError
                except KeyError:
                    seen.append(i)
                with Quiet(), Bad():
                    if i == 2:
                        continue
                seen.append(-i)
            else:
                seen.append("else")
            return seen
        """,
        *[(x,) for x in range(-2, 4)],
    )


def test_a_jump_out_of_finally_leaves_the_control_flow_to_python():
    staged = same(
        """
        def f(x):
            for i in range(3):
                try:
                    1 / (i - x)
                finally:
                    if i > 1:
                        return abs(i)
        """,
        (0,),
        (1,),
        (5,),
        hooked=False,
    )
    assert is_staged(staged)


def test_more_blocks_than_python_nests_leave_the_control_flow_to_python():
    deep = "def f(x):\n" + "".join("    " * k + f"for i{k} in range(1):\n" for k in range(1, 15))
    same(deep + "    " * 15 + "x = abs(x)\n    return x\n", (-3,), hooked=False)


def test_long_chains_are_not_nested_blocks():
    chain = "".join(f"    elif x == {k}:\n        return {k}0\n" for k in range(1, 60))
    same(f"def f(x):\n    if x < 0:\n        return -1\n{chain}    return 0\n", (-1,), (5,), (99,))
    many = "".join(f"    if x == {k}:\n        return {k}0\n" for k in range(60))
    same(f"def f(x):\n{many}    return abs(x)\n", (0,), (59,), (-60,))


def test_generators_and_coroutines_inside_stay_themselves():
    same(
        """
        def f(n):
            def count(k):
                while k < n:
                    k += 1
                    if k == 2:
                        continue
                    got = yield k if k > 1 else -k
                    if got and k > 3:
                        return
            steps = count(0)
            out = [next(steps), steps.send(1)]
            out += [a for a in count(0)]
            chained = (p for p in range(20) if p > 1)
            for k in (2, 3):
                chained = (p for p in chained if p % k and p > 1 or p == k)
            return out, list(chained)
        """,
        (5,),
        (3,),
    )


def test_closures_bind_late_and_rebind():
    same(
        """
        count = 0
        def f(n):
            global count
            made, total, count = [], 0, 0
            def add(k):
                nonlocal total
                if k > 1:
                    return
                total += k
            for i in range(n):
                made.append(lambda: (i, j if i else None))
                j = i * 2
                add(i)
                count = count + 1
            return [m() for m in made], total, count
        """,
        (0,),
        (3,),
    )


def test_methods_private_names_super_and_class_bodies():
    same(
        """
        class Base:
            def get(self, x):
                return x
        class _C(Base):
            size = 1 if True else 2
            if size > 0:
                other = [k for k in range(3) if k and k < 3]
            def __init__(self):
                self.__n = 3
            def get(self, x):
                __total = 0
                for __i in range(self.__n):
                    if __i == x:
                        return super().get(__total)
                    __total += 1 if __i else 5
                return __total, self.other, [super(_C, self).get(k) for k in range(2) if k or 1]
        def f(x):
            return _C().get(x)
        """,
        (0,),
        (2,),
        (9,),
    )


def test_dead_code_still_says_which_names_are_local():
    same(
        """
        def f(x):
            if x > 0:
                return y
                y = 1
            while True:
                break
                z = 2
            return z
            for z in x: return z
        """,
        (1,),
        (0,),
        y=1,
        z=2,
    )


def test_matches_of_all_kinds():
    same(
        """
        class Point:
            __match_args__ = ("x", "y")
            def __init__(self, x, y): self.x, self.y = x, y
        class K: ONE = 1
        def f(v):
            for k in range(2):
                match v:
                    case K.ONE | 2: return "small"
                    case None: break
                    case 3 | 4 as w if k: return w, k
                    case str() as text: return text
            else:
                match Point(v, k):
                    case Point(5, y): return y
                    case Point(x=[first, *rest]) if rest: return rest
                    case {"a": 1, **others}: return others
                match v:
                    case other if other == 9: return "nine"
            return v, w
        """,
        *[(v,) for v in (1, 2, 3, 4, 5, 9, None, "s", [1], [1, 2])],
    )


def test_walrus_comprehensions_and_operators_keep_their_values():
    same(
        """
        def f(x):
            log = []
            def note(v):
                log.append(v)
                return v
            a = [y for k in (x if x else [1, 2]) if (y := note(k)) and 0 < y < note(3)]
            b = note(0) or note([]) or note("last")
            c = note(1) < note(3) < note(2) < note(9)
            d = not note(x), note(1) in [1, 2], note(5) not in log, 1 < 2 == 2
            e = {k: (v if v > 1 else -v) for k, v in enumerate(a) if k or v}
            g = sum(p and q for p in range(3) for q in ([1, 2] if p > 1 else [3]))
            h = (lambda s: s and (t := s + 1) and t)(x and 1)
            return a, b, c, d, e, g, h, y, log
        """,
        ([],),
        ([1, 2, 5],),
    )


def test_truth_is_asked_once():
    same(
        """
        class Asked:
            def __init__(self, log, answer): self.log, self.answer = log, answer
            def __bool__(self):
                self.log.append(self.answer)
                return self.answer
        def f():
            log = []
            yes, no = Asked(log, True), Asked(log, False)
            if yes and no or yes: log.append("if")
            x = yes and no
            while not (no or yes): pass
            assert yes or no
            y = [k for k in range(2) if yes and not no]
            z = 1 if no and yes else 2
            return log, x is no, y, z
        """,
        (),
    )


def test_python_asserts_are_compiled_as_python_does():
    f = same("def f(x):\n    assert x, 'message'\n    return abs(x)\n", (1,), (0,))
    with pytest.raises(AssertionError, match="message"):
        f(0)


def test_iterators_and_items_live_no_longer_than_before():
    class Item:
        pass

    def items(log):
        try:
            for _ in range(3):
                yield Item()
        finally:
            log.append("closed")

    text = """
    def f(items, ref):
        log = []
        for item in items(log):
            alive = ref(item)
            del item
            log.append(alive() is None)
            if len(log) > 1:
                break
        log.append("after")
        try:
            for item in items(log):
                raise ValueError
        except ValueError:
            log.append("caught")
        return log
    """
    gc.disable()
    try:
        same(text, (items, weakref.ref))
    finally:
        gc.enable()


def test_one_frame_of_the_user_per_call():
    def f(x):
        for _ in range(2):
            if x and (1 if x > 0 else 0):
                return x / 0
        return None

    with pytest.raises(ZeroDivisionError) as caught:
        stage(f, PassThrough())(1)
    frames = traceback.extract_tb(caught.value.__traceback__)
    assert [frame.name for frame in frames[1:]] == ["f"]
    assert frames[-1].line == "return x / 0"


def test_recursion_and_interrupted_loops_do_not_disturb_each_other():
    same(
        """
        def f(n):
            total = 0
            for i in range(n):
                if i and (f(i - 1) if i > 1 else i) > 0:
                    total += f(i) if i < 3 else 1
            return total + n
        """,
        (4,),
        (6,),
    )


def test_the_hooks_of_a_loop_cost_little():
    # Compared with itself without hooks, by events of the interpreter and not by the clock.
    def count(function):
        events = 0

        def tell(frame, event, arg):
            nonlocal events
            events += event in ("call", "c_call")

        sys.setprofile(tell)
        try:
            function(100)
        finally:
            sys.setprofile(None)
        return events

    def f(n):
        total = 0
        for i in range(n):
            if i > 5:
                total = total + i
        return total

    assert why_unstaged(f) is None
    assert count(stage(f, PassThrough())) < 1500


def test_conditions_over_several_lines_show_the_same_line():
    same(
        """
        class Bad:
            def __bool__(self): raise ValueError("asked")
        def f(kind):
            x, bad = 1, Bad()
            if kind == 0:
                if (x and bad
                    and x
                ):
                    pass
            if kind == 1:
                return (
                    x and
                    bad and
                    x
                )
            if kind == 2:
                return (not
                    bad)
            if kind == 3:
                while (bad
                       and x):
                    pass
            if kind == 4:
                return [
                    k
                    for k in range(bad
                                   .y)
                ]
            for k in (
                x
                .y
            ):
                pass
        """,
        *[(k,) for k in range(6)],
    )
