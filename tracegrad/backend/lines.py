"""Lines of generated source as a tree, and how the tree is laid out as text.

Whatever comes from the user's files reaches the text in comments only, and passes `safe`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tracegrad.ir.core import Location, Operation

INDENT = "    "
_NOTE_WIDTH = 56
_CODE_WIDTH = 64

#: What introduces the statements of each sweep; the long form the first time.
_LABELS = {
    "forward": ("# forward", "# forward"),
    "reverse": ("# reverse: downstream = local × upstream", "# reverse"),
    "tangent": ("# tangent", "# tangent"),
}


@dataclass
class Line:
    """A statement, or the head of one with the statements below it.

    ``note`` and ``place`` make the comment at its end. ``part`` is the sweep that it belongs to;
    a head has the parts of what stands below. ``binds`` are the size symbols that this line
    gives values: it is left out where nothing reads those.
    """

    code: str
    note: str = ""
    place: str = ""
    part: str | None = None
    binds: tuple[str, ...] = ()
    below: list[Line] = field(default_factory=list)

    def parts(self) -> set[str]:
        found = {self.part} if self.part is not None and not self.below else set()
        for line in self.below:
            found |= line.parts()
        return found

    def walk(self) -> Iterator[Line]:
        yield self
        for line in self.below:
            yield from line.walk()


def safe(text: str) -> str:
    """``text`` fit for a comment: one line, printable, no direction overrides, not too long."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    shown = re.sub(r" {2,}", " ", shown).strip()
    return shown if len(shown) <= _NOTE_WIDTH else shown[: _NOTE_WIDTH - 1].rstrip() + "…"


def place(location: Location) -> str:
    """``file:line``."""
    return safe(str(location))


def note(op: Operation, name: str) -> str:
    """The primal statement that ``op`` is, or comes from."""
    location = op.location
    if location is None:
        return ""
    line = location.source_line
    # A statement that binds the name that we print is shown whole, else the expression.
    whole = name and re.match(rf"{re.escape(name)}\b", line)
    shown = safe(line if whole else location.segment or line.removeprefix("return "))
    return f"from {shown}" if shown and op.part != "forward" else shown


def layout(lines: Sequence[Line]) -> list[str]:
    """The text of a function's body, indented, labelled, its comments in columns."""
    parts: set[str] = set()
    for line in lines:
        parts |= line.parts()
    flat = list(_flatten(lines, 1, None, _LABELS if len(parts) > 1 else {}, set()))
    return _with_comments(flat)


def _flatten(
    lines: Iterable[Line],
    depth: int,
    current: str | None,
    labels: dict[str, tuple[str, str]],
    seen: set[str],
) -> Iterator[tuple[int, Line]]:
    """Lines with their depth; a label stands wherever the sweep changes."""
    previous: Line | None = None
    for line in lines:
        parts = line.parts()
        if len(parts) == 1:
            (part,) = parts
            if part != current and part in labels:
                first, again = labels[part]
                yield depth, Line(again if part in seen else first)
                seen.add(part)
            current = part
        elif parts:
            current = None
        # Several lines made from one statement say so once.
        repeats = previous is not None and (previous.note, previous.place) == (
            line.note,
            line.place,
        )
        shown = Line(line.code) if repeats else line
        yield depth, shown
        yield from _flatten(line.below, depth + 1, current, labels, seen)
        previous = line if not line.below else None


def _with_comments(flat: Sequence[tuple[int, Line]]) -> list[str]:
    """Comments of consecutive lines start in one column, and so do the places in them."""
    found: list[str] = []
    start = 0
    while start < len(flat):
        end = start + 1
        depth = flat[start][0]
        while end < len(flat) and flat[end][0] == depth and _has_comment(flat[end][1]):
            end += 1
        if not _has_comment(flat[start][1]):
            end = start + 1
        run = [line for _, line in flat[start:end]]
        codes = [INDENT * depth + line.code for line in run]
        column = max((len(c) for c in codes if len(c) <= _CODE_WIDTH), default=0)
        width = max(len(line.note) for line in run)
        for code, line in zip(codes, run, strict=True):
            if _has_comment(line):
                comment = f"{line.note:<{width}}  {line.place}" if line.place else line.note
                code = f"{code:<{column}}  # {comment.strip()}"
            found.append(code)
        start = end
    return found


def _has_comment(line: Line) -> bool:
    return bool(line.note or line.place)
