"""From a function of the IR to Python source.

`emit_loop_form` prints what the scheduler made: the kernel that Numba compiles. `emit_array_form`
prints one NumPy statement per operation: the same computation to read, to run without Numba, and
to compare with. Both texts are whole modules, and the same function always gives the same text.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import tracegrad
from tracegrad.backend import lines as layout
from tracegrad.backend import special
from tracegrad.backend.body import Body
from tracegrad.backend.chunks import Chunked
from tracegrad.backend.expression import dim_text
from tracegrad.backend.lines import Line
from tracegrad.backend.names import RESERVED, Names, identifier
from tracegrad.backend.values import words
from tracegrad.errors import InternalError
from tracegrad.ir.core import Function, Guard, Value
from tracegrad.ir.types import Dim, DType, is_symbol, substitute, symbol, symbols

_WIDTH = 100

#: What a text may import besides vector maths: by the name that asks for it.
_IMPORTS = {
    "math": "import math",
    "np": "import numpy as np",
    "scipy": "import scipy.special",
    "prange": "from numba import prange",
    "runtime": "from tracegrad.backend import runtime",
    "in_advance": "from tracegrad.backend.advance import in_advance",
    "large_empty": "from tracegrad.backend.memory import large_empty",
    "add_product": "from tracegrad.backend.products import add_product",
    "put_product": "from tracegrad.backend.products import put_product",
    "overlap": "from tracegrad.backend.memory import overlap",
    "in_parallel": "from tracegrad.backend.threads import chunk_count, in_parallel, natural",
    "GuardFailed": "from tracegrad.errors import GuardFailed",
}

#: The relation that holds when a guard doesn't.
_NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


def emit_loop_form(
    function: Function, outputs: Sequence[int] = (), scratch: Sequence[int] = ()
) -> str:
    """The source of the kernel ``function``, which is in loop form.

    Parameters
    ----------
    outputs : positions of the parameters that it writes results to. The caller's arrays: the
        text checks that none shares memory with another one or with an argument.
    scratch : positions of the parameters that it writes to on the way; nobody else's arrays.
    """
    return _Module(function, loops=True, outputs=outputs, scratch=scratch).text()


def emit_array_form(function: Function) -> str:
    """``function``, which is in array form, as NumPy statements."""
    return _Module(function, loops=False).text()


@dataclass(frozen=True)
class Allocation:
    """An array that a kernel makes.

    Attributes
    ----------
    name : its name in the source.
    dtype : of its elements.
    shape : its sizes as symbols of the function. The first of a tape that is as long as turns out
        at run time is a symbol of its own.
    texts : the sizes as the source has them; ``len(name)`` where they are found at run time.
    role : "tape", "result" or "scratch".
    note, place : of a tape, what it is a residual of, and where.
    loops : how many loops stand around the line that makes it.
    function : whose variable it is, the kernel's or a part's.
    chunked, without : of an array that there is once for each chunk of a loop, that loop, and how
        many chunks do without: 1, because the first uses the array itself, or 0.
    """

    name: str
    dtype: DType
    shape: tuple[Dim, ...]
    texts: tuple[str, ...]
    role: str
    note: str
    place: str
    loops: int
    function: str
    chunked: Chunked | None = None
    without: int = 0


def allocations(function: Function) -> list[Allocation]:
    """The arrays that the source of ``function``, which is in loop form, makes."""
    return _Module(function, loops=True).allocations()


def entry_name(function: Function) -> str:
    """The name of the Python function in the printed source.

    That of ``function``, unless it has another meaning there: a user's function may be called
    ``exp`` and call NumPy's.
    """
    name = identifier(function.name) or "kernel"
    taken = RESERVED.union(*(op.opdef.imported for op in function.walk()))
    return f"{name}_" if name in taken else name


class _Module:
    """Prints the module of one function.

    Attributes
    ----------
    unnamed : what a parameter is called that has no name.
    """

    unnamed = "x"

    def __init__(
        self,
        function: Function,
        *,
        loops: bool,
        outputs: Sequence[int] = (),
        scratch: Sequence[int] = (),
    ) -> None:
        self.function = function
        self.loops = loops
        self.outputs = [function.params[position] for position in outputs]
        self.scratch = [function.params[position] for position in scratch]
        self.entry = entry_name(function)
        imported = {name for op in function.walk() for name in op.opdef.imported}
        self.names = Names([self.entry, *imported, *function.parts])
        self.texts = {
            p: self.names.new(p.hint or self.unnamed, rank=p.rank) for p in function.params
        }
        self.sources = function.size_sources()
        self.sizes = {name: self._size_name(name) for name in self._symbols()}

    def _symbols(self) -> list[str]:
        """Every symbol of the function: those that parameters bind first, then as they appear."""
        dims: list[Dim] = [d for p in self.function.params for d in p.shape]
        for guard in self.function.guards:
            dims += [guard.left, guard.right]
        for op in self.function.walk():
            for value in (*op.results, *(p for region in op.regions for p in region.params)):
                dims += value.shape
            dims += _dims_in(op.attributes.values())
        found = [*self.sources, *(name for dim in dims for name in symbols(dim))]
        # What is bound to a scalar gets a name where that is printed.
        later = {str(op.attributes["size"]) for op in self.function.walk() if op.name == "bind"}
        return [name for name in dict.fromkeys(found) if name not in later]

    def _size_name(self, name: str) -> str:
        index, axis = self.sources.get(name, (0, 0))
        # A symbol that an int argument gives is that argument.
        return self.texts[self.function.params[index]] if axis is None else self.names.new(name)

    # --- the text

    def _body(self) -> Body:
        return Body(
            self.function,
            loops=self.loops,
            names=self.names,
            texts=self.texts,
            sizes=self.sizes,
            bound=[self.sizes[name] for name in self.sources],
        )

    def _parts(self) -> list[_Part]:
        """The functions that ``parallel`` operations run."""
        return [_Part(part, loops=True) for part in self.function.parts.values()]

    def allocations(self) -> list[Allocation]:
        body = self._body()
        body.print()
        given = [(r, body.root(r)) for r in self.function.results if r.rank]
        found = []
        for made in body.made:
            root, type = body.root(made.value), made.value.type
            role = "tape" if made.tape else "scratch"
            of = next((g for g in given if g[1] is root and g[0].type == type), None)
            if of is not None and not made.tape:
                role = "result"
                given.remove(of)
            grows = made.value.op is not None and made.value.op.name == "tape"
            texts = [self._dim(dim) for dim in type.shape]
            if grows:
                texts[0] = f"len({made.name})"
            note, place = (made.line.note, made.line.place) if made.tape else ("", "")
            found.append(
                Allocation(
                    made.name,
                    type.dtype,
                    type.shape,
                    tuple(texts),
                    role,
                    note,
                    place,
                    made.loops,
                    self.entry,
                )
            )
        names = dict(zip(self.function.results, self._result_names(), strict=True))
        for result, _ in given:  # an argument, or one array a second time: copied at the end
            texts = [self._dim(dim) for dim in result.shape]
            found.append(
                Allocation(
                    names[result],
                    result.dtype,
                    result.shape,
                    tuple(texts),
                    "result",
                    "",
                    "",
                    0,
                    self.entry,
                )
            )
        for loop in body.chunked:
            for array, name in loop.copies:
                texts = [self._dim(dim) for dim in array.shape]
                made_of = (name, array.dtype, array.shape, tuple(texts), "scratch", "", "", 0)
                found.append(Allocation(*made_of, self.entry, loop, 1))
        loops = {loop.part: loop for loop in body.chunked}
        for part in self._parts():
            found += (replace(each, chunked=loops[part.entry]) for each in part.allocations())
        return found

    def text(self) -> str:
        body = self._body()
        lines = [*self._sizes_and_checks(), *body.print()]
        lines = _without_unread(lines)
        if not lines:
            lines = [Line("pass")]
        code = layout.layout(lines)
        parameters = ", ".join(self.texts.values())
        tops = list(lines)
        imported = set(body.imported)
        texts: list[str] = []
        for part in self._parts():
            texts += [*part.text_lines(), "", ""]
            tops += part.lines
            imported.update(part.imported)
        imports = self._imports((line.code for top in tops for line in top.walk()), imported)
        head = [*self._header(), *imports, *(("", "") if imports else ())]
        return "\n".join([*head, *texts, f"def {self.entry}({parameters}):", *code, ""])

    def _imports(self, code: Iterable[str], imported: Collection[str]) -> list[str]:
        used = {word for line in code for word in words(line)}
        found = [statement for name, statement in _IMPORTS.items() if name in used]
        for module, names in (
            ("special", sorted(n for n in imported if n in special.NAMES)),
            ("vecmath", sorted(n for n in imported if n not in special.NAMES)),
        ):
            if names:
                found.append(f"from tracegrad.backend.{module} import {', '.join(names)}")
        groups = (
            [s for s in found if s.split()[1] == "math"],
            [s for s in found if s.split()[1] in ("numpy", "scipy.special", "numba")],
            [s for s in found if s.split()[1].startswith("tracegrad")],
        )
        lines: list[str] = []
        for group in groups:
            if group:
                lines += [*([""] if lines else []), *sorted(group, key=_import_order)]
        return lines

    # --- the header

    def _header(self) -> list[str]:
        function = self.function
        title = layout.safe(function.title or function.name)
        where = f", {layout.place(function.origin)}" if function.origin is not None else ""
        written = {*self.outputs, *self.scratch}
        takes = self._declared(p for p in function.params if p not in written)
        gives = ", ".join(
            f"{name}: {self._type_text(r)}" if name else self._type_text(r)
            for r, name in zip(function.results, self._result_names(), strict=True)
        )
        found = [
            f"tracegrad {tracegrad.__version__}: {title}{where}",
            f"takes {takes or 'nothing'}",
            f"returns {gives or 'nothing'}",
        ]
        if self.outputs:
            found.append(f"writes {self._declared(self.outputs)}")
        if self.scratch:
            found.append(f"works in {self._declared(self.scratch)}")
        if function.guards:
            found.append(f"guards: {', '.join(self._guard_text(g) for g in function.guards)}")
        hints = {self.sizes[k]: v for k, v in function.hints.items() if k in self.sizes}
        if hints:
            shown = ", ".join(f"{name} = {size}" for name, size in hints.items())
            found.append(f"size hints: {shown}")
        if function.parts:
            found.append(
                "parallel: loops in chunks, at most as many as tracegrad.get_num_threads()"
            )
        lines: list[str] = []
        for text in found:
            # A comment that says "coding:" would tell Python how the file is encoded.
            text = re.sub(r"coding([:=])", r"coding \1", text)
            lines += textwrap.wrap(
                text,
                _WIDTH,
                initial_indent="# ",
                subsequent_indent="#     ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        return lines

    def _declared(self, params: Iterable[Value]) -> str:
        return ", ".join(f"{self.texts[p]}: {self._type_text(p)}" for p in params)

    def _result_names(self) -> Sequence[str]:
        names = [identifier(name) for name in self.function.result_names]
        return (
            names if len(names) == len(self.function.results) else [""] * len(self.function.results)
        )

    def _type_text(self, value: Value) -> str:
        shape = ", ".join(self._dim(d) for d in value.shape)
        return f"{value.dtype.name}[{shape}]" if value.rank else value.dtype.name

    def _dim(self, dim: Dim) -> str:
        return dim_text(self._renamed(dim)).text

    def _renamed(self, dim: Dim) -> Dim:
        changed = {old: symbol(new) for old, new in self.sizes.items() if old != new}
        return substitute(dim, changed) if changed else dim

    def _guard_text(self, guard: Guard) -> str:
        return f"{self._dim(guard.left)} {guard.relation} {self._dim(guard.right)}"

    # --- sizes

    def _sizes_and_checks(self) -> list[Line]:
        """What gives the symbols their values, then what the function was made for."""
        lines, checks = self._sizes_and_shapes()
        checks += [self._guard_check(guard) for guard in self.function.guards]
        checks += self._overlap_check()
        return [*lines, *checks]

    def _sizes_and_shapes(self) -> tuple[list[Line], list[Line]]:
        given = {source: name for name, source in self.sources.items()}
        lines: list[Line] = []
        checks: list[Line] = []
        for index, param in enumerate(self.function.params):
            name = self.texts[param]
            bound = {
                axis: given[index, axis] for axis in range(param.rank) if (index, axis) in given
            }
            if len(bound) == param.rank > 1:
                left = ", ".join(self.sizes[bound[axis]] for axis in range(param.rank))
                line = Line(f"{left} = {name}.shape")
                line.binds = tuple(self.sizes[size] for size in bound.values())
                lines.append(line)
            else:
                for axis, size in bound.items():
                    line = Line(f"{self.sizes[size]} = {name}.shape[{axis}]")
                    line.binds = (self.sizes[size],)
                    lines.append(line)
            for axis, dim in enumerate(param.shape):
                if axis not in bound:
                    checks.append(self._shape_check(name, axis, dim))
        return lines, checks

    def _shape_check(self, name: str, axis: int, dim: Dim) -> Line:
        seen = f"{name}.shape[{axis}]"
        size = is_symbol(dim)
        index, source_axis = self.sources.get(size, (0, None)) if size else (0, None)
        shown = self._dim(dim)
        if source_axis is not None:
            shown = f"{self.texts[self.function.params[index]]}.shape[{source_axis}]"
        return _check(f"{seen} != {self._checked(dim)}", f"{seen} == {shown}")

    def _guard_check(self, guard: Guard) -> Line:
        left, right = self._checked(guard.left), self._checked(guard.right)
        return _check(f"{left} {_NEGATED[guard.relation]} {right}", self._guard_text(guard))

    def _overlap_check(self) -> list[Line]:
        """Outputs share no memory with one another and with the arguments."""
        written = {*self.outputs, *self.scratch}
        read = [p for p in self.function.params if p.rank and p not in written]
        if not self.outputs or len(self.outputs) + len(read) < 2:
            return []
        left, right = (_tuple([self.texts[p] for p in params]) for params in (self.outputs, read))
        return [_check(f"overlap({left}, {right})", "outputs share no memory")]

    def _checked(self, dim: Dim) -> str:
        unknown = [name for name in symbols(dim) if name not in self.sources]
        if unknown:
            raise InternalError(f"nothing gives the size {unknown[0]!r} in {dim} a value")
        return self._dim(dim)


def _tuple(texts: Sequence[str]) -> str:
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


class _Part(_Module):
    """Prints what a ``parallel`` operation runs: a loop, over the trips of a chunk.

    Attributes
    ----------
    lines, imported : what was printed, after `text_lines`.
    """

    unnamed = ""
    lines: Sequence[Line] = ()
    imported: Collection[str] = ()

    def text_lines(self) -> list[str]:
        body = self._body()
        # That a row has three elements is known to the caller; LLVM must see it here, or there is
        # no vector code.
        sizes, checks = self._sizes_and_shapes()
        self.lines = _without_unread([*sizes, *checks, *self._signs(), *body.print()])
        self.imported = body.imported
        head = f"def {self.entry}({', '.join(self.texts.values())}):"
        return [head, *layout.layout(list(self.lines))]

    def _signs(self) -> list[Line]:
        """Which integers are not negative: the caller knows, and so must the compiler."""
        found = []
        for name, index in self.function.size_params.items():
            least = [
                guard.right
                for guard in self.function.guards
                if guard.relation == ">=" and is_symbol(guard.left) == name
            ]
            known = [number for number in least if isinstance(number, int) and number >= 0]
            if known:
                text, start = self.texts[self.function.params[index]], max(known)
                told = f"{start} + natural({text} - {start})" if start else f"natural({text})"
                line = Line(f"{text} = {told}")
                line.binds = (text,)
                found.append(line)
        return found


def _check(fails: str, states: str) -> Line:
    head = Line(f"if {fails}:")
    head.below = [Line(f'raise GuardFailed("{states}")')]
    return head


def _import_order(statement: str) -> tuple[bool, str]:
    return (statement.startswith("from"), statement)


def _dims_in(attributes: Iterable[object]) -> Iterable[Dim]:
    for value in attributes:
        if isinstance(value, tuple):
            yield from _dims_in(value)
        elif not isinstance(value, (str, bool, float)) and hasattr(value, "terms"):
            yield value  # type: ignore[misc]  # only a Size has terms


def _without_unread(lines: list[Line]) -> list[Line]:
    """``lines`` without those that give a value to a size that nothing reads."""
    while True:
        counts: dict[str, int] = {}
        for line in (each for top in lines for each in top.walk()):
            for word in words(line.code):
                counts[word] = counts.get(word, 0) + (word not in line.binds)
        kept, changed = _filtered(lines, counts)
        if not changed:
            return kept
        lines = kept


def _filtered(lines: list[Line], counts: Mapping[str, int]) -> tuple[list[Line], bool]:
    kept: list[Line] = []
    changed = False
    for line in lines:
        if line.binds and all(counts[name] == 0 for name in line.binds):
            changed = True
            continue
        line.below, below_changed = _filtered(line.below, counts)
        changed = changed or below_changed
        kept.append(line)
    return kept, changed
