"""Printed source: names, parentheses, constants, comments, sizes."""

from __future__ import annotations

import ast
import builtins
import keyword
import random
import tokenize
from io import BytesIO

import numpy as np
import pytest

from tests.backend.loop_form import SCALAR, Loops
from tracegrad import ops
from tracegrad.backend.compile import compile_kernel, run_plain
from tracegrad.backend.emit import emit_array_form, emit_loop_form, entry_name
from tracegrad.backend.expression import Text, binary, dim_text, infix, parse, template, unary
from tracegrad.backend.names import Names, identifier
from tracegrad.errors import InternalError
from tracegrad.ir.builder import Builder, current
from tracegrad.ir.core import Function, Guard, Location
from tracegrad.ir.types import (
    ArrayType,
    boolean,
    dim_max,
    evaluate,
    f32,
    f64,
    floor_div,
    i32,
    i64,
    symbol,
)

n, m = symbol("n"), symbol("m")
VECTOR = ArrayType(f64, (n,))


def made(build, *types, name="f", **options) -> Function:
    """A function of parameters of ``types``; ``build`` gets them and returns the results."""
    with Builder() as builder:
        params = [builder.param(t, h) for t, h in zip(types, "xyzuvw", strict=False)]
        return builder.function(name, build(*params), **options)


def code(source: str) -> list[str]:
    """The statements of a printed function, without comments."""
    (function,) = (s for s in ast.parse(source).body if isinstance(s, ast.FunctionDef))
    return [ast.unparse(s) for s in function.body]


# --- names ------------------------------------------------------------------------------------

HOSTILE = [
    *("lambda", "None", "print", "np", "math", "range", "match", "tanh", "f", "GuardFailed"),
    *("x", "x", "t1", "1abc", "a b", "self.w['k']", "ﬁ", "fi", "µ", "μ", "", "_", "__", "\n", "é"),
    *("os.system('true')", "x\n    import os", "#", '"""', "\u202e", "x_2"),
]


def test_every_name_is_an_identifier_of_its_own():
    names = Names(["tanh", "f"])
    found = [names.new(hint) for hint in HOSTILE]
    assert len(set(found)) == len(found)
    for name in found:
        assert name.isidentifier()
        assert not keyword.iskeyword(name)
        assert not hasattr(builtins, name)
        assert name not in ("np", "math", "GuardFailed", "tanh", "f")
        assert identifier(name) == name, "in the parser's own normal form"


def test_names_of_a_closed_scope_are_free_again():
    names = Names()
    with names.scope():
        assert [names.new("a"), names.new("a")] == ["a", "a_2"]
    assert names.new("a") == "a"
    assert [names.new(""), names.new("t3"), names.new(""), names.new("")] == [
        "t1",
        "t3",
        "t2",
        "t4",
    ]


def test_elements_of_a_named_array_say_where():
    names = Names()
    names.new("z", rank=2)
    names.new("y", rank=1)
    assert [names.open_loop("block"), names.open_loop(""), names.open_loop("")] == [
        "block",
        "i",
        "j",
    ]
    assert names.new("z") == "z_ij"
    assert names.new("y") == "y_j"


def test_a_loop_within_a_loop_of_its_letter_takes_the_next():
    names = Names()
    assert [names.open_loop("i"), names.open_loop("i"), names.open_loop("t")] == ["i", "j", "t"]
    names.close_loop()
    names.close_loop()
    assert names.open_loop("i") == "j"


def test_hostile_names_and_lines_do_not_reach_the_code(tmp_path):
    file = tmp_path / "coding: latin-1\n.py"
    file.write_text(
        'import os\nx = 1  # """ \x0c\r \u202e \\N{BEL} \ud800'.encode("utf-8", "replace").decode()
        + "\n"
    )
    with Builder() as build:
        values = [build.param(SCALAR, hint) for hint in HOSTILE]
        for number, hint in enumerate(HOSTILE):
            with build.at(Location(str(file), 1 + number % 2), "reverse"):
                value = ops.tanh(values[number]) + values[0]
                value.hint = hint
                values.append(value)
        function = build.function(
            "lambda",
            values,
            title='x"""\n    import os; coding: latin-1',
            origin=Location(str(file), 1),
            result_names=["\n" + hint for hint in HOSTILE * 2],
            hints={"n": 3},
        )
    for emit in (emit_loop_form, emit_array_form):
        source = emit(function)
        assert tokenize.detect_encoding(BytesIO(source.encode()).readline)[0] == "utf-8"
        tree = ast.parse(source)
        imported = {
            a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names
        }
        assert imported <= {"numpy"}
        assert all(c.isprintable() or c == "\n" for c in source)
        assert not any(
            isinstance(node, ast.Constant) and isinstance(node.value, str)
            for node in ast.walk(tree)
        )
        results = run_plain(source, entry_name(function))(*np.linspace(-1, 1, len(HOSTILE)))
        assert len(results) == 2 * len(HOSTILE)


