"""The page of supported functions says what the tables say."""

import re
from pathlib import Path

from tracegrad.inspect import coverage

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"


def versions(text):
    return re.search(r"\(NumPy (\S+), SciPy (\S+)\)", text).groups()


def test_the_page_is_what_the_command_prints():
    written, made = PAGE.read_text(), coverage.page()
    if versions(written) == versions(made):
        assert written == made, "run: python -m tracegrad coverage > docs/coverage.md"


def test_as_much_is_covered_as_people_differentiate():
    counts = {title: len(entries) for title, entries in coverage.sections()}
    assert counts["numpy"] >= 200
    assert counts["numpy.linalg"] + counts["scipy.linalg"] >= 40
    assert counts["scipy.special"] >= 40
    assert counts["scipy.stats"] >= 20
