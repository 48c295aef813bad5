"""Python source in colour, on a terminal that wants it."""

from __future__ import annotations

import os
import sys


def wants_colour(stream: object = None) -> bool:
    """Whether to colour: a terminal, and neither ``NO_COLOR`` nor ``TERM=dumb`` against it."""
    stream = sys.stdout if stream is None else stream
    isatty = getattr(stream, "isatty", None)
    if isatty is None or not isatty():
        return False
    return "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def highlight(source: str) -> str:
    """``source`` with terminal colours; as it is where Pygments isn't installed."""
    try:
        from pygments import highlight as pygments_highlight
        from pygments.formatters import TerminalFormatter
        from pygments.lexers import PythonLexer
    except ImportError:
        return source
    return str(pygments_highlight(source, PythonLexer(), TerminalFormatter()))
