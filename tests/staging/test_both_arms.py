"""The hooks carry what a tracer needs: programs traced once by a miniature, run many times."""

import itertools
import linecache

import pytest

from tests.staging.both_arms import Refused, traced
from tests.staging.programs import Numeric, define

POINTS = list(itertools.product((-2, 0, 1, 3), (-1, 0, 2)))


def result(function, args):
    try:
        return function(*args)
    except (ValueError, AssertionError, UnboundLocalError) as error:
        text = "" if isinstance(error, UnboundLocalError) else str(error).partition("\n")[0]
        return type(error), text


def agrees(function, count=2, points=POINTS):
    run = traced(function, count)
    for point in points:
        assert result(run, point[:count]) == result(function, point[:count]), point
    return run


def test_both_arms_start_from_the_same_names():
    def f(x, y):
        z = y
        if x > 0:
            z = z + 1
            w = 1
        else:
            w = z * 10
        return z, w

    agrees(f)


def test_elif_nested_and_missing_else():
    def f(x, y):
        z = 0
        if x > 1:
            z = 1
        elif x > 0:
            if y > 0:
                z = 2
        elif y < 0:
            z = 3
        return z

    agrees(f)


def test_early_return_moves_the_tail_into_the_other_arm():
    def f(x, y):
        if x < 0:
            return -x
        y = y + 1
        if y > 2:
            if x > 2:
                return y
            y = y * 2
        return x + y

    agrees(f)


def test_a_name_bound_in_one_arm_is_unbound_in_the_other():
    def f(x, y):
        if x > 0:
            z = 1
        if y > 0:
            z = 2
        return z

    agrees(f)


def test_deleting_in_an_arm():
    def f(x, y):
        z = 5
        if x > 0:
            del z
        return z + y

    agrees(f)


def test_choosing_operators_and_walrus():
    def f(x, y):
        k = 7
        a = (k := x) if y > 0 else (k := k + y)
        b = (x and (k := y + 1)) or k
        c = 0 < x < (m := y + 2) < 4
        return a, b, c, k, m, not x, [v if x > v else y for v in (1, 2)]

    agrees(f)


def test_a_chain_evaluates_each_operand_once_and_stops():
    seen = []

    def note(value):
        seen.append(value)
        return value

    def f(x, y):
        return 0 < note(x) < note(y)

    run = traced(f, 2)
    assert len(seen) == 2
    assert [run(1, 2), run(1, 0), run(-1, 3)] == [True, False, False]


def test_loops_find_their_carries():
    def f(n, y):
        total, last, other = 0, y, 4
        for i in range(n):
            total += i * other
            last, previous = i, last
        return total, last, other, previous if n > 0 else 0

    run = agrees(f)
    (site,) = [site for site in run.scope.sites if site.kind == "for"]
    assert site.names == ("total", "last", "previous")
    assert site.after == {"total", "last", "previous"}


def test_swap_rotate_and_a_name_first_bound_in_a_loop():
    def f(n, y):
        a, b, c = 1, y, 3
        for i in range(n + 2):
            a, b, c = b, c, a + i
            if i > 1:
                continue
            first = a
        return a, b, c, first

    agrees(f, points=[p for p in POINTS if p[0] >= 0])


def test_zero_trips_leave_a_name_unbound():
    def f(n, y):
        for i in range(n):
            z = i
        return z + y

    agrees(f)


def test_break_continue_and_else():
    def f(x, y):
        total = 0
        for i in range(6):
            if i == x:
                continue
            if total > y + 3:
                break
            total += i
        else:
            total = -1
        return total, i

    agrees(f)


def test_return_inside_nested_loops():
    def f(x, y):
        for i in range(4):
            for j in range(i):
                if i * j > x:
                    return i, j
            if i > y + 2:
                return y, i
        return 0, 0

    agrees(f)


def test_while_with_a_traced_condition_and_with_a_traced_break():
    def f(x, y):
        steps = 0
        while x < 20:
            x = x * x + 3
            steps += 1
        while True:
            y = y + 3
            if y > x - 10:
                break
            if y == 5:
                continue
            steps += 10
        return x, y, steps

    agrees(f)


def test_while_stays_plain_while_nothing_is_traced():
    def f(x, y):
        k = 0
        while k < 3:
            k += 1
            x = x + k
        return x, k

    assert [s.kind for s in agrees(f).scope.sites] == ["while"]


