"""The Python blocks of the documentation run, page by page, top to bottom."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2]
PAGES = ["README.md", *(f"docs/{p.name}" for p in sorted((DOCS / "docs").glob("*.md")))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    text = (DOCS / page).read_text()
    blocks = BLOCK.findall(text)
    if not blocks:
        pytest.skip("no Python on this page")
    # From a file, so that functions have a source to be traced from, with the page's line numbers.
    path = tmp_path / (Path(page).stem.replace("-", "_") + ".py")
    lines = [""] * (text.count("\n") + 1)
    for match in BLOCK.finditer(text):
        start = text.count("\n", 0, match.start(1))
        for i, line in enumerate(match.group(1).splitlines()):
            lines[start + i] = line
    source = "\n".join(lines)
    path.write_text(source)
    namespace = {"__name__": f"page_{path.stem}"}
    exec(compile(source, str(path), "exec"), namespace)
