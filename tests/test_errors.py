"""The family of errors: what users catch, and what they read."""

import pickle

import pytest

from tracegrad import errors
from tracegrad.errors import Place, ShapeError, TracegradError, user_place


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ShapeError, ValueError),
        (errors.AxisError, ValueError),
        (errors.AxisError, IndexError),
        (errors.DTypeError, TypeError),
        (errors.IndexOutOfRange, IndexError),
        (errors.UnsupportedError, NotImplementedError),
        (errors.NeedsValue, TypeError),
        (errors.NotDifferentiable, TypeError),
        (errors.ArgumentError, TypeError),
        (errors.GuardFailed, RuntimeError),
    ],
)
def test_errors_are_what_users_expect_to_catch(error, builtin):
    assert issubclass(error, TracegradError)
    with pytest.raises(builtin):
        raise error("no")


def test_an_error_shows_the_line_with_a_caret_and_a_way_out():
    place = user_place()
    shown = str(ShapeError("shapes do not fit", place=place, way_out="transpose one of them"))
    lines = shown.splitlines()
    assert lines[0] == "shapes do not fit"
    assert lines[1].startswith(f"  {__file__}:{place.line}, in test_an_error_shows")
    assert lines[2] == "    place = user_place()"
    assert lines[-1] == "  Way out: transpose one of them"
    if place.column is not None:
        assert lines[3] == "            ^^^^^^^^^^^^"


def test_carets_count_characters_not_bytes():
    größe = user_place()
    if größe.column is not None:
        assert größe.column == 12
        assert größe.end_column == 24


def test_errors_pickle_whole():
    error = ShapeError("no", way_out="yes", place=Place("f.py", 3, "f", 1, 2))
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert (copy.file, copy.line) == ("f.py", 3)


def test_file_and_line_are_enough():
    assert "nowhere.py:7" in str(ShapeError("no", file="nowhere.py", line=7))
