"""Signs of what a query asks for, read off its text: options, code, mathematics, kind of question.

Plain counts and shares of order 1; nothing here is learned.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from string import ascii_uppercase

_OPTION = re.compile(r"[ \t]*\(?(?:[A-Za-z]|\d{1,2})[.):][ \t]+(\S.*)")
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
SIGNS = (
    (_CODE, False),
    (_MATHS, False),
    (_ENUMERATED, True),
    (("__",), False),
    (_SENTENCE_ENDS, False),
)
"""Signs that are counted together, and whether in lower case. The last count is halved."""
_WORD = re.compile(r"[a-z]+")
_DIGITS = frozenset("0123456789")

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
_GROUP = {word: number for number, group in enumerate(ASKED) for word in group}

PLAIN = 18
STRUCTURE = PLAIN + len(ASKED)
LONG_WORD = 9


def structure(text: str, words: Sequence[str], earlier: Sequence[str]) -> list[float]:
    """Return `STRUCTURE` numbers of order 1.

    Plain texts are read by `core.routing.text_kernels`, to the same numbers: what is changed here
    is changed there.

    Args:
        text: The query; a part of it when it is long.
        words: Its words, lower case, numbers and symbols among them.
        earlier: Messages of the conversation before it.
    """
    letters = list(filter(str.isalpha, words))
    lengths = list(map(len, letters))
    many, size, plain = max(1, len(letters)), max(1, len(text)), text.isascii()
    counts = Counter(letters)
    return [
        *_of_options(text, plain=plain),
        *_of_signs(text),
        sum(lengths) / many / 5,
        len(counts) / many,
        sum(map(LONG_WORD.__le__, lengths)) / many,
        sum(map(text.count, ascii_uppercase)) / size * 5,
        0.0 if plain else (size - len(text.encode("ascii", "ignore"))) / size,
        math.log1p(len(earlier)),
        math.log1p(sum(map(len, earlier))) / 5,
        *_of_words(counts),
    ]


def _of_signs(text: str) -> list[float]:
    lowered = text.lower()
    *found, last = (
        math.log1p(sum(map((lowered if in_lower else text).count, signs)))
        for signs, in_lower in SIGNS
    )
    return [*found, last / 2]


def _of_options(text: str, *, plain: bool) -> list[float]:
    """Return what is told by the options of a multiple-choice question; zeros without any."""
    found = filter(None, map(_OPTION.match, text.split("\n")))
    options = [match.group(1) for match in found]
    if len(options) < 2:
        return [0.0] * 6
    lengths = list(map(len, options))
    mean = sum(lengths) / len(lengths)
    variance = sum((length - mean) ** 2 for length in lengths) / len(lengths)
    words = _WORD.findall("\n".join(options).lower())
    without = sum(map(_DIGITS.isdisjoint if plain else _no_digit, options))
    return [
        math.log1p(len(options)),
        math.log1p(mean) / 3,
        math.sqrt(variance) / mean,
        (len(options) - without) / len(options),
        # Options that repeat each other's words differ in a detail.
        1 - len(set(words)) / max(1, len(words)),
        math.log1p(len(text) - sum(lengths)) / 5,
    ]


def _no_digit(option: str) -> bool:
    return not any(map(str.isdigit, option))


def _of_words(counts: Mapping[str, int]) -> list[float]:
    found = [0] * len(ASKED)
    for word in _GROUP.keys() & counts.keys():
        found[_GROUP[word]] += counts[word]
    return list(map(math.log1p, found))
