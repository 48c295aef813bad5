"""One family of errors.

Each error knows where in the user's code it arose (file, line, function, and the columns
when Python tells them), shows that line with a caret, and closes with *a way out*: one
sentence that says what to write instead. Errors are also instances of the built-in class
a NumPy user expects to catch (``ValueError`` for a shape, ``TypeError`` for a dtype,
``IndexError`` for an index).
"""

from __future__ import annotations

import linecache
import os
import sys
from dataclasses import dataclass
from types import CodeType, FrameType, TracebackType
from typing import Any

__all__ = [
    "ArgumentError",
    "AxisError",
    "DTypeError",
    "GuardFailed",
    "IndexOutOfRange",
    "InternalError",
    "NeedsValue",
    "NotDifferentiable",
    "Place",
    "ShapeError",
    "TraceError",
    "TracegradError",
    "TracegradWarning",
    "UnsupportedError",
    "user_frame",
    "user_place",
]

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_OURS = (_PACKAGE, "<tracegrad ", "<frozen ")
_DEMONSTRATION = os.path.join(_PACKAGE, "inspect", "")  # its models are written as users' are


@dataclass(frozen=True)
class Place:
    """Where in the user's code: what an error needs to show the line.

    Columns are counted in characters from 0, ``end_column`` exclusive; ``None`` if unknown.
    """

    file: str
    line: int
    function: str = ""
    column: int | None = None
    end_column: int | None = None

    @property
    def text(self) -> str:
        """The source line, without its newline; empty if it can't be had."""
        return linecache.getline(self.file, self.line).rstrip("\n")

    def show(self) -> str:
        """``file:line, in function`` and, below it, the line with a caret under its cause."""
        head = f"  {self.file}:{self.line}" + (f", in {self.function}" if self.function else "")
        text = self.text
        if not text.strip():
            return head
        indent = len(text) - len(text.lstrip())
        lines = [head, "    " + text.strip()]
        if self.column is not None and self.column >= indent:
            end = self.end_column if self.end_column is not None else self.column + 1
            width = max(1, min(end, len(text)) - self.column)
            lines.append("    " + " " * (self.column - indent) + "^" * width)
        return "\n".join(lines)


def _is_users(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    if file.startswith(_OURS) and not file.startswith(_DEMONSTRATION):
        return False
    name = frame.f_globals.get("__name__", "")
    root = name.partition(".")[0] if isinstance(name, str) else ""
    return root not in {"numpy", "scipy", "numba"}


def user_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame, from ``frame`` outwards, that is the user's own code."""
    while frame is not None and not _is_users(frame):
        frame = frame.f_back
    return frame


def user_place() -> Place | None:
    """The innermost place outside tracegrad and the numerical libraries, if there is one."""
    frame = user_frame(sys._getframe(1))
    return None if frame is None else place_of_frame(frame)


def place_of_frame(frame: FrameType) -> Place:
    """The place a frame is executing now, with columns where Python keeps them (3.11+)."""
    return _place(frame.f_code, frame.f_lasti, frame.f_lineno)


def place_in_traceback(traceback: TracebackType | None) -> Place | None:
    """The innermost of the user's own places that an exception passed through."""
    found = None
    while traceback is not None:
        if _is_users(traceback.tb_frame):
            found = traceback
        traceback = traceback.tb_next
    if found is None:
        return None
    return _place(found.tb_frame.f_code, found.tb_lasti, found.tb_lineno)


def _place(code: CodeType, instruction: int, at_line: int | None) -> Place:
    column = end = None
    positions = getattr(code, "co_positions", None)
    if positions is not None and instruction >= 0:
        for at, span in enumerate(positions()):
            if at == instruction // 2:
                line, end_line, column, end = span
                if line is None or line != at_line:
                    column = end = None
                elif end_line != line:
                    end = None
                break
    place = Place(code.co_filename, at_line or code.co_firstlineno, code.co_name)
    if column is None:
        return place
    # CPython counts columns in UTF-8 bytes; the caret needs characters.
    raw = place.text.encode()
    if end is None:
        end = len(raw)
    characters = [len(raw[:count].decode(errors="replace")) for count in (column, end)]
    return Place(place.file, place.line, place.function, characters[0], characters[1])


class TracegradError(Exception):
    """Base of every error tracegrad raises on purpose.

    Parameters
    ----------
    message : what is wrong, one or two sentences, without a final full stop.
    way_out : what to write instead, one sentence.
    place : where in the user's code; or give ``file`` and ``line``.
    """

    def __init__(
        self,
        message: str = "",
        *,
        way_out: str | None = None,
        place: Place | None = None,
        file: str | None = None,
        line: int | None = None,
    ) -> None:
        if place is None and file is not None and line is not None:
            place = Place(file, line)
        self.message = message
        self.way_out = way_out
        self.place = place
        super().__init__(message)

    @property
    def file(self) -> str | None:
        return None if self.place is None else self.place.file

    @property
    def line(self) -> int | None:
        return None if self.place is None else self.place.line

    def __str__(self) -> str:
        parts = [self.message]
        if self.place is not None:
            parts.append(self.place.show())
        if self.way_out:
            parts.append(f"  Way out: {self.way_out}")
        return "\n".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"way_out": self.way_out, "place": self.place, **self.__dict__}
        return type(self), (self.message,), state

    def at(self, place: Place | None) -> TracegradError:
        """This error with ``place`` filled in, unless it already knows its own."""
        if self.place is None:
            self.place = place
        return self


class TraceError(TracegradError):
    """The construct can't be traced."""


class UnsupportedError(TraceError, NotImplementedError):
    """A function, a form of one, or a Python construct that tracegrad does not know (yet)."""


class NeedsValue(TraceError, TypeError):
    """Python asked a traced value for its number (``float(x)``, ``if x > 0``, ``range(x)``)."""


class ShapeError(TracegradError, ValueError):
    """Shapes that do not fit, in NumPy's own wording."""


class AxisError(ShapeError, IndexError):
    """An axis that the array does not have (NumPy's is a ValueError and an IndexError too)."""


class DTypeError(TracegradError, TypeError):
    """A dtype that can't be used here, or can't be used at all (object, string, datetime)."""


class ArgumentError(TracegradError, TypeError):
    """A verb was given something it can't take (integer input, non-scalar result of ``grad``).

    It is the user's call that is wrong: its line is the place, unless another one is given.
    """

    def __init__(self, message: str = "", **where: Any) -> None:
        super().__init__(message, **where)
        self.at(user_place())


class NotDifferentiable(TracegradError, TypeError):
    """An operation on the active path has no derivative; quotes its declared reason."""


class IndexOutOfRange(TracegradError, IndexError):
    """An index outside its axis, where NumPy raises IndexError."""


class GuardFailed(TracegradError, RuntimeError):
    """What the trace assumed does not hold for these arguments.

    Compiled kernels raise it, the API catches it and traces that case; users see it only
    when they call an exported kernel by themselves.
    """


class InternalError(TracegradError, RuntimeError):
    """An invariant of tracegrad itself was broken: a bug worth reporting."""


class TracegradWarning(UserWarning):
    """Something works, but not as it should: for example without the disk cache."""
