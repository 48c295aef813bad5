"""The Python blocks of the documentation run, page by page, top to bottom.

An ``output`` block holds what the Python block above it prints.
``TRACEGRAD_REWRITE_GOLDEN=1 python -m pytest tests/docs`` writes those blocks anew.
"""

import contextlib
import io
import os
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```output\n(.*?)^```$)?", re.M | re.S)
COLUMNS = sys.version_info >= (3, 11)  # printed comments quote the very expression
REWRITE = bool(os.environ.get("TRACEGRAD_REWRITE_GOLDEN"))


def pages():
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [p.relative_to(ROOT).as_posix() for p in found if BLOCK.search(p.read_text())]


@pytest.mark.parametrize("page", pages())
def test_python_blocks_of_a_page_run(page, tmp_path):
    text = (ROOT / page).read_text()
    # A file, so that functions have a source to be traced from, with the page's line numbers.
    path = tmp_path / (Path(page).stem.replace("-", "_") + ".py")
    lines = [""] * (text.count("\n") + 1)
    for match in BLOCK.finditer(text):
        start = text.count("\n", 0, match.start(1))
        for i, line in enumerate(match.group(1).splitlines()):
            lines[start + i] = line
    path.write_text("\n".join(lines))
    namespace = {"__name__": f"page_{path.stem}"}
    printed = []
    for match in BLOCK.finditer(text):
        start = text.count("\n", 0, match.start(1))
        block = "\n" * start + match.group(1)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(block, str(path), "exec"), namespace)
        printed.append(out.getvalue())
        if match.group(2) is not None and COLUMNS and not REWRITE:
            assert out.getvalue() == match.group(2)
    if REWRITE:
        (ROOT / page).write_text(rewritten(text, printed))


def rewritten(text, printed):
    """The page with every output block as printed now."""
    outputs = iter(printed)

    def block(match):
        out = next(outputs)
        if match.group(2) is None:
            return match.group(0)
        return f"```python\n{match.group(1)}```\n\n```output\n{out}```"

    return BLOCK.sub(block, text)
