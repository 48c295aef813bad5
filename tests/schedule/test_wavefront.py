"""Nests over cells by diagonals: where, where not, and how tables are stored then."""

import itertools

import numpy as np
import pytest

from tests.ops.building import built
from tests.schedule.region_programs import assert_all_forms_agree, lowered, numbers
from tracegrad import ops
from tracegrad.backend.emit import emit_loop_form
from tracegrad.ir.interpreter import evaluate
from tracegrad.ir.types import ArrayType, f32, i64, scalar, symbol
from tracegrad.ops.access import full, zeros
from tracegrad.ops.control import branch, for_loop, raise_, while_loop
from tracegrad.ops.registry import constant
from tracegrad.passes import finish
from tracegrad.schedule import wavefront

n, m = symbol("n"), symbol("m")
SIZES = [(0, 0), (0, 4), (4, 0), (1, 1), (2, 5), (6, 3), (5, 5)]


def filled(cell, *, start=0, rows=(1, n), columns=(1, m), steps=(1, 1), result=True):
    """``cell(i, j, y, x)`` gives the next table, for each cell; y starts as an array of its own."""

    def f(x):
        y = full((n, m), 0.5) if start is None else x * 0.5

        def row(i, y):
            return for_loop(*columns, [y], lambda j, y: [cell(i, j, y, x)], step=steps[1])

        (y,) = for_loop(*rows, [y], row, step=steps[0])
        return y if result else ops.sum(y * y, axes=(0, 1))

    return built(f, (n, m))


def heavy(*values):
    return ops.tanh(sum(values[1:], values[0]) * 0.5)


def at(y, i, j):
    return ops.index(y, i, j)


def by_diagonals(function):
    """The loops over diagonals in loop form."""
    return [op for op in lowered(function).walk() if op.attributes.get("kind") == "diagonals"]


def slope(function):
    """How i and j make the number of a diagonal, read off the printed text."""
    text = emit_loop_form(lowered(function))
    found = {k for k, said in ((2, "d - 2 * i"), (1, "d - i"), (-1, "d + i")) if said in text}
    return found.pop() if found else text


def assert_same(function, rtol=1e-12):
    for rows, columns in SIZES:
        assert_all_forms_agree(function, numbers(rows, columns), rtol=rtol)


# --- where -----------------------------------------------------------------------------------


def test_cells_that_wait_for_those_above_and_to_the_left():
    f = filled(lambda i, j, y, x: ops.update(y, heavy(at(y, i - 1, j), at(y, i, j - 1)), i, j))
    assert len(by_diagonals(f)) == 1
    assert slope(f) == 1
    assert_same(f)


def test_each_cell_computes_what_it_computed_bit_by_bit():
    f = filled(lambda i, j, y, x: ops.update(y, heavy(at(y, i - 1, j), at(y, i, j - 1)), i, j))
    x = numbers(9, 7)
    np.testing.assert_array_equal(evaluate(lowered(f), x)[0], evaluate(f, x)[0])


def test_old_values_of_cells_to_come_may_be_read():
    """Gauss-Seidel: the cells below and to the right are read before they are written."""

    def cell(i, j, y, x):
        around = [at(y, i - 1, j), at(y, i, j - 1), at(y, i + 1, j), at(y, i, j + 1)]
        return ops.update(y, heavy(*around), i, j)

    f = filled(cell, rows=(1, n - 1), columns=(1, m - 1))
    assert len(by_diagonals(f)) == 1
    for rows, columns in [(2, 2), (3, 3), (4, 6), (7, 5)]:
        assert_all_forms_agree(f, numbers(rows, columns))


def test_a_cell_above_and_to_the_right_needs_steeper_lines():
    f = filled(
        lambda i, j, y, x: ops.update(y, heavy(at(y, i - 1, j + 1), at(y, i, j - 1)), i, j),
        columns=(1, m - 1),
    )
    assert slope(f) == 2
    for rows, columns in [(2, 2), (3, 3), (4, 6), (7, 5)]:
        assert_all_forms_agree(f, numbers(rows, columns))


def test_a_nest_that_runs_backwards():
    f = filled(
        lambda i, j, y, x: ops.update(y, heavy(at(y, i + 1, j), at(y, i, j + 1)), i, j),
        rows=(n - 2, -1),
        columns=(m - 2, -1),
        steps=(-1, -1),
    )
    assert slope(f) == 1
    for rows, columns in [(1, 1), (2, 2), (3, 3), (4, 6), (7, 5)]:
        assert_all_forms_agree(f, numbers(rows, columns))


def test_rows_down_and_columns_back():
    f = filled(
        lambda i, j, y, x: ops.update(y, heavy(at(y, i - 1, j), at(y, i, j + 1)), i, j),
        columns=(m - 2, -1),
        steps=(1, -1),
    )
    assert slope(f) == -1
    for rows, columns in [(1, 1), (2, 2), (3, 3), (4, 6), (7, 5)]:
        assert_all_forms_agree(f, numbers(rows, columns))