def test_an_abort_unrolls_from_the_start_of_the_loop():
    table = [5, 7, 11]

    def f(x, y):
        total = x
        for i in range(3):
            total = total * 2
            try:
                total += table[i]
            except:  # noqa: E722  # lets the abort pass
                total = 1000
        return total, i

    agrees(f)


def test_an_unrolled_loop_with_a_traced_break():
    def f(x, y):
        total = 0
        for v in [1, 2, 3, 4]:
            if total > x:
                break
            total += v
            if v == 2:
                continue
            total += y
        else:
            total = total * 100
        return total, v

    agrees(f)


def test_an_aborted_loop_with_a_traced_break():
    table = [1, 2, 3]

    def f(x, y):
        total = 0
        for i in range(3):
            if total > x:
                return total
            total += table[i] + y
        return -total

    agrees(f)


def test_raise_and_assert_under_a_traced_condition():
    def f(x, y):
        assert x < 3, "too large"
        if x < 0:
            if y < 0:
                raise ValueError("both negative")
            y = y + 1
        elif y == 2:
            raise ValueError("two")
        return x + y

    agrees(f)


def test_a_raise_that_may_be_caught_is_told():
    def f(x):
        try:
            if x > 0:
                raise ValueError
        except ValueError:
            return 1
        return 0

    with pytest.raises(Refused, match="in a try"):
        traced(f, 1)


def test_helpers_with_early_returns_called_in_a_loop():
    def clipped(v, top):
        if v > top:
            return top
        if v < 0:
            return 0
        return v

    def f(x, y):
        total = 0
        for i in range(4):
            total = total + clipped(x * i, 3) - y
        return total

    agrees(f)


def test_a_closure_that_rebinds_a_name_is_carried():
    def f(x, y):
        total = 0

        def add(v):
            nonlocal total
            total = total + v

        for i in range(3):
            add(i * x)
        if x > y:
            add(100)
        return total

    agrees(f)


def test_match_on_traced_numbers():
    def f(x, y):
        match x:
            case 0:
                z = 1
            case 1 | 3 if y > 0:
                z = 2
            case -2 | 3 as w if w < 0:
                return w
            case other:
                z = other * 10
        return z

    agrees(f)


def test_with_and_finally_keep_their_bodies():
    class Quiet:
        def __enter__(self):
            return 3

        def __exit__(self, *error):
            return False

    def f(x, y):
        try:
            with Quiet() as three:
                if x > 0:
                    return three * x
                y = y + three
        finally:
            y = y * 2
        return y

    agrees(f)


def test_arrays_written_but_not_assigned_are_carried():
    def f(values, n):
        out = values
        for i in range(1, 3):
            if values[i] > n:
                values[i] = values[i - 1] + n
            else:
                out[i] += 1
        return out

    run = traced(f, 2, arrays=(0,))
    for values, n in itertools.product(([1, 2, 3], [5, -1, 0]), (-2, 0, 2)):
        assert list(run(values, n)) == f(list(values), n)


def test_a_handler_learns_that_regions_were_abandoned():
    def f(x):
        z = 0
        try:
            if x > 0:
                z = 1
                int("no number")
        except ValueError:
            z = x
        return z

    # Both the region of the arm and its names are gone; what remains is the handler's.
    assert traced(f, 1)(5) == 5


def test_stores_to_outer_names_are_announced():
    text = """
    def f():
        total = 1
        def add(x):
            nonlocal total
            global count
            total = total + x
            count = 2
        add(5)
        return total
    """
    from tests.staging.plain import PassThrough
    from tracegrad.staging import cell_of, stage

    told = []

    class Told(PassThrough):
        def rebinds(self, name, reader):
            told.append((name, reader and cell_of(reader).cell_contents))

    assert stage(define(text, "<outer>"), Told())() == 6
    assert told == [("total", 1), ("count", None)]


BATCHES, PROGRAMS = 4, 75


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_programs_traced_once_run_everywhere(batch):
    for seed in range(batch * PROGRAMS, (batch + 1) * PROGRAMS):
        text = Numeric(seed).program()
        filename = f"<numeric {seed}>"
        f = define(text, filename)
        try:
            run = traced(f, 2)
            for point in POINTS:
                assert result(run, point) == result(f, point), f"seed {seed} {point}\n{text}"
        finally:
            linecache.cache.pop(filename, None)
