"""Lines of generated source as a tree, and how the tree is laid out as text.

Whatever comes from the user's files reaches the text in comments only, and passes `safe`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

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


_HEADS = ("for ", "while ", "def ")


@dataclass
class Line:
    """A statement, or the head of one with the statements below it.

    ``note`` and ``place`` make the comment at its end. ``part`` is the sweep that it belongs to;
    a head has the parts of what stands below. ``goes_on`` marks the ``else`` of the line before.
    ``binds`` are the size symbols that this line
    gives values: it is left out where nothing reads those.
    """

    code: str
    note: str = ""
    place: str = ""
    part: str | None = None
    goes_on: bool = False
    binds: tuple[str, ...] = ()
    below: list[Line] = field(default_factory=list)

    def parts(self) -> set[str]:
        found = {self.part} if self.part is not None and not self.below else set()
        for line in self.below:
            found |= line.parts()
        return found

    def statements(self) -> int:
        """How many statements of a sweep there are, from this line down."""
        below = sum(line.statements() for line in self.below)
        return below if self.below else int(self.part is not None)

    def walk(self) -> Iterator[Line]:
        yield self
        for line in self.below:
            yield from line.walk()


@lru_cache(maxsize=1024)
def safe(text: str) -> str:
    """``text`` fit for a comment: one line, printable, no direction overrides, not too long."""
    shown = text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)
    shown = re.sub(r" {2,}", " ", shown).strip()
    return shown if len(shown) <= _NOTE_WIDTH else shown[: _NOTE_WIDTH - 1].rstrip() + "…"


def place(location: Location | None) -> str:
    """``file:line``."""
    return "" if location is None else safe(str(location))


def note(op: Operation) -> str:
    """The primal statement that ``op`` is part of, or the expression that it comes from."""
    location = op.location
    if location is None:
        return ""
    line = location.source_line.removeprefix("return ")
    if op.part == "forward":
        return safe(line)
    shown = safe(location.segment or line)
    # The head of a loop says nothing of what goes through it.
    return "" if not shown or shown.startswith(_HEADS) else f"from {shown}"


def turned(diagonals: tuple[int, int, int], size: str) -> str:
    """Where a table that is stored by diagonals has its elements."""
    i, _, slope = diagonals
    element = "j, i" if i else "i, j"
    far = "i" if abs(slope) == 1 else f"{abs(slope)} * i"
    line = f"{far} + j" if slope > 0 else f"j - {far}"
    return f"({element}) at [({line}) % {size}, i]"


def residual(op: Operation) -> str:
    """What the tape that ``op`` makes holds: the value and how the user computes it."""
    location, name = op.location, op.attributes.get("residual", "")
    if location is None:
        return safe(f"residual of {name}") if name else "residual"
    shown = location.segment or location.source_line.removeprefix("return ")
    if not name:
        return safe(f"residual of {shown}")
    # An augmented assignment says itself what it changes.
    said = re.match(rf"{re.escape(name)}\s*([-+*/%@&|^]|//|\*\*|<<|>>)?=[^=]", shown)
    return safe(f"residual of {shown if said else f'{name} = {shown}'}")


def layout(lines: Sequence[Line]) -> list[str]:
    """The text of a function's body, indented, labelled, its comments in columns."""
    parts: set[str] = set()
    for line in lines:
        parts |= line.parts()
    return _with_comments(list(_Flattening(len(parts) > 1).block(lines, 1, None)))


class _Flattening:
    """Turns the tree into lines with their depth; decides on labels and comments."""

    def __init__(self, labelled: bool) -> None:
        self._labelled = labelled
        self._labels: set[str] = set()
        self._statements: set[tuple[str, str]] = set()

    def block(
        self, lines: Sequence[Line], depth: int, current: str | None
    ) -> Iterator[tuple[int, Line]]:
        """The lines of one block; ``current`` is the sweep that the last label names."""
        previous = ("", "")
        for start, end, part in _stretches(lines):
            stretch = lines[start:end]
            if part is None:
                current = None
            # A single statement of the other sweep, in between, is told by its comment.
            named = part == current or (
                start > 0 and end < len(lines) and sum(line.statements() for line in stretch) == 1
            )
            for line in stretch:
                if not named and part in _LABELS and line.parts():
                    named, current = True, part
                    if self._labelled:
                        yield depth, Line(self._label(part))
                comment = (line.note, line.place)
                yield depth, Line(line.code) if self._known(line, comment, previous) else line
                previous = ("", "") if line.below else comment
                # An arm is part of the statement that it belongs to.
                if line.code.startswith(("if ", "else:")):
                    yield from self.plain(line.below, depth + 1)
                else:
                    yield from self.block(line.below, depth + 1, part and current)

    def plain(self, lines: Sequence[Line], depth: int) -> Iterator[tuple[int, Line]]:
        """The lines of a block that takes no labels."""
        labelled, self._labelled = self._labelled, False
        yield from self.block(lines, depth, None)
        self._labelled = labelled

    def _label(self, part: str) -> str:
        first, again = _LABELS[part]
        if part in self._labels:
            return again
        self._labels.add(part)
        return first

    def _known(self, line: Line, comment: tuple[str, str], previous: tuple[str, str]) -> bool:
        """Whether the comment was just made, or is a primal statement shown before."""
        if comment == previous:
            return True
        if line.part != "forward" or not any(comment):
            return False
        if comment in self._statements:
            return True
        self._statements.add(comment)
        return False


def _stretches(lines: Sequence[Line]) -> Iterator[tuple[int, int, str | None]]:
    """Runs of lines of one sweep: start, end, and the sweep, None where a line has both."""
    start = 0
    part: str | None = ""  # Not known yet, unlike None.
    for number, line in enumerate(lines):
        parts = line.parts()
        if not parts or line.goes_on:
            continue
        of = parts.pop() if len(parts) == 1 else None
        if part != "" and of != part:
            yield start, number, part
            start = number
        part = of
    if lines:
        yield start, len(lines), part or None


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
