"""What rows of outcome files hold: scores, texts, lengths; checked one by one."""

import json
import re
import string
from collections.abc import Sequence

from core.errors import InvalidInput

Cells = tuple[str, str, str, float, int]
"""Query, class, model, score, answer length in tokens: what a row says of one answer."""

MAX_QUERY_CHARS = 100_000
MAX_NAME_CHARS = 64
MAX_TOKENS = 10_000_000
CHARS_PER_TOKEN = 4
"""Of English text, with the vocabularies in use; only where a file has no token counts."""
MOST_OPTIONS = len(string.ascii_uppercase)
# NUL, which PostgreSQL refuses, and halves of surrogate pairs, which are no UTF-8.
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
WORDS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


def score_of(value: object) -> float | None:
    """Return a score from 0 to 1; None where there is none.

    Raises:
        InvalidInput: It is something else.
    """
    if value is None:
        return None
    text = str(value).strip().lower()
    number = WORDS.get(text)
    if number is None:
        number = _number(value, text)
    if number is None or not 0 <= number <= 1:
        raise InvalidInput(
            f"the score {str(value)[:MAX_NAME_CHARS]!r} is not between 0 and 1.",
            "Scores are 1 for right, 0 for wrong, or between. Divide percentages by 100; of "
            "several metrics, name one that is scored per answer.",
        )
    return number


def tokens_of(value: object, chars: object = None) -> int:
    """Return the length of an answer in tokens, from characters where it is given in those.

    0 stands for unknown.

    Raises:
        InvalidInput: It is no whole number, or out of bounds.
    """
    given = chars if value is None else value
    if given is None:
        return 0
    number = _number(given, str(given).strip())
    if number is None or not number.is_integer() or not 0 <= number <= MAX_TOKENS:
        raise InvalidInput(
            f"the answer length {str(given)[:MAX_NAME_CHARS]!r} is not a number of tokens.",
            f"Whole numbers up to {MAX_TOKENS:,} are read.",
        )
    return round(number / CHARS_PER_TOKEN) if value is None else int(number)


def query_of(value: object, options: object = None) -> str:
    """Return the text of a query, its options lettered below it as a model is asked.

    Raises:
        InvalidInput: It is empty, too long or unprintable.
    """
    text = value if isinstance(value, str) else ""
    if options is not None:
        text = "\n".join((text, *_lettered(options)))
    if not text.strip() or len(text) > MAX_QUERY_CHARS or UNSTORABLE.search(text):
        raise InvalidInput(
            "the query is empty, too long or unprintable.",
            f"Queries are texts of up to {MAX_QUERY_CHARS:,} characters.",
        )
    return text


def name_of(what: str, value: object) -> str:
    """Return the name of a model or class.

    Raises:
        InvalidInput: It is empty, too long or unprintable.
    """
    name = "" if value is None else str(value).strip()
    if not name or len(name) > MAX_NAME_CHARS or UNSTORABLE.search(name):
        raise InvalidInput(
            f"{name[:MAX_NAME_CHARS]!r} is no name of a {what}.",
            f"Names are printable and have 1 to {MAX_NAME_CHARS} characters.",
        )
    return name


def _lettered(options: object) -> Sequence[str]:
    found = options
    if isinstance(options, str):
        try:
            found = json.loads(options)
        except (ValueError, RecursionError):
            found = None
    if not isinstance(found, list) or not all(isinstance(its, str | int | float) for its in found):
        raise InvalidInput("the options are no list of texts.", 'Write them as JSON: ["4", "5"].')
    if len(found) > MOST_OPTIONS:
        raise InvalidInput(
            f"there are {len(found)} options.", f"Up to {MOST_OPTIONS} have a letter."
        )
    letters = string.ascii_uppercase[: len(found)]
    return [f"{letter}. {its}" for letter, its in zip(letters, found, strict=True)]


def _number(value: object, text: str) -> float | None:
    if not isinstance(value, int | float | str):
        return None
    try:
        return float(text)
    except (ValueError, OverflowError):
        return None