def test_one_row_that_is_written_again_and_again():
    """``row[j]`` is that of the row above until it is written, and the diagonals are steeper."""

    def f(x):
        def outer(i, row):
            return for_loop(
                1, m, [row], lambda j, r: [ops.update(r, heavy(at_(r, j), at_(r, j - 1)), j)]
            )

        def at_(r, j):
            return ops.index(r, j)

        return for_loop(0, n, [ops.index(x, constant(0, i64)) * 1.0], outer)

    function = built(f, (n, m))
    assert slope(function) == 2
    for rows, columns in [(1, 1), (1, 4), (2, 5), (6, 3), (5, 5)]:
        assert_all_forms_agree(function, numbers(rows, columns))


def test_sums_over_rows_columns_and_all_cells():
    def f(x):
        def row(i, y, total, by_row, by_column):
            def cell(j, y, total, by_row, by_column):
                v = heavy(at(y, i - 1, j), at(y, i, j - 1))
                return [
                    ops.update(y, v, i, j),
                    total + v * at(x, i, j),
                    ops.accumulate(by_row, v, i),
                    ops.accumulate(by_column, v * 2.0, j),
                ]

            return for_loop(1, m, [y, total, by_row, by_column], cell)

        start = [x * 1.0, constant(0.0), zeros((n,)), zeros((m,))]
        return for_loop(1, n, start, row)

    for function in (built(f, (n, m)), finish(built(f, (n, m)))):
        assert len(by_diagonals(function)) == 1
        assert_same(function)


def test_additions_to_a_place_that_all_cells_share():
    def f(x):
        def row(i, y, bins):
            def cell(j, y, bins):
                v = heavy(at(y, i - 1, j), at(y, i, j - 1))
                first = constant(0, i64)
                bins = ops.accumulate(bins, v, first + 1)
                bins = ops.accumulate(bins, v * v, first)
                return [ops.update(y, v, i, j), ops.accumulate(bins, x_(i, j), first)]

            return for_loop(1, m, [y, bins], cell)

        def x_(i, j):
            return at(x, i, j) * 0.5

        return for_loop(1, n, [x * 1.0, zeros((2,))], row)

    function = built(f, (n, m))
    assert len(by_diagonals(function)) == 1
    assert_same(function)


def test_additions_to_neighbours_which_two_cells_share():
    """The way back of a table: a cell adds to the three that it was made of."""

    def cell(i, j, y, x):
        v = ops.tanh(at(y, i, j)) * 0.5
        y = ops.accumulate(y, v, i - 1, j)
        y = ops.accumulate(y, v * 0.5, i, j - 1)
        return ops.accumulate(y, v * at(x, i, j), i - 1, j - 1)

    f = filled(cell, rows=(n - 1, 0), columns=(m - 1, 0), steps=(-1, -1))
    (loop,) = by_diagonals(f)
    assert sum(op.attributes.get("kind") == "write" for op in loop.regions[0].ops) >= 1
    for rows, columns in [(1, 1), (2, 2), (3, 3), (4, 6), (7, 5)]:
        assert_all_forms_agree(f, numbers(rows, columns))


def test_branches_read_what_is_in_range():
    def cell(i, j, y, x):
        value = branch(
            at(x, i, j) > 0.0,
            lambda: [heavy(at(y, i - 1, j - 1), at(x, i - 1, j))],
            lambda: [heavy(at(y, i, j - 1), at(y, i - 1, j))],
        )[0]
        return ops.update(y, value, i, j)

    f = filled(cell)
    assert len(by_diagonals(f)) == 1
    assert_same(f)


def test_what_was_just_written_is_known():
    def cell(i, j, y, x):
        y = ops.update(y, heavy(at(y, i - 1, j), at(y, i, j - 1)), i, j)
        return ops.update(y, at(y, i, j) * at(x, i, j), i, j)

    f = filled(cell)
    assert len(by_diagonals(f)) == 1
    assert_same(f)


def test_numbers_of_32_bits():
    def f(x):
        def row(i, y):
            return for_loop(
                1,
                m,
                [y],
                lambda j, y: [ops.update(y, heavy(at(y, i - 1, j), at(y, i, j - 1)), i, j)],
            )

        return for_loop(1, n, [x * 0.5], row)

    function = built(f, ArrayType(f32, (n, m)))
    assert len(by_diagonals(function)) == 1
    for rows, columns in SIZES:
        given = numbers(rows, columns).astype(np.float32)
        assert_all_forms_agree(function, given, rtol=1e-5)


# --- where not -------------------------------------------------------------------------------