def test_numba_takes_names_that_are_not_ascii(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACEGRAD_CACHE_DIR", str(tmp_path))
    with Builder() as build:
        x = build.param(SCALAR, "μ")
        y = ops.tanh(x)
        y.hint = "σ̄"
        source = emit_loop_form(build.function("größe", [y * y]))
    assert "μ" in source
    kernel = compile_kernel(source, "größe", ["float64"])
    assert kernel.entry_point(0.5) == pytest.approx(np.tanh(0.5) ** 2)


@pytest.mark.parametrize("name", ["tanh", "lambda", "print", "np", "<lambda>", "", "GuardFailed"])
def test_a_function_of_any_name_runs(name):
    function = made(lambda x: [ops.tanh(x)], SCALAR, name=name)
    for emit in (emit_loop_form, emit_array_form):
        assert run_plain(emit(function), entry_name(function))(0.5) == np.tanh(0.5)


# --- expressions ------------------------------------------------------------------------------


def test_parentheses_are_right_and_no_more_than_needed():
    rng = random.Random(0)
    operators = ["+", "-", "*", "/", "//", "%", "**", "<", "==", "&", "|", "^", "<<", "and", "or"]

    def grow(depth: int) -> tuple[Text, str]:
        """An expression, and the same with parentheses around everything."""
        if depth == 0 or rng.random() < 0.2:
            text = rng.choice(["x", "f(x, y)", "x[i, j]", "2.0", "np.inf"])
            return Text(text), text
        if rng.random() < 0.2:
            operand, full = grow(depth - 1)
            sign = rng.choice(["-", "not", "~"])
            return unary(sign, operand), f"({sign} {full})"
        if rng.random() < 0.2:
            parts = [grow(depth - 1) for _ in range(3)]
            form = template("{1} if {0} else {2}", {})
            a, b, c = (full for _, full in parts)
            return form.fill([text for text, _ in parts]), f"({b} if {a} else {c})"
        (left, full_left), (right, full_right) = grow(depth - 1), grow(depth - 1)
        operator = rng.choice(operators)
        return binary(operator, left, right), f"({full_left} {operator} {full_right})"

    for _ in range(2000):
        text, full = grow(4)
        assert ast.dump(_normal(text.text)) == ast.dump(_normal(full)), (text.text, full)
        shortest = ast.unparse(ast.parse(full, mode="eval"))
        assert len(text.text.replace(" ", "")) <= len(
            shortest.replace(" ", "")
        ) + 2 * text.text.count("(")


class _Flat(ast.NodeTransformer):
    """``a and b and c`` has one tree, however it is bracketed."""

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.BoolOp:
        self.generic_visit(node)
        values: list[ast.expr] = []
        for value in node.values:
            same = isinstance(value, ast.BoolOp) and type(value.op) is type(node.op)
            values += value.values if same else [value]
        node.values = values
        return node


def _normal(text: str) -> ast.AST:
    return _Flat().visit(ast.parse(text, mode="eval"))


@pytest.mark.parametrize(
    ("text", "operands", "shown"),
    [
        ("exp({0})", ["a + b"], "exp(a + b)"),
        ("{0} * {1}", ["a + b", "c"], "(a + b) * c"),
        ("({1} if {0} else {2})", ["a < b", "c", "d"], "c if a < b else d"),
        ("(not {0})", ["a | b"], "not a | b"),
        ("{0}.T", ["a + b"], "(a + b).T"),
        ("{0}[{1}]", ["a", "b + c"], "a[b + c]"),
        ("np.sum({0}, axis={axes})", ["x"], "np.sum(x, axis=(0, 1))"),
        ("{0}", ["a + b"], "a + b"),
    ],
)
def test_templates_take_expressions(text, operands, shown):
    assert template(text, {"axes": "(0, 1)"}).fill([parse(o) for o in operands]).text == shown


def test_nested_signs_and_powers():
    x = Text("x")
    assert unary("-", unary("-", x)).text == "-(-x)"
    assert binary("**", unary("-", x), Text("2.0")).text == "(-x) ** 2.0"
    assert unary("-", binary("**", x, Text("2.0"))).text == "-x ** 2.0"
    assert infix("-", [x, infix("-", [x, x])]).text == "x - (x - x)"


def test_dimensions_evaluate_to_what_they_are():
    sizes = {"n": 7, "m": 3}
    dims = [n, n - 1, 2 * n, 2 * n - m, n * m, floor_div(n, 2), 3 * floor_div(n - 1, m)]
    dims += [dim_max(n, m), 2 * dim_max(n - 1, m) + 1, -n + 9, m * floor_div(n, 2) - 1]
    for dim in dims:
        assert eval(dim_text(dim).text, {}, sizes) == evaluate(dim, sizes), dim
    assert dim_text(2 * floor_div(n, 2)).text == "2 * (n // 2)"


# --- constants --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "dtype", "shown"),
    [
        (0.1, f64, "0.1"),
        (-0.0, f64, "-0.0"),
        (float("nan"), f64, "np.nan"),
        (float("-inf"), f64, "-np.inf"),
        (5e-324, f64, "5e-324"),
        (0.5, f32, "np.float32(0.5)"),
        (-3, i64, "-3"),
        (3, i32, "np.int32(3)"),
        (True, boolean, "True"),
    ],
)
def test_constants_are_numbers(value, dtype, shown):
    source = emit_loop_form(made(lambda: [ops.const(value=value, dtype=dtype)]))
    assert code(source) == [f"return {shown}"]
    np.testing.assert_array_equal(run_plain(source, "f")(), value)


