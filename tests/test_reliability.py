"""docs/reliability.md: every promise names tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text()
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
HEAD = ("promise", "---")


def rows() -> list[list[str]]:
    """The cells of every promise."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [row for row in cells if not row[0].startswith(HEAD)]


def test_every_promise_has_a_mechanism_and_a_test() -> None:
    assert len(rows()) > 30
    for row in rows():
        assert len(row) == 3, row
        assert all(row), row
        assert NAMED.search(row[2]), row


def test_every_test_that_is_named_is_there() -> None:
    for file, name in NAMED.findall(PAGE):
        assert f"def {name}(" in (TESTS / file).read_text(), f"{file}::{name}"
    # None is named in another way, which nobody would look at.
    assert len(re.findall(r"\btest_\w+`", PAGE)) == len(NAMED.findall(PAGE))
