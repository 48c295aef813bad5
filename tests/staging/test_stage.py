"""Staged functions: hooks see everything they should, and the function stays itself."""

import functools
import sys
import textwrap
import traceback
from types import FunctionType

import pytest

from tracegrad.staging import PlainControl, is_staged, stage, why_unstaged


class Recorder(PlainControl):
    """Hooks that change nothing and write down what they are told."""

    def __init__(self):
        self.calls, self.names, self.attributes, self.items = [], [], [], []
        self.inplaces, self.stores, self.entered = [], [], []

    def enter(self, function):
        self.entered.append(function)
        return self

    def call(self, function):
        self.calls.append(getattr(function, "__name__", repr(function)))
        if isinstance(function, FunctionType) and not is_staged(function):
            return stage(function, self)
        return function

    def name(self, value, name):
        self.names.append(name)
        return value

    def attribute(self, owner, name):
        self.attributes.append(name)
        return getattr(owner, name)

    def item(self, owner, key):
        self.items.append(key)
        return owner[key]

    def inplace(self, operator, old, value):
        self.inplaces.append(operator)
        return old + value if operator == "+" else old * value

    def stored(self, owner, name):
        self.stores.append(name)
        return owner

    def stored_item(self, owner):
        self.stores.append(type(owner).__name__)
        return owner


def staged(function):
    hooks = Recorder()
    result = stage(function, hooks)
    assert why_unstaged(function) is None
    assert result is not function
    return result, hooks


FACTOR = 3.0


def scaled(x):
    return FACTOR * x


def test_every_call_goes_through_the_hook_and_helpers_are_staged_in_turn():
    def f(x):
        return max(scaled(x), abs(x))

    g, hooks = staged(f)
    assert g(-2.0) == 2.0
    assert hooks.calls == ["max", "scaled", "abs"]
    assert [function.__name__ for function in hooks.entered] == ["f", "scaled"]
    assert "FACTOR" in hooks.names


def test_calls_with_stars_keywords_and_nested_calls():
    def f(*args, **kwargs):
        return dict(*args, **kwargs, b=len(str(sum([1, 2]))))

    g, hooks = staged(f)
    assert g([("a", 1)], c=3) == {"a": 1, "c": 3, "b": 1}
    assert hooks.calls == ["dict", "len", "str", "sum"]


def test_defaults_are_not_evaluated_again_and_cells_are_the_real_ones():
    seen = []

    def default():
        seen.append(1)
        return 5

    total = 0

    def f(x=default(), *, y=default()):  # noqa: B008  # the call is what is tested
        nonlocal total
        total = total + abs(x) + abs(y)
        return total

    g, _ = staged(f)
    assert (g(), f()) == (10, 20)
    assert total == 20
    assert seen == [1, 1]
    assert g.__kwdefaults__ == {"y": 5}
    assert g.__globals__ is f.__globals__


def test_lambdas_on_one_line_are_told_apart():
    f, g = (lambda x: abs(x) + 1), (lambda x: abs(x) + 2)
    assert staged(f)[0](-1) == 2
    assert staged(g)[0](-1) == 3


def test_methods_keep_private_names_and_super():
    class Base:
        def value(self):
            return 1

    class _Model(Base):
        def __init__(self):
            self.__weight = 10
            self.count = 0

        def __helper(self):
            return self.__weight

        def value(self):
            self.count += 1
            return super().value() + self.__helper() + len(__class__.__name__)

    g, hooks = staged(_Model.value)
    model = _Model()
    assert g(model) == 1 + 10 + len("_Model")
    assert model.count == 1
    assert "_Model__helper" in hooks.attributes
    assert hooks.stores == ["count"]


def test_closures_and_functions_made_inside_keep_their_hooks():
    def f(n):
        def inner(k, step=len("ab")):  # noqa: B008  # the call is what is tested
            return abs(k) * n + step

        class Local:
            size = len("abc")

        return [inner(k) for k in range(n)], Local.size, (lambda: max(n, 1))()

    g, hooks = staged(f)
    assert g(3) == f(3)
    assert hooks.calls.count("abs") == 3
    assert [function.__name__ for function in hooks.entered] == ["f"]
    assert "max" in hooks.calls


@pytest.mark.skipif(sys.version_info < (3, 11), reason="code objects have no qualified name")
def test_qualified_names_survive():
    def f():
        class Local:
            def method(self):
                return abs(1)

        return Local, Local.method

    g, _ = staged(f)
    assert g.__qualname__ == f.__qualname__
    assert [made.__qualname__ for made in g()] == [made.__qualname__ for made in f()]


