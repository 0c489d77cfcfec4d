"""Writes Markdown (CommonMark with GitHub's tables) and YAML in which a value from outside stays only a value."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

# An underscore within a word has no meaning (CommonMark 0.31, section 6.2).
SPECIAL = re.compile(r"[\\`*\[\]<>|~&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
PLAIN = re.compile(r"[A-Za-z0-9_.:@/, ()=+-]*[A-Za-z0-9_.:@/,()=+-]")
# Controls, line and paragraph separators, and what turns the direction of the text around it.
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
BLOCK_START = re.compile(r"^(\d*)([#+.)=-])(?=[\s#=-]|$)")


def escaped(text: str) -> str:
    """`text` as one line of running text that shows exactly its words: no markup, link, HTML or cell comes of it.

    CommonMark 0.31, section 2.4: a backslash takes the meaning from any punctuation.
    """
    line = SPECIAL.sub(r"\\\g<0>", " ".join(UNSEEN.sub(" ", text).split()))
    return BLOCK_START.sub(r"\1\\\2", line, count=1)


def code(text: str) -> str:
    """`text` in the type of code; where a code span could not hold it, as running text."""
    return f"`{text}`" if PLAIN.fullmatch(text) and not text.startswith(" ") else escaped(text)


def fenced(text: str, language: str) -> str:
    """A block that shows `text` as it stands: its fence is longer than any in the text."""
    shown = "\n".join(UNSEEN.sub(" ", line) for line in re.split("\r\n|\r|\n", text))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}{language}\n{shown}\n{fence}"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """A table of Markdown cells, without line breaks; the last `numbers` columns stand to the right."""
    rules = ["---"] * (len(headings) - numbers) + ["--:"] * numbers
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, rules, *rows))


def front_matter(values: dict[str, Any]) -> str:
    """Values as YAML between lines of hyphens: dictionaries, lists, strings and numbers, and no empty ones."""
    return "\n".join(["---", *_yaml(values), "---"])


def _yaml(value: dict[str, Any] | list[Any]) -> Iterable[str]:
    """The lines of a YAML 1.2 block; keys are ours, and every string is quoted."""
    for key, inner in value.items() if isinstance(value, dict) else ((None, item) for item in value):
        lead = "-" if key is None else f"{key}:"
        if not isinstance(inner, dict | list):
            yield f"{lead} {_scalar(inner)}"
            continue
        lines = list(_yaml(inner))
        if key is None:
            yield f"- {lines[0]}"
            yield from (f"  {line}" for line in lines[1:])
        else:
            yield lead
            yield from (f"  {line}" for line in lines)


def _scalar(value: str | float) -> str:
    if isinstance(value, str):
        return _quoted(value)
    # A number without a point is a string to readers of YAML 1.1: 1e-07.
    return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))


def _quoted(text: str) -> str:
    """A double-quoted YAML string (YAML 1.2, section 5.7) in which only printable characters stand for themselves."""
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text) + '"'
