"""What LLVM is told of memory: an array that a kernel makes shares none with any other.

Before a loop that reads one array and writes another LLVM asks whether the two overlap, each time
the loop begins; for the rows of a matrix that is as long as a short loop itself. Each array that
Python will see and that the kernel has made, or was given to write to and looked at, is therefore
a *scope* of its own. The arguments are one more: these may overlap each other. Reads and writes of
elements name their scope, and all others as those they share no memory with.

Arrays that are read at neighbouring places keep their secret: LLVM would hold each element for the
trip that reads it as its neighbour, and to shift vectors takes longer than to read them again.

(Scratch memory comes from a function that LLVM knows to give memory nobody has. An array can't: its
elements are found again through the object, and LLVM would drop what is stored to them at the end.)
"""

from __future__ import annotations

from tracegrad.backend.native.writer import Module


class Scopes:
    """The scopes of one function."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self._scopes: list[str] = []
        self._others: list[int] = []
        self._domain = ""
        self._arguments = ""

    @property
    def arguments(self) -> str:
        """What is said at reads and writes of arguments."""
        if not self._arguments:
            self._arguments = self.new()
        return self._arguments

    def new(self) -> str:
        """What is said at reads and writes of one more array: metadata, to follow them."""
        module = self.module
        if not self._domain:
            self._domain = _distinct(module)
        scope = _distinct(module, self._domain)
        own = module.note(f"!{{{scope}}}")
        others = module.note("!{}")
        self._scopes.append(scope)
        self._others.append(len(module.notes) - 1)
        for mine, place in zip(self._scopes, self._others, strict=True):
            module.notes[place] = f"!{{{', '.join(s for s in self._scopes if s != mine)}}}"
        return f", !alias.scope {own}, !noalias {others}"


def _distinct(module: Module, *operands: str) -> str:
    name = module.note("")
    module.notes[-1] = f"distinct !{{{', '.join((name, *operands))}}}"
    return name