def test_rows_that_need_no_other_row_of_the_same_cell_are_left():
    """Nothing waits within a row: LLVM computes it in lanes as it stands."""
    f = filled(lambda i, j, y, x: ops.update(y, heavy(at(y, i - 1, j), at(y, i - 1, j - 1)), i, j))
    assert not by_diagonals(f)


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(
            lambda i, j, y, x: ops.update(y, heavy(at(y, i, j - 1), at(y, i - 1, -i)), i, j),
            id="another way through the table",
        ),
        pytest.param(
            lambda i, j, y, x: ops.update(y, heavy(at(y, i, j - 1), at(y, j - 1, i)), i, j),
            id="transposed",
        ),
        pytest.param(
            lambda i, j, y, x: ops.update(y, heavy(at(y, i, j - 1), at(y, i - 1, j)), i, j - j),
            id="one column",
        ),
    ],
)
def test_positions_whose_distance_is_not_known(cell):
    f = filled(cell, rows=(1, m), columns=(1, m))
    assert not by_diagonals(f)
    assert_all_forms_agree(f, numbers(6, 6))


def test_positions_that_data_decide():
    def f(x, k):
        def row(i, y):
            def cell(j, y):
                far = ops.index(k, j)
                return [ops.update(y, heavy(at(y, i, j - 1), at(y, i - 1, far)), i, j)]

            return for_loop(1, m, [y], cell)

        return for_loop(1, n, [x * 1.0], row)

    function = built(f, (n, m), ArrayType(i64, (m,)))
    assert not by_diagonals(function)
    assert_all_forms_agree(function, numbers(4, 5), np.array([0, 3, -1, 2, 4]))


def test_a_number_that_goes_from_cell_to_cell():
    def f(x):
        def row(i, y, last):
            def cell(j, y, last):
                v = heavy(at(y, i - 1, j), last)
                return [ops.update(y, v, i, j), v]

            return for_loop(1, m, [y, last], cell)

        return for_loop(1, n, [x * 1.0, constant(0.0)], row)

    assert not by_diagonals(built(f, (n, m)))


def test_a_sum_that_cells_read():
    def f(x):
        def row(i, y, total):
            def cell(j, y, total):
                v = heavy(at(y, i - 1, j), at(y, i, j - 1), total)
                return [ops.update(y, v, i, j), total + v]

            return for_loop(1, m, [y, total], cell)

        return for_loop(1, n, [x * 1.0, constant(0.0)], row)

    assert not by_diagonals(built(f, (n, m)))


def test_an_element_of_the_row_that_the_nest_reads_once():
    """``first`` is read before the row is written, which the cells of the row change."""

    def f(x):
        def row(i, y):
            first = at(y, i, constant(1, i64))
            return for_loop(
                1,
                m,
                [y],
                lambda j, y: [ops.update(y, heavy(at(y, i - 1, j), at(y, i, j - 1), first), i, j)],
            )

        return for_loop(1, n, [x * 1.0], row)

    function = built(f, (n, m))
    assert not by_diagonals(function)
    for rows, columns in [(2, 2), (3, 3), (4, 6), (7, 5)]:
        assert_all_forms_agree(function, numbers(rows, columns))


def test_an_error_that_a_cell_may_raise():
    def cell(i, j, y, x):
        def fail():
            raise_(kind="ValueError", message="negative")
            return []

        branch(at(x, i, j) < -100.0, fail, list)
        return ops.update(y, heavy(at(y, i - 1, j), at(y, i, j - 1)), i, j)

    f = filled(cell)
    assert not by_diagonals(f)


def test_a_loop_of_unknown_length_in_a_cell():
    def cell(i, j, y, x):
        v = while_loop([at(y, i - 1, j)], lambda v: v > 1.0, lambda v: [v * 0.5])[0]
        return ops.update(y, heavy(v, at(y, i, j - 1)), i, j)

    assert not by_diagonals(filled(cell))


def test_triangles_are_left():
    def f(x):
        def row(i, y):
            return for_loop(
                1,
                i,
                [y],
                lambda j, y: [ops.update(y, heavy(at(y, i - 1, j), at(y, i, j - 1)), i, j)],
            )

        return for_loop(1, n, [x * 1.0], row)

    function = built(f, (n, n))
    assert not by_diagonals(function)
    assert_all_forms_agree(function, numbers(6, 6))


def test_an_index_out_of_range_raises_as_before():
    f = filled(
        lambda i, j, y, x: ops.update(y, heavy(at(y, i - 1, j), at(y, i, j - 1)), i, j),
        columns=(1, m + 1),
    )
    with pytest.raises(IndexError):
        evaluate(lowered(f), numbers(4, 4))
    assert_all_forms_agree(f, numbers(1, 4))