def test_small_integers_stay_small():
    source = emit_loop_form(made(lambda x, y: [x * y + x], ArrayType(i32), ArrayType(i32)))
    assert code(source) == ["return np.int32(np.int32(x * y) + x)"]


# --- statements -------------------------------------------------------------------------------


def test_a_read_does_not_move_past_a_store():
    def build(x):
        make = Loops(current())
        buffer = make.alloc(3, hint="b", fill=0)
        old = make.load(buffer, make.zero)
        make.store(make.num(1.0), buffer, make.zero)
        return [old + x, buffer]

    source = emit_loop_form(made(build, SCALAR))
    assert code(source)[1:] == ["t1 = b[0]", "b[0] = 1.0", "return (t1 + x, b)"]


def test_a_read_through_an_alias_does_not_move_past_a_store():
    def build(x):
        make = Loops(current())
        buffer = make.alloc(2, 2, hint="b", fill=0)
        flat = make.op("alias", buffer, attributes={"shape": (4,)}, type=ArrayType(f64, (4,)))
        old = make.load(flat, make.zero)
        make.store(make.num(1.0), buffer, make.zero, make.zero)
        return [old + x]

    source = emit_loop_form(made(build, SCALAR))
    assert run_plain(source, "f")(0.5) == 0.5


def test_carried_values_swap():
    def build(x, y):
        make = Loops(current())
        return make.loop(make.int(3), lambda i, a, b: [b, a], x, y, hints=["a", "b"])

    source = emit_loop_form(made(build, SCALAR, SCALAR))
    assert "a, b = b, a" in source
    assert run_plain(source, "f")(1.0, 2.0) == (2.0, 1.0)


def test_unused_values_are_not_printed():
    source = emit_loop_form(made(lambda x: [x, ops.tanh(x)][:1], SCALAR))
    assert code(source) == ["return x"]
    assert "tanh" not in source


def test_long_expressions_become_statements():
    def build(x):
        for _ in range(40):
            x = ops.tanh(x * 1.2345) + 0.5
        return [x]

    source = emit_loop_form(made(build, SCALAR))
    assert max(map(len, source.splitlines())) <= 100
    assert len(source.splitlines()) < 60


# --- sizes ------------------------------------------------------------------------------------


def test_unread_sizes_are_not_bound():
    source = emit_array_form(made(lambda x: [ops.tanh(x)], VECTOR))
    assert code(source) == ["t1 = np.tanh(x)", "return t1"]


def test_static_and_composite_dimensions_are_checked():
    source = emit_array_form(
        made(lambda x, y, z: [x], VECTOR, ArrayType(f64, (n - 1, 3)), ArrayType(f64, (2 * n,)))
    )
    for states in ('"y.shape[0] == n - 1"', '"y.shape[1] == 3"', '"z.shape[0] == 2 * n"'):
        assert states in source


def test_symbols_make_way_for_parameters():
    """A symbol whose name is taken is renamed everywhere, in attributes too."""
    x, lam = symbol("x"), symbol("lambda_")
    function = made(
        lambda v: [ops.view(v, shape=(x - 1, lam), map=((0, 1, 1), (1, 0, 1)))],
        ArrayType(f64, (x, lam)),
        guards=[Guard(x, ">", lam)],
    )
    found = run_plain(emit_array_form(function), "f")(np.ones((3, 2)))
    assert found.shape == (2, 2)


def test_a_size_that_nothing_gives_is_refused():
    with pytest.raises(InternalError, match="'k'"):
        emit_array_form(made(lambda x: [x], VECTOR, guards=[Guard(symbol("k"), "<", n)]))


def test_an_opaque_size_is_bound_where_it_arises():
    k = symbol("k")
    with Builder() as build:
        mask = build.param(ArrayType(boolean, (n,)), "mask")
        (places,) = build.emit(ops.nonzero, [mask], {"size": k}).results
        function = build.function("f", [ops.dim(size=k), places])
    source = emit_array_form(function)
    count, places = run_plain(source, "f")(np.array([True, False, True]))
    assert count == 2
    np.testing.assert_array_equal(places, [0, 2])