def test_in_place_operators_on_names_attributes_and_items():
    class Box:
        value = 1

    def f(x, box, items):
        x += 2
        box.value += 3
        items[len(items) - 1] += 4
        box.other, items[0] = 1, 0
        del box.other
        return x, box.value, items

    g, hooks = staged(f)
    assert g(1, Box(), [0, 0]) == (3, 4, [0, 4])
    assert (hooks.inplaces, hooks.stores) == (["+"], ["value", "list", "other", "list", "other"])


def test_subscripts_are_seen_and_slices_stay():
    def f(table, rows):
        return table["a"], rows[1:], rows[-1], rows[slice(0, 1)]

    g, hooks = staged(f)
    assert g({"a": 1}, [1, 2, 3]) == f({"a": 1}, [1, 2, 3])
    assert hooks.items == ["a", -1, slice(0, 1)]


def test_patterns_walrus_with_del_try_and_global():
    namespace = {}

    def f(value):
        global _counter
        _counter = 1
        with namespace.get("missing") or open_nothing() as opened:
            if (size := len(value)) > 1:
                pass
        try:
            del opened
            opened  # noqa: B018, F821  # the error wanted
        except UnboundLocalError:
            found = True
        match value:
            case [int(), str() as text] if len(text) == 1:
                kind = "pair"
            case _:
                kind = "other"
        return kind, size, found, _counter

    g, _ = staged(f)
    assert g([1, "a"]) == f([1, "a"]) == ("pair", 2, True, 1)


class open_nothing:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False


def test_tracebacks_show_the_users_line():
    def f(x):
        y = abs(x)
        return y / 0  # the faulty line

    g, _ = staged(f)
    with pytest.raises(ZeroDivisionError) as caught:
        g(1.0)
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert frame.filename == f.__code__.co_filename
    assert "the faulty line" in frame.line
    assert frame.name == "f"


def test_without_source_the_function_is_left_alone():
    namespace = {}
    exec("def f(x):\n    return abs(x)", namespace)
    f = namespace["f"]
    assert stage(f, Recorder()) is f
    assert "can't be read" in why_unstaged(f)


def test_generators_are_left_alone():
    def f(n):
        yield abs(n)

    assert stage(f, Recorder()) is f
    assert "generators" in why_unstaged(f)


def test_a_function_without_anything_to_hook_is_left_alone():
    def f():
        return 1

    assert stage(f, Recorder()) is f
    assert why_unstaged(f) is None


def test_a_file_edited_after_its_import_is_not_believed(tmp_path, monkeypatch):
    path = tmp_path / "edited_module.py"
    path.write_text("def f(x):\n    return abs(x) + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import edited_module

    path.write_text("def f(x):\n    return abs(x) + 2000\n")
    assert stage(edited_module.f, Recorder()) is edited_module.f
    assert "no longer holds" in why_unstaged(edited_module.f)
    del sys.modules["edited_module"]


def test_equal_code_in_two_files_is_kept_apart(tmp_path, monkeypatch):
    for name in ("twin_one", "twin_two"):
        (tmp_path / f"{name}.py").write_text(
            textwrap.dedent(
                """
                def f(x):
                    return abs(x)
                """
            )
        )
    monkeypatch.syspath_prepend(tmp_path)
    import twin_one
    import twin_two

    for module in (twin_one, twin_two):
        g, _ = staged(module.f)
        assert g.__code__.co_filename == module.__file__
        del sys.modules[module.__name__]


def test_decorated_functions_are_found_by_their_first_decorator():
    def keep(function):
        return function

    @keep
    @functools.lru_cache
    def f(x):
        return abs(x)

    g, hooks = staged(f.__wrapped__)
    assert g(-3) == 3
    assert hooks.calls == ["abs"]


def test_staging_twice_changes_nothing():
    def f(x):
        return abs(x)

    g, hooks = staged(f)
    assert stage(g, hooks) is g


def test_functions_with_asserts_are_staged_under_pytest():
    def f(x):
        assert x > 0, "positive"
        return abs(x)

    g, hooks = staged(f)
    assert g(2) == 2
    assert hooks.calls == ["abs"]
    with pytest.raises(AssertionError, match="positive"):
        g(-1)


def test_a_module_that_imports_at_its_top_level_is_staged(tmp_path, monkeypatch):
    # CPython compiles attributes of names imported at module level in a way of their own.
    (tmp_path / "importing.py").write_text(
        "import math, os.path\nif True:\n    from math import floor as fl\n"
        "def f(x):\n    return math.sqrt(x) + fl(x) + len(os.path.join('a', 'b'))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import importing

    g, hooks = staged(importing.f)
    assert g(4.0) == 9.0
    # What join calls in turn is seen where its source can be had: not in a frozen module.
    assert hooks.calls[:4] == ["sqrt", "floor", "len", "join"]
    del sys.modules["importing"]
