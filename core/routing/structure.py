"""Signs of what a query asks for, read off its text: options, code, mathematics, kind of question.

Plain counts and shares of order 1; nothing here is learned.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

_OPTION = re.compile(r"^[ \t]*\(?(?:[A-Za-z]|\d{1,2})[.):][ \t]+(\S.*)$", re.MULTILINE)
# Counted one by one: that is many times as fast as one pattern of alternatives.
_CODE = (
    "```",
    ";\n",
    "{\n",
    "}\n",
    "):\n",
    "()",
    "==",
    "=>",
    "->",
    "</",
    "def ",
    "return ",
    "import ",
)
_MATHS = tuple("\\^√∫∑∏π∞≤≥≠±×÷∂")
_ENUMERATED = ("(i)", "(ii)", "(iii)", "(a)", "(b)", "(1)", "(2)", "statement 1", "statement 2")
_SENTENCE_ENDS = (". ", "? ", "! ", ".\n", "?\n", "!\n")
_WORD = re.compile(r"[a-z]+")
_UPPER = re.compile(r"[A-Z]")

ASKED = (
    ("which",),
    ("what",),
    ("how",),
    ("why", "explain"),
    ("when", "where", "who"),
    ("find", "calculate", "compute", "determine", "evaluate", "solve"),
    ("write", "implement", "create", "generate"),
    ("summarize", "summarise", "translate", "rewrite"),
    ("not", "except", "least", "false", "incorrect"),
    ("following",),
    ("if", "suppose", "assume", "given", "let"),
    ("true", "statement", "statements"),
    ("none", "all", "both", "neither"),
    ("the", "of", "a", "to", "and", "in", "is"),
)
"""Groups of words that tell what is asked for; one feature each."""

PLAIN = 18
STRUCTURE = PLAIN + len(ASKED)
LONG_WORD = 9


def structure(text: str, words: Sequence[str], earlier: Sequence[str]) -> list[float]:
    """Return `STRUCTURE` numbers of order 1.

    Args:
        text: The query; a part of it when it is long.
        words: Its words, lower case, numbers and symbols among them.
        earlier: Messages of the conversation before it.
    """
    letters = [word for word in words if word[0].isalpha()]
    size = max(1, len(text))
    facts = [
        *_of_options(text),
        _counted(text, _CODE),
        _counted(text, _MATHS),
        _counted(text.lower(), _ENUMERATED),
        _counted(text, ("__",)),
        _counted(text, _SENTENCE_ENDS) / 2,
        sum(map(len, letters)) / max(1, len(letters)) / 5,
        len(set(letters)) / max(1, len(letters)),
        sum(len(word) >= LONG_WORD for word in letters) / max(1, len(letters)),
        len(_UPPER.findall(text)) / size * 5,
        (size - len(text.encode("ascii", "ignore"))) / size,
        math.log1p(len(earlier)),
        math.log1p(sum(map(len, earlier))) / 5,
    ]
    return facts + _of_words(letters)


def _counted(text: str, signs: Sequence[str]) -> float:
    return math.log1p(sum(map(text.count, signs)))


def _of_options(text: str) -> list[float]:
    """Return what is told by the options of a multiple-choice question; zeros without any."""
    options = _OPTION.findall(text)
    if len(options) < 2:
        return [0.0] * 6
    lengths = np.array([len(option) for option in options], dtype=float)
    words = [_WORD.findall(option.lower()) for option in options]
    distinct = {word for its in words for word in its}
    return [
        math.log1p(len(options)),
        math.log1p(lengths.mean()) / 3,
        float(lengths.std() / lengths.mean()),
        sum(any(map(str.isdigit, option)) for option in options) / len(options),
        # Options that repeat each other's words differ in a detail.
        1 - len(distinct) / max(1, sum(map(len, words))),
        math.log1p(len(text) - lengths.sum()) / 5,
    ]


def _of_words(letters: Sequence[str]) -> list[float]:
    counts = Counter(letters)
    return [math.log1p(sum(counts[word] for word in group)) for group in ASKED]