def test_short_diagonals_and_cheap_cells_are_left():
    def nest(cell, hints):
        function = filled(cell)
        function.hints = hints
        return by_diagonals(function)

    def dear(i, j, y, x):
        return ops.update(y, heavy(at(y, i - 1, j), at(y, i, j - 1)), i, j)

    def cheap(i, j, y, x):
        return ops.update(y, at(y, i, j - 1) * 0.5 + at(x, i, j) * at(x, i - 1, j), i, j)

    assert nest(dear, {"n": 100, "m": 100})
    assert not nest(dear, {"n": 100, "m": 10})
    assert not nest(cheap, {"n": 100, "m": 100})


# --- how tables are stored -------------------------------------------------------------------


def stored_by_diagonals(function):
    """The arrays of loop form whose shape is that of the table turned round."""
    loops = lowered(function)
    shapes = [op.attributes["shape"] for op in loops.walk() if op.name == "alloc"]
    return sum(shape == (m, n) for shape in shapes)


def corner(y):
    return at(y, constant(0, i64), constant(0, i64))


def test_a_table_that_only_cells_use_is_stored_by_diagonals():
    def f(x):
        def row(i, y):
            return for_loop(
                1,
                m,
                [y],
                lambda j, y: [
                    ops.update(y, heavy(at(y, i - 1, j), at(y, i, j - 1), at(x, i, j)), i, j)
                ],
            )

        (y,) = for_loop(1, n, [full((n, m), 0.5)], row)
        return ops.sum(y * y, axes=(0, 1))

    function = built(f, (n, m))
    assert stored_by_diagonals(function) == 1
    text = emit_loop_form(lowered(function))
    assert "% m" in text
    assert_same(function)


def test_a_result_keeps_its_shape():
    f = filled(lambda i, j, y, x: ops.update(y, heavy(at(y, i - 1, j), at(y, i, j - 1)), i, j))
    assert stored_by_diagonals(f) == 0


def test_a_table_that_is_read_in_another_order_keeps_its_shape():
    def f(x):
        def row(i, y):
            return for_loop(
                1,
                m,
                [y],
                lambda j, y: [ops.update(y, heavy(at(y, i - 1, j), at(y, i, j - 1)), i, j)],
            )

        (y,) = for_loop(1, n, [full((n, m), 0.5)], row)
        return ops.sum(y, axes=(1,))

    function = built(f, (n, m))
    assert len(by_diagonals(function)) == 1
    assert stored_by_diagonals(function) == 0
    assert_same(function)


def test_cells_with_nothing_in_common_have_loops_of_their_own_where_there_are_many_arrays():
    count = 5

    def f(x):
        def row(i, *tables):
            def cell(j, *tables):
                made = []
                for k in range(0, count * 3, 3):
                    v = heavy(at(tables[k], i - 1, j), at(tables[k], i, j - 1), at(x, i, j))
                    made += [ops.update(tables[k], v, i, j)]
                    made += [ops.update(t, v * v, i, j) for t in tables[k + 1 : k + 3]]
                return made

            return for_loop(1, m, list(tables), cell)

        start = [full((n, m), 0.1 * k) for k in range(count * 3)]
        tables = for_loop(1, n, start, row)
        return sum((corner(t) for t in tables[1:]), corner(tables[0]))

    function = built(f, (n, m))
    (loop,) = by_diagonals(function)
    lanes = [op for op in loop.regions[0].ops if op.attributes.get("kind") == "lanes"]
    assert 1 < len(lanes) < count
    for rows, columns in itertools.product((1, 3, 4), (1, 2, 5)):
        assert_all_forms_agree(function, numbers(rows, columns))


def test_one_chain_with_too_many_arrays_is_left():
    count = 20

    def f(x):
        def row(i, *tables):
            def cell(j, *tables):
                v = heavy(*[at(t, i, j - 1) for t in tables])
                return [ops.update(t, v * (0.1 * k), i, j) for k, t in enumerate(tables)]

            return for_loop(1, m, list(tables), cell)

        start = [full((n, m), 0.1 * k) for k in range(count)]
        tables = for_loop(1, n, start, row)
        return sum((corner(t) for t in tables[1:]), corner(tables[0]))

    assert not by_diagonals(built(f, (n, m)))


def test_the_pass_leaves_functions_without_nests_alone():
    function = lowered(built(lambda x: ops.sum(x * x, axes=(0,)), (n,)))
    before = str(function)
    assert str(wavefront.along_diagonals(function)) == before


def test_an_int_argument_as_distance():
    """How far the cell above is, is known at run time only."""

    def f(x, s):
        def row(i, y):
            return for_loop(
                1,
                m,
                [y],
                lambda j, y: [ops.update(y, heavy(at(y, i - s, j), at(y, i, j - 1)), i, j)],
            )

        return for_loop(3, n, [x * 1.0], row)

    function = built(f, (n, m), scalar(i64))
    assert not by_diagonals(function)
    assert_all_forms_agree(function, numbers(7, 5), np.int64(2))
